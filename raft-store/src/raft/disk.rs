//! A leader whose disk stalls keeps everybody waiting: it hands over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::member::Shared;
use crate::storage::data_dir::DataDir;
use crate::storage::flusher::Stall;

/// How this member's disk does.
#[derive(Debug)]
pub(super) struct Disk {
    stall: Stall,
    data_dir: PathBuf,
}

impl Disk {
    pub(super) const fn new(stall: Stall, data_dir: PathBuf) -> Self {
        Self { stall, data_dir }
    }

    /// For how long the oldest write has been waiting to be durable.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        self.stall.waiting()
    }

    pub(super) fn is_full(&self) -> bool {
        DataDir::is_full(&self.data_dir)
    }
}

/// Gives up the lead while the disk stalls.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let is_leader = shared.leadership().borrow().is_leader;
        let Some(waiting) = shared.disk.stalled_for() else {
            continue;
        };
        if !is_leader || waiting < MAX_STALL {
            continue;
        }
        tracing::warn!(?waiting, "disk stalls, giving up the lead");
        // Nobody to hand over to: then nobody waits for this member's heartbeats either.
        shared.hand_over(None).await.ok();
    }
}

/// How long a leader's write may wait for the disk.
const MAX_STALL: Duration = Duration::from_secs(1);

const EVERY: Duration = Duration::from_millis(200);
