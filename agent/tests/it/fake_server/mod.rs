//! A server that knows what a test tells it.

mod calls;
mod connection;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use identity::testing::TestAuthority;
use parking_lot::Mutex;
use proto::convert;
use proto::spire::api::server::agent::v1 as agent_api;
use proto::spire::api::server::bundle::v1 as bundle_api;
use proto::spire::api::types;
use proto::spire::api::types::permission_denied_details::Reason;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use calls::{
    attest_agent, batch_new_x509_svid, get_federated_bundle, new_jwt_svid, renew_agent,
    sync_authorized_entries,
};
use connection::{Peer, accept};
use watch::{History, watch};

/// The lifetime of everything that is signed, unless a test wants another.
pub(crate) const TTL: Duration = Duration::from_secs(3600);

/// What the server knows, and what it was asked.
pub(crate) struct Registry {
    pub(crate) authority: TestAuthority,
    pub(crate) tokens: BTreeSet<String>,
    pub(crate) entries: Vec<types::Entry>,
    pub(crate) federated: Vec<types::Bundle>,
    pub(crate) refusal: Option<Reason>,
    /// Syncs that begin now are answered when this is false again.
    pub(crate) holds_syncs: bool,
    /// Agents that are admitted now are told when this is false again.
    pub(crate) holds_attestations: bool,
    /// The serial number of the SVID that the last attestation gave to an agent, by its path.
    admitted: BTreeMap<String, String>,
    /// The serial number of a renewed SVID that was not used yet, and the one it will replace.
    pending: Option<(String, String)>,
    /// Serial numbers of SVIDs that are no longer valid.
    pub(crate) replaced: BTreeSet<String>,
    pub(crate) attest_refused: bool,
    pub(crate) fails_to_sign: bool,
    /// The id of an entry that signing does not know of.
    pub(crate) unknown: Option<&'static str>,
    pub(crate) agent_ttl: Duration,
    pub(crate) svid_ttl: Duration,
    pub(crate) jwt_ttl: Duration,
    /// How long ago tokens were issued when they are issued.
    pub(crate) jwt_age: Duration,
    pub(crate) page_size: usize,
    /// Whether there is a stream of changes.
    pub(crate) pushes: bool,
    /// Whether streams bring neither changes nor signs of life.
    pub(crate) is_silent: bool,
    /// Whether agents renew by attesting again, for which one token is good any number of times.
    pub(crate) reattestable: bool,
    /// Whether an agent is admitted without ever being told.
    pub(crate) loses_attestations: bool,
    history: History,
    pub(crate) asked: Asked,
}

/// Counts of calls.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) attestations: usize,
    pub(crate) renewals: usize,
    pub(crate) syncs: usize,
    /// How many ids each later request of a sync named.
    pub(crate) id_requests: Vec<usize>,
    /// How many CSRs each call had.
    pub(crate) batches: Vec<usize>,
    pub(crate) jwts: usize,
    /// Calls with SVIDs that are no longer valid.
    pub(crate) outdated: usize,
    /// Which revision each stream of changes began after.
    pub(crate) watches: Vec<u64>,
}

/// One replica: it shares its knowledge with others and fails by itself.
pub(crate) struct FakeServer {
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) address: SocketAddr,
    faults: Faults,
    runtime: Option<Runtime>,
}

/// How a replica fails although it runs.
#[derive(Clone, Default)]
struct Faults {
    /// Connections are open, and nothing comes out of them.
    is_frozen: Arc<AtomicBool>,
    /// Every call is answered with UNAVAILABLE.
    is_unavailable: Arc<AtomicBool>,
    /// Calls that reached this replica.
    calls: Arc<AtomicUsize>,
    /// Connections that are open now.
    connections: Arc<AtomicUsize>,
}

impl FakeServer {
    /// Starts a server of `example.org` that knows the token `token`.
    pub(crate) fn start() -> Self {
        let registry = Arc::new(Mutex::new(Registry {
            authority: TestAuthority::new("example.org"),
            tokens: ["token".to_owned()].into(),
            entries: Vec::new(),
            federated: Vec::new(),
            refusal: None,
            holds_syncs: false,
            holds_attestations: false,
            admitted: BTreeMap::new(),
            pending: None,
            replaced: BTreeSet::new(),
            attest_refused: false,
            fails_to_sign: false,
            unknown: None,
            agent_ttl: TTL,
            svid_ttl: TTL,
            jwt_ttl: TTL,
            jwt_age: Duration::ZERO,
            page_size: 500,
            pushes: false,
            is_silent: false,
            reattestable: false,
            loses_attestations: false,
            history: History::default(),
            asked: Asked::default(),
        }));
        Self::of(registry)
    }

    /// Starts another replica, which knows what this one knows.
    pub(crate) fn replica(&self) -> Self {
        Self::of(Arc::clone(&self.registry))
    }

