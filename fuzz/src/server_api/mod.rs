//! Every RPC of the server: any message, from any kind of caller, to the services as they run, over a store.
//!
//! Must hold: no message stops the server, and each is answered in gRPC's terms and in time.

mod seeds;

pub use seeds::seeds;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use daemon::supervisor::Shutdown;
use daemon::unix::{Peer, PeerProcess};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use identity::clock::Clock;
use identity::secret::{KeyType, PrivateKey};
use identity::tls::{PeerIdentity, SharedTlsMaterial, TlsMaterial};
use identity::x509::generate_csr;
use parking_lot::Mutex;
use prost::Message as _;
use proto::conclave::cluster::v1::cluster_server::ClusterServer;
use proto::conclave::sync::v1::sync_server::SyncServer;
use proto::grpc::health::v1::health_server::HealthServer;
use proto::spire::api::server::agent::v1::agent_server::AgentServer;
use proto::spire::api::server::bundle::v1::bundle_server::BundleServer;
use proto::spire::api::server::debug::v1::debug_server::DebugServer;
use proto::spire::api::server::entry::v1::entry_server::EntryServer;
use proto::spire::api::server::localauthority::v1::local_authority_server::LocalAuthorityServer;
use proto::spire::api::server::logger::v1::logger_server::LoggerServer;
use proto::spire::api::server::svid::v1::svid_server::SvidServer;
use proto::spire::api::server::trustdomain::v1::trust_domain_server::TrustDomainServer;
use proto::spire::api::server::{agent, entry};
use proto::spire::api::types;
use raft_store::{AgentRecord, FileSeal, Options, Store};
use server::agents::Agents;
use server::api;
use server::attest::x509pop::{ClientAddress, Settings, Trust, X509Pop};
use server::attest::{Attestation, AttestorHost, Attestors, IdSelector};
use server::bundles::Bundles;
use server::ca::{Ca, Policy};
use server::cluster::ClusterControl;
use server::config::{self, LoadArgs};
use server::endpoints::audit::AuditTrail;
use server::endpoints::authz::Rule;
use server::endpoints::{AdminSource, Caller, CallerRole, ConnectionLife, Gate, Services, Waiting};
use server::entries::Entries;
use server::federation::{Federation, StaticRelationships};
use server::self_report::SelfReport;
use server::svids::Svids;
use server::sync::Sync;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tower::Service as _;

use crate::input::Input;
use crate::wire;
use crate::world::{AUTHORITY, OWN, clock};

/// Which RPC, who calls, then one message, or several for a stream.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let path = METHODS[usize::from(input.byte()) % METHODS.len()].as_str();
    let role = input.byte();
    let messages = match STREAMS.contains(&path) {
        true => input.pieces(8),
        false => vec![input.rest()],
    };
    let mut world = WORLD.lock();
    world.calls += 1;
    if world.calls > CALLS {
        let before = std::mem::replace(&mut *world, World::new());
        before.close();
    }
    let world = &*world;
    RUNTIME.block_on(async {
        let answered = tokio::time::timeout(PATIENCE, world.call(path, role, &messages)).await;
        answered.unwrap_or_else(|_elapsed| panic!("{path} was not answered in time"));
    });
}

/// What a call may take: less than any deadline within the server.
const PATIENCE: Duration = Duration::from_secs(8);

/// How many calls are made to a store before another takes its place.
const CALLS: usize = 5_000;

/// Of these a request is a stream.
const STREAMS: [&str; 2] = [
    "/spire.api.server.agent.v1.Agent/AttestAgent",
    "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries",
];

/// All RPCs that a server has but those that end it or its keys, or make it call somebody.
static METHODS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let skipped = [
        "/conclave.cluster.v1.Cluster/Leave",
        "/conclave.cluster.v1.Cluster/RotateSeal",
        "/spire.api.server.trustdomain.v1.TrustDomain/RefreshBundle",
    ];
    proto::descriptors::rpc_paths()
        .filter(|path| Rule::of(path).is_some() && !skipped.contains(&path.as_str()))
        .collect()
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
});

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| Mutex::new(World::new()));

/// A server without sockets.
struct World {
    services: Services,
    agent: Arc<AgentRecord>,
    calls: usize,
    store: Store,
    shutdown: Shutdown,
    /// Goes after everything that has files in it.
    folder: TempDir,
}

