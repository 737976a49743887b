//! A leader's signs of life: how often they are sent, and when they are withheld.
//!
//! The library gives up waiting for an answer when it would send the next sign, and an answer that
//! it does not wait for counts for nothing: on a busy machine, where answers come late but come, the
//! leader would lose its lease. So the library's own interval is long, and here more signs are sent
//! in between.
//!
//! A member answers once its disk has what it was sent before, so a quorum of slow disks looks like
//! one that is gone. A leader goes on longer than its lease lasts, refusing writes meanwhile: an
//! election would need the same disks. After that it is silent for a while, so that members which
//! hear it, but are not heard, can find another. The same if its signs of life are answered and its
//! entries are not: what is small may come through where what is large does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::Instant as _;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::config::ELECTION_TIMEOUT_MAX_MS;
use super::leadership::Leadership;
use super::member::Shared;

/// Sends signs of life while this member leads.
pub(super) async fn beat(shared: Arc<Shared>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reign = Reign::begin(Leadership::default());
    loop {
        due.tick().await;
        let leadership = *shared.leadership().borrow();
        if reign.leadership != leadership {
            reign = Reign::begin(leadership);
        }
        let unheard = reign.unheard_for(&shared).max(reign.unwritten_for(&shared));
        let is_silent = !may_beat(unheard);
        if shared.is_silent.swap(is_silent, Ordering::Relaxed) != is_silent {
            // Those that the library sends by itself.
            shared.raft.runtime_config().heartbeat(!is_silent);
            reign.tell(unheard, is_silent);
        }
        let beats = leadership.is_leader && !is_silent;
        if beats && shared.raft.trigger().heartbeat().await.is_err() {
            // Consensus has stopped, which others tell.
            return;
        }
    }
}

/// The time of one leader in one term.
struct Reign {
    leadership: Leadership,
    since: Instant,
    /// The last entry that is known to be committed, and since when that is so while others wait to be.
    committed: (Option<u64>, Instant),
    is_told: bool,
}

impl Reign {
    fn begin(leadership: Leadership) -> Self {
        let since = Instant::now();
        Self {
            leadership,
            since,
            committed: (None, since),
            is_told: false,
        }
    }

    /// For how long no quorum has answered this member, if it leads others.
    fn unheard_for(&self, shared: &Shared) -> Duration {
        if !self.leadership.is_leader || shared.raft.voter_ids().count() < 2 {
            return Duration::ZERO;
        }
        let acknowledged = {
            let metrics = shared.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.last_quorum_acked.map(|at| at.elapsed())
        };
        let since_begun = self.since.elapsed();
        acknowledged.map_or(since_begun, |age| age.min(since_begun))
    }

    /// For how long nothing has been committed although something waits for it, if this member leads others: longer
    /// than it may be on its way.
    fn unwritten_for(&mut self, shared: &Shared) -> Duration {
        let (last, committed) = {
            let metrics = shared.raft.metrics();
            let metrics = metrics.borrow_watched();
            let committed = metrics.cluster_committed.as_ref();
            (metrics.last_log_index, committed.map(|id| id.index()))
        };
        let leads_others = self.leadership.is_leader && shared.raft.voter_ids().count() > 1;
        if !leads_others || committed >= last || committed != self.committed.0 {
            self.committed = (committed, Instant::now());
        }
        let transit = shared.links.ledger().longest_transit();
        self.committed.1.elapsed().saturating_sub(transit)
    }

    /// Tells once what comes again and again.
    fn tell(&mut self, unheard: Duration, is_silent: bool) {
        if std::mem::replace(&mut self.is_told, true) {
            tracing::debug!(?unheard, is_silent, "no quorum answers this leader");
        } else {
            tracing::warn!(
                ?unheard,
                "no quorum answers this leader, or takes its entries: it is silent at times, so that others can lead"
            );
        }
    }
}

/// Whether a leader shows itself after such a time without a quorum: in turns, once it is long.
fn may_beat(unheard: Duration) -> bool {
    let Some(over) = unheard.checked_sub(PATIENCE) else {
        return true;
    };
    (over.as_nanos() / TURN.as_nanos()) % 2 == 1
}

/// Several may be late before anybody asks for votes.
const EVERY: Duration = Duration::from_millis(100);

/// How long a leader shows itself although no quorum answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it is silent then, and shows itself again: a lease and the longest election timeout.
const TURN: Duration = Duration::from_millis(2 * ELECTION_TIMEOUT_MAX_MS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_whom_no_quorum_answers_is_silent_in_turns() {
        let millis = Duration::from_millis;
        let shown = |unheard| may_beat(millis(unheard));
        assert!(shown(0) && shown(1_999));
        assert!(!shown(2_000) && !shown(2_000 + 2 * ELECTION_TIMEOUT_MAX_MS - 1));
        assert!(shown(2_000 + 2 * ELECTION_TIMEOUT_MAX_MS));
        assert!(!shown(2_000 + 4 * ELECTION_TIMEOUT_MAX_MS));
    }
}
