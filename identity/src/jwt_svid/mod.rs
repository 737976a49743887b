//! JWT-SVIDs: made, read and verified.
//!
//! A token is a bearer secret: no type here prints it.

mod compact;
mod verify;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Map;
use zeroize::Zeroizing;

pub use verify::{LEEWAY, VerifiedJwt, verify_jwt_svid};

use crate::clock::UnixTime;
use crate::jwt_svid::compact::{Compact, Registered};
use crate::secret::{KeyError, PrivateKey};
use crate::spiffe_id::{IdError, SpiffeId};
use crate::trust_domain::TrustDomain;

/// The longest token that is read.
pub const MAX_TOKEN_LEN_BYTES: usize = 64 * 1024;

/// A JWT-SVID and what it says; a clone shares the token.
///
/// Invariant: header and claims have the form of a JWT-SVID (JWT-SVID §2, §3). Whether they are
/// true is for [`verify_jwt_svid`] to say.
#[derive(Clone)]
pub struct JwtSvid {
    token: Arc<Zeroizing<String>>,
    spiffe_id: SpiffeId,
    audience: Vec<String>,
    issued_at: Option<UnixTime>,
    expires_at: UnixTime,
    key_id: Box<str>,
}

impl JwtSvid {
    /// Reads a token without verifying it: for a token that comes straight from who signs it.
    ///
    /// # Errors
    /// It does not have the form of a JWT-SVID.
    pub fn parse_unverified(token: &str) -> Result<Self, JwtError> {
        let compact = Compact::parse(token)?;
        let registered = Registered::of(&compact.claims)?;
        Ok(Self {
            token: Arc::new(Zeroizing::new(token.to_owned())),
            spiffe_id: registered.subject,
            audience: registered.audience,
            issued_at: registered.issued_at,
            expires_at: registered.expires_at,
            key_id: compact.key_id.into(),
        })
    }

    /// The token in compact form, to be shown to whoever it is meant for and to nobody else.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whose it is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// For whom it is.
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// When it was made, if it says so.
    pub fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// When it ends.
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// The `kid` of the authority that signed it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvid")
            .field("spiffe_id", &self.spiffe_id)
            .field("expires_at", &self.expires_at)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// What a new token says.
#[derive(Clone, Debug)]
pub struct JwtClaims {
    /// `sub`.
    pub spiffe_id: SpiffeId,
    /// `aud`; empty strings are dropped, and something must be left.
    pub audience: Vec<String>,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires_at: UnixTime,
    /// `iss`.
    pub issuer: Option<String>,
    /// `jti`; see [`random_jti`].
    pub jti: Option<String>,
}

/// A new `jti`: sixteen random bytes in base64url.
pub fn random_jti() -> String {
    URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes())
}

/// Signs a token with `key`, which verifiers know as `key_id`.
///
/// # Errors
/// The audience is empty, or the key could not sign.
pub fn sign_jwt_svid(
    key: &PrivateKey,
    key_id: &str,
    claims: &JwtClaims,
) -> Result<JwtSvid, JwtError> {
    /// The members in the order in which SPIRE writes them.
    #[derive(Serialize)]
    struct Header<'a> {
        alg: &'a str,
        kid: &'a str,
        typ: &'a str,
    }
    #[derive(Serialize)]
    struct Payload<'a> {
        aud: &'a [String],
        exp: i64,
        iat: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        iss: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        jti: Option<&'a str>,
        sub: &'a str,
    }
    let mut audience = claims.audience.clone();
    audience.retain(|audience| !audience.is_empty());
    if audience.is_empty() {
        return Err(JwtError::EmptyAudience);
    }
    let header = Header {
        alg: key.jws_algorithm(),
        kid: key_id,
        typ: "JWT",
    };
    let payload = Payload {
        aud: &audience,
        exp: claims.expires_at.as_secs(),
        iat: claims.issued_at.as_secs(),
        iss: claims.issuer.as_deref(),
        jti: claims.jti.as_deref(),
        sub: claims.spiffe_id.as_str(),
    };
    let signed = format!("{}.{}", encode_json(&header), encode_json(&payload));
    let signature = key.sign_jws(signed.as_bytes()).map_err(JwtError::Sign)?;
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    Ok(JwtSvid {
        token: Arc::new(Zeroizing::new(token)),
        spiffe_id: claims.spiffe_id.clone(),
        audience,
        issued_at: Some(claims.issued_at),
        expires_at: claims.expires_at,
        key_id: key_id.into(),
    })
}

