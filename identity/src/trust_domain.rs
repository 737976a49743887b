//! The name of a trust domain.
//!
//! A value that exists is valid, so that equality of two names is equality of their bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::spiffe_id::{IdError, SpiffeId};

/// The name of a trust domain, as in `spiffe://<trust domain>/…`.
///
/// Invariant: 1 to [`TrustDomain::MAX_LEN_BYTES`] bytes of `[a-z0-9._-]` (SPIFFE-ID §2.1). A clone
/// shares the bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The longest name that is accepted (SPIFFE-ID §2.3).
    pub const MAX_LEN_BYTES: usize = 255;

    /// Parses a bare name (`example.org`) or takes the trust domain of a SPIFFE ID
    /// (`spiffe://example.org`, with or without a path).
    ///
    /// # Errors
    /// As [`SpiffeId::parse`]; an empty input is [`IdError::MissingTrustDomain`].
    pub fn parse(name_or_id: &str) -> Result<Self, IdError> {
        if name_or_id.is_empty() {
            return Err(IdError::MissingTrustDomain);
        }
        // ":/" and not "://", so that "spiffe:/example.org" is told about its scheme.
        if name_or_id.contains(":/") {
            return Ok(SpiffeId::parse(name_or_id)?.trust_domain().clone());
        }
        Self::from_name(name_or_id)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID of the trust domain itself: `spiffe://<name>`.
    pub fn id_string(&self) -> String {
        format!("spiffe://{}", self.0)
    }

    /// Parses a bare name only.
    pub(crate) fn from_name(name: &str) -> Result<Self, IdError> {
        if name.is_empty() {
            return Err(IdError::MissingTrustDomain);
        }
        if !name.bytes().all(is_name_byte) {
            return Err(IdError::TrustDomainCharacters);
        }
        if name.len() > Self::MAX_LEN_BYTES {
            return Err(IdError::TrustDomainTooLong);
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(name_or_id: &str) -> Result<Self, IdError> {
        Self::parse(name_or_id)
    }
}

fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Result<&str, IdError>) {
        let parsed = TrustDomain::parse(input);
        assert_eq!(
            parsed.as_ref().map(TrustDomain::as_str),
            expected.as_ref().copied(),
            "{input:?}"
        );
    }

    #[test]
    fn names_and_ids_are_accepted() {
        check("example.org", Ok("example.org"));
        check("spiffe://example.org", Ok("example.org"));
        check("spiffe://example.org/some/path", Ok("example.org"));
        check("a", Ok("a"));
        check("..", Ok(".."));
        check("0-9_a.z", Ok("0-9_a.z"));
        check("10.0.0.1", Ok("10.0.0.1"));
    }

    #[test]
    fn every_byte_outside_the_alphabet_is_refused() {
        for byte in 0..=127_u8 {
            let allowed = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
            let name = format!("a{}b", char::from(byte));
            assert_eq!(TrustDomain::from_name(&name).is_ok(), allowed, "{name:?}");
        }
        for name in [
            "Example.org",
            "example.org:80",
            "u@h",
            "ex%41mple",
            "bücher",
            "[::1]",
        ] {
            check(name, Err(IdError::TrustDomainCharacters));
        }
    }

    #[test]
    fn errors_tell_what_is_missing() {
        check("", Err(IdError::MissingTrustDomain));
        check("spiffe://", Err(IdError::MissingTrustDomain));
        check("spiffe:///path", Err(IdError::MissingTrustDomain));
        check("spiffe:/example.org", Err(IdError::Scheme));
        check("http://example.org", Err(IdError::Scheme));
        check("spiffe://example.org/", Err(IdError::TrailingSlash));
    }

    #[test]
    fn the_longest_name_has_255_bytes() {
        let longest = "a".repeat(255);
        check(&longest, Ok(&longest));
        check(&"a".repeat(256), Err(IdError::TrustDomainTooLong));
        check(
            &format!("spiffe://{}/x", "a".repeat(256)),
            Err(IdError::TrustDomainTooLong),
        );
    }
}
