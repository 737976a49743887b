//! The discovery document (OpenID Connect Discovery 1.0 §3), as far as verifying tokens takes it.

use serde::Serialize;

use crate::config::HttpUrl;

/// What the documents are called, whoever asks.
#[derive(Clone, Debug)]
pub struct Names {
    /// The issuer, if it is not the host that was asked.
    pub jwt_issuer: Option<HttpUrl>,
    /// Where the keys are, if it is not here.
    pub jwks_uri: Option<HttpUrl>,
    /// What stands before the paths.
    pub path_prefix: String,
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Under TLS, here or in front of here.
    Https,
}

impl Names {
    /// The path of the discovery document.
    #[must_use]
    pub fn discovery_path(&self) -> String {
        joined(&self.path_prefix, ".well-known/openid-configuration")
    }

    /// The path of the keys.
    #[must_use]
    pub fn keys_path(&self) -> String {
        joined(&self.path_prefix, "keys")
    }

    /// The document for a caller that asked `host`, which is one of the allowed.
    #[must_use]
    pub fn document(&self, scheme: Scheme, host: &str) -> Vec<u8> {
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let issuer = match (&self.jwt_issuer, self.path_prefix.as_str()) {
            (Some(issuer), _) => issuer.to_string(),
            (None, "/") => format!("{scheme}://{host}"),
            (None, prefix) => format!("{scheme}://{host}{prefix}"),
        };
        let jwks_uri = match (&self.jwks_uri, &self.jwt_issuer) {
            (Some(uri), _) => uri.to_string(),
            (None, Some(issuer)) => {
                format!("{}{}", issuer.origin(), joined(issuer.path(), "keys"))
            }
            (None, None) => format!("{scheme}://{host}{}", self.keys_path()),
        };
        let document = Document {
            issuer,
            jwks_uri,
            authorization_endpoint: "",
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: ["RS256", "ES256", "ES384"],
        };
        let text = serde_json::to_string_pretty(&document)
            .expect("invariant: strings written to memory always serialise");
        // As Go writes JSON.
        text.replace('&', "\\u0026").into_bytes()
    }
}

#[derive(Serialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
    // Required members, which nobody uses who only verifies.
    authorization_endpoint: &'static str,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 3],
}

/// A path under a prefix, with exactly one slash before each part.
fn joined(prefix: &str, path: &str) -> String {
    let parts = prefix.split('/').filter(|part| !part.is_empty());
    let parts: Vec<_> = parts.chain([path]).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(jwt_issuer: &str, jwks_uri: &str, path_prefix: &str) -> (String, String) {
        let url = |text: &str| (!text.is_empty()).then(|| HttpUrl::parse(text).unwrap());
        let names = Names {
            jwt_issuer: url(jwt_issuer),
            jwks_uri: url(jwks_uri),
            path_prefix: path_prefix.to_owned(),
        };
        let document = names.document(Scheme::Https, "h.test:8080");
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        let member = |name: &str| document[name].as_str().unwrap().to_owned();
        (member("issuer"), member("jwks_uri"))
    }

    #[test]
    fn issuer_and_keys_are_named_as_spire_names_them() {
        for (issuer, uri, prefix, expected_issuer, expected_uri) in [
            (
                "",
                "",
                "/",
                "https://h.test:8080",
                "https://h.test:8080/keys",
            ),
            (
                "",
                "",
                "/a/b",
                "https://h.test:8080/a/b",
                "https://h.test:8080/a/b/keys",
            ),
            (
                "https://i.test",
                "",
                "/a",
                "https://i.test",
                "https://i.test/keys",
            ),
            (
                "https://i.test/x/",
                "",
                "/",
                "https://i.test/x/",
                "https://i.test/x/keys",
            ),
            (
                "https://i.test",
                "https://k.test/all?a=b&c=d",
                "/",
                "https://i.test",
                "https://k.test/all?a=b&c=d",
            ),
        ] {
            let expected = (expected_issuer.to_owned(), expected_uri.to_owned());
            assert_eq!(named(issuer, uri, prefix), expected);
        }
    }

    #[test]
    fn the_document_is_byte_for_byte_that_of_spire() {
        let names = Names {
            jwt_issuer: None,
            jwks_uri: None,
            path_prefix: "/".to_owned(),
        };
        let expected = r#"{
  "issuer": "http://localhost",
  "jwks_uri": "http://localhost/keys",
  "authorization_endpoint": "",
  "response_types_supported": [
    "id_token"
  ],
  "subject_types_supported": [
    "public"
  ],
  "id_token_signing_alg_values_supported": [
    "RS256",
    "ES256",
    "ES384"
  ]
}"#;
        let document = names.document(Scheme::Http, "localhost");
        assert_eq!(String::from_utf8(document).unwrap(), expected);
    }

    #[test]
    fn paths_have_one_slash_between_parts() {
        for (prefix, expected) in [
            ("/", "/keys"),
            ("/a", "/a/keys"),
            ("/a/", "/a/keys"),
            ("//a//b", "/a/b/keys"),
        ] {
            assert_eq!(joined(prefix, "keys"), expected);
        }
    }
}
