//! Owns the bundles as a service: the own one, and those of federated trust domains.
//!
//! The own bundle only ever grows here; who takes out of it is the authorities' lifecycle.

use std::sync::Arc;
use std::time::Duration;

use identity::bundle::{Bundle, JwtAuthority, MAX_AUTHORITIES, X509Authority};
use identity::clock::Clock;
use identity::trust_domain::TrustDomain;
use raft_store::{
    AppendAuthorities, BundleChange, DeleteBundleMode, DeleteBundleOutcome, DeleteFederatedBundle,
    Operation, Proposal, ProposeError, Sequence, SetBundleMode, SetBundleOutcome,
    SetFederatedBundle, Store, UpdateBundleOutcome, UpdateFederatedBundle,
};

use crate::upstream::{Upstream, UpstreamError};

/// The bundles.
#[derive(Clone, Debug)]
pub struct Bundles {
    store: Store,
    clock: Arc<dyn Clock>,
    own: TrustDomain,
    upstream: Upstream,
}

/// Some federated bundles, in the order of their creation.
#[derive(Clone, Debug)]
pub struct BundlePage {
    /// The bundles.
    pub bundles: Vec<Arc<Bundle>>,
    /// Where the next page starts, unless this one is empty.
    pub last: Option<Sequence>,
}

impl Bundles {
    /// The bundles of `store`, of which that of `own` is the own one.
    pub fn new(store: Store, clock: Arc<dyn Clock>, own: TrustDomain) -> Self {
        Self {
            store,
            clock,
            own,
            upstream: Upstream::none(),
        }
    }

    /// The same bundles, whose own one shares its JWT keys with that of `upstream`.
    #[must_use]
    pub fn below(self, upstream: Upstream) -> Self {
        Self { upstream, ..self }
    }

    /// The own trust domain.
    pub fn own_trust_domain(&self) -> &TrustDomain {
        &self.own
    }

    /// The own bundle; there is none before the first authority was published.
    pub fn own(&self) -> Option<Arc<Bundle>> {
        self.bundle(&self.own)
    }

    /// The bundle of `trust_domain`.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.store.read(|state| state.bundle(trust_domain).cloned())
    }

    /// The bundle of `trust_domain`, or the confirmed absence of one: a member that lags behind may
    /// not know a bundle that an agent already heard of.
    ///
    /// # Errors
    ///
    /// The absence could not be confirmed.
    pub async fn confirmed_bundle(
        &self,
        trust_domain: &TrustDomain,
    ) -> Result<Option<Arc<Bundle>>, raft_store::ReadError> {
        if let Some(bundle) = self.bundle(trust_domain) {
            return Ok(Some(bundle));
        }
        self.store.linearizable(CONFIRM_WITHIN).await?;
        Ok(self.bundle(trust_domain))
    }

    /// How many bundles there are, with the own one.
    pub fn count(&self) -> usize {
        self.store.read(|state| state.bundle_count())
    }

    /// Federated bundles after `after`, from a page of up to `limit` rows. The own bundle counts as
    /// a row, so a page may be one short, or empty and yet not the last.
    pub fn list_federated(&self, after: Option<Sequence>, limit: usize) -> BundlePage {
        self.store.read(|state| {
            let mut page = BundlePage {
                bundles: Vec::new(),
                last: None,
            };
            for (sequence, bundle) in state.bundles_after(after).take(limit) {
                page.last = Some(sequence);
                if bundle.trust_domain != self.own {
                    page.bundles.push(Arc::clone(bundle));
                }
            }
            page
        })
    }

    /// Adds authorities to the own bundle, and returns it.
    ///
    /// # Errors
    ///
    /// The bundle is full, or as [`Store::propose`].
    pub async fn append(
        &self,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Arc<Bundle>, AppendError> {
        // Everybody's copy of the bundle grows with it, and a downstream server may go on for ever.
        // Calls at the same time may overshoot by what they bring.
        if let Some(held) = self.own() {
            let is_new = |authority: &&X509Authority| {
                let certificate = &authority.certificate;
                !held
                    .x509_authorities
                    .iter()
                    .any(|known| known.certificate == *certificate)
            };
            let is_new_key =
                |authority: &&JwtAuthority| held.jwt_authority(&authority.key_id).is_none();
            let x509_count = held.x509_authorities.len() + x509.iter().filter(is_new).count();
            let jwt_count = held.jwt_authorities.len() + jwt.iter().filter(is_new_key).count();
            if x509_count.max(jwt_count) > MAX_AUTHORITIES {
                return Err(AppendError::Full);
            }
        }
        let trust_domain = self.own.clone();
        let operation = AppendAuthorities {
            trust_domain,
            x509,
            jwt,
        };
        Ok(self.propose(operation).await?)
    }

    /// Publishes the JWT key of a downstream server: to the upstream first, if there is one, whose
    /// keys enter the own bundle, too.
    ///
    /// # Errors
    ///
    /// The upstream did not take it, or as [`Self::append`].
    pub async fn publish_jwt_key(&self, key: JwtAuthority) -> Result<Arc<Bundle>, AppendError> {
        let now = self.clock.now();
        let mut keys = self.upstream.publish_jwt_key(&key).await?;
        keys.retain(|one| one.expires_at.is_none_or(|end| now <= end));
        if keys.iter().all(|one| one.key_id != key.key_id) {
            keys.push(key);
        }
        self.append(Vec::new(), keys).await
    }

    /// Stores a federated bundle.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`].
    pub async fn set_federated(
        &self,
        bundle: Bundle,
        mode: SetBundleMode,
    ) -> Result<SetBundleOutcome, ProposeError> {
        self.propose(SetFederatedBundle { bundle, mode }).await
    }

    /// Changes parts of a federated bundle.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`].
    pub async fn update_federated(
        &self,
        trust_domain: TrustDomain,
        change: BundleChange,
    ) -> Result<UpdateBundleOutcome, ProposeError> {
        self.propose(UpdateFederatedBundle {
            trust_domain,
            change,
        })
        .await
    }

    /// Deletes a federated bundle.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`].
    pub async fn delete_federated(
        &self,
        trust_domain: TrustDomain,
        mode: DeleteBundleMode,
    ) -> Result<DeleteBundleOutcome, ProposeError> {
        self.propose(DeleteFederatedBundle { trust_domain, mode })
            .await
    }

    async fn propose<O: Operation>(&self, operation: O) -> Result<O::Outcome, ProposeError> {
        let proposal = Proposal::new(self.clock.now());
        self.store.propose(operation, proposal).await
    }
}

/// Why authorities were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bundle would hold more than anybody reads.
    #[error("bundle would hold more than {MAX_AUTHORITIES} authorities of a kind")]
    Full,
    /// The upstream did not take a key.
    #[error("upstream authority did not take the key")]
    Upstream(#[from] UpstreamError),
    /// The store did not take them, or did not say whether it did.
    #[error("authorities could not be stored")]
    Store(#[from] ProposeError),
}

/// How long the absence of a bundle may take to confirm.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
