//! X.509 authorities with their private keys: what they sign, certificate by certificate.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use identity::{
    clock::UnixTime,
    dns_name::DnsName,
    lifetime,
    secret::PrivateKey,
    spiffe_id::SpiffeId,
    trust_domain::TrustDomain,
    x509::{CertificateInfo, subject_key_id},
};
use rustls_pki_types::CertificateDer;

use super::{SignError, capped};
use crate::ca::{
    certificate::{
        AuthorityFields, IssuerTemplate, LeafFields, Serial, Validity, authority_request, signed,
    },
    name::DistinguishedName,
    upstream_key::OTHER_KEY,
    validation::{TbsFields, ValidationError},
};

/// An X.509 authority with its private key, ready to sign.
pub(in crate::ca) struct X509Issuer {
    id: Box<str>,
    pub(super) key: PrivateKey,
    certificate: CertificateDer<'static>,
    /// What stands between its certificate and a root of an upstream, nearest first.
    upstream_chain: Vec<CertificateDer<'static>>,
    pub(super) subject: DistinguishedName,
    pub(super) validity: Validity,
    template: IssuerTemplate,
}

impl X509Issuer {
    /// The authority with this certificate, if `key` is its key.
    pub(in crate::ca) fn new(
        id: Box<str>,
        certificate: CertificateDer<'static>,
        key: PrivateKey,
    ) -> Result<Self, SignError> {
        let fields = TbsFields::read(&certificate)?;
        if fields.public_key_der != key.public_key_der() {
            return Err(SignError::Refused(ValidationError::Profile(OTHER_KEY)));
        }
        let subject = DistinguishedName::from_der(fields.subject).map_err(ValidationError::from)?;
        // As its certificate names its key, whoever chose that name (RFC 5280 §4.2.1.1).
        let info = CertificateInfo::parse(&certificate).map_err(SignError::PublicKey)?;
        let key_id = match info.subject_key_id {
            Some(key_id) => key_id,
            None => subject_key_id(key.public_key_der())
                .map_err(SignError::PublicKey)?
                .to_vec(),
        };
        let name = fields.subject.to_vec();
        Ok(Self {
            id,
            template: IssuerTemplate::new(key.key_type(), name, Some(&key_id)),
            validity: fields.validity,
            certificate,
            upstream_chain: Vec::new(),
            subject,
            key,
        })
    }

    /// The same authority below an upstream: `chain` goes with everything that it signs, and it signs
    /// for no longer than until `not_after`, when the first certificate above it ends.
    pub(in crate::ca) fn below(
        self,
        chain: Vec<CertificateDer<'static>>,
        not_after: UnixTime,
    ) -> Self {
        let validity = Validity {
            not_after: self.validity.not_after.min(not_after),
            ..self.validity
        };
        Self {
            upstream_chain: chain,
            validity,
            ..self
        }
    }

    /// Its certificate and those between it and a root.
    pub(super) fn chain(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.certificate).chain(&self.upstream_chain)
    }

    /// Its id.
    pub(in crate::ca) fn id(&self) -> &str {
        &self.id
    }

    /// From when until when it may sign.
    #[cfg(test)]
    pub(in crate::ca) fn validity(&self) -> Validity {
        self.validity
    }

    /// Its certificate.
    pub(in crate::ca) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs the certificate of an authority below this one.
    pub(in crate::ca) fn sign_authority(
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

    pub(in crate::ca) fn sign_leaf(
        &self,
        request: &LeafRequest<'_>,
        now: UnixTime,
    ) -> Result<IssuedX509, SignError> {
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
            chain: std::iter::once(leaf).chain(self.chain().cloned()).collect(),
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

/// What the certificate of an authority shall say.
#[derive(Debug)]
pub(in crate::ca) struct AuthorityRequest<'a> {
    pub(in crate::ca) public_key_der: &'a [u8],
    /// Gets the certificate's serial number as an attribute, unless it has one.
    pub(in crate::ca) subject: DistinguishedName,
    pub(in crate::ca) trust_domain: &'a TrustDomain,
    pub(in crate::ca) ttl: Duration,
}

/// A freshly signed certificate of an authority.
#[derive(Debug)]
pub(in crate::ca) struct IssuedAuthority {
    pub(in crate::ca) certificate: CertificateDer<'static>,
    pub(in crate::ca) validity: Validity,
}

/// Signs the certificate of a root with its own key.
pub(in crate::ca) fn sign_root(
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

/// Signs a request to an upstream for the certificate of a new authority (RFC 2986), in DER. As in
/// certificates, the name has a serial number.
pub(in crate::ca) fn sign_request(
    key: &PrivateKey,
    subject: &DistinguishedName,
    trust_domain: &TrustDomain,
) -> Result<Vec<u8>, SignError> {
    let serial = random_serial()?.to_decimal();
    let subject = subject.clone().with_default_serial_number(&serial);
    let to_be_signed = authority_request(&subject, key.public_key_der(), &trust_domain.id_string());
    let signature = key.sign(&to_be_signed).map_err(SignError::Signature)?;
    Ok(signed(key.key_type(), &to_be_signed, &signature))
}

/// What an X.509-SVID shall say.
#[derive(Debug)]
pub(in crate::ca) struct LeafRequest<'a> {
    pub(in crate::ca) spiffe_id: &'a SpiffeId,
    pub(in crate::ca) public_key_der: &'a [u8],
    pub(in crate::ca) dns_names: &'a [DnsName],
    pub(in crate::ca) subject: &'a DistinguishedName,
    pub(in crate::ca) ttl: Duration,
}

/// A freshly signed X.509-SVID.
#[derive(Clone, Debug)]
pub struct IssuedX509 {
    /// The leaf, then the intermediate that signed it and those above that; never the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Serial number in decimal.
    pub serial: Box<str>,
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
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
