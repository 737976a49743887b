//! The services on the agent's socket, by the first part of the path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use proto::grpc::health::v1::health_server::HealthServer;
use proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderValue;
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
            "SpiffeWorkloadAPI" => Either::Left(with_spire_codes(self.workload.call(request))),
            "grpc.health.v1.Health" => Either::Left(with_spire_codes(self.health.call(request))),
            unknown => {
                let status = Status::unimplemented(format!("unknown service {unknown}"));
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}

/// Gives a request over the size limit the code and the text that SPIRE's clients know.
fn with_spire_codes(
    answer: BoxFuture<http::Response<Body>, Infallible>,
) -> BoxFuture<http::Response<Body>, Infallible> {
    Box::pin(async {
        let mut response = answer.await?;
        let headers = response.headers_mut();
        // Nothing of ours answers OUT_OF_RANGE, only the decoder does when a message is too large.
        if headers
            .get(Status::GRPC_STATUS)
            .is_some_and(|code| code == "11")
        {
            headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("8"));
            headers.insert(
                Status::GRPC_MESSAGE,
                HeaderValue::from_static("grpc:%20received%20message%20larger%20than%20max"),
            );
        }
        Ok(response)
    })
}
