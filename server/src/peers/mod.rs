//! The other members of the cluster: how this one finds them, proves itself to them, lets a new one
//! in, and becomes one itself.
//!
//! The store says what is sent; here is how it gets there. Identities of members live in a trust
//! domain of their own (`name`), come from an authority of their own, and open no other door;
//! nobody else's opens this one.

mod complaints;
mod connector;
mod envelope;
mod exchange;
mod identity;
mod join;
mod listener;
mod member;
mod moves;
mod name;
mod places;
mod runtime;
mod start;

pub use self::connector::Connector;
pub use self::envelope::EnvelopeError;
pub(crate) use self::identity::IdentityTask;
pub use self::identity::{IdentityError, IdentityFileError};
pub use self::join::{
    InvitationError, Invitations, Invite, InviteError, IssuedInvite, JOIN_WITHIN, JoinError,
};
pub(crate) use self::member::{Arrival, Member};
pub(crate) use self::name::trust_domain;
pub use self::runtime::PeerRuntime;
pub(crate) use self::start::{PROGRAM_VERSION, found, store_folder};
pub use self::start::{forget_identity, join_cluster};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use self::{
    identity::reads_as_identity,
    join::{reads_as_admission, reads_as_application, wrapped_seal_key},
};

/// A message between members at most, with what the wire adds to it.
const MAX_MESSAGE_LEN_BYTES: usize = raft_store::MAX_PEER_FRAME_LEN_BYTES + 1024;
