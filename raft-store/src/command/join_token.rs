//! Commands on join tokens. The state knows a token by its hash only.

use std::sync::Arc;

use identity::clock::UnixTime;
use identity::entry::RegistrationEntry;

use crate::{command::EntryRule, record::JoinTokenHash};

/// Lets a join token be used, once.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateJoinToken {
    /// SHA-256 of the token.
    pub hash: JoinTokenHash,
    /// Until when.
    pub expires_at: UnixTime,
    /// An entry that gives the agent of this token a second name.
    pub alias: Option<Box<RegistrationEntry>>,
}

/// What became of a join token. Unless created, nothing changed.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateJoinTokenOutcome {
    /// Stored, and the alias with it.
    Created,
    /// There is such a token already.
    Exists,
    /// The alias is similar to this entry.
    AliasSimilar(Arc<RegistrationEntry>),
    /// The alias has the id of another entry.
    AliasIdTaken,
    /// The alias breaks a rule.
    AliasInvalid(EntryRule),
}

/// Uses up a join token for nothing: whoever showed it cannot be admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscardJoinToken {
    /// SHA-256 of the token.
    pub hash: JoinTokenHash,
}

/// Deletes join tokens whose time is over.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneJoinTokens {
    /// Tokens with an end before this go.
    pub expired_before: UnixTime,
    /// At most so many.
    pub limit: u32,
}
