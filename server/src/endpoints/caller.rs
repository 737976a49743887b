//! Owns what is known about the other end of a connection, and the role a call was admitted in.
//!
//! Both are facts by the time a handler sees them: the identity was verified in the handshake, the
//! role by [`Authorizer`](super::Authorizer).

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::unix::Peer;
use identity::tls::PeerIdentity;
use raft_store::AgentRecord;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Somebody on this host, through the Unix socket, maybe out of another container. It never has a
    /// SPIFFE ID.
    Local(Arc<Peer>),
    /// A peer of the TLS listener.
    Tls {
        /// Where it connects from.
        address: SocketAddr,
        /// Who it is, if it presented a certificate; verified in the handshake.
        identity: Option<Arc<PeerIdentity>>,
    },
}

impl Caller {
    /// The verified identity, if there is one.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Local(_) => None,
            Self::Tls { identity, .. } => identity.as_deref(),
        }
    }
}

/// What makes a caller an administrator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AdminSource {
    /// The config names it.
    Config,
    /// An entry of its identity is marked so.
    Entry,
}

/// Why a call was admitted.
#[derive(Clone, Debug)]
pub enum CallerRole {
    /// The RPC is open to everyone.
    Nobody,
    /// The call came through the Unix socket.
    Local,
    /// The caller is an administrator.
    Admin(AdminSource),
    /// The caller holds an identity whose entry is marked downstream.
    Downstream,
    /// The caller is an attested agent, as it was recorded when the call was admitted.
    Agent(Arc<AgentRecord>),
}
