//! Owns the removal of what time has made useless: expired entries, agents, join tokens and
//! authorities of bundles.
//!
//! Each kind is a store operation that says itself what is expired, so doing it twice, or on two
//! members, changes nothing more. Only the leader does it. Nothing here decides about security:
//! what is expired is refused whether it was removed or not.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::clock::Clock;
use identity::lifetime::KEEP_EXPIRED_AUTHORITY;
use identity::trust_domain::TrustDomain;
use raft_store::{
    Operation, Proposal, ProposeError, PruneAgents, PruneBundle, PruneBundleOutcome, PruneEntries,
    PruneJoinTokens, Store,
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::Config;
use crate::leadership::{self, Leadership};
use crate::time_check;

/// What is removed when.
#[derive(Clone, Debug)]
pub struct Options {
    /// The own trust domain, whose bundle is pruned.
    pub trust_domain: TrustDomain,
    /// How long after the end of its certificate an agent is forgotten; `None` for never.
    pub agents_expired_for: Option<Duration>,
    /// Whether agents that cannot attest again are forgotten, too.
    pub include_non_reattestable: bool,
    /// At most so many agents at a time.
    pub agent_batch: u32,
}

impl Options {
    /// What the operator decided.
    pub fn from_config(config: &Config) -> Self {
        Self {
            trust_domain: config.trust_domain.clone(),
            agents_expired_for: config.prune_attested_nodes_expired_for,
            include_non_reattestable: config.prune_tofu_nodes,
            agent_batch: config.prune_attested_nodes_batch_size,
        }
    }
}

/// Removes what is expired. Runs for as long as the server does.
#[derive(Debug)]
pub struct Pruning {
    store: Store,
    clock: Arc<dyn Clock>,
    options: Options,
}

/// What is removed on a timer of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Registration entries past their end.
    Entries,
    /// Agents long after the end of their certificate.
    Agents,
    /// Join tokens that nobody used in time.
    JoinTokens,
    /// Authorities of the own bundle a day after their end.
    Bundle,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Entries, Self::Agents, Self::JoinTokens, Self::Bundle];

    /// How long to wait between two rounds.
    fn period(self) -> Duration {
        const MINUTE: u64 = 60;
        Duration::from_secs(match self {
            Self::Entries => 5 * MINUTE,
            Self::Agents | Self::JoinTokens => 60 * MINUTE,
            Self::Bundle => 6 * 60 * MINUTE,
        })
    }

    /// The next wait: the period, a quarter more or less, so that members do not act in step.
    fn wait(self) -> Duration {
        let byte = uuid::Uuid::new_v4().as_bytes()[0];
        self.period()
            .mul_f64(0.75 + 0.5 * f64::from(byte) / f64::from(u8::MAX))
    }
}

impl Pruning {
    /// Removal from `store`.
    pub fn new(store: Store, clock: Arc<dyn Clock>, options: Options) -> Self {
        Self {
            store,
            clock,
            options,
        }
    }

    /// Removes what is expired, again and again, until `shutdown`.
    ///
    /// # Errors
    /// None: failures are logged, and the next round comes.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let start = Instant::now();
        let mut due = Kind::ALL.map(|kind| (start + kind.wait(), kind));
        let mut leadership = Leadership::of(&self.store);
        loop {
            due.sort_by_key(|(at, _)| *at);
            let (at, kind) = due[0];
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = tokio::time::sleep_until(at) => {}
                () = leadership.gained() => {
                    // Nobody knows when the last leader did it.
                    due = Kind::ALL.map(|kind| (Instant::now() + TAKE_OVER_AFTER, kind));
                    continue;
                }
            }
            if leadership::leads(&self.store)
                && let Err(error) = self.prune_by_the_right_time(kind).await
            {
                warn!(error = &*error, ?kind, "nothing was pruned");
            }
            due[0].0 = Instant::now() + kind.wait();
        }
    }

    /// What is not expired yet would be lost to a clock that is ahead.
    async fn prune_by_the_right_time(&self, kind: Kind) -> Result<usize, Box<dyn Error>> {
        time_check::confirm(&self.store).await?;
        Ok(self.prune(kind).await?)
    }

    /// Removes what is expired of one kind; says how much went.
    pub(crate) async fn prune(&self, kind: Kind) -> Result<usize, ProposeError> {
        match kind {
            Kind::Entries => self.prune_entries().await,
            Kind::Agents => self.prune_agents().await,
            Kind::JoinTokens => self.prune_join_tokens().await,
            Kind::Bundle => self.prune_bundle().await,
        }
    }

    async fn prune_entries(&self) -> Result<usize, ProposeError> {
        let mut total = 0;
        loop {
            let expired_before = self.clock.now();
            let gone = self
                .propose(PruneEntries {
                    expired_before,
                    limit: BATCH,
                })
                .await?;
            for id in &gone {
                info!(entry_id = id.as_str(), "Pruned an expired registration");
            }
            total += gone.len();
            if gone.len() < BATCH_LEN {
                return Ok(total);
            }
        }
    }

    /// One batch a round, as in SPIRE: whoever set the limit wants no more.
    async fn prune_agents(&self) -> Result<usize, ProposeError> {
        let Some(expired_for) = self.options.agents_expired_for else {
            return Ok(0);
        };
        let operation = PruneAgents {
            expired_before: self.clock.now().saturating_sub(expired_for),
            include_non_reattestable: self.options.include_non_reattestable,
            limit: self.options.agent_batch,
        };
        let gone = self.propose(operation).await?;
        for agent in &gone {
            info!(agent_id = %agent, "Pruned an expired agent");
        }
        Ok(gone.len())
    }

    async fn prune_join_tokens(&self) -> Result<usize, ProposeError> {
        let mut total = 0;
        loop {
            let expired_before = self.clock.now();
            let gone = self
                .propose(PruneJoinTokens {
                    expired_before,
                    limit: BATCH,
                })
                .await?;
            let gone = usize::try_from(gone).unwrap_or(usize::MAX);
            total += gone;
            if gone < BATCH_LEN {
                return Ok(total);
            }
        }
    }

    async fn prune_bundle(&self) -> Result<usize, ProposeError> {
        let operation = PruneBundle {
            trust_domain: self.options.trust_domain.clone(),
            expired_before: self.clock.now().saturating_sub(KEEP_EXPIRED_AUTHORITY),
        };
        match self.propose(operation).await? {
            PruneBundleOutcome::Pruned(bundle) => {
                info!(
                    sequence_number = bundle.sequence,
                    "Expired authorities were pruned"
                );
                Ok(1)
            }
            PruneBundleOutcome::Unchanged
            | PruneBundleOutcome::NotFound
            | PruneBundleOutcome::WouldBeEmpty => Ok(0),
        }
    }

    async fn propose<O: Operation>(&self, operation: O) -> Result<O::Outcome, ProposeError> {
        self.store
            .propose(operation, Proposal::new(self.clock.now()))
            .await
    }
}

/// How long a new leader waits: one that does not stay need not begin.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(10);

/// So many records go with one command, which holds up others while it is applied.
const BATCH: u32 = 500;
const BATCH_LEN: usize = 500;
