//! JWT-SVIDs: tokens as they come, and tokens that are signed here with any header and any claims.
//!
//! Must hold: a token is taken only if its signature is one of the key that the bundle names, made for the
//! algorithm that the header names, for the audience in question, in its time.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::jwt_svid::{JwtClaims, JwtSvid, LEEWAY, VerifiedJwt, sign_jwt_svid, verify_jwt_svid};
use identity::spiffe_id::SpiffeId;
use serde_json::Value;

use crate::input::{Input, join, plain};
use crate::world::{KEY, KEY_ID, NOW, OWN, bundle};

static BUNDLE: LazyLock<Bundle> = LazyLock::new(bundle);

const AUDIENCE: &str = "audience";

/// A byte that says which, then a token, or claims, or a header and claims.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => {
            if let Some(token) = input.text() {
                as_it_comes(token);
            }
        }
        1 => signed(HEADER.as_bytes(), input.rest()),
        _ => signed(input.piece(), input.rest()),
    }
}

fn as_it_comes(token: &str) {
    if let Ok(read) = JwtSvid::parse_unverified(token) {
        assert_eq!(read.token(), token);
        assert!(!read.key_id().is_empty());
    }
    if verify(token).is_some() {
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        assert!(
            SIGNED.contains(signed),
            "accepted and never signed: {token}"
        );
    }
}

fn signed(header: &[u8], claims: &[u8]) {
    let [encoded_header, encoded_claims] =
        [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{encoded_header}.{encoded_claims}");
    let signature = KEY.sign_jws(message.as_bytes()).expect("a key signs");
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    let Some(verified) = verify(&token) else {
        return;
    };
    let header: Value = serde_json::from_slice(header).expect("an accepted header is JSON");
    assert_eq!(header["alg"], "ES256");
    assert_eq!(header["kid"], KEY_ID);
    assert!(header["crit"].is_null());
    let claim = |name: &str| verified.claims.get(name);
    let audience = match claim("aud") {
        Some(Value::Array(list)) => list.iter().any(|one| one == AUDIENCE),
        Some(one) => one == AUDIENCE,
        None => false,
    };
    assert!(audience);
    assert_eq!(
        claim("sub").and_then(Value::as_str),
        Some(verified.spiffe_id.as_str())
    );
    assert_eq!(verified.spiffe_id.trust_domain(), &*OWN);
    let seconds = |name: &str| claim(name).and_then(Value::as_f64).map(f64::floor);
    let leeway = LEEWAY.as_secs_f64();
    let now = f64::from(u32::try_from(NOW.as_secs()).expect("it is before 2106"));
    assert!(seconds("exp").is_some_and(|end| end >= now - leeway));
    for name in ["nbf", "iat"] {
        assert!(
            seconds(name).is_none_or(|start| start <= now + leeway),
            "{name}"
        );
    }
}

fn verify(token: &str) -> Option<VerifiedJwt> {
    verify_jwt_svid(
        token,
        AUDIENCE,
        |name| (*name == *OWN).then_some(&*BUNDLE),
        NOW,
    )
    .ok()
}

const HEADER: &str = r#"{"alg":"ES256","kid":"kid","typ":"JWT"}"#;

/// What stands before the signatures of all tokens that seeds have. Nobody else has the key.
static SIGNED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let tokens = tokens().into_iter();
    let signed = tokens.filter_map(|token| Some(token.rsplit_once('.')?.0.to_owned()));
    signed.collect()
});

fn tokens() -> Vec<String> {
    let claims = JwtClaims {
        spiffe_id: SpiffeId::from_parts(&OWN, "/w").expect("it is an id"),
        audience: vec![AUDIENCE.to_owned()],
        issued_at: NOW,
        expires_at: UnixTime::from_secs(NOW.as_secs() + 300),
        issuer: None,
        jti: None,
    };
    let full = JwtClaims {
        audience: vec!["other".to_owned(), AUDIENCE.to_owned()],
        issuer: Some("https://issuer".to_owned()),
        jti: Some("j".to_owned()),
        ..claims.clone()
    };
    let sign = |claims| sign_jwt_svid(&KEY, KEY_ID, &claims).expect("a key signs");
    [claims, full]
        .map(|claims| sign(claims).token().to_owned())
        .to_vec()
}

/// Good tokens, good claims, and headers that were tricks elsewhere.
pub fn seeds() -> Vec<Vec<u8>> {
    let claims = r#"{"aud":["audience"],"exp":1800000300,"iat":1800000000,"nbf":1799999999.5,"sub":"spiffe://example.org/w"}"#;
    let mut seeds: Vec<Vec<u8>> = tokens().iter().map(|token| plain(&[0], token)).collect();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let none = part(r#"{"alg":"none","kid":"kid"}"#);
    seeds.push(plain(&[0], format!("{none}.{}.", part(claims))));
    seeds.push(plain(&[1], claims));
    seeds.push(plain(
        &[1],
        r#"{"aud":"audience","exp":1e300,"iat":null,"sub":"spiffe://example.org/w","x":{"y":[1]}}"#,
    ));
    for header in [
        r#"{"alg":"HS256","kid":"kid","typ":"JOSE"}"#,
        r#"{"alg":"ES256","kid":"kid","crit":["exp"]}"#,
        r#"{"alg":"none","kid":"kid","jwk":{},"x5c":[]}"#,
        HEADER,
    ] {
        seeds.push(plain(&join(&[2], [header]), claims));
    }
    seeds
}
