//! A leader whose process is gone is replaced at once, without waiting for its lease to end.
//!
//! Raft's safety does not rest on the lease: reads ask a quorum. So when a connection from the
//! leader breaks and its address refuses new ones, this member asks for votes as if the leader had
//! handed over.

use std::sync::Arc;
use std::time::Duration;

use openraft::raft::TransferLeaderRequest;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::forward::address_of;
use super::member::Shared;

/// Follows up on members whose connections ended.
pub(super) async fn watch(shared: Arc<Shared>, mut lost: mpsc::Receiver<u64>) {
    while let Some(member_id) = lost.recv().await {
        if shared.leads_elsewhere(member_id) && is_gone(&shared, member_id).await {
            take_over(&shared, member_id).await;
        }
    }
}

/// Whether nobody listens any more where the member did.
async fn is_gone(shared: &Shared, member_id: u64) -> bool {
    let Some(address) = address_of(&shared.raft, member_id) else {
        return false;
    };
    for _ in 0..PROBES {
        match shared.links.probe(member_id, &address).await {
            Ok(()) => return false,
            Err(error) if error.is_refused() => return true,
            // Stopped, or cut off: others decide when that has lasted too long.
            Err(error) if error.is_timeout() => return false,
            // A process that is just ending closes what it had accepted, then its listener.
            Err(_) => sleep(PROBE_PAUSE).await,
        }
    }
    false
}

/// How many of the other voters have more of the log, or as much and come first.
async fn rank(shared: &Shared, lost: u64) -> u32 {
    let own_id = shared.identity.member_id;
    let own = (shared.own_status(false).last_index, own_id);
    let others = shared.raft.voter_ids();
    let others = others.filter(|id| *id != own_id && *id != lost).collect();
    let answers = shared.ask_members(others, false, RANK_DEADLINE).await;
    let ahead = answers
        .iter()
        .map(|answer| (answer.last_index, answer.member_id));
    let ahead = ahead.filter(|other| *other > own);
    u32::try_from(ahead.count()).unwrap_or(u32::MAX)
}

async fn take_over(shared: &Shared, lost: u64) {
    // Two members that ask at once split the votes, and one with less of the log gets none.
    let rank = rank(shared, lost).await;
    sleep(TURN.saturating_mul(rank)).await;
    // The library would let a learner lead, whom nobody counts on.
    let own_id = shared.identity.member_id;
    let may_vote = shared.raft.voter_ids().any(|id| id == own_id);
    if !may_vote || !shared.leads_elsewhere(lost) {
        return;
    }
    let (vote, last) = {
        let metrics = shared.raft.server_metrics();
        let vote = metrics.borrow_watched().vote;
        let last = shared.raft.watch_log_progress().get();
        (vote, last.and_then(|flushed| flushed.last_log_id))
    };
    tracing::info!(member_id = lost, "leader is gone, asking for votes");
    let request = TransferLeaderRequest::new(vote, own_id, last);
    match shared.raft.handle_transfer_leader(request).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, "lead not taken over"),
        // Consensus has stopped, which others tell.
        Err(_) => {}
    }
}

impl Shared {
    fn leads_elsewhere(&self, member_id: u64) -> bool {
        let leadership = *self.leadership().borrow();
        !leadership.is_leader && leadership.leader == Some(member_id)
    }
}

/// How often a member is tried before it is taken to be there.
const PROBES: u32 = 5;

/// Pause between two tries.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

/// How long another voter may take to tell how much of the log it has.
const RANK_DEADLINE: Duration = Duration::from_millis(100);

/// How long each member that comes first is waited for.
const TURN: Duration = Duration::from_millis(75);
