//! Registration entries: which workload gets which identity.

use std::fmt;

use crate::clock::UnixTime;
use crate::dns_name::DnsName;
use crate::selector::SelectorSet;
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// The name of an entry, given by whoever creates it or made up by the server.
///
/// Invariant: 1 to [`EntryId::MAX_LEN_BYTES`] bytes of `[-.0-9A-Z_a-z]`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EntryId(Box<str>);

impl EntryId {
    /// The longest id that is accepted.
    pub const MAX_LEN_BYTES: usize = 255;

    /// Checks an id.
    ///
    /// # Errors
    /// It is empty, too long, or has other characters.
    pub fn parse(id: &str) -> Result<Self, EntryIdError> {
        if id.is_empty() {
            return Err(EntryIdError::Missing);
        }
        if id.len() > Self::MAX_LEN_BYTES {
            return Err(EntryIdError::TooLong);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !id.bytes().all(allowed) {
            return Err(EntryIdError::Characters);
        }
        Ok(Self(id.into()))
    }

    /// A new random id (UUID version 4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for EntryId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is not the id of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryIdError {
    /// It is empty.
    #[error("missing entry ID")]
    Missing,
    /// It has more than [`EntryId::MAX_LEN_BYTES`].
    #[error("entry ID too long")]
    TooLong,
    /// It has other characters than `[-.0-9A-Z_a-z]`.
    #[error("entry ID contains invalid characters")]
    Characters,
}

/// An identity, and the selectors that a workload must show to get it.
///
/// The fields hold whatever their types allow; rules between fields are the server's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistrationEntry {
    /// The name of the entry.
    pub id: EntryId,
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// The agent, node alias or entry through which it is given out.
    pub parent_id: SpiffeId,
    /// A workload gets the identity if it has all of these.
    pub selectors: SelectorSet,
    /// Lifetime of X.509-SVIDs in seconds; 0 is the server's default.
    pub x509_svid_ttl_s: u32,
    /// Lifetime of JWT-SVIDs in seconds; 0 is the server's default.
    pub jwt_svid_ttl_s: u32,
    /// Foreign trust domains whose bundles the workload gets.
    pub federates_with: Vec<TrustDomain>,
    /// Whether the holder may use the administrative API.
    pub admin: bool,
    /// Whether the holder is a downstream server.
    pub downstream: bool,
    /// When the entry is removed.
    pub expires_at: Option<UnixTime>,
    /// DNS names in X.509-SVIDs; the first is the common name too.
    pub dns_names: Vec<DnsName>,
    /// 0 at creation, one more with every update, also with one that changes nothing.
    pub revision: i64,
    /// Whether the SVID goes to a store instead of the Workload API.
    pub store_svid: bool,
    /// Shown to the workload, so that it can tell its identities apart.
    pub hint: Box<str>,
    /// What only few entries have; `None` and an empty value are told apart.
    pub additional_attributes: Option<AdditionalAttributes>,
    /// When the entry was made.
    pub created_at: UnixTime,
}

impl RegistrationEntry {
    /// The longest hint that is accepted.
    pub const MAX_HINT_LEN_BYTES: usize = 1024;
}

/// What only few entries have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AdditionalAttributes {
    /// Agents fetch the X.509-SVID when a workload asks for it, not before.
    pub disable_x509_svid_prefetch: bool,
    /// JWT-SVIDs have a `jti`.
    pub jwt_svid_include_jti: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_have_an_alphabet_and_a_length() {
        for id in ["a", "chosen-1", "prefix.5b1c", "A_z-0.9", &"x".repeat(255)] {
            assert_eq!(EntryId::parse(id).unwrap().as_str(), id);
        }
        assert_eq!(EntryId::parse(""), Err(EntryIdError::Missing));
        assert_eq!(EntryId::parse(&"x".repeat(256)), Err(EntryIdError::TooLong));
        for id in ["a b", "a/b", "a:b", "ä", "a\n", "a\0"] {
            assert_eq!(EntryId::parse(id), Err(EntryIdError::Characters), "{id:?}");
        }
    }

    #[test]
    fn random_ids_are_valid_and_differ() {
        let id = EntryId::random();
        assert_eq!(EntryId::parse(id.as_str()), Ok(id.clone()));
        assert_ne!(EntryId::random(), id);
    }
}
