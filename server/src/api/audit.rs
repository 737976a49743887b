//! Owns what the audit log tells of requests: SPIRE's names of their fields.

use std::iter::zip;

use proto::spire::api::server::entry::v1 as entry_wire;
use proto::spire::api::server::svid::v1 as svid_wire;
use proto::spire::api::types;
use proto::spire::api::types::federation_relationship::BundleEndpointProfile;
use serde_json::Value;
use tonic::{Code, Request};

use crate::endpoints::audit::Fields;
pub(super) use crate::endpoints::audit::{AuditTrail, hashed, trail};

/// An id as it was sent; what is none, the answer says.
pub(super) fn id_text(id: Option<&types::Spiffeid>) -> Option<String> {
    let id = id?;
    let domain = id.trust_domain.trim_start_matches("spiffe://");
    Some(format!("spiffe://{domain}{}", id.path))
}

/// Adds what a call asks for to its line.
pub(super) fn note<T, const N: usize>(
    request: &Request<T>,
    asked: impl FnOnce(&T) -> [(&'static str, Value); N],
) {
    if let Some(trail) = trail(request) {
        for (name, value) in asked(request.get_ref()) {
            let is_empty = value.is_null() || value.as_str().is_some_and(str::is_empty);
            if !is_empty {
                trail.note(name, value);
            }
        }
    }
}

/// Tells of each item of a batch, with what was asked for.
pub(super) fn items<'a, T: 'a>(
    trail: Option<&AuditTrail>,
    asked: impl IntoIterator<Item = &'a T>,
    statuses: impl IntoIterator<Item = Option<&'a types::Status>>,
    fields: impl Fn(&T) -> Fields,
) {
    let Some(trail) = trail else {
        return;
    };
    for (one, status) in zip(asked, statuses) {
        let (code, message) = status.map_or((0, ""), |status| (status.code, &status.message));
        trail.item(Code::from(code), message, fields(one));
    }
}

/// What is told of an entry to create, or of the fields of one to change.
pub(super) fn entry(entry: &types::Entry, mask: Option<&types::EntryMask>) -> Fields {
    let mut fields = Fields::new();
    let mut put = |is_given: bool, name, value: Value| {
        let is_empty = value.as_str().is_some_and(str::is_empty);
        if is_given && !is_empty && !value.is_null() {
            fields.insert(name, value);
        }
    };
    let has = |given: fn(&types::EntryMask) -> bool| mask.is_none_or(given);
    let id = |id: Option<&types::Spiffeid>| id_text(id).map_or(Value::Null, Value::from);
    put(true, "registration_id", entry.id.as_str().into());
    put(
        has(|mask| mask.spiffe_id),
        "spiffe_id",
        id(entry.spiffe_id.as_ref()),
    );
    put(
        has(|mask| mask.parent_id),
        "parent_id",
        id(entry.parent_id.as_ref()),
    );
    put(
        has(|mask| mask.selectors),
        "selectors",
        selectors(&entry.selectors).into(),
    );
    put(
        has(|mask| mask.x509_svid_ttl),
        "x509_svid_ttl",
        entry.x509_svid_ttl.into(),
    );
    put(
        has(|mask| mask.jwt_svid_ttl),
        "jwt_svid_ttl",
        entry.jwt_svid_ttl.into(),
    );
    put(
        has(|mask| mask.federates_with),
        "federates_with",
        entry.federates_with.join(",").into(),
    );
    put(has(|mask| mask.admin), "admin", entry.admin.into());
    put(
        has(|mask| mask.downstream),
        "downstream",
        entry.downstream.into(),
    );
    put(
        has(|mask| mask.expires_at),
        "expires_at",
        entry.expires_at.into(),
    );
    put(
        has(|mask| mask.dns_names),
        "dns_name",
        entry.dns_names.join(",").into(),
    );
    put(
        has(|mask| mask.revision_number),
        "revision_number",
        entry.revision_number.into(),
    );
    put(
        has(|mask| mask.store_svid),
        "store_svid",
        entry.store_svid.into(),
    );
    put(has(|mask| mask.hint), "hint", entry.hint.as_str().into());
    fields
}

/// Tells of a batch of entries that were created.
pub(super) fn created_entries(
    trail: Option<&AuditTrail>,
    asked: &entry_wire::BatchCreateEntryRequest,
    answer: &entry_wire::BatchCreateEntryResponse,
) {
    let statuses = answer.results.iter().map(|result| result.status.as_ref());
    items(trail, &asked.entries, statuses, |one| entry(one, None));
}

/// Tells of a batch of entries that were changed.
pub(super) fn updated_entries(
    trail: Option<&AuditTrail>,
    asked: &entry_wire::BatchUpdateEntryRequest,
    answer: &entry_wire::BatchUpdateEntryResponse,
) {
    let statuses = answer.results.iter().map(|result| result.status.as_ref());
    let mask = asked.input_mask.as_ref();
    items(trail, &asked.entries, statuses, |one| entry(one, mask));
}

/// Tells of entries that were deleted.
pub(super) fn deleted_entries(
    trail: Option<&AuditTrail>,
    ids: &[String],
    statuses: &[types::Status],
) {
    let fields = |id: &String| Fields::from([("registration_id", id.as_str().into())]);
    items(trail, ids, statuses.iter().map(Some), fields);
}

/// Tells of certificates that an agent asked for.
pub(super) fn new_x509_svids(
    trail: Option<&AuditTrail>,
    asked: Option<&[svid_wire::NewX509svidParams]>,
    answer: &svid_wire::BatchNewX509svidResponse,
) {
    let Some(trail) = trail else {
        return;
    };
    for (params, result) in zip(asked.unwrap_or_default(), &answer.results) {
        let mut fields = Fields::from([
            ("registration_id", params.entry_id.as_str().into()),
            ("csr", hashed(&params.csr).into()),
        ]);
        if let Some(svid) = &result.svid {
            fields.insert("spiffe_id", id_text(svid.id.as_ref()).into());
            fields.insert("expires_at", svid.expires_at.into());
        }
        let status = result.status.as_ref();
        let (code, message) = status.map_or((0, ""), |status| (status.code, &status.message));
        trail.item(Code::from(code), message, fields);
    }
}

/// Tells of federated bundles that were made or changed.
pub(super) fn bundles<'a>(
    trail: Option<&AuditTrail>,
    asked: &'a [types::Bundle],
    statuses: impl IntoIterator<Item = Option<&'a types::Status>>,
) {
    let fields = |bundle: &types::Bundle| {
        Fields::from([("trust_domain_id", bundle.trust_domain.as_str().into())])
    };
    items(trail, asked, statuses, fields);
}

/// Tells of a federated bundle that was deleted.
pub(super) fn deleted_bundle(
    trail: Option<&AuditTrail>,
    trust_domain: &str,
    mode: &str,
    status: &types::Status,
) {
    if let Some(trail) = trail {
        let fields = Fields::from([
            ("trust_domain_id", trust_domain.into()),
            ("mode", mode.into()),
        ]);
        trail.item(Code::from(status.code), &status.message, fields);
    }
}

/// Tells of federation relationships that were made or changed.
pub(super) fn relationships<'a>(
    trail: Option<&AuditTrail>,
    asked: &'a [types::FederationRelationship],
    mask: Option<&types::FederationRelationshipMask>,
    statuses: impl IntoIterator<Item = Option<&'a types::Status>>,
) {
    items(trail, asked, statuses, |one| relationship(one, mask));
}

