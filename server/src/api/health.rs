//! Owns the gRPC health service of the Unix socket.

use proto::grpc::health::v1::health_check_response::ServingStatus;
use proto::grpc::health::v1::health_server::Health;
use proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use crate::api::status;
use crate::bundles::Bundles;
use crate::ca::Ca;
use crate::endpoints::Gate;

/// The health service: the server serves once its own bundle can be read, while it may sign.
#[derive(Clone, Debug)]
pub struct HealthApi {
    bundles: Bundles,
    ca: Ca,
    gate: Gate,
}

impl HealthApi {
    /// The health of a server with these bundles, which signs with `ca` and lets calls through
    /// `gate`.
    pub fn new(bundles: Bundles, ca: Ca, gate: Gate) -> Self {
        Self { bundles, ca, gate }
    }
}

#[tonic::async_trait]
impl Health for HealthApi {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::invalid_argument(
                "per-service health is not supported",
            ));
        }
        if let Some(waiting) = self.gate.waiting() {
            tracing::warn!(cause = %waiting, "not healthy");
            return Ok(Response::new(HealthCheckResponse {
                status: ServingStatus::NotServing.into(),
            }));
        }
        let status = match (self.bundles.own(), self.ca.may_sign()) {
            (Some(_), Ok(())) => ServingStatus::Serving,
            (None, _) => ServingStatus::NotServing,
            (_, Err(suspended)) => {
                // The answer has no room for the reason.
                tracing::warn!(cause = %suspended, "not healthy");
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
        Err(status::not_implemented("List"))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(status::not_implemented("Watch"))
    }
}
