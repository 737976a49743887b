//! What the control plane wants to know of a certificate.
//!
//! Reading a certificate proves nothing: whether it is to be believed is the question of
//! [`crate::tls`].

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::clock::UnixTime;
use crate::spiffe_id::SpiffeId;
use crate::x509::subject_text::subject_text;
use crate::x509::{AlternativeNames, X509Error, alternative_names, malformed};

/// The longest certificate that is read.
pub const MAX_CERTIFICATE_LEN_BYTES: usize = 64 * 1024;

const WHAT: &str = "certificate";
// The parser's own words are for its developers.
const NOT_ONE: &str = "not an X.509 certificate in DER";

/// The content of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateInfo {
    /// The serial number in decimal.
    pub serial: String,
    /// The serial number: big-endian, without leading zeros.
    pub serial_bytes: Vec<u8>,
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
    /// The subject's name, as in RFC 4514 but in the order of the certificate.
    pub subject: String,
    /// The subject's name in DER.
    pub subject_der: Vec<u8>,
    /// The issuer's name in DER.
    pub issuer_der: Vec<u8>,
    /// Whether the basic constraints say CA.
    pub is_ca: bool,
    /// The key usage; `None` if the extension is absent.
    pub key_usage: Option<KeyUsage>,
    /// URI subject alternative names, in order.
    pub uri_sans: Vec<String>,
    /// DNS subject alternative names, in order.
    pub dns_names: Vec<String>,
    /// E-mail subject alternative names, in order.
    pub email_addresses: Vec<String>,
    /// IP subject alternative names, in order.
    pub ip_addresses: Vec<IpAddr>,
    /// The subject key identifier, if there is one.
    pub subject_key_id: Option<Vec<u8>>,
    /// The key identifier of the issuer, if there is one.
    pub authority_key_id: Option<Vec<u8>>,
    /// SubjectPublicKeyInfo in DER.
    pub public_key_der: Vec<u8>,
}

/// The bits of a key usage extension that matter to SPIFFE (X509-SVID §4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyUsage {
    /// The key signs handshakes.
    pub digital_signature: bool,
    /// The key signs certificates.
    pub key_cert_sign: bool,
    /// The key signs revocation lists.
    pub crl_sign: bool,
    /// The key does something else, too.
    pub others: bool,
}

