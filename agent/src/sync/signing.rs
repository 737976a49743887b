//! Has the SVIDs of workloads signed: those that are missing, due, or outdated by an update.

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::{Shutdown, chain};
use identity::clock::{Clock, UnixTime};
use identity::entry::EntryId;
use identity::lifetime::{rotate_at, rotate_at_for_availability};
use identity::secret::{KeyError, KeyType, PrivateKey};
use identity::x509::{X509Error, generate_csr};
use identity::x509_svid::X509Svid;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::backoff::{Backoff, FullJitter};
use crate::cache::{Cache, CachedSvid, Wanted};
use crate::client::{CallError, ServerClient, SignedChain, SigningRequest};
use crate::jitter::jitter;
use crate::sync::reminder::Reminder;

/// The most requests in one call; servers refuse more.
const MAX_BATCH: usize = 500;

/// The wait after a failure, and its bound.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(4 * 60);

/// Bounds of the wait while no server answers at all.
const FIRST_OUTAGE_RETRY: Duration = Duration::from_millis(100);
const MAX_OUTAGE_RETRY: Duration = Duration::from_secs(4);

/// The longest sleep between two looks at the clock, which may be set.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// Has SVIDs signed for as long as the agent runs.
pub struct Signer {
    client: ServerClient,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    key_type: KeyType,
    availability_target: Option<Duration>,
    batch: BatchSize,
    backoff: Backoff,
    outage: FullJitter,
    reminder: Reminder,
}

/// How much of what was wanted is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Signed {
    All,
    /// The server refused the rest, which it may not know of any more, or not yet.
    Some,
}

/// Why the next round waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pause {
    /// For something to sign.
    None,
    /// A part was refused. Whatever is new need not wait.
    Refusal(Duration),
    /// No server could sign anything.
    Failure(Duration),
}

