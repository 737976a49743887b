//! Who leads, as this member knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::Raft;
use openraft::ServerState;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;

use super::Types;
use super::links::Links;
use super::machine::Machine;

/// Who leads, as one member knows it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<u64>,
    /// Whether it is this member.
    pub is_leader: bool,
    /// Grows with every election.
    pub(crate) term: u64,
}

impl Leadership {
    pub(super) fn of(raft: &Raft<Types, Machine>) -> Self {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let is_leader =
            metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id);
        Self {
            leader: metrics.current_leader,
            is_leader,
            term: metrics.vote.leader_id().term,
        }
    }
}

/// Tells every change, and where members listen, until consensus has ended.
pub(super) async fn follow(
    raft: Raft<Types, Machine>,
    links: Arc<Links>,
    told: watch::Sender<Leadership>,
) {
    let mut metrics = raft.server_metrics();
    loop {
        links.set_addresses(addresses(&raft));
        let now = Leadership::of(&raft);
        told.send_if_modified(|known| {
            let is_new = *known != now;
            *known = now;
            is_new
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

fn addresses(raft: &Raft<Types, Machine>) -> BTreeMap<u64, String> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let nodes = metrics.membership_config.membership().nodes();
    nodes
        .map(|(id, peer)| (*id, peer.address.clone()))
        .collect()
}
