//! Following a server's stream of changes, across the ends of streams and servers.

use daemon::supervisor::chain;
use tracing::{info, warn};

use crate::client::{Batch, CallError, LinkId, Offer, ServerClient, Watch};

/// How often a stream is opened anew whose connection is replaced before it brings anything.
const MAX_ATTEMPTS: usize = 3;

/// The place in the servers' history that the agent has reached, and the stream that goes on there.
///
/// It goes back only if a server sends everything anew, as one does that has made sure that there is
/// nothing later. One that is merely behind answers that it is unavailable and is left for another
/// one, so that what was removed does not come back with it.
pub(super) struct Follower {
    revision: u64,
    stream: Option<Box<Watch>>,
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
                    self.note(&error);
                }
            }
        }
        let result = self.open(client).await;
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    async fn open(&mut self, client: &ServerClient) -> Result<Followed, CallError> {
        let mut attempts = 1;
        loop {
            let mut stream = match client.watch(self.revision).await? {
                Offer::Unimplemented(link) => return Ok(Followed::Unimplemented(link)),
                Offer::Changes(stream) => stream,
            };
            match stream.next().await {
                Ok(batch) => {
                    self.stream = Some(stream);
                    return Ok(self.heard(batch));
                }
                Err(CallError::Superseded(_)) if attempts < MAX_ATTEMPTS => attempts += 1,
                Err(error) => return Err(error),
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
        Followed::Batch(batch)
    }

    /// After an answer that breaks the protocol nobody knows what place it left the agent at.
    fn note(&mut self, error: &CallError) {
        if matches!(error, CallError::Malformed(_)) && self.revision > 0 {
            warn!(
                revision = self.revision,
                "Asking the servers for everything anew"
            );
            self.start_over();
        }
    }
}
