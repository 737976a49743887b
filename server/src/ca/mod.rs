//! The certificate authority: one handle that signs, and the tasks that keep it able to.
//!
//! Private authority keys are used in `signer` alone. The life of an authority is replicated state
//! that `lifecycle` decides on and `reconcile` carries out, on the leading member; every member
//! signs with what is active. Signing never waits for the store.

mod activation;
mod authority;
mod by_hand;
mod certificate;
mod der;
mod fence;
mod lifecycle;
mod maker;
mod minted;
mod name;
mod policy;
mod reconcile;
mod report;
mod server_svid;
mod signer;
mod upstream;
mod upstream_key;
mod validation;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use upstream_key::signed_request;

use std::{fmt, sync::Arc, time::Duration};

use identity::{
    clock::Clock,
    dns_name::DnsName,
    jwt_svid::{JwtSvid, random_jti},
    spiffe_id::SpiffeId,
    trust_domain::TrustDomain,
};
use rustls_pki_types::CertificateDer;

use crate::ca::{
    activation::Activation,
    fence::Fence,
    policy::PEER_CERTIFICATE_TTL,
    signer::{JwtRequest, LeafRequest, Signer},
};
pub use crate::ca::{
    by_hand::{
        LocalAuthorities, LocalAuthorityError, LocalAuthorityState, LocalKind, Standing,
        UpstreamRefusal,
    },
    fence::Suspended,
    maker::MakerError,
    minted::MintedError,
    name::{DistinguishedName, NameError},
    policy::Policy,
    reconcile::AuthorityTask,
    server_svid::{ServerSvidError, ServerSvidTask},
    signer::{IssuedX509, SignError},
    upstream::{UpstreamTask, UpstreamTrouble},
    upstream_key::{UpstreamKey, UpstreamKeyError},
    validation::ValidationError,
};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use minted::is_usable;

/// Signs what this server issues. A clone is the same authority.
#[derive(Clone)]
pub struct Ca(Arc<Inner>);

struct Inner {
    signer: Arc<Signer>,
    policy: Arc<Policy>,
    clock: Arc<dyn Clock>,
    activation: Activation,
    fence: Fence,
}

/// Whose X.509-SVID is asked for, which decides its subject and default lifetime.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SvidSubject {
    /// A workload: the first DNS name becomes the common name.
    Workload,
    /// An agent.
    Agent,
    /// This server.
    Server,
    /// A workload with a subject of its own; the first DNS name replaces its common name.
    Custom(DistinguishedName),
}

/// What an X.509-SVID shall say.
#[derive(Debug)]
pub struct X509SvidParams<'a> {
    /// Its only URI name.
    pub spiffe_id: &'a SpiffeId,
    /// The holder's public key, SubjectPublicKeyInfo in DER.
    pub public_key_der: &'a [u8],
    /// Further names.
    pub dns_names: &'a [DnsName],
    /// Lifetime; `None` for the default of the subject. Cut at the issuer's end.
    pub ttl: Option<Duration>,
    /// Whose it is.
    pub subject: SvidSubject,
}

/// What a JWT-SVID shall say.
#[derive(Debug)]
pub struct JwtSvidParams<'a> {
    /// Its subject.
    pub spiffe_id: &'a SpiffeId,
    /// For whom it is; empty strings do not count, and one must be left.
    pub audience: Vec<String>,
    /// Lifetime; `None` for the default. Cut at the key's end.
    pub ttl: Option<Duration>,
    /// Whether each token gets a unique id.
    pub include_jti: bool,
}

impl Ca {
    /// Whether JWT-SVIDs are issued at all.
    pub fn issues_jwt_svids(&self) -> bool {
        self.0.policy.jwt_enabled
    }

