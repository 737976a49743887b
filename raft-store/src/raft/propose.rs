//! Proposals and confirmed reads of this member, whoever leads.
//!
//! A proposal is tried until it is applied here or its deadline passes: the request id makes the
//! repetition harmless. The more wait, the less each may ask: a leader that has fallen behind must
//! not be kept there by those who wait for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, ForwardReason, LinearizableReadError, RaftError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::CommandBytes;
use super::forward::Forwarded;
use super::leadership::Leadership;
use super::member::{Shared, Stopped};
use super::waiters::Waiting;
use crate::codec::encode_envelope;
use crate::command::{Command, Outcome, RequestId};

/// Why a command was not applied, as far as is known.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Never appended.
    NoLeader,
    /// Maybe appended, and then maybe discarded.
    Undecided,
    Stopped(Stopped),
}

/// Why a read could not be made sure of.
#[derive(Debug)]
pub(crate) enum ConfirmError {
    NoQuorum,
    Stopped(Stopped),
}

/// What became of one try.
enum Tried {
    /// Applied by the leader at this index.
    Applied(u64),
    /// Certainly not appended.
    NotAppended,
    Unknown,
    Stopped(Stopped),
}

/// What became of a command that a leader wrote as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Written {
    /// Applied here.
    Applied,
    /// Certainly not appended.
    NotAppended,
    Unknown,
}

/// What ended the wait for one try.
enum Event {
    Outcome(Outcome),
    Tried(Tried),
    LeaderChanged,
    TooLate,
}

