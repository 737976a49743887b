//! The authorities of the upstream, as operators taint and revoke them when its key was replaced.

use identity::{bundle::X509Authority, hex, x509::CertificateInfo};
use raft_store::{
    AuthorityRecord, AuthorityState, Proposal, RevokeUpstreamAuthority, SyncUpstreamBundle,
    TaintUpstreamAuthority, UpstreamOutcome,
};
use rustls_pki_types::CertificateDer;
use tracing::info;

use super::{LocalAuthorities, LocalAuthorityError, LocalKind};

impl LocalAuthorities {
    /// Marks the upstream's root with this subject key id, in lower-case hex, so that everybody
    /// replaces what stands below it.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`]; it must have signed an old authority and no other one.
    pub async fn taint_upstream(&self, subject_key_id: &str) -> Result<(), LocalAuthorityError> {
        self.require_of_old(subject_key_id).await?;
        let operation = TaintUpstreamAuthority {
            trust_domain: self.ca.trust_domain().clone(),
            subject_key_id: subject_key_id.into(),
            certificates: self.roots(subject_key_id),
        };
        moved(&self.propose(operation).await?)?;
        info!(
            subject_key_id,
            "X.509 upstream authority tainted successfully"
        );
        Ok(())
    }

    /// Takes the tainted root of the upstream with this subject key id out of the bundle.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`]; it must have signed an old authority and no other one.
    pub async fn revoke_upstream(&self, subject_key_id: &str) -> Result<(), LocalAuthorityError> {
        self.require_of_old(subject_key_id).await?;
        let operation = RevokeUpstreamAuthority {
            trust_domain: self.ca.trust_domain().clone(),
            subject_key_id: subject_key_id.into(),
            certificates: self.roots(subject_key_id),
        };
        moved(&self.propose(operation).await?)?;
        info!(
            subject_key_id,
            "X.509 upstream authority successfully revoked"
        );
        Ok(())
    }

    /// Publishes a JWT key to the upstream, if there is one, and takes over those that it has.
    pub(super) async fn publish_upwards(
        &self,
        key: &AuthorityRecord,
    ) -> Result<(), LocalAuthorityError> {
        let jwt = self.maker.publish_upwards(key).await?;
        let now = self.maker.clock.now();
        let command = SyncUpstreamBundle {
            trust_domain: self.ca.trust_domain().clone(),
            x509: Vec::new(),
            jwt: jwt
                .into_iter()
                .filter(|one| one.key_id != key.id)
                .filter(|one| one.expires_at.is_none_or(|end| now <= end))
                .collect(),
        };
        let store = &self.maker.store;
        if !command.jwt.is_empty() && store.read(|state| state.lacks_of_upstream(&command)) {
            let synced = store.propose(command, Proposal::new(now)).await;
            synced.map_err(LocalAuthorityError::Store)?;
        }
        Ok(())
    }

    /// Refuses the key ids of all but those who signed an old authority and nothing newer.
    async fn require_of_old(&self, subject_key_id: &str) -> Result<(), LocalAuthorityError> {
        if !self.has_upstream() {
            return Err(LocalAuthorityError::NoUpstream);
        }
        self.confirm().await?;
        if subject_key_id.is_empty() {
            return Err(UpstreamRefusal::NoId.into());
        }
        let state = self.state(LocalKind::X509)?;
        let signed = |one: &AuthorityRecord| one.issuer_id.as_deref() == Some(subject_key_id);
        if signed(&state.active) {
            return Err(UpstreamRefusal::OfActive.into());
        }
        if state.prepared.is_some_and(|prepared| signed(&prepared)) {
            return Err(UpstreamRefusal::OfPrepared.into());
        }
        // Not the latest alone: an operator may have rotated twice before he comes to this.
        let is_old = |one: &AuthorityRecord| {
            matches!(
                one.state,
                AuthorityState::Old | AuthorityState::Tainted | AuthorityState::Revoked
            )
        };
        let signed_old = self.maker.store.read(|state| {
            let mut all = state.authorities(self.in_store(LocalKind::X509));
            all.any(|one| is_old(one) && signed(one))
        });
        match signed_old {
            true => Ok(()),
            false => Err(UpstreamRefusal::OfNoOld.into()),
        }
    }

    /// The roots of the own bundle with this key.
    fn roots(&self, subject_key_id: &str) -> Vec<CertificateDer<'static>> {
        let has_key = |root: &&X509Authority| {
            let info = CertificateInfo::parse(&root.certificate).ok();
            let key_id = info.and_then(|info| info.subject_key_id);
            key_id.is_some_and(|key_id| hex::lower(&key_id) == subject_key_id)
        };
        self.maker.store.read(|state| {
            let bundle = state.bundle(self.ca.trust_domain());
            let roots = bundle.iter().flat_map(|bundle| &bundle.x509_authorities);
            let named = roots.filter(has_key);
            named.map(|root| root.certificate.clone()).collect()
        })
    }
}

fn moved(outcome: &UpstreamOutcome) -> Result<(), UpstreamRefusal> {
    match outcome {
        UpstreamOutcome::Done(_) => Ok(()),
        UpstreamOutcome::NotFound => Err(UpstreamRefusal::NotInBundle),
        UpstreamOutcome::AlreadyTainted => Err(UpstreamRefusal::AlreadyTainted),
        UpstreamOutcome::NotTainted => Err(UpstreamRefusal::NotTainted),
        UpstreamOutcome::InUse => Err(UpstreamRefusal::OfActive),
    }
}

/// Why an authority of the upstream was not moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UpstreamRefusal {
    /// No id was given.
    #[error("no subject key ID provided")]
    NoId,
    /// It signed the active authority.
    #[error("unable to use upstream authority singing current authority")]
    OfActive,
    /// It signed the prepared one.
    #[error("only upstream authorities signing an old authority can be used")]
    OfPrepared,
    /// It did not sign an old one.
    #[error("upstream authority didn't sign the old local authority")]
    OfNoOld,
    /// The bundle has no such root: the one who signed is below a root himself.
    #[error("no root CA found with provided subject key ID")]
    NotInBundle,
    /// It is tainted already.
    #[error("root CA is already tainted")]
    AlreadyTainted,
    /// It is not tainted.
    #[error("it is not possible to revoke an untainted root CA")]
    NotTainted,
}
