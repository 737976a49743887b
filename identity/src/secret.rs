//! Key material: the only place in the workspace where bytes of private keys are held.
//!
//! Nothing here can be printed or serialised, and the bytes are wiped when the last holder lets go.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

/// The longest PKCS#8 document that is parsed: an RSA key of 4096 bits has under 2,400 bytes.
pub const MAX_PKCS8_LEN_BYTES: usize = 8 * 1024;

/// Bytes that must not leak: wiped on drop, and without `Debug`, `Display` or `Serialize`.
pub struct SecretBytes(Zeroizing<Box<[u8]>>);

impl SecretBytes {
    /// Takes over `bytes`, which are wiped on drop.
    pub fn new(bytes: Vec<u8>) -> Self {
        // Shrinking may move the bytes and leave the old place as it was, so an exact copy is made
        // and the source wiped.
        let source = Zeroizing::new(bytes);
        Self(Zeroizing::new(source.as_slice().into()))
    }

    /// The bytes. Whoever copies them answers for wiping the copy.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }
}

impl PartialEq for SecretBytes {
    /// Takes the same time wherever the bytes differ; their number is not hidden.
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for SecretBytes {}

/// A kind of key pair, named as in SPIRE's configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyType {
    /// ECDSA on P-256, `ec-p256`.
    EcP256,
    /// ECDSA on P-384, `ec-p384`.
    EcP384,
    /// RSA with 2048 bits, `rsa-2048`.
    Rsa2048,
    /// RSA with 4096 bits, `rsa-4096`.
    Rsa4096,
}

impl KeyType {
    /// Parses a name such as `ec-p256`, in any case.
    ///
    /// # Errors
    /// The name is none of the four.
    pub fn parse(name: &str) -> Result<Self, UnknownKeyType> {
        [Self::EcP256, Self::EcP384, Self::Rsa2048, Self::Rsa4096]
            .into_iter()
            .find(|key_type| key_type.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownKeyType(name.into()))
    }

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(name: &str) -> Result<Self, UnknownKeyType> {
        Self::parse(name)
    }
}

/// A name that is none of the key types.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("key type {0:?} is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]")]
pub struct UnknownKeyType(Box<str>);

/// A private key that signs; a clone shares the key.
///
/// The key is parsed once, so that signing costs what the library needs and nothing more.
#[derive(Clone)]
pub struct PrivateKey(Arc<Parsed>);

struct Parsed {
    key_type: KeyType,
    pkcs8: SecretBytes,
    public_key_der: Box<[u8]>,
    /// What stands inside the bit string of `public_key_der`.
    public_key_bits: Box<[u8]>,
    pair: Pair,
}

