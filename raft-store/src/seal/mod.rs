//! Sealing: private keys are ciphertext before they are proposed.
//!
//! A ring of data keys lives in the replicated state, each wrapped by the seal provider's
//! key-encryption key. Records are sealed with the newest data key under their own name, so that
//! one record's ciphertext does not open as another's.

mod file;
mod ring;
mod witnesses;

use identity::secret::SecretBytes;

use crate::record::{AcmeSecretKind, AuthorityKind, InviteId};

pub use self::file::FileSeal;
pub(crate) use self::ring::{KeyRing, new_data_key};
pub(crate) use self::witnesses::Witnesses;

/// Holds the key-encryption key, or knows who does.
pub trait SealProvider: std::fmt::Debug + Send + Sync {
    /// Makes the key, unless there is one. Called only while the store has no data key yet.
    ///
    /// # Errors
    /// The key could not be made.
    fn create(&self) -> Result<(), SealProviderError>;

    /// Wraps a data key for `context`. Whoever has something that was wrapped before uses
    /// [`Self::wrap_like`].
    ///
    /// # Errors
    /// The key is missing or unusable.
    fn wrap(&self, context: &[u8], key: &SecretBytes) -> Result<Vec<u8>, SealProviderError>;

    /// Wraps a data key for `context` with the very key that wrapped all of `witnesses`, and with no other:
    /// what the provider holds may have been replaced since it was used last.
    ///
    /// # Errors
    /// The key is missing, unusable, or not the one that wrapped.
    fn wrap_like(
        &self,
        witnesses: &[Wrapped],
        context: &[u8],
        key: &SecretBytes,
    ) -> Result<Vec<u8>, SealProviderError>;

    /// Unwraps what was wrapped for the same `context`.
    ///
    /// # Errors
    /// The key is missing, unusable, or not the one that wrapped.
    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, SealProviderError>;
}

/// What a seal provider wrapped, and for which context.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrapped {
    /// As it was given to [`SealProvider::wrap`].
    pub context: Vec<u8>,
    /// What came back.
    pub bytes: Vec<u8>,
}

/// Why a seal provider could not serve.
#[derive(Debug, thiserror::Error)]
pub enum SealProviderError {
    /// There is data, but the key that opens it is gone.
    #[error(
        "seal key {location} is missing; restore it from a backup, or from another member: without it the stored keys cannot be opened"
    )]
    Missing {
        /// Where it should be.
        location: String,
    },
    /// The key is not the one that wrapped.
    #[error(
        "seal key {location} is not the one that this data was sealed with; either this file is wrong, and the right one must be put in its place, or another member sealed with a wrong one: compare it with the other members' files"
    )]
    Wrong {
        /// Where it is.
        location: String,
    },
    /// The key is there, but not what it should be.
    #[error("seal key {location} is unusable: {problem}")]
    Unusable {
        /// Where it is.
        location: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Another key is where a key was to be put.
    #[error(
        "seal key {location} is of another cluster; move it away if nothing that is needed is sealed with it"
    )]
    Taken {
        /// Where it is.
        location: String,
    },
    /// The wrapped key was damaged.
    #[error("a wrapped data key is damaged")]
    Damaged,
    /// The key could not be read or written.
    #[error("cannot {doing} seal key {location}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where it is.
        location: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Name of the record that a secret belongs to; sealed and opened only under the same name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecordName(Box<str>);

impl RecordName {
    /// The record with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The key of an authority.
    #[must_use]
    pub fn authority(kind: AuthorityKind, id: &str) -> Self {
        let kind = match kind {
            AuthorityKind::X509Root => "x509-root",
            AuthorityKind::X509Intermediate => "x509-intermediate",
            AuthorityKind::Jwt => "jwt",
            AuthorityKind::Peer => "peer",
        };
        Self::new(&format!("authority/{kind}/{id}"))
    }

    /// The key of what an ACME server gave.
    #[must_use]
    pub fn acme(kind: AcmeSecretKind) -> Self {
        Self::new(match kind {
            AcmeSecretKind::Account => "acme/account",
            AcmeSecretKind::Certificate => "acme/certificate",
        })
    }

    /// The verifier of an invitation.
    #[must_use]
    pub fn invite(id: &InviteId) -> Self {
        Self::new(&format!("invite {id}"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The state has no data key yet.
    #[error("no data key yet")]
    NoDataKey,
    /// The data key that it was sealed with is not in the ring.
    #[error("data key {0} is unknown")]
    UnknownDataKey(u32),
    /// The data key has sealed as much as is safe with random nonces; another must be added.
    #[error("data key {0} is used up")]
    UsedUp(u32),
    /// Not what was sealed under this name.
    #[error("sealed secret of {0} does not open")]
    DoesNotOpen(Box<str>),
    /// The random source or the cipher failed.
    #[error("cryptography failed")]
    Cryptography,
    /// The seal provider could not unwrap a data key.
    #[error("cannot unwrap data key {id}")]
    Provider {
        /// Which.
        id: u32,
        /// Why.
        #[source]
        source: SealProviderError,
    },
}
