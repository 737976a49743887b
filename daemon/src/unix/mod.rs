//! Unix sockets as gRPC servers and clients use them: bound without stealing a live one, with the identity
//! of the peer process, and tolerant of the `:authority` values that gRPC libraries send over them.

mod authority;
mod dial;
mod hpack;
mod listener;
mod peer;
mod slots;

pub use self::{
    dial::{ConnectError, connect},
    listener::{BindError, BindOptions, Connection, Listener, bind},
    peer::{Peer, PeerProcess},
};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use self::{authority::repaired, peer::told_by_proc};
