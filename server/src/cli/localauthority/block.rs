//! How an authority is shown.

use daemon::command_line::utc_text;
use proto::spire::api::server::localauthority::v1::AuthorityState;

/// What there is to say about authorities of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Block {
    /// Also who signed it.
    X509,
    Jwt,
}

impl Block {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::X509 => "X.509",
            Self::Jwt => "JWT",
        }
    }

    /// The lines about one authority.
    pub(super) fn of(self, authority: &AuthorityState) -> String {
        let (id, end) = (&authority.authority_id, utc_text(authority.expires_at));
        let common = format!("  Authority ID: {id}\n  Expires at: {end}\n");
        match (self, &*authority.upstream_authority_subject_key_id) {
            (Self::Jwt, _) => common,
            (Self::X509, "") => {
                format!("{common}  Upstream authority ID: No upstream authority\n")
            }
            (Self::X509, upstream) => {
                format!("{common}  Upstream authority Subject Key ID: {upstream}\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_is_told_of_x509_authorities_only() {
        let mut authority = AuthorityState {
            authority_id: "a1".to_owned(),
            expires_at: 1_800_000_000,
            upstream_authority_subject_key_id: String::new(),
        };
        let common = "  Authority ID: a1\n  Expires at: 2027-01-15 08:00:00 +0000 UTC\n";
        assert_eq!(Block::Jwt.of(&authority), common);
        assert_eq!(
            Block::X509.of(&authority),
            format!("{common}  Upstream authority ID: No upstream authority\n")
        );
        authority.upstream_authority_subject_key_id = "b2".to_owned();
        assert_eq!(
            Block::X509.of(&authority),
            format!("{common}  Upstream authority Subject Key ID: b2\n")
        );
    }
}
