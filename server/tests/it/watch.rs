//! What agents are told without asking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock, FakeClock, SystemClock};
use proto::conclave::sync::v1::sync_client::SyncClient;
use proto::conclave::sync::v1::{WatchRequest, WatchResponse};
use proto::spire::api::server::agent::v1::BanAgentRequest;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::bundle::v1::BatchSetFederatedBundleRequest;
use proto::spire::api::server::entry::v1::BatchDeleteEntryRequest;
use proto::spire::api::types;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::world::{Agent, World, entry, wire_id};

/// An agent that does as it is told.
pub(crate) struct Watcher {
    pub(crate) answers: Streaming<WatchResponse>,
    pub(crate) revision: u64,
    /// Paths by entry id.
    entries: BTreeMap<String, String>,
    bundles: BTreeMap<String, types::Bundle>,
    pub(crate) resets: usize,
}

impl Watcher {
    pub(crate) async fn start(agent: &Agent) -> Self {
        let answers = watch(&agent.channel, 0).await.unwrap();
        let mut watcher = Self {
            answers,
            revision: 0,
            entries: BTreeMap::new(),
            bundles: BTreeMap::new(),
            resets: 0,
        };
        watcher.take_batch().await.unwrap();
        assert_eq!(watcher.resets, 1);
        watcher
    }

    /// Takes one batch whole.
    pub(crate) async fn take_batch(&mut self) -> Result<(), Status> {
        let mut is_first = true;
        loop {
            let message = timeout(PATIENCE, self.answers.message()).await.unwrap()?;
            let message = message.unwrap();
            assert!(message.revision >= self.revision);
            if message.reset && is_first {
                self.entries.clear();
                self.bundles.clear();
                self.resets += 1;
            }
            is_first = false;
            for id in message.removed_entry_ids {
                self.entries.remove(&id);
            }
            for entry in message.entries {
                self.entries.insert(entry.id, entry.spiffe_id.unwrap().path);
            }
            for name in message.removed_bundles {
                self.bundles.remove(&name);
            }
            for bundle in message.bundles {
                self.bundles.insert(bundle.trust_domain.clone(), bundle);
            }
            if message.is_last {
                self.revision = message.revision;
                return Ok(());
            }
        }
    }

    /// Takes batches until the agent holds entries with these paths and no other.
    pub(crate) async fn wait_for(&mut self, paths: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.paths() != paths {
            assert!(Instant::now() < deadline, "{:?}", self.entries);
            self.take_batch().await.unwrap();
        }
    }

    /// Takes batches until the stream ends.
    pub(crate) async fn wait_for_end(&mut self) -> Status {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline);
            if let Err(status) = self.take_batch().await {
                return status;
            }
        }
    }

    fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.entries.values().map(String::as_str).collect();
        paths.sort_unstable();
        paths
    }

    /// Goes on in a new stream.
    pub(crate) async fn resume(&mut self, agent: &Agent) {
        self.answers = watch(&agent.channel, self.revision).await.unwrap();
    }
}

async fn watch(channel: &Channel, revision: u64) -> Result<Streaming<WatchResponse>, Status> {
    // The channel's time limit is for whole calls.
    let mut request = tonic::Request::new(WatchRequest { revision });
    request.set_timeout(Duration::from_secs(60));
    let answer = SyncClient::new(channel.clone()).watch(request).await?;
    Ok(answer.into_inner())
}

async fn delete(world: &World, ids: &[String]) {
    let request = BatchDeleteEntryRequest { ids: ids.to_vec() };
    let mut entries = world.entries().await;
    entries.batch_delete_entry(request).await.unwrap();
}

async fn set_bundle(world: &World, trust_domain: &str, refresh_hint: i64) {
    let bundle = types::Bundle {
        trust_domain: trust_domain.to_owned(),
        refresh_hint,
        ..types::Bundle::default()
    };
    let request = BatchSetFederatedBundleRequest {
        bundle: vec![bundle],
        output_mask: None,
    };
    let mut bundles = world.bundles().await;
    let answer = bundles.batch_set_federated_bundle(request).await.unwrap();
    let results = answer.into_inner().results;
    assert_eq!(
        results.first().unwrap().status.as_ref().unwrap().message,
        "OK"
    );
}

