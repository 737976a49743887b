//! What callers are answered, as SPIRE's provider answers them.

use std::{sync::Arc, time::Duration};

use daemon::web::{Documents as _, Origin};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use identity::{
    bundle::{JwtAuthority, KeyUse},
    clock::{FakeClock, UnixTime},
};

use super::*;

/// The public key of `oidc/src/documents`' records, P-256, as SubjectPublicKeyInfo.
const KEY_X: &str = "iSt7S4ih6QLodw9wf-zdPV8bmAlDJBCRRy24_UAZY70";
const KEY_Y: &str = "Gb4gkQCeHj7HCbZzdctcAx9dxoDgC9sudsSG7ZLIWJs";

fn authority() -> JwtAuthority {
    let json = format!(
        r#"{{"keys":[{{"kty":"EC","kid":"KEYID","crv":"P-256","x":"{KEY_X}","y":"{KEY_Y}"}}]}}"#
    );
    identity::bundle::jwt_authorities_from_jwks(json.as_bytes())
        .unwrap()
        .remove(0)
}

struct World {
    documents: PublicDocuments,
    keys: Arc<KeySet>,
    is_tls: bool,
}

impl World {
    fn new(allow_insecure_scheme: bool, key_use: KeyUse, path_prefix: &str) -> Self {
        let clock = FakeClock::new(UnixTime::from_secs(1_000_000_000));
        let keys = Arc::new(KeySet::new(Arc::new(clock), key_use));
        let names = ["localhost", "domain.test"].map(str::to_owned);
        let documents = PublicDocuments::new(Parameters {
            names: Names {
                jwt_issuer: None,
                jwks_uri: None,
                path_prefix: path_prefix.to_owned(),
            },
            domains: Domains::new(&names).unwrap(),
            keys: Arc::clone(&keys),
            allow_insecure_scheme,
            log_requests: true,
        });
        Self {
            documents,
            keys,
            is_tls: false,
        }
    }

    fn plain() -> Self {
        Self::new(false, KeyUse::Unsaid, "/")
    }

    fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let origin = Origin {
            remote: None,
            is_tls: self.is_tls,
        };
        self.documents.answer(&head, origin)
    }
}

async fn read(answer: Answer) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
const HERE: (&str, &str) = ("host", "localhost");

#[tokio::test]
async fn refusals_have_the_codes_and_texts_of_spire() {
    let world = World::plain();
    let check = async |method: Method, path: &str, headers: &[(&str, &str)], status, text: &str| {
        let answer = world.ask(method, path, headers);
        assert_eq!(
            answer.headers()["content-type"],
            "text/plain; charset=utf-8"
        );
        assert_eq!(read(answer).await, (status, format!("{text}\n")), "{path}");
    };
    let not_allowed = "method not allowed";
    check(Method::PUT, DISCOVERY, &[HERE], 405, not_allowed).await;
    check(Method::HEAD, "/keys", &[HERE], 405, not_allowed).await;
    check(Method::GET, "/", &[HERE], 404, "404 page not found").await;
    let bad = [("host", "bad.domain.test")];
    let text = "domain \"bad.domain.test\" is not allowed";
    check(Method::GET, DISCOVERY, &bad, 400, text).await;
    let forwarded = [HERE, ("x-forwarded-host", "bad.domain.test")];
    check(Method::GET, DISCOVERY, &forwarded, 400, text).await;
    let text = "missing required Host header";
    check(Method::GET, DISCOVERY, &[], 400, text).await;
    let text = "document not available";
    check(Method::GET, "/keys", &[HERE], 500, text).await;
    world.keys.store(vec![]);
    let text = "jwt not supported/enabled in this service";
    check(Method::GET, "/keys", &[HERE], 501, text).await;
}

#[tokio::test]
async fn keys_are_byte_for_byte_those_of_spire() {
    for (key_use, first) in [
        (KeyUse::Unsaid, ""),
        (KeyUse::Signature, "\n      \"use\": \"sig\","),
    ] {
        let world = World::new(false, key_use, "/");
        world.keys.store(vec![authority()]);
        let answer = world.ask(Method::GET, "/keys", &[("host", "any.test")]);
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "no-cache, no-store, must-revalidate"),
            ("pragma", "no-cache"),
            ("expires", "0"),
            ("access-control-allow-origin", "*"),
            ("last-modified", "Sun, 09 Sep 2001 01:46:40 GMT"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
        let expected = format!(
            r#"{{
  "keys": [
    {{{first}
      "kty": "EC",
      "kid": "KEYID",
      "crv": "P-256",
      "alg": "ES256",
      "x": "{KEY_X}",
      "y": "{KEY_Y}"
    }}
  ]
}}"#
        );
        assert_eq!(read(answer).await, (200, expected));
    }
}

#[tokio::test]
async fn keys_that_the_caller_has_are_not_sent_again() {
    let world = World::plain();
    world.keys.store(vec![authority()]);
    let modified = SystemTime::from(UnixTime::from_secs(1_000_000_000));
    let ask = |since: SystemTime| {
        let since = httpdate::fmt_http_date(since);
        world.ask(Method::GET, "/keys", &[("if-modified-since", &since)])
    };
    let answer = ask(modified);
    assert!(!answer.headers().contains_key("content-type"));
    assert_eq!(read(answer).await, (304, String::new()));
    let earlier = modified - Duration::from_secs(1);
    assert_eq!(ask(earlier).status(), 200);
}

#[tokio::test]
async fn the_scheme_is_in_the_clear_only_where_that_was_allowed() {
    let issuer = async |world: &World, headers: &[(&str, &str)]| {
        let answer = world.ask(Method::GET, DISCOVERY, headers);
        let (status, body) = read(answer).await;
        assert_eq!(status, 200, "{body}");
        let document: serde_json::Value = serde_json::from_str(&body).unwrap();
        document["issuer"].as_str().unwrap().to_owned()
    };
    let strict = World::plain();
    assert_eq!(issuer(&strict, &[HERE]).await, "https://localhost");
    let mut lax = World::new(true, KeyUse::Unsaid, "/");
    for (headers, expected) in [
        (&[HERE][..], "http://localhost"),
        (&[HERE, ("x-forwarded-proto", "HTTPS")], "https://localhost"),
        (&[HERE, ("x-forwarded-proto", "http")], "http://localhost"),
        (
            &[HERE, ("forwarded", "for=1.2.3.4;proto=https;by=a")],
            "https://localhost",
        ),
        (
            &[HERE, ("x-forwarded-host", "domain.test:8443")],
            "http://domain.test:8443",
        ),
    ] {
        assert_eq!(issuer(&lax, headers).await, expected);
    }
    lax.is_tls = true;
    assert_eq!(issuer(&lax, &[HERE]).await, "https://localhost");
}

#[tokio::test]
async fn a_prefix_moves_both_documents() {
    let world = World::new(false, KeyUse::Unsaid, "/instance/1");
    world.keys.store(vec![authority()]);
    let status = |path: &str| world.ask(Method::GET, path, &[HERE]).status().as_u16();
    assert_eq!((status(DISCOVERY), status("/keys")), (404, 404));
    assert_eq!(status("/instance/1/keys"), 200);
    let answer = world.ask(Method::GET, &format!("/instance/1{DISCOVERY}"), &[HERE]);
    let (_, body) = read(answer).await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["jwks_uri"], "https://localhost/instance/1/keys");
}
