//! Connections to the other members: one per member and kind of traffic, made when needed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::ledger::Ledger;
use super::member::chain;
use crate::codec::{DecodeError, Frame, wire};
use crate::peer::{Lane, PeerAddress, PeerConnection, PeerConnector, PeerError};

/// The way to the other members.
#[derive(Debug)]
pub(crate) struct Links {
    connector: Arc<dyn PeerConnector>,
    cluster_id: [u8; 16],
    slots: Mutex<BTreeMap<(u64, Lane), Slot>>,
    /// Where members listen, by the membership in force.
    addresses: Mutex<BTreeMap<u64, String>>,
    contacts: Mutex<BTreeMap<u64, Contact>>,
    /// When members last asked this one for something whose effect they wait for.
    askers: Mutex<BTreeMap<u64, Instant>>,
    ledger: Ledger,
    /// Signs of life on their way. Whoever waits for one may give up; it goes on, or a busy member
    /// would be told of every one that is given up.
    beats: Mutex<JoinSet<()>>,
    runtime: Handle,
    /// Takes the news of members whose connections broke.
    lost: mpsc::Sender<u64>,
    /// Whether a member said that this one is none any more.
    is_expelled: AtomicBool,
}

/// What is known of a member's presence.
#[derive(Clone, Copy, Debug)]
struct Contact {
    /// When it answered last.
    answered_at: Option<Instant>,
    /// Since when it has not.
    silent_since: Option<Instant>,
    /// Whether that was told.
    is_missed: bool,
}

/// Why a request to another member has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// There is no connection: nothing was sent.
    #[error(transparent)]
    NotSent(Arc<PeerError>),
    /// Sent, maybe; no answer came.
    #[error(transparent)]
    NoAnswer(Arc<PeerError>),
    #[error("member {member_id} answered what cannot be read")]
    Malformed {
        member_id: u64,
        #[source]
        source: Arc<DecodeError>,
    },
}

impl LinkError {
    /// Whether the deadline passed.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::NotSent(error) | Self::NoAnswer(error) if error.is_timeout())
    }

    /// Whether nobody listens at the member's address.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::NotSent(error) if error.is_refused())
    }

    /// The answer is not one to what was asked.
    pub(crate) fn unexpected(member_id: u64) -> Self {
        Self::Malformed {
            member_id,
            source: Arc::new(DecodeError::Field("response")),
        }
    }
}

/// One member's connection for one kind of traffic.
enum Slot {
    /// Shared, so that a caller who gives up leaves the attempt to the next one.
    Connecting {
        address: String,
        attempt: Connecting,
    },
    Open {
        address: String,
        connection: Arc<dyn PeerConnection>,
        /// Since when requests have been without an answer.
        silent_since: Option<Instant>,
    },
}

type Connecting = Shared<BoxFuture<'static, Result<Arc<dyn PeerConnection>, Arc<PeerError>>>>;

impl std::fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Connecting { address, .. } | Self::Open { address, .. }) = self;
        formatter.debug_tuple("Slot").field(address).finish()
    }
}

impl Links {
    /// The second part of the answer tells of members whose connections broke.
    pub(crate) fn new(
        connector: Arc<dyn PeerConnector>,
        cluster_id: [u8; 16],
        runtime: Handle,
    ) -> (Self, mpsc::Receiver<u64>) {
        let (lost, told) = mpsc::channel(MAX_LOST);
        let links = Self {
            connector,
            cluster_id,
            slots: Mutex::default(),
            addresses: Mutex::default(),
            contacts: Mutex::default(),
            askers: Mutex::default(),
            ledger: Ledger::default(),
            beats: Mutex::default(),
            runtime,
            lost,
            is_expelled: AtomicBool::new(false),
        };
        (links, told)
    }

    /// Whether a member said that this one is none any more: it was removed while it was away.
    pub(crate) fn is_expelled(&self) -> bool {
        self.is_expelled.load(Ordering::Relaxed)
    }

    /// A connection with this member ended.
    pub(crate) fn note_lost(&self, member_id: u64) {
        // A full queue is full of the same news.
        self.lost.try_send(member_id).ok();
    }

    /// Sends one request and waits for the answer, at most for `deadline`.
    pub(crate) async fn ask(
        &self,
        member_id: u64,
        address: &str,
        lane: Lane,
        request: Request,
        deadline: Duration,
    ) -> Result<Response, LinkError> {
        let request = self.request(member_id, request);
        let asked = self.exchange(member_id, address, lane, request, deadline);
        let answer = timeout(deadline, asked).await.unwrap_or_else(|_elapsed| {
            self.note_silence(member_id, lane);
            let source = Some(io::ErrorKind::TimedOut.into());
            Err(LinkError::NoAnswer(peer_error(member_id, address, source)))
        });
        let answer = answer.inspect_err(|error| self.note_missed(member_id, error))?;
        read_answer(member_id, &answer)
    }

    /// A request as it goes over a connection.
    pub(super) fn request(&self, member_id: u64, request: Request) -> Bytes {
        Bytes::from(Frame::wrap(&wire::PeerRequest {
            cluster_id: self.cluster_id.to_vec(),
            target: member_id,
            request: Some(request),
        }))
    }

