//! Members in one process: how a cluster begins, grows and goes on, and who is not let in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daemon::port::free_port;
use daemon::supervisor::{Shutdown, chain};
use identity::clock::{Clock, FakeClock, SystemClock};
use identity::secret::{KeyType, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::testing::TestAuthority;
use identity::tls::{ALPN_PEER, KeyExchange, SharedTlsMaterial, TlsMaterial};
use identity::trust_domain::TrustDomain;
use identity::x509::generate_csr;
use prost::Message as _;
use proto::conclave::cluster::v1 as wire;
use proto::conclave::cluster::v1::cluster_client::ClusterClient;
use proto::grpc::health::v1::HealthCheckRequest;
use proto::grpc::health::v1::health_check_response::ServingStatus;
use proto::grpc::health::v1::health_client::HealthClient;
use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::server::entry::v1::{BatchCreateEntryRequest, CountEntriesRequest};
use proto::spire::api::server::svid::v1::MintX509svidRequest;
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use raft_store::{AuthorityKind, Proposal};
use rustls_pki_types::ServerName;
use server::app::{App, StoppedEarly};
use server::config::{Cluster, Config, FirstStart};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::transport::Channel;

use crate::world::{config, entry};

/// A host that is or becomes a member.
struct Host {
    folder: TempDir,
    config: Config,
    running: Option<Member>,
}

struct Member {
    store: raft_store::Store,
    invitations: server::peers::Invitations,
    shutdown: Shutdown,
    task: JoinSet<anyhow::Result<()>>,
}

impl Host {
    fn new(first_start: FirstStart) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = config(folder.path().to_owned());
        config.bind_port = free_port().unwrap();
        config.cluster = Some(Cluster {
            peer_address: format!("127.0.0.1:{}", free_port().unwrap()),
            api_address: format!("127.0.0.1:{}", config.bind_port),
            first_start,
            signing_max_staleness: Duration::from_secs(600),
        });
        Self {
            folder,
            config,
            running: None,
        }
    }

    /// The first member of a new cluster.
    async fn founder() -> Self {
        let mut host = Self::new(FirstStart::Bootstrap);
        host.start().await.unwrap();
        host
    }

    /// A further member, with an invite that this one makes.
    async fn invites_another(&self) -> Self {
        let mut host = Self::new(FirstStart::Join(self.invite().await.into()));
        host.start().await.unwrap();
        host
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        self.start_at(Arc::new(SystemClock)).await
    }

    async fn start_at(&mut self, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
        let shutdown = Shutdown::new();
        let started = App::start(&self.config, clock, shutdown.clone());
        let app = tokio::time::timeout(DEADLINE, started).await.unwrap()?;
        let mut member = Member {
            store: app.store().clone(),
            invitations: app.invitations().unwrap().clone(),
            shutdown,
            task: JoinSet::new(),
        };
        member.task.spawn(app.run());
        self.running = Some(member);
        Ok(())
    }

    async fn stop(&mut self) {
        let Member {
            shutdown,
            mut task,
            store,
            invitations,
        } = self.running.take().unwrap();
        drop((store, invitations));
        shutdown.request();
        task.join_next().await.unwrap().unwrap().unwrap();
    }

    async fn invite(&self) -> String {
        let issued = self.member().invitations.issue(Duration::from_secs(600));
        issued.await.unwrap().text.to_string()
    }

    fn member(&self) -> &Member {
        self.running.as_ref().unwrap()
    }

    fn peer_address(&self) -> &str {
        &self.cluster().peer_address
    }

    fn cluster(&self) -> &Cluster {
        self.config.cluster.as_ref().unwrap()
    }

    fn cluster_id(&self) -> [u8; 16] {
        self.member().store.status().unwrap().cluster_id
    }

    async fn entries(&self) -> EntryClient<Channel> {
        let socket = self.folder.path().join("api.sock");
        EntryClient::new(daemon::unix::connect(&socket).await.unwrap())
    }

    async fn create(&self, path: &str) {
        let request = BatchCreateEntryRequest {
            entries: vec![entry(path, "/p")],
            output_mask: None,
        };
        let created = self.entries().await.batch_create_entry(request).await;
        let result = created.unwrap().into_inner().results.remove(0);
        assert_eq!(result.status.unwrap().message, "OK");
    }

    /// Waits until this member serves so many entries.
    async fn sees(&self, count: i32) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let request = CountEntriesRequest::default();
            let counted = self.entries().await.count_entries(request).await;
            let seen = counted.unwrap().into_inner().count;
            if seen == count {
                return;
            }
            assert!(Instant::now() < deadline, "{seen} entries of {count}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The ids of all authorities, as this member knows them.
    fn authorities(&self) -> Vec<Box<str>> {
        let of_kind = |state: &raft_store::State, kind| {
            let all = state.authorities(kind);
            all.map(|one| one.id.clone()).collect::<Vec<_>>()
        };
        self.member().store.read(|state| {
            let kinds = AuthorityKind::ALL.iter();
            kinds.flat_map(|kind| of_kind(state, *kind)).collect()
        })
    }

    /// Has this member sign an SVID.
    async fn mint(&self) -> Result<(), tonic::Status> {
        let socket = self.folder.path().join("api.sock");
        let mut client = SvidClient::new(daemon::unix::connect(&socket).await.unwrap());
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
        let (csr, ttl) = (generate_csr(&key, Some(&id), &[]).unwrap(), 0);
        client
            .mint_x509svid(MintX509svidRequest { csr, ttl })
            .await?;
        Ok(())
    }

    /// What the member keeps of its identity, once that is something else.
    async fn identity_other_than(&self, kept: Option<Vec<u8>>) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = std::fs::read(self.data_dir().join("peer.sealed")).ok();
            match found {
                Some(found) if kept.as_ref() != Some(&found) => return found,
                Some(_) | None => {}
            }
            assert!(Instant::now() < deadline, "identity stays as it is");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until so many members vote.
    async fn is_one_of(&self, voters: usize) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let seen = self.member().store.cluster_status(DEADLINE).await.unwrap();
            let voting = seen.members.iter().filter(|member| {
                matches!(
                    member.role,
                    raft_store::Role::Leader | raft_store::Role::Voter
                )
            });
            if voting.count() == voters {
                return;
            }
            assert!(Instant::now() < deadline, "{seen:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn joins(&self, invite: &str) -> anyhow::Result<raft_store::Identity> {
        self.joins_telling(invite, |_cause| {}).await
    }

    async fn joins_telling(
        &self,
        invite: &str,
        tell: impl FnMut(&str) + Send,
    ) -> anyhow::Result<raft_store::Identity> {
        server::peers::join_cluster(&self.config, invite, Arc::new(SystemClock), tell).await
    }

    /// How joining ends for a host that never starts.
    async fn refusal(&self, invite: &str) -> String {
        let error = self.joins(invite).await.unwrap_err();
        assert_eq!(std::fs::read_dir(self.data_dir()).unwrap().count(), 0);
        chain(error.as_ref())
    }

    fn data_dir(&self) -> PathBuf {
        self.config.data_dir.clone()
    }
}

const DEADLINE: Duration = Duration::from_secs(60);

/// An invite with something changed in it.
fn altered(invite: &str, change: impl FnOnce(&mut wire::Invite)) -> String {
    let (prefix, encoded) = invite.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(encoded).unwrap();
    let mut message = wire::Invite::decode(&bytes[..bytes.len() - 4]).unwrap();
    change(&mut message);
    let mut bytes = message.encode_to_vec();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    bytes.extend_from_slice(&digest.as_ref()[..4]);
    let encoded = URL_SAFE_NO_PAD.encode(bytes);
    format!("{prefix}.{encoded}")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_take_writes_and_survive_the_loss_of_one() {
    let mut first = Host::founder().await;
    first.create("/a").await;
    let second = first.invites_another().await;
    // Any member invites.
    let third = second.invites_another().await;
    first.is_one_of(3).await;
    third.create("/b").await;
    for host in [&first, &second, &third] {
        host.sees(2).await;
    }
    let peers = |host: &Host| {
        let store = &host.member().store;
        store.read(|state| state.authorities(AuthorityKind::Peer).count())
    };
    assert_eq!(peers(&third), 1);
    first.stop().await;
    second.create("/c").await;
    third.sees(3).await;
    // Its config still says that it bootstraps.
    first.start().await.unwrap();
    first.sees(3).await;
    first.create("/d").await;
    third.sees(4).await;
}

/// A channel to the socket at `path`, once somebody listens there.
async fn until_listening(path: &Path) -> Channel {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match daemon::unix::connect(path).await {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_waits_for_a_quorum_says_so_on_its_socket() {
    let mut first = Host::founder().await;
    let mut second = first.invites_another().await;
    first.is_one_of(2).await;
    second.stop().await;
    first.stop().await;
    let socket = first.folder.path().join("api.sock");
    let (started, ()) = tokio::join!(first.start(), async {
        let channel = until_listening(&socket).await;
        let asked = ClusterClient::new(channel.clone());
        let told = asked.clone().status(wire::StatusRequest {}).await;
        let told = told.unwrap().into_inner();
        let cause =
            "it waits for a quorum: a majority of the members must run and reach each other";
        assert_eq!(told.waiting, cause);
        assert_eq!((told.answered_by, told.quorum), (1, 2));
        let away: Vec<_> = told
            .members
            .iter()
            .filter(|one| !one.is_reachable)
            .collect();
        assert_eq!(away.len(), 1, "{told:?}");
        assert_eq!(away[0].peer_address, second.peer_address());
        let mut health = HealthClient::new(channel.clone());
        let healthy = health.check(HealthCheckRequest::default()).await;
        let healthy = healthy.unwrap().into_inner();
        assert_eq!(healthy.status(), ServingStatus::NotServing);
        let mut entries = EntryClient::new(channel);
        let counted = entries.count_entries(CountEntriesRequest::default());
        let refused = counted.await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(
            refused.message(),
            format!("this server does not serve yet: {cause}")
        );
        second.start().await.unwrap();
        let told = asked.clone().status(wire::StatusRequest {}).await.unwrap();
        assert_ne!(told.into_inner().leader, 0);
    });
    started.unwrap();
    first.create("/a").await;
    second.sees(1).await;
    let told = ClusterClient::new(until_listening(&socket).await)
        .status(wire::StatusRequest {})
        .await;
    assert_eq!(told.unwrap().into_inner().waiting, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_waits_for_a_quorum_stops_when_it_is_told_to() {
    let mut first = Host::founder().await;
    let mut second = first.invites_another().await;
    first.is_one_of(2).await;
    second.stop().await;
    first.stop().await;
    let shutdown = Shutdown::new();
    let started = App::start(&first.config, Arc::new(SystemClock), shutdown.clone());
    let (started, ()) = tokio::join!(tokio::time::timeout(DEADLINE, started), async {
        until_listening(&first.config.socket_path).await;
        shutdown.request();
    });
    let error = started.unwrap().err().unwrap();
    assert!(error.is::<StoppedEarly>(), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_was_alone_becomes_the_first_member() {
    let mut host = Host::new(FirstStart::Continue);
    let cluster = host.config.cluster.take();
    let shutdown = Shutdown::new();
    let app = App::start(&host.config, Arc::new(SystemClock), shutdown.clone());
    let app = app.await.unwrap();
    assert!(app.invitations().is_none());
    let before = app.store().status().unwrap();
    shutdown.request();
    app.run().await.unwrap();
    host.config.cluster = cluster;
    host.start().await.unwrap();
    let after = host.member().store.status().unwrap();
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(after.member_id, before.member_id);
    let second = host.invites_another().await;
    host.create("/a").await;
    second.sees(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_are_good_once_for_their_cluster_and_with_their_secret() {
    let first = Host::founder().await;
    let host = Host::new(FirstStart::Continue);
    let invite = first.invite().await;
    let own_id = uuid::Uuid::from_bytes(first.cluster_id()).simple();

    let garbled = altered(&invite, |invite| invite.secret[0] ^= 1);
    let refused = host.refusal(&garbled).await;
    assert!(refused.contains("proof does not fit"), "{refused}");

    let elsewhere = altered(&invite, |invite| invite.cluster_id[0] ^= 1);
    let refused = host.refusal(&elsewhere).await;
    let expected = format!(
        "whoever listens at {} is no member of the cluster that the invite is for",
        first.peer_address()
    );
    assert!(refused.contains(&expected), "{refused}");

    let pinned = altered(&invite, |invite| invite.authority_spki_sha256[0] ^= 1);
    let refused = host.refusal(&pinned).await;
    assert!(
        refused.contains("no authority with the pinned key"),
        "{refused}"
    );

    let unknown = altered(&invite, |invite| invite.invite_id[0] ^= 1);
    let refused = host.refusal(&unknown).await;
    assert!(refused.contains("there is no such invite"), "{refused}");

    let short = first.member().invitations.issue(Duration::from_secs(1));
    let short = short.await.unwrap();
    let deadline = Instant::now() + DEADLINE;
    while SystemClock.now() < short.expires_at {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = host.refusal(&short.text).await;
    assert!(refused.contains("the invite is over"), "{refused}");

    // The founder is there, so its address is nobody else's.
    let mut rival = Host::new(FirstStart::Continue);
    rival.config.cluster.as_mut().unwrap().peer_address = first.peer_address().to_owned();
    let refused = rival.refusal(&invite).await;
    assert!(
        refused.contains("cannot listen on peer_address"),
        "{refused}"
    );

    // After all of that the invite is as good as new, but only once.
    host.joins(&invite).await.unwrap();
    let other = Host::new(FirstStart::Continue);
    let refused = other.refusal(&invite).await;
    assert!(refused.contains("there is no such invite"), "{refused}");
    let members = first.member().store.read(|state| state.members().count());
    assert_eq!(members, 2, "of cluster {own_id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn member_without_its_seal_key_says_so_whatever_needs_the_key() {
    let host = Host::founder().await;
    let key = &host.config.seal_key_path;
    std::fs::rename(key, host.folder.path().join("away")).unwrap();
    let mut client = ClusterClient::new(until_listening(&host.config.socket_path).await);
    let cause = format!(
        "seal key {} is missing; restore it from a backup",
        key.display()
    );
    let refused = |what: &str, status: tonic::Status| {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        let expected = format!("{what}: {cause}");
        assert!(status.message().starts_with(&expected), "{status:?}");
    };
    let invite = wire::CreateInviteRequest { ttl_s: 60 };
    let invited = client.create_invite(invite).await;
    refused("failed to make an invitation", invited.unwrap_err());
    let rotated = client.rotate_seal(wire::RotateSealRequest {}).await;
    refused("failed to rotate the data key", rotated.unwrap_err());
    let backup = client.backup(wire::BackupRequest {}).await;
    refused("failed to back up", backup.err().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn member_whose_seal_key_was_replaced_hands_it_to_nobody() {
    let first = Host::founder().await;
    let invite = first.invite().await;
    let key = &first.config.seal_key_path;
    let right = std::fs::read(key).unwrap();
    std::fs::write(key, [9; 32]).unwrap();
    let cause = format!("seal key {} is not the one", key.display());
    let mut client = ClusterClient::new(until_listening(&first.config.socket_path).await);
    let refused = |status: tonic::Status| {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert!(status.message().contains(&cause), "{status:?}");
    };
    let asked = wire::CreateInviteRequest { ttl_s: 60 };
    refused(client.create_invite(asked).await.unwrap_err());
    refused(
        client
            .rotate_seal(wire::RotateSealRequest {})
            .await
            .unwrap_err(),
    );

    let host = Host::new(FirstStart::Continue);
    let (heard, mut causes) = tokio::sync::mpsc::channel(32);
    let tell = move |cause: &str| drop(heard.try_send(cause.to_owned()));
    let (joined, ()) = tokio::join!(host.joins_telling(&invite, tell), async {
        let told = causes.recv().await.expect("it is not let in with that key");
        assert!(told.contains(&cause), "{told}");
        std::fs::write(key, &right).unwrap();
    });
    joined.unwrap();
    assert_eq!(std::fs::read(&host.config.seal_key_path).unwrap(), right);
    first.invite().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_of_another_trust_domain_leaves_the_invite_unused() {
    let first = Host::founder().await;
    let invite = first.invite().await;
    let mut host = Host::new(FirstStart::Continue);
    let own = std::mem::replace(
        &mut host.config.trust_domain,
        TrustDomain::parse("other.test").unwrap(),
    );
    let refused = host.refusal(&invite).await;
    assert_eq!(
        refused,
        "cannot join the cluster: the cluster refused: this cluster is of trust domain \
         \"example.org\", but the config of the host says \"other.test\"; correct trust_domain in the \
         config of this host, or use an invite of a cluster of its trust domain; this one is as good \
         as before"
    );
    host.config.trust_domain = own;
    let joined = host.joins(&invite).await.unwrap();
    assert_eq!(joined.cluster_id, first.cluster_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_one_cluster_never_meet_another() {
    let mut first = Host::founder().await;
    let other = Host::founder().await;
    let invite = other.invite().await;
    first.stop().await;
    first.config.cluster.as_mut().unwrap().first_start = FirstStart::Join(invite.clone().into());
    let refused = chain(first.start().await.unwrap_err().as_ref());
    assert!(
        refused.contains("but the configured invite is for cluster"),
        "{refused}"
    );
    let refused = chain(first.joins(&invite).await.unwrap_err().as_ref());
    assert!(refused.contains("holds member 1 of cluster"), "{refused}");
    // A host with the seal key of another cluster keeps it.
    let host = Host::new(FirstStart::Continue);
    std::fs::copy(&first.config.seal_key_path, &host.config.seal_key_path).unwrap();
    let refused = chain(host.joins(&invite).await.unwrap_err().as_ref());
    assert!(refused.contains("is of another cluster"), "{refused}");
    let key = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(
        key(&first.config.seal_key_path),
        key(&host.config.seal_key_path)
    );
    // Nothing was taken from the one that has data.
    first.config.cluster.as_mut().unwrap().first_start = FirstStart::Continue;
    first.start().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_without_data_needs_to_be_told_what_it_is() {
    let mut host = Host::new(FirstStart::Continue);
    let refused = chain(host.start().await.unwrap_err().as_ref());
    assert!(refused.contains("bootstrap = true"), "{refused}");
    let mut first = Host::founder().await;
    first.stop().await;
    std::fs::remove_dir_all(first.data_dir().join("store")).unwrap();
    let refused = chain(first.start().await.unwrap_err().as_ref());
    assert!(
        refused.contains("come back as a new member only"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_is_removed_ends_with_the_reason_and_with_its_files_closed() {
    let first = Host::founder().await;
    let mut second = first.invites_another().await;
    first.is_one_of(2).await;
    let Member {
        store, mut task, ..
    } = second.running.take().unwrap();
    let removed = store.status().unwrap().member_id;
    let proposal = Proposal::new(SystemClock.now());
    let store_of_first = &first.member().store;
    store_of_first
        .remove_member(removed, proposal)
        .await
        .unwrap();
    let ended = tokio::time::timeout(DEADLINE, task.join_next()).await;
    let reason = ended.unwrap().unwrap().unwrap().unwrap_err();
    let reason = chain(reason.as_ref());
    assert!(reason.contains("was removed"), "{reason}");
    // Not that its directory is in use, though somebody has a handle of the store.
    let refused = chain(second.start().await.unwrap_err().as_ref());
    assert!(refused.contains("was removed"), "{refused}");
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn member_whose_data_are_gone_comes_back_as_a_new_one() {
    let first = Host::founder().await;
    let second = first.invites_another().await;
    let mut third = first.invites_another().await;
    first.is_one_of(3).await;
    let old_id = third.member().store.status().unwrap().member_id;
    third.stop().await;
    std::fs::remove_dir_all(third.data_dir()).unwrap();
    std::fs::remove_file(&third.config.seal_key_path).unwrap();
    let invite = second.invite().await;
    third.config.cluster.as_mut().unwrap().first_start = FirstStart::Join(invite.into());
    third.start().await.unwrap();
    let new_id = third.member().store.status().unwrap().member_id;
    assert!(new_id > old_id);
    first.is_one_of(3).await;
    first.create("/a").await;
    third.sees(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_that_joined_before_it_ran_goes_on_as_that_member() {
    let first = Host::founder().await;
    let invite = first.invite().await;
    let mut host = Host::new(FirstStart::Join(invite.clone().into()));
    let join = || host.joins(&invite);
    let taken = TcpListener::bind(host.peer_address()).await.unwrap();
    let refused = join().await.unwrap_err().to_string();
    let expected = "cannot listen on peer_address ";
    assert!(refused.starts_with(expected), "{refused}");
    drop(taken);
    let joined = join().await.unwrap();
    host.start().await.unwrap();
    let status = host.member().store.status().unwrap();
    assert_eq!(status.member_id, joined.member_id);
    first.create("/a").await;
    host.sees(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joiner_tells_what_it_waits_for_and_joins_when_that_is_over() {
    let mut first = Host::founder().await;
    let invite = first.invite().await;
    first.stop().await;
    let host = Host::new(FirstStart::Continue);
    let (heard, mut causes) = tokio::sync::mpsc::channel(32);
    let tell = move |cause: &str| heard.try_send(cause.to_owned()).unwrap();
    let (joined, told) = tokio::join!(host.joins_telling(&invite, tell), async {
        let told = causes.recv().await.unwrap();
        first.start().await.unwrap();
        told
    });
    joined.unwrap();
    let expected = format!(
        "no answer from the member at {}: Connection refused (os error 111)",
        first.peer_address()
    );
    assert_eq!(told, expected);
    while let Some(again) = causes.recv().await {
        assert_ne!(again, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_whose_clock_was_ahead_is_believed_again_once_it_is_right() {
    let mut first = Host::founder().await;
    let kept = first.identity_other_than(None).await;
    first.stop().await;
    // Past half of the life of its certificate, which it replaces by one of the future.
    let twenty_days = Duration::from_secs(20 * 24 * 3600);
    let ahead = SystemClock.now().saturating_add(twenty_days);
    let ahead = Arc::new(FakeClock::new(ahead));
    first.start_at(ahead).await.unwrap();
    first.identity_other_than(Some(kept)).await;
    first.stop().await;
    first.start().await.unwrap();
    first.invites_another().await.is_one_of(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_whose_clock_is_wrong_makes_no_key_signs_nothing_and_gives_up_the_lead() {
    let first = Host::founder().await;
    let second = first.invites_another().await;
    let mut third = first.invites_another().await;
    first.is_one_of(3).await;
    let third_id = third.member().store.status().unwrap().member_id;
    third.stop().await;
    // Its intermediate would have had a successor by then, which would have taken over.
    let ahead = Duration::from_secs(21 * 3600);
    let clock = Arc::new(FakeClock::new(SystemClock.now().saturating_add(ahead)));
    third
        .start_at(Arc::clone(&clock) as Arc<dyn Clock>)
        .await
        .unwrap();
    let before = first.authorities();
    let lead = first
        .member()
        .store
        .transfer_leadership(Some(third_id), DEADLINE);
    assert_eq!(lead.await.unwrap(), third_id);
    let mut leadership = first.member().store.leadership();
    let elsewhere = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != third_id));
    tokio::time::timeout(DEADLINE, elsewhere)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.authorities(), before);

    let refused = third.mint().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    // The clock stands still, so that it is ahead by less and less.
    let cause = "s ahead of that of a majority of the members; correct it";
    assert!(refused.message().ends_with(cause), "{refused}");
    second.mint().await.unwrap();
    clock.set(SystemClock.now());
    let deadline = Instant::now() + DEADLINE;
    while let Err(refused) = third.mint().await {
        assert!(Instant::now() < deadline, "{refused}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_a_member_speaks_on_the_peer_port() {
    let first = Host::founder().await;
    let peers = format!(
        "peers.{}",
        uuid::Uuid::from_bytes(first.cluster_id()).simple()
    );
    let agents = TestAuthority::new("example.org");
    let impostors = TestAuthority::new(&peers);
    for svid in [
        None,
        Some(agents.x509_svid("/spire/agent/x")),
        Some(agents.x509_svid("/web")),
        Some(impostors.x509_svid("/member/1")),
    ] {
        let whose = svid.as_ref().map(|svid| svid.spiffe_id().clone());
        let bundles = [Arc::new(agents.bundle()), Arc::new(impostors.bundle())];
        let material = SharedTlsMaterial::new(TlsMaterial::new(svid, bundles).unwrap());
        let expected = SpiffeId::parse(&format!("spiffe://{peers}/member/1")).unwrap();
        let clock = || Arc::new(SystemClock) as Arc<dyn Clock>;
        let shown =
            identity::tls::client_config(material, expected.clone(), KeyExchange::Any, clock())
                .unwrap();
        let mut config =
            identity::tls::insecure_bootstrap_client_config(expected, KeyExchange::Any, clock())
                .unwrap();
        config.client_auth_cert_resolver = shown.client_auth_cert_resolver;
        config.alpn_protocols = vec![ALPN_PEER.to_vec()];
        let address: std::net::SocketAddr = first.peer_address().parse().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::from(address.ip());
        // The server speaks last, so the refusal comes with the first read.
        let mut stream = connector.connect(name, stream).await.unwrap();
        let read = tokio::time::timeout(DEADLINE, stream.read_u8()).await;
        let error = read.unwrap().unwrap_err();
        assert!(error.to_string().contains("alert"), "{whose:?}: {error}");
    }
}
