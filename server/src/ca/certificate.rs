//! How the certificates of this authority look: SPIRE's profiles, laid out field by field.
//!
//! Everything that stays the same for one issuer is encoded once, in [`IssuerTemplate`]; a
//! certificate is that plus subject, key, names and validity. The encoder takes no decisions:
//! lifetimes and names are chosen by the signer, and `validation` reads the result back.

use identity::{clock::UnixTime, dns_name::DnsName, secret::KeyType, spiffe_id::SpiffeId};

use crate::ca::{
    der::{self, DerWriter},
    name::DistinguishedName,
};

/// A certificate's serial number: 128 random bits, not zero (RFC 5280 §4.1.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Serial([u8; 16]);

impl Serial {
    /// The serial number made of these random bytes; `None` for zero.
    pub(super) fn new(random: [u8; 16]) -> Option<Self> {
        (random != [0; 16]).then_some(Self(random))
    }

    /// The number in decimal, as the API and agent records hold it.
    pub(super) fn to_decimal(self) -> String {
        u128::from_be_bytes(self.0).to_string()
    }
}

/// From when until when a certificate is valid, both inclusive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Validity {
    /// First second.
    pub(super) not_before: UnixTime,
    /// Last second.
    pub(super) not_after: UnixTime,
}

impl Validity {
    /// Whether something with this validity is valid at `instant`.
    pub(super) fn contains(self, instant: UnixTime) -> bool {
        self.not_before <= instant && instant <= self.not_after
    }
}

/// What differs from one X.509-SVID to the next.
#[derive(Debug)]
pub(super) struct LeafFields<'a> {
    pub(super) serial: Serial,
    pub(super) validity: Validity,
    pub(super) subject: &'a DistinguishedName,
    pub(super) public_key_der: &'a [u8],
    pub(super) subject_key_id: [u8; 20],
    pub(super) spiffe_id: &'a SpiffeId,
    pub(super) dns_names: &'a [DnsName],
}

/// What differs from one CA certificate to the next.
#[derive(Debug)]
pub(super) struct AuthorityFields<'a> {
    pub(super) serial: Serial,
    pub(super) validity: Validity,
    pub(super) subject: &'a DistinguishedName,
    pub(super) public_key_der: &'a [u8],
    pub(super) subject_key_id: [u8; 20],
    /// `spiffe://<trust domain>`, the name of every authority of a domain (SPIFFE X.509-SVID §4.1).
    pub(super) trust_domain_id: &'a str,
}

/// What all certificates of one issuer have in common, encoded.
#[derive(Debug)]
pub(super) struct IssuerTemplate {
    signature_algorithm: &'static [u8],
    name: Vec<u8>,
    /// Absent for a self-signed certificate (RFC 5280 §4.2.1.1).
    authority_key_id: Option<Vec<u8>>,
}

impl IssuerTemplate {
    /// The template of the issuer with this key type, encoded name and key identifier.
    pub(super) fn new(key_type: KeyType, name: Vec<u8>, key_id: Option<&[u8]>) -> Self {
        let authority_key_id = key_id.map(|key_id| {
            let mut writer = DerWriter::with_capacity(32);
            extension(&mut writer, oid::AUTHORITY_KEY_ID, |writer| {
                writer.nested(der::SEQUENCE, |writer| {
                    writer.element(der::context(0), key_id);
                });
            });
            writer.into_bytes()
        });
        Self {
            signature_algorithm: signature_algorithm(key_type),
            name,
            authority_key_id,
        }
    }

    /// The bytes to sign for an X.509-SVID: digitalSignature, keyEncipherment and keyAgreement,
    /// both TLS purposes, not a CA, one URI name.
    pub(super) fn leaf(&self, fields: &LeafFields<'_>) -> Vec<u8> {
        self.to_be_signed(
            fields.serial,
            fields.validity,
            fields.subject,
            fields.public_key_der,
            |writer| {
                writer.raw(LEAF_USAGE_EXTENSIONS);
                key_ids(
                    writer,
                    &fields.subject_key_id,
                    self.authority_key_id.as_deref(),
                );
                extension(writer, oid::SUBJECT_ALT_NAME, |writer| {
                    writer.nested(der::SEQUENCE, |writer| {
                        for name in fields.dns_names {
                            writer.element(DNS_NAME, name.as_str().as_bytes());
                        }
                        writer.element(URI_NAME, fields.spiffe_id.as_str().as_bytes());
                    });
                });
            },
        )
    }

