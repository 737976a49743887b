//! Answers what other members ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, ForwardReason, LinearizableReadError, RaftError};
use tokio::sync::Mutex;
use wire::forward_outcome::Result as Became;
use wire::peer_request::Request;
use wire::peer_response::Response;
use wire::snapshot_chunk::Part;

use super::CommandBytes;
use super::convert::{vote_from, vote_message};
use super::machine::described;
use super::member::{Shared, chain};
use super::message::{
    append_request_from, append_response, transfer_request_from, transfer_response,
    vote_request_from, vote_response,
};
use crate::codec::{DecodeError, Frame, decode_envelope, wire};
use crate::storage::StorageError;
use crate::storage::data_dir::DataDir;
use crate::storage::transfer::Receiver;

/// The answering side of a member.
pub(super) struct Answering {
    shared: Arc<Shared>,
    dir: Arc<DataDir>,
    /// The snapshot that is coming in.
    incoming: Mutex<Option<Receiver>>,
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
    /// The sender is no member of this cluster, or no longer one.
    #[error("member {from} is not, or no longer, a member of this cluster")]
    NotAMember {
        /// Who asked.
        from: u64,
    },
    /// A snapshot's part was not what should come next.
    #[error("snapshot cannot be received")]
    Snapshot(#[source] StorageError),
    /// This member has stopped.
    #[error("store stopped: {0}")]
    Stopped(String),
}

impl Answering {
    pub(super) fn new(shared: Arc<Shared>, dir: Arc<DataDir>) -> Self {
        Self {
            shared,
            dir,
            incoming: Mutex::new(None),
        }
    }

    /// The answer to a request of the member `from`.
    pub(super) async fn answer(&self, from: u64, request: &[u8]) -> Result<Vec<u8>, AnswerError> {
        let request: wire::PeerRequest = Frame::unwrap(request).map_err(AnswerError::Unreadable)?;
        let target = request.target;
        let identity = self.shared.identity;
        // A request that went astray would break the library's invariants.
        if target != identity.member_id || request.cluster_id != identity.cluster_id {
            return Err(AnswerError::WrongMember { target });
        }
        self.shared.admit(from)?;
        let missing = || AnswerError::Unreadable(DecodeError::Field("request"));
        let request = request.request.ok_or_else(missing)?;
        if matches!(request, Request::Forward(_) | Request::ReadIndex(_)) {
            self.shared.links.note_asked(from);
        }
        let response = self.respond(request).await?;
        Ok(Frame::wrap(&wire::PeerResponse {
            response: Some(response),
        }))
    }

    async fn respond(&self, request: Request) -> Result<Response, AnswerError> {
        let raft = &self.shared.raft;
        Ok(match request {
            Request::Append(request) => {
                let request = append_request_from(request).map_err(AnswerError::Unreadable)?;
                let response = raft.append_entries(request).await;
                Response::Append(append_response(&response.map_err(|e| stopped(&e))?))
            }
            Request::Vote(request) => {
                let request = vote_request_from(request).map_err(AnswerError::Unreadable)?;
                let response = raft.vote(request).await;
                Response::Vote(vote_response(&response.map_err(|e| stopped(&e))?))
            }
            Request::PreVote(request) => {
                let request = vote_request_from(request).map_err(AnswerError::Unreadable)?;
                let response = raft.pre_vote(request).await;
                Response::Vote(vote_response(&response.map_err(|e| stopped(&e))?))
            }
            Request::Snapshot(request) => Response::Snapshot(self.snapshot(request).await?),
            Request::Transfer(request) => {
                let request = transfer_request_from(request).map_err(AnswerError::Unreadable)?;
                let response = raft.handle_transfer_leader(request).await;
                Response::Transfer(transfer_response(&response.map_err(|e| stopped(&e))?))
            }
            Request::Forward(request) => Response::Forward(self.append(request).await?),
            Request::ReadIndex(_) => Response::ReadIndex(self.read_index().await?),
            Request::Status(request) => {
                Response::Status(self.shared.own_status(request.with_hashes))
            }
            Request::Change(request) => {
                let missing = || AnswerError::Unreadable(DecodeError::Field("change"));
                let answer = self
                    .shared
                    .decide(request.change.ok_or_else(missing)?)
                    .await;
                Response::Change(wire::ChangeResponse {
                    result: Some(answer),
                })
            }
        })
    }

