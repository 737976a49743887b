//! Signs X.509-SVIDs, JWT-SVIDs and CA certificates: the only place that uses a private authority key.
//!
//! Holds no policy and takes no decision about lifetimes beyond the two that every signature keeps:
//! nothing is signed outside the validity of its issuer, and nothing outlives it. Signing reads one
//! shared pointer and writes nothing, neither to the log nor to disk.

mod jwt;
mod x509;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use identity::{
    clock::UnixTime,
    jwt_svid::{JwtError, JwtSvid},
    lifetime,
    secret::{KeyError, KeyType},
    trust_domain::TrustDomain,
    x509::X509Error,
};
use rustls_pki_types::CertificateDer;

pub(super) use jwt::{JwtIssuer, JwtRequest, random_key_id};
pub use x509::IssuedX509;
pub(super) use x509::{
    AuthorityRequest, IssuedAuthority, LeafRequest, X509Issuer, sign_request, sign_root,
};

use crate::ca::{
    certificate::Validity,
    fence::Suspended,
    validation::{self, ValidationError},
};

/// The authorities that sign now. Reading them takes no lock.
#[derive(Debug, Default)]
pub(super) struct Signer(ArcSwap<Issuers>);

/// One authority of each kind; absent until the first is active.
#[derive(Clone, Debug, Default)]
pub(super) struct Issuers {
    pub(super) x509: Option<Arc<X509Issuer>>,
    pub(super) jwt: Option<Arc<JwtIssuer>>,
    /// Signs the certificates of the cluster's members.
    pub(super) peer: Option<Arc<X509Issuer>>,
}

impl Signer {
    /// The authorities that sign now.
    pub(super) fn issuers(&self) -> Arc<Issuers> {
        self.0.load_full()
    }

    /// Signs with these authorities from now on.
    pub(super) fn replace(&self, issuers: Issuers) {
        self.0.store(Arc::new(issuers));
    }

    /// Whether something can be signed now: X.509-SVIDs, and JWT-SVIDs if those are wanted.
    pub(super) fn can_sign(&self, jwt_wanted: bool, now: UnixTime) -> bool {
        let Issuers { x509, jwt, .. } = &**self.0.load();
        let x509 = x509
            .as_ref()
            .is_some_and(|issuer| issuer.validity.contains(now));
        let jwt = jwt
            .as_ref()
            .is_some_and(|issuer| issuer.validity.contains(now));
        x509 && (jwt || !jwt_wanted)
    }

    /// Whether the X.509 authority has come so near to its end that another one should sign.
    pub(super) fn needs_successor(&self, now: UnixTime) -> bool {
        let issuers = self.0.load();
        let validity = issuers.x509.as_ref().map(|issuer| issuer.validity);
        validity.is_none_or(|validity| {
            let issued_at = validity.not_before.saturating_add(lifetime::BACKDATE);
            lifetime::activate_at(issued_at, validity.not_after) <= now
        })
    }

    /// Whether one X.509 signature takes about a millisecond or more.
    pub(super) fn is_slow(&self) -> bool {
        let key_type = self
            .0
            .load()
            .x509
            .as_ref()
            .map(|issuer| issuer.key.key_type());
        matches!(key_type, Some(KeyType::Rsa2048 | KeyType::Rsa4096))
    }

    /// Signs an X.509-SVID that is valid from ten seconds ago until `ttl` from now, or until its
    /// issuer's end if that comes first.
    pub(super) fn sign_leaf(
        &self,
        request: &LeafRequest<'_>,
        now: UnixTime,
    ) -> Result<IssuedX509, SignError> {
        let issuers = self.0.load();
        let issuer = issuers.x509.as_deref();
        sign_checked(issuer.ok_or(SignError::NoAuthority("x509"))?, request, now)
    }