    /// The bytes to sign for a CA certificate: keyCertSign and cRLSign, no path length, no purposes.
    pub(super) fn authority(&self, fields: &AuthorityFields<'_>) -> Vec<u8> {
        self.to_be_signed(
            fields.serial,
            fields.validity,
            fields.subject,
            fields.public_key_der,
            |writer| {
                writer.raw(AUTHORITY_USAGE_EXTENSIONS);
                key_ids(
                    writer,
                    &fields.subject_key_id,
                    self.authority_key_id.as_deref(),
                );
                extension(writer, oid::SUBJECT_ALT_NAME, |writer| {
                    writer.nested(der::SEQUENCE, |writer| {
                        writer.element(URI_NAME, fields.trust_domain_id.as_bytes());
                    });
                });
            },
        )
    }

    /// The certificate: what was signed, and the signature.
    pub(super) fn assemble(&self, to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
        assembled(self.signature_algorithm, to_be_signed, signature)
    }

    /// TBSCertificate (RFC 5280 §4.1) with the extensions that `extensions` writes.
    fn to_be_signed(
        &self,
        serial: Serial,
        validity: Validity,
        subject: &DistinguishedName,
        public_key_der: &[u8],
        extensions: impl FnOnce(&mut DerWriter),
    ) -> Vec<u8> {
        let mut writer = DerWriter::with_capacity(TYPICAL_SIZE_BYTES + public_key_der.len());
        writer.nested(der::SEQUENCE, |writer| {
            writer.raw(VERSION_3);
            writer.unsigned_integer(&serial.0);
            writer.raw(self.signature_algorithm);
            writer.raw(&self.name);
            writer.nested(der::SEQUENCE, |writer| {
                writer.time(validity.not_before);
                writer.time(validity.not_after);
            });
            writer.raw(&subject.to_der());
            writer.raw(public_key_der);
            writer.nested(der::context_constructed(3), |writer| {
                writer.nested(der::SEQUENCE, extensions);
            });
        });
        writer.into_bytes()
    }
}

/// The bytes to sign for a request for the certificate of an authority (RFC 2986 §4.1): its name and
/// key, and `spiffe://<trust domain>` as the only alternative name.
pub(super) fn authority_request(
    subject: &DistinguishedName,
    public_key_der: &[u8],
    trust_domain_id: &str,
) -> Vec<u8> {
    let mut writer = DerWriter::with_capacity(TYPICAL_SIZE_BYTES + public_key_der.len());
    writer.nested(der::SEQUENCE, |writer| {
        writer.unsigned_integer(&[0]);
        writer.raw(&subject.to_der());
        writer.raw(public_key_der);
        writer.nested(der::context_constructed(0), |writer| {
            writer.nested(der::SEQUENCE, |writer| {
                writer.element(der::OBJECT_IDENTIFIER, EXTENSION_REQUEST);
                writer.nested(der::SET, |writer| {
                    writer.nested(der::SEQUENCE, |writer| {
                        extension(writer, oid::SUBJECT_ALT_NAME, |writer| {
                            writer.nested(der::SEQUENCE, |writer| {
                                writer.element(URI_NAME, trust_domain_id.as_bytes());
                            });
                        });
                    });
                });
            });
        });
    });
    writer.into_bytes()
}

/// What was signed with a key of this type, and the signature.
pub(super) fn signed(key_type: KeyType, to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
    assembled(signature_algorithm(key_type), to_be_signed, signature)
}

fn assembled(algorithm: &[u8], to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::with_capacity(to_be_signed.len() + signature.len() + 32);
    writer.nested(der::SEQUENCE, |writer| {
        writer.raw(to_be_signed);
        writer.raw(algorithm);
        writer.bit_string(signature);
    });
    writer.into_bytes()
}

const fn signature_algorithm(key_type: KeyType) -> &'static [u8] {
    match key_type {
        KeyType::EcP256 => ECDSA_WITH_SHA256,
        KeyType::EcP384 => ECDSA_WITH_SHA384,
        KeyType::Rsa2048 | KeyType::Rsa4096 => SHA256_WITH_RSA,
    }
}

/// pkcs-9-at-extensionRequest, 1.2.840.113549.1.9.14 (RFC 2985 §5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];

