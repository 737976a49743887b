//! Why a message is not what it should be.
//!
//! Every variant is the caller's mistake (INVALID_ARGUMENT). `Display` is the whole text that
//! clients get to see, in SPIRE's words, causes included; hence no variant has a `source`.

use identity::dns_name::DnsNameError;
use identity::entry::EntryIdError;
use identity::federation::BundleEndpointUrlError;
use identity::selector::SelectorError;
use identity::spiffe_id::{IdError, SpiffeId};
use identity::trust_domain::TrustDomain;

/// Why a message is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConvertError {
    /// A part of the message is wrong.
    #[error("{part}: {cause}")]
    Part {
        /// Which part, as in `invalid parent ID`.
        part: &'static str,
        /// What is wrong with it.
        cause: Box<Self>,
    },
    /// A SPIFFE ID is absent.
    #[error("request must specify SPIFFE ID")]
    MissingId,
    /// A SPIFFE ID or trust domain name breaks the syntax.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A SPIFFE ID belongs to another trust domain.
    #[error("\"{id}\" is not a member of trust domain \"{own}\"")]
    Foreign {
        /// The id.
        id: SpiffeId,
        /// The trust domain it should belong to.
        own: TrustDomain,
    },
    /// A SPIFFE ID of the right trust domain is of the wrong class.
    #[error("\"{id}\" is not {class} trust domain \"{own}\"; {reason}", own = id.trust_domain())]
    Class {
        /// The id.
        id: SpiffeId,
        /// What it should be, as in `a workload in`.
        class: &'static str,
        /// Why it is not.
        reason: &'static str,
    },
    /// A selector breaks a rule, or a list has one twice.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// An entry has no selectors.
    #[error("selector list is empty")]
    NoSelectors,
    /// A filter has no selectors.
    #[error("empty selector set")]
    EmptySelectorFilter,
    /// A filter has no trust domains.
    #[error("empty trust domain set")]
    EmptyTrustDomainFilter,
    /// A filter asks for a comparison that this version does not know.
    #[error("unhandled match behavior \"{0}\"")]
    MatchBehavior(i32),
    /// An id is not the id of an entry.
    #[error(transparent)]
    EntryId(#[from] EntryIdError),
    /// A DNS name breaks a rule.
    #[error(transparent)]
    DnsName(#[from] DnsNameError),
    /// A hint is too long.
    #[error("hint is too long, max length is {limit} characters")]
    HintTooLong {
        /// The longest hint in bytes.
        limit: usize,
    },
    /// A rule on the fields of an entry, which SPIRE checks after conversion.
    #[error("datastore-validation: invalid registration entry: {0}")]
    EntryRule(EntryRule),
    /// An X.509 authority is not a certificate.
    #[error("x509: malformed certificate")]
    MalformedCertificate,
    /// A JWT authority has no key id.
    #[error("missing key ID")]
    MissingKeyId,
    /// A JWT authority's key id is too long.
    #[error("key ID is longer than {limit} bytes")]
    KeyIdTooLong {
        /// The longest key id in bytes.
        limit: usize,
    },
    /// The address of a bundle endpoint breaks a rule.
    #[error(transparent)]
    BundleEndpointUrl(#[from] BundleEndpointUrlError),
    /// A federation relationship does not say how its endpoint proves itself.
    #[error("unsupported bundle endpoint profile type: <nil>")]
    NoEndpointProfile,
    /// The bundle of a federation relationship is that of another trust domain.
    #[error(
        "trust domain bundle (\"{bundle}\") must match the trust domain of the federation \
         relationship (\"{relationship}\")"
    )]
    ForeignBundle {
        /// Whose bundle it is.
        bundle: TrustDomain,
        /// Whose it should be.
        relationship: TrustDomain,
    },
    /// A JWT authority is not a public key, or not one of a kind that verifies JWT-SVIDs.
    #[error("malformed or unsupported public key")]
    MalformedPublicKey,
}

/// Rules on the fields of an entry that its types cannot express.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryRule {
    /// The lifetime of X.509-SVIDs is negative.
    #[error("X509SvidTtl is not set")]
    X509SvidTtl,
    /// The lifetime of JWT-SVIDs is negative.
    #[error("JwtSvidTtl is not set")]
    JwtSvidTtl,
    /// The id is too long.
    #[error("entry ID too long")]
    IdTooLong,
    /// The id has characters that ids must not have.
    #[error("entry ID contains invalid characters")]
    IdCharacters,
}

/// Names the part of a message that is wrong.
pub(super) trait InPart<T> {
    /// Prefixes the error, if any.
    fn in_part(self, part: &'static str) -> Result<T, ConvertError>;
}

impl<T, E: Into<ConvertError>> InPart<T> for Result<T, E> {
    fn in_part(self, part: &'static str) -> Result<T, ConvertError> {
        self.map_err(|cause| ConvertError::Part {
            part,
            cause: Box::new(cause.into()),
        })
    }
}