    fn of(registry: Arc<Mutex<Registry>>) -> Self {
        let mut server = Self {
            registry,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            faults: Faults::default(),
            runtime: None,
        };
        server.resume();
        server
    }

    /// Goes silent: connections stay open, new ones are taken, and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.faults.is_frozen.store(true, Ordering::SeqCst);
    }

    /// Answers every call with UNAVAILABLE, or no longer.
    pub(crate) fn set_unavailable(&self, is_unavailable: bool) {
        let fault = &self.faults.is_unavailable;
        fault.store(is_unavailable, Ordering::SeqCst);
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.faults.connections.load(Ordering::SeqCst)
    }

    /// How many calls reached this replica.
    pub(crate) fn calls(&self) -> usize {
        self.faults.calls.load(Ordering::SeqCst)
    }

    /// Drops every connection and the listener.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits until the listener is closed, which no runtime may do within another one.
            let end = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
            end.join().unwrap();
        }
    }

    /// Listens where it did before.
    pub(crate) fn resume(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _guard = runtime.enter();
            let listener = std::net::TcpListener::bind(self.address).unwrap();
            listener.set_nonblocking(true).unwrap();
            TcpListener::from_std(listener).unwrap()
        };
        self.address = listener.local_addr().unwrap();
        let (connections, incoming) = mpsc::channel(16);
        // What hangs stays so; what is new does not.
        self.faults.is_frozen = Arc::default();
        let router = Router(Arc::clone(&self.registry), self.faults.clone());
        let registry = Arc::clone(&self.registry);
        runtime.spawn(accept(listener, registry, self.faults.clone(), connections));
        runtime.spawn(
            tonic::transport::Server::builder()
                .serve_with_incoming(router, ReceiverStream::new(incoming)),
        );
        self.runtime = Some(runtime);
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        let registry = &mut *self.registry.lock();
        let result = change(registry);
        History::record(registry);
        result
    }

    pub(crate) fn asked(&self) -> Asked {
        self.with(|registry| registry.asked.clone())
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stop();
    }
}

type Conversation<Q, A> = fn(Arc<Mutex<Registry>>, Peer, Streaming<Q>) -> Answers<A>;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
struct Router(Arc<Mutex<Registry>>, Faults);

impl tower::Service<http::Request<Body>> for Router {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let registry = Arc::clone(&self.0);
        self.1.calls.fetch_add(1, Ordering::SeqCst);
        if self.1.is_unavailable.load(Ordering::SeqCst) {
            let refusal = Status::unavailable("no leader").into_http();
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        Box::pin(async move { Ok(route(registry, request).await) })
    }
}

async fn route(
    registry: Arc<Mutex<Registry>>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap();
    match method {
        "GetBundle" => unary(
            request,
            registry,
            |registry, _, _: bundle_api::GetBundleRequest| {
                Ok(convert::bundle::to_wire(&registry.authority.bundle(), None))
            },
        ),
        "GetFederatedBundle" => unary(request, registry, get_federated_bundle),
        "PostStatus" => unary(
            request,
            registry,
            |_, _, _: agent_api::PostStatusRequest| Ok(agent_api::PostStatusResponse::default()),
        ),
        "RenewAgent" => unary(request, registry, renew_agent),
        "BatchNewX509SVID" => unary(request, registry, batch_new_x509_svid),
        "NewJWTSVID" => unary(request, registry, new_jwt_svid),
        "AttestAgent" => return streaming(request, registry, attest_agent).await,
        "SyncAuthorizedEntries" => {
            return streaming(request, registry, sync_authorized_entries).await;
        }
        "Watch" => return watch(registry, request).await,
        other => panic!("unexpected call of {other}"),
    }
    .await
}

type Answer = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

fn unary<Q, A>(
    request: http::Request<Body>,
    registry: Arc<Mutex<Registry>>,
    handle: fn(&mut Registry, Peer, Q) -> Result<A, Status>,
) -> Answer
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let handler = tower::service_fn(move |request: Request<Q>| {
        let registry = Arc::clone(&registry);
        async move {
            let peer = request.extensions().get::<Peer>().unwrap().clone();
            let answer = handle(&mut registry.lock(), peer, request.into_inner());
            answer.map(Response::new)
        }
    });
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
        grpc.unary(handler, request).await
    })
}

async fn streaming<Q, A>(
    request: http::Request<Body>,
    registry: Arc<Mutex<Registry>>,
    handle: Conversation<Q, A>,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let handler = tower::service_fn(move |request: Request<Streaming<Q>>| {
        let registry = Arc::clone(&registry);
        async move {
            let peer = request.extensions().get::<Peer>().unwrap().clone();
            Ok::<_, Status>(Response::new(handle(registry, peer, request.into_inner())))
        }
    });
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
    grpc.streaming(handler, request).await
}
