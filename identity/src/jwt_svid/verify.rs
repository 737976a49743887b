//! Whether a token is to be believed.

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    VerificationAlgorithm,
};

use crate::bundle::Bundle;
use crate::clock::UnixTime;
use crate::jwt_svid::compact::{Compact, Registered};
use crate::jwt_svid::{Claims, JwtError};
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// How far the clocks of signer and verifier may be apart; SPIRE allows the same.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// A token that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedJwt {
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// All of its claims.
    pub claims: Claims,
}

/// Verifies a JWT-SVID (JWT-SVID §4) for `audience` at `now`, with the bundle of the trust domain
/// that its own subject names.
///
/// # Errors
/// The first rule that is broken; form first, then key, signature, audience and time.
pub fn verify_jwt_svid<'a>(
    token: &str,
    audience: &str,
    bundles: impl Fn(&TrustDomain) -> Option<&'a Bundle>,
    now: UnixTime,
) -> Result<VerifiedJwt, JwtError> {
    let compact = Compact::parse(token)?;
    let algorithm = algorithm(&compact.algorithm)?;
    let registered = Registered::of(&compact.claims)?;
    let trust_domain = registered.subject.trust_domain();
    let bundle = bundles(trust_domain).ok_or_else(|| JwtError::NoBundle(trust_domain.clone()))?;
    let key = bundle
        .jwt_authority(&compact.key_id)
        .ok_or_else(|| JwtError::NoKey {
            key_id: compact.key_id.clone(),
            trust_domain: trust_domain.clone(),
        })?;
    // A key of another kind than the algorithm is refused here.
    ParsedPublicKey::new(algorithm, &key.public_key)
        .map_err(|_rejected| JwtError::Signature)?
        .verify_sig(compact.signed.as_bytes(), &compact.signature)
        .map_err(|_unspecified| JwtError::Signature)?;
    check_claims(&registered, audience, now)?;
    Ok(VerifiedJwt {
        spiffe_id: registered.subject,
        claims: compact.claims,
    })
}

/// The algorithms of JWT-SVID §2.1.
fn algorithm(name: &str) -> Result<&'static dyn VerificationAlgorithm, JwtError> {
    Ok(match name {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        "ES512" => &ECDSA_P521_SHA512_FIXED,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => {
            let problem = format!("unexpected signature algorithm {name:?}");
            return Err(JwtError::Malformed(problem));
        }
    })
}

