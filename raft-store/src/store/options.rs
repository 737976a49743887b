//! How a store is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
    /// Secrets that this process seals with one data key at most; the key is renewed before.
    pub seals: u64,
    /// How long a start may take until this member leads or follows.
    pub start: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proposal_len_bytes: 4 << 20,
            proposals: 1024,
            changes: 16_384,
            snapshot_every: 20_000,
            // Well under the 2^32 random nonces of NIST SP 800-38D §8.3, whatever the number of
            // members.
            seals: 1 << 28,
            start: Duration::from_secs(120),
        }
    }
}
