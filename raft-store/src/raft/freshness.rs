//! How old this member's knowledge of a quorum is.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::member::Shared;

/// When a quorum last confirmed that everything acknowledged before was applied here.
#[derive(Debug, Default)]
pub(super) struct Freshness(Mutex<Option<Instant>>);

impl Freshness {
    /// Everything acknowledged before `at` is applied here.
    pub(super) fn confirm(&self, at: Instant) {
        let mut confirmed = self.0.lock();
        *confirmed = (*confirmed).max(Some(at));
    }

    /// How long ago that was; `None` if never.
    pub(super) fn age(&self) -> Option<Duration> {
        self.0.lock().map(|at| at.elapsed())
    }
}

/// Asks about once a second.
pub(super) async fn renew(shared: Arc<Shared>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        // Not confirmed: then the age says so.
        shared.confirm(Instant::now() + EVERY).await.ok();
    }
}

const EVERY: Duration = Duration::from_secs(1);