#[tokio::test]
async fn entries_come_and_go_without_being_asked_for() {
    let world = World::start().await;
    let agent = world.agent().await;
    let mine = agent.id.path();
    world.create(vec![entry("/there", mine)]).await;
    let mut watcher = Watcher::start(&agent).await;
    assert_eq!(watcher.paths(), ["/there"]);
    assert!(watcher.bundles.contains_key("example.org"));

    let ids = world
        .create(vec![entry("/web", mine), entry("/other", "/not-mine")])
        .await;
    watcher.wait_for(&["/there", "/web"]).await;
    world.create(vec![entry("/sidecar", "/web")]).await;
    watcher.wait_for(&["/sidecar", "/there", "/web"]).await;
    // What is below it goes with it.
    delete(&world, &ids[..1]).await;
    watcher.wait_for(&["/there"]).await;
    assert_eq!(watcher.resets, 1);
}

#[tokio::test]
async fn agent_that_comes_back_is_told_what_it_missed() {
    let world = World::start().await;
    let agent = world.agent().await;
    let mine = agent.id.path();
    let ids = world
        .create(vec![entry("/gone", mine), entry("/stays", mine)])
        .await;
    let mut watcher = Watcher::start(&agent).await;
    delete(&world, &ids[..1]).await;
    world.create(vec![entry("/new", mine)]).await;
    watcher.resume(&agent).await;
    watcher.wait_for(&["/new", "/stays"]).await;
    assert_eq!(watcher.resets, 1);
}

#[tokio::test]
async fn bundle_comes_with_the_first_entry_that_needs_it_and_goes_with_the_last() {
    let world = World::start().await;
    let agent = world.agent().await;
    set_bundle(&world, "partner.test", 1).await;
    let mut watcher = Watcher::start(&agent).await;
    assert_eq!(watcher.bundles.len(), 1);

    let federated = types::Entry {
        federates_with: vec!["partner.test".to_owned()],
        ..entry("/web", agent.id.path())
    };
    let ids = world.create(vec![federated]).await;
    watcher.wait_for(&["/web"]).await;
    assert_eq!(watcher.bundles["partner.test"].refresh_hint, 1);
    set_bundle(&world, "partner.test", 2).await;
    while watcher.bundles["partner.test"].refresh_hint == 1 {
        watcher.take_batch().await.unwrap();
    }
    delete(&world, &ids).await;
    watcher.wait_for(&[]).await;
    assert_eq!(watcher.bundles.len(), 1);
}

#[tokio::test]
async fn banned_agent_is_told_so_at_once() {
    let world = World::start().await;
    let agent = world.agent().await;
    let mut watcher = Watcher::start(&agent).await;
    AgentClient::new(world.admin().await)
        .ban_agent(BanAgentRequest {
            id: Some(wire_id(agent.id.path())),
        })
        .await
        .unwrap();
    let banned = Instant::now();
    let status = watcher.wait_for_end().await;
    assert!(banned.elapsed() < Duration::from_secs(1));
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "authorization denied for method /conclave.sync.v1.Sync/Watch"
    );
    assert!(!status.details().is_empty());
    let again = watch(&agent.channel, watcher.revision).await.unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn stream_ends_with_the_certificate_that_began_it() {
    let clock = Arc::new(FakeClock::new(SystemClock.now()));
    let world = World::start_at(Arc::clone(&clock) as Arc<dyn Clock>, |_| {}).await;
    let agent = world.agent().await;
    let mut watcher = Watcher::start(&agent).await;
    clock.advance(Duration::from_secs(3_601));
    world.create(vec![entry("/web", agent.id.path())]).await;
    let status = watcher.wait_for_end().await;
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn stream_is_for_agents_only() {
    let world = World::start().await;
    for channel in [world.anonymous().await, world.minted("/nobody").await] {
        let status = watch(&channel, 0).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn stream_ends_as_unavailable_when_the_server_stops() {
    let mut world = World::start().await;
    let agent = world.agent().await;
    let mut watcher = Watcher::start(&agent).await;
    let stopping = Instant::now();
    let (stopped, status) = tokio::join!(world.stop(), watcher.wait_for_end());
    stopped.unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(status.message(), "connection ends, call again");
    // The stream kept nothing from stopping.
    assert!(stopping.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn silence_is_broken_by_signs_of_life() {
    let world = World::start().await;
    let agent = world.agent().await;
    let mut watcher = Watcher::start(&agent).await;
    let since = Instant::now();
    watcher.take_batch().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(8));
    assert_eq!((watcher.resets, watcher.entries.len()), (1, 0));
}

#[tokio::test]
async fn long_list_comes_whole_in_many_messages() {
    let world = World::start().await;
    let agent = world.agent().await;
    let entries: Vec<_> = (0..2_500)
        .map(|number| entry(&format!("/w{number}"), agent.id.path()))
        .collect();
    for batch in entries.chunks(500) {
        world.create(batch.to_vec()).await;
    }
    let watcher = Watcher::start(&agent).await;
    assert_eq!(watcher.entries.len(), 2_500);
}

const PATIENCE: Duration = Duration::from_secs(20);
