//! What agents learn of their entries.

use std::collections::BTreeSet;

use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::server::entry::v1::{
    GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use proto::spire::api::types;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::world::{Agent, World, entry};

type Requests = mpsc::Sender<SyncAuthorizedEntriesRequest>;
type Answers = Streaming<SyncAuthorizedEntriesResponse>;

async fn sync(agent: &Agent, first: SyncAuthorizedEntriesRequest) -> (Requests, Answers) {
    let (requests, receiver) = mpsc::channel(4);
    requests.send(first).await.unwrap();
    let answers = EntryClient::new(agent.channel.clone())
        .sync_authorized_entries(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    (requests, answers)
}

async fn authorized_paths(agent: &Agent) -> BTreeSet<String> {
    EntryClient::new(agent.channel.clone())
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .entries
        .into_iter()
        .map(|entry| entry.spiffe_id.unwrap().path)
        .collect()
}

#[tokio::test]
async fn long_list_comes_as_revisions_and_then_by_id() {
    let world = World::start().await;
    let agent = world.agent().await;
    let mine = agent.id.path().to_owned();
    let entries: Vec<_> = (0..1_200)
        .map(|number| entry(&format!("/w{number}"), &mine))
        .collect();
    for batch in entries.chunks(400) {
        world.create(batch.to_vec()).await;
    }
    world.create(vec![entry("/other", "/not-mine")]).await;

    let mask = types::EntryMask {
        spiffe_id: true,
        revision_number: true,
        ..types::EntryMask::default()
    };
    let first = SyncAuthorizedEntriesRequest {
        output_mask: Some(mask),
        ids: Vec::new(),
    };
    let (requests, mut answers) = sync(&agent, first).await;
    let mut ids = Vec::new();
    let mut lens = Vec::new();
    loop {
        let page = answers.message().await.unwrap().unwrap();
        assert_eq!(page.entries, []);
        lens.push(page.entry_revisions.len());
        assert!(
            page.entry_revisions
                .iter()
                .all(|entry| entry.created_at > 0)
        );
        ids.extend(page.entry_revisions.into_iter().map(|entry| entry.id));
        if !page.more {
            break;
        }
    }
    assert_eq!(lens, [500, 500, 200]);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1_200);

    let ask = |ids: &[String]| SyncAuthorizedEntriesRequest {
        output_mask: None,
        ids: ids.to_vec(),
    };
    requests.send(ask(&ids[..500])).await.unwrap();
    let page = answers.message().await.unwrap().unwrap();
    assert_eq!((page.entries.len(), page.more), (500, false));
    let masked = page.entries.first().unwrap();
    assert!(masked.spiffe_id.is_some());
    assert_eq!((&masked.parent_id, masked.selectors.len()), (&None, 0));

    requests.send(ask(&ids[..700])).await.unwrap();
    let page = answers.message().await.unwrap().unwrap();
    assert_eq!((page.entries.len(), page.more), (500, true));
    let page = answers.message().await.unwrap().unwrap();
    assert_eq!((page.entries.len(), page.more), (200, false));

    requests.send(ask(&["nope".to_owned()])).await.unwrap();
    let page = answers.message().await.unwrap().unwrap();
    assert_eq!((page.entries.len(), page.more), (0, false));

    drop(requests);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn short_list_comes_whole_and_ends_the_call() {
    let world = World::start().await;
    let agent = world.agent().await;
    world.create(vec![entry("/web", agent.id.path())]).await;
    let (_requests, mut answers) = sync(&agent, SyncAuthorizedEntriesRequest::default()).await;
    let whole = answers.message().await.unwrap().unwrap();
    assert_eq!(
        (whole.entries.len(), whole.entry_revisions.len(), whole.more),
        (1, 0, false)
    );
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn first_request_must_be_a_first_request() {
    let world = World::start().await;
    let agent = world.agent().await;
    let refused = async |request| {
        let status = EntryClient::new(agent.channel.clone())
            .sync_authorized_entries(tokio_stream::once(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().to_owned()
    };
    let with_ids = SyncAuthorizedEntriesRequest {
        ids: vec!["x".to_owned()],
        output_mask: None,
    };
    assert_eq!(
        refused(with_ids).await,
        "specifying IDs on initial request is not supported"
    );
    let without_revision = SyncAuthorizedEntriesRequest {
        ids: Vec::new(),
        output_mask: Some(types::EntryMask::default()),
    };
    assert_eq!(
        refused(without_revision).await,
        "revision number cannot be masked"
    );
}

#[tokio::test]
async fn children_of_children_are_authorized_and_cycles_end() {
    let world = World::start().await;
    let agent = world.agent().await;
    world
        .create(vec![
            entry("/a", agent.id.path()),
            entry("/b", "/a"),
            entry("/c", "/b"),
            // From here it goes round.
            entry("/a", "/c"),
            entry("/stranger", "/d"),
            entry("/d", "/stranger"),
        ])
        .await;
    let found = authorized_paths(&agent).await;
    assert_eq!(found, ["/a", "/b", "/c"].map(str::to_owned).into());
}

#[tokio::test]
async fn entry_is_authorized_as_soon_as_its_creation_was_answered() {
    let world = World::start().await;
    let agent = world.agent().await;
    for number in 0..20 {
        let path = format!("/w{number}");
        world.create(vec![entry(&path, agent.id.path())]).await;
        assert!(authorized_paths(&agent).await.contains(&path));
    }
}
