//! Commands on agents.

use identity::clock::UnixTime;
use identity::selector::SelectorSet;
use identity::spiffe_id::SpiffeId;

use crate::record::{JoinTokenHash, PublicKeyHash};

/// Stores an agent that proved its node, anew or again: selectors are replaced, a pending serial
/// is dropped; the attestation type of a known agent stays.
#[derive(Clone, Debug, PartialEq)]
pub struct AttestAgent {
    /// The agent.
    pub spiffe_id: SpiffeId,
    /// How it proved its node.
    pub attestation_type: Box<str>,
    /// Serial of its certificate, decimal.
    pub serial: Box<str>,
    /// End of its certificate.
    pub not_after: UnixTime,
    /// Whether it may attest again, or must renew.
    pub can_reattest: bool,
    /// What the attestation found out.
    pub selectors: SelectorSet,
    /// The join token that this attestation uses up.
    pub redeem: Option<JoinTokenHash>,
}

/// Stores an agent that showed its join token, and uses that up; as [`AttestAgent`] does, but what is
/// asked for by the same key again has the same outcome, since its answer may have been lost. The
/// serial is pending then, so that whoever repeats what another has sent takes nothing away. That
/// ends with the token's time, and once the agent renews or shows another certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct RedeemJoinToken {
    /// The agent of the token.
    pub spiffe_id: SpiffeId,
    /// Serial of its certificate, decimal.
    pub serial: Box<str>,
    /// End of its certificate.
    pub not_after: UnixTime,
    /// What is known of it.
    pub selectors: SelectorSet,
    /// SHA-256 of the token.
    pub token: JoinTokenHash,
    /// SHA-256 of the key that its certificate is for.
    pub public_key: PublicKeyHash,
}

/// What became of an attestation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttestOutcome {
    /// Stored.
    Attested,
    /// The agent is banned. The token is gone, the agent unchanged.
    Banned,
    /// There is no such token: never made, or used.
    TokenNotRedeemable,
    /// The token was too old; it is gone now.
    TokenExpired,
}

/// Notes a certificate that was issued to an agent but not shown by it yet.
#[derive(Clone, Debug, PartialEq)]
pub struct RenewAgent {
    /// The agent.
    pub spiffe_id: SpiffeId,
    /// Serial of the new certificate, decimal.
    pub new_serial: Box<str>,
    /// End of the new certificate.
    pub new_not_after: UnixTime,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RenewOutcome {
    /// Noted.
    Renewed,
    /// There is no such agent.
    NotFound,
    /// The agent is banned; nothing changed.
    Banned,
}

/// Makes the pending certificate of an agent its certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct PromoteAgentSerial {
    /// The agent.
    pub spiffe_id: SpiffeId,
    /// The serial that it showed.
    pub serial: Box<str>,
}

/// What became of a promotion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PromoteOutcome {
    /// The serial is the agent's, now or already.
    Promoted,
    /// The serial is neither pending nor current, or there is no such agent.
    Stale,
}

/// Bans an agent: both its serials become empty.
#[derive(Clone, Debug, PartialEq)]
pub struct BanAgent {
    /// The agent.
    pub spiffe_id: SpiffeId,
}

/// Forgets an agent, and the alias entry that its join token made.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteAgent {
    /// The agent.
    pub spiffe_id: SpiffeId,
}

/// Stores what version an agent runs.
#[derive(Clone, Debug, PartialEq)]
pub struct SetAgentVersion {
    /// The agent.
    pub spiffe_id: SpiffeId,
    /// Its version.
    pub version: Box<str>,
}

/// Forgets agents whose certificate ended long ago. Banned agents stay: the ban would go with them.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneAgents {
    /// Agents whose certificate ended before this go.
    pub expired_before: UnixTime,
    /// Whether agents that cannot attest again go, too.
    pub include_non_reattestable: bool,
    /// At most so many.
    pub limit: u32,
}
