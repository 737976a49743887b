//! The way to other members, over whatever the connector opens.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::convert::{vote_from, vote_message};
use super::message::{append_request, append_response_from, vote_request, vote_response_from};
use super::{Peer, Types, Vote};
use crate::codec::{DecodeError, Frame, wire};
use crate::peer::{PeerAddress, PeerConnection, PeerConnector};
use crate::storage::snapshot::Snapshot;
use crate::storage::transfer::Sender;

/// Makes clients for peers.
pub(super) struct Network {
    connector: Arc<dyn PeerConnector>,
    cluster_id: [u8; 16],
}

impl Network {
    pub(super) fn new(connector: Arc<dyn PeerConnector>, cluster_id: [u8; 16]) -> Self {
        Self {
            connector,
            cluster_id,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerClient;

    // Heartbeats and snapshots ask for clients of their own, so each has its own connection.
    async fn new_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        PeerClient {
            connector: Arc::clone(&self.connector),
            peer: PeerAddress {
                cluster_id: self.cluster_id,
                member_id: target,
                address: peer.address.clone(),
            },
            connection: None,
        }
    }
}

/// A client for one peer; connects when it has something to say.
pub(super) struct PeerClient {
    connector: Arc<dyn PeerConnector>,
    peer: PeerAddress,
    connection: Option<Box<dyn PeerConnection>>,
}

impl PeerClient {
    /// Sends one request. After a failure the connection is not used again: an answer that comes
    /// late must not be taken for the next one's.
    async fn exchange(
        &mut self,
        request: Request,
        deadline: Duration,
    ) -> Result<Response, RPCError<Types>> {
        let request = Frame::wrap(&wire::PeerRequest {
            cluster_id: self.peer.cluster_id.to_vec(),
            target: self.peer.member_id,
            request: Some(request),
        });
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match self.connector.connect(self.peer.clone()).await {
                Ok(connection) => connection,
                // Unreachable, not a network error: the latter is retried at once.
                Err(error) => return Err(RPCError::Unreachable(Unreachable::new(&error))),
            },
        };
        let answer = connection.exchange(Bytes::from(request), deadline).await;
        let answer = answer.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?;
        let response: wire::PeerResponse = Frame::unwrap(&answer).map_err(|e| malformed(&e))?;
        self.connection = Some(connection);
        let missing = || malformed(&DecodeError::Field("response"));
        response.response.ok_or_else(missing)
    }

    async fn ask_for_vote(
        &mut self,
        request: Request,
        deadline: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.exchange(request, deadline).await? {
            Response::Vote(response) => vote_response_from(response).map_err(|e| malformed(&e)),
            Response::Append(_) | Response::Snapshot(_) => Err(unexpected()),
        }
    }

    async fn send_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        deadline: Duration,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let mut chunks = Sender::new(snapshot);
        loop {
            let next = move || {
                let chunk = chunks.next();
                (chunks, chunk)
            };
            let (sender, chunk) = tokio::task::spawn_blocking(next)
                .await
                .map_err(|error| NetworkError::new(&error))?;
            chunks = sender;
            let chunk = chunk.map_err(|error| NetworkError::new(&error))?;
            let is_last = chunk.is_none();
            let request = Request::Snapshot(wire::SnapshotRequest {
                vote: Some(vote_message(&vote)),
                chunk,
                is_last,
            });
            let response = match self.exchange(request, deadline).await? {
                Response::Snapshot(response) => response,
                Response::Append(_) | Response::Vote(_) => return Err(unexpected().into()),
            };
            if let Some(higher) = response.vote.as_ref().map(vote_from)
                && (is_last || higher > vote)
            {
                return Ok(SnapshotResponse::new(higher));
            }
            if is_last {
                return Err(unexpected().into());
            }
        }
    }
}

fn malformed(error: &DecodeError) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(error))
}

fn unexpected() -> RPCError<Types> {
    let error = io::Error::from(io::ErrorKind::InvalidData);
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = Request::Append(append_request(&request));
        match self.exchange(request, option.soft_ttl()).await? {
            Response::Append(response) => append_response_from(response).map_err(|e| malformed(&e)),
            Response::Vote(_) | Response::Snapshot(_) => Err(unexpected()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::Vote(vote_request(&request));
        self.ask_for_vote(request, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::PreVote(vote_request(&request));
        self.ask_for_vote(request, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, Snapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = self.send_snapshot(vote, snapshot.snapshot, CHUNK_DEADLINE);
        match select(Box::pin(sending), Box::pin(cancel)).await {
            Either::Left((sent, _)) => sent,
            Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }
}

/// How long a peer may take over one chunk: progress is what counts, not the whole.
const CHUNK_DEADLINE: Duration = Duration::from_secs(30);
