//! The JSON documents that `-data` and `-file` name.
//!
//! Their keys are those of SPIRE's; an unknown key is passed over and `null` stands for an absent value, as files in
//! use rely on.

use anyhow::Context as _;
use proto::spire::api::types::{Entry, Selector, entry::AdditionalAttributes};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::cli::shared_flags::spiffe_id;

/// The entries of `{"entries":[…]}`.
pub(super) fn entries(document: &[u8]) -> anyhow::Result<Vec<Entry>> {
    let document: EntriesDocument = parse(document)?;
    document
        .entries
        .into_iter()
        .map(EntryDocument::into_entry)
        .collect()
}

/// The ids of `{"ids":[…]}`.
pub(super) fn ids(document: &[u8]) -> anyhow::Result<Vec<String>> {
    let document: IdsDocument = parse(document)?;
    Ok(document.ids)
}

fn parse<T: DeserializeOwned>(document: &[u8]) -> anyhow::Result<T> {
    let document: Map<String, Value> = serde_json::from_slice(document).map_err(|error| {
        if error.is_eof() {
            anyhow::Error::msg("unexpected end of JSON input")
        } else {
            anyhow::Error::new(error).context("cannot read the JSON document")
        }
    })?;
    // Read as an object first: a list would pass for the fields of a struct in their order.
    serde_json::from_value(Value::Object(document)).context("cannot read the JSON document")
}

#[derive(Deserialize)]
struct EntriesDocument {
    #[serde(default, deserialize_with = "null_is_absent")]
    entries: Vec<EntryDocument>,
}

#[derive(Deserialize)]
struct IdsDocument {
    #[serde(default, deserialize_with = "null_is_absent")]
    ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct EntryDocument {
    #[serde(deserialize_with = "null_is_absent")]
    entry_id: String,
    #[serde(deserialize_with = "null_is_absent")]
    parent_id: String,
    #[serde(deserialize_with = "null_is_absent")]
    spiffe_id: String,
    #[serde(deserialize_with = "null_is_absent")]
    selectors: Vec<SelectorDocument>,
    #[serde(alias = "ttl", deserialize_with = "null_is_absent")]
    x509_svid_ttl: i32,
    #[serde(deserialize_with = "null_is_absent")]
    jwt_svid_ttl: i32,
    #[serde(deserialize_with = "null_is_absent")]
    federates_with: Vec<String>,
    #[serde(deserialize_with = "null_is_absent")]
    admin: bool,
    #[serde(deserialize_with = "null_is_absent")]
    downstream: bool,
    #[serde(rename = "entryExpiry", deserialize_with = "null_is_absent")]
    entry_expiry: i64,
    #[serde(deserialize_with = "null_is_absent")]
    dns_names: Vec<String>,
    #[serde(deserialize_with = "null_is_absent")]
    revision_number: i64,
    #[serde(deserialize_with = "null_is_absent")]
    store_svid: bool,
    #[serde(deserialize_with = "null_is_absent")]
    hint: String,
    #[serde(deserialize_with = "null_is_absent")]
    created_at: i64,
    additional_attributes: Option<AttributesDocument>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SelectorDocument {
    r#type: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AttributesDocument {
    disable_x509_svid_prefetch: bool,
    jwt_svid_include_jti: bool,
}

impl EntryDocument {
    fn into_entry(self) -> anyhow::Result<Entry> {
        let attributes = self.additional_attributes;
        Ok(Entry {
            spiffe_id: Some(
                spiffe_id(&self.spiffe_id)
                    .with_context(|| format!("spiffe_id {:?}", self.spiffe_id))?,
            ),
            parent_id: Some(
                spiffe_id(&self.parent_id)
                    .with_context(|| format!("parent_id {:?}", self.parent_id))?,
            ),
            id: self.entry_id,
            selectors: self.selectors.into_iter().map(Selector::from).collect(),
            x509_svid_ttl: self.x509_svid_ttl,
            jwt_svid_ttl: self.jwt_svid_ttl,
            federates_with: self.federates_with,
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.entry_expiry,
            dns_names: self.dns_names,
            revision_number: self.revision_number,
            store_svid: self.store_svid,
            hint: self.hint,
            created_at: self.created_at,
            additional_attributes: attributes.map(|attributes| AdditionalAttributes {
                disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
                jwt_svid_include_jti: attributes.jwt_svid_include_jti,
            }),
        })
    }
}

impl From<SelectorDocument> for Selector {
    fn from(selector: SelectorDocument) -> Self {
        Self {
            r#type: selector.r#type,
            value: selector.value,
        }
    }
}

fn null_is_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_with_every_key() {
        let entries = entries(
            br#"{"entries":[{"entry_id":"e","spiffe_id":"spiffe://a.test/b","parent_id":"spiffe://a.test/c",
            "selectors":[{"type":"unix","value":"uid:1"}],"x509_svid_ttl":200,"jwt_svid_ttl":30,
            "federates_with":["spiffe://b.test"],"admin":true,"downstream":true,"entryExpiry":4102444800,
            "dns_names":null,"store_svid":true,"hint":"h","unknown":1,
            "additional_attributes":{"jwt_svid_include_jti":true}}]}"#,
        )
        .unwrap();
        let [entry] = entries.as_slice() else {
            panic!("one entry");
        };
        assert_eq!(entry.id, "e");
        assert_eq!(entry.spiffe_id.as_ref().unwrap().path, "/b");
        assert_eq!(entry.parent_id.as_ref().unwrap().trust_domain, "a.test");
        assert_eq!(entry.selectors[0].value, "uid:1");
        assert_eq!((entry.x509_svid_ttl, entry.jwt_svid_ttl), (200, 30));
        assert_eq!(entry.federates_with, ["spiffe://b.test"]);
        assert!(entry.admin && entry.downstream && entry.store_svid);
        assert_eq!(entry.expires_at, 4_102_444_800);
        assert!(entry.dns_names.is_empty());
        assert!(entry.additional_attributes.unwrap().jwt_svid_include_jti);
    }

    #[test]
    fn the_older_ttl_key_is_the_x509_lifetime() {
        let document =
            br#"{"entries":[{"spiffe_id":"spiffe://a/b","parent_id":"spiffe://a/c","ttl":9}]}"#;
        assert_eq!(entries(document).unwrap()[0].x509_svid_ttl, 9);
    }

    #[test]
    fn a_cut_document_is_told_as_such() {
        let error = entries(b"{\"entries\": ").unwrap_err();
        assert_eq!(error.to_string(), "unexpected end of JSON input");
    }

    #[test]
    fn ids_must_be_in_an_object() {
        assert_eq!(ids(br#"{"ids":["a","b"]}"#).unwrap(), ["a", "b"]);
        let error = ids(br#"["a"]"#).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "cannot read the JSON document: invalid type: sequence, expected a map at line 1 column 0"
        );
    }
}
