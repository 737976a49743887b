//! One JSON Web Key (RFC 7517), as far as SPIFFE bundles use them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use serde::{Deserialize, Serialize};

use crate::der;
use crate::x509::PublicKey;

/// A key; the order of the fields is the order in which SPIRE writes them.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Jwk {
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<String>,
    #[serde(default)]
    pub(super) kty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    /// Written for OpenID Connect; what others say it is tells nothing that the key does not.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    alg: Option<&'static str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) x5c: Vec<String>,
}

/// An elliptic curve with the names and sizes that JOSE gives it (RFC 7518 §6.2.1.1).
struct Curve {
    name: &'static str,
    coordinate_len: usize,
    algorithm_id: AlgorithmIdentifier,
    verification: &'static dyn VerificationAlgorithm,
    /// What signs JWT-SVIDs with its keys; `None` if nothing does.
    jwt_algorithm: Option<&'static str>,
}

static CURVES: [Curve; 3] = [
    Curve {
        name: "P-256",
        coordinate_len: 32,
        algorithm_id: alg_id::ECDSA_P256,
        verification: &ECDSA_P256_SHA256_ASN1,
        jwt_algorithm: Some("ES256"),
    },
    Curve {
        name: "P-384",
        coordinate_len: 48,
        algorithm_id: alg_id::ECDSA_P384,
        verification: &ECDSA_P384_SHA384_ASN1,
        jwt_algorithm: Some("ES384"),
    },
    Curve {
        name: "P-521",
        coordinate_len: 66,
        algorithm_id: alg_id::ECDSA_P521,
        verification: &ECDSA_P521_SHA512_ASN1,
        jwt_algorithm: None,
    },
];

/// The first byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;

impl Jwk {
    /// The key of a SubjectPublicKeyInfo; `None` if JOSE has no name for its kind.
    pub(super) fn from_public_key(spki_der: &[u8]) -> Option<Self> {
        let key = PublicKey::parse(spki_der).ok()?;
        if key.algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
            return Self::from_rsa(key.bits);
        }
        if key.algorithm == alg_id::ED25519.as_ref() {
            return Some(Self {
                kty: "OKP".into(),
                crv: Some("Ed25519".into()),
                x: Some(URL_SAFE_NO_PAD.encode(key.bits)),
                ..Self::default()
            });
        }
        let curve = CURVES
            .iter()
            .find(|curve| curve.algorithm_id.as_ref() == key.algorithm)?;
        let point = key.bits.strip_prefix(&[UNCOMPRESSED])?;
        let (x, y) = point.split_at_checked(curve.coordinate_len)?;
        Some(Self {
            kty: "EC".into(),
            crv: Some(curve.name.into()),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            y: Some(URL_SAFE_NO_PAD.encode(y)),
            ..Self::default()
        })
    }

    /// Names the algorithm that the key signs JWT-SVIDs with, where there is one.
    pub(super) fn set_algorithm(&mut self) {
        let curve = CURVES
            .iter()
            .find(|curve| Some(curve.name) == self.crv.as_deref());
        self.alg = match (self.kty.as_str(), curve) {
            ("RSA", _) => Some("RS256"),
            (_, Some(curve)) => curve.jwt_algorithm,
            (_, None) => None,
        };
    }

    /// The key as SubjectPublicKeyInfo in DER, known to be a valid key of its kind.
    pub(super) fn to_public_key(&self) -> Result<Vec<u8>, &'static str> {
        match self.kty.as_str() {
            "EC" => self.to_ec(),
            "RSA" => self.to_rsa(),
            "OKP" => self.to_ed25519(),
            _ => Err("unsupported key type"),
        }
    }

    /// Sets the first certificate of `x5c`.
    pub(super) fn set_certificate(&mut self, certificate: &[u8]) {
        self.x5c = vec![STANDARD.encode(certificate)];
    }

    /// The certificates of `x5c` in DER.
    pub(super) fn certificates(&self) -> Result<Vec<Vec<u8>>, &'static str> {
        self.x5c
            .iter()
            .map(|text| STANDARD.decode(text))
            .collect::<Result<_, _>>()
            .map_err(|_malformed| "x5c is not base64")
    }

    fn from_rsa(bits: &[u8]) -> Option<Self> {
        let (content, _) = der::expect(der::SEQUENCE, bits)?;
        let (modulus, rest) = der::expect(der::INTEGER, content)?;
        let (exponent, _) = der::expect(der::INTEGER, rest)?;
        Some(Self {
            kty: "RSA".into(),
            n: Some(URL_SAFE_NO_PAD.encode(der::without_leading_zeros(modulus))),
            e: Some(URL_SAFE_NO_PAD.encode(der::without_leading_zeros(exponent))),
            ..Self::default()
        })
    }

    fn to_ec(&self) -> Result<Vec<u8>, &'static str> {
        let name = self.crv.as_deref().ok_or("missing crv")?;
        let curve = CURVES
            .iter()
            .find(|curve| curve.name == name)
            .ok_or("unsupported curve")?;
        let x = decode(self.x.as_deref())?;
        let y = decode(self.y.as_deref())?;
        if x.len() != curve.coordinate_len || y.len() != curve.coordinate_len {
            return Err("coordinate of the wrong length");
        }
        let point = [&[UNCOMPRESSED][..], &x, &y].concat();
        checked(public_key(&curve.algorithm_id, &point), curve.verification)
    }

    fn to_rsa(&self) -> Result<Vec<u8>, &'static str> {
        let modulus = decode(self.n.as_deref())?;
        let exponent = decode(self.e.as_deref())?;
        let key = der::encode(
            der::SEQUENCE,
            &[&der::integer(&modulus), &der::integer(&exponent)],
        );
        checked(
            public_key(&alg_id::RSA_ENCRYPTION, &key),
            &RSA_PKCS1_2048_8192_SHA256,
        )
    }

    fn to_ed25519(&self) -> Result<Vec<u8>, &'static str> {
        if self.crv.as_deref() != Some("Ed25519") {
            return Err("unsupported curve");
        }
        let key = decode(self.x.as_deref())?;
        checked(public_key(&alg_id::ED25519, &key), &ED25519)
    }
}