impl CertificateInfo {
    /// Reads one certificate in DER, and nothing behind it.
    ///
    /// # Errors
    /// It is too long, malformed, or has an extension that cannot be read.
    pub fn parse(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CERTIFICATE_LEN_BYTES {
            return Err(X509Error::TooLong {
                what: WHAT,
                limit_bytes: MAX_CERTIFICATE_LEN_BYTES,
            });
        }
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_cause| malformed(WHAT, NOT_ONE))?;
        if !rest.is_empty() {
            return Err(malformed(WHAT, "trailing data"));
        }
        Self::from_parsed(&certificate)
    }

    /// The SPIFFE ID of the certificate.
    ///
    /// # Errors
    /// There is not exactly one URI SAN (X509-SVID §2), or it is no SPIFFE ID.
    pub fn spiffe_id(&self) -> Result<SpiffeId, X509Error> {
        match self.uri_sans.as_slice() {
            [uri] => SpiffeId::parse(uri).map_err(X509Error::SpiffeId),
            uris => Err(X509Error::UriSans(uris.len())),
        }
    }

    /// The subject's name as Go prints it, such as `O=SPIRE,C=US`.
    pub fn subject_text(&self) -> String {
        subject_text(&self.subject_der)
    }

    /// Whether the certificate is valid at `now`, both ends included (RFC 5280 §4.1.2.5).
    pub fn is_valid_at(&self, now: UnixTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    fn from_parsed(certificate: &X509Certificate<'_>) -> Result<Self, X509Error> {
        // Asking for a map refuses extensions that occur twice.
        certificate
            .extensions_map()
            .map_err(|_cause| malformed(WHAT, "an extension is there twice"))?;
        let mut info = Self {
            serial: certificate.tbs_certificate.serial.to_string(),
            serial_bytes: certificate.tbs_certificate.serial.to_bytes_be(),
            not_before: UnixTime::from_secs(certificate.validity().not_before.timestamp()),
            not_after: UnixTime::from_secs(certificate.validity().not_after.timestamp()),
            subject: certificate.subject().to_string(),
            subject_der: certificate.subject().as_raw().to_vec(),
            issuer_der: certificate.issuer().as_raw().to_vec(),
            is_ca: false,
            key_usage: None,
            uri_sans: Vec::new(),
            dns_names: Vec::new(),
            email_addresses: Vec::new(),
            ip_addresses: Vec::new(),
            subject_key_id: None,
            authority_key_id: None,
            public_key_der: certificate.public_key().raw.to_vec(),
        };
        for extension in certificate.extensions() {
            info.take(extension.parsed_extension())?;
        }
        Ok(info)
    }

    fn take(&mut self, extension: &ParsedExtension<'_>) -> Result<(), X509Error> {
        match extension {
            ParsedExtension::BasicConstraints(constraints) => self.is_ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsage {
                    digital_signature: usage.digital_signature(),
                    key_cert_sign: usage.key_cert_sign(),
                    crl_sign: usage.crl_sign(),
                    others: usage.flags & !(DIGITAL_SIGNATURE | KEY_CERT_SIGN | CRL_SIGN) != 0,
                });
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                let AlternativeNames {
                    uris,
                    dns_names,
                    email_addresses,
                    ip_addresses,
                } = alternative_names(names).map_err(|problem| malformed(WHAT, problem))?;
                self.uri_sans = uris;
                self.dns_names = dns_names;
                self.email_addresses = email_addresses;
                self.ip_addresses = ip_addresses;
            }
            ParsedExtension::SubjectKeyIdentifier(id) => {
                self.subject_key_id = Some(id.0.to_vec());
            }
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            // An extension that cannot be read must not count as one that is absent.
            ParsedExtension::ParseError { .. } => {
                return Err(malformed(WHAT, "an extension cannot be read"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Bits of a key usage as the parser numbers them (RFC 5280 §4.2.1.3).
const DIGITAL_SIGNATURE: u16 = 1;
const KEY_CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{KeyType, PrivateKey};
    use crate::x509::subject_key_id;

    fn certificate(key: &PrivateKey, uris: &[&str], is_ca: rcgen::IsCa) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "SPIRE");
        params.serial_number =
            Some(vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01].into());
        params.subject_alt_names = uris
            .iter()
            .map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()))
            .chain([rcgen::SanType::DnsName("a.example.org".try_into().unwrap())])
            .collect();
        params.is_ca = is_ca;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(
            subject_key_id(key.public_key_der()).unwrap().to_vec(),
        );
        params.self_signed(key).unwrap().der().to_vec()
    }

    #[test]
    fn the_content_is_read() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let der = certificate(&key, &["spiffe://td/w"], rcgen::IsCa::ExplicitNoCa);
        let info = CertificateInfo::parse(&der).unwrap();
        assert_eq!(info.serial, "2361183241434822606593");
        assert_eq!(info.subject, "O=SPIRE");
        assert_eq!(info.spiffe_id().unwrap().as_str(), "spiffe://td/w");
        assert_eq!(info.dns_names, ["a.example.org"]);
        assert!(!info.is_ca);
        let usage = info.key_usage.unwrap();
        assert!(usage.digital_signature && !usage.key_cert_sign && !usage.crl_sign);
        assert_eq!(info.public_key_der, key.public_key_der());
        assert_eq!(
            info.subject_key_id.as_deref(),
            Some(&subject_key_id(key.public_key_der()).unwrap()[..])
        );
    }

    #[test]
    fn an_svid_has_exactly_one_uri() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let id = |uris: &[&str]| {
            let der = certificate(&key, uris, rcgen::IsCa::NoCa);
            let id = CertificateInfo::parse(&der).unwrap().spiffe_id();
            id.unwrap_err().to_string()
        };
        assert_eq!(id(&[]), "expected exactly one URI SAN, found 0");
        assert_eq!(
            id(&["spiffe://td/a", "spiffe://td/b"]),
            "expected exactly one URI SAN, found 2"
        );
        assert_eq!(
            id(&["https://td/a"]),
            "URI SAN is not a SPIFFE ID: scheme is missing or invalid"
        );
    }

    #[test]
    fn damaged_certificates_never_pass_as_whole_ones() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let der = certificate(&key, &["spiffe://td/w"], rcgen::IsCa::ExplicitNoCa);
        for len in 0..der.len() {
            assert!(CertificateInfo::parse(&der[..len]).is_err(), "{len} bytes");
        }
        let mut longer = der.clone();
        longer.push(0);
        assert_eq!(
            CertificateInfo::parse(&longer).unwrap_err().to_string(),
            "malformed certificate: trailing data"
        );
        let whole = CertificateInfo::parse(&der).unwrap();
        for bit in 0..der.len() * 8 {
            let mut flipped = der.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Either refused or read as something: what must hold is that nothing panics, and that
            // no flip turns the certificate into a CA with the same identity.
            if let Ok(info) = CertificateInfo::parse(&flipped) {
                assert!(
                    !(info.is_ca && info.uri_sans == whole.uri_sans)
                        || info.key_usage == whole.key_usage
                );
            }
        }
        assert!(matches!(
            CertificateInfo::parse(&vec![0x30; MAX_CERTIFICATE_LEN_BYTES + 1]),
            Err(X509Error::TooLong { .. })
        ));
    }
}
