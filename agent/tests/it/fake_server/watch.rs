//! The stream of changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::conclave::sync::v1::{WatchRequest, WatchResponse};
use proto::convert;
use proto::spire::api::types;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::calls::check_agent;
use super::connection::Peer;
use super::{Answers, Registry};

const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Everything that there was, each state with its revision.
#[derive(Default)]
pub(super) struct History {
    states: Vec<State>,
    latest: Sender<u64>,
}

#[derive(Clone, Default, PartialEq)]
struct State {
    entries: Vec<types::Entry>,
    bundles: Vec<types::Bundle>,
}

impl History {
    /// Notes the state that `registry` has now, if it is another one.
    pub(super) fn record(registry: &mut Registry) {
        let own = convert::bundle::to_wire(&registry.authority.bundle(), None);
        let mut bundles = registry.federated.clone();
        bundles.push(own);
        let state = State {
            entries: registry.entries.clone(),
            bundles,
        };
        let history = &mut registry.history;
        if history.states.last() != Some(&state) {
            history.states.push(state);
        }
        // Streams also look whether their agent is refused by now.
        let latest = history.latest();
        history.latest.send_replace(latest);
    }

    fn latest(&self) -> u64 {
        self.states.len().try_into().unwrap()
    }

    fn at(&self, revision: u64) -> Option<&State> {
        let index = usize::try_from(revision).unwrap().checked_sub(1)?;
        self.states.get(index)
    }
}

/// Answers as a server does that has the stream, or as one that does not know of it.
pub(super) async fn watch(
    registry: Arc<Mutex<Registry>>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let handler = tower::service_fn(move |request: Request<WatchRequest>| {
        let registry = Arc::clone(&registry);
        async move { open(registry, &request).map(Response::new) }
    });
    let mut grpc = Grpc::new(ProstCodec::<WatchResponse, WatchRequest>::default());
    grpc.server_streaming(handler, request).await
}

fn open(
    registry: Arc<Mutex<Registry>>,
    request: &Request<WatchRequest>,
) -> Result<Answers<WatchResponse>, Status> {
    let peer = request.extensions().get::<Peer>().unwrap().clone();
    let latest = {
        let registry = &mut *registry.lock();
        if !registry.pushes {
            return Err(Status::unimplemented("unknown service"));
        }
        check_agent(registry, &peer)?;
        History::record(registry);
        registry.asked.watches.push(request.get_ref().revision);
        registry.history.latest.subscribe()
    };
    let stream = Stream {
        registry,
        peer,
        latest,
        revision: request.get_ref().revision,
        parts: VecDeque::new(),
    };
    Ok(Box::pin(futures_util::stream::unfold(
        Some(stream),
        |stream| async {
            let mut stream = stream?;
            let item = stream.next().await;
            let rest = item.is_ok().then_some(stream);
            Some((item, rest))
        },
    )))
}

struct Stream {
    registry: Arc<Mutex<Registry>>,
    peer: Peer,
    latest: Receiver<u64>,
    revision: u64,
    parts: VecDeque<WatchResponse>,
}

impl Stream {
    async fn next(&mut self) -> Result<WatchResponse, Status> {
        loop {
            if self.registry.lock().is_silent {
                std::future::pending::<()>().await;
            }
            if let Some(part) = self.parts.pop_front() {
                return Ok(part);
            }
            self.latest.borrow_and_update();
            check_agent(&mut self.registry.lock(), &self.peer)?;
            self.parts = self.catch_up();
            if self.parts.is_empty() && timeout(SIGN_OF_LIFE, self.latest.changed()).await.is_err()
            {
                return Ok(WatchResponse {
                    revision: self.revision,
                    is_last: true,
                    ..WatchResponse::default()
                });
            }
        }
    }

    /// What the agent lacks.
    fn catch_up(&mut self) -> VecDeque<WatchResponse> {
        let registry = self.registry.lock();
        let history = &registry.history;
        let (held, latest) = (self.revision, history.latest());
        if held == latest {
            return VecDeque::new();
        }
        let now = history.at(latest).unwrap();
        self.revision = latest;
        match history.at(held) {
            None => everything(latest, now),
            Some(before) => [difference(latest, before, now)].into(),
        }
    }
}

/// Bundles in one part and entries in the other.
fn everything(revision: u64, state: &State) -> VecDeque<WatchResponse> {
    let first = WatchResponse {
        revision,
        reset: true,
        bundles: state.bundles.clone(),
        ..WatchResponse::default()
    };
    let last = WatchResponse {
        revision,
        reset: true,
        is_last: true,
        entries: state.entries.clone(),
        ..WatchResponse::default()
    };
    [first, last].into()
}

fn difference(revision: u64, before: &State, now: &State) -> WatchResponse {
    let added = |one: &&types::Entry| !before.entries.contains(one);
    let is_gone = |one: &&types::Entry| now.entries.iter().all(|held| held.id != one.id);
    let new = |one: &&types::Bundle| !before.bundles.contains(one);
    let is_removed = |one: &&types::Bundle| {
        let mut held = now.bundles.iter();
        held.all(|held| held.trust_domain != one.trust_domain)
    };
    let gone = before.entries.iter().filter(is_gone);
    let removed = before.bundles.iter().filter(is_removed);
    WatchResponse {
        revision,
        reset: false,
        is_last: true,
        entries: now.entries.iter().filter(added).cloned().collect(),
        removed_entry_ids: gone.map(|one| one.id.clone()).collect(),
        bundles: now.bundles.iter().filter(new).cloned().collect(),
        removed_bundles: removed.map(|one| one.trust_domain.clone()).collect(),
    }
}
