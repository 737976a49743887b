//! How a joiner proves that it holds an invite without sending it, and how the seal key comes back.
//!
//! Everything is bound to the one TLS connection by its exporter value (RFC 8446 §7.5): what was
//! said on another connection, to whomever, proves nothing here and opens nothing.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use identity::secret::SecretBytes;
use zeroize::Zeroizing;

use crate::peers::envelope::{self, Ciphertext, EnvelopeError};

/// The exporter value of a connection.
pub(crate) struct Exporter(Zeroizing<[u8; EXPORTER_LEN_BYTES]>);

impl Exporter {
    /// The value of the connection that `export` belongs to: rustls' `export_keying_material`.
    pub(crate) fn of<E>(
        export: impl FnOnce([u8; 32], &[u8], Option<&[u8]>) -> Result<[u8; 32], E>,
    ) -> Result<Self, E> {
        let value = export([0; EXPORTER_LEN_BYTES], EXPORTER_LABEL, None)?;
        Ok(Self(Zeroizing::new(value)))
    }
}

/// What a cluster keeps of an invite's secret: enough to verify proofs, and to wrap the seal key,
/// but not to write the invite again.
pub(crate) struct Verifier {
    proof: SecretBytes,
    wrapping: SecretBytes,
}

impl Verifier {
    /// The verifier of an invite's secret.
    pub(crate) fn of(secret: &SecretBytes) -> Result<Self, EnvelopeError> {
        Ok(Self {
            proof: derive(secret, &[], b"conclave invite verifier")?,
            wrapping: derive(secret, &[], b"conclave invite seal key")?,
        })
    }

    /// As it is sealed into the store.
    pub(crate) fn to_bytes(&self) -> SecretBytes {
        SecretBytes::new([self.proof.expose(), self.wrapping.expose()].concat())
    }

    /// What [`Self::to_bytes`] made.
    pub(crate) fn from_bytes(bytes: &SecretBytes) -> Option<Self> {
        let (proof, wrapping) = bytes.expose().split_at_checked(KEY_LEN_BYTES)?;
        (wrapping.len() == KEY_LEN_BYTES).then(|| Self {
            proof: SecretBytes::from(proof),
            wrapping: SecretBytes::from(wrapping),
        })
    }

    /// The proof for these parameters on this connection.
    pub(crate) fn prove(&self, exporter: &Exporter, parameters: &[u8]) -> Vec<u8> {
        let message = message(exporter, parameters);
        hmac::sign(&self.key(), &message).as_ref().to_vec()
    }

    /// Whether `proof` is that of these parameters on this connection. Takes the same time
    /// whatever is wrong with it.
    pub(crate) fn accepts(&self, proof: &[u8], exporter: &Exporter, parameters: &[u8]) -> bool {
        hmac::verify(&self.key(), &message(exporter, parameters), proof).is_ok()
    }

    /// Wraps the seal key for this connection.
    pub(crate) fn wrap(
        &self,
        exporter: &Exporter,
        seal_key: &SecretBytes,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let sealed = envelope::seal(&self.wrapping_key(exporter)?, PURPOSE, seal_key)?;
        Ok(sealed.to_bytes())
    }

    /// Opens what [`Self::wrap`] made on the other side of this connection.
    pub(crate) fn unwrap(
        &self,
        exporter: &Exporter,
        wrapped: &[u8],
    ) -> Result<SecretBytes, EnvelopeError> {
        let sealed = Ciphertext::from_bytes(wrapped).ok_or(EnvelopeError::DoesNotOpen)?;
        envelope::open(&self.wrapping_key(exporter)?, PURPOSE, &sealed)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.proof.expose())
    }

    fn wrapping_key(&self, exporter: &Exporter) -> Result<SecretBytes, EnvelopeError> {
        derive(&self.wrapping, &*exporter.0, PURPOSE)
    }
}

fn message(exporter: &Exporter, parameters: &[u8]) -> Vec<u8> {
    [&exporter.0[..], parameters].concat()
}

/// HKDF-SHA256 (RFC 5869).
fn derive(secret: &SecretBytes, salt: &[u8], info: &[u8]) -> Result<SecretBytes, EnvelopeError> {
    struct Len;
    impl KeyType for Len {
        fn len(&self) -> usize {
            KEY_LEN_BYTES
        }
    }
    let key = Salt::new(HKDF_SHA256, salt).extract(secret.expose());
    let mut derived = Zeroizing::new([0; KEY_LEN_BYTES]);
    key.expand(&[info], Len)
        .and_then(|expanded| expanded.fill(&mut *derived))
        .map_err(|_unspecified| EnvelopeError::Library)?;
    Ok(SecretBytes::from(&derived[..]))
}

const EXPORTER_LABEL: &[u8] = b"EXPORTER-conclave-join";
const EXPORTER_LEN_BYTES: usize = 32;
const KEY_LEN_BYTES: usize = 32;
const PURPOSE: &[u8] = b"conclave seal key";

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter(byte: u8) -> Exporter {
        Exporter(Zeroizing::new([byte; 32]))
    }

    fn verifier(byte: u8) -> Verifier {
        Verifier::of(&SecretBytes::new(vec![byte; 32])).unwrap()
    }

    #[test]
    fn proof_is_good_for_its_secret_connection_and_parameters_only() {
        let kept = Verifier::from_bytes(&verifier(1).to_bytes()).unwrap();
        let proof = verifier(1).prove(&exporter(7), b"parameters");
        assert!(kept.accepts(&proof, &exporter(7), b"parameters"));
        assert!(!kept.accepts(&proof, &exporter(8), b"parameters"));
        assert!(!kept.accepts(&proof, &exporter(7), b"parameter"));
        assert!(!kept.accepts(&proof[..31], &exporter(7), b"parameters"));
        assert!(!verifier(2).accepts(&proof, &exporter(7), b"parameters"));
    }

    #[test]
    fn seal_key_opens_on_its_connection_only() {
        let seal_key = SecretBytes::new(vec![9; 32]);
        let wrapped = verifier(1).wrap(&exporter(7), &seal_key).unwrap();
        let opened = verifier(1).unwrap(&exporter(7), &wrapped).unwrap();
        assert!(opened == seal_key);
        for (secret, connection) in [(1, 8), (2, 7)] {
            let refused = verifier(secret).unwrap(&exporter(connection), &wrapped);
            assert_eq!(refused.err(), Some(EnvelopeError::DoesNotOpen));
        }
    }
}