impl World {
    fn close(self) {
        let Self {
            services,
            store,
            shutdown,
            folder,
            ..
        } = self;
        drop(services);
        shutdown.request();
        RUNTIME.block_on(async { store.close().await.ok() });
        drop(folder);
    }

    fn new() -> Self {
        RUNTIME.block_on(Self::start())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "they end when `close` asks them to"
    )]
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shutdown = Shutdown::new();
        let store = open_store(folder.path()).await;
        let clock: Arc<dyn Clock> = clock();
        let (ca, authorities) = Ca::open(store.clone(), Arc::clone(&clock), policy(folder.path()));
        let by_hand = authorities.by_hand(&ca);
        let stop = shutdown.clone();
        tokio::task::spawn(async move {
            let Ok(()) = authorities.run(stop).await;
        });
        ca.ready().await;
        let (sync, streams) = Sync::new(store.clone(), OWN.clone());
        let stop = shutdown.clone();
        tokio::task::spawn(async move {
            streams.run(stop).await.ok();
        });
        let gate = Gate::closed(Waiting::Quorum);
        gate.open();
        let parts = Parts {
            attestation: attestation(&store, &ca, &clock, folder.path()).await,
            folder: folder.path(),
            store: &store,
            ca: &ca,
            clock,
            gate,
            shutdown: &shutdown,
        };
        let services = parts.services(by_hand, sync);
        let mut world = Self {
            services,
            agent: Arc::new(nobody()),
            calls: 0,
            store,
            shutdown,
            folder,
        };
        world.attest().await;
        world
    }

    /// Makes an agent that some of the calls are of, and entries below it.
    async fn attest(&mut self) {
        let token = agent::v1::CreateJoinTokenRequest {
            token: "seed".to_owned(),
            ttl: 600,
            ..agent::v1::CreateJoinTokenRequest::default()
        };
        let path = "/spire.api.server.agent.v1.Agent/CreateJoinToken";
        self.call(path, LOCAL, &[&token.encode_to_vec()]).await;
        self.call(
            STREAMS[0],
            NOBODY,
            &[&attest_request("seed").encode_to_vec()],
        )
        .await;
        let id = AUTHORITY.spiffe_id("/spire/agent/join_token/seed");
        let record = self.store.read(|state| state.agent(&id).cloned());
        self.agent = record.expect("the agent was attested");
        let mut entry = wire::entry("/w");
        entry.parent_id = Some(proto::convert::id::to_wire(&id));
        entry.federates_with.clear();
        let create = entry::v1::BatchCreateEntryRequest {
            entries: vec![entry],
            output_mask: None,
        };
        let path = "/spire.api.server.entry.v1.Entry/BatchCreateEntry";
        self.call(path, LOCAL, &[&create.encode_to_vec()]).await;
    }

    /// Makes a call and reads what comes at once.
    async fn call(&self, path: &str, role: u8, messages: &[&[u8]]) {
        let mut response = self.dispatch(self.request(path, role, messages)).await;
        assert_eq!(response.status(), http::StatusCode::OK);
        let body = response.body_mut();
        for _ in 0..MAX_FRAMES {
            let frame = tokio::time::timeout(AT_ONCE, body.frame()).await;
            match frame {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) | Err(_) => return,
            }
        }
    }

    fn request(&self, path: &str, role: u8, messages: &[&[u8]]) -> Request<Body> {
        let mut frames = Vec::new();
        for message in messages {
            let len = u32::try_from(message.len()).expect("inputs are short");
            frames.push(0);
            frames.extend_from_slice(&len.to_be_bytes());
            frames.extend_from_slice(message);
        }
        let mut request = Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(Bytes::from(frames))))
            .expect("it is a request");
        let (caller, role) = self.caller(role);
        let rule = Rule::of(path).expect("every RPC has a rule");
        let extensions = request.extensions_mut();
        extensions.insert(AuditTrail::open(rule, &caller, &role));
        extensions.insert(caller);
        extensions.insert(role);
        extensions.insert(ConnectionLife::default());
        request
    }

    fn caller(&self, role: u8) -> (Caller, CallerRole) {
        let remote = |identity| Caller::Tls {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1234)),
            identity,
        };
        let peer = |id: &identity::spiffe_id::SpiffeId| {
            Some(Arc::new(PeerIdentity {
                spiffe_id: id.clone(),
                serial: self.agent.serial.to_string(),
                not_after: self.agent.not_after,
            }))
        };
        match role % 5 {
            NOBODY => (remote(None), CallerRole::Nobody),
            LOCAL => (Caller::Local(Arc::clone(&OURSELVES)), CallerRole::Local),
            2 => (
                remote(peer(&AUTHORITY.spiffe_id("/admin"))),
                CallerRole::Admin(AdminSource::Entry),
            ),
            3 => (
                remote(peer(&AUTHORITY.spiffe_id("/down"))),
                CallerRole::Downstream,
            ),
            _ => {
                let agent = Arc::clone(&self.agent);
                (
                    remote(peer(&self.agent.spiffe_id)),
                    CallerRole::Agent(agent),
                )
            }
        }
    }

    async fn dispatch(&self, request: Request<Body>) -> Response<Body> {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        let services = &self.services;
        let answered = match service {
            "conclave.cluster.v1.Cluster" => services.cluster.clone().call(request).await,
            "conclave.sync.v1.Sync" => services.sync.clone().call(request).await,
            "grpc.health.v1.Health" => services.health.clone().call(request).await,
            "spire.api.server.agent.v1.Agent" => services.agent.clone().call(request).await,
            "spire.api.server.bundle.v1.Bundle" => services.bundle.clone().call(request).await,
            "spire.api.server.debug.v1.Debug" => services.debug.clone().call(request).await,
            "spire.api.server.entry.v1.Entry" => services.entry.clone().call(request).await,
            "spire.api.server.localauthority.v1.LocalAuthority" => {
                services.local_authority.clone().call(request).await
            }
            "spire.api.server.logger.v1.Logger" => services.logger.clone().call(request).await,
            "spire.api.server.trustdomain.v1.TrustDomain" => {
                services.trust_domain.clone().call(request).await
            }
            "spire.api.server.svid.v1.SVID" => services.svid.clone().call(request).await,
            _ => return tonic::Status::unimplemented("no such service").into_http(),
        };
        answered.unwrap_or_else(|never| match never {})
    }
}

