//! Owns what agents are told without asking: the entries and bundles that each is authorized to, as
//! they change.
//!
//! One task follows the change feed for all streams (`hub`), finds those that a change concerns
//! (`process`), by what is below the IDs from which agents start (`root`), and puts the change into
//! their `outbox`. An agent that comes back goes on where it was, on whichever member (`resume`).
//! What must hold: an agent that has applied every batch up to a revision holds what the state of
//! that revision, or a later one, gives it; a stream ends as soon as its agent may not call any
//! more.

mod hub;
mod outbox;
mod process;
mod resume;
mod root;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::bundle::Bundle;
use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use raft_store::{ReadError, Revision, State, Store};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use self::hub::{Attach, Attached, Hub, Subscriber};
use self::outbox::{Outbox, Taken};
use crate::endpoints::AgentRefusal;

/// The streams of this member. A clone is the same.
#[derive(Clone, Debug)]
pub struct Sync(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    hub: Mutex<Hub>,
    /// A stream was added.
    begun: Notify,
}

/// Keeps the streams up to date. Runs for as long as the server does.
#[derive(Debug)]
pub struct SyncTask(Sync);

/// What one agent is told.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    id: StreamId,
    outbox: Arc<Outbox>,
    first: Option<Batch>,
}

/// Changes that an agent applies together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Up to where the agent knows everything then.
    pub revision: Revision,
    /// Whether this replaces everything that the agent holds.
    pub is_reset: bool,
    /// Entries that are new or have changed.
    pub entries: Vec<Arc<RegistrationEntry>>,
    /// Entries that the agent has no longer, if it ever had them.
    pub removed_entries: Vec<EntryId>,
    /// Bundles that are new or have changed.
    pub bundles: Vec<Arc<Bundle>>,
    /// Whose bundles the agent needs no longer, if it ever had them.
    pub removed_bundles: Vec<TrustDomain>,
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The agent may not call any more with the certificate that it showed.
    Refused(AgentRefusal),
    /// The agent has opened several newer ones.
    Superseded,
    /// This member does not hear from its cluster, so it may not know what changed.
    CutOff,
}

/// Why no stream began.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The agent was banned, deleted, or got another certificate in this moment.
    #[error("agent may not call any more")]
    Refused(AgentRefusal),
    /// This member does not hear from its cluster.
    #[error("this server is cut off from its cluster")]
    CutOff,
    /// This member has not heard of the revision that the agent has.
    #[error("this server is behind the revision that the agent has")]
    Behind(#[from] ReadError),
}

impl Sync {
    /// The streams of a member with this store, for agents of the trust domain `own`, and the task
    /// that keeps them up to date.
    pub fn new(store: Store, own: TrustDomain) -> (Self, SyncTask) {
        let hub = Mutex::new(Hub::new(&store, own));
        let begun = Notify::new();
        let sync = Self(Arc::new(Shared { store, hub, begun }));
        (sync.clone(), SyncTask(sync))
    }

    /// Begins to tell `agent`, which showed the certificate with this serial, what changed after
    /// the revision that it has.
    ///
    /// # Errors
    /// See [`WatchError`]; a refusal is that of a state that was agreed on.
    pub async fn watch(
        &self,
        agent: &SpiffeId,
        serial: &str,
        after: Revision,
    ) -> Result<Watch, WatchError> {
        if is_cut_off(&self.0.store) {
            return Err(WatchError::CutOff);
        }
        let mut after = after;
        if self.0.store.read(State::revision) < after {
            let newest = self.0.store.linearizable(CATCH_UP_WITHIN).await?;
            if newest < after {
                // The agent heard of it in a cluster that is no more.
                after = Revision::default();
            }
        }
        let mut attempts = 0;
        loop {
            let subscriber = Subscriber {
                agent,
                serial,
                after,
            };
            let attach = self.0.hub.lock().attach(&self.0.store, subscriber);
            match attach {
                Attach::Done(attached) => return Ok(self.begin(attached)),
                Attach::Refused(refusal) => return Err(WatchError::Refused(refusal)),
                Attach::Later if attempts < RESUME_ATTEMPTS => attempts += 1,
                // To be told everything is never put off.
                Attach::Later => after = Revision::default(),
            }
            tokio::time::sleep(RESUME_PAUSE).await;
        }
    }

    fn begin(&self, attached: Attached) -> Watch {
        self.0.begun.notify_one();
        Watch {
            shared: Arc::clone(&self.0),
            id: attached.id,
            outbox: attached.outbox,
            first: Some(attached.first),
        }
    }
}

impl SyncTask {
    /// Tells the streams what changes, until `shutdown`.
    ///
    /// # Errors
    /// None.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let Shared { store, hub, begun } = &*self.0.0;
        let mut changes = store.changes_after(store.read(State::revision));
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_streams = {
                let mut hub = hub.lock();
                hub.catch_up(store);
                hub.has_streams()
            };
            tokio::select! {
                // For nobody there is nothing to do at each write.
                () = changes.moved(), if has_streams => {}
                () = begun.notified() => {}
                _ = look.tick() => {
                    if is_cut_off(store) {
                        hub.lock().end_all(Ended::CutOff);
                    }
                }
                () = shutdown.requested() => return Ok(()),
            }
        }
    }
}

impl Watch {
    /// Waits for changes, for up to `patience`; then the answer is an empty batch. Cancel-safe.
    ///
    /// # Errors
    /// Why there is nothing more to be told.
    pub async fn next(&mut self, patience: Duration) -> Result<Batch, Ended> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            // Before the outbox, which then holds everything up to it.
            let revision = self.shared.hub.lock().revision();
            match self.outbox.take() {
                Taken::Changes(batch) => return Ok(batch),
                Taken::End(ended) => return Err(ended),
                Taken::TooMuch => {
                    let mut hub = self.shared.hub.lock();
                    return Ok(hub.restart(&self.shared.store, self.id));
                }
                Taken::Nothing => {}
            }
            let filled = self.outbox.filled();
            if tokio::time::timeout_at(deadline, filled).await.is_err() {
                return Ok(Batch::empty(revision));
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.hub.lock().detach(self.id);
    }
}

impl Batch {
    /// Nothing but a revision.
    pub(crate) const fn empty(revision: Revision) -> Self {
        Self {
            revision,
            is_reset: false,
            entries: Vec::new(),
            removed_entries: Vec::new(),
            bundles: Vec::new(),
            removed_bundles: Vec::new(),
        }
    }
}

/// A stream, among those of this member since its start.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct StreamId(u64);

impl StreamId {
    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Whether it is so long since this member heard from a quorum that agents should ask another one.
fn is_cut_off(store: &Store) -> bool {
    let age = store.freshness();
    age.is_none_or(|age| age >= MAX_STALENESS) && store.read(has_others)
}

fn has_others(state: &State) -> bool {
    let members = state.members().filter(|member| !member.is_removed);
    members.count() > 1
}

/// How old what agents are told may be. Agents who then find no other member go on with what they
/// have.
const MAX_STALENESS: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a member that is behind what an agent has may take to catch up.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(5);

/// How often to try to go on where the agent was before it is told everything.
const RESUME_ATTEMPTS: u32 = 100;
const RESUME_PAUSE: Duration = Duration::from_millis(2);
