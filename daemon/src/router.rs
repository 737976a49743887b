//! The gRPC services on a socket, by the first part of the path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderValue;
use tonic::codegen::{BoxFuture, Service as HttpService, http};
use tonic::server::NamedService;
use tower::util::BoxCloneSyncService;

type Request = http::Request<Body>;
type AnyService = BoxCloneSyncService<Request, http::Response<Body>, Infallible>;
type Answer = BoxFuture<http::Response<Body>, Infallible>;

/// Any number of gRPC services.
#[derive(Clone, Debug, Default)]
pub struct Router(Vec<(&'static str, AnyService)>);

impl Router {
    /// Serves `service` too.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: HttpService<Request, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.0.push((S::NAME, AnyService::new(service)));
        self
    }
}

impl HttpService<Request> for Router {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Answer, Ready<Result<http::Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        let service = self.0.iter_mut().find(|(known, _)| *known == name);
        match service {
            // Generated services are always ready.
            Some((_, service)) => Either::Left(with_spire_codes(Box::pin(service.call(request)))),
            None => {
                let status = Status::unimplemented(format!("unknown service {name}"));
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}

/// Gives a request over the size limit the code and the text that SPIRE's clients know.
fn with_spire_codes(answer: Answer) -> Answer {
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
