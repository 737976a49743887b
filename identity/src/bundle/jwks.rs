//! Bundles as JSON Web Key Sets, in the form of the SPIFFE bundle format and as plain key sets.

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::bundle::jwk::Jwk;
use crate::bundle::{Bundle, JwtAuthority, MAX_AUTHORITIES, X509Authority};
use crate::trust_domain::TrustDomain;
use crate::x509::{CertificateInfo, X509Error};

/// The longest document that is read.
pub const MAX_JWKS_LEN_BYTES: usize = 4 * 1024 * 1024;

const X509_SVID: &str = "x509-svid";
const JWT_SVID: &str = "jwt-svid";

#[derive(Deserialize, Serialize)]
struct Document {
    /// SPIRE writes `null` if there is no key; the standard wants the member to be there.
    keys: Option<Vec<Jwk>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    spiffe_sequence: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    spiffe_refresh_hint: i64,
}

impl Bundle {
    /// The bundle in SPIFFE's format (SPIFFE Trust Domain and Bundle §4), indented by four blanks
    /// as SPIRE does. Keys of a kind that JOSE has no name for are left out.
    pub fn to_spiffe_jwks(&self) -> String {
        let roots = self.x509_authorities.iter().filter_map(|authority| {
            let info = CertificateInfo::parse(&authority.certificate).ok()?;
            let mut jwk = Jwk::from_public_key(&info.public_key_der)?;
            jwk.usage = Some(X509_SVID.into());
            jwk.set_certificate(&authority.certificate);
            Some(jwk)
        });
        let keys = self.jwt_authorities.iter().filter_map(|authority| {
            let mut jwk = Jwk::from_public_key(&authority.public_key)?;
            jwk.usage = Some(JWT_SVID.into());
            jwk.kid = Some(authority.key_id.as_ref().into());
            Some(jwk)
        });
        let keys: Vec<Jwk> = roots.chain(keys).collect();
        let document = Document {
            keys: (!keys.is_empty()).then_some(keys),
            spiffe_sequence: self.sequence,
            spiffe_refresh_hint: self.refresh_hint_s,
        };
        String::from_utf8(indented(&document)).expect("serde_json writes UTF-8")
    }

    /// The JWT authorities as the Workload API hands them out: a key set with `kid` and the key,
    /// without `use` and SPIFFE's members. Indented too, for a command line shows it as it came.
    pub fn jwt_jwks(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Keys {
            keys: Vec<Jwk>,
        }
        let keys = self.jwt_authorities.iter().filter_map(|authority| {
            let mut jwk = Jwk::from_public_key(&authority.public_key)?;
            jwk.kid = Some(authority.key_id.as_ref().into());
            Some(jwk)
        });
        let keys = Keys {
            keys: keys.collect(),
        };
        indented(&keys)
    }

    /// Reads a bundle in SPIFFE's format. A key whose `use` is missing or unknown is left out alone,
    /// as the format asks of consumers (§4.2.2); `keys` must be there, and may be empty.
    ///
    /// # Errors
    /// The document is too long or malformed, or a key of a known use is.
    pub fn from_spiffe_jwks(trust_domain: &TrustDomain, json: &[u8]) -> Result<Self, JwksError> {
        if json.len() > MAX_JWKS_LEN_BYTES {
            return Err(JwksError::TooLong);
        }
        let document: Document = serde_json::from_slice(json).map_err(JwksError::Json)?;
        let keys = document.keys.ok_or(JwksError::NoKeys)?;
        if keys.len() > MAX_AUTHORITIES {
            return Err(JwksError::TooManyKeys);
        }
        let mut bundle = Self::empty(trust_domain.clone());
        bundle.sequence = document.spiffe_sequence;
        bundle.refresh_hint_s = document.spiffe_refresh_hint;
        for (index, key) in keys.iter().enumerate() {
            match key.usage.as_deref() {
                Some(X509_SVID) => bundle.add_root(read_root(key, index)?),
                Some(JWT_SVID) => bundle.add_key(read_key(key, index)?),
                _ => {}
            }
        }
        Ok(bundle)
    }

    fn add_root(&mut self, root: X509Authority) {
        if !self.x509_authorities.contains(&root) {
            self.x509_authorities.push(root);
        }
    }

    /// The last key of an id counts, as it does in SPIFFE's libraries.
    fn add_key(&mut self, key: JwtAuthority) {
        self.jwt_authorities
            .retain(|known| known.key_id != key.key_id);
        self.jwt_authorities.push(key);
    }
}

