//! Owns what a call may know of the life of its connection, and the connection of its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daemon::supervisor::Shutdown;

/// The life of one connection; the router puts it into every request's extensions.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLife {
    /// The server stops.
    stop: Shutdown,
    /// The connection was told to go, because it is too old or the server stops.
    end: Shutdown,
    carries_stream: Arc<AtomicBool>,
}

impl ConnectionLife {
    /// The life of a connection that goes on until `stop` at most.
    pub(super) fn until(stop: Shutdown) -> Self {
        Self {
            stop,
            ..Self::default()
        }
    }

    /// Says that the connection carries a stream without an end: it may grow older than others.
    pub fn carry_stream(&self) {
        self.carries_stream.store(true, Ordering::Relaxed);
    }

    pub(super) fn carries_stream(&self) -> bool {
        self.carries_stream.load(Ordering::Relaxed)
    }

    /// Tells the calls that the connection ends.
    pub(super) fn end(&self) {
        self.end.request();
    }

    /// Returns once the connection is told to go: streams without an end should end. Cancel-safe.
    pub async fn ending(&self) {
        self.end.requested().await;
    }

    /// Returns once the server stops. Cancel-safe.
    pub async fn stopping(&self) {
        self.stop.requested().await;
    }
}
