//! The names of members: SPIFFE IDs in a trust domain that belongs to one cluster alone, so that no
//! identity that the cluster issues to others can be mistaken for one of its own.

use identity::hex;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

/// The trust domain of the members of a cluster, `peers.<id in hex>`.
pub(crate) fn trust_domain(cluster_id: &[u8; 16]) -> TrustDomain {
    TrustDomain::parse(&format!("peers.{}", hex::lower(cluster_id)))
        .expect("hex digits behind a dot are a trust domain")
}

/// The name of a member, `spiffe://peers.<id in hex>/member/<number>`.
pub(crate) fn member(cluster_id: &[u8; 16], member_id: u64) -> SpiffeId {
    SpiffeId::from_parts(&trust_domain(cluster_id), &format!("{PREFIX}{member_id}"))
        .expect("a number is a path segment")
}

/// Which member a name stands for, whatever its trust domain.
pub(crate) fn member_id(name: &SpiffeId) -> Option<u64> {
    let digits = name.path().strip_prefix(PREFIX)?;
    let number: u64 = digits.parse().ok()?;
    // One name each: no sign, no zeros in front.
    (number.to_string() == digits).then_some(number)
}

const PREFIX: &str = "/member/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let name = member(&[0xab; 16], 17);
        let expected = format!("spiffe://peers.{}/member/17", "ab".repeat(16));
        assert_eq!(name.as_str(), expected);
        assert_eq!(member_id(&name), Some(17));
    }

    #[test]
    fn other_paths_are_no_members() {
        for path in ["/member/017", "/member/+1", "/member/x", "/spire/server"] {
            let name = SpiffeId::from_parts(&trust_domain(&[1; 16]), path).unwrap_or_else(|_| {
                SpiffeId::server(&trust_domain(&[1; 16])) // not even a path
            });
            assert_eq!(member_id(&name), None, "{path}");
        }
    }
}
