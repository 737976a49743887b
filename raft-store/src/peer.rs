//! The seam to other members. This crate knows neither sockets nor TLS: it is given a connector.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Opens connections to other members, mutually authenticated.
pub trait PeerConnector: Debug + Send + Sync + 'static {
    /// Connects to a member. Whoever answers must have proved to be that member of this cluster.
    fn connect(
        &self,
        peer: PeerAddress,
    ) -> BoxFuture<'static, Result<Box<dyn PeerConnection>, PeerError>>;
}

/// A connection to another member.
pub trait PeerConnection: Send + Sync {
    /// Sends a request and waits for the answer, at most for `deadline`. Requests of one
    /// connection arrive in order.
    fn exchange(
        &mut self,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>>;
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
    /// Why not, if known.
    #[source]
    pub source: Option<std::io::Error>,
}

/// The connector of a cluster of one: it has no peers to connect to.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl PeerConnector for NoPeers {
    fn connect(
        &self,
        peer: PeerAddress,
    ) -> BoxFuture<'static, Result<Box<dyn PeerConnection>, PeerError>> {
        Box::pin(std::future::ready(Err(PeerError {
            member_id: peer.member_id,
            address: peer.address,
            source: None,
        })))
    }
}
