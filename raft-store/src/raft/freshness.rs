//! How old this member's knowledge of a quorum is.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::member::Shared;

/// What this member last learnt from a quorum.
#[derive(Debug, Default)]
pub(super) struct Freshness(Mutex<Learnt>);

#[derive(Clone, Copy, Debug, Default)]
struct Learnt {
    /// Everything acknowledged before is applied here.
    confirmed_at: Option<Instant>,
    /// A command of this member was applied.
    written_at: Option<Instant>,
}

impl Freshness {
    /// Everything acknowledged before `at` is applied here.
    pub(super) fn confirm(&self, at: Instant) {
        let mut learnt = self.0.lock();
        learnt.confirmed_at = learnt.confirmed_at.max(Some(at));
    }

    /// A command of this member was applied. That proves a quorum, but not that all is applied
    /// here that was acknowledged before the command was proposed: it may be an earlier try's.
    pub(super) fn note_write(&self) {
        self.0.lock().written_at = Some(Instant::now());
    }

    /// How long ago a quorum last confirmed that everything acknowledged before was applied here;
    /// `None` if never.
    pub(super) fn age(&self) -> Option<Duration> {
        self.0.lock().confirmed_at.map(|at| at.elapsed())
    }

    /// How long ago a quorum last did anything for this member; `None` if never.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let learnt = *self.0.lock();
        let last = learnt.confirmed_at.max(learnt.written_at);
        last.map(|at| at.elapsed())
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