impl Signer {
    /// A signer of SVIDs with keys of `key_type`.
    pub fn new(
        client: ServerClient,
        cache: Arc<Cache>,
        clock: Arc<dyn Clock>,
        key_type: KeyType,
        availability_target: Option<Duration>,
    ) -> Self {
        Self {
            client,
            cache,
            clock,
            key_type,
            availability_target,
            batch: BatchSize(MAX_BATCH),
            backoff: Backoff::new(FIRST_RETRY, MAX_RETRY),
            outage: FullJitter::new(FIRST_OUTAGE_RETRY, MAX_OUTAGE_RETRY),
            reminder: Reminder::default(),
        }
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// None at present: a failure is logged and tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), SigningError> {
        let mut pause = Pause::None;
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = self.select(pause) => {}
            }
            let result = tokio::select! {
                () = shutdown.requested() => return Ok(()),
                result = self.sign_wanted() => result,
            };
            pause = self.handle(result);
        }
    }

    /// Waits until an SVID may have to be signed. After a failure nobody can hasten the next try.
    async fn select(&self, pause: Pause) {
        if let Pause::Failure(wait) = pause {
            sleep(wait).await;
            return;
        }
        let now = self.clock.now();
        let next = self.cache.next_rotation();
        let next = next.map_or(MAX_SLEEP, |next| next.saturating_duration_since(now));
        // A whole second at least: the clock has no finer steps.
        let next = next.clamp(Duration::from_secs(1), MAX_SLEEP);
        let next = match pause {
            Pause::Refusal(wait) => next.min(wait),
            Pause::None | Pause::Failure(_) => next,
        };
        tokio::select! {
            () = self.cache.unsigned() => {}
            () = sleep(next) => {}
        }
    }

    /// What a round with this result is followed by.
    fn handle(&mut self, result: Result<Signed, SigningError>) -> Pause {
        let error = match result {
            Ok(signed) => {
                self.outage.reset();
                self.reminder.reset();
                return match signed {
                    Signed::All => {
                        self.backoff.reset();
                        Pause::None
                    }
                    Signed::Some => Pause::Refusal(self.backoff.next(jitter())),
                };
            }
            Err(error) => error,
        };
        match error.is_outage() && !self.reminder.is_due() {
            true => debug!(error = %chain(&error), "SVID sync failed"),
            false => error!(error = %chain(&error), "SVID sync failed"),
        }
        Pause::Failure(match error.is_outage() {
            true => self.outage.next(jitter()),
            false => self.backoff.next(jitter()),
        })
    }

    /// Has everything signed that is wanted now, in batches.
    async fn sign_wanted(&mut self) -> Result<Signed, SigningError> {
        let wanted = self.cache.wanted(self.clock.now());
        let mut rest = wanted.as_slice();
        let mut outcome = Signed::All;
        while !rest.is_empty() {
            let (batch, tail) = rest.split_at(self.batch.0.min(rest.len()));
            let signed = match self.sign(batch).await {
                Ok(signed) => signed,
                Err(error) => {
                    if !error.is_outage() {
                        self.batch.shrink();
                    }
                    return Err(error);
                }
            };
            self.batch.grow();
            if signed.len() < batch.len() {
                outcome = Signed::Some;
            }
            self.cache.set_svids(signed);
            rest = tail;
        }
        Ok(outcome)
    }

    async fn sign(&self, batch: &[Wanted]) -> Result<Vec<(EntryId, CachedSvid)>, SigningError> {
        let (keys, requests) = self.requests(batch.to_vec()).await?;
        let chains = self.client.new_x509_svids(requests).await?;
        for wanted in batch {
            let (entry_id, spiffe_id) = (&wanted.entry.id, &wanted.entry.spiffe_id);
            match wanted.expires_at.map(UnixTime::as_secs) {
                None => info!(%entry_id, %spiffe_id, "Creating X509-SVID"),
                Some(expires_at) => info!(%entry_id, %spiffe_id, expires_at, "Renewing X509-SVID"),
            }
        }
        let signed = batch.iter().zip(keys).zip(chains);
        Ok(signed
            .filter_map(|((wanted, key), chain)| {
                let svid = self.accept(wanted, key, chain?)?;
                Some((wanted.entry.id.clone(), svid))
            })
            .collect())
    }

    /// A new key and a certificate request for each. Making RSA keys takes a while, so it does not
    /// happen where other tasks run.
    async fn requests(
        &self,
        batch: Vec<Wanted>,
    ) -> Result<(Vec<PrivateKey>, Vec<SigningRequest>), SigningError> {
        let key_type = self.key_type;
        let made = spawn_blocking(move || {
            let made = batch.iter().map(|wanted| {
                let key = PrivateKey::generate(key_type).map_err(SigningError::Key)?;
                let spiffe_id = Some(&wanted.entry.spiffe_id);
                let csr_der = generate_csr(&key, spiffe_id, &[]).map_err(SigningError::Csr)?;
                let entry_id = wanted.entry.id.clone();
                Ok((key, SigningRequest { entry_id, csr_der }))
            });
            made.collect::<Result<_, _>>()
        });
        made.await.map_err(SigningError::Stopped)?
    }

    fn accept(&self, wanted: &Wanted, key: PrivateKey, chain: SignedChain) -> Option<CachedSvid> {
        let svid = match X509Svid::new(chain, key) {
            Ok(svid) => svid,
            Err(error) => {
                warn!(entry = %wanted.entry.id, %error, "Server sent an unusable SVID");
                return None;
            }
        };
        let (not_before, not_after) = (svid.not_before(), svid.not_after());
        let rotate_at = match self.availability_target {
            Some(target) => rotate_at_for_availability(not_before, not_after, target, jitter()),
            None => rotate_at(not_before, not_after, jitter()),
        };
        Some(CachedSvid::new(&svid, rotate_at, wanted.entry.revision))
    }
}

/// How many requests go into one call: half as many after a failure, twice as many after a success.
struct BatchSize(usize);

impl BatchSize {
    fn shrink(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }

    fn grow(&mut self) {
        self.0 = (self.0 * 2).min(MAX_BATCH);
    }
}

/// Why SVIDs were not signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The server was not reached, or refuses.
    #[error("failed to batch new X509 SVID(s)")]
    Call(#[from] CallError),
    /// No key could be made.
    #[error("cannot generate a key")]
    Key(#[source] KeyError),
    /// No certificate request could be made.
    #[error("cannot make a certificate request")]
    Csr(#[source] X509Error),
    /// The agent is stopping.
    #[error("key generation was stopped")]
    Stopped(#[source] JoinError),
}

impl SigningError {
    /// Whether no server answered, whatever was asked of it.
    fn is_outage(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_outage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_to_one_and_grow_to_what_servers_take() {
        let mut batch = BatchSize(MAX_BATCH);
        batch.shrink();
        assert_eq!(batch.0, 250);
        for _ in 0..20 {
            batch.shrink();
        }
        assert_eq!(batch.0, 1);
        for _ in 0..20 {
            batch.grow();
        }
        assert_eq!(batch.0, MAX_BATCH);
    }
}
