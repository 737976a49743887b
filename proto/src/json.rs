//! Messages as the one-line JSON that the command lines print with `-output json`.
//!
//! The form is that of protobuf's JSON mapping with the names of the `.proto` files: keys are
//! sorted; scalars, enums, lists and maps are printed even when unset, messages only when set;
//! 64-bit integers are strings, bytes are base64, enums go by name. As in Go's encoder `<`, `>`, `&`
//! and the two Unicode line separators are escaped, so that output compares byte for byte.

use prost::Name;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::descriptors;

/// Why a message has no JSON form.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No message of that name is part of the contracts.
    #[error("unknown message {0:?}")]
    UnknownMessage(String),
    /// The bytes are not a message of that name.
    #[error("malformed {name}")]
    Malformed {
        /// The full name of the message.
        name: String,
        /// Where decoding failed.
        #[source]
        source: prost::DecodeError,
    },
    /// A value that JSON cannot hold, such as a time outside of its range.
    #[error("unrepresentable value")]
    Unrepresentable(#[source] serde_json::Error),
}

/// Renders the encoded message of the given full name, without a newline at the end.
pub fn render(full_name: &str, encoded: &[u8]) -> Result<String, JsonError> {
    Ok(one_line(&value(full_name, encoded)?))
}

/// Renders a message, without a newline at the end.
pub fn render_message<M: Name>(message: &M) -> Result<String, JsonError> {
    render(&M::full_name(), &message.encode_to_vec())
}

/// The JSON form of a message as a value, for output that is put together from several.
pub fn message_value<M: Name>(message: &M) -> Result<Value, JsonError> {
    value(&M::full_name(), &message.encode_to_vec())
}

/// A JSON value on one line with sorted keys, without a newline at the end.
pub fn one_line(value: &Value) -> String {
    let mut line = String::new();
    // The five characters occur within strings only, where an escape means the same.
    for character in value.to_string().chars() {
        match character {
            '<' => line.push_str("\\u003c"),
            '>' => line.push_str("\\u003e"),
            '&' => line.push_str("\\u0026"),
            '\u{2028}' => line.push_str("\\u2028"),
            '\u{2029}' => line.push_str("\\u2029"),
            other => line.push(other),
        }
    }
    line
}

fn value(full_name: &str, encoded: &[u8]) -> Result<Value, JsonError> {
    let descriptor = descriptors::pool()
        .get_message_by_name(full_name)
        .ok_or_else(|| JsonError::UnknownMessage(full_name.to_owned()))?;
    let message =
        DynamicMessage::decode(descriptor, encoded).map_err(|source| JsonError::Malformed {
            name: full_name.to_owned(),
            source,
        })?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(JsonError::Unrepresentable)?;
    Ok(normalized(value))
}

/// Turns whole floats, which all whole numbers of a `Struct` are, into whole numbers, and leaves out
/// fields that are null.
fn normalized(value: Value) -> Value {
    match value {
        Value::Number(number) => number
            .as_f64()
            .filter(|_| number.is_f64())
            .and_then(whole)
            .map_or(Value::Number(number), Value::from),
        Value::Array(items) => items.into_iter().map(normalized).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, normalized(value)))
            .collect(),
        other => other,
    }
}

