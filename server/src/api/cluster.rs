//! Owns the cluster service of the Unix socket.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use proto::conclave::cluster::v1 as wire;
use proto::conclave::cluster::v1::cluster_server::Cluster;
use raft_store::backup::BackupReader;
use tonic::{Request, Response, Status};

use crate::api::status::not_implemented;
use crate::api::status_cluster as status;
use crate::cluster::ClusterControl;

/// The cluster service.
#[derive(Clone, Debug)]
pub struct ClusterApi {
    control: ClusterControl,
}

impl ClusterApi {
    /// The service that hands what operators ask to `control`.
    pub fn new(control: ClusterControl) -> Self {
        Self { control }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterApi {
    async fn status(
        &self,
        _request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        Err(not_implemented("Status"))
    }

    async fn create_invite(
        &self,
        _request: Request<wire::CreateInviteRequest>,
    ) -> Result<Response<wire::CreateInviteResponse>, Status> {
        Err(not_implemented("CreateInvite"))
    }

    async fn remove_member(
        &self,
        _request: Request<wire::RemoveMemberRequest>,
    ) -> Result<Response<wire::RemoveMemberResponse>, Status> {
        Err(not_implemented("RemoveMember"))
    }

    async fn leave(
        &self,
        _request: Request<wire::LeaveRequest>,
    ) -> Result<Response<wire::LeaveResponse>, Status> {
        Err(not_implemented("Leave"))
    }

    async fn transfer(
        &self,
        _request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        Err(not_implemented("Transfer"))
    }

    async fn rotate_seal(
        &self,
        _request: Request<wire::RotateSealRequest>,
    ) -> Result<Response<wire::RotateSealResponse>, Status> {
        let rotated = self.control.rotate_seal().await;
        let rotation = rotated.map_err(|error| status::not_rotated(&error))?;
        Ok(Response::new(wire::RotateSealResponse {
            data_key: rotation.data_key,
            resealed: rotation.resealed,
            removed_data_keys: rotation.removed,
            kept_data_keys: rotation.kept,
        }))
    }

    type BackupStream = Pin<Box<dyn Stream<Item = Result<wire::BackupResponse, Status>> + Send>>;

    async fn backup(
        &self,
        _request: Request<wire::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let reader = self.control.backup().await;
        let reader = reader.map_err(|error| status::no_backup(&error))?;
        let header = wire::BackupHeader {
            seal_key_path: self.control.seal_key_path().display().to_string(),
        };
        Ok(Response::new(Box::pin(backup_parts(header, reader))))
    }
}

/// The header, then the chunks as the client takes them.
fn backup_parts(
    header: wire::BackupHeader,
    reader: BackupReader,
) -> impl Stream<Item = Result<wire::BackupResponse, Status>> + Send {
    use wire::backup_response::Part;
    let part = |part| wire::BackupResponse { part: Some(part) };
    let first = Ok(part(Part::Header(header)));
    let rest = futures_util::stream::unfold(reader, move |mut reader| async move {
        let chunk = reader.next().await?;
        let chunk = chunk.map(|bytes| part(Part::Chunk(bytes.to_vec())));
        Some((chunk.map_err(|error| status::no_backup(&error)), reader))
    });
    futures_util::stream::once(async { first }).chain(rest)
}
