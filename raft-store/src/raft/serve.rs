//! Answers what other members ask.

use std::sync::Arc;

use openraft::Raft;
use tokio::sync::Mutex;
use wire::peer_request::Request;
use wire::peer_response::Response;
use wire::snapshot_chunk::Part;

use super::Types;
use super::convert::{vote_from, vote_message};
use super::machine::{Machine, described};
use super::member::chain;
use super::message::{append_request_from, append_response, vote_request_from, vote_response};
use crate::codec::{DecodeError, Frame, wire};
use crate::storage::StorageError;
use crate::storage::data_dir::DataDir;
use crate::storage::transfer::Receiver;

/// The answering side of a member.
pub(super) struct Answering {
    pub(super) raft: Raft<Types, Machine>,
    pub(super) dir: Arc<DataDir>,
    pub(super) cluster_id: [u8; 16],
    pub(super) member_id: u64,
    /// The snapshot that is coming in.
    pub(super) incoming: Mutex<Option<Receiver>>,
}

/// Why a peer's request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not a request, or one of a newer version.
    #[error("request cannot be read")]
    Unreadable(#[source] DecodeError),
    /// The request is for another member or another cluster.
    #[error("request is for member {target} of another place")]
    WrongMember {
        /// For whom it was.
        target: u64,
    },
    /// A snapshot's part was not what should come next.
    #[error("snapshot cannot be received")]
    Snapshot(#[source] StorageError),
    /// This member has stopped.
    #[error("store stopped: {0}")]
    Stopped(String),
}

impl Answering {
    /// The answer to a request. Requests of one peer must be answered in order.
    pub(super) async fn answer(&self, request: &[u8]) -> Result<Vec<u8>, AnswerError> {
        let request: wire::PeerRequest = Frame::unwrap(request).map_err(AnswerError::Unreadable)?;
        let target = request.target;
        // A request that went astray would break the library's invariants.
        if target != self.member_id || request.cluster_id != self.cluster_id {
            return Err(AnswerError::WrongMember { target });
        }
        let missing = || AnswerError::Unreadable(DecodeError::Field("request"));
        let response = match request.request.ok_or_else(missing)? {
            Request::Append(request) => {
                let request = append_request_from(request).map_err(AnswerError::Unreadable)?;
                let response = self.raft.append_entries(request).await;
                Response::Append(append_response(&response.map_err(|e| stopped(&e))?))
            }
            Request::Vote(request) => {
                let request = vote_request_from(request).map_err(AnswerError::Unreadable)?;
                let response = self.raft.vote(request).await;
                Response::Vote(vote_response(&response.map_err(|e| stopped(&e))?))
            }
            Request::PreVote(request) => {
                let request = vote_request_from(request).map_err(AnswerError::Unreadable)?;
                let response = self.raft.pre_vote(request).await;
                Response::Vote(vote_response(&response.map_err(|e| stopped(&e))?))
            }
            Request::Snapshot(request) => Response::Snapshot(self.snapshot(request).await?),
        };
        Ok(Frame::wrap(&wire::PeerResponse {
            response: Some(response),
        }))
    }

    async fn snapshot(
        &self,
        request: wire::SnapshotRequest,
    ) -> Result<wire::SnapshotResponse, AnswerError> {
        let missing = || AnswerError::Unreadable(DecodeError::Field("vote"));
        let vote = vote_from(&request.vote.ok_or_else(missing)?);
        let mut incoming = self.incoming.lock().await;
        match request.chunk.and_then(|chunk| chunk.part) {
            Some(Part::Manifest(manifest)) => {
                let receiver = Receiver::begin(&self.dir.incoming(), manifest);
                *incoming = Some(receiver.map_err(AnswerError::Snapshot)?);
            }
            Some(Part::Data(data)) => {
                let receiver = incoming.as_mut().ok_or_else(no_manifest)?;
                receiver.accept(&data).map_err(AnswerError::Snapshot)?;
            }
            None => {}
        }
        if !request.is_last {
            return Ok(wire::SnapshotResponse { vote: None });
        }
        let receiver = incoming.take().ok_or_else(no_manifest)?;
        let snapshot = tokio::task::spawn_blocking(|| receiver.finish()).await;
        let snapshot = snapshot.map_err(|e| stopped(&e))?;
        let snapshot = snapshot.map_err(AnswerError::Snapshot)?;
        let snapshot = described(snapshot).map_err(|e| stopped(&e))?;
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let installed = installed.map_err(|e| stopped(&e))?;
        Ok(wire::SnapshotResponse {
            vote: Some(vote_message(&installed.vote)),
        })
    }
}

fn stopped(error: &dyn std::error::Error) -> AnswerError {
    AnswerError::Stopped(chain(error))
}

fn no_manifest() -> AnswerError {
    AnswerError::Snapshot(StorageError::Corrupt {
        what: "the order of a snapshot's parts".to_owned(),
    })
}
