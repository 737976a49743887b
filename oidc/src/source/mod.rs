//! Where keys come from, asked over and over.
//!
//! A poll that fails is logged, and what was found before stays: keys change rarely, and a verifier that
//! finds none refuses everything.

mod file;
mod server_api;
mod workload_api;

use std::{convert::Infallible, sync::Arc, time::Duration};

use daemon::{
    duration,
    supervisor::{Shutdown, chain},
};
use identity::bundle::JwtAuthority;
use tracing::{debug, warn};

use crate::{config::Source, key_set::KeySet};

/// Asks the source every `interval` until `shutdown` and keeps what it says in `keys`.
///
/// # Errors
/// None: a failed poll is logged and made again.
pub async fn poll(
    source: Source,
    interval: Duration,
    keys: Arc<KeySet>,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    debug!(interval = duration::format_go(interval), "Polling started");
    loop {
        let polled = tokio::select! {
            polled = tokio::time::timeout(DEADLINE, poll_once(&source)) => polled,
            () = shutdown.requested() => break,
        };
        match polled.unwrap_or(Err(PollError::Deadline)) {
            Ok(authorities) => keys.store(authorities),
            Err(error) => warn!(error = %chain(&error), "{}", failure(&source)),
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.requested() => break,
        }
    }
    debug!("Polling done");
    Ok(())
}

/// What the source says now. There is no deadline.
///
/// # Errors
/// It says nothing, or nothing that can be used.
pub async fn poll_once(source: &Source) -> Result<Vec<JwtAuthority>, PollError> {
    match source {
        Source::ServerApi { socket } => server_api::poll(socket).await,
        Source::WorkloadApi {
            socket,
            trust_domain,
        } => workload_api::poll(socket, trust_domain).await,
        Source::File { path } => file::poll(path).await,
    }
}

/// SPIRE's message about a failed poll.
fn failure(source: &Source) -> &'static str {
    match source {
        Source::ServerApi { .. } => "Failed to fetch bundle",
        Source::WorkloadApi { .. } => "Failed to fetch JWKS from the Workload API",
        Source::File { .. } => "Failed to load SPIFFE trust bundle",
    }
}

/// Why a poll gave no keys.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// Nobody listens on the socket.
    #[error("unable to reach the socket")]
    Connect(#[from] daemon::unix::ConnectError),
    /// The call failed.
    #[error("call failed")]
    Call(#[from] Box<tonic::Status>),
    /// The stream ended before its first message.
    #[error("no answer")]
    NoAnswer,
    /// The Workload API gives this workload no keys of the trust domain.
    #[error("no bundle for trust domain {0} in Workload API response")]
    NoBundle(String),
    /// The file could not be read.
    #[error("unable to read the file")]
    Read(#[from] std::io::Error),
    /// The keys do not parse.
    #[error("unusable keys")]
    Keys(#[from] identity::bundle::JwksError),
    /// The source took longer than it may.
    #[error("no answer within {DEADLINE:?}")]
    Deadline,
}

/// How long one poll may take.
const DEADLINE: Duration = Duration::from_secs(30);
