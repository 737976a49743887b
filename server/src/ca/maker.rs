//! Makes the records of new authorities, and opens the keys of those that exist.
//!
//! A new key leaves here sealed; a root's key is opened for one signature only.

use std::sync::Arc;

use identity::{
    bundle::{JwtAuthority, X509Authority},
    clock::Clock,
    lifetime::BACKDATE,
    secret::{KeyError, PrivateKey},
};
use raft_store::{AuthorityKind, AuthorityRecord, RecordName, SealError, Store};

use crate::{
    ca::{
        authority::{MakeError, NewAuthority, Root},
        certificate::Validity,
        minted::{self, MintedError},
        policy::Policy,
        signer::{self, JwtIssuer, SignError, X509Issuer},
    },
    upstream::{MintRequest, Upstream, UpstreamError},
};

/// Makes authorities. A clone makes the same ones.
#[derive(Clone, Debug)]
pub(super) struct AuthorityMaker {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: Arc<Policy>,
    pub(super) upstream: Upstream,
}

impl AuthorityMaker {
    /// An authority that stands on its own. Takes seconds with an RSA key.
    pub(super) async fn make(&self, kind: StandAlone) -> Result<AuthorityRecord, MakerError> {
        let (policy, now) = (Arc::clone(&self.policy), self.clock.now());
        let making = tokio::task::spawn_blocking(move || match kind {
            StandAlone::Root => NewAuthority::root(&policy, now),
            StandAlone::Jwt => NewAuthority::jwt(&policy, now),
            StandAlone::Peer(domain) => NewAuthority::peer(&domain, now),
        });
        self.sealed(making.await.map_err(MakerError::Interrupted)??)
    }

    /// An intermediate below `root`. Takes seconds with an RSA key.
    pub(super) async fn make_below(
        &self,
        root: &AuthorityRecord,
    ) -> Result<AuthorityRecord, MakerError> {
        let root = Root {
            id: root.id.clone(),
            issuer: self.x509_issuer(root)?,
        };
        let (policy, now) = (Arc::clone(&self.policy), self.clock.now());
        let making =
            tokio::task::spawn_blocking(move || NewAuthority::intermediate(&policy, root, now));
        self.sealed(making.await.map_err(MakerError::Interrupted)??)
    }

    /// An intermediate that the upstream signed, and the upstream's roots. Nothing is stored yet.
    pub(super) async fn make_below_upstream(&self) -> Result<FromUpstream, MakerError> {
        let policy = Arc::clone(&self.policy);
        let making = tokio::task::spawn_blocking(move || {
            let key = PrivateKey::generate(policy.ca_key_type)?;
            let csr = signer::sign_request(&key, &policy.ca_subject, &policy.trust_domain)?;
            Ok::<_, MakeError>((key, csr))
        });
        let (key, csr) = making.await.map_err(MakerError::Interrupted)??;
        let request = MintRequest {
            csr,
            preferred_ttl: self.policy.ca_ttl,
        };
        let minted = self.upstream.mint(&request).await?;
        let (policy, now) = (Arc::clone(&self.policy), self.clock.now());
        let checking = tokio::task::spawn_blocking(move || {
            let mut checked = minted::check(minted, &key, &policy.trust_domain, now)?;
            let roots = std::mem::take(&mut checked.roots);
            let new = NewAuthority::below_upstream(key, checked, now);
            Ok::<_, MintedError>((new, roots))
        });
        let (new, roots) = checking.await.map_err(MakerError::Interrupted)??;
        let authority = self.sealed(new)?;
        Ok(FromUpstream { authority, roots })
    }

    /// Publishes a JWT key upwards; returns the keys that the own bundle should hold besides it.
    pub(super) async fn publish_upwards(
        &self,
        key: &AuthorityRecord,
    ) -> Result<Vec<JwtAuthority>, MakerError> {
        let key = JwtAuthority {
            key_id: key.id.clone(),
            public_key: key.public_key.clone(),
            expires_at: Some(key.not_after),
            tainted: false,
        };
        Ok(self.upstream.publish_jwt_key(&key).await?)
    }

