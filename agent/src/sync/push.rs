//! Following a server's stream of changes, across the ends of streams and servers.

use std::time::Duration;

use daemon::supervisor::chain;
use tokio::time::Instant;
use tonic::Code;
use tracing::{info, warn};

use crate::client::{Batch, CallError, LinkId, Offer, ServerClient, Watch};

/// After this time of hearing only that every server is behind, what is held counts for nothing:
/// the store that it came from is gone. It is how long a server that lost its cluster may go on
/// signing, so until then it may just be that.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The place in the servers' history that the agent has reached, and the stream that goes on there.
///
/// It goes back only if a server sends everything anew. A server that is behind is left for another
/// one, so that what was removed does not come back with it.
pub(super) struct Follower {
    revision: u64,
    stream: Option<Box<Watch>>,
    heard_at: Instant,
}

/// What following brings.
pub(super) enum Followed {
    /// A change, or a sign of life.
    Batch(Batch),
    /// The server of this connection has no stream.
    Unimplemented(LinkId),
}

impl Follower {
    /// One that has heard nothing yet.
    pub(super) fn new() -> Self {
        Self {
            revision: 0,
            stream: None,
            heard_at: Instant::now(),
        }
    }

    /// Makes the next stream begin with everything.
    pub(super) fn start_over(&mut self) {
        self.revision = 0;
        self.stream = None;
    }

    /// The next batch. A stream that ends is followed by another one at once.
    pub(super) async fn next(&mut self, client: &ServerClient) -> Result<Followed, CallError> {
        if let Some(stream) = &mut self.stream {
            match stream.next().await {
                Ok(batch) => return Ok(self.heard(batch)),
                Err(error) => {
                    self.stream = None;
                    info!(error = %chain(&error), revision = self.revision, "Stream of changes ended");
                    self.forgive(&error);
                }
            }
        }
        let result = self.open(client).await;
        if let Err(error) = &result {
            self.forgive(error);
        }
        result
    }

    async fn open(&mut self, client: &ServerClient) -> Result<Followed, CallError> {
        match client.watch(self.revision).await? {
            Offer::Unimplemented(link) => Ok(Followed::Unimplemented(link)),
            Offer::Changes(mut stream) => {
                let batch = stream.next().await?;
                self.stream = Some(stream);
                Ok(self.heard(batch))
            }
        }
    }

    fn heard(&mut self, batch: Batch) -> Followed {
        if batch.is_reset && batch.revision < self.revision {
            warn!(
                held = self.revision,
                received = batch.revision,
                "Server sent an older state in place of the one that was held"
            );
        }
        self.revision = batch.revision;
        self.heard_at = Instant::now();
        Followed::Batch(batch)
    }

    /// Decides whether the place in the history is still worth anything after `error`.
    fn forgive(&mut self, error: &CallError) {
        let is_broken = matches!(error, CallError::Malformed(_));
        let is_behind = matches!(error, CallError::Status(_)) && error.code() == Code::Unavailable;
        let is_lost = is_behind && self.heard_at.elapsed() > FORGET_AFTER;
        if self.revision > 0 && (is_broken || is_lost) {
            warn!(
                revision = self.revision,
                "Asking the servers for everything anew"
            );
            self.start_over();
        }
    }
}