/// JSON indented by four blanks.
fn indented(document: &impl Serialize) -> Vec<u8> {
    indented_by(b"    ", document)
}

/// JSON indented by `indent` a level.
pub(super) fn indented_by(indent: &[u8], document: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    document
        .serialize(&mut serializer)
        .expect("strings and numbers written to memory always serialise");
    out
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The document has more than [`MAX_JWKS_LEN_BYTES`].
    #[error("bundle document is longer than {MAX_JWKS_LEN_BYTES} bytes")]
    TooLong,
    /// It is not JSON, or not of the right form.
    #[error("unable to parse JWKS")]
    Json(#[source] serde_json::Error),
    /// The member `keys` is missing.
    #[error("no authorities found")]
    NoKeys,
    /// There are more than [`MAX_AUTHORITIES`] keys.
    #[error("more than {MAX_AUTHORITIES} keys")]
    TooManyKeys,
    /// The certificate of a key cannot be read.
    #[error("error adding authority {index} of JWKS")]
    Certificate {
        /// The place of the key in the document.
        index: usize,
        /// What is wrong with the certificate.
        #[source]
        source: X509Error,
    },
    /// A key breaks a rule.
    #[error("error adding authority {index} of JWKS: {problem}")]
    Key {
        /// The place of the key in the document.
        index: usize,
        /// The rule.
        problem: &'static str,
    },
}

fn read_root(jwk: &Jwk, index: usize) -> Result<X509Authority, JwksError> {
    let problem = |problem| JwksError::Key { index, problem };
    let mut certificates = jwk.certificates().map_err(problem)?;
    if certificates.len() != 1 {
        return Err(problem("expected a single certificate in x509-svid entry"));
    }
    let certificate = certificates.remove(0);
    X509Authority::new(CertificateDer::from(certificate))
        .map_err(|source| JwksError::Certificate { index, source })
}

fn read_key(jwk: &Jwk, index: usize) -> Result<JwtAuthority, JwksError> {
    jwt_authority(jwk, index, "missing key ID in jwt-svid entry")
}

/// A JWT authority; `nameless` is what a key without an id is refused with.
pub(super) fn jwt_authority(
    jwk: &Jwk,
    index: usize,
    nameless: &'static str,
) -> Result<JwtAuthority, JwksError> {
    let problem = |problem| JwksError::Key { index, problem };
    let key_id = jwk
        .kid
        .as_deref()
        .filter(|key_id| !key_id.is_empty())
        .ok_or_else(|| problem(nameless))?;
    Ok(JwtAuthority {
        key_id: key_id.into(),
        public_key: jwk.to_public_key().map_err(problem)?,
        expires_at: None,
        tainted: false,
    })
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{KeyType, PrivateKey};

    fn bundle() -> Bundle {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let params = rcgen::CertificateParams::default();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let jwt_key = PrivateKey::generate(KeyType::Rsa2048).unwrap();
        Bundle {
            x509_authorities: vec![X509Authority::new(certificate).unwrap()],
            jwt_authorities: vec![JwtAuthority {
                key_id: "kid1".into(),
                public_key: jwt_key.public_key_der().to_vec(),
                expires_at: None,
                tainted: false,
            }],
            refresh_hint_s: 300,
            sequence: 7,
            ..Bundle::empty(TrustDomain::parse("td").unwrap())
        }
    }

    fn read(json: &str) -> Result<Bundle, JwksError> {
        Bundle::from_spiffe_jwks(&TrustDomain::parse("td").unwrap(), json.as_bytes())
    }

    #[test]
    fn a_bundle_survives() {
        let bundle = bundle();
        let json = bundle.to_spiffe_jwks();
        assert_eq!(read(&json).unwrap(), bundle);
        assert!(json.starts_with("{\n    \"keys\": [\n        {\n            \"use\": \"x509-svid\",\n            \"kty\": \"EC\",\n            \"crv\": \"P-256\",\n"), "{json}");
        assert!(
            json.ends_with(
                "    ],\n    \"spiffe_sequence\": 7,\n    \"spiffe_refresh_hint\": 300\n}"
            ),
            "{json}"
        );
    }

    #[test]
    fn an_empty_bundle_is_written_as_spire_does() {
        let mut bundle = Bundle::empty(TrustDomain::parse("td").unwrap());
        assert_eq!(bundle.to_spiffe_jwks(), "{\n    \"keys\": null\n}");
        bundle.sequence = 3;
        assert_eq!(
            bundle.to_spiffe_jwks(),
            "{\n    \"keys\": null,\n    \"spiffe_sequence\": 3\n}"
        );
        assert_eq!(bundle.jwt_jwks(), b"{\n    \"keys\": []\n}");
    }

    #[test]
    fn the_workload_api_gets_a_plain_key_set() {
        let json: serde_json::Value = serde_json::from_slice(&bundle().jwt_jwks()).unwrap();
        let keys = json["keys"].as_array().unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1);
        assert_eq!(keys.len(), 1);
        let members: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
        assert_eq!(members, ["e", "kid", "kty", "n"]);
    }

    #[test]
    fn keys_of_unknown_use_are_left_out_alone() {
        let json = bundle().to_spiffe_jwks();
        let other = r#"{"use":"new-svid","kty":"new"},{"kty":"EC"},"#;
        let json = json.replacen('[', &format!("[{other}"), 1);
        assert_eq!(read(&json).unwrap(), bundle_of(&json, 2));
    }

    /// The bundle of a document without its first `skipped` keys.
    fn bundle_of(json: &str, skipped: usize) -> Bundle {
        let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
        value["keys"].as_array_mut().unwrap().drain(..skipped);
        read(&value.to_string()).unwrap()
    }

    #[test]
    fn an_empty_list_empties_and_a_missing_one_is_refused() {
        let bundle = read(r#"{"keys":[],"spiffe_sequence":3,"spiffe_refresh_hint":60}"#).unwrap();
        assert!(bundle.x509_authorities.is_empty() && bundle.jwt_authorities.is_empty());
        assert_eq!((bundle.sequence, bundle.refresh_hint_s), (3, 60));
        for json in ["{}", r#"{"keys":null}"#, r#"{"spiffe_sequence":1}"#] {
            assert_eq!(read(json).unwrap_err().to_string(), "no authorities found");
        }
    }

    #[test]
    fn broken_keys_of_a_known_use_are_refused() {
        let check = |keys: &str, expected: &str| {
            let error = read(&format!(r#"{{"keys":[{keys}]}}"#)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{keys}");
        };
        let at = |problem: &str| format!("error adding authority 0 of JWKS: {problem}");
        let single = at("expected a single certificate in x509-svid entry");
        check(r#"{"use":"x509-svid"}"#, &single);
        check(r#"{"use":"x509-svid","x5c":["AA==","AA=="]}"#, &single);
        check(
            r#"{"use":"x509-svid","x5c":["%"]}"#,
            &at("x5c is not base64"),
        );
        check(
            r#"{"use":"x509-svid","x5c":["AA=="]}"#,
            "error adding authority 0 of JWKS",
        );
        let missing = at("missing key ID in jwt-svid entry");
        check(r#"{"use":"jwt-svid","kty":"EC"}"#, &missing);
        check(r#"{"use":"jwt-svid","kty":"EC","kid":""}"#, &missing);
        check(
            r#"{"use":"jwt-svid","kid":"a"}"#,
            &at("unsupported key type"),
        );
        check("1", "unable to parse JWKS");
    }

    #[test]
    fn documents_are_bounded_and_damage_does_not_panic() {
        let json = bundle().to_spiffe_jwks();
        for len in 0..json.len() {
            assert!(read(&json[..len]).is_err(), "{len}");
        }
        for index in 0..json.len() {
            let mut damaged = json.clone().into_bytes();
            damaged[index] ^= 4;
            Bundle::from_spiffe_jwks(&TrustDomain::parse("td").unwrap(), &damaged).ok();
        }
        let keys = vec!["{}"; MAX_AUTHORITIES + 1].join(",");
        let error = read(&format!(r#"{{"keys":[{keys}]}}"#)).unwrap_err();
        assert!(matches!(error, JwksError::TooManyKeys));
        let long = " ".repeat(MAX_JWKS_LEN_BYTES + 1);
        assert!(matches!(read(&long), Err(JwksError::TooLong)));
    }

    #[test]
    fn the_last_key_of_an_id_counts() {
        let [one, two] = [KeyType::EcP256, KeyType::EcP384].map(|key_type| {
            let key = PrivateKey::generate(key_type).unwrap();
            let mut jwk = Jwk::from_public_key(key.public_key_der()).unwrap();
            jwk.usage = Some(JWT_SVID.into());
            jwk.kid = Some("same".into());
            (serde_json::to_string(&jwk).unwrap(), key)
        });
        let bundle = read(&format!(r#"{{"keys":[{},{}]}}"#, one.0, two.0)).unwrap();
        assert_eq!(bundle.jwt_authorities.len(), 1);
        assert_eq!(bundle.jwt_authorities[0].public_key, two.1.public_key_der());
    }
}
