//! How a host becomes a member: an invite is made, carried over by the operator, proved and used up.
//!
//! What must hold: the invite's secret is never sent, an invite admits one host, and nobody gets the
//! seal key or a certificate without having proved an invite that is still good.

mod admission;
mod client;
mod invitation;
mod invite;
mod proof;
mod service;
mod setbacks;

pub(crate) use self::admission::Admission;
pub(crate) use self::client::{Applicant, join};
pub use self::client::{JOIN_WITHIN, JoinError};
#[cfg(feature = "fuzzing")]
pub use self::client::{reads_as_admission, wrapped_seal_key};
pub use self::invitation::{InvitationError, Invitations, IssuedInvite};
pub use self::invite::{Invite, InviteError};
pub(crate) use self::proof::Exporter;
#[cfg(feature = "fuzzing")]
pub use self::service::reads_as_application;
pub(crate) use self::service::{JoinService, MAX_JOIN_LEN_BYTES};
