//! Public keys as SubjectPublicKeyInfo: their identifier, and signatures made with them.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use webpki::ALL_VERIFICATION_ALGS;

use crate::der;
use crate::x509::{X509Error, malformed};

/// The longest public key that is read: RSA with 16,384 bits has about 2,100 bytes.
pub const MAX_PUBLIC_KEY_LEN_BYTES: usize = 4 * 1024;

const WHAT: &str = "public key";

/// The key identifier of RFC 5280 §4.2.1.2 method 1: SHA-1 of the bits of the public key.
///
/// It names a key and protects nothing, and every SPIFFE implementation computes it like this.
///
/// # Errors
/// `spki_der` is not one SubjectPublicKeyInfo.
pub fn subject_key_id(spki_der: &[u8]) -> Result<[u8; 20], X509Error> {
    let key = PublicKey::parse(spki_der)?;
    let mut id = [0; 20];
    id.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, key.bits).as_ref());
    Ok(id)
}

/// The two parts of a SubjectPublicKeyInfo, not yet known to fit each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicKey<'a> {
    /// Content of the algorithm identifier in DER.
    pub(crate) algorithm: &'a [u8],
    /// The key itself.
    pub(crate) bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Splits one SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// It is too long or malformed.
    pub fn parse(spki_der: &'a [u8]) -> Result<Self, X509Error> {
        if spki_der.len() > MAX_PUBLIC_KEY_LEN_BYTES {
            return Err(X509Error::TooLong {
                what: WHAT,
                limit_bytes: MAX_PUBLIC_KEY_LEN_BYTES,
            });
        }
        Self::split(spki_der).ok_or_else(|| malformed(WHAT, "not a SubjectPublicKeyInfo"))
    }

    /// Whether the key is of a kind whose signatures can be verified here.
    pub fn is_supported(&self) -> bool {
        ALL_VERIFICATION_ALGS
            .iter()
            .any(|algorithm| algorithm.public_key_alg_id().as_ref() == self.algorithm)
    }

    /// Verifies a signature as X.509 writes it; `signature_algorithm` is the content of its
    /// algorithm identifier in DER.
    ///
    /// # Errors
    /// The signature does not fit, or the combination is not supported.
    pub(crate) fn verify(
        &self,
        signature_algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), X509Error> {
        let algorithm = ALL_VERIFICATION_ALGS
            .iter()
            .find(|algorithm| {
                algorithm.public_key_alg_id().as_ref() == self.algorithm
                    && algorithm.signature_alg_id().as_ref() == signature_algorithm
            })
            .ok_or(X509Error::UnsupportedAlgorithm)?;
        algorithm
            .verify_signature(self.bits, message, signature)
            .map_err(|_invalid| X509Error::Signature)
    }

    fn split(spki_der: &'a [u8]) -> Option<Self> {
        let (content, rest) = der::expect(der::SEQUENCE, spki_der)?;
        let (algorithm, key) = der::expect(der::SEQUENCE, content)?;
        let (bits, after) = der::expect(der::BIT_STRING, key)?;
        // The first byte counts unused bits; keys are whole bytes.
        let bits = bits.strip_prefix(&[0])?;
        (rest.is_empty() && after.is_empty() && !bits.is_empty())
            .then_some(Self { algorithm, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{KeyType, PrivateKey};

    #[test]
    fn the_identifier_is_the_hash_of_the_bits() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let spki = key.public_key_der();
        // A P-256 point has 65 bytes, and they come last.
        let expected = digest(&SHA1_FOR_LEGACY_USE_ONLY, &spki[spki.len() - 65..]);
        assert_eq!(subject_key_id(spki).unwrap(), expected.as_ref());
    }

    #[test]
    fn damaged_keys_are_refused() {
        let key = PrivateKey::generate(KeyType::Rsa2048).unwrap();
        let spki = key.public_key_der();
        assert!(PublicKey::parse(spki).unwrap().is_supported());
        for len in 0..spki.len() {
            assert!(PublicKey::parse(&spki[..len]).is_err(), "{len} bytes");
        }
        assert!(PublicKey::parse(&[spki, &[0]].concat()).is_err());
        assert!(PublicKey::parse(&vec![0x30; MAX_PUBLIC_KEY_LEN_BYTES + 1]).is_err());
    }
}
