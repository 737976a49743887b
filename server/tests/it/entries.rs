//! Entries: batches, masks, filters, pages.

use proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, GetEntryRequest,
    ListEntriesRequest, list_entries_request,
};
use proto::spire::api::types;
use tonic::Code;

use crate::world::{World, entry, selector, wire_id};

fn path(entry: &types::Entry) -> &str {
    &entry.spiffe_id.as_ref().unwrap().path
}

#[tokio::test]
async fn pages_hold_still_while_entries_come_and_go() {
    let world = World::start().await;
    let names: Vec<String> = (0..10).map(|number| format!("/w{number}")).collect();
    let ids = world
        .create(names.iter().map(|name| entry(name, "/p")).collect())
        .await;
    let mut client = world.entries().await;
    let mut list = async |page_token: String| {
        client
            .list_entries(ListEntriesRequest {
                page_size: 4,
                page_token,
                ..ListEntriesRequest::default()
            })
            .await
            .unwrap()
            .into_inner()
    };

    let first = list(String::new()).await;
    let listed: Vec<&str> = first.entries.iter().map(path).collect();
    assert_eq!(listed, ["/w0", "/w1", "/w2", "/w3"]);

    // The last row that was read, one before it and one after it go; a new one comes.
    let gone = [3, 1, 5].map(|index: usize| ids.get(index).unwrap().clone());
    world
        .entries()
        .await
        .batch_delete_entry(BatchDeleteEntryRequest { ids: gone.to_vec() })
        .await
        .unwrap();
    world.create(vec![entry("/new", "/p")]).await;

    let second = list(first.next_page_token).await;
    let listed: Vec<&str> = second.entries.iter().map(path).collect();
    assert_eq!(listed, ["/w4", "/w6", "/w7", "/w8"]);
    let third = list(second.next_page_token).await;
    let listed: Vec<&str> = third.entries.iter().map(path).collect();
    assert_eq!(listed, ["/w9", "/new"]);
    let fourth = list(third.next_page_token).await;
    assert_eq!(
        (fourth.entries.len(), fourth.next_page_token.as_str()),
        (0, "")
    );
}

#[tokio::test]
async fn filtered_pages_are_never_empty_before_the_end() {
    let world = World::start().await;
    let entries = (0..30).map(|number| {
        let parent = if number % 10 == 7 { "/rare" } else { "/p" };
        entry(&format!("/w{number}"), parent)
    });
    world.create(entries.collect()).await;
    let mut client = world.entries().await;
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client
            .list_entries(ListEntriesRequest {
                filter: Some(list_entries_request::Filter {
                    by_parent_id: Some(wire_id("/rare")),
                    ..list_entries_request::Filter::default()
                }),
                page_size: 2,
                page_token,
                output_mask: None,
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.entries.is_empty(), page.next_page_token.is_empty());
        found.extend(page.entries.iter().map(|entry| path(entry).to_owned()));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ["/w7", "/w17", "/w27"]);
}

#[tokio::test]
async fn foreign_page_token_is_an_error() {
    let world = World::start().await;
    let status = world
        .entries()
        .await
        .list_entries(ListEntriesRequest {
            page_size: 2,
            page_token: "garbage".to_owned(),
            ..ListEntriesRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(
        status.message(),
        "failed to list entries: could not parse token 'garbage'"
    );
}

#[tokio::test]
async fn batch_answers_item_by_item_in_order() {
    let world = World::start().await;
    world.create(vec![entry("/there", "/p")]).await;
    let twice = types::Entry {
        selectors: vec![selector("a", "1"), selector("a", "1")],
        ..entry("/twice", "/p")
    };
    let results = world
        .entries()
        .await
        .batch_create_entry(BatchCreateEntryRequest {
            entries: vec![
                entry("/new", "/p"),
                types::Entry::default(),
                entry("/there", "/p"),
                twice,
                entry("/new", "/p"),
            ],
            output_mask: Some(types::EntryMask {
                spiffe_id: true,
                ..types::EntryMask::default()
            }),
        })
        .await
        .unwrap()
        .into_inner()
        .results;
    let answers: Vec<(i32, &str, Option<&str>)> = results
        .iter()
        .map(|result| {
            let status = result.status.as_ref().unwrap();
            (
                status.code,
                status.message.as_str(),
                result.entry.as_ref().map(path),
            )
        })
        .collect();
    assert_eq!(
        answers,
        [
            (0, "OK", Some("/new")),
            (
                3,
                "failed to convert entry: invalid parent ID: request must specify SPIFFE ID",
                None
            ),
            (6, "similar entry already exists", Some("/there")),
            (
                3,
                "failed to convert entry: selector \"a:1\" is given twice",
                None
            ),
            (6, "similar entry already exists", Some("/new")),
        ]
    );
    let masked = results
        .first()
        .and_then(|result| result.entry.as_ref())
        .unwrap();
    assert!(!masked.id.is_empty());
    assert_eq!(masked.parent_id, None);
    assert_eq!(masked.selectors, []);
    assert_eq!(masked.created_at, 0);
}

#[tokio::test]
async fn update_changes_what_its_mask_names_and_counts() {
    let world = World::start().await;
    let [id] = world
        .create(vec![entry("/web", "/p")])
        .await
        .try_into()
        .unwrap();
    let mut client = world.entries().await;
    let change = types::Entry {
        id: id.clone(),
        x509_svid_ttl: 91,
        hint: "not in the mask".to_owned(),
        ..types::Entry::default()
    };
    let updated = client
        .batch_update_entry(BatchUpdateEntryRequest {
            entries: vec![
                change.clone(),
                types::Entry {
                    id: "nope".to_owned(),
                    ..change
                },
            ],
            input_mask: Some(types::EntryMask {
                x509_svid_ttl: true,
                ..types::EntryMask::default()
            }),
            output_mask: None,
        })
        .await
        .unwrap()
        .into_inner()
        .results;
    let codes: Vec<i32> = updated
        .iter()
        .map(|result| result.status.as_ref().unwrap().code)
        .collect();
    assert_eq!(codes, [0, Code::NotFound.into()]);

    let stored = client
        .get_entry(GetEntryRequest {
            id,
            output_mask: None,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stored.x509_svid_ttl, 91);
    assert_eq!(stored.hint, "");
    assert_eq!(stored.revision_number, 1);
    assert_eq!(path(&stored), "/web");
}

#[tokio::test]
async fn update_into_a_similar_entry_is_refused() {
    let world = World::start().await;
    let ids = world
        .create(vec![entry("/one", "/p"), entry("/two", "/p")])
        .await;
    let into_two = types::Entry {
        id: ids.first().unwrap().clone(),
        ..entry("/two", "/p")
    };
    let results = world
        .entries()
        .await
        .batch_update_entry(BatchUpdateEntryRequest {
            entries: vec![into_two],
            input_mask: None,
            output_mask: None,
        })
        .await
        .unwrap()
        .into_inner()
        .results;
    let status = results.first().unwrap().status.as_ref().unwrap();
    assert_eq!(status.code, i32::from(Code::AlreadyExists));
    assert_eq!(
        status.message,
        "failed to update entry: similar entry already exists"
    );
}
