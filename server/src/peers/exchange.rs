//! Answers what other members ask of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{BoxStream, StreamExt as _};
use proto::conclave::cluster::v1::Frame;
use proto::conclave::cluster::v1::peer_server::Peer;
use raft_store::{AnswerError, Store};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::peers::moves::{ADDRESS_KEY, Heard};

/// The service of one connection, whose other end proved to be one member.
pub(super) struct PeerService {
    heard: Heard,
    /// The first request of a connection says where its member listens.
    has_begun: AtomicBool,
    answering: Arc<Answering>,
}

/// What answers one connection's requests.
struct Answering {
    store: Store,
    from: u64,
    /// One line a connection: who is refused may ask again ten times a second.
    has_complained: AtomicBool,
}

impl PeerService {
    pub(super) fn new(store: Store, from: u64, heard: Heard) -> Self {
        Self {
            heard,
            has_begun: AtomicBool::new(false),
            answering: Arc::new(Answering {
                store,
                from,
                has_complained: AtomicBool::new(false),
            }),
        }
    }

    fn note_address(&self, metadata: &MetadataMap) {
        if !self.has_begun.swap(true, Ordering::Relaxed)
            && let Some(address) = metadata.get(ADDRESS_KEY)
            && let Ok(address) = address.to_str()
        {
            self.heard.note(self.answering.from, address);
        }
    }
}

impl Answering {
    async fn answer(&self, request: Frame) -> Result<Frame, Status> {
        match self.store.answer_peer(self.from, request.body).await {
            Ok(body) => Ok(Frame { body }),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    /// Members are told the cause: the log of either may be the one that is read.
    fn refusal(&self, error: &AnswerError) -> Status {
        let cause = daemon::supervisor::chain(error);
        if !self.has_complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(member_id = self.from, cause, "refused a member's request");
        }
        match error {
            AnswerError::Unreadable(_) => Status::invalid_argument(cause),
            AnswerError::WrongMember { .. } => Status::failed_precondition(cause),
            AnswerError::NotAMember { .. } => Status::permission_denied(cause),
            AnswerError::Snapshot(_) => Status::aborted(cause),
            AnswerError::Stopped(_) => Status::unavailable(cause),
        }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn exchange(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.note_address(request.metadata());
        let answer = self.answering.answer(request.into_inner());
        answer.await.map(Response::new)
    }

    type ExchangeInOrderStream = BoxStream<'static, Result<Frame, Status>>;

    async fn exchange_in_order(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ExchangeInOrderStream>, Status> {
        self.note_address(request.metadata());
        let answering = Arc::clone(&self.answering);
        let answers = request.into_inner().map(move |request| {
            let answering = Arc::clone(&answering);
            async move { answering.answer(request?).await }
        });
        Ok(Response::new(answers.buffered(MAX_UNANSWERED).boxed()))
    }
}

/// Requests of one sequence that are worked on at once. Each is begun before the next one.
const MAX_UNANSWERED: usize = 16;
