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
    channel: Mutex<Option<Channel>>,
}

impl ServerClient {
    /// A client that connects by `dialer` at its first call.
    pub fn new(dialer: Dialer, trust_domain: TrustDomain) -> Self {
        Self(Arc::new(Inner {
            dialer,
            trust_domain,
            channel: Mutex::new(None),
        }))
    }

    /// Lets the next call use a new connection, made with the SVID and the bundle of that moment.
    /// Calls under way end on the old one.
    pub fn reconnect(&self) {
        self.0.channel.lock().take();
    }

    /// The connection, made if there is none. Two callers at once may make two; the later stays.
    async fn channel(&self) -> Result<Channel, CallError> {
        if let Some(channel) = self.0.channel.lock().clone() {
            return Ok(channel);
        }
        let channel = self
            .0
            .dialer
            .connect()
            .await
            .map_err(CallError::from_dial)?;
        self.0.channel.lock().replace(channel.clone());
        Ok(channel)
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
        let whole = async { call(self.channel().await?).await };
        let result = match tokio::time::timeout(deadline, whole).await {
            Ok(result) => result,
            Err(_elapsed) => Err(CallError::Deadline(deadline)),
        };
        if let Err(error) = &result
            && error.is_of_the_connection()
        {
            self.0.dialer.prefer_next();
            self.reconnect();
        }
        result
    }
}
