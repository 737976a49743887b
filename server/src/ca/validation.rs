//! A second look at each X.509-SVID before it leaves: what was encoded is read back and held
//! against what the profile promises, so that no slip in the encoder reaches a workload.
//!
//! Reads only what it checks; the signature is not verified again.

use identity::{clock::UnixTime, spiffe_id::SpiffeId};

use crate::ca::{
    certificate::{DNS_NAME, URI_NAME, Validity, oid},
    der::{self, DerError, DerReader},
};

/// A certificate that must not be handed out.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// The certificate cannot be read back.
    #[error("certificate cannot be read back")]
    Malformed,
    /// A field is not what the profile of an X.509-SVID promises.
    #[error("certificate does not keep its profile: {0}")]
    Profile(&'static str),
}

/// Checks that `certificate` is an X.509-SVID of `spiffe_id`: that name as its only URI, key usage
/// within digitalSignature, keyEncipherment and keyAgreement with the first one set, both TLS
/// purposes, no CA, valid now and no longer than its issuer.
pub(super) fn check_leaf(
    certificate: &[u8],
    spiffe_id: &SpiffeId,
    issuer: Validity,
    now: UnixTime,
) -> Result<(), ValidationError> {
    let fields = TbsFields::read(certificate)?;
    fields.check_validity(issuer, now)?;
    let mut seen = Seen::default();
    let mut extensions = fields.extensions;
    while !extensions.is_empty() {
        let mut extension = extensions.enter(der::SEQUENCE)?;
        let identifier = extension.expect(der::OBJECT_IDENTIFIER)?;
        if extension.peek() == Some(der::BOOLEAN) {
            extension.element()?;
        }
        let value = DerReader::new(extension.expect(der::OCTET_STRING)?);
        seen.extension(identifier, value, spiffe_id)?;
    }
    seen.complete()
}

impl From<DerError> for ValidationError {
    fn from(DerError: DerError) -> Self {
        Self::Malformed
    }
}

/// The parts of a certificate that are checked, or that an issuer is made of.
pub(super) struct TbsFields<'a> {
    pub(super) validity: Validity,
    /// The encoded name.
    pub(super) subject: &'a [u8],
    /// SubjectPublicKeyInfo.
    pub(super) public_key_der: &'a [u8],
    extensions: DerReader<'a>,
}

impl<'a> TbsFields<'a> {
    /// Reads a certificate with extensions.
    pub(super) fn read(certificate: &'a [u8]) -> Result<Self, ValidationError> {
        let mut outer = DerReader::new(certificate).enter(der::SEQUENCE)?;
        let mut fields = outer.enter(der::SEQUENCE)?;
        fields.expect(der::context_constructed(0))?;
        let serial = fields.expect(der::INTEGER)?;
        fields.expect(der::SEQUENCE)?; // signature algorithm
        fields.expect(der::SEQUENCE)?; // issuer
        let mut times = fields.enter(der::SEQUENCE)?;
        let validity = Validity {
            not_before: times.time()?,
            not_after: times.time()?,
        };
        let subject = fields.element()?.whole;
        let public_key_der = fields.element()?.whole;
        let extensions = fields
            .enter(der::context_constructed(3))?
            .enter(der::SEQUENCE)?;
        if !fields.is_empty() {
            return Err(ValidationError::Profile("fields after the extensions"));
        }
        // RFC 5280 §4.1.2.2: positive and at most 20 octets.
        if serial.len() > 20 || serial.first().is_none_or(|first| first & 0x80 != 0) {
            return Err(ValidationError::Profile("serial number"));
        }
        Ok(Self {
            validity,
            subject,
            public_key_der,
            extensions,
        })
    }

    fn check_validity(&self, issuer: Validity, now: UnixTime) -> Result<(), ValidationError> {
        if !self.validity.contains(now) {
            return Err(ValidationError::Profile("not valid now"));
        }
        if issuer.not_after < self.validity.not_after {
            return Err(ValidationError::Profile("valid longer than its issuer"));
        }
        Ok(())
    }
}

/// Which of the extensions that a leaf needs have been found, each at most once.
#[derive(Default)]
struct Seen {
    key_usage: bool,
    purposes: bool,
    constraints: bool,
    name: bool,
}

impl Seen {
    fn extension(
        &mut self,
        identifier: &[u8],
        value: DerReader<'_>,
        spiffe_id: &SpiffeId,
    ) -> Result<(), ValidationError> {
        if identifier == oid::KEY_USAGE {
            check_key_usage(value)?;
            once(&mut self.key_usage, "key usage given twice")
        } else if identifier == oid::EXTENDED_KEY_USAGE {
            check_purposes(value)?;
            once(&mut self.purposes, "purposes given twice")
        } else if identifier == oid::BASIC_CONSTRAINTS {
            check_constraints(value)?;
            once(&mut self.constraints, "basic constraints given twice")
        } else if identifier == oid::SUBJECT_ALT_NAME {
            check_names(value, spiffe_id)?;
            once(&mut self.name, "alternative names given twice")
        } else {
            Ok(())
        }
    }

    fn complete(&self) -> Result<(), ValidationError> {
        if self.key_usage && self.purposes && self.constraints && self.name {
            Ok(())
        } else {
            Err(ValidationError::Profile("an extension is missing"))
        }
    }
}

fn once(seen: &mut bool, complaint: &'static str) -> Result<(), ValidationError> {
    if std::mem::replace(seen, true) {
        Err(ValidationError::Profile(complaint))
    } else {
        Ok(())
    }
}

fn check_key_usage(mut value: DerReader<'_>) -> Result<(), ValidationError> {
    const DIGITAL_SIGNATURE: u8 = 0b1000_0000;
    const ALLOWED: u8 = 0b1010_1000;
    match *value.expect(der::BIT_STRING)? {
        [_unused, bits] if bits & DIGITAL_SIGNATURE != 0 && bits & !ALLOWED == 0 => Ok(()),
        _ => Err(ValidationError::Profile("key usage")),
    }
}

fn check_purposes(mut value: DerReader<'_>) -> Result<(), ValidationError> {
    const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
    let mut purposes = value.enter(der::SEQUENCE)?;
    let (mut server, mut client) = (false, false);
    while !purposes.is_empty() {
        let purpose = purposes.expect(der::OBJECT_IDENTIFIER)?;
        server |= purpose == SERVER_AUTH;
        client |= purpose == CLIENT_AUTH;
    }
    if server && client {
        Ok(())
    } else {
        Err(ValidationError::Profile("extended key usage"))
    }
}

fn check_constraints(mut value: DerReader<'_>) -> Result<(), ValidationError> {
    // An absent cA is false, and false is never written (X.690 §11.5).
    if value.enter(der::SEQUENCE)?.is_empty() {
        Ok(())
    } else {
        Err(ValidationError::Profile("marked as a CA"))
    }
}

fn check_names(mut value: DerReader<'_>, spiffe_id: &SpiffeId) -> Result<(), ValidationError> {
    let mut names = value.enter(der::SEQUENCE)?;
    let mut uris = 0;
    while !names.is_empty() {
        let name = names.element()?;
        match name.tag {
            URI_NAME if name.content == spiffe_id.as_str().as_bytes() => uris += 1,
            DNS_NAME => {}
            _ => return Err(ValidationError::Profile("unexpected alternative name")),
        }
    }
    // Exactly one URI (SPIFFE X.509-SVID §2).
    if uris == 1 {
        Ok(())
    } else {
        Err(ValidationError::Profile("not exactly one URI name"))
    }
}