fn whole(number: f64) -> Option<i64> {
    /// From here on not every whole number is a float.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < LIMIT)
        .then(|| format!("{number:.0}").parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::{JsonError, render, render_message};
    use crate::spire::api::server::{agent, bundle, entry};
    use crate::spire::api::types;
    use crate::workload;

    fn check(message: &impl prost::Name, expected: &str) {
        assert_eq!(render_message(message).unwrap(), expected);
    }

    fn spiffe_id(path: &str) -> Option<types::Spiffeid> {
        Some(types::Spiffeid {
            trust_domain: "example.org".to_owned(),
            path: path.to_owned(),
        })
    }

    fn selector(r#type: &str, value: &str) -> types::Selector {
        types::Selector {
            r#type: r#type.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn empty_list_is_printed_with_its_unset_fields() {
        check(
            &entry::v1::ListEntriesResponse::default(),
            r#"{"entries":[],"next_page_token":""}"#,
        );
    }

    #[test]
    fn unset_scalars_are_printed_and_unset_messages_are_not() {
        check(
            &entry::v1::BatchCreateEntryResponse {
                results: vec![entry::v1::batch_create_entry_response::Result {
                    status: Some(types::Status {
                        code: 0,
                        message: "OK".to_owned(),
                    }),
                    entry: Some(types::Entry {
                        id: "one".to_owned(),
                        spiffe_id: spiffe_id("/api"),
                        parent_id: spiffe_id("/host"),
                        selectors: vec![selector("unix", "uid:1001")],
                        x509_svid_ttl: 600,
                        jwt_svid_ttl: 60,
                        dns_names: vec![
                            "api.example.org".to_owned(),
                            "api2.example.org".to_owned(),
                        ],
                        hint: "h1".to_owned(),
                        created_at: 1_700_000_000,
                        ..Default::default()
                    }),
                }],
            },
            concat!(
                r#"{"results":[{"entry":{"admin":false,"created_at":"1700000000","#,
                r#""dns_names":["api.example.org","api2.example.org"],"downstream":false,"#,
                r#""expires_at":"0","federates_with":[],"hint":"h1","id":"one","jwt_svid_ttl":60,"#,
                r#""parent_id":{"path":"/host","trust_domain":"example.org"},"#,
                r#""revision_number":"0","selectors":[{"type":"unix","value":"uid:1001"}],"#,
                r#""spiffe_id":{"path":"/api","trust_domain":"example.org"},"#,
                r#""store_svid":false,"x509_svid_ttl":600},"status":{"code":0,"message":"OK"}}]}"#,
            ),
        );
    }

    #[test]
    fn status_code_of_a_failed_item_stays_a_number() {
        check(
            &types::Status {
                code: 6,
                message: "similar entry already exists".to_owned(),
            },
            r#"{"code":6,"message":"similar entry already exists"}"#,
        );
    }

    #[test]
    fn enums_go_by_name_and_unknown_ones_by_number() {
        check(
            &bundle::v1::BatchDeleteFederatedBundleRequest {
                mode: 2,
                ..Default::default()
            },
            r#"{"mode":"DISSOCIATE","trust_domains":[]}"#,
        );
        check(
            &types::Logger {
                current_level: 99,
                launch_level: 5,
            },
            r#"{"current_level":99,"launch_level":"INFO"}"#,
        );
    }

    #[test]
    fn bytes_are_padded_base64_and_maps_are_printed_when_empty() {
        check(
            &workload::X509svidResponse {
                svids: vec![workload::X509svid {
                    x509_svid: vec![0xfb, 0xff],
                    ..Default::default()
                }],
                ..Default::default()
            },
            concat!(
                r#"{"crl":[],"federated_bundles":{},"svids":[{"bundle":"","hint":"","#,
                r#""spiffe_id":"","x509_svid":"+/8=","x509_svid_key":""}]}"#,
            ),
        );
    }

    #[test]
    fn only_the_chosen_variant_of_a_oneof_is_printed() {
        check(
            &types::FederationRelationship {
                trust_domain: "other.test".to_owned(),
                bundle_endpoint_profile: Some(
                    types::federation_relationship::BundleEndpointProfile::HttpsWeb(
                        types::HttpsWebProfile {},
                    ),
                ),
                ..Default::default()
            },
            r#"{"bundle_endpoint_url":"","https_web":{},"trust_domain":"other.test"}"#,
        );
    }

    #[test]
    fn wrapped_values_and_absent_wrappers_follow_the_mapping() {
        check(
            &agent::v1::list_agents_request::Filter {
                by_banned: Some(false),
                ..Default::default()
            },
            r#"{"by_attestation_type":"","by_banned":false,"by_expires_before":""}"#,
        );
    }

    #[test]
    fn characters_that_go_escapes_are_escaped() {
        check(
            &types::Status {
                code: 0,
                message: "<a> & \u{2028}".to_owned(),
            },
            r#"{"code":0,"message":"\u003ca\u003e \u0026 \u2028"}"#,
        );
    }

    #[test]
    fn claims_are_printed_as_json_with_whole_numbers() {
        use prost_types::value::Kind;
        let field = |name: &str, kind| {
            let value = prost_types::Value { kind: Some(kind) };
            (name.to_owned(), value)
        };
        let claims = prost_types::Struct {
            fields: [
                field("aud", Kind::StringValue("a".to_owned())),
                field("exp", Kind::NumberValue(1_700_000_000.0)),
                field("half", Kind::NumberValue(-0.5)),
                field("none", Kind::NullValue(0)),
            ]
            .into(),
        };
        check(
            &workload::ValidateJwtsvidResponse {
                spiffe_id: "spiffe://example.org/web".to_owned(),
                claims: Some(claims),
            },
            concat!(
                r#"{"claims":{"aud":"a","exp":1700000000,"half":-0.5},"#,
                r#""spiffe_id":"spiffe://example.org/web"}"#,
            ),
        );
    }

    #[test]
    fn unknown_names_and_malformed_bytes_are_refused() {
        assert!(matches!(
            render("no.such.Message", b""),
            Err(JsonError::UnknownMessage(name)) if name == "no.such.Message"
        ));
        assert!(matches!(
            render("spire.api.types.Status", b"\xff"),
            Err(JsonError::Malformed { name, .. }) if name == "spire.api.types.Status"
        ));
    }
}
