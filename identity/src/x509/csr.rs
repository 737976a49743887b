//! Certificate signing requests: the ones we make, and the ones that strangers send.

use std::fmt;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::der;
use crate::dns_name::DnsName;
use crate::secret::PrivateKey;
use crate::spiffe_id::SpiffeId;
use crate::x509::{AlternativeNames, PublicKey, X509Error, alternative_names, malformed};

/// The longest request that is read.
pub const MAX_CSR_LEN_BYTES: usize = 64 * 1024;

const WHAT: &str = "CSR";
// The parser's own words are for its developers.
const NOT_ONE: &str = "not a PKCS#10 request in DER";

/// A signing request (PKCS#10) that was read but not yet verified.
pub struct Csr {
    signed: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signature: Vec<u8>,
    public_key_der: Vec<u8>,
    subject_der: Vec<u8>,
    names: AlternativeNames,
}

impl Csr {
    /// Reads one request in DER, and nothing behind it.
    ///
    /// # Errors
    /// It is too long, malformed, or asks for extensions that cannot be read.
    pub fn parse(request_der: &[u8]) -> Result<Self, X509Error> {
        if request_der.len() > MAX_CSR_LEN_BYTES {
            return Err(X509Error::TooLong {
                what: WHAT,
                limit_bytes: MAX_CSR_LEN_BYTES,
            });
        }
        let (rest, request) = X509CertificationRequest::from_der(request_der)
            .map_err(|_cause| malformed(WHAT, NOT_ONE))?;
        if !rest.is_empty() {
            return Err(malformed(WHAT, "trailing data"));
        }
        let (signature_algorithm, signature) =
            signature(request_der).ok_or_else(|| malformed(WHAT, "signature is not in DER"))?;
        let info = &request.certification_request_info;
        Ok(Self {
            signed: info.raw.to_vec(),
            signature_algorithm: signature_algorithm.to_vec(),
            signature: signature.to_vec(),
            public_key_der: info.subject_pki.raw.to_vec(),
            subject_der: info.subject.as_raw().to_vec(),
            names: requested_names(&request)?,
        })
    }

    /// Proves that whoever made the request holds the private key.
    ///
    /// # Errors
    /// The signature does not fit, or its kind is not supported.
    pub fn verify_signature(&self) -> Result<(), X509Error> {
        PublicKey::parse(&self.public_key_der)?.verify(
            &self.signature_algorithm,
            &self.signed,
            &self.signature,
        )
    }

    /// The public key as SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// URI names that are asked for.
    pub fn uri_sans(&self) -> &[String] {
        &self.names.uris
    }

    /// DNS names that are asked for, as they came.
    pub fn dns_names(&self) -> &[String] {
        &self.names.dns_names
    }

    /// The subject's name in DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }
}

impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Makes a request in DER, with the subject that SPIRE's agents use (C=US, O=SPIRE).
///
/// # Errors
/// The key could not sign.
pub fn generate_csr(
    key: &PrivateKey,
    spiffe_id: Option<&SpiffeId>,
    dns_names: &[DnsName],
) -> Result<Vec<u8>, X509Error> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (rcgen::DnType::CountryName, "US"),
        (rcgen::DnType::OrganizationName, "SPIRE"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    if let Some(id) = spiffe_id {
        let uri = id.as_str().try_into().map_err(X509Error::Generate)?;
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
    }
    for name in dns_names {
        let name = name.as_str().try_into().map_err(X509Error::Generate)?;
        params.subject_alt_names.push(rcgen::SanType::DnsName(name));
    }
    let request = params.serialize_request(key).map_err(X509Error::Generate)?;
    Ok(request.der().to_vec())
}

/// The content of the signature's algorithm identifier, and the signature.
fn signature(request_der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, _) = der::expect(der::SEQUENCE, request_der)?;
    let (_, rest) = der::expect(der::SEQUENCE, content)?;
    let (algorithm, rest) = der::expect(der::SEQUENCE, rest)?;
    let (bits, rest) = der::expect(der::BIT_STRING, rest)?;
    // The first byte counts unused bits; signatures are whole bytes.
    let signature = bits.strip_prefix(&[0])?;
    rest.is_empty().then_some((algorithm, signature))
}

fn requested_names(request: &X509CertificationRequest<'_>) -> Result<AlternativeNames, X509Error> {
    let mut found: Option<AlternativeNames> = None;
    for attribute in request.certification_request_info.attributes() {
        let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &requested.extensions {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    if found.is_some() {
                        return Err(malformed(WHAT, "subject alternative names given twice"));
                    }
                    let names =
                        alternative_names(names).map_err(|problem| malformed(WHAT, problem))?;
                    found = Some(names);
                }
                ParsedExtension::ParseError { .. } => {
                    return Err(malformed(WHAT, "an extension cannot be read"));
                }
                _ => {}
            }
        }
    }
    Ok(found.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::KeyType;

    fn request(key_type: KeyType) -> (PrivateKey, Vec<u8>) {
        let key = PrivateKey::generate(key_type).unwrap();
        let id = SpiffeId::parse("spiffe://example.org/w").unwrap();
        let names = ["a.example.org", "bad name"].map(|name| DnsName::parse(name).unwrap());
        let der = generate_csr(&key, Some(&id), &names).unwrap();
        (key, der)
    }

    #[test]
    fn a_request_of_every_key_type_verifies() {
        for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
            let (key, der) = request(key_type);
            let csr = Csr::parse(&der).unwrap();
            csr.verify_signature().unwrap();
            assert_eq!(csr.spki_der(), key.public_key_der());
            assert_eq!(csr.uri_sans(), ["spiffe://example.org/w"]);
            assert_eq!(csr.dns_names(), ["a.example.org", "bad name"]);
            assert_eq!(csr.subject_der().first(), Some(&0x30));
        }
    }

    #[test]
    fn a_request_may_ask_for_no_name() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let csr = Csr::parse(&generate_csr(&key, None, &[]).unwrap()).unwrap();
        csr.verify_signature().unwrap();
        assert!(csr.uri_sans().is_empty() && csr.dns_names().is_empty());
    }

    #[test]
    fn no_damaged_request_verifies() {
        let (_, der) = request(KeyType::EcP256);
        for len in 0..der.len() {
            assert!(Csr::parse(&der[..len]).is_err(), "{len} bytes");
        }
        assert!(Csr::parse(&[&der[..], &[0]].concat()).is_err());
        assert_eq!(
            Csr::parse(b"no").unwrap_err().to_string(),
            "malformed CSR: not a PKCS#10 request in DER"
        );
        assert!(matches!(
            Csr::parse(&vec![0x30; MAX_CSR_LEN_BYTES + 1]),
            Err(X509Error::TooLong { .. })
        ));
        for bit in 0..der.len() * 8 {
            let mut flipped = der.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verified = Csr::parse(&flipped).and_then(|csr| csr.verify_signature());
            assert!(verified.is_err(), "bit {bit}");
        }
    }
}
