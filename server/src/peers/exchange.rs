//! Answers what other members ask of the store.

use std::sync::atomic::{AtomicBool, Ordering};

use proto::conclave::cluster::v1::Frame;
use proto::conclave::cluster::v1::peer_server::Peer;
use raft_store::{AnswerError, Store};
use tonic::{Request, Response, Status};

use crate::peers::moves::{ADDRESS_KEY, Heard};

/// The service of one connection, whose other end proved to be one member.
pub(super) struct PeerService {
    store: Store,
    from: u64,
    heard: Heard,
    /// The first request of a connection says where its member listens.
    has_begun: AtomicBool,
    /// One line a connection: who is refused may ask again ten times a second.
    has_complained: AtomicBool,
}

impl PeerService {
    pub(super) fn new(store: Store, from: u64, heard: Heard) -> Self {
        Self {
            store,
            from,
            heard,
            has_begun: AtomicBool::new(false),
            has_complained: AtomicBool::new(false),
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
        if !self.has_begun.swap(true, Ordering::Relaxed)
            && let Some(address) = request.metadata().get(ADDRESS_KEY)
            && let Ok(address) = address.to_str()
        {
            self.heard.note(self.from, address);
        }
        let answer = self.store.answer_peer(self.from, request.into_inner().body);
        match answer.await {
            Ok(body) => Ok(Response::new(Frame { body })),
            Err(error) => Err(self.refusal(&error)),
        }
    }
}
