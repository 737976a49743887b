//! The services on the agent's socket, by the first part of the path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use proto::grpc::health::v1::health_server::HealthServer;
use proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service as HttpService, http};

use super::Service;
use crate::health::HealthService;

/// The Workload API and the health of the agent.
#[derive(Clone)]
pub(super) struct Router {
    pub(super) workload: SpiffeWorkloadApiServer<Service>,
    pub(super) health: HealthServer<HealthService>,
}

impl HttpService<http::Request<Body>> for Router {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<
        BoxFuture<http::Response<Body>, Infallible>,
        Ready<Result<http::Response<Body>, Infallible>>,
    >;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match service {
            "SpiffeWorkloadAPI" => Either::Left(self.workload.call(request)),
            "grpc.health.v1.Health" => Either::Left(self.health.call(request)),
            unknown => {
                let status = Status::unimplemented(format!("unknown service {unknown}"));
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}
