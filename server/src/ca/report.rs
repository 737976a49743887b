//! One log line for each step of an authority, in the words that operators' scripts wait for.

use identity::{bundle::Bundle, tls::TaintedAuthorities};
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

/// Tells of the tainted roots of `before` that `after` does not trust any more, since the upstream revoked them.
pub(super) fn revoked_above(before: &Bundle, after: &Bundle) {
    for subject_key_id in tainted_and_gone(before, after) {
        info!(subject_key_id, "X.509 authority revoked");
    }
}

fn tainted_and_gone(before: &Bundle, after: &Bundle) -> Vec<String> {
    let mut gone = before.clone();
    gone.x509_authorities.retain(|root| {
        let mut left = after.x509_authorities.iter();
        !left.any(|one| one.certificate == root.certificate)
    });
    TaintedAuthorities::of(&gone).ids().collect()
}

#[cfg(test)]
mod tests {
    use identity::testing::TestAuthority;

    use super::*;

    #[test]
    fn only_tainted_roots_are_revoked_above() {
        let mut before = TestAuthority::new("example.org").bundle();
        let other = TestAuthority::new("example.org").bundle();
        before.x509_authorities.extend(other.x509_authorities);
        before.x509_authorities[1].tainted = true;
        let tainted: Vec<String> = TaintedAuthorities::of(&before).ids().collect();
        assert_eq!(tainted.len(), 1);
        assert_eq!(tainted_and_gone(&before, &before), Vec::<String>::new());
        let mut after = before.clone();
        after.x509_authorities.pop();
        assert_eq!(tainted_and_gone(&before, &after), tainted);
        after.x509_authorities.clear();
        assert_eq!(tainted_and_gone(&before, &after), tainted);
    }
}
