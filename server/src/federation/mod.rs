//! Owns federation: which trust domains this one has a relationship with, and the bundles that are
//! fetched because of it.
//!
//! ```text
//! config ─┐
//!         ├▶ endpoints ─▶ fetch ─▶ log ─▶ agents, workloads, TLS
//! log ────┘    ▲ the leader, on time (refresher); whichever member is asked (refresh)
//! ```
//!
//! Relationships of the config are this member's own, are not listed, and come before those of the
//! log. What is fetched from either goes into the log, where every member has it from.

mod endpoint;
mod fetch;
mod polls;
mod refresher;
mod schedule;
mod web_certificate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::bundle::Bundle;
use identity::clock::Clock;
use identity::federation::{
    BundleEndpoint, BundleEndpointUrl, EndpointProfile, FederationRelationship,
};
use identity::trust_domain::TrustDomain;
use raft_store::{
    CreateRelationship, CreateRelationshipOutcome, DeleteRelationship, Operation, Proposal,
    ProposeError, ReadError, Sequence, SetBundleMode, SetFederatedBundle, Store,
    UpdateRelationship, UpdateRelationshipOutcome,
};
use tracing::{debug, warn};

pub use self::endpoint::{
    BundleEndpointSettings, EndpointProof, Publisher, start as serve_own_bundle,
};
pub use self::fetch::FetchError;
pub use self::refresher::Refresher;

/// What the config says of federation.
#[derive(Clone, Debug, Default)]
pub struct FederationSettings {
    /// Where the own bundle is published, if it is.
    pub bundle_endpoint: Option<BundleEndpointSettings>,
    /// With whom this trust domain federates.
    pub federates_with: StaticRelationships,
}

/// Relationships that the config names.
pub type StaticRelationships = BTreeMap<TrustDomain, BundleEndpoint>;

/// The federation relationships.
#[derive(Clone, Debug)]
pub struct Federation {
    store: Store,
    clock: Arc<dyn Clock>,
    own: TrustDomain,
    configured: Arc<StaticRelationships>,
}

/// A relationship with the bundle that is held of its trust domain.
#[derive(Clone, Debug)]
pub struct Federated {
    /// The relationship.
    pub relationship: Arc<FederationRelationship>,
    /// The bundle, if there is one.
    pub bundle: Option<Arc<Bundle>>,
}

/// Some relationships, in the order of their creation.
#[derive(Clone, Debug)]
pub struct RelationshipPage {
    /// The relationships.
    pub relationships: Vec<Federated>,
    /// Where the next page starts, unless this one is empty.
    pub last: Option<Sequence>,
}

/// What changes of a relationship; a field that is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct RelationshipChange {
    /// Where the bundle is.
    pub url: Option<BundleEndpointUrl>,
    /// How the endpoint proves itself.
    pub profile: Option<EndpointProfile>,
    /// A bundle in place of the one that is held.
    pub bundle: Option<Bundle>,
}

