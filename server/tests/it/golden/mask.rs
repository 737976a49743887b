//! Replaces in an answer what differs from run to run by what it is.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use identity::clock::{Clock as _, SystemClock};
use identity::secret::{KeyType, PrivateKey};
use identity::x509::split_certificates;
use regex::Regex;
use serde_json::{Map, Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::certificate::{from_now, key_type_name, profile};

const YEAR_S: i64 = 366 * 86_400;

static UUID: LazyLock<Regex> =
    LazyLock::new(|| pattern("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"));
static BIG_NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[0-9]{25,}\b"));
static HEX: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[0-9a-f]{40,}\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant")
}

/// What a script knows by name, and how its answers are masked.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    /// Values that the script kept.
    pub(crate) kept: BTreeMap<String, String>,
    /// The paths of its agents' SPIFFE IDs.
    pub(crate) agents: BTreeMap<String, String>,
    /// Profiles of certificates that are left out of chains.
    pub(crate) dropped_certificates: Vec<String>,
}

impl Mask {
    /// Masks a value that stands in the field `key`.
    pub(crate) fn value(&self, key: &str, value: Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(key, value)| {
                        let masked = self.value(&key, value);
                        (key, masked)
                    })
                    .collect(),
            ),
            Value::Array(items) => self.list(key, items),
            Value::String(text) => self.text(key, &text),
            Value::Number(number) => masked_number(key, &number),
            other => other,
        }
    }

    /// Masks a text that stands alone.
    pub(crate) fn message(&self, text: &str) -> String {
        match self.text("", text) {
            Value::String(masked) => masked,
            other => other.to_string(),
        }
    }

    fn list(&self, key: &str, items: Vec<Value>) -> Value {
        let mut items: Vec<_> = items
            .into_iter()
            .map(|item| self.value(key, item))
            .collect();
        if key == "selectors" || key == "federatesWith" {
            items.sort_by_cached_key(Value::to_string);
        }
        self.drop_certificates(key, &mut items);
        Value::Array(items)
    }

    /// Leaves out of a chain what ours have behind the first certificate.
    fn drop_certificates(&self, key: &str, items: &mut Vec<Value>) {
        if !matches!(key, "certChain" | "caCertChain" | "x509Svid") {
            return;
        }
        let mut is_first = true;
        items.retain(|item| {
            let is_dropped = only_text(item)
                .is_some_and(|text| self.dropped_certificates.iter().any(|one| one == text));
            std::mem::take(&mut is_first) || !is_dropped
        });
    }

    fn text(&self, key: &str, text: &str) -> Value {
        let text = self.names_instead_of_values(text);
        if text.contains("${") {
            return text.into();
        }
        if key != "asn1"
            && HEX
                .find(&text)
                .is_some_and(|found| found.len() == text.len())
        {
            return "<hex>".into();
        }
        if let Some(masked) = masked_digits(&text) {
            return masked.into();
        }
        if text.starts_with("eyJ") && text.matches('.').count() == 2 {
            return self.token(&text);
        }
        if let Some(masked) = self.bytes(key, &text) {
            return masked;
        }
        let text = UUID.replace_all(&text, "<uuid>");
        let text = BIG_NUMBER.replace_all(&text, "<number>");
        let text = HEX.replace_all(&text, "<hex>");
        match key {
            "x" | "y" => "<coordinate>".into(),
            "kid" | "keyId" | "authorityId" | "upstreamAuthoritySubjectKeyId" => {
                format!("<{key}>").into()
            }
            // A row's place depends on what else there is, members for example.
            "nextPageToken" if text.starts_with("c1-") => "c1-N".into(),
            _ => text.into_owned().into(),
        }
    }

    fn names_instead_of_values(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in self.kept.iter().filter(|(_, value)| value.len() > 7) {
            text = text.replace(value, &format!("${{{name}}}"));
        }
        for (name, path) in &self.agents {
            text = text.replace(path, &format!("${{agent:{name}}}"));
        }
        text
    }

    fn token(&self, token: &str) -> Value {
        let mut parts = token.split('.').map(|part| {
            let decoded = BASE64_URL_SAFE_NO_PAD.decode(part).ok();
            let Some(Ok(mut value)) = decoded.map(|bytes| serde_json::from_slice::<Value>(&bytes))
            else {
                return Value::from("<undecodable>");
            };
            if let Some(id) = value.get_mut("jti") {
                *id = "<jti>".into();
            }
            self.value("", value)
        });
        let mut shown = Map::new();
        shown.insert("<jwt header>".to_owned(), parts.next().unwrap_or_default());
        shown.insert("<jwt claims>".to_owned(), parts.next().unwrap_or_default());
        Value::Object(shown)
    }

    /// What base64 text holds; `None` if it is not that, or too short to be anything.
    fn bytes(&self, key: &str, text: &str) -> Option<Value> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        if bytes.len() <= 24 {
            return None;
        }
        if let Ok(certificates) = split_certificates(&bytes) {
            let mut profiles: Vec<Value> = certificates
                .iter()
                .map(|der| {
                    profile(der, |uri| self.message(uri)).unwrap_or_else(|error| error.to_string())
                })
                .map(Value::from)
                .collect();
            self.drop_certificates(key, &mut profiles);
            return Some(profiles.into());
        }
        if let Ok(key) = PrivateKey::from_pkcs8(&bytes) {
            let kind = match key.key_type() {
                KeyType::EcP256 | KeyType::EcP384 => "ecdsa",
                KeyType::Rsa2048 | KeyType::Rsa4096 => "rsa",
            };
            return Some(format!("<PKCS#8 *{kind}.PrivateKey>").into());
        }
        if let Ok(([], key)) = SubjectPublicKeyInfo::from_der(&bytes) {
            let name = key_type_name(&key.algorithm.algorithm.to_id_string());
            return Some(format!("<PKIX *{name}>").into());
        }
        if let Ok(inner) = serde_json::from_slice::<Value>(&bytes) {
            return Some(json!({"<json>": self.value(key, inner)}));
        }
        Some("<bytes>".into())
    }
}

