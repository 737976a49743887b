//! The store as the rest of the server sees it: propose, read, follow changes, seal.
//!
//! A cheap handle; clones share one member of the cluster.

mod cluster;
mod error;
mod keys;
mod options;
mod start;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::clock::{Clock, UnixTime};
use identity::secret::SecretBytes;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

pub use self::cluster::MembershipError;
pub use self::error::{CloseError, OpenError, ProposeError, ReadError, StoppedError};
pub use self::keys::{RotateError, Rotation};
pub use self::options::{Identity, Limits, Options, Start};

use crate::backup::{self, BackupError, BackupReader};
use crate::codec::encode_envelope;
use crate::command::{AnnounceMember, Envelope, Operation, RequestId};
use crate::feed::{Changes, Signal, Topic};
use crate::raft::{AnswerError, ClockVerdict, ConfirmError, Leadership, Member, Model, WriteError};
use crate::record::{Revision, Sealed};
use crate::seal::{KeyRing, RecordName, SealError, SealProvider, Witnesses};
use crate::state::State;
use crate::storage::FilesClosed;

/// A handle on the replicated store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    data_dir: PathBuf,
    clock: Arc<dyn Clock>,
    model: Arc<Model>,
    /// Gone once the store is closed.
    member: RwLock<Option<Arc<Member>>>,
    leadership: watch::Receiver<Leadership>,
    /// What the others are told of this member.
    announcement: AnnounceMember,
    files: FilesClosed,
    seal: Box<dyn SealProvider>,
    ring: RwLock<KeyRing>,
    limits: Limits,
    /// One permit for every proposal on its way.
    proposals: Semaphore,
}

/// The store's own life, for the supervisor.
pub struct Driver {
    member: std::sync::Weak<Member>,
    files: FilesClosed,
}

/// How to propose.
#[derive(Clone, Copy, Debug)]
pub struct Proposal {
    /// Names the intent; a retry carries the same id.
    pub request_id: RequestId,
    /// The proposer's time.
    pub at: UnixTime,
    /// How long to wait for the outcome.
    pub deadline: Duration,
}

impl Proposal {
    /// A new intent at `at`, with [`Proposal::DEADLINE`].
    #[must_use]
    pub fn new(at: UnixTime) -> Self {
        Self {
            request_id: RequestId::random(),
            at,
            deadline: Self::DEADLINE,
        }
    }

    /// Long enough for an election and a slow disk, shorter than a client's patience.
    pub const DEADLINE: Duration = Duration::from_secs(5);
}

/// A glance at the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Id of the cluster.
    pub cluster_id: [u8; 16],
    /// Id of this member.
    pub member_id: u64,
    /// Whether this member leads.
    pub is_leader: bool,
    /// Who leads, if known.
    pub leader: Option<u64>,
    /// Store version.
    pub revision: Revision,
    /// Hash of the state at that version.
    pub state_hash: crate::state::StateHash,
    /// Syncs of the log since the store was opened.
    pub wal_syncs: u64,
    /// Entries appended to the log since the store was opened.
    pub appended_entries: u64,
    /// Last entry that the newest snapshot holds.
    pub snapshot_index: Option<u64>,
    /// Last entry that was purged from the log.
    pub purged_index: Option<u64>,
    /// Last entry of the log.
    pub last_index: Option<u64>,
}

impl Store {
    /// Opens the store, made if the directory is empty. Returns once consensus runs and what is
    /// known here to be committed is applied; waits for no other member. From then on
    /// [`Self::answer_peer`] works; all else after [`Self::ready`].
    ///
    /// # Errors
    /// What is in the way, and the way out.
    pub async fn open(options: Options) -> Result<(Self, Driver), OpenError> {
        start::open(options).await
    }

    /// Waits until this member serves: it leads or follows, everything that was acknowledged
    /// before is applied, and the keys are open.
    ///
    /// # Errors
    /// What is in the way, and the way out. The store is open still, and can be asked again.
    pub async fn ready(&self, deadline: Duration) -> Result<(), OpenError> {
        start::ready(self, deadline).await
    }

    /// Opens the store and waits until it serves; closed again if it does not come to that.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::ready`].
    pub async fn start(options: Options, deadline: Duration) -> Result<(Self, Driver), OpenError> {
        let (store, driver) = Self::open(options).await?;
        match store.ready(deadline).await {
            Ok(()) => Ok((store, driver)),
            Err(error) => {
                // Already failing, and the log has everything: how the end went changes nothing.
                drop(store.close().await);
                drop(driver.run().await);
                Err(error)
            }
        }
    }

