//! Refusals with the texts that clients know, masks, and the way there and back.

use identity::clock::UnixTime;
use identity::selector::MatchBehavior;
use identity::trust_domain::TrustDomain;

use super::*;
use crate::convert::ConvertError;
use crate::spire::api::server::entry::v1::{count_entries_request, list_entries_request};

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn own() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn spiffe_id(trust_domain: &str, path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid {
        trust_domain: trust_domain.to_owned(),
        path: path.to_owned(),
    })
}

fn selectors(values: &[&str]) -> Vec<types::Selector> {
    values
        .iter()
        .map(|value| types::Selector {
            r#type: "a".to_owned(),
            value: (*value).to_owned(),
        })
        .collect()
}

fn minimal() -> types::Entry {
    types::Entry {
        spiffe_id: spiffe_id("example.org", "/w"),
        parent_id: spiffe_id("example.org", "/p"),
        selectors: selectors(&["1"]),
        ..types::Entry::default()
    }
}

fn full() -> types::Entry {
    types::Entry {
        id: "chosen-1".to_owned(),
        spiffe_id: spiffe_id("example.org", "/full"),
        parent_id: spiffe_id("example.org", "/spire/agent/x"),
        selectors: selectors(&["1", "2"]),
        x509_svid_ttl: 600,
        jwt_svid_ttl: 120,
        federates_with: vec!["other.test".to_owned()],
        admin: true,
        downstream: true,
        expires_at: 4_102_444_800,
        dns_names: vec!["a.example.org".to_owned(), "b.example.org".to_owned()],
        revision_number: 0,
        store_svid: true,
        hint: "external".to_owned(),
        created_at: NOW.as_secs(),
        additional_attributes: Some(types::entry::AdditionalAttributes {
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: true,
        }),
    }
}

fn refused(wire: &types::Entry, expected: &str) {
    let error = new(&own(), wire, NOW).unwrap_err();
    assert_eq!(Attempt::Create.refusal(&error), expected);
}

#[test]
fn full_entry_comes_back_as_it_was() {
    let entry = new(&own(), &full(), NOW).unwrap();
    assert_eq!(to_wire(&entry, None), full());
}

#[test]
fn id_is_made_up_and_revision_and_time_are_ours() {
    let wire = types::Entry {
        revision_number: 7,
        created_at: 1,
        ..minimal()
    };
    let entry = new(&own(), &wire, NOW).unwrap();
    assert_eq!(entry.id.as_str().len(), 36);
    assert_eq!((entry.revision, entry.created_at), (0, NOW));
    assert_eq!(entry.additional_attributes, None);
    assert_eq!(entry.expires_at, None);
}

#[test]
fn end_before_1970_is_past_and_never_taken_for_none() {
    let wire = types::Entry {
        expires_at: -5,
        ..minimal()
    };
    let past = Some(UnixTime::from_secs(-5));
    assert_eq!(new(&own(), &wire, NOW).unwrap().expires_at, past);
    assert_eq!(update(&own(), &wire, None).unwrap().expires_at, Some(past));
}

#[test]
fn missing_parts_are_asked_for_in_order() {
    refused(
        &types::Entry::default(),
        "failed to convert entry: invalid parent ID: request must specify SPIFFE ID",
    );
    refused(
        &types::Entry {
            spiffe_id: None,
            ..minimal()
        },
        "failed to convert entry: invalid spiffe ID: request must specify SPIFFE ID",
    );
    refused(
        &types::Entry {
            selectors: vec![],
            ..minimal()
        },
        "failed to convert entry: selector list is empty",
    );
}

#[test]
fn foreign_and_broken_ids_are_refused() {
    refused(
        &types::Entry {
            parent_id: spiffe_id("other.test", "/p"),
            ..minimal()
        },
        "failed to convert entry: invalid parent ID: \"spiffe://other.test/p\" is not a member of \
         trust domain \"example.org\"",
    );
    refused(
        &types::Entry {
            spiffe_id: spiffe_id("example.org", ""),
            ..minimal()
        },
        "failed to convert entry: invalid spiffe ID: \"spiffe://example.org\" is not a workload in \
         trust domain \"example.org\"; path is empty",
    );
    refused(
        &types::Entry {
            federates_with: vec!["BAD DOMAIN".to_owned()],
            ..minimal()
        },
        "failed to convert entry: invalid federated trust domain: trust domain characters are \
         limited to lowercase letters, numbers, dots, dashes, and underscores",
    );
}

