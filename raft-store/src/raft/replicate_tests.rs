//! What a follower is sent, and when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use openraft::{EntryPayload, entry::RaftEntry as _};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use wire::append_response::Result as Said;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::convert::log_id;
use super::line::Line;
use super::links::Links;
use super::replicate::{Answer, MAX_UNANSWERED, replicate};
use super::{CommandBytes, Entry, LogId, Types, Vote};
use crate::codec::{Frame, wire};
use crate::peer::{Lane, PeerAddress, PeerConnection, PeerConnector, PeerError};

const FOLLOWER: u64 = 2;
const SOON: Duration = Duration::from_secs(20);

/// The follower's end of one connection: what was sent to it, and what it answers.
struct Follower {
    requests: mpsc::Receiver<Bytes>,
    answers: mpsc::Sender<Result<Bytes, PeerError>>,
}

/// Hands out one connection.
struct Wire(Mutex<Option<(Requests, Answers)>>);

type Requests = mpsc::Sender<Bytes>;
type Answers = mpsc::Receiver<Result<Bytes, PeerError>>;

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Wire")
    }
}

struct Connector(Arc<Wire>);

impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl PeerConnector for Connector {
    fn connect(
        &self,
        _peer: PeerAddress,
        _lane: Lane,
    ) -> BoxFuture<'static, Result<Arc<dyn PeerConnection>, PeerError>> {
        let wire = Arc::clone(&self.0);
        Box::pin(async move { Ok(wire as Arc<dyn PeerConnection>) })
    }
}

impl PeerConnection for Wire {
    fn exchange(
        &self,
        _request: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        Box::pin(std::future::pending())
    }

    fn exchange_in_order(
        &self,
        mut requests: mpsc::Receiver<Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        let (sent, answers) = self.0.lock().take().expect("one line is opened");
        // Requests move on whenever somebody waits for an answer, as on a real connection.
        let forward = async move {
            while let Some(request) = requests.recv().await {
                sent.send(request).await.expect("the test goes on");
            }
            std::future::pending::<Option<Result<Bytes, PeerError>>>().await
        };
        let forward = futures_util::stream::once(forward).filter_map(std::future::ready);
        futures_util::stream::select(forward, ReceiverStream::new(answers)).boxed()
    }
}

impl Follower {
    async fn receive(&mut self) -> wire::AppendRequest {
        let request = timeout(SOON, self.requests.recv()).await.unwrap().unwrap();
        let request: wire::PeerRequest = Frame::unwrap(&request).unwrap();
        match request.request.unwrap() {
            Request::Append(append) => append,
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&self, said: Said) {
        let response = Frame::wrap(&wire::PeerResponse {
            response: Some(Response::Append(wire::AppendResponse {
                result: Some(said),
            })),
        });
        self.answers.send(Ok(Bytes::from(response))).await.unwrap();
    }
}

/// The leader's side: requests go in, answers come out.
struct Leader {
    links: Arc<Links>,
    requests: mpsc::Sender<AppendEntriesRequest<Types>>,
    answers: BoxStream<'static, Answer>,
}

impl Leader {
    async fn answer(&mut self) -> Option<Answer> {
        timeout(SOON, self.answers.next()).await.unwrap()
    }

    async fn send(&self, previous: u64, indexes: &[u64], committed: u64) {
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(previous)),
            entries: indexes.iter().map(|index| entry(*index)).collect(),
            leader_commit: Some(id(committed)),
        };
        self.requests.send(request).await.unwrap();
    }
}

fn id(index: u64) -> LogId {
    log_id(wire::LogPosition {
        term: 1,
        leader: 1,
        index,
    })
}

fn entry(index: u64) -> Entry {
    Entry::new(
        id(index),
        EntryPayload::Normal(CommandBytes(Bytes::from_static(b"command"))),
    )
}

fn committed(request: &wire::AppendRequest) -> Option<u64> {
    Some(request.committed.as_ref()?.index)
}

async fn pair() -> (Leader, Follower) {
    let (sent, received) = mpsc::channel(16);
    let (said, heard) = mpsc::channel(16);
    let wire = Arc::new(Wire(Mutex::new(Some((sent, heard)))));
    let (links, _) = Links::new(Arc::new(Connector(wire)), [7; 16], Handle::current());
    let links = Arc::new(links);
    let line = Line::open(
        Arc::clone(&links),
        FOLLOWER,
        "there",
        Lane::Log,
        MAX_UNANSWERED,
    );
    let line = line.await.unwrap();
    let (requests, waiting) = mpsc::channel(16);
    let answers = replicate(line, FOLLOWER, ReceiverStream::new(waiting));
    let leader = Leader {
        links,
        requests,
        answers,
    };
    let follower = Follower {
        requests: received,
        answers: said,
    };
    (leader, follower)
}

