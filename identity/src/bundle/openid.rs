//! JWT authorities as plain key sets: what OpenID Connect publishes and the Workload API hands out.

use serde::{Deserialize, Serialize};

use crate::bundle::jwk::Jwk;
use crate::bundle::jwks::{indented_by, jwt_authority};
use crate::bundle::{JwksError, JwtAuthority, MAX_AUTHORITIES, MAX_JWKS_LEN_BYTES};

/// Whether published keys say what they are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyUse {
    /// No `use`, which is what most clients expect.
    Unsaid,
    /// `"use": "sig"`, which some clients insist on.
    Signature,
}

/// A key set for OpenID Connect: each key with `kid` and `alg`, indented by two blanks.
///
/// Keys of a kind that JOSE has no name for are left out.
pub fn openid_jwks(authorities: &[JwtAuthority], key_use: KeyUse) -> Vec<u8> {
    #[derive(Serialize)]
    struct KeySet {
        keys: Vec<Jwk>,
    }
    let keys = authorities.iter().filter_map(|authority| {
        let mut jwk = Jwk::from_public_key(&authority.public_key)?;
        jwk.kid = Some(authority.key_id.as_ref().into());
        jwk.set_algorithm();
        if key_use == KeyUse::Signature {
            jwk.usage = Some("sig".into());
        }
        Some(jwk)
    });
    let keys = keys.collect();
    indented_by(b"  ", &KeySet { keys })
}

/// The keys of a plain key set, such as the Workload API hands out; the last key of an id counts.
///
/// # Errors
/// The document is too long or malformed, or a key has no id or is no valid key.
pub fn jwt_authorities_from_jwks(json: &[u8]) -> Result<Vec<JwtAuthority>, JwksError> {
    #[derive(Deserialize)]
    struct KeySet {
        keys: Option<Vec<Jwk>>,
    }
    if json.len() > MAX_JWKS_LEN_BYTES {
        return Err(JwksError::TooLong);
    }
    let document: KeySet = serde_json::from_slice(json).map_err(JwksError::Json)?;
    let keys = document.keys.unwrap_or_default();
    if keys.len() > MAX_AUTHORITIES {
        return Err(JwksError::TooManyKeys);
    }
    let mut authorities: Vec<JwtAuthority> = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let authority = jwt_authority(key, index, "keyID cannot be empty")?;
        authorities.retain(|known| known.key_id != authority.key_id);
        authorities.push(authority);
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{KeyType, PrivateKey};

    fn authority(key_id: &str, key_type: KeyType) -> JwtAuthority {
        let key = PrivateKey::generate(key_type).unwrap();
        JwtAuthority {
            key_id: key_id.into(),
            public_key: key.public_key_der().to_vec(),
            expires_at: None,
            tainted: false,
        }
    }

    /// The members of the first key, in order, as `name=value` but for the key's own numbers.
    fn members(json: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(json).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("      "));
        lines
            .map(|line| line.trim().trim_end_matches(',').replace('"', ""))
            .map(|line| match line.split_once(": ") {
                Some((name @ ("x" | "y" | "n"), _)) => name.to_owned(),
                _ => line,
            })
            .collect()
    }

    #[test]
    fn published_keys_name_their_algorithm_in_the_order_of_go_jose() {
        for (key_type, expected) in [
            (
                KeyType::EcP256,
                &["kty: EC", "kid: k", "crv: P-256", "alg: ES256", "x", "y"][..],
            ),
            (
                KeyType::EcP384,
                &["kty: EC", "kid: k", "crv: P-384", "alg: ES384", "x", "y"],
            ),
            (
                KeyType::Rsa2048,
                &["kty: RSA", "kid: k", "alg: RS256", "n", "e: AQAB"],
            ),
        ] {
            let keys = [authority("k", key_type)];
            assert_eq!(members(&openid_jwks(&keys, KeyUse::Unsaid)), expected);
            let with_use = [&["use: sig"], expected].concat();
            assert_eq!(members(&openid_jwks(&keys, KeyUse::Signature)), with_use);
        }
    }

    #[test]
    fn a_key_set_survives_and_its_last_key_of_an_id_counts() {
        let keys = [
            authority("a", KeyType::EcP256),
            authority("b", KeyType::Rsa2048),
            authority("a", KeyType::EcP384),
        ];
        let json = openid_jwks(&keys, KeyUse::Signature);
        let read = jwt_authorities_from_jwks(&json).unwrap();
        assert_eq!(read, keys[1..]);
        assert_eq!(jwt_authorities_from_jwks(b"{\"keys\":[]}").unwrap(), []);
        assert_eq!(jwt_authorities_from_jwks(b"{}").unwrap(), []);
    }

    #[test]
    fn broken_key_sets_are_refused() {
        let check = |json: &str, expected: &str| {
            let error = jwt_authorities_from_jwks(json.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{json}");
        };
        check("[]", "unable to parse JWKS");
        check(
            r#"{"keys":[{"kty":"EC"}]}"#,
            "error adding authority 0 of JWKS: keyID cannot be empty",
        );
        check(
            r#"{"keys":[{"kty":"oct","kid":"a"}]}"#,
            "error adding authority 0 of JWKS: unsupported key type",
        );
        let many = vec!["{}"; MAX_AUTHORITIES + 1].join(",");
        check(&format!(r#"{{"keys":[{many}]}}"#), "more than 1024 keys");
        let long = " ".repeat(MAX_JWKS_LEN_BYTES + 1);
        check(&long, "bundle document is longer than 4194304 bytes");
    }
}
