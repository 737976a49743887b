//! The signed questions of ACME (RFC 8555 §6.2), read and verified.

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// A signed question, verified.
pub(super) struct Signed {
    /// The uncompressed point of the key that signed.
    pub(super) key: Vec<u8>,
    /// The account that it says it is of.
    pub(super) account: Option<String>,
    pub(super) nonce: String,
    pub(super) url: String,
    /// `Null` if it only asks.
    pub(super) payload: Value,
}

impl Signed {
    /// Reads and verifies; `key_of` knows the keys of accounts.
    pub(super) fn read(body: &[u8], key_of: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let part = |name: &str| body.get(name)?.as_str();
        let header: Value = serde_json::from_slice(&decoded(part("protected")?)?).ok()?;
        let text = |name: &str| Some(header.get(name)?.as_str()?.to_owned());
        if text("alg")? != "ES256" {
            return None;
        }
        let account = text("kid");
        let key = match &account {
            Some(account) => key_of(account)?,
            None => point(header.get("jwk")?)?,
        };
        let signed = format!("{}.{}", part("protected")?, part("payload")?);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key)
            .verify(signed.as_bytes(), &decoded(part("signature")?)?)
            .ok()?;
        let payload = decoded(part("payload")?)?;
        Some(Self {
            key,
            account,
            nonce: text("nonce")?,
            url: text("url")?,
            payload: match payload.is_empty() {
                true => Value::Null,
                false => serde_json::from_slice(&payload).ok()?,
            },
        })
    }
}

/// SHA-256 of the key authorization of `token` for the account with this key (RFC 8555 §8.1, RFC 7638 §3).
pub(super) fn key_authorization(token: &str, key: &[u8]) -> [u8; 32] {
    let half = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&key[range]);
    let (x, y) = (half(1..33), half(33..65));
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let thumbprint = URL_SAFE_NO_PAD.encode(sha256(jwk.as_bytes()));
    sha256(format!("{token}.{thumbprint}").as_bytes())
}

pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn point(jwk: &Value) -> Option<Vec<u8>> {
    let half = |name: &str| decoded(jwk.get(name)?.as_str()?);
    let point = [vec![4], half("x")?, half("y")?].concat();
    (point.len() == 65).then_some(point)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}
