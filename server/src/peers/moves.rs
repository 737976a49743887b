//! Learns where a member listens now from that member itself.
//!
//! A member that was started under another address cannot be found by the leader, and without one it
//! cannot tell the cluster. But it finds the others: each connection of its says where it listens,
//! and whoever hears of something new has the cluster write it down.

use std::sync::Arc;

use identity::clock::Clock;
use raft_store::{AnnounceMember, AnnounceOutcome, MemberProfile, Proposal, ProposeError, Store};
use tokio::sync::mpsc;

/// Somewhere new: which member, and where it says that it listens.
type Move = (u64, Box<str>);

/// Tells of addresses that members name. A clone tells the same.
#[derive(Clone, Debug)]
pub(super) struct Heard(mpsc::Sender<Move>);

impl Heard {
    /// Notes that `member_id` says that it listens at `address`. What comes too fast is left out:
    /// the member will say it again.
    pub(super) fn note(&self, member_id: u64, address: &str) {
        if address.len() <= MAX_ADDRESS_LEN_BYTES {
            self.0.try_send((member_id, address.into())).ok();
        }
    }
}

/// Has new addresses written down.
#[derive(Debug)]
pub(super) struct Moves {
    store: Store,
    clock: Arc<dyn Clock>,
    heard: mpsc::Receiver<Move>,
}

impl Moves {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> (Heard, Self) {
        let (sender, heard) = mpsc::channel(MAX_WAITING);
        let moves = Self {
            store,
            clock,
            heard,
        };
        (Heard(sender), moves)
    }

    /// Works until nobody can tell anything any more.
    pub(super) async fn run(mut self) {
        while let Some((member_id, address)) = self.heard.recv().await {
            if let Err(error) = self.write_down(member_id, address).await {
                let cause = daemon::supervisor::chain(&error);
                tracing::warn!(member_id, cause, "new address of a member is not known yet");
            }
        }
    }

    async fn write_down(&self, member_id: u64, address: Box<str>) -> Result<(), ProposeError> {
        let record = self.store.read(|state| state.member(member_id).cloned());
        let Some(record) = record else {
            return Ok(());
        };
        if record.is_removed || record.profile.peer_address == address {
            return Ok(());
        }
        tracing::info!(member_id, from = %record.profile.peer_address, to = %address, "member has moved");
        let announcement = AnnounceMember {
            id: member_id,
            profile: MemberProfile {
                peer_address: address,
                ..record.profile.clone()
            },
        };
        let proposal = Proposal::new(self.clock.now());
        match self.store.propose(announcement, proposal).await? {
            AnnounceOutcome::Stored | AnnounceOutcome::Unchanged | AnnounceOutcome::Removed => {}
            AnnounceOutcome::AddressTaken { by } => {
                tracing::warn!(member_id, by, "another member has the address of this one");
            }
        }
        Ok(())
    }
}

/// The name of the metadata in which a member says where it listens.
pub(super) const ADDRESS_KEY: &str = "peer-address";

const MAX_WAITING: usize = 16;
const MAX_ADDRESS_LEN_BYTES: usize = 512;
