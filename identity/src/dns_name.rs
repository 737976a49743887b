//! DNS names that an entry may put into certificates.
//!
//! Rules and texts are SPIRE's: looser than RFC 1123 (an underscore or a blank is let through,
//! because names in use have them), strict about wildcards and lengths.

use std::collections::BTreeSet;
use std::fmt;

use crate::punycode;

/// A DNS name as it was given.
///
/// Invariant: ASCII; at most one `*`, and then as the whole first label; labels of 1 to 63 bytes, at
/// most 253 in all.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DnsName(Box<str>);

impl DnsName {
    /// The longest name without its wildcard (RFC 1035 §2.3.4, without the root's dot).
    pub const MAX_LEN_BYTES: usize = 253;
    /// The longest label (RFC 1035 §2.3.4).
    pub const MAX_LABEL_LEN_BYTES: usize = 63;

    /// Checks a name.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(name: &str) -> Result<Self, DnsNameError> {
        if !name.is_ascii() {
            return Err(DnsNameError::NotAscii);
        }
        let plain = match name.matches('*').count() {
            0 => name,
            1 => name
                .strip_prefix("*.")
                .ok_or(DnsNameError::WildcardPosition)?,
            _ => return Err(DnsNameError::TooManyWildcards),
        };
        check_plain(plain.trim())?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses a list in which a wildcard covers another name.
    ///
    /// # Errors
    /// Names the name that is covered.
    pub fn check_overlap(names: &[Self]) -> Result<(), DnsNameError> {
        let folded: BTreeSet<String> = names
            .iter()
            .map(|name| name.0.to_ascii_lowercase())
            .collect();
        let covered = names.iter().find(|name| {
            let (first, rest) = name.0.split_once('.').unwrap_or((&name.0, ""));
            first != "*" && folded.contains(&format!("*.{}", rest.to_ascii_lowercase()))
        });
        match covered {
            Some(name) => Err(DnsNameError::Overlap(name.clone())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DnsNameError {
    /// A byte is not ASCII.
    #[error("name must be ascii")]
    NotAscii,
    /// There is more than one `*`.
    #[error("too many wildcards")]
    TooManyWildcards,
    /// The `*` is not the whole first label.
    #[error("wildcard must be first label")]
    WildcardPosition,
    /// Nothing but blanks.
    #[error("empty or only whitespace")]
    Empty,
    /// The name ends with a dot.
    #[error("domain ends with dot")]
    TrailingDot,
    /// The name or a label is empty or too long, or a label has hyphens where it must not.
    #[error("idna error: invalid label or length in {0:?}")]
    Idna(Box<str>),
    /// A wildcard in the same list covers the name.
    #[error("name \"{0}\" overlaps with an existing wildcard name in the list: wildcard overlap")]
    Overlap(DnsName),
}

fn check_plain(name: &str) -> Result<(), DnsNameError> {
    if name.is_empty() {
        return Err(DnsNameError::Empty);
    }
    if name.ends_with('.') {
        return Err(DnsNameError::TrailingDot);
    }
    let valid = name.len() <= DnsName::MAX_LEN_BYTES && name.split('.').all(is_label);
    valid
        .then_some(())
        .ok_or_else(|| DnsNameError::Idna(name.into()))
}

/// Length and hyphens (UTS #46 §4.1); hyphens in third and fourth place belong to Punycode, which has to stand for
/// something.
fn is_label(label: &str) -> bool {
    let is_plain = || match label.split_at_checked(4) {
        Some((prefix, encoded)) if prefix.eq_ignore_ascii_case("xn--") => {
            stands_for_something(encoded)
        }
        _ => label.get(2..4) != Some("--"),
    };
    (1..=DnsName::MAX_LABEL_LEN_BYTES).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && is_plain()
}

/// Only what no version of Unicode lets into a name is refused: SPIRE's tables know less, or more, each year.
fn stands_for_something(encoded: &str) -> bool {
    let decoded = punycode::decode(encoded);
    decoded.is_some_and(|decoded| {
        !decoded.iter().any(|character| character.is_control())
            && !decoded.iter().all(char::is_ascii)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_use_are_accepted() {
        for name in [
            "a",
            "a.example.org",
            "*.example.org",
            "bad name",
            "under_score.x",
            "UPPER.x",
            "xn--bcher-kva.example",
            "10.0.0.1",
            &"a".repeat(63),
        ] {
            assert_eq!(DnsName::parse(name).unwrap().as_str(), name);
        }
    }

    fn check(name: &str, expected: &str) {
        assert_eq!(
            DnsName::parse(name).unwrap_err().to_string(),
            expected,
            "{name:?}"
        );
    }

    #[test]
    fn broken_names_are_told_why() {
        check("", "empty or only whitespace");
        check(" \t", "empty or only whitespace");
        check("*.", "empty or only whitespace");
        check("a.", "domain ends with dot");
        check("*.*.org", "too many wildcards");
        check("a.*", "wildcard must be first label");
        check("*", "wildcard must be first label");
        check("a*.org", "wildcard must be first label");
        check("bücher.example", "name must be ascii");
        check("a..b", r#"idna error: invalid label or length in "a..b""#);
        check("-a.b", r#"idna error: invalid label or length in "-a.b""#);
        for name in ["xn--abc", "xn--99999999.org", "*.xn--a_b"] {
            let plain = name.trim_start_matches("*.");
            check(
                name,
                &format!("idna error: invalid label or length in {plain:?}"),
            );
        }
        check(
            "ab--c.d",
            r#"idna error: invalid label or length in "ab--c.d""#,
        );
        let long = "a".repeat(64);
        check(
            &long,
            &format!("idna error: invalid label or length in {long:?}"),
        );
        let long = format!("{}b", "a.".repeat(127));
        check(
            &long,
            &format!("idna error: invalid label or length in {long:?}"),
        );
    }

    #[test]
    fn a_wildcard_must_not_cover_a_name_beside_it() {
        let names = |texts: &[&str]| -> Vec<DnsName> {
            texts
                .iter()
                .map(|text| DnsName::parse(text).unwrap())
                .collect()
        };
        assert_eq!(
            DnsName::check_overlap(&names(&["*.Example.org", "a.example.ORG"]))
                .unwrap_err()
                .to_string(),
            r#"name "a.example.ORG" overlaps with an existing wildcard name in the list: wildcard overlap"#
        );
        assert_eq!(
            DnsName::check_overlap(&names(&["*.b.org", "b.org", "a.c.b.org"])),
            Ok(())
        );
    }
}
