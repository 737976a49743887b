//! The connection to a server and the calls made over it.
//!
//! Every call has a deadline, and its answer is checked and in domain types when it leaves here.

mod calls;
mod dial;
mod entries;
mod error;

pub use calls::{JwtAnswer, SignedChain, SigningRequest};
pub(crate) use calls::{chain, own_bundle};
pub use dial::{DialError, Dialer, ServerAddress, Servers, TlsMode};
pub use entries::{EntryRevision, KnownEntries};
pub use error::{CallError, Demand, Malformed};

use std::sync::Arc;
use std::time::Duration;

use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use tonic::transport::Channel;

/// The time that one call may take, the connection included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Entries of a page and authorities of a bundle fit many times.
const MAX_ANSWER_LEN_BYTES: usize = 32 << 20;

/// Calls to a server; a clone shares the connection.
#[derive(Clone, Debug)]
pub struct ServerClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dialer: Dialer,
    trust_domain: TrustDomain,
    slot: Mutex<Slot>,
}

/// The connection in use, and how often the agent's SVID has changed.
#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    channel: Option<Channel>,
}

impl ServerClient {
    /// A client that connects by `dialer` at its first call.
    pub fn new(dialer: Dialer, trust_domain: TrustDomain) -> Self {
        Self(Arc::new(Inner {
            dialer,
            trust_domain,
            slot: Mutex::default(),
        }))
    }

    /// Lets the next call use a new connection, because the agent has another SVID now. Calls under
    /// way end on the old one; what the server demands of the old SVID there no longer counts.
    pub fn reconnect(&self) {
        let mut slot = self.0.slot.lock();
        slot.generation += 1;
        slot.channel = None;
    }

    /// The connection, made if there is none, and the generation of its SVID. Two callers at once
    /// may make two; the later stays.
    async fn channel(&self) -> Result<(u64, Channel), CallError> {
        loop {
            let generation = {
                let slot = self.0.slot.lock();
                if let Some(channel) = &slot.channel {
                    return Ok((slot.generation, channel.clone()));
                }
                slot.generation
            };
            let channel = self.0.dialer.connect().await.map_err(CallError::Dial)?;
            let mut slot = self.0.slot.lock();
            // Otherwise the SVID has changed since the handshake began.
            if slot.generation == generation {
                slot.channel = Some(channel.clone());
                return Ok((generation, channel));
            }
        }
    }

    /// Runs one call within its deadline, and gives the connection up if it may be broken.
    async fn call<T, F>(
        &self,
        deadline: Duration,
        call: impl FnOnce(Channel) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let whole = async {
            let (generation, channel) = self.channel().await?;
            let result = call(channel).await;
            result.map_err(|error| self.judge(error, generation))
        };
        let result = match tokio::time::timeout(deadline, whole).await {
            Ok(result) => result,
            Err(_elapsed) => Err(CallError::Deadline(deadline)),
        };
        if let Err(error) = &result
            && error.is_of_the_connection()
        {
            self.0.dialer.prefer_next();
            self.0.slot.lock().channel = None;
        }
        result
    }

    /// The first use of a renewed SVID makes the one before invalid. A call that was under way with
    /// that one is then refused, which says nothing about the agent.
    fn judge(&self, error: CallError, generation: u64) -> CallError {
        match error {
            CallError::Denied { status, .. } if self.0.slot.lock().generation != generation => {
                CallError::Superseded(status)
            }
            other => other,
        }
    }
}