/// Why a token is refused or could not be made. The texts are those that the Workload API shows;
/// none has anything of the token but its claims.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// It is not a token in compact form, or of a kind that a JWT-SVID may not have.
    #[error("unable to parse JWT token: {0}")]
    Malformed(String),
    /// The header has no `kid`.
    #[error("token header missing key id")]
    NoKeyId,
    /// The header says that this is another kind of token.
    #[error("token header type not equal to either JWT or JOSE")]
    Kind,
    /// There is no `sub`.
    #[error("token missing subject claim")]
    NoSubject,
    /// There is no `exp`.
    #[error("token missing exp claim")]
    NoExpiry,
    /// The `sub` is not a SPIFFE ID.
    #[error("token has in invalid subject claim: {0}")]
    Subject(IdError),
    /// There is no bundle for the trust domain of the `sub`.
    #[error("no keys found for trust domain \"{0}\"")]
    NoBundle(TrustDomain),
    /// The bundle has no key with the `kid`.
    #[error("public key {key_id:?} not found in trust domain \"{trust_domain}\"")]
    NoKey {
        /// The `kid`.
        key_id: String,
        /// Whose bundle it is.
        trust_domain: TrustDomain,
    },
    /// The signature does not fit.
    #[error("token signature does not verify")]
    Signature,
    /// The audience that was asked for is not among the token's.
    #[error("expected audience in [{expected:?}] (audience=[{}])", quoted(.actual))]
    Audience {
        /// Who asks.
        expected: String,
        /// For whom the token is.
        actual: Vec<String>,
    },
    /// The token has ended.
    #[error("token has expired")]
    Expired,
    /// The `nbf` has not come yet.
    #[error("validation failed, token not valid yet (nbf)")]
    NotValidYet,
    /// The `iat` has not come yet.
    #[error("validation failed, token issued in the future (iat)")]
    FromTheFuture,
    /// A new token would be for nobody.
    #[error("invalid JWT-SVID audience: cannot be empty")]
    EmptyAudience,
    /// The key could not sign.
    #[error("could not sign")]
    Sign(#[source] KeyError),
}

fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    texts.join(" ")
}

fn encode_json(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("strings and numbers always serialise");
    URL_SAFE_NO_PAD.encode(json)
}

/// The claims of a token.
type Claims = Map<String, serde_json::Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::KeyType;

    fn claims() -> JwtClaims {
        JwtClaims {
            spiffe_id: SpiffeId::parse("spiffe://td/w").unwrap(),
            audience: vec!["a".into(), String::new(), "b".into()],
            issued_at: UnixTime::from_secs(100),
            expires_at: UnixTime::from_secs(400),
            issuer: None,
            jti: None,
        }
    }

    fn part(token: &str, index: usize) -> String {
        let part = token.split('.').nth(index).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_token_says_what_spires_say() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let svid = sign_jwt_svid(&key, "kid1", &claims()).unwrap();
        assert_eq!(
            part(svid.token(), 0),
            r#"{"alg":"ES256","kid":"kid1","typ":"JWT"}"#
        );
        assert_eq!(
            part(svid.token(), 1),
            r#"{"aud":["a","b"],"exp":400,"iat":100,"sub":"spiffe://td/w"}"#
        );
        let full = JwtClaims {
            issuer: Some("https://i".into()),
            jti: Some("j".into()),
            ..claims()
        };
        let svid = sign_jwt_svid(&key, "kid1", &full).unwrap();
        assert_eq!(
            part(svid.token(), 1),
            r#"{"aud":["a","b"],"exp":400,"iat":100,"iss":"https://i","jti":"j","sub":"spiffe://td/w"}"#
        );
    }

    #[test]
    fn what_is_signed_can_be_read() {
        let key = PrivateKey::generate(KeyType::Rsa2048).unwrap();
        let made = sign_jwt_svid(&key, "kid1", &claims()).unwrap();
        let read = JwtSvid::parse_unverified(made.token()).unwrap();
        assert_eq!(read.spiffe_id(), made.spiffe_id());
        assert_eq!(read.audience(), ["a", "b"]);
        assert_eq!(read.issued_at(), Some(UnixTime::from_secs(100)));
        assert_eq!(read.expires_at(), UnixTime::from_secs(400));
        assert_eq!(read.key_id(), "kid1");
    }

    #[test]
    fn a_token_for_nobody_is_not_made() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let nobody = JwtClaims {
            audience: vec![String::new()],
            ..claims()
        };
        assert_eq!(
            sign_jwt_svid(&key, "k", &nobody).unwrap_err().to_string(),
            "invalid JWT-SVID audience: cannot be empty"
        );
    }

    #[test]
    fn a_token_is_not_printed() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let svid = sign_jwt_svid(&key, "kid1", &claims()).unwrap();
        let shown = format!("{svid:?}");
        for part in svid.token().split('.') {
            assert!(!shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn random_ids_have_sixteen_bytes() {
        let jti = random_jti();
        assert_eq!(URL_SAFE_NO_PAD.decode(&jti).unwrap().len(), 16);
        assert_ne!(random_jti(), jti);
    }
}
