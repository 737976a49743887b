//! The seam to other members. This crate knows neither sockets nor TLS: it is given a connector.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

/// Opens connections to other members, mutually authenticated.
pub trait PeerConnector: Debug + Send + Sync + 'static {
    /// Connects to a member, for one kind of traffic. Whoever answers must have proved to be that
    /// member of this cluster.
    fn connect(
        &self,
        peer: PeerAddress,
        lane: Lane,
    ) -> BoxFuture<'static, Result<Arc<dyn PeerConnection>, PeerError>>;
}

/// What a connection carries. Each has its own, so that none waits behind another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Lane {
    /// Signs of life and votes: small, urgent.
    Heartbeat,
    /// Log entries.
    Log,
    /// Parts of snapshots: large.
    Snapshot,
    /// Proposals and questions on their way to the leader.
    Forward,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 4] = [Self::Heartbeat, Self::Log, Self::Snapshot, Self::Forward];
}

/// A connection to another member. Many calls may be under way at once.
pub trait PeerConnection: Send + Sync {
    /// Sends a request and waits for its answer, at most for `deadline`. Dropping the future gives
    /// up this call alone.
    fn exchange(
        &self,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>>;

    /// Sends requests as they come; they arrive in their order and are answered in it. Ends with the first error,
    /// or when the last request is answered. Dropping the answers gives up these requests alone.
    fn exchange_in_order(
        &self,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>>;
}

/// Whom to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerAddress {
    /// Of which cluster.
    pub cluster_id: [u8; 16],
    /// Which member.
    pub member_id: u64,
    /// Where it listens.
    pub address: String,
}

/// Why a member could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("member {member_id} at {address:?} cannot be reached")]
pub struct PeerError {
    /// Which member.
    pub member_id: u64,
    /// Where it should be.
    pub address: String,
    /// Why not, if known. Its kind tells a refused connection, a passed deadline, and a member that
    /// answers [`AnswerError::NotAMember`](crate::AnswerError::NotAMember) (permission denied).
    #[source]
    pub source: Option<io::Error>,
}

impl PeerError {
    /// Whether nobody listens at the address: the process is gone.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.is(io::ErrorKind::ConnectionRefused)
    }

    /// Whether the deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.is(io::ErrorKind::TimedOut)
    }

    /// Whether the member answered that this one is no member any more.
    #[must_use]
    pub fn is_expulsion(&self) -> bool {
        self.is(io::ErrorKind::PermissionDenied)
    }

    fn is(&self, kind: io::ErrorKind) -> bool {
        self.source.as_ref().map(io::Error::kind) == Some(kind)
    }
}

/// The connector of a cluster of one: it has no peers to connect to.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl PeerConnector for NoPeers {
    fn connect(
        &self,
        peer: PeerAddress,
        _lane: Lane,
    ) -> BoxFuture<'static, Result<Arc<dyn PeerConnection>, PeerError>> {
        Box::pin(std::future::ready(Err(PeerError {
            member_id: peer.member_id,
            address: peer.address,
            source: None,
        })))
    }
}

/// What a request or an answer is long at most: a batch of log entries, or one large entry.
pub const MAX_PEER_FRAME_LEN_BYTES: usize = 8 << 20;
