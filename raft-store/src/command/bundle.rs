//! Commands on bundles. The own bundle grows by single authorities and counts its sequence; a
//! federated bundle is stored as its owner sent it, sequence included.

use std::sync::Arc;

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::clock::UnixTime;
use identity::trust_domain::TrustDomain;

/// Adds authorities to a bundle, made on the way if there is none. Authorities that it holds
/// already are left out, but for a JWT key that is given a later end; the sequence rises by one if
/// something has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct AppendAuthorities {
    /// Whose bundle.
    pub trust_domain: TrustDomain,
    /// X.509 authorities.
    pub x509: Vec<X509Authority>,
    /// JWT authorities.
    pub jwt: Vec<JwtAuthority>,
}

/// Stores a bundle as given.
#[derive(Clone, Debug, PartialEq)]
pub struct SetFederatedBundle {
    /// The bundle.
    pub bundle: Bundle,
    /// Whether there may be one already.
    pub mode: SetBundleMode,
}

/// Whether a bundle replaces one that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SetBundleMode {
    /// Only if there is none.
    Create,
    /// In any case.
    Set,
}

/// What became of a bundle.
#[derive(Clone, Debug, PartialEq)]
pub enum SetBundleOutcome {
    /// There was none before.
    Created(Arc<Bundle>),
    /// It replaced one.
    Set(Arc<Bundle>),
    /// There is one already; nothing changed.
    Exists,
}

/// Changes parts of a bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateFederatedBundle {
    /// Whose bundle.
    pub trust_domain: TrustDomain,
    /// What changes.
    pub change: BundleChange,
}

/// The changed parts of a bundle; a field that is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BundleChange {
    /// All X.509 authorities.
    pub x509_authorities: Option<Vec<X509Authority>>,
    /// All JWT authorities.
    pub jwt_authorities: Option<Vec<JwtAuthority>>,
    /// Refresh hint in seconds.
    pub refresh_hint_s: Option<i64>,
    /// Sequence.
    pub sequence: Option<u64>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateBundleOutcome {
    /// The bundle as it is now.
    Updated(Arc<Bundle>),
    /// There is none.
    NotFound,
}

/// Deletes a bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteFederatedBundle {
    /// Whose bundle.
    pub trust_domain: TrustDomain,
    /// What happens to entries that federate with it.
    pub mode: DeleteBundleMode,
}

/// What happens to entries that federate with a bundle to delete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeleteBundleMode {
    /// They prevent the deletion.
    Restrict,
    /// They federate with it no longer. Their revision stays.
    Dissociate,
    /// They go, too.
    Delete,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeleteBundleOutcome {
    /// Gone.
    Deleted,
    /// There is none.
    NotFound,
    /// So many entries federate with it; nothing changed.
    InUse(u64),
}

/// Removes authorities whose time is over; the sequence rises by one if some went.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneBundle {
    /// Whose bundle.
    pub trust_domain: TrustDomain,
    /// Authorities with an end before this go.
    pub expired_before: UnixTime,
}

/// What became of a pruning.
#[derive(Clone, Debug, PartialEq)]
pub enum PruneBundleOutcome {
    /// Some went; the bundle as it is now.
    Pruned(Arc<Bundle>),
    /// None was old enough.
    Unchanged,
    /// There is no such bundle.
    NotFound,
    /// Without these there would be no X.509 authority left; nothing changed.
    WouldBeEmpty,
}