    /// Finds out whether somebody listens there, over a connection of its own.
    pub(crate) async fn probe(&self, member_id: u64, address: &str) -> Result<(), LinkError> {
        let connecting = self
            .connector
            .connect(self.peer(member_id, address), Lane::Heartbeat);
        match timeout(CONNECT_DEADLINE, connecting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(LinkError::NotSent(Arc::new(error))),
            Err(_) => {
                let source = Some(io::ErrorKind::TimedOut.into());
                Err(LinkError::NotSent(peer_error(member_id, address, source)))
            }
        }
    }

    /// Takes over where members listen.
    pub(crate) fn set_addresses(&self, addresses: BTreeMap<u64, String>) {
        *self.addresses.lock() = addresses;
    }

    /// Where a member listens, if it is in the membership in force.
    pub(crate) fn address(&self, member_id: u64) -> Option<String> {
        self.addresses.lock().get(&member_id).cloned()
    }

    /// When this member answered last.
    pub(crate) fn last_contact(&self, member_id: u64) -> Option<Instant> {
        self.contacts.lock().get(&member_id)?.answered_at
    }

    /// A member answered; tells if it had been missed.
    fn note_heard(&self, member_id: u64) {
        let contact = Contact {
            answered_at: Some(Instant::now()),
            silent_since: None,
            is_missed: false,
        };
        let before = self.contacts.lock().insert(member_id, contact);
        if before.is_some_and(|before| before.is_missed) {
            tracing::info!(member_id, "member answers again");
        }
    }

    /// A member did not answer; tells once when that has lasted for a while.
    pub(super) fn note_missed(&self, member_id: u64, error: &LinkError) {
        let now = Instant::now();
        let mut contacts = self.contacts.lock();
        let contact = contacts.entry(member_id).or_insert(Contact {
            answered_at: None,
            silent_since: None,
            is_missed: false,
        });
        let since = *contact.silent_since.get_or_insert(now);
        if !contact.is_missed && since + MISSED_AFTER < now {
            contact.is_missed = true;
            let cause = chain(error);
            tracing::warn!(member_id, cause, "member does not answer");
        }
    }

    /// A member asks for something whose effect it waits for.
    pub(super) fn note_asked(&self, member_id: u64) {
        self.askers.lock().insert(member_id, Instant::now());
    }

    /// Whether a member asked for something a moment ago that it may still wait for.
    pub(super) fn has_asked_lately(&self, member_id: u64) -> bool {
        let asked_at = self.askers.lock().get(&member_id).copied();
        asked_at.is_some_and(|at| at.elapsed() < LATELY)
    }

    /// What members acknowledged to this one as their leader.
    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Forgets members that are not among these.
    pub(crate) fn retain(&self, is_member: impl Fn(u64) -> bool) {
        self.slots.lock().retain(|(id, _), _| is_member(*id));
        self.contacts.lock().retain(|id, _| is_member(*id));
        self.askers.lock().retain(|id, _| is_member(*id));
        self.ledger.retain(is_member);
    }

