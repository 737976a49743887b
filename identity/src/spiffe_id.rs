//! SPIFFE IDs: their syntax and the classes that the control plane tells apart.
//!
//! Syntax and error texts are those of go-spiffe, because command lines and API answers show them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::trust_domain::TrustDomain;

const SCHEME: &str = "spiffe://";
const RESERVED: &str = "/spire";
const AGENT_NAMESPACE: &str = "/spire/agent/";
const SERVER: &str = "/spire/server";

/// A SPIFFE ID: a trust domain and a path that is empty or starts with `/`.
///
/// Invariant: at most [`SpiffeId::MAX_LEN_BYTES`] bytes; path segments are non-empty, neither `.`
/// nor `..`, and made of `[A-Za-z0-9._-]` (SPIFFE-ID §2.2), so equality of two ids is equality of
/// the bytes. A clone shares the bytes. The order is that of the text.
#[derive(Clone)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// The longest id that is accepted (SPIFFE-ID §2.3).
    pub const MAX_LEN_BYTES: usize = 2048;

    /// Parses `spiffe://<trust domain>[/path]`.
    ///
    /// # Errors
    /// The first rule that is broken, reading from the left.
    pub fn parse(id: &str) -> Result<Self, IdError> {
        if id.is_empty() {
            return Err(IdError::Empty);
        }
        let rest = id.strip_prefix(SCHEME).ok_or(IdError::Scheme)?;
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = TrustDomain::from_name(name)?;
        check_path(path)?;
        Self::checked(id.into(), trust_domain)
    }

    /// Joins a trust domain and a path, which is empty or starts with `/`.
    ///
    /// # Errors
    /// The first rule that the path breaks.
    pub fn from_parts(trust_domain: &TrustDomain, path: &str) -> Result<Self, IdError> {
        check_path(path)?;
        let text = format!("{SCHEME}{trust_domain}{path}");
        Self::checked(text.into(), trust_domain.clone())
    }

    /// The id of the server of a trust domain: `spiffe://<trust domain>/spire/server`.
    pub fn server(trust_domain: &TrustDomain) -> Self {
        Self {
            text: format!("{SCHEME}{trust_domain}{SERVER}").into(),
            trust_domain: trust_domain.clone(),
        }
    }

    /// The id of the trust domain itself, with an empty path.
    pub fn of_trust_domain(trust_domain: &TrustDomain) -> Self {
        Self {
            text: trust_domain.id_string().into(),
            trust_domain: trust_domain.clone(),
        }
    }

    /// The id of an agent that attests itself with a join token.
    ///
    /// # Errors
    /// The token is not a valid path segment.
    pub fn join_token_agent(trust_domain: &TrustDomain, token: &str) -> Result<Self, IdError> {
        if token.contains('/') {
            return Err(IdError::PathCharacters);
        }
        Self::from_parts(
            trust_domain,
            &format!("{AGENT_NAMESPACE}join_token/{token}"),
        )
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path: empty, or `/` and what follows.
    pub fn path(&self) -> &str {
        &self.text[SCHEME.len() + self.trust_domain.as_str().len()..]
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Lets the id use the bytes of an equal trust domain's name, so that many ids of one trust
    /// domain hold it once. Another trust domain changes nothing.
    pub fn share_trust_domain(&mut self, trust_domain: &TrustDomain) {
        if self.trust_domain == *trust_domain {
            self.trust_domain = trust_domain.clone();
        }
    }

    /// Whether the id names something in `trust_domain`, and not the domain itself.
    pub fn is_member_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain == *trust_domain && !self.path().is_empty()
    }

    /// Whether the path is in the reserved namespace: `/spire` and everything below.
    pub fn is_reserved(&self) -> bool {
        self.path()
            .strip_prefix(RESERVED)
            .is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// Whether the path is below `/spire/agent/`.
    pub fn is_agent(&self) -> bool {
        self.path().starts_with(AGENT_NAMESPACE)
    }

    /// Whether the path is `/spire/server`.
    pub fn is_server(&self) -> bool {
        self.path() == SERVER
    }

    fn checked(text: Arc<str>, trust_domain: TrustDomain) -> Result<Self, IdError> {
        if text.len() > Self::MAX_LEN_BYTES {
            return Err(IdError::TooLong);
        }
        Ok(Self { text, trust_domain })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(id: &str) -> Result<Self, IdError> {
        Self::parse(id)
    }
}

impl PartialEq for SpiffeId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SpiffeId {}

impl std::hash::Hash for SpiffeId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for SpiffeId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SpiffeId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

/// Why a text is not a SPIFFE ID or not the name of a trust domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum IdError {
    #[error("cannot be empty")]
    Empty,
    #[error("scheme is missing or invalid")]
    Scheme,
    #[error("trust domain is missing")]
    MissingTrustDomain,
    #[error(
        "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
    )]
    TrustDomainCharacters,
    #[error("trust domain is longer than 255 bytes")]
    TrustDomainTooLong,
    #[error("path must have a leading slash")]
    NoLeadingSlash,
    #[error("path cannot contain empty segments")]
    EmptySegment,
    #[error("path cannot contain dot segments")]
    DotSegment,
    #[error("path cannot have a trailing slash")]
    TrailingSlash,
    #[error(
        "path segment characters are limited to letters, numbers, dots, dashes, and underscores"
    )]
    PathCharacters,
    #[error("SPIFFE ID is longer than 2048 bytes")]
    TooLong,
}