const NOBODY: u8 = 0;
const LOCAL: u8 = 1;

/// Frames of an answer that are read.
const MAX_FRAMES: usize = 32;

/// What has come by then of a stream without an end is all that comes at once.
const AT_ONCE: Duration = Duration::from_millis(20);

static OURSELVES: LazyLock<Arc<Peer>> = LazyLock::new(|| {
    let pid = i32::try_from(std::process::id()).expect("pids are small");
    Arc::new(PeerProcess::of_pid(pid).expect("this process runs").into())
});

#[expect(
    clippy::disallowed_methods,
    reason = "it ends when the store is closed"
)]
async fn open_store(folder: &Path) -> Store {
    let seal = FileSeal::at(&folder.join("seal.key"));
    let options = Options::new(folder.join("data"), Box::new(seal));
    let started = Store::start(options, Duration::from_secs(60)).await;
    let (store, driver) = started.expect("a store starts");
    tokio::task::spawn(async move {
        driver.run().await.ok();
    });
    store
}

/// Join tokens, and `x509pop` with the authority of the seeds.
async fn attestation(store: &Store, ca: &Ca, clock: &Arc<dyn Clock>, folder: &Path) -> Attestation {
    let path = folder.join("nodes.pem");
    std::fs::write(&path, AUTHORITY.bundle().to_pem()).expect("the file is written");
    let settings = Settings {
        trust: Trust::ExternalPki(vec![path]),
        agent_path_template: None,
        max_intermediates: 8,
        max_rsa_key_size_bits: 8192,
        client_address: ClientAddress::Ignored,
    };
    let host = AttestorHost {
        trust_domain: OWN.clone(),
        store: store.clone(),
        clock: Arc::clone(clock),
    };
    let x509pop = X509Pop::open(settings, &host).await;
    let x509pop = x509pop.unwrap_or_else(|error| panic!("{error}"));
    let attestors = Attestors::new(vec![Box::new(x509pop)]);
    Attestation::new(store.clone(), ca.clone(), Arc::clone(clock))
        .with_attestors(attestors, IdSelector::Absent)
}

