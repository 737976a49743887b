//! A server of its own for each test, and its clients: the local administrator, callers without a
//! certificate, holders of minted SVIDs, attested agents.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daemon::port::free_port;
use daemon::supervisor::Shutdown;
use http::Uri;
use hyper_util::rt::TokioIo;
use identity::bundle::Bundle;
use identity::clock::{Clock, SystemClock};
use identity::secret::{KeyType, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::tls::{KeyExchange, SharedTlsMaterial, TlsMaterial};
use identity::trust_domain::TrustDomain;
use identity::x509::generate_csr;
use identity::x509_svid::X509Svid;
use proto::spire::api::server::agent::v1 as agent_wire;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::bundle::v1::GetBundleRequest;
use proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::server::entry::v1::{BatchCreateEntryRequest, CountEntriesRequest};
use proto::spire::api::server::svid::v1::MintX509svidRequest;
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use proto::spire::api::types;
use raft_store::{MemberStatus, Role, Store};
use rustls_pki_types::{CertificateDer, ServerName};
use server::app::App;
use server::attest::IdSelector;
use server::config::{Cluster, Config, FirstStart, RateLimit, Subject};
use server::endpoints::{AuditLog, TrustedProxies};
use server::federation::FederationSettings;
use server::peers::Invitations;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// A running server.
pub(crate) struct World {
    folder: TempDir,
    address: SocketAddr,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    running: JoinSet<anyhow::Result<()>>,
    /// Gone once the server was told to stop.
    member: Option<Member>,
}

/// What a test sees of a member of a cluster that no client does.
struct Member {
    store: Store,
    invitations: Option<Invitations>,
}

/// An attested agent.
pub(crate) struct Agent {
    pub(crate) channel: Channel,
    pub(crate) id: SpiffeId,
    pub(crate) svid: X509Svid,
}

impl World {
    /// A server without rate limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server whose config `change` made different.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Arc::new(SystemClock), change).await
    }

    /// A server, and clients, that live by `clock`.
    pub(crate) async fn start_at(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = config(folder.path().to_owned());
        change(&mut config);
        Self::run(folder, &config, clock).await
    }

    /// A server on what is in `folder` already.
    pub(crate) async fn start_in(folder: TempDir) -> Self {
        let config = config(folder.path().to_owned());
        Self::run(folder, &config, Arc::new(SystemClock)).await
    }

    /// Three members of a cluster, of which the first leads.
    pub(crate) async fn cluster() -> [Self; 3] {
        Self::cluster_with(|_| {}).await
    }

    /// Three members of a cluster, whose settings `change` made different.
    pub(crate) async fn cluster_with(change: impl Fn(&mut Cluster)) -> [Self; 3] {
        Self::cluster_of(&|config| {
            if let Some(cluster) = &mut config.cluster {
                change(cluster);
            }
        })
        .await
    }

    /// Three members of a cluster, whose configs `change` made different.
    pub(crate) async fn cluster_of(change: &dyn Fn(&mut Config)) -> [Self; 3] {
        let first = Self::member(FirstStart::Bootstrap, change).await;
        let join = async || FirstStart::Join(first.invite().await.into());
        let second = Self::member(join().await, change).await;
        let third = Self::member(join().await, change).await;
        let members = [first, second, third];
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = members[0].store().cluster_status(DEADLINE).await.unwrap();
            let votes = |member: &&MemberStatus| matches!(member.role, Role::Leader | Role::Voter);
            if status.members.iter().filter(votes).count() == members.len() {
                return members;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn member(first_start: FirstStart, change: &dyn Fn(&mut Config)) -> Self {
        let (port, peer_port) = (free_port().unwrap(), free_port().unwrap());
        let cluster = Cluster {
            peer_address: format!("127.0.0.1:{peer_port}"),
            api_address: format!("127.0.0.1:{port}"),
            first_start,
            signing_max_staleness: Duration::from_secs(600),
        };
        let settings = |config: &mut Config| {
            config.bind_port = port;
            config.cluster = Some(cluster);
            change(config);
        };
        Self::start_with(settings).await
    }

    /// Two members of a cluster, of which the first leads.
    pub(crate) async fn pair() -> [Self; 2] {
        let first = Self::member(FirstStart::Bootstrap, &|_| {}).await;
        let join = FirstStart::Join(first.invite().await.into());
        let second = Self::member(join, &|_| {}).await;
        [first, second]
    }

    /// What another member joins with.
    pub(crate) async fn invite(&self) -> String {
        let invitations = self.member.as_ref().unwrap().invitations.as_ref().unwrap();
        let invite = invitations.issue(Duration::from_secs(60)).await.unwrap();
        invite.text.to_string()
    }

    /// The registry that the server serves from.
    pub(crate) fn store(&self) -> &Store {
        &self.member.as_ref().unwrap().store
    }

    /// A stopped server, started again on what it left.
    pub(crate) async fn restart(self) -> Self {
        let config = config(self.folder.path().to_owned());
        Self::run(self.folder, &config, self.clock).await
    }

    async fn run(folder: TempDir, config: &Config, clock: Arc<dyn Clock>) -> Self {
        let shutdown = Shutdown::new();
        let app = App::start(config, Arc::clone(&clock), shutdown.clone())
            .await
            .unwrap();
        let address = app.tls_address();
        let member = Some(Member {
            store: app.store().clone(),
            invitations: app.invitations().cloned(),
        });
        let mut running = JoinSet::new();
        running.spawn(app.run());
        Self {
            folder,
            address,
            clock,
            shutdown,
            running,
            member,
        }
    }

    /// Stops the server and says how it ended.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.member = None;
        self.shutdown.request();
        self.running.join_next().await.unwrap().unwrap()
    }

    /// Where everything of the server lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the TLS listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many entries there are.
    pub(crate) async fn count_entries(&self) -> i32 {
        let request = CountEntriesRequest::default();
        let response = self.entries().await.count_entries(request).await.unwrap();
        response.into_inner().count
    }

    /// The administrator on the Unix socket.
    pub(crate) async fn admin(&self) -> Channel {
        daemon::unix::connect(&self.folder.path().join("api.sock"))
            .await
            .unwrap()
    }

    pub(crate) async fn entries(&self) -> EntryClient<Channel> {
        EntryClient::new(self.admin().await)
    }

    pub(crate) async fn bundles(&self) -> BundleClient<Channel> {
        BundleClient::new(self.admin().await)
    }

    /// A caller over TLS that shows no certificate.
    pub(crate) async fn anonymous(&self) -> Channel {
        self.dial(None).await.unwrap()
    }

    /// A caller without a certificate, of whom a proxy says `header`.
    pub(crate) async fn behind_a_proxy(
        &self,
        header: &'static str,
    ) -> Result<Channel, tonic::transport::Error> {
        self.dial_after(header, None).await
    }

    /// A caller over TLS that shows `svid`.
    pub(crate) async fn holder(&self, svid: X509Svid) -> Channel {
        self.dial(Some(svid)).await.unwrap()
    }

    /// As [`World::holder`], for an SVID that the server may refuse in the handshake.
    pub(crate) async fn try_holder(
        &self,
        svid: X509Svid,
    ) -> Result<Channel, tonic::transport::Error> {
        self.dial(Some(svid)).await
    }

    /// A caller over TLS with an SVID minted for `path`.
    pub(crate) async fn minted(&self, path: &str) -> Channel {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let csr = generate_csr(&key, Some(&id(path)), &[]).unwrap();
        let minted = SvidClient::new(self.admin().await)
            .mint_x509svid(MintX509svidRequest { csr, ttl: 0 })
            .await
            .unwrap()
            .into_inner()
            .svid
            .unwrap();
        self.holder(svid(minted.cert_chain, key)).await
    }

    /// A join token that is good for a minute.
    pub(crate) async fn join_token(&self) -> String {
        AgentClient::new(self.admin().await)
            .create_join_token(agent_wire::CreateJoinTokenRequest {
                ttl: 60,
                ..agent_wire::CreateJoinTokenRequest::default()
            })
            .await
            .unwrap()
            .into_inner()
            .value
    }

    /// A new agent, attested with a join token.
    pub(crate) async fn agent(&self) -> Agent {
        let token = self.join_token().await;
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let request = attest_request(&token, generate_csr(&key, None, &[]).unwrap());
        let mut answers = AgentClient::new(self.anonymous().await)
            .attest_agent(tokio_stream::once(request))
            .await
            .unwrap()
            .into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        let Some(agent_wire::attest_agent_response::Step::Result(result)) = answer.step else {
            panic!("a result expected: {answer:?}");
        };
        let svid = svid(result.svid.unwrap().cert_chain, key);
        Agent {
            id: svid.spiffe_id().clone(),
            channel: self.holder(svid.clone()).await,
            svid,
        }
    }

    /// Creates entries, and returns their ids.
    pub(crate) async fn create(&self, entries: Vec<types::Entry>) -> Vec<String> {
        let response = self
            .entries()
            .await
            .batch_create_entry(BatchCreateEntryRequest {
                entries,
                output_mask: None,
            })
            .await
            .unwrap()
            .into_inner();
        let created = response.results.into_iter().map(|result| {
            assert_eq!(result.status.unwrap().message, "OK");
            result.entry.unwrap().id
        });
        created.collect()
    }

    async fn dial(&self, svid: Option<X509Svid>) -> Result<Channel, tonic::transport::Error> {
        self.dial_after("", svid).await
    }

    async fn dial_after(
        &self,
        preface: &'static str,
        svid: Option<X509Svid>,
    ) -> Result<Channel, tonic::transport::Error> {
        let bundle = self
            .bundles()
            .await
            .get_bundle(GetBundleRequest::default())
            .await
            .unwrap()
            .into_inner();
        let bundle: Bundle = proto::convert::bundle::received(&bundle).unwrap();
        let material = TlsMaterial::new(svid, [Arc::new(bundle)]).unwrap();
        let config = identity::tls::client_config(
            SharedTlsMaterial::new(material),
            SpiffeId::server(&trust_domain()),
            KeyExchange::Any,
            Arc::clone(&self.clock),
        )
        .unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let address = self.address;
        let dial = move |_: Uri| {
            let connector = connector.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(preface.as_bytes()).await?;
                let name = ServerName::from(address.ip());
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        };
        Endpoint::from_static("http://localhost")
            .timeout(Duration::from_secs(30))
            .connect_with_connector(tower::service_fn(dial))
            .await
    }
}

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn config(folder: PathBuf) -> Config {
    Config {
        trust_domain: trust_domain(),
        bind_address: "127.0.0.1".to_owned(),
        bind_port: 0,
        socket_path: folder.join("api.sock"),
        data_dir: folder.join("data"),
        log: daemon::log::Options::default(),
        ca_key_type: KeyType::EcP256,
        jwt_key_type: KeyType::EcP256,
        ca_ttl: Duration::from_secs(24 * 3_600),
        agent_ttl: Duration::from_secs(3_600),
        default_x509_svid_ttl: Duration::from_secs(3_600),
        default_jwt_svid_ttl: Duration::from_secs(300),
        ca_subject: Subject::default(),
        jwt_issuer: None,
        disable_jwt_svids: false,
        admin_ids: Vec::new(),
        rate_limit: RateLimit {
            attestation: false,
            signing: false,
        },
        prune_attested_nodes_expired_for: None,
        prune_attested_nodes_batch_size: 1_000,
        prune_tofu_nodes: false,
        health_checks: None,
        node_attestors: Vec::new(),
        upstream: None,
        agent_id_selector: IdSelector::Absent,
        key_exchange: KeyExchange::Any,
        audit_log: AuditLog::Off,
        trusted_proxies: TrustedProxies::default(),
        federation: FederationSettings::default(),
        cluster: None,
        seal_key_path: folder.join("seal.key"),
        explanations: Vec::new(),
    }
}

pub(crate) fn attest_request(token: &str, csr: Vec<u8>) -> agent_wire::AttestAgentRequest {
    use agent_wire::attest_agent_request::{Params, Step};
    agent_wire::AttestAgentRequest {
        step: Some(Step::Params(Params {
            data: Some(types::AttestationData {
                r#type: "join_token".to_owned(),
                payload: token.as_bytes().to_vec(),
            }),
            params: Some(agent_wire::AgentX509svidParams { csr }),
        })),
    }
}

fn svid(chain: Vec<Vec<u8>>, key: PrivateKey) -> X509Svid {
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    X509Svid::new(chain, key).unwrap()
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse(TRUST_DOMAIN).unwrap()
}

pub(crate) fn id(path: &str) -> SpiffeId {
    SpiffeId::from_parts(&trust_domain(), path).unwrap()
}

pub(crate) fn wire_id(path: &str) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: TRUST_DOMAIN.to_owned(),
        path: path.to_owned(),
    }
}

/// An entry with one selector that depends on its path.
pub(crate) fn entry(path: &str, parent_path: &str) -> types::Entry {
    types::Entry {
        spiffe_id: Some(wire_id(path)),
        parent_id: Some(wire_id(parent_path)),
        selectors: vec![selector("path", path)],
        ..types::Entry::default()
    }
}

pub(crate) fn selector(kind: &str, value: &str) -> types::Selector {
    types::Selector {
        r#type: kind.to_owned(),
        value: value.to_owned(),
    }
}