fn check_path(path: &str) -> Result<(), IdError> {
    if path.is_empty() {
        return Ok(());
    }
    let mut segments = path
        .strip_prefix('/')
        .ok_or(IdError::NoLeadingSlash)?
        .split('/')
        .peekable();
    while let Some(segment) = segments.next() {
        if !segment.bytes().all(is_segment_byte) {
            return Err(IdError::PathCharacters);
        }
        match segment {
            "" if segments.peek().is_none() => return Err(IdError::TrailingSlash),
            "" => return Err(IdError::EmptySegment),
            "." | ".." => return Err(IdError::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Result<(&str, &str), IdError>) {
        let parsed = SpiffeId::parse(input);
        let parts = parsed
            .as_ref()
            .map(|id| (id.trust_domain().as_str(), id.path()));
        assert_eq!(parts, expected.as_ref().copied(), "{input:?}");
        if let Ok(id) = &parsed {
            assert_eq!(id.as_str(), input);
            assert_eq!(
                SpiffeId::from_parts(id.trust_domain(), id.path()).as_ref(),
                Ok(id)
            );
        }
    }

    #[test]
    fn valid_ids_are_accepted() {
        check("spiffe://example.org", Ok(("example.org", "")));
        check("spiffe://example.org/a", Ok(("example.org", "/a")));
        check("spiffe://a_b-c.0/x/y/z", Ok(("a_b-c.0", "/x/y/z")));
        check("spiffe://td/...", Ok(("td", "/...")));
        check("spiffe://td/.a/a./..b", Ok(("td", "/.a/a./..b")));
        check("spiffe://td/A-Z_0.9", Ok(("td", "/A-Z_0.9")));
        check(
            "spiffe://k8s.example.com/ns/staging/sa/default",
            Ok(("k8s.example.com", "/ns/staging/sa/default")),
        );
    }

    #[test]
    fn every_byte_outside_the_path_alphabet_is_refused() {
        for byte in 0..=127_u8 {
            let allowed = byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte);
            let id = format!("spiffe://td/a{}b", char::from(byte));
            assert_eq!(SpiffeId::parse(&id).is_ok(), allowed, "{id:?}");
        }
    }

    #[test]
    fn invalid_ids_name_the_broken_rule() {
        check("", Err(IdError::Empty));
        for id in [
            "example.org/x",
            "spiffe:/td/x",
            "spiffe:td",
            "SPIFFE://td/x",
            "sPiFfE://td",
            "//td/x",
            "https://td/x",
            " spiffe://td",
            "spiffe",
        ] {
            check(id, Err(IdError::Scheme));
        }
        check("spiffe://", Err(IdError::MissingTrustDomain));
        check("spiffe:///path", Err(IdError::MissingTrustDomain));
        for id in [
            "spiffe://Td/x",
            "spiffe://user@td/x",
            "spiffe://user:pw@td/x",
            "spiffe://td:80/x",
            "spiffe://td:/x",
            "spiffe://td?q=1",
            "spiffe://td#f",
            "spiffe://t%64/x",
            "spiffe://bücher/x",
            "spiffe://[::1]/x",
            "spiffe://td /x",
        ] {
            check(id, Err(IdError::TrustDomainCharacters));
        }
        for id in [
            "spiffe://td/p?q=1",
            "spiffe://td/p#f",
            "spiffe://td/%61",
            "spiffe://td/a b",
            "spiffe://td/ü",
            "spiffe://td/a:b",
            "spiffe://td/a~b",
            "spiffe://td/\0",
        ] {
            check(id, Err(IdError::PathCharacters));
        }
        check("spiffe://td/", Err(IdError::TrailingSlash));
        check("spiffe://td/a/", Err(IdError::TrailingSlash));
        check("spiffe://td//a", Err(IdError::EmptySegment));
        check("spiffe://td/a//b", Err(IdError::EmptySegment));
        check("spiffe://td//", Err(IdError::EmptySegment));
        for id in [
            "spiffe://td/.",
            "spiffe://td/..",
            "spiffe://td/a/./b",
            "spiffe://td/a/../b",
            "spiffe://td/../a",
            "spiffe://td/a/..",
        ] {
            check(id, Err(IdError::DotSegment));
        }
    }

    #[test]
    fn a_path_starts_with_a_slash() {
        let td = TrustDomain::parse("td").unwrap();
        assert_eq!(SpiffeId::from_parts(&td, "a"), Err(IdError::NoLeadingSlash));
        assert_eq!(
            SpiffeId::from_parts(&td, "").unwrap().as_str(),
            "spiffe://td"
        );
    }

    #[test]
    fn the_longest_id_has_2048_bytes() {
        let longest = format!("spiffe://td/{}", "a".repeat(2048 - 12));
        check(&longest, Ok(("td", &longest[11..])));
        check(&format!("{longest}a"), Err(IdError::TooLong));
        let td = TrustDomain::parse("td").unwrap();
        assert_eq!(
            SpiffeId::from_parts(&td, &format!("/{}", "a".repeat(2037))),
            Err(IdError::TooLong)
        );
    }

    #[test]
    fn classes_of_ids_are_told_apart() {
        let td = TrustDomain::parse("td").unwrap();
        let id = |text: &str| SpiffeId::parse(text).unwrap();
        assert!(id("spiffe://td/w").is_member_of(&td));
        assert!(!id("spiffe://td").is_member_of(&td));
        assert!(!id("spiffe://td2/w").is_member_of(&td));
        assert!(id("spiffe://td/spire/agent/x").is_agent());
        assert!(!id("spiffe://td/spire/agent").is_agent());
        assert!(!id("spiffe://td/spire/agents/x").is_agent());
        assert!(id("spiffe://td/spire").is_reserved());
        assert!(id("spiffe://td/spire/x").is_reserved());
        assert!(!id("spiffe://td/spirea").is_reserved());
        assert!(!id("spiffe://td/a/spire").is_reserved());
        assert!(SpiffeId::server(&td).is_server());
        assert!(!id("spiffe://td/spire/server/x").is_server());
    }

    #[test]
    fn a_join_token_is_one_segment() {
        let td = TrustDomain::parse("td").unwrap();
        assert_eq!(
            SpiffeId::join_token_agent(&td, "abc-1").unwrap().as_str(),
            "spiffe://td/spire/agent/join_token/abc-1"
        );
        assert_eq!(
            SpiffeId::join_token_agent(&td, "a/b"),
            Err(IdError::PathCharacters)
        );
        assert_eq!(
            SpiffeId::join_token_agent(&td, ".."),
            Err(IdError::DotSegment)
        );
        assert_eq!(
            SpiffeId::join_token_agent(&td, ""),
            Err(IdError::TrailingSlash)
        );
    }
}
