//! One log line for each step of an authority, in the words that operators' scripts wait for.

use raft_store::{AuthorityKind, AuthorityRecord};
use tracing::{debug, info};

/// What was done with an authority.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    Prepared,
    Published,
    Activated,
    Tainted,
    Revoked,
    Removed,
}

/// Tells of a step. The X.509 authority that operators speak of is the root, or the intermediate
/// below an upstream.
pub(super) fn step(done: Done, authority: &AuthorityRecord) {
    let is_below_upstream = authority.upstream_chain.is_some();
    let (what, name) = match authority.kind {
        AuthorityKind::X509Root => ("X509 CA", "X.509 authority"),
        AuthorityKind::X509Intermediate if is_below_upstream => ("X509 CA", "X.509 authority"),
        AuthorityKind::X509Intermediate => ("X509 intermediate CA", "X.509 intermediate"),
        AuthorityKind::Jwt => ("JWT key", "JWT authority"),
        AuthorityKind::Peer => ("peer CA", "peer authority"),
    };
    let text = match done {
        Done::Prepared => format!("{what} prepared"),
        Done::Published => format!("{what} published"),
        Done::Activated => format!("{what} activated"),
        Done::Tainted => format!("{name} tainted successfully"),
        Done::Revoked => format!("{name} revoked successfully"),
        Done::Removed => format!("{what} removed"),
    };
    let upstream = authority.issuer_id.as_deref().filter(|_| is_below_upstream);
    info!(
        local_authority_id = %authority.id,
        upstream_authority_id = upstream,
        issued_at = authority.issued_at.as_secs(),
        expires_at = authority.not_after.as_secs(),
        "{text}"
    );
    let is_for_operators = authority.kind == AuthorityKind::X509Root || is_below_upstream;
    if is_for_operators && matches!(done, Done::Activated) {
        debug!(local_authority_id = %authority.id, "Successfully rotated X.509 CA");
    }
}
