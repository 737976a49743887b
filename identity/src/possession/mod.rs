//! Proof that somebody holds the private key of a certificate: a signature over nonces of both
//! sides, of which only the kind and the form depend on the key.
//!
//! The digest is SHA-256 for every kind of key, as SPIRE's `x509pop` has it.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA256, SHA384, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA256_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, ParsedPublicKey, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_SHA256, RsaKeyPair, RsaParameters, RsaPssSaltLength, VerificationAlgorithm,
};
use rustls_pki_types::alg_id;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroize as _;

use crate::der;
use crate::pem::MAX_PEM_LEN_BYTES;
use crate::x509::{PublicKey, X509Error};

/// A private key that proves its possession and does nothing else.
pub struct ProvingKey {
    pair: Pair,
    public_key_der: Box<[u8]>,
}

enum Pair {
    P256(Box<EcdsaKeyPair>),
    P384(Box<EcdsaKeyPair>),
    P521(Box<EcdsaKeyPair>),
    Rsa(RsaKeyPair),
}

/// A signature over both nonces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// RSA-PSS.
    Rsa {
        /// As long as the modulus.
        signature: Vec<u8>,
    },
    /// ECDSA: two integers, big-endian.
    Ecdsa {
        /// The first.
        r: Vec<u8>,
        /// The second.
        s: Vec<u8>,
    },
}

/// The kind of key that a proof is made with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProofKind {
    /// RSA with a modulus of this many bits.
    Rsa {
        /// Length of the modulus.
        bits: u32,
    },
    /// ECDSA on P-256, P-384 or P-521.
    Ecdsa,
}

impl ProvingKey {
    /// Reads the first private key of a text: PKCS#8, PKCS#1 or SEC 1, not encrypted.
    ///
    /// # Errors
    /// The text is too long or malformed, or the key is of another kind.
    pub fn from_pem(text: &[u8]) -> Result<Self, PossessionError> {
        if text.len() > MAX_PEM_LEN_BYTES {
            return Err(PossessionError::TooLong);
        }
        let mut document = PrivateKeyDer::from_pem_slice(text).map_err(PossessionError::Pem)?;
        let key = Self::from_document(&document);
        document.zeroize();
        key
    }

    /// Reads an unencrypted PKCS#8 document.
    ///
    /// # Errors
    /// It is malformed, or the key is of another kind.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, PossessionError> {
        if pkcs8.len() > MAX_PEM_LEN_BYTES {
            return Err(PossessionError::TooLong);
        }
        Self::from_document(&PrivatePkcs8KeyDer::from(pkcs8).into())
    }

    fn from_document(document: &PrivateKeyDer<'_>) -> Result<Self, PossessionError> {
        let pair = Pair::parse(document).map_err(PossessionError::Rejected)?;
        let public_key_der = pair.public_key_der().map_err(PossessionError::Library)?;
        Ok(Self {
            pair,
            public_key_der,
        })
    }

    /// The public key as SubjectPublicKeyInfo in DER.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// Signs `message`, which is both nonces one after the other.
    ///
    /// # Errors
    /// The library could not sign.
    pub fn prove(&self, message: &[u8]) -> Result<Proof, PossessionError> {
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature)
                    .map_err(PossessionError::Library)?;
                return Ok(Proof::Rsa { signature });
            }
            Pair::P256(pair) | Pair::P521(pair) => pair.sign(&random, message),
            Pair::P384(pair) => widened(message).and_then(|digest| pair.sign_digest(&digest)),
        };
        let signature = signature.map_err(PossessionError::Library)?;
        let (r, s) = integers(signature.as_ref()).ok_or(PossessionError::Library(Unspecified))?;
        Ok(Proof::Ecdsa {
            r: r.to_vec(),
            s: s.to_vec(),
        })
    }
}

impl fmt::Debug for ProvingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvingKey").finish_non_exhaustive()
    }
}

impl Pair {
    fn parse(document: &PrivateKeyDer<'_>) -> Result<Self, KeyRejected> {
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::from_private_key_der(algorithm, document.secret_der()).map(Box::new)
        };
        match document {
            PrivateKeyDer::Pkcs1(rsa) => {
                return RsaKeyPair::from_der(rsa.secret_pkcs1_der()).map(Self::Rsa);
            }
            PrivateKeyDer::Pkcs8(pkcs8) => {
                if let Ok(pair) = RsaKeyPair::from_pkcs8(pkcs8.secret_pkcs8_der()) {
                    return Ok(Self::Rsa(pair));
                }
            }
            _ => {}
        }
        if let Ok(pair) = ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING) {
            return Ok(Self::P256(pair));
        }
        if let Ok(pair) = ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING) {
            return Ok(Self::P384(pair));
        }
        ecdsa(&ECDSA_P521_SHA256_ASN1_SIGNING).map(Self::P521)
    }

    fn public_key_der(&self) -> Result<Box<[u8]>, Unspecified> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::P256(pair) | Self::P384(pair) | Self::P521(pair) => pair.public_key().as_der()?,
            Self::Rsa(pair) => pair.public_key().as_der()?,
        };
        Ok(der.as_ref().into())
    }
}