    /// The trust domain that is signed for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.policy.trust_domain
    }

    /// Signs an X.509-SVID. Takes tens of microseconds with an EC authority, milliseconds with RSA.
    ///
    /// # Errors
    /// No authority is active and valid, this member is cut off, or the public key is unusable.
    /// Nothing was issued.
    pub fn sign_x509_svid(&self, params: &X509SvidParams<'_>) -> Result<IssuedX509, SignError> {
        // Its own SVID admits nobody, and without it the server could not say why it signs nothing.
        if params.subject != SvidSubject::Server {
            self.0.fence.check()?;
        }
        let policy = &self.0.policy;
        let default_ttl = match &params.subject {
            SvidSubject::Agent => policy.agent_ttl,
            SvidSubject::Workload | SvidSubject::Server | SvidSubject::Custom(_) => {
                policy.x509_svid_ttl
            }
        };
        let mut subject = match &params.subject {
            SvidSubject::Custom(subject) => subject.clone(),
            SvidSubject::Workload | SvidSubject::Agent | SvidSubject::Server => {
                policy.svid_subject.clone()
            }
        };
        if let Some(first) = params.dns_names.first() {
            subject = subject.with_common_name(first.as_str());
        }
        let request = LeafRequest {
            spiffe_id: params.spiffe_id,
            public_key_der: params.public_key_der,
            dns_names: params.dns_names,
            subject: &subject,
            ttl: params.ttl.unwrap_or(default_ttl),
        };
        self.0.signer.sign_leaf(&request, self.0.clock.now())
    }

    /// Signs a JWT-SVID.
    ///
    /// # Errors
    /// No key is active and valid, this member is cut off, or the audience is not acceptable.
    /// Nothing was issued.
    pub fn sign_jwt_svid(&self, params: JwtSvidParams<'_>) -> Result<JwtSvid, SignError> {
        self.0.fence.check()?;
        let policy = &self.0.policy;
        let mut audience = params.audience;
        audience.retain(|member| !member.is_empty());
        if audience.is_empty() {
            return Err(SignError::EmptyAudience);
        }
        let request = JwtRequest {
            spiffe_id: params.spiffe_id,
            audience,
            ttl: params.ttl.unwrap_or(policy.jwt_svid_ttl),
            issuer: policy.jwt_issuer.as_deref(),
            jti: params.include_jti.then(random_jti),
        };
        self.0.signer.sign_jwt(request, self.0.clock.now())
    }

    /// Signs the CA certificate of a downstream server of this trust domain; returns it, followed
    /// by the certificates up to but without the root.
    ///
    /// # Errors
    /// As [`Self::sign_x509_svid`].
    pub fn sign_downstream_authority(
        &self,
        public_key_der: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Vec<CertificateDer<'static>>, SignError> {
        self.0.fence.check()?;
        let policy = &self.0.policy;
        let ttl = ttl.unwrap_or(policy.ca_ttl);
        self.0.signer.sign_downstream_authority(
            public_key_der,
            &policy.trust_domain,
            ttl,
            self.0.clock.now(),
        )
    }

    /// Signs the certificate of a member of the cluster; its chain ends with the authority itself.
    ///
    /// # Errors
    /// As [`Self::sign_x509_svid`].
    pub fn sign_peer_certificate(
        &self,
        member: &SpiffeId,
        public_key_der: &[u8],
    ) -> Result<IssuedX509, SignError> {
        let request = LeafRequest {
            spiffe_id: member,
            public_key_der,
            dns_names: &[],
            subject: &DistinguishedName::new(&[], &["Conclave".to_owned()], ""),
            ttl: PEER_CERTIFICATE_TTL,
        };
        self.0.signer.sign_peer(&request, self.0.clock.now())
    }

    /// The certificate of the authority that signs members' certificates now.
    pub fn active_peer_authority(&self) -> Option<CertificateDer<'static>> {
        let issuers = self.0.signer.issuers();
        Some(issuers.peer.as_ref()?.certificate().clone())
    }

    /// Waits until this member could sign a member's certificate. Cancel-safe.
    pub async fn peers_ready(&self) {
        let is_there = || self.active_peer_authority().is_some();
        self.0.activation.wait_until(is_there).await;
    }

    /// Sees every change of the authorities that sign, from now on.
    pub(crate) fn activations(&self) -> tokio::sync::watch::Receiver<()> {
        self.0.activation.subscribe()
    }

    /// Whether one signature on a certificate takes about a millisecond or more.
    pub fn signs_slowly(&self) -> bool {
        self.0.signer.is_slow()
    }

    /// Waits until an authority of every kind that is wanted can sign here.
    ///
    /// Cancel-safe.
    pub async fn ready(&self) {
        self.0.activation.wait_until(|| self.can_sign()).await;
    }

    /// Whether this member may sign for its cluster now, whatever it signs with.
    ///
    /// # Errors
    /// It was cut off for too long, or its clock is wrong.
    pub fn may_sign(&self) -> Result<(), Suspended> {
        self.0.fence.check()
    }

    /// Whether the X.509 authority that signs should have given way to another one by now, or there is
    /// none.
    pub fn needs_successor(&self) -> bool {
        self.0.signer.needs_successor(self.0.clock.now())
    }

    /// Whether every kind of SVID can be signed now.
    pub fn can_sign(&self) -> bool {
        self.0
            .signer
            .can_sign(self.0.policy.jwt_enabled, self.0.clock.now())
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("signer", &self.0.signer)
            .finish_non_exhaustive()
    }
}