/// Polls the leader's side while the test looks at the follower's.
async fn while_sending<T>(leader: &mut Leader, look: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        seen = look => seen,
        answer = leader.answers.next() => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn entries_do_not_wait_for_the_answer_to_those_before() {
    let (mut leader, mut follower) = pair().await;
    for index in 1..=6 {
        leader.send(index - 1, &[index], 0).await;
    }
    let room = u64::try_from(MAX_UNANSWERED).unwrap();
    for index in 1..=room {
        let request = while_sending(&mut leader, follower.receive()).await;
        assert_eq!(request.previous.unwrap().index, index - 1);
    }
    // The next one waits for an answer.
    follower.answer(Said::Success(true)).await;
    assert_eq!(leader.answer().await.unwrap().unwrap(), Ok(Some(id(1))));
    let request = while_sending(&mut leader, follower.receive()).await;
    assert_eq!(request.previous.unwrap().index, room);
    assert!(follower.requests.try_recv().is_err());
}

#[tokio::test]
async fn what_is_committed_goes_with_the_next_entries() {
    let (mut leader, mut follower) = pair().await;
    leader.send(0, &[1], 0).await;
    while_sending(&mut leader, follower.receive()).await;
    leader.send(1, &[], 1).await;
    leader.send(1, &[2], 1).await;
    let request = while_sending(&mut leader, follower.receive()).await;
    assert_eq!((request.records.len(), committed(&request)), (1, Some(1)));
    // One answer for each request that was sent, the last for all.
    follower.answer(Said::Success(true)).await;
    follower.answer(Said::Success(true)).await;
    assert_eq!(leader.answer().await.unwrap().unwrap(), Ok(Some(id(1))));
    assert_eq!(leader.answer().await.unwrap().unwrap(), Ok(Some(id(2))));
}

#[tokio::test]
async fn what_is_committed_goes_alone_when_no_entries_come() {
    let (mut leader, mut follower) = pair().await;
    leader.send(0, &[1], 0).await;
    while_sending(&mut leader, follower.receive()).await;
    leader.send(1, &[], 1).await;
    let request = while_sending(&mut leader, follower.receive()).await;
    assert_eq!((request.records.len(), committed(&request)), (0, Some(1)));
    // Even if nothing more will ever come.
    leader.send(1, &[], 1).await;
    let (requests, _) = mpsc::channel(1);
    leader.requests = requests;
    while_sending(&mut leader, follower.receive()).await;
}

#[tokio::test]
async fn a_follower_that_waits_is_told_at_once() {
    let (mut leader, mut follower) = pair().await;
    leader.send(0, &[1], 0).await;
    while_sending(&mut leader, follower.receive()).await;
    leader.links.note_asked(FOLLOWER);
    leader.send(1, &[], 1).await;
    leader.send(1, &[2], 1).await;
    let request = while_sending(&mut leader, follower.receive()).await;
    assert_eq!((request.records.len(), committed(&request)), (0, Some(1)));
}

#[tokio::test]
async fn a_question_where_the_follower_is_goes_at_once() {
    let (mut leader, mut follower) = pair().await;
    leader.send(4, &[], 3).await;
    leader.send(4, &[5], 3).await;
    let request = while_sending(&mut leader, follower.receive()).await;
    assert_eq!(request.records.len(), 0);
    follower.answer(Said::Conflict(true)).await;
    let answer = leader.answer().await.unwrap().unwrap();
    assert_eq!(answer, Err(StreamAppendError::Conflict(id(4))));
    // The library asks anew.
    assert!(leader.answer().await.is_none());
}

#[tokio::test]
async fn a_follower_that_forgets_what_it_acknowledged_is_noticed() {
    let (mut leader, mut follower) = pair().await;
    leader.send(3, &[4, 5], 3).await;
    while_sending(&mut leader, follower.receive()).await;
    follower.answer(Said::Success(true)).await;
    leader.answer().await.unwrap().unwrap().unwrap();
    let ledger = leader.links.ledger();
    // Another leader's entries may be gone, and what was never acknowledged may never have come.
    ledger.note_conflict(FOLLOWER, &Vote::new_committed(2, 1), 5);
    ledger.note_conflict(FOLLOWER, &Vote::new_committed(1, 1), 6);
    assert!(!ledger.has_forgotten(FOLLOWER));
    leader.send(5, &[], 5).await;
    while_sending(&mut leader, follower.receive()).await;
    follower.answer(Said::Conflict(true)).await;
    leader.answer().await.unwrap().unwrap().unwrap_err();
    assert!(leader.links.ledger().has_forgotten(FOLLOWER));
}

#[tokio::test(start_paused = true)]
async fn a_follower_has_the_longer_the_more_it_is_sent() {
    for (len_bytes, least, most) in [(0, 2_000, 2_500), (1_000_000, 10_000, 10_500)] {
        let (mut leader, mut follower) = pair().await;
        let command = CommandBytes(Bytes::from(vec![7; len_bytes]));
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(0)),
            entries: vec![Entry::new(id(1), EntryPayload::Normal(command))],
            leader_commit: None,
        };
        leader.requests.send(request).await.unwrap();
        let begun = Instant::now();
        while_sending(&mut leader, follower.receive()).await;
        let late = leader.answer().await.unwrap();
        assert!(late.is_err(), "{late:?}");
        let waited = begun.elapsed().as_millis();
        assert!(
            (least..=most).contains(&waited),
            "{waited} ms for {len_bytes}"
        );
    }
}