/// Contents of the OBJECT IDENTIFIERs of the extensions in use, 2.5.29.n.
pub(super) mod oid {
    pub(in crate::ca) const SUBJECT_KEY_ID: [u8; 3] = [0x55, 0x1d, 14];
    pub(in crate::ca) const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 15];
    pub(in crate::ca) const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 17];
    pub(in crate::ca) const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 19];
    pub(in crate::ca) const AUTHORITY_KEY_ID: [u8; 3] = [0x55, 0x1d, 35];
    pub(in crate::ca) const EXTENDED_KEY_USAGE: [u8; 3] = [0x55, 0x1d, 37];
}

/// GeneralName dNSName (RFC 5280 §4.2.1.6).
pub(super) const DNS_NAME: u8 = der::context(2);
/// GeneralName uniformResourceIdentifier.
pub(super) const URI_NAME: u8 = der::context(6);

/// The extensions in which all leaves agree: keyUsage (critical), extKeyUsage and basicConstraints
/// with CA false (critical).
#[rustfmt::skip]
const LEAF_USAGE_EXTENSIONS: &[u8] = &[
    der::SEQUENCE, 14, der::OBJECT_IDENTIFIER, 3, 0x55, 0x1d, 15, der::BOOLEAN, 1, 0xff,
        der::OCTET_STRING, 4, der::BIT_STRING, 2, 3, 0b1010_1000,
    der::SEQUENCE, 29, der::OBJECT_IDENTIFIER, 3, 0x55, 0x1d, 37, der::OCTET_STRING, 22, der::SEQUENCE, 20,
        der::OBJECT_IDENTIFIER, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1,
        der::OBJECT_IDENTIFIER, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2,
    der::SEQUENCE, 12, der::OBJECT_IDENTIFIER, 3, 0x55, 0x1d, 19, der::BOOLEAN, 1, 0xff,
        der::OCTET_STRING, 2, der::SEQUENCE, 0,
];

/// The extensions in which all authorities agree: keyUsage (critical) and basicConstraints with CA
/// true (critical).
#[rustfmt::skip]
const AUTHORITY_USAGE_EXTENSIONS: &[u8] = &[
    der::SEQUENCE, 14, der::OBJECT_IDENTIFIER, 3, 0x55, 0x1d, 15, der::BOOLEAN, 1, 0xff,
        der::OCTET_STRING, 4, der::BIT_STRING, 2, 1, 0b0000_0110,
    der::SEQUENCE, 15, der::OBJECT_IDENTIFIER, 3, 0x55, 0x1d, 19, der::BOOLEAN, 1, 0xff,
        der::OCTET_STRING, 5, der::SEQUENCE, 3, der::BOOLEAN, 1, 0xff,
];

/// `[0] EXPLICIT INTEGER 2`.
const VERSION_3: &[u8] = &[der::context_constructed(0), 3, der::INTEGER, 1, 2];

/// AlgorithmIdentifier ecdsa-with-SHA256 (RFC 5758 §3.2).
#[rustfmt::skip]
const ECDSA_WITH_SHA256: &[u8] = &[
    der::SEQUENCE, 10, der::OBJECT_IDENTIFIER, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2,
];
/// AlgorithmIdentifier ecdsa-with-SHA384.
#[rustfmt::skip]
const ECDSA_WITH_SHA384: &[u8] = &[
    der::SEQUENCE, 10, der::OBJECT_IDENTIFIER, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3,
];
/// AlgorithmIdentifier sha256WithRSAEncryption, with its NULL (RFC 4055 §5).
#[rustfmt::skip]
const SHA256_WITH_RSA: &[u8] = &[
    der::SEQUENCE, 13, der::OBJECT_IDENTIFIER, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0,
];

/// Size of a certificate without its public key that saves the writer from growing.
const TYPICAL_SIZE_BYTES: usize = 512;

/// subjectKeyIdentifier, and authorityKeyIdentifier if the issuer is another.
fn key_ids(writer: &mut DerWriter, subject_key_id: &[u8], authority_key_id: Option<&[u8]>) {
    extension(writer, oid::SUBJECT_KEY_ID, |writer| {
        writer.element(der::OCTET_STRING, subject_key_id);
    });
    if let Some(encoded) = authority_key_id {
        writer.raw(encoded);
    }
}

/// An extension that is not critical.
fn extension(writer: &mut DerWriter, identifier: [u8; 3], value: impl FnOnce(&mut DerWriter)) {
    writer.nested(der::SEQUENCE, |writer| {
        writer.element(der::OBJECT_IDENTIFIER, &identifier);
        writer.nested(der::OCTET_STRING, value);
    });
}