fn check_claims(claims: &Registered, audience: &str, now: UnixTime) -> Result<(), JwtError> {
    if !claims.audience.iter().any(|known| known == audience) {
        return Err(JwtError::Audience {
            expected: audience.to_owned(),
            actual: claims.audience.clone(),
        });
    }
    let latest = now.saturating_add(LEEWAY);
    if claims
        .not_before
        .is_some_and(|not_before| not_before > latest)
    {
        return Err(JwtError::NotValidYet);
    }
    if claims.expires_at < now.saturating_sub(LEEWAY) {
        return Err(JwtError::Expired);
    }
    if claims.issued_at.is_some_and(|issued_at| issued_at > latest) {
        return Err(JwtError::FromTheFuture);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding, RsaKeyPair,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::JwtAuthority;
    use crate::jwt_svid::MAX_TOKEN_LEN_BYTES;
    use crate::secret::{KeyType, PrivateKey};
    use crate::testing::TestAuthority;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

    struct Setup {
        authority: TestAuthority,
        bundle: Bundle,
    }

    impl Setup {
        fn new() -> Self {
            let authority = TestAuthority::at("td", NOW);
            let bundle = authority.bundle();
            Self { authority, bundle }
        }

        fn token(&self) -> String {
            let svid = self.authority.jwt_svid("/w", &["aud1", "aud2"]);
            svid.token().to_owned()
        }

        /// A properly signed token of any content.
        fn forge(&self, header: &Value, claims: &Value) -> String {
            let (key, _) = self.authority.jwt_key();
            let [header, claims] = [header, claims].map(|v| URL_SAFE_NO_PAD.encode(v.to_string()));
            let signed = format!("{header}.{claims}");
            let signature = URL_SAFE_NO_PAD.encode(key.sign_jws(signed.as_bytes()).unwrap());
            format!("{signed}.{signature}")
        }

        fn verify_at(&self, token: &str, now: i64) -> Result<VerifiedJwt, String> {
            let own = self.authority.trust_domain();
            let bundles = |td: &TrustDomain| (td == own).then_some(&self.bundle);
            let now = UnixTime::from_secs(now);
            verify_jwt_svid(token, "aud1", bundles, now).map_err(|error| error.to_string())
        }

        fn verify(&self, token: &str) -> Result<VerifiedJwt, String> {
            self.verify_at(token, NOW.as_secs())
        }
    }

    fn header() -> Value {
        json!({"alg": "ES256", "kid": "test-jwt-key", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({"aud": ["aud1"], "exp": NOW.as_secs() + 300, "sub": "spiffe://td/w"})
    }

    /// `value` with one member set, or removed by `null`.
    fn with(mut value: Value, name: &str, member: Value) -> Value {
        let members = value.as_object_mut().unwrap();
        if member.is_null() {
            members.remove(name);
        } else {
            members.insert(name.into(), member);
        }
        value
    }

    #[test]
    fn a_good_token_is_believed() {
        let setup = Setup::new();
        let verified = setup.verify(&setup.token()).unwrap();
        assert_eq!(verified.spiffe_id.as_str(), "spiffe://td/w");
        let expected = json!({
            "aud": ["aud1", "aud2"],
            "exp": NOW.as_secs() + 300,
            "iat": NOW.as_secs(),
            "sub": "spiffe://td/w",
        });
        assert_eq!(Value::Object(verified.claims), expected);
    }

    #[test]
    fn another_audience_is_told_in_spires_words() {
        let setup = Setup::new();
        let bundles = |_: &TrustDomain| Some(&setup.bundle);
        let error = verify_jwt_svid(&setup.token(), "wrong", bundles, NOW).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"expected audience in ["wrong"] (audience=["aud1" "aud2"])"#
        );
    }

    #[test]
    fn times_are_checked_with_a_minute_of_leeway() {
        let setup = Setup::new();
        let token = setup.token();
        let end = NOW.as_secs() + 300;
        assert!(setup.verify_at(&token, end + 60).is_ok());
        assert_eq!(
            setup.verify_at(&token, end + 61).unwrap_err(),
            "token has expired"
        );
        assert!(setup.verify_at(&token, NOW.as_secs() - 60).is_ok());
        assert_eq!(
            setup.verify_at(&token, NOW.as_secs() - 61).unwrap_err(),
            "validation failed, token issued in the future (iat)"
        );
        let late = setup.forge(&header(), &with(claims(), "nbf", json!(NOW.as_secs() + 61)));
        assert_eq!(
            setup.verify(&late).unwrap_err(),
            "validation failed, token not valid yet (nbf)"
        );
    }

    #[test]
    fn keys_belong_to_the_trust_domain_of_the_subject() {
        let setup = Setup::new();
        let foreign = with(claims(), "sub", json!("spiffe://other/w"));
        assert_eq!(
            setup.verify(&setup.forge(&header(), &foreign)).unwrap_err(),
            r#"no keys found for trust domain "other""#
        );
        let unknown = with(header(), "kid", json!("nope"));
        assert_eq!(
            setup.verify(&setup.forge(&unknown, &claims())).unwrap_err(),
            r#"public key "nope" not found in trust domain "td""#
        );
    }

    #[test]
    fn tokens_of_the_wrong_form_are_refused() {
        let setup = Setup::new();
        let check = |token: &str, expected: &str| {
            assert_eq!(setup.verify(token).unwrap_err(), expected);
        };
        let parts = "unable to parse JWT token: compact JWS format must have three parts";
        for token in ["", "nope", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            check(token, parts);
        }
        check(
            "%.b.c",
            "unable to parse JWT token: header is not base64url",
        );
        check(
            "..",
            "unable to parse JWT token: header is not the JSON that was expected",
        );
        check(
            &".".repeat(MAX_TOKEN_LEN_BYTES + 1),
            "unable to parse JWT token: token is too long",
        );
        let of_header = |name: &str, member: Value, expected: &str| {
            check(
                &setup.forge(&with(header(), name, member), &claims()),
                expected,
            );
        };
        of_header("kid", Value::Null, "token header missing key id");
        of_header("kid", json!(""), "token header missing key id");
        let kind = "token header type not equal to either JWT or JOSE";
        of_header("typ", json!("wit+jwt"), kind);
        let critical = "unable to parse JWT token: unsupported critical header";
        of_header("crit", json!(["exp"]), critical);
        for name in ["none", "HS256", "EdDSA", "es256", ""] {
            let text =
                format!("unable to parse JWT token: unexpected signature algorithm {name:?}");
            of_header("alg", json!(name), &text);
        }
    }

    #[test]
    fn claims_of_the_wrong_form_are_refused() {
        let setup = Setup::new();
        let of_claims = |name: &str, member: Value, expected: &str| {
            let token = setup.forge(&header(), &with(claims(), name, member));
            assert_eq!(setup.verify(&token).unwrap_err(), expected);
        };
        of_claims("sub", Value::Null, "token missing subject claim");
        of_claims("exp", Value::Null, "token missing exp claim");
        of_claims(
            "sub",
            json!("nope"),
            "token has in invalid subject claim: scheme is missing or invalid",
        );
        of_claims(
            "sub",
            json!(1),
            "unable to parse JWT token: claim sub is not a string",
        );
        of_claims(
            "exp",
            json!("1"),
            "unable to parse JWT token: claim exp is not a number",
        );
        of_claims(
            "exp",
            json!(1e300),
            "unable to parse JWT token: claim exp is out of range",
        );
        of_claims(
            "aud",
            Value::Null,
            r#"expected audience in ["aud1"] (audience=[])"#,
        );
        of_claims(
            "aud",
            json!([1]),
            "unable to parse JWT token: claim aud is not a list of strings",
        );
    }

    #[test]
    fn a_type_may_be_left_out_and_an_audience_stand_alone() {
        let setup = Setup::new();
        for typ in [Value::Null, json!("JWT"), json!("JOSE")] {
            let token = setup.forge(&with(header(), "typ", typ), &claims());
            assert!(setup.verify(&token).is_ok());
        }
        let alone = with(claims(), "aud", json!("aud1"));
        assert!(setup.verify(&setup.forge(&header(), &alone)).is_ok());
        let fraction = with(claims(), "exp", json!(1_700_000_300.75));
        assert!(setup.verify(&setup.forge(&header(), &fraction)).is_ok());
    }

    #[test]
    fn no_damaged_token_is_believed() {
        let setup = Setup::new();
        let token = setup.token();
        for len in 0..token.len() {
            assert!(setup.verify(&token[..len]).is_err(), "{len}");
        }
        for index in 0..token.len() {
            let mut damaged = token.clone().into_bytes();
            damaged[index] = if damaged[index] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert!(setup.verify(&damaged).is_err(), "byte {index}");
        }
    }

    #[test]
    fn an_algorithm_does_not_fit_every_key() {
        let setup = Setup::new();
        for name in ["RS256", "PS256", "ES384", "ES512"] {
            let token = setup.forge(&with(header(), "alg", json!(name)), &claims());
            let error = setup.verify(&token).unwrap_err();
            assert_eq!(error, "token signature does not verify", "{name}");
        }
    }

    #[test]
    fn every_algorithm_of_the_standard_verifies() {
        let mut setup = Setup::new();
        for (key_type, name) in [(KeyType::EcP384, "ES384"), (KeyType::Rsa2048, "RS256")] {
            let key = PrivateKey::generate(key_type).unwrap();
            setup.trust(key.public_key_der());
            let token = signed_with(name, |message| key.sign_jws(message).unwrap());
            assert!(setup.verify(&token).is_ok(), "{name}");
        }
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = aws_lc_rs::encoding::AsDer::as_der(&pair).unwrap();
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pkcs8;
        let key = PrivateKey::from_pkcs8(pkcs8.as_ref()).unwrap();
        setup.trust(key.public_key_der());
        let encodings: [(&str, &'static dyn RsaEncoding); 5] = [
            ("RS384", &RSA_PKCS1_SHA384),
            ("RS512", &RSA_PKCS1_SHA512),
            ("PS256", &RSA_PSS_SHA256),
            ("PS384", &RSA_PSS_SHA384),
            ("PS512", &RSA_PSS_SHA512),
        ];
        for (name, encoding) in encodings {
            let token = signed_with(name, |message| {
                let mut signature = vec![0; 256];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            });
            assert!(setup.verify(&token).is_ok(), "{name}");
        }
    }

    impl Setup {
        fn trust(&mut self, public_key: &[u8]) {
            self.bundle.jwt_authorities = vec![JwtAuthority {
                key_id: "test-jwt-key".into(),
                public_key: public_key.to_vec(),
                expires_at: None,
                tainted: false,
            }];
        }
    }

    fn signed_with(algorithm: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let header = with(header(), "alg", json!(algorithm));
        let [header, claims] = [header, claims()].map(|v| URL_SAFE_NO_PAD.encode(v.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