#[test]
fn names_and_hints_are_checked() {
    for (name, cause) in [
        ("", "empty or only whitespace"),
        ("a.", "domain ends with dot"),
    ] {
        refused(
            &types::Entry {
                dns_names: vec![name.to_owned(), "under_score.x".to_owned()],
                ..minimal()
            },
            &format!("failed to convert entry: invalid DNS name: {cause}"),
        );
    }
    refused(
        &types::Entry {
            hint: "x".repeat(1025),
            ..minimal()
        },
        "failed to convert entry: hint is too long, max length is 1024 characters",
    );
}

#[test]
fn rules_on_numbers_and_ids_have_the_text_of_the_later_check() {
    const PREFIX: &str =
        "failed to create entry: datastore-validation: invalid registration entry:";
    let with = |change: fn(&mut types::Entry)| {
        let mut wire = minimal();
        change(&mut wire);
        wire
    };
    refused(
        &with(|entry| entry.x509_svid_ttl = -1),
        &format!("{PREFIX} X509SvidTtl is not set"),
    );
    refused(
        &with(|entry| entry.jwt_svid_ttl = -1),
        &format!("{PREFIX} JwtSvidTtl is not set"),
    );
    refused(
        &with(|entry| entry.id = "bad id!".to_owned()),
        &format!("{PREFIX} entry ID contains invalid characters"),
    );
    refused(
        &with(|entry| entry.id = "x".repeat(256)),
        &format!("{PREFIX} entry ID too long"),
    );
}

#[test]
fn selector_given_twice_is_named() {
    refused(
        &types::Entry {
            selectors: selectors(&["1", "1"]),
            ..minimal()
        },
        "failed to convert entry: selector \"a:1\" is given twice",
    );
}

#[test]
fn output_mask_leaves_the_id_and_what_it_chooses() {
    let entry = new(&own(), &full(), NOW).unwrap();
    let only_id = types::Entry {
        id: "chosen-1".to_owned(),
        ..types::Entry::default()
    };
    assert_eq!(to_wire(&entry, Some(&types::EntryMask::default())), only_id);
    let mask = types::EntryMask {
        spiffe_id: true,
        created_at: true,
        ..types::EntryMask::default()
    };
    let expected = types::Entry {
        spiffe_id: spiffe_id("example.org", "/full"),
        created_at: NOW.as_secs(),
        ..only_id
    };
    assert_eq!(to_wire(&entry, Some(&mask)), expected);
}

#[test]
fn update_changes_only_what_its_mask_chooses() {
    let mask = types::EntryMask {
        x509_svid_ttl: true,
        ..types::EntryMask::default()
    };
    let wire = types::Entry {
        id: "one".to_owned(),
        x509_svid_ttl: 91,
        hint: "h".to_owned(),
        ..types::Entry::default()
    };
    let changed = update(&own(), &wire, Some(&mask)).unwrap();
    assert_eq!(changed.x509_svid_ttl_s, Some(91));
    assert_eq!(changed.hint, None);
    assert_eq!(changed.spiffe_id, None);
    assert_eq!(changed.id.unwrap().as_str(), "one");
}

#[test]
fn update_without_a_mask_replaces_every_field() {
    let changed = update(&own(), &minimal(), None).unwrap();
    assert_eq!(changed.id, None);
    assert_eq!(changed.expires_at, Some(None));
    assert_eq!(changed.additional_attributes, Some(None));
    assert_eq!(changed.dns_names, Some(vec![]));
    assert_eq!(changed.hint.as_deref(), Some(""));
}