    /// Signs the certificate of a member of the cluster, as [`Signer::sign_leaf`] does SVIDs. The
    /// authority itself stands behind the leaf, for those who know its key alone.
    pub(super) fn sign_peer(
        &self,
        request: &LeafRequest<'_>,
        now: UnixTime,
    ) -> Result<IssuedX509, SignError> {
        let issuers = self.0.load();
        let issuer = issuers.peer.as_deref();
        sign_checked(issuer.ok_or(SignError::NoAuthority("peer"))?, request, now)
    }

    /// Signs a CA certificate for a server of the same trust domain below this one; returns it and
    /// the certificates between it and the root.
    pub(super) fn sign_downstream_authority(
        &self,
        public_key_der: &[u8],
        trust_domain: &TrustDomain,
        ttl: Duration,
        now: UnixTime,
    ) -> Result<Vec<CertificateDer<'static>>, SignError> {
        let issuers = self.0.load();
        let issuer = issuers
            .x509
            .as_deref()
            .ok_or(SignError::NoAuthority("x509"))?;
        // The number counts the certificates from the signing authority up to the root's child.
        let unit = format!("DOWNSTREAM-{}", issuer.chain().count());
        let subject = issuer.subject.clone().with_organizational_unit(&unit);
        let request = AuthorityRequest {
            public_key_der,
            subject,
            trust_domain,
            ttl,
        };
        let issued = issuer.sign_authority(&request, now)?;
        let chain = std::iter::once(issued.certificate).chain(issuer.chain().cloned());
        Ok(chain.collect())
    }

    /// Signs a JWT-SVID that expires `ttl` from now, or at its key's end if that comes first.
    pub(super) fn sign_jwt(
        &self,
        request: JwtRequest<'_>,
        now: UnixTime,
    ) -> Result<JwtSvid, SignError> {
        let issuers = self.0.load();
        let issuer = issuers
            .jwt
            .as_deref()
            .ok_or(SignError::NoAuthority("jwt"))?;
        issuer.sign(request, now)
    }
}

/// Signs a leaf and looks at it as others will.
fn sign_checked(
    issuer: &X509Issuer,
    request: &LeafRequest<'_>,
    now: UnixTime,
) -> Result<IssuedX509, SignError> {
    let issued = issuer.sign_leaf(request, now)?;
    validation::check_leaf(&issued.chain[0], request.spiffe_id, issuer.validity, now)?;
    Ok(issued)
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No authority has become active yet, or it cannot be unsealed here.
    #[error("no active {0} authority")]
    NoAuthority(&'static str),
    /// The active authority is not valid now; its successor is on its way.
    #[error("active authority is valid only from {not_before} to {not_after}")]
    OutsideValidity {
        /// First second.
        not_before: UnixTime,
        /// Last second.
        not_after: UnixTime,
    },
    /// This member may not sign now.
    #[error(transparent)]
    Suspended(#[from] Suspended),
    /// The public key to certify cannot be read.
    #[error("public key cannot be read")]
    PublicKey(#[source] X509Error),
    /// The authority's key refused to sign.
    #[error("signature failed")]
    Signature(#[source] KeyError),
    /// Nobody is named whom the JWT is for.
    #[error("invalid JWT-SVID audience: cannot be empty")]
    EmptyAudience,
    /// The JWT could not be made.
    #[error("jwt could not be made")]
    Jwt(#[source] JwtError),
    /// The system's random number generator failed.
    #[error("no random numbers")]
    Random,
    /// What was signed does not keep its profile and was thrown away.
    #[error("signed certificate was refused")]
    Refused(#[from] ValidationError),
}

/// The validity of something signed now, or a refusal if the issuer is not valid now.
fn capped(issuer: Validity, ttl: Duration, now: UnixTime) -> Result<Validity, SignError> {
    let Validity {
        not_before,
        not_after,
    } = issuer;
    if !issuer.contains(now) {
        return Err(SignError::OutsideValidity {
            not_before,
            not_after,
        });
    }
    let (not_before, not_after) = lifetime::validity(now, ttl, not_after);
    Ok(Validity {
        not_before,
        not_after,
    })
}
