//! By which host names callers may come.
//!
//! A document that named whatever host a caller wrote into its request could be planted in a cache.

use std::collections::BTreeSet;

/// The allowed names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domains(BTreeSet<Box<str>>);

impl Domains {
    /// Allows these names and no other.
    ///
    /// # Errors
    /// A name is no domain name in the form that requests have it (RFC 5890 §2.3.2.1).
    pub fn new(names: &[String]) -> Result<Self, DomainError> {
        let checked = names.iter().map(|name| check(name).map(|()| &**name));
        let names = checked.collect::<Result<BTreeSet<_>, _>>()?;
        Ok(Self(names.into_iter().map(Into::into).collect()))
    }

    /// Checks the host of a request, with its port if it has one.
    ///
    /// # Errors
    /// The name is not allowed, or is none.
    pub fn check_host(&self, host: &str) -> Result<(), DomainError> {
        let name = without_port(host);
        if self.0.contains(name) {
            return Ok(());
        }
        check(name)?;
        Err(DomainError::NotAllowed(name.to_owned()))
    }

    /// The allowed names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

/// Why a name is refused; texts are SPIRE's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DomainError {
    /// The name is not one of those that were configured.
    #[error("domain {0:?} is not allowed")]
    NotAllowed(String),
    /// The name has other letters than requests have.
    #[error("domain {0:?} must already be punycode encoded")]
    NotEncoded(String),
    /// The name is no domain name.
    #[error("domain {0:?} is not a valid domain name")]
    Invalid(String),
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

fn check(name: &str) -> Result<(), DomainError> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let foreign = |c: char| c.is_ascii_uppercase() || (!c.is_ascii() && c.is_alphanumeric());
    let is_label = |label: &str| {
        let len = label.chars().count();
        (1..=MAX_LABEL_LEN).contains(&len) && !label.starts_with('-') && !label.ends_with('-')
    };
    // The root's dot is part of a name.
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_name = labels.chars().all(|c| letter(c) || foreign(c) || c == '.');
    if !is_name || name.len() > MAX_NAME_LEN || !labels.split('.').all(is_label) {
        return Err(DomainError::Invalid(shortened(name)));
    }
    match name.chars().any(foreign) {
        true => Err(DomainError::NotEncoded(name.to_owned())),
        false => Ok(()),
    }
}

/// What a stranger wrote, no longer than a name may be.
fn shortened(name: &str) -> String {
    name.chars().take(MAX_NAME_LEN).collect()
}

/// RFC 1035 §2.3.4.
const MAX_LABEL_LEN: usize = 63;
const MAX_NAME_LEN: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(names: &[&str]) -> Result<Domains, DomainError> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Domains::new(&names)
    }

    #[test]
    fn only_configured_names_are_allowed_on_any_port() {
        let domains = domains(&["domain.test", "xn--n38h.test", "domain.test"]).unwrap();
        for host in ["domain.test", "domain.test:8080", "xn--n38h.test"] {
            assert_eq!(domains.check_host(host), Ok(()), "{host}");
        }
        let refused = |host: &str| domains.check_host(host).unwrap_err().to_string();
        assert_eq!(
            refused("bad.domain.test"),
            "domain \"bad.domain.test\" is not allowed"
        );
        assert_eq!(
            refused("DOMAIN.test"),
            "domain \"DOMAIN.test\" must already be punycode encoded"
        );
        for host in ["", "a b", "[::1]:80", "a/b", "-a", "a..b", "domain.test:x"] {
            assert!(
                refused(host).ends_with("is not a valid domain name"),
                "{host}"
            );
        }
        assert!(refused(&"a".repeat(100_000)).len() < 300);
    }

    #[test]
    fn names_that_no_request_has_are_not_configured() {
        assert_eq!(
            domains(&["ü.test"]),
            Err(DomainError::NotEncoded("ü.test".to_owned()))
        );
        assert_eq!(
            domains(&["https://a"]),
            Err(DomainError::Invalid("https://a".to_owned()))
        );
    }
}