    fn sealed(&self, new: NewAuthority) -> Result<AuthorityRecord, MakerError> {
        let name = RecordName::authority(new.kind(), new.id());
        let sealed_key = self.store.seal(&name, new.key().pkcs8())?;
        Ok(new.into_record(sealed_key))
    }

    /// An X.509 authority that can sign.
    pub(super) fn x509_issuer(&self, record: &AuthorityRecord) -> Result<X509Issuer, MakerError> {
        let certificate = record.certificate.clone();
        let certificate = certificate.ok_or(MakerError::NoCertificate)?;
        let key = self.unsealed_key(record)?;
        let issuer = X509Issuer::new(record.id.clone(), certificate, key);
        let issuer = issuer.map_err(MakerError::Sign)?;
        Ok(match &record.upstream_chain {
            Some(chain) => issuer.below(chain.clone(), record.not_after),
            None => issuer,
        })
    }

    /// A JWT authority that can sign.
    pub(super) fn jwt_issuer(&self, record: &AuthorityRecord) -> Result<JwtIssuer, MakerError> {
        let validity = Validity {
            not_before: record.issued_at.saturating_sub(BACKDATE),
            not_after: record.not_after,
        };
        Ok(JwtIssuer::new(
            record.id.clone(),
            self.unsealed_key(record)?,
            validity,
        ))
    }

    fn unsealed_key(&self, record: &AuthorityRecord) -> Result<PrivateKey, MakerError> {
        let name = RecordName::authority(record.kind, &record.id);
        let sealed_key = record.sealed_key.as_ref().ok_or(MakerError::NoKey)?;
        let pkcs8 = self.store.unseal(&name, sealed_key)?;
        PrivateKey::from_pkcs8(pkcs8.expose()).map_err(MakerError::Key)
    }
}

/// What came from the upstream.
#[derive(Debug)]
pub(super) struct FromUpstream {
    /// The intermediate.
    pub(super) authority: AuthorityRecord,
    /// The upstream's roots.
    pub(super) roots: Vec<X509Authority>,
}

/// An authority that no other one signs.
#[derive(Clone, Debug)]
pub(super) enum StandAlone {
    /// Signs intermediates.
    Root,
    /// Signs JWT-SVIDs.
    Jwt,
    /// Signs the certificates of members, all of them in this trust domain.
    Peer(identity::trust_domain::TrustDomain),
}

/// Why there is no new authority, or none that can sign.
#[derive(Debug, thiserror::Error)]
pub enum MakerError {
    /// A new authority could not be made.
    #[error("authority could not be made")]
    Make(#[from] MakeError),
    /// The thread that makes it did not finish.
    #[error("making of an authority was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    /// The upstream did not do what it was asked for.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// What the upstream signed cannot be used.
    #[error("X509 CA minted by upstream authority is invalid")]
    Minted(#[from] MintedError),
    /// A key could not be sealed or unsealed.
    #[error("key could not be sealed or unsealed")]
    Seal(#[from] SealError),
    /// An unsealed key cannot be read.
    #[error("unsealed key cannot be read")]
    Key(#[source] KeyError),
    /// The record of an X.509 authority holds no certificate.
    #[error("x509 authority without a certificate")]
    NoCertificate,
    /// The authority is tainted: its key is gone.
    #[error("authority without a key")]
    NoKey,
    /// The certificate of an authority does not fit its key.
    #[error("authority cannot be used")]
    Sign(#[source] SignError),
}

/// The state's authority of `kind` that signs now.
pub(super) fn active(
    state: &raft_store::State,
    kind: AuthorityKind,
) -> Option<Arc<AuthorityRecord>> {
    state
        .authorities(kind)
        .find(|authority| authority.state == raft_store::AuthorityState::Active)
        .cloned()
}
