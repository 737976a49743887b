//! Whether the agent works: asked over gRPC on its own socket, and over HTTP.
//!
//! Both answers come from calling the agent's Workload API as a workload would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::supervisor::chain;
use proto::grpc::health::v1::health_check_response::ServingStatus;
use proto::grpc::health::v1::health_server::{Health, HealthServer};
use proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use proto::workload::X509svidRequest;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use tracing::warn;

use crate::config::Config;
use crate::endpoints::MAX_REQUEST_LEN_BYTES;

/// The time that the agent has to answer itself.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why the agent is not well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nobody answers on the socket.
    #[error("unable to reach the Workload API")]
    Connect(#[from] daemon::unix::ConnectError),
    /// The answer is neither an identity nor a refusal.
    #[error("unable to fetch X.509 context from Workload API")]
    Answer(#[source] Box<Status>),
    /// No answer in time.
    #[error("no answer from Workload API within {0:?}")]
    Deadline(Duration),
}

/// Calls the Workload API on the socket at `path`. To be refused for want of an identity is well:
/// the agent itself needs none.
///
/// # Errors
/// The socket is dead, or the answer is another failure.
pub async fn check(path: &Path) -> Result<(), HealthError> {
    match timeout(DEADLINE, fetch(path)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(HealthError::Deadline(DEADLINE)),
    }
}

async fn fetch(path: &Path) -> Result<(), HealthError> {
    let channel = daemon::unix::connect(path).await?;
    let mut request = Request::new(X509svidRequest {});
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", header);
    let mut client = SpiffeWorkloadApiClient::new(channel);
    let first = async {
        client
            .fetch_x509svid(request)
            .await?
            .into_inner()
            .message()
            .await
    };
    match first.await {
        Ok(_identity) => Ok(()),
        Err(status) if status.code() == Code::PermissionDenied => Ok(()),
        Err(status) => Err(HealthError::Answer(Box::new(status))),
    }
}

/// How to find out whether the agent is well.
#[derive(Clone, Debug)]
pub enum Probe {
    /// By its Workload API on the socket at this path.
    WorkloadApi(PathBuf),
    /// It serves no Workload API: well is whoever answers at all.
    Unneeded,
}

impl Probe {
    /// The probe for an agent with these settings.
    pub fn of(config: &Config) -> Self {
        match config.disable_workload_api {
            false => Self::WorkloadApi(config.socket_path.clone()),
            true => Self::Unneeded,
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// As [`check`].
    pub async fn check(&self) -> Result<(), HealthError> {
        match self {
            Self::WorkloadApi(path) => check(path).await,
            Self::Unneeded => Ok(()),
        }
    }
}

/// `grpc.health.v1` on the agent's socket.
#[derive(Debug)]
pub struct HealthService(Probe);

impl HealthService {
    /// Answers by `probe`.
    pub fn server(probe: Probe) -> HealthServer<Self> {
        HealthServer::new(Self(probe)).max_decoding_message_size(MAX_REQUEST_LEN_BYTES)
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::invalid_argument(
                "per-service health is not supported",
            ));
        }
        let status = match self.0.check().await {
            Ok(()) => ServingStatus::Serving,
            Err(error) => {
                warn!(error = %chain(&error), "Health check failed");
                ServingStatus::NotServing
            }
        };
        Ok(Response::new(HealthCheckResponse {
            status: status.into(),
        }))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("method List not implemented"))
    }

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("method Watch not implemented"))
    }
}
