//! Owns the life of one HTTP/2 connection: its limits, its age and how it ends.
//!
//! A connection that must go is told so (GOAWAY) and may finish the calls it has within a grace;
//! then it is dropped. Streams without an end are told, too, and end as UNAVAILABLE, which clients
//! retry; the server never ends one with OK or CANCELLED because it stops.

use std::pin::{Pin, pin};
use std::time::Duration;

use daemon::supervisor::Shutdown;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::endpoints::ConnectionLife;
use crate::endpoints::router::ConnectionService;

/// How long a connection may live.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConnectionAge {
    /// Until either side closes it.
    Unlimited,
    /// It is asked to go after this time, so that clients spread over the members. A connection
    /// that carries a stream lives [`STREAM_FACTOR`] times as long.
    Limited(Duration),
}

/// How much of the server's memory a connection may take up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowance {
    /// For peers who have shown who they are, and those on this host.
    Known,
    /// For everybody else: enough to attest an agent and to read the bundle.
    Stranger,
}

impl Allowance {
    /// Calls that may be open at once; further ones wait at the client.
    const fn concurrent_streams(self) -> u32 {
        match self {
            Self::Known => 1_024,
            Self::Stranger => 16,
        }
    }

    /// Bytes of one call that may be on their way without having been read.
    const fn stream_window_bytes(self) -> u32 {
        match self {
            Self::Known => 1 << 20,
            Self::Stranger => 64 << 10,
        }
    }

    /// The same for all calls together.
    const fn connection_window_bytes(self) -> u32 {
        match self {
            Self::Known => 4 << 20,
            Self::Stranger => 128 << 10,
        }
    }
}

/// What a connection is granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) age: ConnectionAge,
    pub(crate) allowance: Allowance,
}

/// Serves `io` until the peer closes it, it is too old, or the server stops.
pub(crate) async fn serve<Io>(
    io: Io,
    service: ConnectionService,
    Terms { age, allowance }: Terms,
    shutdown: Shutdown,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(allowance.concurrent_streams())
        .initial_stream_window_size(allowance.stream_window_bytes())
        .initial_connection_window_size(allowance.connection_window_bytes())
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    let life = service.life();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));

    let grace = tokio::select! {
        result = connection.as_mut() => return log_end(result),
        () = reached(age, &life) => AGE_GRACE,
        () = shutdown.requested() => STOP_GRACE,
    };
    connection.as_mut().graceful_shutdown();
    life.end();
    drain(connection, grace, shutdown).await;
}

async fn drain<C>(mut connection: Pin<&mut C>, grace: Duration, shutdown: Shutdown)
where
    C: Future<Output = hyper::Result<()>>,
{
    let until = Instant::now() + grace;
    tokio::select! {
        result = connection.as_mut() => return log_end(result),
        () = tokio::time::sleep_until(until) => return,
        () = shutdown.requested() => {}
    }
    let until = until.min(Instant::now() + STOP_GRACE);
    if let Ok(result) = tokio::time::timeout_at(until, connection).await {
        log_end(result);
    }
}

async fn reached(age: ConnectionAge, life: &ConnectionLife) {
    let ConnectionAge::Limited(age) = age else {
        return std::future::pending().await;
    };
    tokio::time::sleep(age).await;
    if life.carries_stream() {
        tokio::time::sleep(age * (STREAM_FACTOR - 1)).await;
    }
}

fn log_end(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended with an error");
    }
}

const MAX_HEADER_BYTES: u32 = 64 << 10;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How much longer a connection may live that carries a stream: about an hour. Its client would
/// only have to come back.
const STREAM_FACTOR: u32 = 20;

/// What calls of a connection that grew too old have left.
const AGE_GRACE: Duration = Duration::from_secs(60);

/// What calls have left when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
