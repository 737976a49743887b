//! Certificates one after the other without anything between, as the SPIFFE APIs send chains and
//! bundles.

use rustls_pki_types::CertificateDer;

use crate::der;
use crate::x509::{CertificateInfo, X509Error, malformed};

/// Splits concatenated certificates in DER, each of which can be read; at least one.
///
/// # Errors
/// There is none, one is malformed, or something else is among them.
pub fn split_certificates(concatenated: &[u8]) -> Result<Vec<CertificateDer<'static>>, X509Error> {
    let mut certificates = Vec::new();
    let mut rest = concatenated;
    while certificates.is_empty() || !rest.is_empty() {
        let (_, behind) = der::expect(der::SEQUENCE, rest)
            .ok_or_else(|| malformed("certificate", "not a sequence"))?;
        let certificate = &rest[..rest.len() - behind.len()];
        CertificateInfo::parse(certificate)?;
        certificates.push(CertificateDer::from(certificate.to_vec()));
        rest = behind;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{KeyType, PrivateKey};

    fn certificate() -> Vec<u8> {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let params = rcgen::CertificateParams::default();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn certificates_are_split_where_they_were_joined() {
        let (one, two) = (certificate(), certificate());
        assert_eq!(
            split_certificates(&[&one[..], &two].concat()).unwrap(),
            [CertificateDer::from(one), CertificateDer::from(two)]
        );
    }

    #[test]
    fn anything_but_whole_certificates_is_refused() {
        let one = certificate();
        assert!(split_certificates(&[]).is_err());
        assert!(split_certificates(b"no").is_err());
        assert!(split_certificates(&one[..one.len() - 1]).is_err());
        assert!(split_certificates(&[&one[..], &[0]].concat()).is_err());
        assert!(split_certificates(&[&one[..], &[0x30, 0]].concat()).is_err());
    }
}
