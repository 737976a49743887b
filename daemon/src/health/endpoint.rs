//! The HTTP listener for liveness and readiness probes: 200 or 500 with a JSON body.
//!
//! Connections are few, short and bounded: whoever probes needs no more.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{Checks, Options, Report};
use crate::supervisor::Shutdown;

/// Binds the listener.
///
/// # Errors
/// [`BindError`] with the address.
pub async fn bind(options: Options) -> Result<Endpoint, BindError> {
    let address = (options.bind_address.as_str(), options.bind_port);
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Endpoint { listener, options }),
        Err(source) => Err(BindError {
            address: options.bind_address,
            port: options.bind_port,
            source,
        }),
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    options: Options,
}

impl Endpoint {
    /// The address listened on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers probes until `shutdown`.
    ///
    /// # Errors
    /// None at present: a failed accept is logged and tried again.
    pub async fn serve(self, checks: Checks, shutdown: Shutdown) -> io::Result<()> {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let paths = Arc::new((self.options.live_path, self.options.ready_path));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = shutdown.requested() => return Ok(()),
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "accept of a health probe failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // A probe beyond the limit is hung up on; the next one finds room.
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                continue;
            };
            let (checks, paths) = (checks.clone(), paths.clone());
            connections.spawn(async move {
                answer(stream, checks, paths).await;
                drop(slot);
            });
        }
    }
}

/// The health listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("bind health listener on {address}:{port}")]
pub struct BindError {
    address: String,
    port: u16,
    #[source]
    source: io::Error,
}

const MAX_CONNECTIONS: usize = 32;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

async fn answer(stream: TcpStream, checks: Checks, paths: Arc<(String, String)>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.uri().path(), &checks, &paths);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        debug!(%error, "health probe broke off");
    }
}

fn respond(path: &str, checks: &Checks, paths: &(String, String)) -> Response<Full<Bytes>> {
    if path == paths.0 {
        report(&checks.liveness())
    } else if path == paths.1 {
        report(&checks.readiness())
    } else {
        response(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "404 page not found\n".to_owned(),
        )
    }
}

fn report(report: &Report) -> Response<Full<Bytes>> {
    let status = match report.is_ok() {
        true => StatusCode::OK,
        false => StatusCode::INTERNAL_SERVER_ERROR,
    };
    response(status, "application/json", report.to_json())
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "));
        format!("{status} {} {body}", kind.unwrap_or_default())
    }

    #[tokio::test]
    async fn probes_are_answered_as_recorded() {
        let options = Options {
            bind_port: 0,
            ..Options::default()
        };
        let endpoint = bind(options).await.unwrap();
        let address = endpoint.local_address().unwrap();
        let checks = Checks::new();
        let agent = checks.register("agent");
        let shutdown = Shutdown::new();
        let serve = endpoint.serve(checks, shutdown.clone());
        let probe = async {
            assert_eq!(
                ask(address, "/ready").await,
                r#"500 application/json {"agent":{"reason":"not checked yet"}}"#
            );
            assert_eq!(
                ask(address, "/live").await,
                r#"200 application/json {"agent":{}}"#
            );
            agent.set_ready();
            assert_eq!(
                ask(address, "/ready").await,
                r#"200 application/json {"agent":{}}"#
            );
            assert_eq!(
                ask(address, "/nope").await,
                "404 text/plain; charset=utf-8 404 page not found\n"
            );
            shutdown.request();
        };
        let (served, ()) = tokio::join!(serve, probe);
        served.unwrap();
    }
}
