//! PEM: certificates and keys in text form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::{Zeroize, Zeroizing};

use crate::secret::{KeyError, PrivateKey, SecretBytes};

/// The longest text that is read.
pub const MAX_PEM_LEN_BYTES: usize = 4 * 1024 * 1024;

const LINE_LEN: usize = 64;

/// Writes certificates one after the other.
pub fn encode_certificates<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>,
) -> String {
    certificates
        .into_iter()
        .map(|certificate| encode("CERTIFICATE", certificate))
        .collect()
}

/// Reads the certificates of a text, at least one; what stands between them is skipped. They are
/// not checked further.
///
/// # Errors
/// The text is too long, malformed, or has no certificate.
pub fn decode_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    check_length(text)?;
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(PemError::Malformed)?;
    if certificates.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(certificates)
}

/// Writes a key as an unencrypted PKCS#8 document.
pub fn encode_private_key(key: &PrivateKey) -> SecretBytes {
    encode_pkcs8(key.pkcs8())
}

/// Writes an unencrypted PKCS#8 document.
pub fn encode_pkcs8(document: &SecretBytes) -> SecretBytes {
    SecretBytes::new(encode("PRIVATE KEY", document.expose()).into_bytes())
}

/// Reads the first private key of a text: PKCS#8, PKCS#1 or SEC 1, not encrypted.
///
/// # Errors
/// The text is too long or malformed, or the key is of an unknown kind.
pub fn decode_private_key(text: &[u8]) -> Result<PrivateKey, PemError> {
    check_length(text)?;
    let mut document = PrivateKeyDer::from_pem_slice(text).map_err(PemError::Malformed)?;
    let key = PrivateKey::from_document(&document).map_err(PemError::Key);
    document.zeroize();
    key
}

/// Why a text is refused.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The text has more than [`MAX_PEM_LEN_BYTES`].
    #[error("PEM is longer than {MAX_PEM_LEN_BYTES} bytes")]
    TooLong,
    /// A block is broken, or the one that is looked for is missing.
    #[error("malformed PEM")]
    Malformed(#[source] pem::Error),
    /// There is no certificate.
    #[error("no PEM blocks of type CERTIFICATE")]
    NoCertificate,
    /// The key is of an unknown kind.
    #[error("unusable private key")]
    Key(#[source] KeyError),
}

fn check_length(text: &[u8]) -> Result<(), PemError> {
    (text.len() <= MAX_PEM_LEN_BYTES)
        .then_some(())
        .ok_or(PemError::TooLong)
}

fn encode(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let lines = body.len() / LINE_LEN + 1;
    // Reserved in one piece: growing would leave copies of a key behind.
    let mut text = String::with_capacity(body.len() + lines + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_LEN));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der;
    use crate::secret::KeyType;

    /// A key in the form that stands inside of a PKCS#8 document (RFC 5958 §2).
    fn inner(key: &PrivateKey) -> Vec<u8> {
        const OCTET_STRING: u8 = 0x04;
        let (content, _) = der::expect(der::SEQUENCE, key.pkcs8().expose()).unwrap();
        let (_, rest) = der::expect(der::INTEGER, content).unwrap();
        let (_, rest) = der::expect(der::SEQUENCE, rest).unwrap();
        der::expect(OCTET_STRING, rest).unwrap().0.to_vec()
    }

    #[test]
    fn keys_are_read_in_older_forms_too() {
        for (key_type, label) in [
            (KeyType::EcP256, "EC PRIVATE KEY"),
            (KeyType::EcP384, "EC PRIVATE KEY"),
            (KeyType::Rsa2048, "RSA PRIVATE KEY"),
        ] {
            let key = PrivateKey::generate(key_type).unwrap();
            // As `openssl ecparam -genkey` has it, something else may stand before the key.
            let text = encode("EC PARAMETERS", &[6, 0]) + &encode(label, &inner(&key));
            let read = decode_private_key(text.as_bytes()).unwrap();
            assert_eq!(read.public_key_der(), key.public_key_der());
            assert!(read.pkcs8() == key.pkcs8());
        }
    }

    #[test]
    fn certificates_survive() {
        let certificates: Vec<CertificateDer<'static>> = [1, 47, 48, 49, 96, 1000]
            .map(|len| vec![0xa5; len].into())
            .to_vec();
        let text = encode_certificates(&certificates);
        assert!(text.lines().all(|line| line.len() <= LINE_LEN));
        assert_eq!(decode_certificates(text.as_bytes()).unwrap(), certificates);
        let noisy = format!("# a comment\n{text}\ntrailing words\n");
        assert_eq!(decode_certificates(noisy.as_bytes()).unwrap(), certificates);
    }

    #[test]
    fn a_key_survives() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let text = encode_private_key(&key);
        assert!(text.expose().starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
        assert!(text.expose().ends_with(b"\n-----END PRIVATE KEY-----\n"));
        let read = decode_private_key(text.expose()).unwrap();
        assert_eq!(read.public_key_der(), key.public_key_der());
    }

    #[test]
    fn broken_texts_are_refused() {
        let text = encode_certificates(&[vec![7; 100].into()]);
        for len in 0..text.trim_end().len() {
            assert!(
                decode_certificates(&text.as_bytes()[..len]).is_err(),
                "{len}"
            );
        }
        assert!(matches!(
            decode_certificates(b""),
            Err(PemError::NoCertificate)
        ));
        assert!(matches!(
            decode_private_key(text.as_bytes()),
            Err(PemError::Malformed(_))
        ));
        let long = vec![b'\n'; MAX_PEM_LEN_BYTES + 1];
        assert!(matches!(decode_certificates(&long), Err(PemError::TooLong)));
    }
}