enum Pair {
    /// The same key twice, because the library ties the form of its signatures to the pair.
    Ecdsa {
        asn1: Box<EcdsaKeyPair>,
        fixed: Box<EcdsaKeyPair>,
    },
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// The library could not make one.
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        match key_type {
            KeyType::EcP256 => Self::generate_ecdsa(key_type, &ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyType::EcP384 => Self::generate_ecdsa(key_type, &ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyType::Rsa2048 => Self::generate_rsa(KeySize::Rsa2048),
            KeyType::Rsa4096 => Self::generate_rsa(KeySize::Rsa4096),
        }
    }

    /// Parses an unencrypted PKCS#8 document that holds a key of a known [`KeyType`].
    ///
    /// # Errors
    /// The document is too long, malformed, or holds another kind of key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        if pkcs8.len() > MAX_PKCS8_LEN_BYTES {
            return Err(KeyError::TooLong);
        }
        if let Ok(asn1) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8) {
            return Self::from_ecdsa(KeyType::EcP256, asn1, pkcs8.into());
        }
        if let Ok(asn1) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8) {
            return Self::from_ecdsa(KeyType::EcP384, asn1, pkcs8.into());
        }
        Self::from_rsa(RsaKeyPair::from_pkcs8(pkcs8).map_err(KeyError::Rejected)?)
    }

    /// Parses a key of a known [`KeyType`] that is not encrypted: PKCS#8, PKCS#1 or SEC 1.
    ///
    /// # Errors
    /// The document is too long, malformed, or holds another kind of key.
    pub fn from_document(document: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let der = document.secret_der();
        if der.len() > MAX_PKCS8_LEN_BYTES {
            return Err(KeyError::TooLong);
        }
        match document {
            PrivateKeyDer::Pkcs1(_) => {
                Self::from_rsa(RsaKeyPair::from_der(der).map_err(KeyError::Rejected)?)
            }
            PrivateKeyDer::Sec1(_) => {
                let p256 = Self::from_sec1(KeyType::EcP256, &ECDSA_P256_SHA256_ASN1_SIGNING, der);
                p256.or_else(|_other_curve| {
                    Self::from_sec1(KeyType::EcP384, &ECDSA_P384_SHA384_ASN1_SIGNING, der)
                })
            }
            _ => Self::from_pkcs8(der),
        }
    }

    fn from_sec1(
        key_type: KeyType,
        algorithm: &'static EcdsaSigningAlgorithm,
        der: &[u8],
    ) -> Result<Self, KeyError> {
        let asn1 = EcdsaKeyPair::from_private_key_der(algorithm, der);
        let asn1 = asn1.map_err(KeyError::Rejected)?;
        let pkcs8 = asn1.to_pkcs8v1().map_err(KeyError::Library)?;
        Self::from_ecdsa(key_type, asn1, pkcs8.as_ref().into())
    }

    /// The key as an unencrypted PKCS#8 document.
    pub fn pkcs8(&self) -> &SecretBytes {
        &self.0.pkcs8
    }

    /// The kind of key.
    pub fn key_type(&self) -> KeyType {
        self.0.key_type
    }

    /// The public key as SubjectPublicKeyInfo in DER.
    pub fn public_key_der(&self) -> &[u8] {
        &self.0.public_key_der
    }

    /// Signs as X.509 does: ECDSA in ASN.1 form with the digest of the curve, or RSA PKCS#1 v1.5
    /// with SHA-256.
    ///
    /// # Errors
    /// The library could not sign.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0.pair {
            Pair::Ecdsa { asn1, .. } => sign_ecdsa(asn1, message),
            Pair::Rsa(pair) => sign_rsa(pair, message),
        }
    }

    /// Signs as JWS does: ECDSA as the two integers side by side (RFC 7518 §3.4), or RSA PKCS#1
    /// v1.5 with SHA-256.
    ///
    /// # Errors
    /// The library could not sign.
    pub fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0.pair {
            Pair::Ecdsa { fixed, .. } => sign_ecdsa(fixed, message),
            Pair::Rsa(pair) => sign_rsa(pair, message),
        }
    }

    /// The `alg` of what [`PrivateKey::sign_jws`] makes.
    pub fn jws_algorithm(&self) -> &'static str {
        match self.key_type() {
            KeyType::EcP256 => "ES256",
            KeyType::EcP384 => "ES384",
            KeyType::Rsa2048 | KeyType::Rsa4096 => "RS256",
        }
    }

    fn generate_ecdsa(
        key_type: KeyType,
        algorithm: &'static EcdsaSigningAlgorithm,
    ) -> Result<Self, KeyError> {
        let asn1 = EcdsaKeyPair::generate(algorithm).map_err(KeyError::Library)?;
        let pkcs8 = asn1.to_pkcs8v1().map_err(KeyError::Library)?;
        Self::from_ecdsa(key_type, asn1, pkcs8.as_ref().into())
    }

    fn generate_rsa(size: KeySize) -> Result<Self, KeyError> {
        Self::from_rsa(RsaKeyPair::generate(size).map_err(KeyError::Library)?)
    }

    fn from_ecdsa(
        key_type: KeyType,
        asn1: EcdsaKeyPair,
        pkcs8: SecretBytes,
    ) -> Result<Self, KeyError> {
        let fixed_algorithm = match key_type {
            KeyType::EcP384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            KeyType::EcP256 | KeyType::Rsa2048 | KeyType::Rsa4096 => {
                &ECDSA_P256_SHA256_FIXED_SIGNING
            }
        };
        let fixed = EcdsaKeyPair::from_pkcs8(fixed_algorithm, pkcs8.expose())
            .map_err(KeyError::Rejected)?;
        let public_key: PublicKeyX509Der<'_> =
            asn1.public_key().as_der().map_err(KeyError::Library)?;
        Ok(Self(Arc::new(Parsed {
            key_type,
            pkcs8,
            public_key_der: public_key.as_ref().into(),
            public_key_bits: asn1.public_key().as_ref().into(),
            pair: Pair::Ecdsa {
                asn1: Box::new(asn1),
                fixed: Box::new(fixed),
            },
        })))
    }

    fn from_rsa(pair: RsaKeyPair) -> Result<Self, KeyError> {
        let key_type = match pair.public_modulus_len() {
            256 => KeyType::Rsa2048,
            512 => KeyType::Rsa4096,
            _ => return Err(KeyError::RsaSize),
        };
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(KeyError::Library)?;
        let public_key: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(KeyError::Library)?;
        Ok(Self(Arc::new(Parsed {
            key_type,
            pkcs8: pkcs8.as_ref().into(),
            public_key_der: public_key.as_ref().into(),
            public_key_bits: pair.public_key().as_ref().into(),
            pair: Pair::Rsa(pair),
        })))
    }
}

