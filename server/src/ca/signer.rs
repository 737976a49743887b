//! Signs X.509-SVIDs, JWT-SVIDs and CA certificates: the only place that uses a private authority key.
//!
//! Holds no policy and takes no decision about lifetimes beyond the two that every signature keeps:
//! nothing is signed outside the validity of its issuer, and nothing outlives it. Signing reads one
//! shared pointer and writes nothing, neither to the log nor to disk.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use identity::{
    clock::UnixTime,
    dns_name::DnsName,
    jwt_svid::{JwtClaims, JwtError, JwtSvid, sign_jwt_svid},
    lifetime,
    secret::{KeyError, KeyType, PrivateKey},
    spiffe_id::SpiffeId,
    trust_domain::TrustDomain,
    x509::{X509Error, subject_key_id},
};
use rustls_pki_types::CertificateDer;

use crate::ca::{
    certificate::{AuthorityFields, IssuerTemplate, LeafFields, Serial, Validity},
    name::DistinguishedName,
    validation::{self, TbsFields, ValidationError},
};

/// The authorities that sign now. Reading them takes no lock.
#[derive(Debug, Default)]
pub(super) struct Signer(ArcSwap<Issuers>);

/// One authority of each kind; absent until the first is active.
#[derive(Clone, Debug, Default)]
pub(super) struct Issuers {
    pub(super) x509: Option<Arc<X509Issuer>>,
    pub(super) jwt: Option<Arc<JwtIssuer>>,
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
        let Issuers { x509, jwt } = &**self.0.load();
        let x509 = x509
            .as_ref()
            .is_some_and(|issuer| issuer.validity.contains(now));
        let jwt = jwt
            .as_ref()
            .is_some_and(|issuer| issuer.validity.contains(now));
        x509 && (jwt || !jwt_wanted)
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
        let issuer = issuers
            .x509
            .as_deref()
            .ok_or(SignError::NoAuthority("x509"))?;
        let issued = issuer.sign_leaf(request, now)?;
        validation::check_leaf(&issued.chain[0], request.spiffe_id, issuer.validity, now)?;
        Ok(issued)
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
        let subject = issuer
            .subject
            .clone()
            .with_organizational_unit("DOWNSTREAM-1");
        let request = AuthorityRequest {
            public_key_der,
            subject,
            trust_domain,
            ttl,
        };
        let issued = issuer.sign_authority(&request, now)?;
        Ok(vec![issued.certificate, issuer.certificate.clone()])
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

/// An X.509 authority with its private key, ready to sign.
pub(super) struct X509Issuer {
    id: Box<str>,
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    subject: DistinguishedName,
    validity: Validity,
    template: IssuerTemplate,
}

impl X509Issuer {
    /// The authority with this certificate, if `key` is its key.
    pub(super) fn new(
        id: Box<str>,
        certificate: CertificateDer<'static>,
        key: PrivateKey,
    ) -> Result<Self, SignError> {
        let fields = TbsFields::read(&certificate)?;
        if fields.public_key_der != key.public_key_der() {
            return Err(SignError::Refused(ValidationError::Profile(
                "key is not that of the certificate",
            )));
        }
        let subject = DistinguishedName::from_der(fields.subject).map_err(ValidationError::from)?;
        let key_id = subject_key_id(key.public_key_der()).map_err(SignError::PublicKey)?;
        Ok(Self {
            id,
            template: IssuerTemplate::new(key.key_type(), fields.subject.to_vec(), Some(key_id)),
            validity: fields.validity,
            certificate,
            subject,
            key,
        })
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// From when until when it may sign.
    #[cfg(test)]
    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// Its certificate.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs the certificate of an authority below this one.
    pub(super) fn sign_authority(
        &self,
        request: &AuthorityRequest<'_>,
        now: UnixTime,
    ) -> Result<IssuedAuthority, SignError> {
        let validity = capped(self.validity, request.ttl, now)?;
        sign_authority(
            &self.template,
            &self.key,
            random_serial()?,
            request,
            validity,
        )
    }

    fn sign_leaf(&self, request: &LeafRequest<'_>, now: UnixTime) -> Result<IssuedX509, SignError> {
        let validity = capped(self.validity, request.ttl, now)?;
        let serial = random_serial()?;
        let to_be_signed = self.template.leaf(&LeafFields {
            serial,
            validity,
            subject: request.subject,
            public_key_der: request.public_key_der,
            subject_key_id: subject_key_id(request.public_key_der).map_err(SignError::PublicKey)?,
            spiffe_id: request.spiffe_id,
            dns_names: request.dns_names,
        });
        let signature = self.key.sign(&to_be_signed).map_err(SignError::Signature)?;
        let leaf = CertificateDer::from(self.template.assemble(&to_be_signed, &signature));
        Ok(IssuedX509 {
            chain: vec![leaf, self.certificate.clone()],
            serial: serial.to_decimal().into(),
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }
}

impl fmt::Debug for X509Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Issuer")
            .field("id", &self.id)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// A JWT authority with its private key, ready to sign.
pub(super) struct JwtIssuer {
    key_id: Box<str>,
    key: PrivateKey,
    validity: Validity,
}

impl JwtIssuer {
    /// The authority with this key, valid from `issued_at` to `not_after`.
    pub(super) fn new(key_id: Box<str>, key: PrivateKey, validity: Validity) -> Self {
        Self {
            key_id,
            key,
            validity,
        }
    }

    /// Its key id.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    fn sign(&self, request: JwtRequest<'_>, now: UnixTime) -> Result<JwtSvid, SignError> {
        let Validity { not_after, .. } = capped(self.validity, request.ttl, now)?;
        let claims = JwtClaims {
            spiffe_id: request.spiffe_id.clone(),
            audience: request.audience,
            issued_at: now,
            expires_at: not_after,
            issuer: request.issuer.map(str::to_owned),
            jti: request.jti,
        };
        sign_jwt_svid(&self.key, &self.key_id, &claims).map_err(SignError::Jwt)
    }
}

impl fmt::Debug for JwtIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtIssuer")
            .field("key_id", &self.key_id)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// What a JWT-SVID shall say.
#[derive(Debug)]
pub(super) struct JwtRequest<'a> {
    pub(super) spiffe_id: &'a SpiffeId,
    pub(super) audience: Vec<String>,
    pub(super) ttl: Duration,
    pub(super) issuer: Option<&'a str>,
    pub(super) jti: Option<String>,
}

/// What the certificate of an authority shall say.
#[derive(Debug)]
pub(super) struct AuthorityRequest<'a> {
    pub(super) public_key_der: &'a [u8],
    /// Gets the certificate's serial number as an attribute, unless it has one.
    pub(super) subject: DistinguishedName,
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) ttl: Duration,
}