fn relationship(
    one: &types::FederationRelationship,
    mask: Option<&types::FederationRelationshipMask>,
) -> Fields {
    let mut fields = Fields::from([("trust_domain_id", one.trust_domain.as_str().into())]);
    if mask.is_none_or(|mask| mask.bundle_endpoint_url) {
        let url = one.bundle_endpoint_url.as_str();
        fields.insert("bundle_endpoint_url", url.into());
    }
    if mask.is_none_or(|mask| mask.bundle_endpoint_profile) {
        match &one.bundle_endpoint_profile {
            Some(BundleEndpointProfile::HttpsWeb(_)) => {
                fields.insert("bundle_endpoint_profile", "https_web".into());
            }
            Some(BundleEndpointProfile::HttpsSpiffe(profile)) => {
                fields.insert("bundle_endpoint_profile", "https_spiffe".into());
                let id = profile.endpoint_spiffe_id.as_str();
                fields.insert("endpoint_spiffe_id", id.into());
            }
            None => {}
        }
    }
    if let Some(bundle) = &one.trust_domain_bundle
        && mask.is_none_or(|mask| mask.trust_domain_bundle)
    {
        let name = bundle.trust_domain.as_str();
        fields.insert("bundle_trust_domain_id", name.into());
    }
    fields
}

/// Tells of federation relationships that were deleted.
pub(super) fn deleted_relationships<'a>(
    trail: Option<&AuditTrail>,
    names: &'a [String],
    statuses: impl IntoIterator<Item = Option<&'a types::Status>>,
) {
    let fields = |name: &String| Fields::from([("trust_domain_id", name.as_str().into())]);
    items(trail, names, statuses, fields);
}

fn selectors(selectors: &[types::Selector]) -> String {
    let texts: Vec<_> = selectors
        .iter()
        .map(|selector| format!("{}:{}", selector.r#type, selector.value))
        .collect();
    texts.join(",")
}
