//! The library's way to other members.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::convert::{vote_from, vote_message};
use super::line::Line;
use super::links::{LinkError, Links};
use super::message::{
    append_request, append_response_from, transfer_request, transfer_response_from, vote_request,
    vote_response_from,
};
use super::replicate::{Answer, MAX_UNANSWERED, replicate};
use super::{Peer, Types, Vote};
use crate::codec::wire;
use crate::peer::Lane;
use crate::storage::snapshot::Snapshot;
use crate::storage::transfer::Sender;

/// Makes clients for peers.
pub(super) struct Network {
    links: Arc<Links>,
}

impl Network {
    pub(super) const fn new(links: Arc<Links>) -> Self {
        Self { links }
    }

    fn client(&self, target: u64, peer: &Peer, lane: Lane) -> PeerClient {
        PeerClient {
            links: Arc::clone(&self.links),
            member_id: target,
            address: peer.address.clone(),
            lane,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Snapshot)
    }
}

/// A client for one peer and one kind of traffic; connects when it has something to say.
pub(super) struct PeerClient {
    links: Arc<Links>,
    member_id: u64,
    address: String,
    lane: Lane,
}

impl PeerClient {
    async fn ask(
        &self,
        lane: Lane,
        request: Request,
        deadline: Duration,
    ) -> Result<Response, RPCError<Types>> {
        let address = self.current_address();
        let asked = self
            .links
            .ask(self.member_id, &address, lane, request, deadline);
        // Unreachable, not a network error: the latter is retried at once.
        asked.await.map_err(|error| unreachable(&error))
    }

    /// Where the member listens. The library keeps a client as long as it replicates: it may have moved since.
    fn current_address(&self) -> String {
        let moved = self.links.address(self.member_id);
        moved.unwrap_or_else(|| self.address.clone())
    }

    fn unexpected(&self) -> RPCError<Types> {
        unreachable(&LinkError::unexpected(self.member_id))
    }

    async fn ask_for_vote(
        &self,
        request: Request,
        deadline: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(Lane::Heartbeat, request, deadline).await? {
            Response::Vote(response) => {
                vote_response_from(response).map_err(|_unreadable| self.unexpected())
            }
            _ => Err(self.unexpected()),
        }
    }

    async fn send_snapshot(
        &self,
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
            let answer = self.ask(self.lane, request, deadline).await?;
            let Response::Snapshot(response) = answer else {
                return Err(self.unexpected().into());
            };
            if let Some(higher) = response.vote.as_ref().map(vote_from)
                && (is_last || higher > vote)
            {
                return Ok(SnapshotResponse::new(higher));
            }
            if is_last {
                return Err(self.unexpected().into());
            }
        }
    }
}

pub(super) fn unreachable(error: &LinkError) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = Request::Append(append_request(&request));
        let deadline = match self.lane {
            // Before the library gives up, so that silence is noticed here.
            Lane::Heartbeat => option.hard_ttl().mul_f64(0.9),
            // Entries may take as long as a disk does.
            Lane::Log | Lane::Snapshot | Lane::Forward => APPEND_DEADLINE,
        };
        match self.ask(self.lane, request, deadline).await? {
            Response::Append(response) => {
                append_response_from(response).map_err(|_unreadable| self.unexpected())
            }
            _ => Err(self.unexpected()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Answer>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // First: after an error the library makes its pause before it gives a request, and no other.
            let mut input = input;
            let Some(first) = input.next().await else {
                return Ok(stream::empty().boxed());
            };
            let links = Arc::clone(&self.links);
            let (member_id, address) = (self.member_id, self.current_address());
            let line = Line::open(links, member_id, &address, self.lane, MAX_UNANSWERED).await;
            let line = line.map_err(|error| unreachable(&error))?;
            let requests = stream::iter([first]).chain(input);
            Ok(replicate(line, member_id, requests))
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::Vote(vote_request(&request));
        self.ask_for_vote(request, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::PreVote(vote_request(&request));
        self.ask_for_vote(request, option.hard_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = Request::Transfer(transfer_request(&request));
        match self
            .ask(Lane::Heartbeat, request, option.soft_ttl())
            .await?
        {
            Response::Transfer(response) => {
                transfer_response_from(response).map_err(|_unreadable| self.unexpected())
            }
            _ => Err(self.unexpected()),
        }
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

/// How long a peer may take to make entries durable.
const APPEND_DEADLINE: Duration = Duration::from_secs(2);

/// How long a peer may take over one chunk: progress is what counts, not the whole.
const CHUNK_DEADLINE: Duration = Duration::from_secs(30);
