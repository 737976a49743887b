//! Encryption of small secrets under keys that are used once: AES-256-GCM, bound to a purpose.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use identity::secret::SecretBytes;
use zeroize::Zeroizing;

/// What was encrypted, and the nonce that it takes to read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ciphertext {
    pub(crate) nonce: [u8; NONCE_LEN],
    /// With the tag at its end.
    pub(crate) bytes: Vec<u8>,
}

impl Ciphertext {
    /// Nonce and bytes in one.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&self.nonce[..], &self.bytes].concat()
    }

    /// What [`Self::to_bytes`] made.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (nonce, bytes) = bytes.split_first_chunk()?;
        Some(Self {
            nonce: *nonce,
            bytes: bytes.to_vec(),
        })
    }
}

/// A fresh key, 32 random bytes.
pub(crate) fn new_key() -> Result<SecretBytes, EnvelopeError> {
    let mut key = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *key).map_err(|_unspecified| EnvelopeError::Library)?;
    Ok(SecretBytes::from(&key[..]))
}

/// Encrypts `secret` for `purpose`.
pub(crate) fn seal(
    key: &SecretBytes,
    purpose: &[u8],
    secret: &SecretBytes,
) -> Result<Ciphertext, EnvelopeError> {
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_unspecified| EnvelopeError::Library)?;
    let mut bytes = Vec::with_capacity(secret.expose().len() + AES_256_GCM.tag_len());
    bytes.extend_from_slice(secret.expose());
    cipher(key)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(purpose),
            &mut bytes,
        )
        .map_err(|_unspecified| EnvelopeError::Library)?;
    Ok(Ciphertext { nonce, bytes })
}

/// Decrypts what was encrypted for the same `purpose`.
pub(crate) fn open(
    key: &SecretBytes,
    purpose: &[u8],
    ciphertext: &Ciphertext,
) -> Result<SecretBytes, EnvelopeError> {
    let mut bytes = Zeroizing::new(ciphertext.bytes.clone());
    let nonce = Nonce::assume_unique_for_key(ciphertext.nonce);
    let opened = cipher(key)?.open_in_place(nonce, Aad::from(purpose), &mut bytes);
    let opened = opened.map_err(|_unspecified| EnvelopeError::DoesNotOpen)?;
    Ok(SecretBytes::from(&*opened))
}

fn cipher(key: &SecretBytes) -> Result<LessSafeKey, EnvelopeError> {
    let unbound = UnboundKey::new(&AES_256_GCM, key.expose());
    Ok(LessSafeKey::new(
        unbound.map_err(|_unspecified| EnvelopeError::Library)?,
    ))
}

/// Why something could not be encrypted or decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    /// Another key or purpose, or damaged.
    #[error("does not open")]
    DoesNotOpen,
    /// No random numbers, or a key of the wrong length.
    #[error("the cryptographic library failed")]
    Library,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_opens_with_its_key_and_purpose_only() {
        let key = new_key().unwrap();
        let secret = SecretBytes::new(b"secret".to_vec());
        let sealed = seal(&key, b"a", &secret).unwrap();
        let read = Ciphertext::from_bytes(&sealed.to_bytes()).unwrap();
        assert_eq!(read, sealed);
        assert!(open(&key, b"a", &read).unwrap() == secret);
        let refused = |key: &SecretBytes, purpose: &[u8], sealed: &Ciphertext| {
            open(key, purpose, sealed).err()
        };
        let other = new_key().unwrap();
        let doesnt = Some(EnvelopeError::DoesNotOpen);
        assert_eq!(refused(&other, b"a", &sealed), doesnt);
        assert_eq!(refused(&key, b"b", &sealed), doesnt);
        for at in 0..sealed.bytes.len() {
            let mut damaged = sealed.clone();
            damaged.bytes[at] ^= 1;
            assert_eq!(refused(&key, b"a", &damaged), doesnt, "{at}");
        }
        assert_eq!(Ciphertext::from_bytes(&[0; 11]), None);
    }
}
