//! X.509 documents: certificates and signing requests, read with bounds.

mod certificate;
mod concatenated;
mod csr;
mod early_start;
mod name;
mod paths;
mod public_key;
mod subject_text;

pub use certificate::{CertificateInfo, KeyUsage, MAX_CERTIFICATE_LEN_BYTES};
pub use concatenated::split_certificates;
pub use csr::{Csr, MAX_CSR_LEN_BYTES, generate_csr};
pub use name::DistinguishedName;
pub use paths::{PathError, UntrustedChain, verified_issuers};
pub use public_key::{MAX_PUBLIC_KEY_LEN_BYTES, PublicKey, subject_key_id};

use std::net::IpAddr;

use crate::clock::UnixTime;
use crate::spiffe_id::IdError;

/// Why an X.509 document is refused.
#[derive(Debug, thiserror::Error)]
pub enum X509Error {
    /// The document is longer than its kind may be.
    #[error("{what} is longer than {limit_bytes} bytes")]
    TooLong {
        /// The kind of document.
        what: &'static str,
        /// The limit.
        limit_bytes: usize,
    },
    /// The document is not what its kind must look like.
    #[error("malformed {what}: {problem}")]
    Malformed {
        /// The kind of document.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The signature does not fit the key and the content.
    #[error("signature does not verify")]
    Signature,
    /// The key or the signature is of a kind that is not supported.
    #[error("unsupported key or signature algorithm")]
    UnsupportedAlgorithm,
    /// The certificate has no or several URI SANs.
    #[error("expected exactly one URI SAN, found {0}")]
    UriSans(usize),
    /// The URI SAN is not a SPIFFE ID.
    #[error("URI SAN is not a SPIFFE ID: {0}")]
    SpiffeId(IdError),
    /// A signing request could not be made.
    #[error("could not make the signing request")]
    Generate(#[source] rcgen::Error),
}

/// Names found in a subjectAltName extension.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct AlternativeNames {
    uris: Vec<String>,
    dns_names: Vec<String>,
    email_addresses: Vec<String>,
    ip_addresses: Vec<IpAddr>,
}

/// Collects the names of interest; the others are skipped.
fn alternative_names(
    extension: &x509_parser::extensions::SubjectAlternativeName<'_>,
) -> Result<AlternativeNames, String> {
    use x509_parser::extensions::GeneralName;
    let mut names = AlternativeNames::default();
    for name in &extension.general_names {
        match name {
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::DNSName(dns_name) => names.dns_names.push((*dns_name).to_owned()),
            GeneralName::RFC822Name(address) => names.email_addresses.push((*address).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let address = ip_address(bytes)
                    .ok_or_else(|| format!("IP address of {} bytes", bytes.len()))?;
                names.ip_addresses.push(address);
            }
            // A name that cannot be read might be the URI that decides.
            GeneralName::Invalid(tag, _) => {
                return Err(format!(
                    "unreadable subject alternative name, tag {}",
                    tag.0
                ));
            }
            _ => {}
        }
    }
    Ok(names)
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// `now` as the library for paths wants it.
pub(crate) fn path_time(now: UnixTime) -> rustls_pki_types::UnixTime {
    let secs = u64::try_from(now.as_secs()).unwrap_or(0);
    rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs))
}

/// The text of a parser's error; the type borrows from the input or says no more.
fn malformed(what: &'static str, problem: impl ToString) -> X509Error {
    X509Error::Malformed {
        what,
        problem: problem.to_string(),
    }
}