impl Federation {
    /// The relationships of `store`, and those that the config names.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        own: TrustDomain,
        configured: StaticRelationships,
    ) -> Self {
        Self {
            store,
            clock,
            own,
            configured: Arc::new(configured),
        }
    }

    /// The own trust domain, with which there is no relationship.
    pub fn own_trust_domain(&self) -> &TrustDomain {
        &self.own
    }

    /// The relationship with `trust_domain`, unless only the config names it.
    pub fn relationship(&self, trust_domain: &TrustDomain) -> Option<Federated> {
        self.store.read(|state| {
            let relationship = state.relationship(trust_domain)?;
            Some(Federated {
                relationship: Arc::clone(relationship),
                bundle: state.bundle(trust_domain).cloned(),
            })
        })
    }

    /// Up to `limit` relationships created after `after`, without those that only the config names.
    pub fn list(&self, after: Option<Sequence>, limit: usize) -> RelationshipPage {
        self.store.read(|state| {
            let mut page = RelationshipPage {
                relationships: Vec::new(),
                last: None,
            };
            for (sequence, relationship) in state.relationships_after(after).take(limit) {
                page.last = Some(sequence);
                page.relationships.push(Federated {
                    relationship: Arc::clone(relationship),
                    bundle: state.bundle(&relationship.trust_domain).cloned(),
                });
            }
            page
        })
    }

    /// Begins a relationship. The bundle, if there is one, takes the place of the one that is held.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`].
    pub async fn create(
        &self,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<CreateRelationshipOutcome, ProposeError> {
        let operation = CreateRelationship {
            relationship,
            bundle,
        };
        let outcome = self.propose(operation).await?;
        if let CreateRelationshipOutcome::Created(created) = &outcome {
            debug!(trust_domain_id = %created.trust_domain, "Federation relationship created");
            self.warn_of_missing_bundle(created);
        }
        Ok(outcome)
    }

    /// Changes a relationship.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`].
    pub async fn update(
        &self,
        trust_domain: TrustDomain,
        change: RelationshipChange,
    ) -> Result<UpdateRelationshipOutcome, ProposeError> {
        let operation = UpdateRelationship {
            trust_domain,
            url: change.url,
            profile: change.profile,
            bundle: change.bundle,
        };
        let outcome = self.propose(operation).await?;
        if let UpdateRelationshipOutcome::Updated(updated) = &outcome {
            debug!(trust_domain_id = %updated.trust_domain, "Federation relationship updated");
            self.warn_of_missing_bundle(updated);
        }
        Ok(outcome)
    }

    /// Ends a relationship, and says whether there was one. The bundle stays.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`].
    pub async fn delete(&self, trust_domain: TrustDomain) -> Result<bool, ProposeError> {
        let was = self.propose(DeleteRelationship { trust_domain }).await?;
        if was {
            debug!("Federation relationship deleted");
        }
        Ok(was)
    }

    /// Fetches the bundle of `trust_domain` now, on this member, and puts it into the log.
    ///
    /// # Errors
    ///
    /// There is no relationship, or the bundle could not be fetched or stored.
    pub async fn refresh(&self, trust_domain: &TrustDomain) -> Result<Refreshed, RefreshError> {
        let endpoint = match self.endpoint(trust_domain) {
            Some(endpoint) => endpoint,
            None => {
                // Another member may have taken it a moment ago.
                self.store.linearizable(CONFIRM_WITHIN).await?;
                let found = self.endpoint(trust_domain);
                found.ok_or(RefreshError::NoRelationship)?
            }
        };
        let fetched = self.fetch(trust_domain, &endpoint).await?;
        Ok(self.keep(fetched).await?)
    }

    /// Where the bundle of `trust_domain` is.
    fn endpoint(&self, trust_domain: &TrustDomain) -> Option<BundleEndpoint> {
        if let Some(endpoint) = self.configured.get(trust_domain) {
            return Some(endpoint.clone());
        }
        let relationship = |state: &raft_store::State| {
            let found = state.relationship(trust_domain);
            found.map(|relationship| relationship.endpoint.clone())
        };
        self.store.read(relationship)
    }

    /// Where all bundles are that are to be fetched.
    fn endpoints(&self) -> StaticRelationships {
        let mut endpoints: StaticRelationships = self.store.read(|state| {
            let relationships = state.relationships_after(None);
            relationships
                .map(|(_, one)| (one.trust_domain.clone(), one.endpoint.clone()))
                .collect()
        });
        for (trust_domain, endpoint) in &*self.configured {
            endpoints.insert(trust_domain.clone(), endpoint.clone());
        }
        endpoints
    }

    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.store.read(|state| state.bundle(trust_domain).cloned())
    }

    /// Stores a fetched bundle if it is another than the one that is held.
    async fn keep(&self, fetched: Bundle) -> Result<Refreshed, ProposeError> {
        let held = self.bundle(&fetched.trust_domain);
        if held.is_some_and(|held| *held == fetched) {
            return Ok(Refreshed::Unchanged);
        }
        let operation = SetFederatedBundle {
            bundle: fetched,
            mode: SetBundleMode::Set,
        };
        self.propose(operation).await?;
        Ok(Refreshed::Changed)
    }

    fn warn_of_missing_bundle(&self, relationship: &FederationRelationship) {
        let EndpointProfile::HttpsSpiffe { endpoint_spiffe_id } = &relationship.endpoint.profile
        else {
            return;
        };
        if self.bundle(endpoint_spiffe_id.trust_domain()).is_none() {
            warn!(
                %endpoint_spiffe_id,
                trust_domain_id = %relationship.trust_domain,
                "bundle not found for the endpoint SPIFFE ID trust domain"
            );
        }
    }

    async fn propose<O: Operation>(&self, operation: O) -> Result<O::Outcome, ProposeError> {
        let proposal = Proposal::new(self.clock.now());
        self.store.propose(operation, proposal).await
    }
}

/// What became of the bundle that is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refreshed {
    /// It was replaced, or there was none.
    Changed,
    /// It is what the endpoint has.
    Unchanged,
}

/// Why a bundle was not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Neither the config nor the log names the trust domain.
    #[error("no relationship")]
    NoRelationship,
    /// It could not be made sure that there is no relationship.
    #[error("relationship could not be confirmed")]
    Unconfirmed(#[from] ReadError),
    /// The endpoint has no bundle for us.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store did not take the bundle, or did not say whether it did.
    #[error("failed to store fetched federated bundle")]
    Store(#[from] ProposeError),
}

/// How long the absence of a relationship may take to confirm.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
