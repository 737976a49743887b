//! The records of the replicated state that the identity vocabulary does not know.

mod acme;
mod member;

use identity::clock::UnixTime;
use identity::selector::SelectorSet;
use identity::spiffe_id::SpiffeId;
use rustls_pki_types::CertificateDer;

pub use self::acme::{AcmeSecret, AcmeSecretKind};
pub(crate) use self::member::ClusterRecord;
pub use self::member::{InviteId, InviteRecord, MemberProfile, MemberRecord};

/// Store version: how many commands changed something. Never goes back.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(u64);

impl Revision {
    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Place of a record in the order of creation; also the cursor of a list. Never reused.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An attested agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRecord {
    /// Its name.
    pub spiffe_id: SpiffeId,
    /// How it proved its node first.
    pub attestation_type: Box<str>,
    /// Serial of its certificate, decimal; empty when banned.
    pub serial: Box<str>,
    /// End of its certificate.
    pub not_after: UnixTime,
    /// Serial of a certificate that it has not shown yet; empty if none.
    pub new_serial: Box<str>,
    /// End of that certificate.
    pub new_not_after: Option<UnixTime>,
    /// Whether it may attest again, or must renew.
    pub can_reattest: bool,
    /// What it said to run; empty if it did not.
    pub agent_version: Box<str>,
    /// What the attestation found out.
    pub selectors: SelectorSet,
    /// How it was admitted, while that may be asked for again.
    pub admission: Option<Box<Admission>>,
}

impl AgentRecord {
    /// Whether the agent is banned.
    #[must_use]
    pub const fn is_banned(&self) -> bool {
        self.serial.is_empty()
    }
}

/// An admission of which the answer may have been lost: it is given again to whoever shows the same
/// token and holds the same key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Admission {
    /// SHA-256 of the key that was admitted.
    pub public_key: PublicKeyHash,
    /// The end of the token, which is that of this, too.
    pub repeatable_until: UnixTime,
}

impl Admission {
    /// Whether `public_key` may be admitted again at `at`.
    #[must_use]
    pub fn may_repeat(&self, public_key: PublicKeyHash, at: UnixTime) -> bool {
        self.public_key == public_key && at <= self.repeatable_until
    }
}

/// What an authority signs with, and whom.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AuthorityKind {
    /// X.509, in the bundle, signs intermediates.
    X509Root,
    /// X.509, in no bundle, signs SVIDs.
    X509Intermediate,
    /// JWT, in the bundle, signs JWT-SVIDs.
    Jwt,
    /// X.509, in no bundle, signs the certificates that members show each other.
    Peer,
}

impl AuthorityKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::X509Root,
        Self::X509Intermediate,
        Self::Jwt,
        Self::Peer,
    ];

    /// The kinds that workloads and agents see the signatures of.
    pub const SPIFFE: [Self; 3] = [Self::X509Root, Self::X509Intermediate, Self::Jwt];
}

/// Step of an authority's life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AuthorityState {
    /// Made, known to nobody.
    Prepared,
    /// In the bundle; may sign once everyone could have it.
    Published,
    /// Signs.
    Active,
    /// Signs no more; what it signed is still good.
    Old,
    /// What it signed is to be replaced.
    Tainted,
    /// Out of the bundle: nobody believes what it signed.
    Revoked,
}

/// A signing key with its certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorityRecord {
    /// Its kind.
    pub kind: AuthorityKind,
    /// Lower-case hex of the subject key id, or the JWT key id. Unique within its kind.
    pub id: Box<str>,
    /// Its step.
    pub state: AuthorityState,
    /// Id of the authority that signed its certificate, if another did.
    pub issuer_id: Option<Box<str>>,
    /// Its certificate (X.509 kinds).
    pub certificate: Option<CertificateDer<'static>>,
    /// Its public key, SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// When it was made.
    pub issued_at: UnixTime,
    /// Its end.
    pub not_after: UnixTime,
    /// Its private key; gone once it is tainted, since it signs nothing any more.
    pub sealed_key: Option<Sealed>,
    /// What stands between its certificate and a root of the upstream that signed it, nearest first;
    /// `None` if no upstream did. `issuer_id` is the key id of whoever signed it then.
    pub upstream_chain: Option<Vec<CertificateDer<'static>>>,
}

/// Ciphertext of a secret. Opens only under the name of its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// Data key that it was sealed with.
    pub key_id: u32,
    /// 96 random bits.
    pub nonce: [u8; 12],
    /// With the 128-bit tag at its end.
    pub ciphertext: Vec<u8>,
}

/// A data key, wrapped by the seal provider.
#[derive(Clone, Debug, PartialEq)]
pub struct DataKey {
    /// Its number; the highest one seals.
    pub id: u32,
    /// As the seal provider wrapped it.
    pub wrapped: Vec<u8>,
}

macro_rules! hashes {
    ($($(#[doc = $doc:literal])* $name:ident of $what:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 32]);

        impl $name {
            #[doc = concat!("The hash of `", stringify!($what), "`.")]
            #[must_use]
            pub fn of($what: &[u8]) -> Self {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, $what);
                let mut hash = [0; 32];
                hash.copy_from_slice(digest.as_ref());
                Self(hash)
            }

            /// The hash with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }
    )*};
}

hashes! {
    /// SHA-256 of a join token.
    JoinTokenHash of token;
    /// SHA-256 of a public key, as SubjectPublicKeyInfo in DER (RFC 5280 §4.1).
    PublicKeyHash of spki_der;
}

/// A join token that was not used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct JoinTokenRecord {
    pub(crate) hash: JoinTokenHash,
    pub(crate) expires_at: UnixTime,
}

/// A setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SettingRecord {
    pub(crate) key: Box<str>,
    pub(crate) value: Vec<u8>,
}