    /// Who a data directory belongs to, if anybody. It may be in use.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub fn identity_in(data_dir: &Path) -> Result<Option<Identity>, OpenError> {
        start::identity_in(data_dir)
    }

    /// Proposes a change and waits until it is applied here: what is read after is at least as
    /// new. Dropping the future does not withdraw the proposal.
    ///
    /// # Errors
    /// See [`ProposeError`] for which of them leave the fate of the change open.
    pub async fn propose<O: Operation>(
        &self,
        operation: O,
        proposal: Proposal,
    ) -> Result<O::Outcome, ProposeError> {
        let envelope = Envelope {
            request_id: proposal.request_id,
            at: proposal.at,
            command: operation.into(),
        };
        let (format, cluster_version) =
            (envelope.command.format(), self.read(State::cluster_version));
        if format > cluster_version {
            return Err(ProposeError::NotYet {
                format,
                cluster_version,
            });
        }
        let bytes = Bytes::from(encode_envelope(&envelope));
        let request_id = envelope.request_id;
        drop(envelope);
        let limit = self.0.limits.proposal_len_bytes;
        if bytes.len() > limit {
            let len_bytes = bytes.len();
            return Err(ProposeError::TooLarge { len_bytes, limit });
        }
        let deadline = Instant::now() + proposal.deadline;
        let permit = timeout_at(deadline, self.0.proposals.acquire()).await;
        let _permit = match permit {
            Ok(Ok(permit)) => permit,
            // Closed or too late: nothing was appended in either case.
            Ok(Err(_)) => return Err(ProposeError::Stopped(StoppedError::closed())),
            Err(_) => return Err(ProposeError::Busy),
        };
        let member = self.member().map_err(ProposeError::Stopped)?;
        let proposed = member.propose(request_id, bytes, deadline).await;
        let outcome = proposed.map_err(|error| match error {
            WriteError::NoLeader => ProposeError::NoLeader,
            WriteError::Undecided => ProposeError::Undecided,
            WriteError::Stopped(stopped) => ProposeError::Stopped(stopped.into()),
        })?;
        O::outcome(outcome).ok_or(ProposeError::RequestReused)
    }

    /// Looks at the state as it is here and now. `look` must be short: apply waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.0.model.state.read())
    }

    /// Makes sure that reads from now on see everything that was acknowledged anywhere before this
    /// call, and tells the revision.
    ///
    /// # Errors
    /// It could not be made sure of in time.
    pub async fn linearizable(&self, deadline: Duration) -> Result<Revision, ReadError> {
        let member = self.member().map_err(ReadError::Stopped)?;
        match member.confirm(Instant::now() + deadline).await {
            Ok(()) => Ok(self.read(State::revision)),
            Err(ConfirmError::NoQuorum) => Err(ReadError::NoQuorum),
            Err(ConfirmError::Stopped(stopped)) => Err(ReadError::Stopped(stopped.into())),
        }
    }

    /// How long ago this member last knew that it had applied everything which a quorum had
    /// acknowledged; `None` if not since its start. Renewed about once a second.
    #[must_use]
    pub fn freshness(&self) -> Option<Duration> {
        self.member().ok()?.freshness()
    }

    /// What the other voters' clocks say about this member's. They are compared every five seconds.
    #[must_use]
    pub fn clock_verdict(&self) -> ClockVerdict {
        self.member()
            .map_or(ClockVerdict::Agreed, |member| member.clock())
    }

    /// Compares the clocks now; takes a second if another voter does not answer. While too few answer to tell, the
    /// last verdict stands.
    pub async fn compare_clocks(&self) -> ClockVerdict {
        match self.member() {
            Ok(member) => member.compare_clocks().await,
            Err(_) => ClockVerdict::Agreed,
        }
    }

    /// Who leads, as it changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// The changes after `revision`, as they come.
    #[must_use]
    pub fn changes_after(&self, revision: Revision) -> Changes {
        Changes::new(Arc::clone(&self.0.model.feed), revision)
    }

    /// Tells when something of this topic changes, from now on.
    #[must_use]
    pub fn signal(&self, topic: Topic) -> Signal {
        self.0.model.feed.signal(topic)
    }

    /// Seals a secret under the name of its record.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(&self, name: &RecordName, secret: &SecretBytes) -> Result<Sealed, SealError> {
        self.update_ring()?;
        self.0.ring.read().seal(name, secret)
    }

    /// Opens a secret that was sealed under this name.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn unseal(&self, name: &RecordName, sealed: &Sealed) -> Result<SecretBytes, SealError> {
        self.update_ring()?;
        self.0.ring.read().unseal(name, sealed)
    }

    /// A glance at the store; `None` once it is closed.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let member = self.member().ok()?;
        let status = member.status();
        let (revision, state_hash) = self.read(|state| (state.revision(), state.state_hash()));
        Some(Status {
            cluster_id: member.identity().cluster_id,
            member_id: status.member_id,
            is_leader: status.is_leader,
            leader: status.leader,
            revision,
            state_hash,
            wal_syncs: status.wal_syncs,
            appended_entries: status.appended_entries,
            snapshot_index: status.snapshot_index,
            purged_index: status.purged_index,
            last_index: status.last_index,
        })
    }

    /// Answers a request that another member sent, as [`PeerConnection::exchange`] carries it. The
    /// caller has made sure that it comes from the member `from`; a removed one is refused.
    ///
    /// # Errors
    /// There is no answer; the connection should be closed.
    ///
    /// [`PeerConnection::exchange`]: crate::PeerConnection::exchange
    pub async fn answer_peer(&self, from: u64, request: Bytes) -> Result<Bytes, AnswerError> {
        let stopped = |error: StoppedError| AnswerError::Stopped(error.to_string());
        let member = self.member().map_err(stopped)?;
        member.answer(from, &request).await.map(Bytes::from)
    }

    /// Tells that a connection from this member ended. If it leads and its process is gone, another
    /// leader is elected at once.
    pub fn peer_lost(&self, member_id: u64) {
        if let Ok(member) = self.member() {
            member.peer_lost(member_id);
        }
    }

    /// Begins a backup of everything that was acknowledged anywhere before this call.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn backup(&self, now: UnixTime) -> Result<BackupReader, BackupError> {
        let current = self.linearizable(BACKUP_DEADLINE).await;
        current.map_err(BackupError::NotCurrent)?;
        let member = self.member()?;
        let rows = member.rows().await.map_err(StoppedError::from)?;
        let witnesses = self.read(Witnesses::of);
        let wrap = |context: &[u8], key: &SecretBytes| witnesses.wrap(&*self.0.seal, context, key);
        backup::backup(rows, wrap, member.identity().cluster_id, now)
    }

    /// Makes this member's state one that no log leads to: the command is applied here, in memory,
    /// and nowhere else.
    #[cfg(feature = "testing")]
    pub fn diverge(&self, operation: impl Operation) {
        let envelope = Envelope {
            request_id: RequestId::random(),
            at: UnixTime::from_secs(0),
            command: operation.into(),
        };
        self.0.model.state.write().apply(0, &envelope);
    }

    /// Starts a snapshot; it is done some time later, see [`Status::snapshot_index`].
    ///
    /// # Errors
    /// The store has stopped.
    pub async fn start_snapshot(&self) -> Result<(), StoppedError> {
        let member = self.member()?;
        Ok(member.snapshot().await?)
    }

    /// Ends the store for all of its handles: no proposal is taken any more, the state is flushed
    /// so that the next start is quick. Reads go on. The directory is free when the driver ends.
    ///
    /// # Errors
    /// The store had stopped by itself, or the flush failed; the log has everything nevertheless.
    pub async fn close(self) -> Result<(), CloseError> {
        self.0.proposals.close();
        let Some(member) = self.0.member.write().take() else {
            return Ok(());
        };
        let closed = member.shut_down().await;
        Ok(closed.map_err(StoppedError::from)?)
    }

    /// Ends the store as [`Self::close`] does, also one that stopped by itself, and returns once its files are closed
    /// and its directory is free.
    ///
    /// # Errors
    /// As [`Self::close`]; the files are closed nevertheless.
    pub async fn release(self) -> Result<(), CloseError> {
        let files = self.0.files.clone();
        let closed = self.close().await;
        files.wait().await;
        closed
    }

    fn member(&self) -> Result<Arc<Member>, StoppedError> {
        let member = self.0.member.read();
        member.clone().ok_or_else(StoppedError::closed)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Driver {
    /// Lives as long as the store. Returns once the store is closed and its directory is free.
    ///
    /// # Errors
    /// The store stopped by itself: nothing will be written any more, the process should end. Told at once, while its
    /// files are open still; [`Store::release`] closes them.
    pub async fn run(self) -> Result<(), StoppedError> {
        let stopped = match self.member.upgrade() {
            Some(member) => Some(member.stopped().await),
            None => None,
        };
        if let Some(stopped) = stopped
            && self.member.strong_count() > 0
            && !stopped.is_orderly
        {
            return Err(stopped.into());
        }
        self.files.wait().await;
        Ok(())
    }
}

/// How long a backup waits until it is sure to know everything.
const BACKUP_DEADLINE: Duration = Duration::from_secs(5);