/// Which kind of proof the holder of a public key can give.
///
/// # Errors
/// The key is malformed or of a kind that no proof is known for.
pub fn proof_kind(spki_der: &[u8]) -> Result<ProofKind, PossessionError> {
    let key = PublicKey::parse(spki_der).map_err(PossessionError::PublicKey)?;
    let is = |algorithm: alg_id::AlgorithmIdentifier| algorithm.as_ref() == key.algorithm;
    if is(alg_id::RSA_ENCRYPTION) {
        let bits = RsaParameters::public_modulus_len(key.bits).map_err(PossessionError::Library)?;
        return Ok(ProofKind::Rsa { bits });
    }
    if is(alg_id::ECDSA_P256) || is(alg_id::ECDSA_P384) || is(alg_id::ECDSA_P521) {
        return Ok(ProofKind::Ecdsa);
    }
    Err(PossessionError::Unsupported)
}

/// Verifies that `proof` over `message` was made by the holder of a public key.
///
/// # Errors
/// It was not, or is of another kind than the key.
pub fn verify_proof(spki_der: &[u8], message: &[u8], proof: &Proof) -> Result<(), PossessionError> {
    let key = PublicKey::parse(spki_der).map_err(PossessionError::PublicKey)?;
    let kind = proof_kind(spki_der)?;
    let holds = |algorithm: &'static dyn VerificationAlgorithm, signature: &[u8]| {
        ParsedPublicKey::new(algorithm, key.bits)
            .is_ok_and(|parsed| parsed.verify_sig(message, signature).is_ok())
    };
    let is_valid = match (kind, proof) {
        (ProofKind::Rsa { .. }, Proof::Rsa { signature }) => {
            holds(&RSA_PSS_2048_8192_SHA256, signature) || holds(&RSA_PSS_MAX_SALT, signature)
        }
        (ProofKind::Ecdsa, Proof::Ecdsa { r, s }) => {
            let signature = sequence(r, s).ok_or(PossessionError::Signature)?;
            holds(curve(key), &signature)
        }
        (ProofKind::Rsa { .. }, Proof::Ecdsa { .. }) | (ProofKind::Ecdsa, Proof::Rsa { .. }) => {
            return Err(PossessionError::OtherKind);
        }
    };
    is_valid.then_some(()).ok_or(PossessionError::Signature)
}

/// SPIRE's agents fill the block with salt; RFC 8017 §9.1 advises as much salt as digest. No other
/// length is in use, and each one more to try would cost an exponentiation a forgery.
static RSA_PSS_MAX_SALT: RsaParameters =
    RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);

fn curve(key: PublicKey<'_>) -> &'static dyn VerificationAlgorithm {
    if key.algorithm == alg_id::ECDSA_P384.as_ref() {
        &ECDSA_P384_SHA256_ASN1
    } else if key.algorithm == alg_id::ECDSA_P521.as_ref() {
        &ECDSA_P521_SHA256_ASN1
    } else {
        &ECDSA_P256_SHA256_ASN1
    }
}

/// The SHA-256 digest of `message` as an integer of 384 bits: the library signs on P-384 with
/// digests of that length alone, and ECDSA takes the digest as an integer (FIPS 186-5 §6.4.1).
fn widened(message: &[u8]) -> Result<Digest, Unspecified> {
    let short = digest(&SHA256, message);
    let mut wide = [0; 48];
    wide[16..].copy_from_slice(short.as_ref());
    Digest::import_less_safe(&wide, &SHA384)
}

/// The two integers of an ECDSA signature in DER, without leading zeros.
fn integers(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, _) = der::expect(der::SEQUENCE, signature)?;
    let (r, rest) = der::expect(der::INTEGER, content)?;
    let (s, _) = der::expect(der::INTEGER, rest)?;
    Some((der::without_leading_zeros(r), der::without_leading_zeros(s)))
}

/// An ECDSA signature in DER; `None` if an integer is longer than any curve's.
fn sequence(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    Some(der::encode(der::SEQUENCE, &[&integer(r)?, &integer(s)?]))
}

fn integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let len_bytes = der::without_leading_zeros(bytes).len();
    (len_bytes <= MAX_INTEGER_LEN_BYTES).then(|| der::integer(bytes))
}

/// P-521 has the longest.
const MAX_INTEGER_LEN_BYTES: usize = 66;

/// Why a proof was not made, or is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PossessionError {
    /// The text has more than [`MAX_PEM_LEN_BYTES`].
    #[error("PEM is longer than {MAX_PEM_LEN_BYTES} bytes")]
    TooLong,
    /// There is no private key in the text, or it is broken.
    #[error("no unencrypted private key in PEM")]
    Pem(#[source] pem::Error),
    /// The private key is of another kind, or malformed.
    #[error("private key must be RSA of 2048 bits or more, or ECDSA on P-256, P-384 or P-521")]
    Rejected(#[source] KeyRejected),
    /// The public key is malformed.
    #[error("unusable public key")]
    PublicKey(#[source] X509Error),
    /// Nobody can prove to hold a key of this kind.
    #[error("unsupported public key type, must be RSA or ECDSA on P-256, P-384 or P-521")]
    Unsupported,
    /// The proof is not of the key's kind.
    #[error("proof is of another kind than the key")]
    OtherKind,
    /// The signature is of another key, or over something else.
    #[error("signature does not verify")]
    Signature,
    /// The library failed and does not say why.
    #[error("the cryptographic library failed")]
    Library(#[source] Unspecified),
}

#[cfg(test)]
mod tests;
