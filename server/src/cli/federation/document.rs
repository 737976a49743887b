//! The JSON document that `-data` names.
//!
//! As in SPIRE, keys are known in capitals and small letters, an unknown one is passed over, and
//! `null` stands for an absent value.

use anyhow::{Context as _, bail};
use identity::trust_domain::TrustDomain;
use proto::spire::api::types::{Bundle, FederationRelationship};
use serde_json::{Map, Value};

use super::description::{Description, read_bundle};
use crate::cli::bundle::BundleFormat;

/// The relationships of `{"federationRelationships":[…]}`.
pub(super) fn relationships(document: &[u8]) -> anyhow::Result<Vec<FederationRelationship>> {
    let document: Map<String, Value> =
        serde_json::from_slice(document).context("failed to parse JSON")?;
    let items = match member(&document, "federationRelationships") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => bail!("failed to parse JSON: federationRelationships must be a list"),
    };
    let items = items.iter().enumerate();
    let parsed = items.map(|(index, item)| {
        relationship(item).with_context(|| format!("could not parse item {index}"))
    });
    parsed.collect()
}

fn relationship(item: &Value) -> anyhow::Result<FederationRelationship> {
    let item = item.as_object().context("it must be an object")?;
    let description = Description {
        trust_domain: text(item, "trustDomain")?,
        url: text(item, "bundleEndpointURL")?,
        profile: text(item, "bundleEndpointProfile")?,
        endpoint_spiffe_id: text(item, "endpointSPIFFEID")?,
    };
    description.into_relationship(|publisher| {
        let given = member(item, "trustDomainBundle");
        let bundle = given.map(|given| bundle(item, given, publisher));
        bundle
            .transpose()
            .context("cannot parse bundle raw message")
    })
}

fn bundle(
    item: &Map<String, Value>,
    given: &Value,
    publisher: &TrustDomain,
) -> anyhow::Result<Bundle> {
    match text(item, "trustDomainBundleFormat")?.as_str() {
        "pem" => {
            let pem = given
                .as_str()
                .context("a bundle of format pem must be a text")?;
            read_bundle(BundleFormat::Pem, publisher, pem.as_bytes())
        }
        "spiffe" => {
            let document = given.to_string();
            read_bundle(BundleFormat::Spiffe, publisher, document.as_bytes())
        }
        unknown => bail!("bundle format {unknown:?} is unsupported"),
    }
}

fn text(item: &Map<String, Value>, key: &str) -> anyhow::Result<String> {
    match member(item, key) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => bail!("{key} must be a text"),
    }
}

fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let found = object
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(key));
    found
        .map(|(_, value)| value)
        .filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use identity::secret::{KeyType, PrivateKey};
    use proto::spire::api::types::federation_relationship::BundleEndpointProfile;
    use serde_json::json;

    use super::*;

    fn read(document: &Value) -> anyhow::Result<Vec<FederationRelationship>> {
        relationships(document.to_string().as_bytes())
    }

    fn pem() -> String {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let params = rcgen::CertificateParams::default();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        identity::pem::encode_certificates([&certificate])
    }

    #[test]
    fn relationships_are_read_with_every_key() {
        let read = read(&json!({"federationRelationships": [
            {"trustDomain": "a.test", "bundleEndpointURL": "https://a.test/b",
             "bundleEndpointProfile": "https_web", "unknown": 1, "trustDomainBundle": null},
            {"trustDomain": "b.test", "bundleEndpointURL": "https://b.test/",
             "bundleEndpointProfile": "https_spiffe", "endpointSpiffeID": "spiffe://b.test/e",
             "trustDomainBundle": pem(), "trustDomainBundleFormat": "pem"},
            {"trustDomain": "c.test", "bundleEndpointURL": "https://c.test/",
             "bundleEndpointProfile": "https_spiffe", "endpointSPIFFEID": "spiffe://other.test/e",
             "trustDomainBundle": {"keys": []}, "trustDomainBundleFormat": "spiffe"},
        ]}))
        .unwrap();
        let [web, spiffe, third] = read.as_slice() else {
            panic!("three: {read:?}");
        };
        assert_eq!(web.bundle_endpoint_url, "https://a.test/b");
        assert!(matches!(
            web.bundle_endpoint_profile,
            Some(BundleEndpointProfile::HttpsWeb(_))
        ));
        assert_eq!(web.trust_domain_bundle, None);
        let bundle = spiffe.trust_domain_bundle.as_ref().unwrap();
        assert_eq!(bundle.trust_domain, "b.test");
        assert_eq!(bundle.x509_authorities.len(), 1);
        let Some(BundleEndpointProfile::HttpsSpiffe(profile)) = &spiffe.bundle_endpoint_profile
        else {
            panic!("{spiffe:?}");
        };
        assert_eq!(profile.endpoint_spiffe_id, "spiffe://b.test/e");
        // Whose bundle it is follows from the endpoint; the server judges what that means.
        let bundle = third.trust_domain_bundle.as_ref().unwrap();
        assert_eq!(bundle.trust_domain, "other.test");
    }

    #[test]
    fn broken_documents_are_told_with_the_item() {
        let check = |document: &Value, expected: &str| {
            assert_eq!(format!("{:#}", read(document).unwrap_err()), expected);
        };
        let one = |item: Value| json!({"federationRelationships": [item]});
        assert!(read(&json!({})).unwrap().is_empty());
        check(
            &one(json!({})),
            "could not parse item 0: trust domain is required",
        );
        check(
            &one(json!({"trustDomain": 1})),
            "could not parse item 0: trustDomain must be a text",
        );
        check(
            &one(
                json!({"trustDomain": "a", "bundleEndpointURL": "https://a/",
                "bundleEndpointProfile": "https_spiffe"}),
            ),
            "could not parse item 0: endpoint SPIFFE ID is required if 'https_spiffe' endpoint \
             profile is set",
        );
        check(
            &one(
                json!({"trustDomain": "a", "bundleEndpointURL": "https://a/",
                "bundleEndpointProfile": "https_web", "trustDomainBundle": "x"}),
            ),
            "could not parse item 0: cannot parse bundle raw message: bundle format \"\" is \
             unsupported",
        );
        check(
            &json!({"federationRelationships": 1}),
            "failed to parse JSON: federationRelationships must be a list",
        );
        assert!(relationships(b"[]").is_err());
    }
}