impl Shared {
    /// Proposes a command and waits until it is applied here.
    pub(super) async fn propose(
        &self,
        request_id: RequestId,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Outcome, WriteError> {
        let proposed = self.try_until(request_id, command, deadline).await;
        if proposed.is_ok() {
            self.freshness.note_write();
        }
        proposed
    }

    async fn try_until(
        &self,
        request_id: RequestId,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Outcome, WriteError> {
        if self
            .freshness
            .idle_for()
            .is_some_and(|idle| idle >= HOPELESS)
        {
            return Err(WriteError::NoLeader);
        }
        let mut waiting = self.model.waiters.wait(request_id);
        let mut leadership = self.leadership();
        // Whether some try may have left the command in a log.
        let mut is_open = false;
        let mut pause = Pause::default();
        loop {
            let known = *leadership.borrow_and_update();
            let event = tokio::select! {
                biased;
                outcome = waiting.outcome() => Event::Outcome(outcome),
                tried = self.attempt(known, command.clone()) => Event::Tried(tried),
                () = leader_changed(&mut leadership, known) => Event::LeaderChanged,
                () = sleep_until(deadline) => Event::TooLate,
            };
            match event {
                Event::Outcome(outcome) => return Ok(outcome),
                Event::Tried(Tried::Applied(index)) => {
                    is_open = true;
                    if let Some(outcome) = self.outcome_at(index, &mut waiting, deadline).await {
                        return Ok(outcome);
                    }
                }
                Event::Tried(Tried::NotAppended) => {}
                Event::Tried(Tried::Unknown) => is_open = true,
                Event::LeaderChanged => {
                    is_open |= known.leader.is_some();
                    pause = Pause::default();
                }
                Event::Tried(Tried::Stopped(stopped)) => return Err(WriteError::Stopped(stopped)),
                Event::TooLate => {
                    is_open |= known.leader.is_some();
                    return Err(too_late(is_open));
                }
            }
            let outcome = tokio::select! {
                biased;
                outcome = waiting.outcome() => Some(outcome),
                () = leader_changed(&mut leadership, known) => {
                    pause = Pause::default();
                    None
                }
                () = pause.wait() => {
                    pause = pause.longer();
                    None
                }
                () = sleep_until(deadline) => return Err(too_late(is_open)),
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
    }

    /// One try with the leader that is known; if none is, ends only with consensus itself.
    async fn attempt(&self, known: Leadership, command: Bytes) -> Tried {
        match known.leader {
            Some(_) if known.is_leader => self.write(command).await,
            Some(leader) => match self.forwarder.forward(leader, command).await {
                Forwarded::Applied(index) => Tried::Applied(index),
                Forwarded::NotAppended => Tried::NotAppended,
                Forwarded::Unknown => Tried::Unknown,
            },
            None => Tried::Stopped(self.stopped().await),
        }
    }

    /// Writes a command, once, if this member leads.
    pub(super) async fn write_as_leader(&self, command: Command) -> Written {
        let envelope = self.envelope(command);
        match self.write(Bytes::from(encode_envelope(&envelope))).await {
            Tried::Applied(_) => Written::Applied,
            Tried::NotAppended => Written::NotAppended,
            Tried::Unknown | Tried::Stopped(_) => Written::Unknown,
        }
    }

    async fn write(&self, command: Bytes) -> Tried {
        match self.raft.client_write(CommandBytes(command)).await {
            Ok(response) => Tried::Applied(response.log_id.index()),
            Err(RaftError::Fatal(fatal)) => Tried::Stopped(fatal.into()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))
                if forward.reason != ForwardReason::NotLeader =>
            {
                Tried::NotAppended
            }
            // The library says so too for an entry that it had appended and then lost.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Tried::Unknown,
            // Only membership changes and conditions can be refused otherwise, and a command is
            // neither; were it one day, its fate would be unknown.
            Err(RaftError::APIError(_)) => Tried::Unknown,
        }
    }

    /// The outcome of a command that the leader applied at `index`. None if it was not applied one
    /// by one here, but came with a snapshot: proposed again, it answers what it answered.
    async fn outcome_at(
        &self,
        index: u64,
        waiting: &mut Waiting<'_>,
        deadline: Instant,
    ) -> Option<Outcome> {
        tokio::select! {
            biased;
            outcome = waiting.outcome() => return Some(outcome),
            () = self.model.applied_at_least(index) => {}
            () = sleep_until(deadline) => {}
        }
        waiting.try_outcome()
    }

    /// Makes sure that this member has applied everything that was acknowledged anywhere before.
    pub(super) async fn confirm(&self, deadline: Instant) -> Result<(), ConfirmError> {
        let begun = Instant::now();
        let mut leadership = self.leadership();
        let mut pause = Pause::default();
        loop {
            let known = *leadership.borrow_and_update();
            let confirmed = tokio::select! {
                confirmed = self.confirm_with(known) => confirmed?,
                () = leader_changed(&mut leadership, known) => false,
                () = sleep_until(deadline) => return Err(ConfirmError::NoQuorum),
            };
            if confirmed {
                self.freshness.confirm(begun);
                return Ok(());
            }
            tokio::select! {
                () = leader_changed(&mut leadership, known) => pause = Pause::default(),
                () = pause.wait() => pause = pause.longer(),
                () = sleep_until(deadline) => return Err(ConfirmError::NoQuorum),
            }
        }
    }

    /// One try with the leader that is known; if none is, ends only with consensus itself.
    async fn confirm_with(&self, known: Leadership) -> Result<bool, ConfirmError> {
        match known.leader {
            Some(_) if known.is_leader && self.is_silent.load(Ordering::Relaxed) => Ok(false),
            Some(_) if known.is_leader => {
                match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                    Ok(_) => Ok(true),
                    Err(RaftError::Fatal(fatal)) => Err(ConfirmError::Stopped(fatal.into())),
                    Err(RaftError::APIError(
                        LinearizableReadError::ForwardToLeader(_)
                        | LinearizableReadError::QuorumNotEnough(_),
                    )) => Ok(false),
                }
            }
            Some(leader) => match self.forwarder.read_index(leader).await {
                Some(index) => {
                    self.model.applied_at_least(index).await;
                    Ok(true)
                }
                None => Ok(false),
            },
            None => Err(ConfirmError::Stopped(self.stopped().await)),
        }
    }
}

/// Returns once another leads, or the same one anew, or one is known at all. Cancel-safe.
async fn leader_changed(leadership: &mut watch::Receiver<Leadership>, known: Leadership) {
    let has_ended = leadership.wait_for(|now| *now != known).await.is_err();
    if has_ended {
        // Consensus has ended, which others tell.
        std::future::pending::<()>().await;
    }
}

const fn too_late(is_open: bool) -> WriteError {
    if is_open {
        WriteError::Undecided
    } else {
        WriteError::NoLeader
    }
}

/// How long to wait before the next try, longer each time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    async fn wait(self) {
        tokio::time::sleep(self.0).await;
    }

    fn longer(self) -> Self {
        Self((self.0 * 2).min(MAX_PAUSE))
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// A thousand that wait ask four thousand times a second at most.
const MAX_PAUSE: Duration = Duration::from_millis(256);

/// Nothing could be written for so long that whoever came when it began has given up by now: who
/// comes now is refused at once, rather than kept with all the others.
const HOPELESS: Duration = Duration::from_secs(5);
