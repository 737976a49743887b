//! The compact form of a token (RFC 7515 §7.1) and the claims that every JWT-SVID has.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::clock::UnixTime;
use crate::jwt_svid::{Claims, JwtError, MAX_TOKEN_LEN_BYTES};
use crate::spiffe_id::SpiffeId;

/// A token taken apart, not verified.
pub(super) struct Compact<'a> {
    /// What the signature covers.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: String,
    pub(super) key_id: String,
    pub(super) claims: Claims,
}

/// Every member that decides how the token is understood; others are for nobody here.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Compact<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_LEN_BYTES {
            return Err(malformed("token is too long"));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let &[header, payload, signature] = parts.as_slice() else {
            return Err(malformed("compact JWS format must have three parts"));
        };
        let signed = &token[..header.len() + 1 + payload.len()];
        let header: Header = decode_json(header, "header")?;
        if header.crit.is_some() {
            return Err(malformed("unsupported critical header"));
        }
        if !header.typ.is_none_or(|typ| typ == "JWT" || typ == "JOSE") {
            return Err(JwtError::Kind);
        }
        if header.kid.is_empty() {
            return Err(JwtError::NoKeyId);
        }
        Ok(Self {
            signed,
            signature: decode(signature, "signature")?,
            algorithm: header.alg,
            key_id: header.kid,
            claims: decode_json(payload, "claims")?,
        })
    }
}

/// The claims that have a meaning of their own.
pub(super) struct Registered {
    pub(super) subject: SpiffeId,
    pub(super) audience: Vec<String>,
    pub(super) expires_at: UnixTime,
    pub(super) issued_at: Option<UnixTime>,
    pub(super) not_before: Option<UnixTime>,
}

impl Registered {
    pub(super) fn of(claims: &Claims) -> Result<Self, JwtError> {
        let audience = audience(claims)?;
        let expires_at = date(claims, "exp")?;
        let issued_at = date(claims, "iat")?;
        let not_before = date(claims, "nbf")?;
        let subject = match claims.get("sub") {
            None | Some(Value::Null) => "",
            Some(Value::String(subject)) => subject,
            Some(_) => return Err(malformed("claim sub is not a string")),
        };
        if subject.is_empty() {
            return Err(JwtError::NoSubject);
        }
        let expires_at = expires_at.ok_or(JwtError::NoExpiry)?;
        Ok(Self {
            subject: SpiffeId::parse(subject).map_err(JwtError::Subject)?,
            audience,
            expires_at,
            issued_at,
            not_before,
        })
    }
}

/// A list, or one string on its own (RFC 7519 §4.1.3).
fn audience(claims: &Claims) -> Result<Vec<String>, JwtError> {
    let text = |value: &Value| {
        let text = value.as_str().map(ToOwned::to_owned);
        text.ok_or_else(|| malformed("claim aud is not a list of strings"))
    };
    match claims.get("aud") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(one) => Ok(vec![text(one)?]),
    }
}

/// Seconds since 1970, whole or with a fraction (RFC 7519 §2), which is cut off.
fn date(claims: &Claims, name: &str) -> Result<Option<UnixTime>, JwtError> {
    let number = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(malformed(&format!("claim {name} is not a number"))),
    };
    let secs = number.as_i64().or_else(|| {
        // Through text, because a cast would bend what does not fit.
        format!("{:.0}", number.as_f64()?.floor()).parse().ok()
    });
    let secs = secs.ok_or_else(|| malformed(&format!("claim {name} is out of range")))?;
    Ok(Some(UnixTime::from_secs(secs)))
}

fn decode_json<T: for<'de> Deserialize<'de>>(part: &str, name: &str) -> Result<T, JwtError> {
    serde_json::from_slice(&decode(part, name)?)
        // The parser's words could quote the token.
        .map_err(|_cause| malformed(&format!("{name} is not the JSON that was expected")))
}

fn decode(part: &str, name: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_cause| malformed(&format!("{name} is not base64url")))
}

fn malformed(problem: &str) -> JwtError {
    JwtError::Malformed(problem.to_owned())
}
