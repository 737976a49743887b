//! How a store is opened.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use identity::clock::{Clock, SystemClock};
use tokio::runtime::Handle;

use crate::command::FORMATS;
use crate::peer::{NoPeers, PeerConnector};
use crate::seal::SealProvider;

/// What a store needs.
#[derive(Debug)]
pub struct Options {
    /// Where its files are. Nothing else may be in it.
    pub data_dir: PathBuf,
    /// Who holds the key-encryption key.
    pub seal: Box<dyn SealProvider>,
    /// How other members are reached.
    pub connector: Arc<dyn PeerConnector>,
    /// Bounds.
    pub limits: Limits,
    /// As what this member starts.
    pub start: Start,
    /// Where consensus and everything towards other members runs; where the store is opened, if
    /// none. With a runtime of its own no other work delays a heartbeat. It must outlive the store.
    pub runtime: Option<Handle>,
    /// What this member dates by what it proposes itself, and compares with the others' time.
    pub clock: Arc<dyn Clock>,
    /// Where agents and operators find this member, told to the others.
    pub api_address: String,
    /// What program this is, told to the others.
    pub program_version: String,
    /// Command formats that this member says it understands; [`FORMATS`], or less to keep the
    /// cluster at an older one.
    pub formats: RangeInclusive<u32>,
}

/// As what a member starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// A cluster of one that listens to no peer.
    Alone,
    /// The first member of a new cluster if the directory is empty; else the member that it was.
    Member {
        /// Where it listens for peers, maybe somewhere new.
        address: String,
    },
    /// A member that was just admitted, with an empty directory; or that same member again.
    Joined {
        /// To which cluster.
        cluster_id: [u8; 16],
        /// As which member.
        member_id: u64,
        /// Where it listens for peers.
        address: String,
    },
}

/// Who a data directory belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Of which cluster.
    pub cluster_id: [u8; 16],
    /// Which member.
    pub member_id: u64,
}

impl Options {
    /// The options of a cluster of one.
    #[must_use]
    pub fn new(data_dir: PathBuf, seal: Box<dyn SealProvider>) -> Self {
        Self {
            data_dir,
            seal,
            connector: Arc::new(NoPeers),
            limits: Limits::default(),
            start: Start::Alone,
            runtime: None,
            clock: Arc::new(SystemClock),
            api_address: String::new(),
            program_version: String::new(),
            formats: FORMATS,
        }
    }
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A command's size at most, encoded.
    pub proposal_len_bytes: usize,
    /// Proposals on their way at most; more wait, until their deadline.
    pub proposals: usize,
    /// Changes that the feed holds for followers at most.
    pub changes: usize,
    /// Log entries between two snapshots. As many stay in the log behind a snapshot.
    pub snapshot_every: u64,
    /// Bytes of the log after which there is one the sooner; what stood before the last one goes then.
    pub snapshot_every_len_bytes: u64,
    /// Secrets that this process seals with one data key at most; the key is renewed before.
    pub seals: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proposal_len_bytes: 4 << 20,
            proposals: 1024,
            changes: 16_384,
            snapshot_every: 20_000,
            snapshot_every_len_bytes: 256 << 20,
            // Well under the 2^32 random nonces of NIST SP 800-38D §8.3, whatever the number of
            // members.
            seals: 1 << 28,
        }
    }
}