#[test]
fn update_refuses_what_creation_refuses() {
    let mask = types::EntryMask {
        selectors: true,
        ..types::EntryMask::default()
    };
    let error = update(&own(), &types::Entry::default(), Some(&mask)).unwrap_err();
    assert_eq!(
        Attempt::Update.refusal(&error),
        "failed to convert entry: selector list is empty"
    );
    let negative = types::Entry {
        jwt_svid_ttl: -1,
        ..minimal()
    };
    let error = update(&own(), &negative, None).unwrap_err();
    assert_eq!(
        Attempt::Update.refusal(&error),
        "failed to update entry: datastore-validation: invalid registration entry: JwtSvidTtl is \
         not set"
    );
}

fn filter_refused(wire: list_entries_request::Filter, expected: &str) {
    let error = list_filter(&own(), Some(&wire)).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn malformed_filters_are_named() {
    filter_refused(
        list_entries_request::Filter {
            by_spiffe_id: spiffe_id("other.test", "/x"),
            ..Default::default()
        },
        "malformed SPIFFE ID filter: \"spiffe://other.test/x\" is not a member of trust domain \
         \"example.org\"",
    );
    filter_refused(
        list_entries_request::Filter {
            by_selectors: Some(types::SelectorMatch::default()),
            ..Default::default()
        },
        "malformed selectors filter: empty selector set",
    );
    filter_refused(
        list_entries_request::Filter {
            by_selectors: Some(types::SelectorMatch {
                selectors: vec![types::Selector {
                    r#type: String::new(),
                    value: "2".to_owned(),
                }],
                r#match: 0,
            }),
            ..Default::default()
        },
        "malformed selectors filter: missing selector type",
    );
    filter_refused(
        list_entries_request::Filter {
            by_federates_with: Some(types::FederatesWithMatch::default()),
            ..Default::default()
        },
        "malformed federates with filter: empty trust domain set",
    );
}

#[test]
fn filters_of_list_and_count_are_the_same() {
    let hint = Some("external".to_owned());
    let federates_with = Some(types::FederatesWithMatch {
        trust_domains: vec!["spiffe://other.test".to_owned()],
        r#match: 1,
    });
    let listed = list_filter(
        &own(),
        Some(&list_entries_request::Filter {
            by_hint: hint.clone(),
            by_federates_with: federates_with.clone(),
            by_downstream: Some(false),
            ..Default::default()
        }),
    )
    .unwrap();
    let counted = count_filter(
        &own(),
        Some(&count_entries_request::Filter {
            by_hint: hint,
            by_federates_with: federates_with,
            by_downstream: Some(false),
            ..Default::default()
        }),
    )
    .unwrap();
    assert_eq!(listed, counted);
    assert_eq!(listed.downstream, Some(false));
    let (behavior, names) = listed.federates_with.unwrap();
    assert_eq!(behavior, MatchBehavior::Subset);
    assert!(names.contains(&TrustDomain::parse("other.test").unwrap()));
}

#[test]
fn no_filter_and_an_empty_hint_let_everything_through() {
    assert_eq!(list_filter(&own(), None).unwrap(), EntryFilter::default());
    let empty_hint = list_entries_request::Filter {
        by_hint: Some(String::new()),
        ..Default::default()
    };
    assert_eq!(
        list_filter(&own(), Some(&empty_hint)).unwrap(),
        EntryFilter::default()
    );
}

#[test]
fn agent_reads_what_its_mask_asks_for() {
    let entry = new(&own(), &full(), NOW).unwrap();
    let received = authorized(&to_wire(&entry, Some(&authorized_mask()))).unwrap();
    assert_eq!(received.id, entry.id);
    assert_eq!(received.spiffe_id, entry.spiffe_id);
    assert_eq!(received.selectors, entry.selectors);
    assert_eq!(received.federates_with, entry.federates_with);
    assert_eq!(received.created_at, NOW);
    assert_eq!(received.additional_attributes, entry.additional_attributes);
    assert_eq!(
        authorized(&types::Entry::default()),
        Err(ConvertError::NoSelectors)
    );
}