    /// Appends commands that another member took, if this one leads.
    async fn append(
        &self,
        request: wire::ForwardRequest,
    ) -> Result<wire::ForwardResponse, AnswerError> {
        for command in &request.commands {
            // Once in the log, a command that cannot be read stops every member.
            decode_envelope(command).map_err(AnswerError::Unreadable)?;
        }
        let raft = &self.shared.raft;
        let commands = request.commands.into_iter();
        let commands = commands.map(|command| CommandBytes(Bytes::from(command)));
        let written = raft.client_write_many(commands).await;
        let mut written = written.map_err(|e| stopped(&e))?;
        let mut outcomes = Vec::new();
        while let Some(result) = written.try_next().await.map_err(|e| stopped(&e))? {
            let became = match result {
                Ok(response) => Became::Index(response.log_id.index()),
                Err(ClientWriteError::ForwardToLeader(forward))
                    if forward.reason != ForwardReason::NotLeader =>
                {
                    Became::NotLeader(wire::NotLeader {
                        leader: forward.leader_id.unwrap_or(0),
                    })
                }
                // The library says so too for an entry that it had appended and then lost.
                Err(_) => Became::Undecided(true),
            };
            outcomes.push(wire::ForwardOutcome {
                result: Some(became),
            });
        }
        Ok(wire::ForwardResponse { outcomes })
    }

    async fn read_index(&self) -> Result<wire::ReadIndexResponse, AnswerError> {
        use wire::read_index_response::Result as Answer;
        if self.shared.is_silent.load(Ordering::Relaxed) {
            return Ok(wire::ReadIndexResponse {
                result: Some(Answer::NoQuorum(true)),
            });
        }
        let read = self
            .shared
            .raft
            .get_read_log_id(ReadPolicy::ReadIndex)
            .await;
        let answer = match read {
            Ok((read, _)) => Answer::Index(read.index()),
            Err(RaftError::Fatal(fatal)) => return Err(stopped(&fatal)),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Answer::NotLeader(wire::NotLeader {
                    leader: forward.leader_id.unwrap_or(0),
                })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Answer::NoQuorum(true)
            }
        };
        Ok(wire::ReadIndexResponse {
            result: Some(answer),
        })
    }

    async fn snapshot(
        &self,
        request: wire::SnapshotRequest,
    ) -> Result<wire::SnapshotResponse, AnswerError> {
        let missing = || AnswerError::Unreadable(DecodeError::Field("vote"));
        let vote = vote_from(&request.vote.ok_or_else(missing)?);
        let known = self.shared.known_vote();
        if known > vote {
            // From a leader of the past: told so before it sends the rest.
            return Ok(wire::SnapshotResponse {
                vote: Some(vote_message(&known)),
            });
        }
        let mut incoming = self.incoming.lock().await;
        match request.chunk.and_then(|chunk| chunk.part) {
            Some(Part::Manifest(manifest)) => {
                let own_id = &self.shared.identity.cluster_id;
                check_home(&manifest, own_id).map_err(AnswerError::Snapshot)?;
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
        // Stays locked while files are written, though nobody waits for them any more.
        let dir = Arc::clone(&self.dir);
        let finish = move || {
            let finished = receiver.finish();
            drop(dir);
            finished
        };
        let snapshot = tokio::task::spawn_blocking(finish).await;
        let snapshot = snapshot.map_err(|e| stopped(&e))?;
        let snapshot = snapshot.map_err(AnswerError::Snapshot)?;
        let snapshot = described(snapshot).map_err(|e| stopped(&e))?;
        let installed = self.shared.raft.install_full_snapshot(vote, snapshot).await;
        let installed = installed.map_err(|e| stopped(&e))?;
        Ok(wire::SnapshotResponse {
            vote: Some(vote_message(&installed.vote)),
        })
    }
}

fn stopped(error: &dyn std::error::Error) -> AnswerError {
    AnswerError::Stopped(chain(error))
}

/// A snapshot of another cluster holds another cluster's keys.
fn check_home(
    manifest: &wire::SnapshotManifest,
    cluster_id: &[u8; 16],
) -> Result<(), StorageError> {
    if manifest.cluster_id == cluster_id {
        return Ok(());
    }
    Err(StorageError::Foreign {
        what: "a snapshot that a peer sent",
    })
}

fn no_manifest() -> AnswerError {
    AnswerError::Snapshot(StorageError::Corrupt {
        what: "the order of a snapshot's parts".to_owned(),
    })
}