/// A freshly signed certificate of an authority.
#[derive(Debug)]
pub(super) struct IssuedAuthority {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) validity: Validity,
}

/// Signs the certificate of a root with its own key.
pub(super) fn sign_root(
    key: &PrivateKey,
    request: &AuthorityRequest<'_>,
    now: UnixTime,
) -> Result<IssuedAuthority, SignError> {
    let serial = random_serial()?;
    let subject = request
        .subject
        .clone()
        .with_default_serial_number(&serial.to_decimal());
    let template = IssuerTemplate::new(key.key_type(), subject.to_der(), None);
    let (not_before, not_after) =
        lifetime::validity(now, request.ttl, UnixTime::from_secs(i64::MAX));
    let validity = Validity {
        not_before,
        not_after,
    };
    sign_authority(&template, key, serial, request, validity)
}

/// A new JWT key id: 32 characters of `[a-zA-Z0-9]`.
pub(super) fn random_key_id() -> Result<Box<str>, SignError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut id = String::with_capacity(32);
    while id.len() < 32 {
        let mut random = [0; 32];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_unspecified| SignError::Random)?;
        // Bytes that do not index the alphabet are thrown away, so that no character is likelier.
        let characters = random
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte >> 2)));
        id.extend(characters.take(32 - id.len()).copied().map(char::from));
    }
    Ok(id.into())
}

/// What an X.509-SVID shall say.
#[derive(Debug)]
pub(super) struct LeafRequest<'a> {
    pub(super) spiffe_id: &'a SpiffeId,
    pub(super) public_key_der: &'a [u8],
    pub(super) dns_names: &'a [DnsName],
    pub(super) subject: &'a DistinguishedName,
    pub(super) ttl: Duration,
}

/// A freshly signed X.509-SVID.
#[derive(Clone, Debug)]
pub struct IssuedX509 {
    /// The leaf, then the intermediate that signed it; never the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Serial number in decimal.
    pub serial: Box<str>,
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
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

fn sign_authority(
    template: &IssuerTemplate,
    key: &PrivateKey,
    serial: Serial,
    request: &AuthorityRequest<'_>,
    validity: Validity,
) -> Result<IssuedAuthority, SignError> {
    let to_be_signed = template.authority(&AuthorityFields {
        serial,
        validity,
        subject: &request
            .subject
            .clone()
            .with_default_serial_number(&serial.to_decimal()),
        public_key_der: request.public_key_der,
        subject_key_id: subject_key_id(request.public_key_der).map_err(SignError::PublicKey)?,
        trust_domain_id: &request.trust_domain.id_string(),
    });
    let signature = key.sign(&to_be_signed).map_err(SignError::Signature)?;
    let certificate = CertificateDer::from(template.assemble(&to_be_signed, &signature));
    Ok(IssuedAuthority {
        certificate,
        validity,
    })
}

fn random_serial() -> Result<Serial, SignError> {
    let mut random = [0; 16];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_unspecified| SignError::Random)?;
    Serial::new(random).ok_or(SignError::Random)
}