impl rcgen::PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0.public_key_bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.key_type() {
            KeyType::EcP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::EcP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Rsa2048 | KeyType::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        // rcgen's error has no room for a cause.
        Self::sign(self, message).map_err(|_cause| rcgen::Error::RemoteKeyError)
    }
}

/// Why a key could not be made, read or used. No text has anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The document has more than [`MAX_PKCS8_LEN_BYTES`].
    #[error("private key is longer than {MAX_PKCS8_LEN_BYTES} bytes")]
    TooLong,
    /// The document is malformed, or holds a kind of key that is not used here.
    #[error("not a private key of a known type")]
    Rejected(#[source] KeyRejected),
    /// An RSA key of an unusual size.
    #[error("RSA keys must have 2048 or 4096 bits")]
    RsaSize,
    /// The library failed and does not say why.
    #[error("the cryptographic library failed")]
    Library(#[source] Unspecified),
}

fn sign_ecdsa(pair: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let signature = pair
        .sign(&SystemRandom::new(), message)
        .map_err(KeyError::Library)?;
    Ok(signature.as_ref().to_vec())
}

fn sign_rsa(pair: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message,
        &mut signature,
    )
    .map_err(KeyError::Library)?;
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1,
        ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
        VerificationAlgorithm,
    };

    use super::*;

    fn check(
        key_type: KeyType,
        asn1: &'static dyn VerificationAlgorithm,
        jws: &'static dyn VerificationAlgorithm,
    ) {
        let made = PrivateKey::generate(key_type).unwrap();
        let read = PrivateKey::from_pkcs8(made.pkcs8().expose()).unwrap();
        assert_eq!(read.key_type(), key_type);
        assert_eq!(read.public_key_der(), made.public_key_der());
        assert!(read.pkcs8() == made.pkcs8());
        let public = |algorithm| ParsedPublicKey::new(algorithm, made.public_key_der()).unwrap();
        let signature = read.sign(b"message").unwrap();
        assert_eq!(public(asn1).verify_sig(b"message", &signature), Ok(()));
        let signature = read.sign_jws(b"message").unwrap();
        assert_eq!(public(jws).verify_sig(b"message", &signature), Ok(()));
        assert!(public(jws).verify_sig(b"other", &signature).is_err());
    }

    #[test]
    fn keys_sign_and_survive_pkcs8() {
        check(
            KeyType::EcP256,
            &ECDSA_P256_SHA256_ASN1,
            &ECDSA_P256_SHA256_FIXED,
        );
        check(
            KeyType::EcP384,
            &ECDSA_P384_SHA384_ASN1,
            &ECDSA_P384_SHA384_FIXED,
        );
        let rsa = &RSA_PKCS1_2048_8192_SHA256;
        check(KeyType::Rsa2048, rsa, rsa);
        check(KeyType::Rsa4096, rsa, rsa);
    }

    #[test]
    fn jws_signatures_have_a_fixed_width() {
        for (key_type, width) in [(KeyType::EcP256, 64), (KeyType::EcP384, 96)] {
            let key = PrivateKey::generate(key_type).unwrap();
            for message in 0..50_u8 {
                assert_eq!(key.sign_jws(&[message]).unwrap().len(), width);
            }
        }
    }

    #[test]
    fn key_types_are_read_in_any_case() {
        assert_eq!(KeyType::parse("EC-p256"), Ok(KeyType::EcP256));
        assert_eq!("rsa-4096".parse(), Ok(KeyType::Rsa4096));
        assert_eq!(
            KeyType::parse("dsa").unwrap_err().to_string(),
            r#"key type "dsa" is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]"#
        );
    }

    #[test]
    fn damaged_documents_are_refused() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let pkcs8 = key.pkcs8().expose();
        for len in 0..pkcs8.len() {
            let read = PrivateKey::from_pkcs8(&pkcs8[..len]);
            assert!(matches!(read, Err(KeyError::Rejected(_))), "{len}");
        }
        let long = vec![0x30; MAX_PKCS8_LEN_BYTES + 1];
        assert!(matches!(
            PrivateKey::from_pkcs8(&long),
            Err(KeyError::TooLong)
        ));
    }

    #[test]
    fn secrets_compare_by_value() {
        assert!(SecretBytes::new(vec![1, 2, 3]) == SecretBytes::from(&[1, 2, 3][..]));
        assert!(SecretBytes::new(vec![1, 2, 3]) != SecretBytes::new(vec![1, 2, 4]));
        assert!(SecretBytes::new(vec![1]) != SecretBytes::new(vec![1, 2]));
    }
}
