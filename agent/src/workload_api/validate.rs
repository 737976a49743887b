//! ValidateJWTSVID: the claims of a token that verifies, as a protobuf struct.

use std::collections::BTreeSet;

use identity::trust_domain::TrustDomain;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Value as Json};

/// Claims that are always shown.
const STANDARD: [&str; 3] = ["sub", "exp", "aud"];

/// Which claims of tokens of foreign trust domains are shown, beside the standard ones.
#[derive(Clone, Debug, Default)]
pub(super) struct ForeignClaims(BTreeSet<String>);

impl ForeignClaims {
    pub(super) fn new(allowed: impl IntoIterator<Item = String>) -> Self {
        Self(allowed.into_iter().collect())
    }

    /// Leaves out what a token of `issuer` may not tell in `own`.
    pub(super) fn filter(
        &self,
        claims: Map<String, Json>,
        issuer: &TrustDomain,
        own: &TrustDomain,
    ) -> Map<String, Json> {
        if issuer == own {
            return claims;
        }
        let shown = |name: &str| STANDARD.contains(&name) || self.0.contains(name);
        claims.into_iter().filter(|(name, _)| shown(name)).collect()
    }
}

/// The claims as a message; the audience is always a list.
pub(super) fn to_struct(claims: Map<String, Json>) -> Struct {
    let fields = claims.into_iter().map(|(name, value)| {
        let value = match value {
            Json::String(one) if name == "aud" => Json::Array(vec![Json::String(one)]),
            other => other,
        };
        (name, to_value(value))
    });
    Struct {
        fields: fields.collect(),
    }
}

fn to_value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        // A protobuf struct knows no other numbers.
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Json::String(value) => Kind::StringValue(value),
        Json::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(to_value).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .into_iter()
                .map(|(name, value)| (name, to_value(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(json: Json) -> Map<String, Json> {
        match json {
            Json::Object(object) => object,
            other => panic!("not an object: {other}"),
        }
    }

    #[test]
    fn audience_is_a_list_and_numbers_are_numbers() {
        let message = to_struct(object(
            json!({"aud": "one", "exp": 7, "deep": {"x": [null]}}),
        ));
        let kind = |name: &str| message.fields[name].kind.clone().unwrap();
        let Kind::ListValue(audience) = kind("aud") else {
            panic!("not a list");
        };
        assert_eq!(
            audience.values[0].kind,
            Some(Kind::StringValue("one".to_owned()))
        );
        assert_eq!(kind("exp"), Kind::NumberValue(7.0));
        assert!(matches!(kind("deep"), Kind::StructValue(_)));
    }

    #[test]
    fn foreign_tokens_show_standard_and_allowed_claims() {
        let own = TrustDomain::parse("example.org").unwrap();
        let foreign = TrustDomain::parse("partner.example").unwrap();
        let claims = object(json!({"sub": "a", "exp": 1, "aud": [], "iat": 1, "role": "r"}));
        let allowed = ForeignClaims::new(["role".to_owned()]);
        assert_eq!(allowed.filter(claims.clone(), &own, &own), claims);
        let shown = allowed.filter(claims, &foreign, &own);
        let names: Vec<&str> = shown.keys().map(String::as_str).collect();
        assert_eq!(names, ["aud", "exp", "role", "sub"]);
    }
}
