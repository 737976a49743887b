//! The command on what an ACME server gave.

use crate::record::AcmeSecret;

/// Keeps a key and what an ACME server gave for it, in place of the one of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct KeepAcmeSecret {
    /// What is kept.
    pub secret: AcmeSecret,
    /// If there: the nonce that the one which it replaces is sealed with. Otherwise it replaces any.
    pub in_place_of: Option<[u8; 12]>,
}

/// What became of a secret. Unless kept, nothing changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeepAcmeSecretOutcome {
    /// Kept.
    Kept,
    /// The data key is not in the ring, so nobody could open it.
    UnknownDataKey,
    /// The one that it should replace is not there any more.
    Overtaken,
}
