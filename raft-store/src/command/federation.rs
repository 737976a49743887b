//! Commands on federation relationships: where bundles of other trust domains are found.
//!
//! A relationship and the bundle of its trust domain come together but go apart: without a
//! relationship a bundle stays, and is nobody's to refresh.

use std::sync::Arc;

use identity::bundle::Bundle;
use identity::federation::{BundleEndpointUrl, EndpointProfile, FederationRelationship};
use identity::trust_domain::TrustDomain;

/// Stores a relationship.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateRelationship {
    /// The relationship.
    pub relationship: FederationRelationship,
    /// The bundle of its trust domain, in place of one that is there.
    pub bundle: Option<Bundle>,
}

/// What became of a relationship to create.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateRelationshipOutcome {
    /// It is there.
    Created(Arc<FederationRelationship>),
    /// There is one with the trust domain already; nothing changed.
    Exists,
}

/// Changes parts of a relationship; a field that is `None` stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateRelationship {
    /// With whom.
    pub trust_domain: TrustDomain,
    /// Where its bundle is.
    pub url: Option<BundleEndpointUrl>,
    /// How the endpoint proves itself.
    pub profile: Option<EndpointProfile>,
    /// The bundle of its trust domain, in place of one that is there.
    pub bundle: Option<Bundle>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateRelationshipOutcome {
    /// The relationship as it is now.
    Updated(Arc<FederationRelationship>),
    /// There is none; nothing changed.
    NotFound,
}

/// Deletes a relationship. The bundle of its trust domain stays.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteRelationship {
    /// With whom.
    pub trust_domain: TrustDomain,
}
