//! Bounds the log on disk in bytes: the library counts entries alone, and one may have megabytes.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::Fatal;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::time::{MissedTickBehavior, interval};

use super::Types;
use super::member::Shared;

/// Makes a snapshot whenever so many bytes were appended, and drops what the one before holds. A member that lacks
/// that gets the snapshot. Ends with consensus.
pub(super) async fn watch(shared: Arc<Shared>, every_len_bytes: u64) {
    let mut due = interval(LOOK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut at_last = shared.db.appended_len_bytes();
    loop {
        due.tick().await;
        let appended = shared.db.appended_len_bytes();
        if appended - at_last < every_len_bytes {
            continue;
        }
        at_last = appended;
        // Consensus has stopped, which others tell.
        if snapshot(&shared).await.is_err() {
            return;
        }
    }
}

async fn snapshot(shared: &Shared) -> Result<(), Fatal<Types>> {
    let before = {
        let metrics = shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.snapshot.as_ref().map(|id| id.index())
    };
    shared.raft.trigger().snapshot().await?;
    match before {
        Some(index) => shared.raft.trigger().purge_log(index).await,
        None => Ok(()),
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(500);
