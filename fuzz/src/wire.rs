//! Messages of all services: their JSON form, and the conversions between wire and domain.

use std::sync::LazyLock;

use identity::bundle::Bundle;
use identity::selector::SelectorSet;
use prost::Message;
use proto::convert::agent::AgentView;
use proto::convert::{self, entry::Attempt};
use proto::spire::api::server::{agent::v1 as agent, bundle::v1 as bundle, entry::v1 as entry};
use proto::spire::api::types;

use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, NOW, OWN};

/// A byte that says which conversion; for the JSON form two bytes that say which message.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 9 {
        0 => json(input),
        1 => created(input),
        2 => updated(input),
        3 => authorized(input.rest()),
        4 => bundles(input),
        5 => authorities(input.rest()),
        6 => entry_filters(input.rest()),
        7 => agent_filters(input.rest()),
        _ => ids(input.rest()),
    }
}

/// What a command line prints of any message.
fn json(mut input: Input<'_>) {
    let number = usize::from(u16::from_be_bytes([input.byte(), input.byte()]));
    let name = &MESSAGES[number % MESSAGES.len()];
    if let Ok(line) = proto::json::render(name, input.rest()) {
        assert!(!line.contains('\n'));
        serde_json::from_str::<serde_json::Value>(&line).expect("JSON was rendered");
    }
}

static MESSAGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all = proto::descriptors::pool().all_messages();
    all.filter(|message| !message.is_map_entry())
        .map(|message| message.full_name().to_owned())
        .collect()
});

fn read<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}

fn created(input: Input<'_>) {
    let Some(wire) = read::<types::Entry>(input.rest()) else {
        return;
    };
    match convert::entry::new(&OWN, &wire, NOW) {
        Ok(entry) => {
            let written = convert::entry::to_wire(&entry, None);
            let again = convert::entry::new(&OWN, &written, NOW);
            assert_eq!(again.as_ref().ok(), Some(&entry));
            assert!(entry.spiffe_id.is_member_of(&OWN) && !entry.spiffe_id.is_reserved());
            assert!(entry.parent_id.is_member_of(&OWN) && !entry.selectors.is_empty());
            convert::entry::authorized(&written).expect("agents understand what is created");
        }
        Err(error) => assert!(!Attempt::Create.refusal(&error).is_empty()),
    }
}

/// A mask, then an entry.
fn updated(mut input: Input<'_>) {
    let mask = read::<types::EntryMask>(input.piece());
    let Some(wire) = read::<types::Entry>(input.rest()) else {
        return;
    };
    match convert::entry::update(&OWN, &wire, mask.as_ref()) {
        Ok(update) => {
            let mask = mask.unwrap_or(convert::entry::EVERY_FIELD);
            assert_eq!(update.selectors.is_some(), mask.selectors);
            assert_eq!(update.hint.is_some(), mask.hint);
        }
        Err(error) => assert!(!Attempt::Update.refusal(&error).is_empty()),
    }
}

/// An entry as an agent gets it.
fn authorized(bytes: &[u8]) {
    if let Some(wire) = read::<types::Entry>(bytes)
        && let Ok(entry) = convert::entry::authorized(&wire)
    {
        assert_eq!(entry.id.as_str(), wire.id);
        assert!(!entry.selectors.is_empty());
    }
}

/// A mask, then a bundle.
fn bundles(mut input: Input<'_>) {
    let mask = read::<types::BundleMask>(input.piece());
    let Some(wire) = read::<types::Bundle>(input.rest()) else {
        return;
    };
    convert::bundle::update(&wire, mask.as_ref()).ok();
    if let Ok(bundle) = convert::bundle::new(&wire) {
        let roots = bundle.x509_authorities.iter();
        assert!(roots.clone().all(|root| !root.tainted));
        rewritten(&bundle);
    }
    if let Ok(bundle) = convert::bundle::received(&wire) {
        rewritten(&bundle);
        convert::bundle::to_wire(&bundle, mask.as_ref());
        bundle.to_spiffe_jwks();
        bundle.jwt_jwks();
    }
}

fn rewritten(bundle: &Bundle) {
    let again = convert::bundle::received(&convert::bundle::to_wire(bundle, None));
    assert_eq!(again.as_ref().ok(), Some(bundle));
}

fn authorities(bytes: &[u8]) {
    let Some(request) = read::<bundle::AppendBundleRequest>(bytes) else {
        return;
    };
    convert::bundle::x509_authorities(&request.x509_authorities).ok();
    if let Ok(keys) = convert::bundle::jwt_authorities(&request.jwt_authorities) {
        let written = convert::bundle::jwt_authorities_to_wire(&keys);
        assert_eq!(convert::bundle::jwt_authorities(&written).ok(), Some(keys));
    }
}

fn entry_filters(bytes: &[u8]) {
    if let Some(request) = read::<entry::ListEntriesRequest>(bytes) {
        convert::entry::list_filter(&OWN, request.filter.as_ref()).ok();
    }
    if let Some(request) = read::<entry::CountEntriesRequest>(bytes) {
        convert::entry::count_filter(&OWN, request.filter.as_ref()).ok();
    }
}

