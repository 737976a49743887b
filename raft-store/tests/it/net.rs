//! Several members in one process, over a network that loses what a test tells it to lose.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use identity::clock::UnixTime;
use identity::secret::SecretBytes;
use parking_lot::Mutex;
use raft_store::{
    AdmitMember, AdmitOutcome, AnnounceMember, AnswerError, CreateInvite, Driver, FORMATS,
    FileSeal, InviteId, InviteRecord, Lane, Limits, MemberProfile, OpenError, Options, PeerAddress,
    PeerConnection, PeerConnector, PeerError, RecordName, Role, Start, Store,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::fixture::{NOW, STARTS, proposal};

/// How long anything may take that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Requests in order that are under way at once.
const MAX_UNANSWERED: usize = 16;

/// The wires between members, by address.
#[derive(Debug, Default)]
pub(crate) struct Net {
    listening: Mutex<BTreeMap<String, Listener>>,
    /// Directed links that lose everything without a word.
    lost: Mutex<BTreeSet<(u64, u64)>>,
    /// Changes a request on its way.
    mangle: Mutex<Option<Mangle>>,
    /// Directed links that lose entries, and carry everything else.
    without_entries: Mutex<BTreeSet<(u64, u64)>>,
    /// Connections for entries that found nobody.
    refused: AtomicUsize,
}

/// What a test makes of a request.
pub(crate) type Mangle = fn(Lane, Bytes) -> Bytes;

#[derive(Clone, Debug)]
struct Listener {
    id: u64,
    store: Store,
}

/// One member's way to the others.
#[derive(Debug)]
struct Port {
    net: Arc<Net>,
    own_id: u64,
}

impl PeerConnector for Port {
    fn connect(
        &self,
        peer: PeerAddress,
        lane: Lane,
    ) -> BoxFuture<'static, Result<Arc<dyn PeerConnection>, PeerError>> {
        let wire = Wire {
            net: Arc::clone(&self.net),
            from: self.own_id,
            peer,
            lane,
        };
        Box::pin(async move {
            wire.net.pass(wire.from, wire.peer.member_id).await;
            match wire.net.listener(&wire.peer.address) {
                Some(_) => Ok(Arc::new(wire) as Arc<dyn PeerConnection>),
                None => {
                    if wire.lane == Lane::Log {
                        wire.net.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(wire.error(io::ErrorKind::ConnectionRefused))
                }
            }
        })
    }
}

#[derive(Clone, Debug)]
struct Wire {
    net: Arc<Net>,
    from: u64,
    peer: PeerAddress,
    lane: Lane,
}

impl Wire {
    fn error(&self, kind: io::ErrorKind) -> PeerError {
        PeerError {
            member_id: self.peer.member_id,
            address: self.peer.address.clone(),
            source: Some(kind.into()),
        }
    }

    async fn carry(self, request: Bytes) -> Result<Bytes, PeerError> {
        let to = self.peer.member_id;
        self.net.pass(self.from, to).await;
        let loses_entries = self.net.without_entries.lock().contains(&(self.from, to));
        if self.lane == Lane::Log && loses_entries {
            std::future::pending::<()>().await;
        }
        let broken = || self.error(io::ErrorKind::ConnectionReset);
        let listener = self.net.listener(&self.peer.address).ok_or_else(broken)?;
        let mangle = *self.net.mangle.lock();
        let request = match mangle {
            Some(mangle) => mangle(self.lane, request),
            None => request,
        };
        let answer = listener.store.answer_peer(self.from, request).await;
        // Gone meanwhile: then so is the answer.
        self.net.listener(&self.peer.address).ok_or_else(broken)?;
        self.net.pass(to, self.from).await;
        answer.map_err(|refused| match refused {
            AnswerError::NotAMember { .. } => self.error(io::ErrorKind::PermissionDenied),
            _ => self.error(io::ErrorKind::Other),
        })
    }
}

impl PeerConnection for Wire {
    fn exchange(
        &self,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let wire = self.clone();
        Box::pin(async move {
            let late = wire.error(io::ErrorKind::TimedOut);
            let carried = tokio::time::timeout(deadline, wire.carry(request)).await;
            carried.unwrap_or(Err(late))
        })
    }

    fn exchange_in_order(
        &self,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        let wire = self.clone();
        let requests = ReceiverStream::new(requests);
        let answers = requests.map(move |request| wire.clone().carry(request));
        answers.buffered(MAX_UNANSWERED).boxed()
    }
}

impl Net {
    fn listener(&self, address: &str) -> Option<Listener> {
        self.listening.lock().get(address).cloned()
    }

    /// Ends only if this link carries.
    async fn pass(&self, from: u64, to: u64) {
        if self.lost.lock().contains(&(from, to)) {
            std::future::pending::<()>().await;
        }
    }

    /// Connections for entries that found nobody.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Loses everything from one member to another.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.lost.lock().insert((from, to));
    }

    /// Loses everything from and to a member.
    pub(crate) fn isolate(&self, id: u64) {
        let others: Vec<u64> = self.listening.lock().values().map(|l| l.id).collect();
        for other in others {
            self.cut(id, other);
            self.cut(other, id);
        }
    }

    /// Loses nothing any more.
    pub(crate) fn heal(&self) {
        self.lost.lock().clear();
        self.without_entries.lock().clear();
    }

    /// Loses entries from one member to another, and nothing else.
    pub(crate) fn withhold_entries(&self, from: u64, to: u64) {
        self.without_entries.lock().insert((from, to));
    }

    /// Changes all requests on their way.
    pub(crate) fn mangle(&self, mangle: Option<Mangle>) {
        *self.mangle.lock() = mangle;
    }

    /// How one member calls another.
    pub(crate) fn port(self: &Arc<Self>, own_id: u64) -> Arc<dyn PeerConnector> {
        Arc::new(Port {
            net: Arc::clone(self),
            own_id,
        })
    }
}

