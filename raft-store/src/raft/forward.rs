//! Proposals and questions on their way to the leader, grouped.
//!
//! One task gathers what waits and sends it in a few requests at once; the more waits, the larger
//! the requests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use openraft::Raft;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use wire::forward_outcome::Result as Became;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::Types;
use super::links::{LinkError, Links};
use super::machine::Machine;
use crate::codec::wire;
use crate::peer::Lane;

/// What became of a command that was handed to the leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Forwarded {
    /// Applied by the leader at this index.
    Applied(u64),
    /// Certainly not appended.
    NotAppended,
    Unknown,
}

/// Hands over to the leader.
pub(super) struct Forwarder {
    queue: mpsc::Sender<Item>,
    way: Way,
    /// The next question for the read index, not yet asked.
    next_round: Arc<Mutex<Option<Round>>>,
    /// One question at a time: those who come meanwhile share the next one.
    asking: Arc<Semaphore>,
}

struct Item {
    leader: u64,
    command: Bytes,
    became: oneshot::Sender<Forwarded>,
}

struct Round {
    leader: u64,
    answer: SharedFuture<BoxFuture<'static, Option<u64>>>,
}

/// How a member is reached.
#[derive(Clone)]
struct Way {
    raft: Raft<Types, Machine>,
    links: Arc<Links>,
}

impl Forwarder {
    /// The second part of the answer is the task that forwards.
    pub(super) fn new(
        raft: Raft<Types, Machine>,
        links: Arc<Links>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let way = Way { raft, links };
        let task = run(way.clone(), waiting);
        let forwarder = Self {
            queue,
            way,
            next_round: Arc::default(),
            asking: Arc::new(Semaphore::new(1)),
        };
        (forwarder, task)
    }

    /// Hands a command to the leader and waits until it has applied it.
    pub(super) async fn forward(&self, leader: u64, command: Bytes) -> Forwarded {
        let (became, answer) = oneshot::channel();
        let item = Item {
            leader,
            command,
            became,
        };
        if self.queue.send(item).await.is_err() {
            return Forwarded::NotAppended;
        }
        answer.await.unwrap_or(Forwarded::Unknown)
    }

    /// An index behind everything that was acknowledged before this call, if the leader knows one.
    pub(super) async fn read_index(&self, leader: u64) -> Option<u64> {
        let round = {
            let mut next = self.next_round.lock();
            match &*next {
                Some(round) if round.leader == leader => round.answer.clone(),
                Some(_) | None => {
                    let answer = self.round(leader);
                    *next = Some(Round {
                        leader,
                        answer: answer.clone(),
                    });
                    answer
                }
            }
        };
        round.await
    }

    fn round(&self, leader: u64) -> SharedFuture<BoxFuture<'static, Option<u64>>> {
        let way = self.way.clone();
        let next = Arc::clone(&self.next_round);
        let asking = Arc::clone(&self.asking);
        let round = async move {
            let _turn = asking.acquire_owned().await.ok()?;
            // Whoever comes from now on needs an answer to a later question.
            next.lock().take_if(|round| round.leader == leader);
            way.ask_read_index(leader).await
        };
        round.boxed().shared()
    }
}

impl Way {
    async fn ask(
        &self,
        member_id: u64,
        request: Request,
        deadline: Duration,
    ) -> Option<Result<Response, LinkError>> {
        let address = address_of(&self.raft, member_id)?;
        let asked = self
            .links
            .ask(member_id, &address, Lane::Forward, request, deadline);
        Some(asked.await)
    }

    async fn ask_read_index(&self, leader: u64) -> Option<u64> {
        use wire::read_index_response::Result as Answer;
        let request = Request::ReadIndex(wire::ReadIndexRequest {});
        match self.ask(leader, request, READ_DEADLINE).await?.ok()? {
            Response::ReadIndex(answer) => match answer.result? {
                Answer::Index(index) => Some(index),
                Answer::NotLeader(_) | Answer::NoQuorum(_) => None,
            },
            _ => None,
        }
    }

    /// Sends one group and tells everyone in it what became of theirs.
    async fn send(self, group: Group) {
        let request = Request::Forward(wire::ForwardRequest {
            commands: group
                .items
                .iter()
                .map(|item| item.command.to_vec())
                .collect(),
        });
        let answered = self.ask(group.leader, request, FORWARD_DEADLINE).await;
        let outcomes = match answered {
            None | Some(Err(LinkError::NotSent(_))) => {
                vec![Forwarded::NotAppended; group.items.len()]
            }
            Some(Ok(Response::Forward(answer))) => {
                answer.outcomes.into_iter().map(forwarded).collect()
            }
            Some(_) => Vec::new(),
        };
        let all = outcomes
            .into_iter()
            .chain(std::iter::repeat(Forwarded::Unknown));
        for (item, outcome) in group.items.into_iter().zip(all) {
            // Whoever has gone needs no answer.
            item.became.send(outcome).ok();
        }
    }
}

fn forwarded(outcome: wire::ForwardOutcome) -> Forwarded {
    match outcome.result {
        Some(Became::Index(index)) => Forwarded::Applied(index),
        Some(Became::NotLeader(_)) => Forwarded::NotAppended,
        Some(Became::Undecided(_)) | None => Forwarded::Unknown,
    }
}

/// Where a member listens, if it is in the membership that is in force here.
pub(super) fn address_of(raft: &Raft<Types, Machine>, member_id: u64) -> Option<String> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let peer = metrics
        .membership_config
        .membership()
        .get_node(&member_id)?;
    Some(peer.address.clone())
}

/// Commands that go in one request.
struct Group {
    leader: u64,
    items: Vec<Item>,
}

async fn run(way: Way, mut waiting: mpsc::Receiver<Item>) {
    let mut under_way = JoinSet::new();
    let mut current = None;
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(item) => item,
            None => match waiting.recv().await {
                Some(item) => item,
                None => return,
            },
        };
        if current.replace(first.leader) != Some(first.leader) {
            // What the leader before has not answered is asked of this one again.
            under_way.abort_all();
        }
        while under_way.len() >= MAX_UNDER_WAY {
            under_way.join_next().await;
        }
        let group = gather(first, &mut waiting, &mut held);
        under_way.spawn(way.clone().send(group));
        while under_way.try_join_next().is_some() {}
    }
}

/// Takes what waits already, as far as it fits into a request.
fn gather(first: Item, waiting: &mut mpsc::Receiver<Item>, held: &mut Option<Item>) -> Group {
    let leader = first.leader;
    let mut len_bytes = first.command.len();
    let mut items = vec![first];
    while items.len() < MAX_GROUP {
        let Ok(next) = waiting.try_recv() else {
            break;
        };
        len_bytes += next.command.len();
        if next.leader != leader || len_bytes > MAX_GROUP_LEN_BYTES {
            *held = Some(next);
            break;
        }
        items.push(next);
    }
    Group { leader, items }
}

/// Commands that wait to be sent at most.
const MAX_WAITING: usize = 1024;

/// Commands in one request at most.
const MAX_GROUP: usize = 512;

/// Their size at most, but for a single larger one.
const MAX_GROUP_LEN_BYTES: usize = 1 << 20;

/// Requests with commands on their way at most.
const MAX_UNDER_WAY: usize = 8;

/// How long the leader may take over a request with commands.
const FORWARD_DEADLINE: Duration = Duration::from_secs(5);

/// How long the leader may take to find out whether it still leads.
const READ_DEADLINE: Duration = Duration::from_secs(1);