fn agent_filters(bytes: &[u8]) {
    let id = AUTHORITY.spiffe_id("/spire/agent/a");
    let view = AgentView {
        spiffe_id: &id,
        attestation_type: "join_token",
        serial: "1",
        not_after: NOW,
        selectors: &SelectorSet::default(),
        can_reattest: false,
        agent_version: "",
    };
    if let Some(request) = read::<agent::ListAgentsRequest>(bytes) {
        view.to_wire(request.output_mask.as_ref());
        if let Ok(filter) = convert::agent::list_filter(request.filter.as_ref()) {
            filter.admits(&view);
        }
    }
    if let Some(request) = read::<agent::CountAgentsRequest>(bytes) {
        convert::agent::count_filter(request.filter.as_ref()).ok();
    }
}

fn ids(bytes: &[u8]) {
    let Some(wire) = read::<types::Spiffeid>(bytes) else {
        return;
    };
    convert::id::member_id(&OWN, Some(&wire)).ok();
    let workload = convert::id::workload_id(&OWN, Some(&wire));
    let agent = convert::id::agent_id(&OWN, Some(&wire));
    assert!(workload.is_err() || agent.is_err(), "{wire:?}");
    if let Ok(id) = convert::id::spiffe_id(Some(&wire)) {
        let again = convert::id::to_wire(&id);
        assert_eq!(convert::id::spiffe_id(Some(&again)).ok(), Some(id));
    }
}

/// An entry with everything in it.
pub fn entry(path: &str) -> types::Entry {
    let id = |path: &str| types::Spiffeid {
        trust_domain: OWN.as_str().to_owned(),
        path: path.to_owned(),
    };
    let selector = |value: &str| types::Selector {
        r#type: "unix".to_owned(),
        value: value.to_owned(),
    };
    types::Entry {
        id: "entry-1".to_owned(),
        spiffe_id: Some(id(path)),
        parent_id: Some(id("/spire/agent/a")),
        selectors: vec![selector("uid:1000"), selector("user:a")],
        x509_svid_ttl: 3600,
        federates_with: vec!["other.org".to_owned()],
        admin: true,
        expires_at: 1_900_000_000,
        dns_names: vec!["a.example.org".to_owned(), "*.b".to_owned()],
        revision_number: 3,
        jwt_svid_ttl: 300,
        hint: "hint".to_owned(),
        created_at: 1_800_000_000,
        additional_attributes: Some(types::entry::AdditionalAttributes::default()),
        ..types::Entry::default()
    }
}

/// A message for each conversion.
pub fn seeds() -> Vec<Vec<u8>> {
    let entry_bytes = entry("/w").encode_to_vec();
    let bundle = convert::bundle::to_wire(&AUTHORITY.bundle(), None);
    let append = bundle::AppendBundleRequest {
        x509_authorities: bundle.x509_authorities.clone(),
        jwt_authorities: bundle.jwt_authorities.clone(),
        output_mask: Some(convert::bundle::EVERY_FIELD),
        ..bundle::AppendBundleRequest::default()
    };
    let mut seeds = vec![
        plain(&[1], &entry_bytes),
        plain(
            &join(&[2], [convert::entry::EVERY_FIELD.encode_to_vec()]),
            &entry_bytes,
        ),
        plain(&[3], &entry_bytes),
        plain(
            &join(&[4], [convert::bundle::EVERY_FIELD.encode_to_vec()]),
            bundle.encode_to_vec(),
        ),
        plain(&[5], append.encode_to_vec()),
        plain(&[6], list_entries().encode_to_vec()),
        plain(&[7], list_agents().encode_to_vec()),
        plain(
            &[8],
            entry("/w").spiffe_id.unwrap_or_default().encode_to_vec(),
        ),
    ];
    for (name, bytes) in [
        ("spire.api.types.Entry", entry_bytes),
        ("spire.api.types.Bundle", bundle.encode_to_vec()),
        (
            "google.protobuf.Struct",
            b"\x0a\x0b\x0a\x01a\x12\x06\x1a\x04\xe2\x80\xa8<".to_vec(),
        ),
    ] {
        let number = MESSAGES.iter().position(|known| known == name);
        let number = number.and_then(|number| u16::try_from(number).ok());
        let [high, low] = number.unwrap_or_default().to_be_bytes();
        seeds.push(plain(&[0, high, low], bytes));
    }
    seeds
}

fn matching() -> Option<types::SelectorMatch> {
    Some(types::SelectorMatch {
        selectors: entry("/w").selectors,
        r#match: types::selector_match::MatchBehavior::MatchAny.into(),
    })
}

fn list_entries() -> entry::ListEntriesRequest {
    entry::ListEntriesRequest {
        filter: Some(entry::list_entries_request::Filter {
            by_spiffe_id: entry("/w").spiffe_id,
            by_selectors: matching(),
            by_federates_with: Some(types::FederatesWithMatch {
                trust_domains: vec!["other.org".to_owned()],
                r#match: 1,
            }),
            by_hint: Some("hint".to_owned()),
            ..entry::list_entries_request::Filter::default()
        }),
        page_size: 2,
        page_token: "c1-1".to_owned(),
        ..entry::ListEntriesRequest::default()
    }
}

fn list_agents() -> agent::ListAgentsRequest {
    agent::ListAgentsRequest {
        filter: Some(agent::list_agents_request::Filter {
            by_attestation_type: "join_token".to_owned(),
            by_selector_match: matching(),
            by_banned: Some(false),
            by_expires_before: "2027-01-15 08:00:00 +0100 +01".to_owned(),
            ..agent::list_agents_request::Filter::default()
        }),
        ..agent::ListAgentsRequest::default()
    }
}
