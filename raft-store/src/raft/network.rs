//! The way to other members, over whatever the connector opens.

use std::future::Future;
use std::io;
use std::sync::Arc;

use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;

use super::{Peer, Types, Vote};
use crate::peer::{PeerAddress, PeerConnector, PeerError};
use crate::storage::snapshot::Snapshot;

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

    async fn new_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        PeerClient {
            connector: Arc::clone(&self.connector),
            peer: PeerAddress {
                cluster_id: self.cluster_id,
                member_id: target,
                address: peer.address.clone(),
            },
        }
    }
}

/// A client for one peer.
pub(super) struct PeerClient {
    connector: Arc<dyn PeerConnector>,
    peer: PeerAddress,
}

impl PeerClient {
    /// Connects; that no peer answers is not worth a hot retry.
    async fn reach(&self) -> RPCError<Types> {
        match self.connector.connect(self.peer.clone()).await {
            Ok(_) => unreachable_peer(&self.peer),
            Err(error) => RPCError::Unreachable(Unreachable::new(&error)),
        }
    }
}

fn unreachable_peer(peer: &PeerAddress) -> RPCError<Types> {
    let error = PeerError {
        member_id: peer.member_id,
        address: peer.address.clone(),
        source: Some(io::Error::from(io::ErrorKind::Unsupported)),
    };
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(self.reach().await)
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.reach().await)
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: SnapshotOf<Types, Snapshot>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(self.reach().await.into())
    }
}
