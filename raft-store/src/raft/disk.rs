//! What this member's disk is watched for: a leader whose disk stalls keeps everybody waiting, and hands over.
//! What is committed is written here when no entries come for it to go with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::member::{Shared, Stopped};
use crate::codec::wire;
use crate::storage::data_dir::DataDir;
use crate::storage::flusher::Stall;

/// How this member's disk does.
#[derive(Debug)]
pub(super) struct Disk {
    stall: Stall,
    dir: Arc<DataDir>,
}

impl Disk {
    pub(super) const fn new(stall: Stall, dir: Arc<DataDir>) -> Self {
        Self { stall, dir }
    }

    /// For how long the oldest write has been waiting to be durable.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        self.stall.waiting()
    }

    pub(super) fn is_full(&self) -> bool {
        DataDir::is_full(self.dir.path())
    }
}

/// Ends this member if its files are gone. Gives up the lead while the disk stalls, if another voter's does not: on a
/// host or storage that they share, an election would only add to the wait.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_full = false;
    loop {
        due.tick().await;
        let is_full = shared.disk.is_full();
        if is_full && !was_full {
            tracing::warn!("disk is full: the next write may fail, which ends this server");
        }
        was_full = is_full;
        if !shared.disk.dir.is_in_place() {
            shared.end(Stopped::files_gone());
            return;
        }
        if let Err(error) = shared.db.write_committed() {
            // Entries will fail to be written, too, and that stops this member.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "log takes no writes"
            );
        }
        let is_leader = shared.leadership().borrow().is_leader;
        let Some(waiting) = shared.disk.stalled_for() else {
            continue;
        };
        if !is_leader || waiting < MAX_STALL {
            continue;
        }
        let Some(successor) = successor(&shared.ask_other_voters(false, ASK_DEADLINE).await) else {
            // Nobody who would do better.
            continue;
        };
        tracing::warn!(?waiting, "disk stalls, giving up the lead");
        shared.hand_over(Some(successor)).await.ok();
    }
}

/// Who has most of the log among those whose disks keep up.
fn successor(answers: &[wire::StatusResponse]) -> Option<u64> {
    let able = answers.iter().filter(|answer| !answer.is_disk_full);
    let able = able.filter(|answer| Duration::from_millis(answer.disk_stall_ms) < FINE_STALL);
    let best = able.max_by_key(|answer| answer.last_index);
    best.map(|answer| answer.member_id)
}

/// How long a leader's write may wait for the disk.
const MAX_STALL: Duration = Duration::from_secs(1);

/// How long a write of its successor may be waiting just then.
const FINE_STALL: Duration = Duration::from_millis(250);

const EVERY: Duration = Duration::from_millis(200);

/// How long another voter may take to tell about its disk.
const ASK_DEADLINE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(member_id: u64, last_index: u64, disk_stall_ms: u64) -> wire::StatusResponse {
        wire::StatusResponse {
            member_id,
            last_index,
            disk_stall_ms,
            ..wire::StatusResponse::default()
        }
    }

    #[test]
    fn the_lead_goes_to_most_of_the_log_on_a_disk_that_keeps_up() {
        let answers = [answer(2, 9, 0), answer(3, 10, 20), answer(4, 11, 900)];
        assert_eq!(successor(&answers), Some(3));
    }

    #[test]
    fn a_leader_whose_voters_stall_too_keeps_the_lead() {
        let full = wire::StatusResponse {
            is_disk_full: true,
            ..answer(3, 10, 0)
        };
        assert_eq!(successor(&[answer(2, 10, 1_200), full]), None);
        assert_eq!(successor(&[]), None);
    }
}
