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
    match shared.links.probe(member_id, &address).await {
        Ok(()) => false,
        Err(error) => error.is_refused(),
    }
}

async fn take_over(shared: &Shared, lost: u64) {
    // Two members that ask at once split the votes.
    sleep(MAX_SPREAD.mul_f64(fraction())).await;
    if !shared.leads_elsewhere(lost) {
        return;
    }
    let (vote, last) = {
        let metrics = shared.raft.server_metrics();
        let vote = metrics.borrow_watched().vote;
        let last = shared.raft.watch_log_progress().get();
        (vote, last.and_then(|flushed| flushed.last_log_id))
    };
    let own_id = shared.identity.member_id;
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

/// Random, from 0 to 1.
fn fraction() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

/// How far apart two members ask for votes.
const MAX_SPREAD: Duration = Duration::from_millis(50);