    async fn exchange(
        &self,
        member_id: u64,
        address: &str,
        lane: Lane,
        request: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, LinkError> {
        let connection = self.connection(member_id, address, lane).await?;
        let exchanged = match lane {
            Lane::Heartbeat => {
                let call = connection.exchange(request, deadline.max(BEAT_DEADLINE));
                self.detached(member_id, address, call).await
            }
            Lane::Log | Lane::Snapshot | Lane::Forward => {
                connection.exchange(request, deadline).await
            }
        };
        match exchanged {
            Ok(answer) => {
                self.note_answered(member_id, lane);
                Ok(answer)
            }
            Err(error) if error.is_timeout() => {
                self.note_silence(member_id, lane);
                Err(LinkError::NoAnswer(Arc::new(error)))
            }
            Err(error) => {
                self.note_broken(member_id, lane, &connection, &error);
                Err(LinkError::NoAnswer(Arc::new(error)))
            }
        }
    }

    /// Waits for a call that goes on when nobody waits any more.
    async fn detached(
        &self,
        member_id: u64,
        address: &str,
        call: BoxFuture<'static, Result<Bytes, PeerError>>,
    ) -> Result<Bytes, PeerError> {
        let (answered, answer) = oneshot::channel();
        let beat = async move {
            // Whoever has gone needs no answer.
            drop(answered.send(call.await));
        };
        {
            let mut beats = self.beats.lock();
            while beats.try_join_next().is_some() {}
            beats.spawn_on(beat, &self.runtime);
        }
        answer.await.unwrap_or_else(|_ended| {
            Err(PeerError {
                member_id,
                address: address.to_owned(),
                source: None,
            })
        })
    }

    /// The connection for this kind of traffic, opened if there is none.
    pub(super) async fn connection(
        &self,
        member_id: u64,
        address: &str,
        lane: Lane,
    ) -> Result<Arc<dyn PeerConnection>, LinkError> {
        let attempt = match self.open_or_connecting(member_id, address, lane) {
            Ok(connection) => return Ok(connection),
            Err(attempt) => attempt,
        };
        let connected = attempt.clone().await;
        let mut slots = self.slots.lock();
        let key = (member_id, lane);
        let is_current = matches!(
            slots.get(&key),
            Some(Slot::Connecting { attempt: current, .. }) if current.ptr_eq(&attempt)
        );
        if is_current {
            match &connected {
                Ok(connection) => slots.insert(
                    key,
                    Slot::Open {
                        address: address.to_owned(),
                        connection: Arc::clone(connection),
                        silent_since: None,
                    },
                ),
                Err(_) => slots.remove(&key),
            };
        }
        connected.map_err(LinkError::NotSent)
    }

    /// The open connection, or the attempt to make one, begun now if there is none.
    fn open_or_connecting(
        &self,
        member_id: u64,
        address: &str,
        lane: Lane,
    ) -> Result<Arc<dyn PeerConnection>, Connecting> {
        let mut slots = self.slots.lock();
        match slots.get(&(member_id, lane)) {
            Some(Slot::Open {
                address: open,
                connection,
                ..
            }) if open == address => return Ok(Arc::clone(connection)),
            Some(Slot::Connecting {
                address: open,
                attempt,
            }) if open == address => return Err(attempt.clone()),
            // None, or one to where the member was before.
            Some(_) | None => {}
        }
        let peer = self.peer(member_id, address);
        let connecting = self.connector.connect(peer, lane);
        let late = address.to_owned();
        let attempt = async move {
            match timeout(CONNECT_DEADLINE, connecting).await {
                Ok(connected) => connected.map_err(Arc::new),
                Err(_) => {
                    let source = Some(io::ErrorKind::TimedOut.into());
                    Err(peer_error(member_id, &late, source))
                }
            }
        };
        let attempt = attempt.boxed().shared();
        let slot = Slot::Connecting {
            address: address.to_owned(),
            attempt: attempt.clone(),
        };
        slots.insert((member_id, lane), slot);
        Err(attempt)
    }

    fn peer(&self, member_id: u64, address: &str) -> PeerAddress {
        PeerAddress {
            cluster_id: self.cluster_id,
            member_id,
            address: address.to_owned(),
        }
    }

    /// A member answered over this connection.
    pub(super) fn note_answered(&self, member_id: u64, lane: Lane) {
        self.note_heard(member_id);
        if let Some(Slot::Open { silent_since, .. }) = self.slots.lock().get_mut(&(member_id, lane))
        {
            *silent_since = None;
        }
    }

    /// A connection that stays silent is given up: what it leads to may have gone without a word.
    pub(super) fn note_silence(&self, member_id: u64, lane: Lane) {
        let mut slots = self.slots.lock();
        let now = Instant::now();
        let is_dead = match slots.get_mut(&(member_id, lane)) {
            Some(Slot::Open { silent_since, .. }) => {
                *silent_since.get_or_insert(now) + MAX_SILENCE < now
            }
            Some(Slot::Connecting { .. }) | None => false,
        };
        if is_dead {
            slots.remove(&(member_id, lane));
        }
    }

    /// A connection failed: the next request opens another one.
    pub(super) fn note_broken(
        &self,
        member_id: u64,
        lane: Lane,
        used: &Arc<dyn PeerConnection>,
        error: &PeerError,
    ) {
        if error.is_expulsion() {
            self.is_expelled.store(true, Ordering::Relaxed);
        }
        let mut slots = self.slots.lock();
        let is_current = matches!(
            slots.get(&(member_id, lane)),
            Some(Slot::Open { connection, .. }) if Arc::ptr_eq(connection, used)
        );
        if is_current {
            slots.remove(&(member_id, lane));
            self.note_lost(member_id);
        }
    }
}

/// What a member answered.
pub(super) fn read_answer(member_id: u64, answer: &[u8]) -> Result<Response, LinkError> {
    let response = Frame::unwrap::<wire::PeerResponse>(answer)
        .and_then(|answer| answer.response.ok_or(DecodeError::Field("response")));
    response.map_err(|error| LinkError::Malformed {
        member_id,
        source: Arc::new(error),
    })
}

pub(super) fn peer_error(
    member_id: u64,
    address: &str,
    source: Option<io::Error>,
) -> Arc<PeerError> {
    Arc::new(PeerError {
        member_id,
        address: address.to_owned(),
        source,
    })
}

/// How long a member may wait for the effect of what it asked. Who waits longer is busy, and then more entries come
/// anyway.
const LATELY: Duration = Duration::from_millis(20);

/// News of broken connections that wait at most.
const MAX_LOST: usize = 64;

/// How long a connection may take to come about, its handshake included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// How long a member may be silent before the log says so.
const MISSED_AFTER: Duration = Duration::from_secs(1);

/// How long a connection may leave requests without an answer.
const MAX_SILENCE: Duration = Duration::from_millis(1_500);

/// How long a sign of life may take, whoever waits for it.
const BEAT_DEADLINE: Duration = Duration::from_secs(2);