fn decode(member: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let text = member.ok_or("missing member of the key")?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_malformed| "member of the key is not base64url")
}

fn public_key(algorithm: &AlgorithmIdentifier, bits: &[u8]) -> Vec<u8> {
    let algorithm = der::encode(der::SEQUENCE, &[algorithm.as_ref()]);
    let bits = der::encode(der::BIT_STRING, &[&[0], bits]);
    der::encode(der::SEQUENCE, &[&algorithm, &bits])
}

fn checked(
    spki_der: Vec<u8>,
    algorithm: &'static dyn VerificationAlgorithm,
) -> Result<Vec<u8>, &'static str> {
    ParsedPublicKey::new(algorithm, &spki_der).map_err(|_rejected| "not a valid public key")?;
    Ok(spki_der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{KeyType, PrivateKey};

    #[test]
    fn keys_of_every_kind_survive() {
        for key_type in [
            KeyType::EcP256,
            KeyType::EcP384,
            KeyType::Rsa2048,
            KeyType::Rsa4096,
        ] {
            let key = PrivateKey::generate(key_type).unwrap();
            let jwk = Jwk::from_public_key(key.public_key_der()).unwrap();
            assert_eq!(
                jwk.to_public_key().unwrap(),
                key.public_key_der(),
                "{key_type}"
            );
        }
    }

    #[test]
    fn the_rsa_example_of_rfc_7517_is_read() {
        let text = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#;
        let jwk: Jwk = serde_json::from_str(text).unwrap();
        let spki = jwk.to_public_key().unwrap();
        let again = Jwk::from_public_key(&spki).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }

    #[test]
    fn broken_keys_are_told_why() {
        let check = |text: &str, expected: &str| {
            let jwk: Jwk = serde_json::from_str(text).unwrap();
            assert_eq!(jwk.to_public_key(), Err(expected), "{text}");
        };
        check("{}", "unsupported key type");
        check(r#"{"kty":"oct","k":"AAAA"}"#, "unsupported key type");
        check(r#"{"kty":"EC"}"#, "missing crv");
        check(r#"{"kty":"EC","crv":"P-1"}"#, "unsupported curve");
        check(
            r#"{"kty":"EC","crv":"P-256","x":"AA"}"#,
            "missing member of the key",
        );
        check(
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            "coordinate of the wrong length",
        );
        check(
            r#"{"kty":"EC","crv":"P-256","x":"=","y":"AA"}"#,
            "member of the key is not base64url",
        );
        let zero = "A".repeat(43);
        let off_curve = format!(r#"{{"kty":"EC","crv":"P-256","x":"{zero}","y":"{zero}"}}"#);
        check(&off_curve, "not a valid public key");
        check(r#"{"kty":"RSA","n":"","e":""}"#, "not a valid public key");
        check(r#"{"kty":"OKP","crv":"X25519"}"#, "unsupported curve");
    }
}