/// The text of a text, or of a list that holds nothing else.
fn only_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => match items.as_slice() {
            [Value::String(text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn masked_digits(text: &str) -> Option<String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match text.len() {
        10 => {
            let seconds: i64 = text.parse().ok()?;
            let left_s = seconds - SystemClock.now().as_secs();
            Some(if left_s > YEAR_S {
                text.to_owned()
            } else {
                format!("<{}>", from_now(left_s))
            })
        }
        15.. => Some("<number>".to_owned()),
        _ => None,
    }
}

fn masked_number(key: &str, number: &serde_json::Number) -> Value {
    if key == "uptime" {
        return "<seconds>".into();
    }
    // A number of a Struct is a float on the wire, and Go prints a whole one without a fraction.
    match number.as_i64().or_else(|| whole(number.as_f64()?)) {
        Some(seconds) if (1_000_000_001..10_000_000_000).contains(&seconds) => {
            format!("<{}>", from_now(seconds - SystemClock.now().as_secs())).into()
        }
        Some(whole) => whole.into(),
        None => Value::Number(number.clone()),
    }
}

fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0)
        .then(|| format!("{number:.0}").parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::material::{base64, public_key};

    fn check(key: &str, value: Value, expected: Value) {
        let mut mask = Mask::default();
        mask.kept
            .insert("web".to_owned(), "0b6ba4c1-kept".to_owned());
        mask.agents
            .insert("A".to_owned(), "/spire/agent/join_token/a1".to_owned());
        assert_eq!(mask.value(key, value), expected);
    }

    #[test]
    fn names_stand_for_values_that_the_script_knows() {
        check("id", json!("0b6ba4c1-kept"), json!("${web}"));
        check(
            "path",
            json!("/spire/agent/join_token/a1"),
            json!("${agent:A}"),
        );
    }

    #[test]
    fn varying_texts_are_told_by_kind() {
        check(
            "id",
            json!("e8c1e7f4-0000-4000-8000-00a0c91e6bf6"),
            json!("<uuid>"),
        );
        check(
            "x509svidSerialNumber",
            json!("1".repeat(38)),
            json!("<number>"),
        );
        check(
            "message",
            json!(format!("a {} b", "1".repeat(38))),
            json!("a <number> b"),
        );
        check("id", json!("a".repeat(40)), json!("<hex>"));
        check("kid", json!("abc"), json!("<kid>"));
        check("x", json!("abc"), json!("<coordinate>"));
        check(
            "publicKey",
            json!(base64(&public_key().unwrap())),
            json!("<PKIX *ecdsa.PublicKey>"),
        );
        check("value", json!("uid:1000"), json!("uid:1000"));
        check("nextPageToken", json!("c1-2f"), json!("c1-N"));
        check("nextPageToken", json!(""), json!(""));
    }

    #[test]
    fn times_are_told_from_now_unless_they_are_far() {
        let soon = SystemClock.now().as_secs() + 600;
        check("expiresAt", json!(soon.to_string()), json!("<now+10m>"));
        check("expiresAt", json!("4102444800"), json!("4102444800"));
        let float = f64::from(u32::try_from(soon).unwrap());
        check("exp", json!(float), json!("<now+10m>"));
        check("count", json!(7.0), json!(7));
    }

    #[test]
    fn tokens_are_shown_by_header_and_claims() {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!(
            "{}.{}.sig",
            part(json!({"alg":"ES256","kid":"k"})),
            part(json!({"aud":["a"],"jti":"x"}))
        );
        check(
            "svid",
            json!(token),
            json!({"<jwt header>":{"alg":"ES256","kid":"<kid>"},"<jwt claims>":{"aud":["a"],"jti":"<jti>"}}),
        );
    }

    #[test]
    fn lists_without_an_order_are_sorted() {
        check("federatesWith", json!(["b", "a"]), json!(["a", "b"]));
        check("dnsNames", json!(["b", "a"]), json!(["b", "a"]));
    }

    #[test]
    fn listed_certificate_is_left_out_of_chains_only() {
        let mask = Mask {
            dropped_certificates: vec!["x509 ca mid".to_owned()],
            ..Mask::default()
        };
        let chain = json!([["x509 leaf a"], ["x509 ca mid"]]);
        assert_eq!(mask.value("certChain", chain), json!([["x509 leaf a"]]));
        let bundle = json!([["x509 ca mid"]]);
        assert_eq!(mask.value("x509Authorities", bundle.clone()), bundle);
    }
}