struct Parts<'a> {
    attestation: Attestation,
    folder: &'a Path,
    store: &'a Store,
    ca: &'a Ca,
    clock: Arc<dyn Clock>,
    gate: Gate,
    shutdown: &'a Shutdown,
}

impl Parts<'_> {
    fn services(self, by_hand: server::ca::LocalAuthorities, sync: Sync) -> Services {
        let store = || self.store.clone();
        let clock = || Arc::clone(&self.clock);
        let own = || OWN.clone();
        let bundles = || Bundles::new(store(), clock(), own());
        let material = TlsMaterial::new(Some(AUTHORITY.x509_svid("/spire/server")), []);
        let material = SharedTlsMaterial::new(material.expect("an SVID can be shown"));
        let cluster = ClusterControl {
            store: store(),
            clock: clock(),
            invitations: None,
            seal_key_path: self.folder.join("seal.key"),
            server: self.shutdown.clone(),
        };
        let agents = Agents::new(store(), clock(), own());
        let (attestation, ca, gate) =
            (self.attestation.clone(), self.ca.clone(), self.gate.clone());
        Services {
            agent: AgentServer::new(api::agent::AgentApi::new(agents, attestation, own())),
            bundle: BundleServer::new(api::bundle::BundleApi::new(bundles())),
            cluster: ClusterServer::new(api::cluster::ClusterApi::new(cluster, gate.clone())),
            debug: DebugServer::new(api::debug::DebugApi::new(SelfReport::new(
                store(),
                material,
                own(),
            ))),
            entry: EntryServer::new(api::entry::EntryApi::new(
                Entries::new(store(), clock()),
                own(),
            )),
            health: HealthServer::new(api::health::HealthApi::new(bundles(), ca.clone(), gate)),
            local_authority: LocalAuthorityServer::new(
                api::local_authority::LocalAuthorityApi::new(by_hand),
            ),
            logger: LoggerServer::new(api::logger::LoggerApi::new(daemon::log::of_process())),
            svid: SvidServer::new(api::svid::SvidApi::new(Svids::new(store(), ca), own())),
            sync: SyncServer::new(api::sync::SyncApi::new(sync, clock())),
            trust_domain: TrustDomainServer::new(api::trust_domain::TrustDomainApi::new(
                Federation::new(store(), clock(), own(), StaticRelationships::default()),
            )),
        }
    }
}

/// That of a server without any settings.
fn policy(folder: &Path) -> Policy {
    let path = folder.join("server.conf");
    let settings = r#"server { trust_domain = "example.org" data_dir = "data" }"#;
    std::fs::write(&path, settings).expect("the file is written");
    let config = config::load(&LoadArgs::from_path(path));
    Policy::from_config(&config.unwrap_or_else(|error| panic!("{error:#}")))
}

fn nobody() -> AgentRecord {
    AgentRecord {
        spiffe_id: AUTHORITY.spiffe_id("/spire/agent/nobody"),
        attestation_type: "".into(),
        serial: "".into(),
        not_after: crate::world::NOW,
        new_serial: "".into(),
        new_not_after: None,
        can_reattest: false,
        agent_version: "".into(),
        selectors: identity::selector::SelectorSet::default(),
        admission: None,
    }
}

fn csr() -> Vec<u8> {
    let key = PrivateKey::generate(KeyType::EcP256).expect("a key is made");
    let id = AUTHORITY.spiffe_id("/minted");
    generate_csr(&key, Some(&id), &[]).expect("a request is made")
}

fn attest_request(token: &str) -> agent::v1::AttestAgentRequest {
    attest("join_token", token.as_bytes().to_vec())
}

fn attest(kind: &str, payload: Vec<u8>) -> agent::v1::AttestAgentRequest {
    use agent::v1::attest_agent_request::{Params, Step};
    agent::v1::AttestAgentRequest {
        step: Some(Step::Params(Params {
            data: Some(types::AttestationData {
                r#type: kind.to_owned(),
                payload,
            }),
            params: Some(agent::v1::AgentX509svidParams { csr: csr() }),
        })),
    }
}
