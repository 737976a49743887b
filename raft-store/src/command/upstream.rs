//! Commands of a server that has an upstream: its intermediate is signed by somebody else, and the
//! upstream's authorities are in its own bundle.

use std::sync::Arc;

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::trust_domain::TrustDomain;
use rustls_pki_types::CertificateDer;

use crate::record::AuthorityRecord;

/// Stores an intermediate that an upstream signed, as published, and its upstream's roots in the own
/// bundle. One that is revoked gives up its place, and if there are too many, the oldest one that
/// signs no more: what it signed carries its certificate along.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareBelowUpstream {
    /// The authority; its state is ignored.
    pub authority: AuthorityRecord,
    /// The upstream's roots.
    pub roots: Vec<X509Authority>,
    /// The own trust domain.
    pub trust_domain: TrustDomain,
    /// So many intermediates there may be, itself included.
    pub at_most: u32,
    /// Whether one that is on its way stays, and this one is refused. Otherwise that one goes: it
    /// has signed nothing.
    pub only_if_none_is_coming: bool,
}

/// Takes over what an upstream's bundle says: authorities that the own bundle does not hold, marks of
/// taint, and the end of what was tainted before. Own authorities are left alone. A list that is empty
/// says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncUpstreamBundle {
    /// The own trust domain.
    pub trust_domain: TrustDomain,
    /// All X.509 authorities of the upstream.
    pub x509: Vec<X509Authority>,
    /// All JWT authorities of the upstream.
    pub jwt: Vec<JwtAuthority>,
}

/// Marks an upstream's root in the own bundle, so that everybody replaces what stands below it. The
/// keys of old intermediates that it signed go.
#[derive(Clone, Debug, PartialEq)]
pub struct TaintUpstreamAuthority {
    /// The own trust domain.
    pub trust_domain: TrustDomain,
    /// The root's key, as intermediates name their issuer.
    pub subject_key_id: Box<str>,
    /// The root: all certificates of the bundle with this key.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Takes a tainted root of an upstream out of the own bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct RevokeUpstreamAuthority {
    /// The own trust domain.
    pub trust_domain: TrustDomain,
    /// The root's key, as intermediates name their issuer.
    pub subject_key_id: Box<str>,
    /// The root: all certificates of the bundle with this key.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// What became of an upstream's root. Unless done, nothing changed.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamOutcome {
    /// The own bundle as it is now.
    Done(Arc<Bundle>),
    /// The own bundle holds no such root.
    NotFound,
    /// It is tainted already.
    AlreadyTainted,
    /// It is not tainted, so it cannot go.
    NotTainted,
    /// It signed the intermediate that is active or on its way.
    InUse,
}
