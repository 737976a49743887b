//! JWT authorities with their private keys.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use identity::{
    clock::UnixTime,
    jwt_svid::{JwtClaims, JwtSvid, sign_jwt_svid},
    secret::PrivateKey,
    spiffe_id::SpiffeId,
};

use super::{SignError, capped};
use crate::ca::certificate::Validity;

/// A JWT authority with its private key, ready to sign.
pub(in crate::ca) struct JwtIssuer {
    key_id: Box<str>,
    key: PrivateKey,
    pub(super) validity: Validity,
}

impl JwtIssuer {
    /// The authority with this key, valid from `issued_at` to `not_after`.
    pub(in crate::ca) fn new(key_id: Box<str>, key: PrivateKey, validity: Validity) -> Self {
        Self {
            key_id,
            key,
            validity,
        }
    }

    /// Its key id.
    pub(in crate::ca) fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(super) fn sign(
        &self,
        request: JwtRequest<'_>,
        now: UnixTime,
    ) -> Result<JwtSvid, SignError> {
        let Validity { not_after, .. } = capped(self.validity, request.ttl, now)?;
        let claims = JwtClaims {
            spiffe_id: request.spiffe_id.clone(),
            audience: request.audience,
            issued_at: now,
            expires_at: not_after,
            issuer: request.issuer.map(str::to_owned),
            jti: request.jti,
        };
        sign_jwt_svid(&self.key, &self.key_id, &claims).map_err(SignError::Jwt)
    }
}

impl fmt::Debug for JwtIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtIssuer")
            .field("key_id", &self.key_id)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// What a JWT-SVID shall say.
#[derive(Debug)]
pub(in crate::ca) struct JwtRequest<'a> {
    pub(in crate::ca) spiffe_id: &'a SpiffeId,
    pub(in crate::ca) audience: Vec<String>,
    pub(in crate::ca) ttl: Duration,
    pub(in crate::ca) issuer: Option<&'a str>,
    pub(in crate::ca) jti: Option<String>,
}

/// A new JWT key id: 32 characters of `[a-zA-Z0-9]`.
pub(in crate::ca) fn random_key_id() -> Result<Box<str>, SignError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut id = String::with_capacity(32);
    while id.len() < 32 {
        let mut random = [0; 32];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_unspecified| SignError::Random)?;
        // Bytes that do not index the alphabet are thrown away, so that no character is likelier.
        let characters = random
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte >> 2)));
        id.extend(characters.take(32 - id.len()).copied().map(char::from));
    }
    Ok(id.into())
}