/// A cluster whose members share a seal key.
pub(crate) struct Cluster {
    pub(crate) net: Arc<Net>,
    pub(crate) limits: Limits,
    dir: TempDir,
    pub(crate) members: BTreeMap<u64, Member>,
}

/// A member that runs.
pub(crate) struct Member {
    pub(crate) store: Store,
    driver: Driver,
}

impl Cluster {
    /// A cluster of one that listens.
    pub(crate) async fn of_one(limits: Limits) -> Self {
        let mut cluster = Self {
            net: Arc::default(),
            limits,
            dir: tempfile::tempdir().unwrap(),
            members: BTreeMap::new(),
        };
        cluster.start(1).await.unwrap();
        cluster
    }

    /// A cluster of three voters.
    pub(crate) async fn of_three() -> Self {
        Self::of_three_with(Limits::default()).await
    }

    /// A cluster of three voters with these limits.
    pub(crate) async fn of_three_with(limits: Limits) -> Self {
        let mut cluster = Self::of_one(limits).await;
        for _ in 0..2 {
            cluster.join().await;
        }
        cluster.until_voting(3).await;
        cluster
    }

    /// Where this member's files are.
    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("store-{id}"))
    }

    /// The options of a member that was there before, or the first.
    pub(crate) fn options(&self, id: u64) -> Options {
        let seal = FileSeal::at(&self.dir.path().join("seal.key"));
        let mut options = Options::new(self.path(id), Box::new(seal));
        options.connector = self.net.port(id);
        options.limits = self.limits;
        options.api_address = format!("api-{id}");
        options.program_version = "test".to_owned();
        options.start = Start::Member {
            address: address(id),
        };
        options
    }

    /// Starts a member that was there before, or the first.
    pub(crate) async fn start(&mut self, id: u64) -> Result<(), OpenError> {
        self.start_with(id, self.options(id)).await
    }

    /// Starts a member, reachable before it is ready.
    pub(crate) async fn start_with(&mut self, id: u64, options: Options) -> Result<(), OpenError> {
        let (store, driver) = Store::open(options).await?;
        self.listen(id, &store);
        if let Err(error) = store.ready(STARTS).await {
            self.net.listening.lock().remove(&address(id));
            drop(store.close().await);
            drop(driver.run().await);
            return Err(error);
        }
        self.members.insert(id, Member { store, driver });
        Ok(())
    }

    /// Starts a member that was there before, and does not wait until it is ready.
    pub(crate) async fn start_unready(&mut self, id: u64) {
        let (store, driver) = Store::open(self.options(id)).await.unwrap();
        self.listen(id, &store);
        self.members.insert(id, Member { store, driver });
    }

    /// Starts a member that was there before, at another address, which a peer learns from it.
    pub(crate) async fn start_at(&mut self, id: u64, new: &str) {
        let mut options = self.options(id);
        options.start = Start::Member {
            address: new.to_owned(),
        };
        let (store, driver) = Store::open(options).await.unwrap();
        let listener = Listener {
            id,
            store: store.clone(),
        };
        self.net.listening.lock().insert(new.to_owned(), listener);
        let known = self.any().read(|state| state.member(id).cloned()).unwrap();
        let moved = AnnounceMember {
            id,
            profile: MemberProfile {
                peer_address: new.into(),
                ..known.profile.clone()
            },
        };
        self.any().propose(moved, proposal()).await.unwrap();
        store.ready(STARTS).await.unwrap();
        self.members.insert(id, Member { store, driver });
    }

    /// Starts a member that ended by itself, as soon as its files are closed.
    pub(crate) async fn restarted(&mut self, id: u64) -> Result<(), OpenError> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.start(id).await {
                Err(OpenError::Locked { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                started => return started,
            }
        }
    }

    fn listen(&self, id: u64, store: &Store) {
        let store = store.clone();
        let listener = Listener { id, store };
        self.net.listening.lock().insert(address(id), listener);
    }

    /// Admits a member whose address is of its own choice, without starting it.
    pub(crate) async fn admit(&self, peer_address: &str) -> AdmitOutcome {
        let store = self.any();
        let id = InviteId::random();
        let secret = SecretBytes::new(b"secret".to_vec());
        let verifier = store.seal(&RecordName::invite(&id), &secret).unwrap();
        let invite = InviteRecord {
            id,
            verifier,
            expires_at: UnixTime::from_secs(NOW.as_secs() + 600),
        };
        let created = store.propose(CreateInvite { invite }, proposal()).await;
        assert!(created.unwrap());
        let admission = AdmitMember {
            invite: id,
            profile: MemberProfile {
                peer_address: peer_address.into(),
                api_address: "".into(),
                program_version: "test".into(),
                formats: FORMATS,
            },
        };
        store.propose(admission, proposal()).await.unwrap()
    }

    /// Admits a member, starts it, and waits until it is ready.
    pub(crate) async fn join(&mut self) -> u64 {
        let member_id = self.join_unready().await;
        self.store(member_id).ready(STARTS).await.unwrap();
        member_id
    }

    /// Admits a member and starts it.
    pub(crate) async fn join_unready(&mut self) -> u64 {
        let provisional = format!("joiner-{}", self.members.len());
        let member_id = match self.admit(&provisional).await {
            AdmitOutcome::Admitted { member_id } => member_id,
            refused => unreachable!("{refused:?}"),
        };
        let mut options = self.options(member_id);
        options.start = Start::Joined {
            cluster_id: self.any().status().unwrap().cluster_id,
            member_id,
            address: address(member_id),
        };
        // The leader looks for it where it said it would be.
        let (store, driver) = Store::open(options).await.unwrap();
        self.listen(member_id, &store);
        let alias = Listener {
            id: member_id,
            store: store.clone(),
        };
        self.net.listening.lock().insert(provisional, alias);
        self.members.insert(member_id, Member { store, driver });
        member_id
    }

    /// Ends a member as a crash does for the others: without a word.
    pub(crate) async fn kill(&mut self, id: u64) {
        let member = self.members.remove(&id).unwrap();
        self.net
            .listening
            .lock()
            .retain(|_, listener| listener.id != id);
        for other in self.members.values() {
            other.store.peer_lost(id);
        }
        drop(member.store.close().await);
        drop(member.driver.run().await);
    }

    /// Waits until a member ends by itself, and tells why.
    pub(crate) async fn ended(&mut self, id: u64) -> String {
        let member = self.members.remove(&id).unwrap();
        let ended = tokio::time::timeout(SOON, member.driver.run()).await;
        let reason = ended.unwrap().unwrap_err().to_string();
        self.net
            .listening
            .lock()
            .retain(|_, listener| listener.id != id);
        drop(member.store.close().await);
        reason
    }

    /// Ends all members.
    pub(crate) async fn stop(mut self) {
        while let Some(id) = self.members.keys().next().copied() {
            self.kill(id).await;
        }
    }

    /// Any member's store.
    pub(crate) fn any(&self) -> &Store {
        &self.members.values().next().unwrap().store
    }

    /// A member's store.
    pub(crate) fn store(&self, id: u64) -> &Store {
        &self.members.get(&id).unwrap().store
    }

    /// The leader, as a majority of those running sees it.
    pub(crate) async fn leader(&self) -> u64 {
        let deadline = Instant::now() + SOON;
        loop {
            let seen = self
                .members
                .values()
                .map(|m| *m.store.leadership().borrow());
            let seen: Vec<_> = seen.collect();
            let led = seen.iter().find(|now| {
                let same = seen.iter().filter(|other| other.leader == now.leader);
                now.is_leader && same.count() > seen.len() / 2
            });
            if let Some(leader) = led.and_then(|now| now.leader) {
                return leader;
            }
            assert!(Instant::now() < deadline, "no leader: {seen:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The other members.
    pub(crate) fn followers_of(&self, leader: u64) -> Vec<u64> {
        let ids = self.members.keys().copied();
        ids.filter(|id| *id != leader).collect()
    }

    /// Waits until so many members vote.
    pub(crate) async fn until_voting(&self, count: usize) {
        self.until_voting_but(0, count).await;
    }

    /// Waits until so many members vote, as every other than this one sees it: followers hear of it last.
    pub(crate) async fn until_voting_but(&self, id: u64, count: usize) {
        let deadline = Instant::now() + SOON;
        for &other in self.members.keys().filter(|other| **other != id) {
            loop {
                let status = self.store(other).cluster_status(SOON).await.unwrap();
                let votes = |role: Role| matches!(role, Role::Leader | Role::Voter);
                let voting = status.members.iter().filter(|m| votes(m.role)).count();
                if voting == count && status.members.len() == count {
                    break;
                }
                assert!(Instant::now() < deadline, "{status:#?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Where a member listens.
pub(crate) fn address(id: u64) -> String {
    format!("member-{id}")
}
