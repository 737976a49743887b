//! A server that knows what a test tells it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use identity::clock::{Clock as _, SystemClock};
use identity::jwt_svid::{JwtClaims, random_jti, sign_jwt_svid};
use identity::spiffe_id::SpiffeId;
use identity::testing::TestAuthority;
use identity::tls::{ClientPolicy, SharedTlsMaterial, TlsMaterial, peer_identity, server_config};
use identity::x509::{CertificateInfo, Csr};
use parking_lot::Mutex;
use prost::Message as _;
use proto::convert;
use proto::google::rpc;
use proto::spire::api::server::agent::v1 as agent_api;
use proto::spire::api::server::bundle::v1 as bundle_api;
use proto::spire::api::server::entry::v1 as entry_api;
use proto::spire::api::server::svid::v1 as svid_api;
use proto::spire::api::types;
use proto::spire::api::types::permission_denied_details::Reason;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::Grpc;
use tonic::transport::server::Connected;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

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
    /// The serial number of a renewed SVID that was not used yet, and the one it will replace.
    pending: Option<(String, String)>,
    /// Serial numbers of SVIDs that are no longer valid.
    pub(crate) replaced: BTreeSet<String>,
    pub(crate) attest_refused: bool,
    pub(crate) fails_to_sign: bool,
    pub(crate) agent_ttl: Duration,
    pub(crate) svid_ttl: Duration,
    pub(crate) jwt_ttl: Duration,
    pub(crate) page_size: usize,
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
}

pub(crate) struct FakeServer {
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
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
            pending: None,
            replaced: BTreeSet::new(),
            attest_refused: false,
            fails_to_sign: false,
            agent_ttl: TTL,
            svid_ttl: TTL,
            jwt_ttl: TTL,
            page_size: 500,
            asked: Asked::default(),
        }));
        let mut server = Self {
            registry,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            runtime: None,
        };
        server.resume();
        server
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
        let router = Router(Arc::clone(&self.registry));
        runtime.spawn(accept(listener, Arc::clone(&self.registry), connections));
        runtime.spawn(
            tonic::transport::Server::builder()
                .serve_with_incoming(router, ReceiverStream::new(incoming)),
        );
        self.runtime = Some(runtime);
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        change(&mut self.registry.lock())
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

async fn accept(
    listener: TcpListener,
    registry: Arc<Mutex<Registry>>,
    connections: mpsc::Sender<Result<Connection, std::io::Error>>,
) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let config = tls_config(&registry.lock().authority);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        // A client that does not trust this server goes away in the middle of the handshake.
        if let Ok(tls) = acceptor.accept(tcp).await {
            let peer = tls.get_ref().1.peer_certificates().map(|certificates| {
                let peer = peer_identity(certificates).unwrap();
                Peer(Some((peer.spiffe_id, peer.serial)))
            });
            let connection = Connection {
                tls,
                peer: peer.unwrap_or(Peer(None)),
            };
            connections.send(Ok(connection)).await.ok();
        }
    }
}

fn tls_config(authority: &TestAuthority) -> rustls::ServerConfig {
    let svid = authority.x509_svid("/spire/server");
    let material = TlsMaterial::new(Some(svid), [Arc::new(authority.bundle())]).unwrap();
    let policy = ClientPolicy {
        trust_domain: authority.trust_domain().clone(),
        foreign_ids: BTreeSet::new(),
    };
    let clock = Arc::new(SystemClock);
    server_config(SharedTlsMaterial::new(material), policy, clock).unwrap()
}

#[derive(Clone)]
struct Peer(Option<(SpiffeId, String)>);

struct Connection {
    tls: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}

type Conversation<Q, A> = fn(Arc<Mutex<Registry>>, Peer, Streaming<Q>) -> Answers<A>;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
struct Router(Arc<Mutex<Registry>>);

impl tower::Service<http::Request<Body>> for Router {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let registry = Arc::clone(&self.0);
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

fn attest_agent(
    registry: Arc<Mutex<Registry>>,
    peer: Peer,
    mut requests: Streaming<agent_api::AttestAgentRequest>,
) -> Answers<agent_api::AttestAgentResponse> {
    assert!(
        peer.0.is_none(),
        "agents attest without a client certificate"
    );
    let answer = async move {
        let Some(agent_api::attest_agent_request::Step::Params(params)) =
            requests.message().await?.and_then(|request| request.step)
        else {
            return Err(Status::invalid_argument("malformed param"));
        };
        let token = String::from_utf8(params.data.unwrap().payload).unwrap();
        let registry = &mut *registry.lock();
        registry.asked.attestations += 1;
        if registry.attest_refused {
            return Err(Status::permission_denied(
                "failed to attest: agent is banned",
            ));
        }
        if !registry.tokens.remove(&token) {
            return Err(Status::invalid_argument(
                "failed to attest: join token does not exist or has already been used",
            ));
        }
        let path = format!("/spire/agent/join_token/{token}");
        let csr = params.params.unwrap().csr;
        let result = agent_api::attest_agent_response::Result {
            svid: Some(sign(&registry.authority, &path, &csr, registry.agent_ttl)),
            reattestable: false,
        };
        Ok(agent_api::AttestAgentResponse {
            step: Some(agent_api::attest_agent_response::Step::Result(result)),
        })
    };
    Box::pin(futures_util::stream::once(answer))
}

fn sync_authorized_entries(
    registry: Arc<Mutex<Registry>>,
    peer: Peer,
    mut requests: Streaming<entry_api::SyncAuthorizedEntriesRequest>,
) -> Answers<entry_api::SyncAuthorizedEntriesResponse> {
    let (answers, outgoing) = mpsc::channel(16);
    let conversation = async move {
        check_agent(&mut registry.lock(), &peer)?;
        let first = requests.message().await?.unwrap();
        assert!(first.output_mask.is_some() && first.ids.is_empty());
        let (entries, page_size) = {
            let registry = &mut *registry.lock();
            registry.asked.syncs += 1;
            (registry.entries.clone(), registry.page_size)
        };
        while registry.lock().holds_syncs {
            tokio::task::yield_now().await;
        }
        check_agent(&mut registry.lock(), &peer)?;
        for page in first_pages(&entries, page_size) {
            answers.send(Ok(page)).await.ok();
        }
        while let Some(request) = requests.message().await? {
            registry.lock().asked.id_requests.push(request.ids.len());
            let named = entries
                .iter()
                .filter(|entry| request.ids.contains(&entry.id));
            let mut named: Vec<_> = named.cloned().collect();
            let rest = named.split_off(named.len() / 2);
            for (entries, more) in [(named, true), (rest, false)] {
                let page = entry_api::SyncAuthorizedEntriesResponse {
                    entries,
                    more,
                    ..Default::default()
                };
                answers.send(Ok(page)).await.ok();
            }
        }
        Ok::<_, Status>(())
    };
    let end = async move {
        match conversation.await {
            Ok(()) => None,
            Err(status) if status.code() == Code::Cancelled => None,
            Err(status) => Some(Err(status)),
        }
    };
    let end = futures_util::FutureExt::into_stream(end).filter_map(|end| end);
    // Both are polled: the conversation feeds the channel that the answers come out of.
    Box::pin(ReceiverStream::new(outgoing).merge(end))
}

fn first_pages(
    entries: &[types::Entry],
    page_size: usize,
) -> Vec<entry_api::SyncAuthorizedEntriesResponse> {
    if entries.len() <= page_size {
        return vec![entry_api::SyncAuthorizedEntriesResponse {
            entries: entries.to_vec(),
            ..Default::default()
        }];
    }
    let pages = entries.chunks(page_size);
    let last = pages.len() - 1;
    pages
        .enumerate()
        .map(|(index, page)| entry_api::SyncAuthorizedEntriesResponse {
            entry_revisions: page
                .iter()
                .map(|entry| entry_api::EntryRevision {
                    id: entry.id.clone(),
                    revision_number: entry.revision_number,
                    created_at: entry.created_at,
                })
                .collect(),
            more: index != last,
            ..Default::default()
        })
        .collect()
}

fn get_federated_bundle(
    registry: &mut Registry,
    peer: Peer,
    request: bundle_api::GetFederatedBundleRequest,
) -> Result<types::Bundle, Status> {
    check_agent(registry, &peer)?;
    let mut bundles = registry.federated.iter();
    let found = bundles.find(|bundle| bundle.trust_domain == request.trust_domain);
    found
        .cloned()
        .ok_or_else(|| Status::not_found("bundle not found"))
}

fn renew_agent(
    registry: &mut Registry,
    peer: Peer,
    request: agent_api::RenewAgentRequest,
) -> Result<agent_api::RenewAgentResponse, Status> {
    let id = check_agent(registry, &peer)?;
    registry.asked.renewals += 1;
    let csr = request.params.unwrap().csr;
    let svid = sign(&registry.authority, id.path(), &csr, registry.agent_ttl);
    let leaf = CertificateInfo::parse(&svid.cert_chain[0]).unwrap();
    let (_, serial) = peer.0.unwrap();
    registry.pending = Some((leaf.serial, serial));
    Ok(agent_api::RenewAgentResponse { svid: Some(svid) })
}

fn batch_new_x509_svid(
    registry: &mut Registry,
    peer: Peer,
    request: svid_api::BatchNewX509svidRequest,
) -> Result<svid_api::BatchNewX509svidResponse, Status> {
    check_agent(registry, &peer)?;
    registry.asked.batches.push(request.params.len());
    if registry.fails_to_sign {
        return Err(Status::unavailable("no signer"));
    }
    let results = request.params.iter().map(|params| {
        let entry = registry
            .entries
            .iter()
            .find(|entry| entry.id == params.entry_id);
        match entry {
            Some(entry) => svid_api::batch_new_x509svid_response::Result {
                status: Some(convert::status::ok()),
                svid: Some(sign(
                    &registry.authority,
                    &entry.spiffe_id.as_ref().unwrap().path,
                    &params.csr,
                    registry.svid_ttl,
                )),
            },
            None => svid_api::batch_new_x509svid_response::Result {
                status: Some(convert::status::failed(
                    Code::NotFound,
                    "entry not found or not authorized",
                )),
                svid: None,
            },
        }
    });
    Ok(svid_api::BatchNewX509svidResponse {
        results: results.collect(),
    })
}

fn new_jwt_svid(
    registry: &mut Registry,
    peer: Peer,
    request: svid_api::NewJwtsvidRequest,
) -> Result<svid_api::NewJwtsvidResponse, Status> {
    check_agent(registry, &peer)?;
    registry.asked.jwts += 1;
    let mut entries = registry.entries.iter();
    let entry = entries.find(|entry| entry.id == request.entry_id).unwrap();
    let now = SystemClock.now();
    let claims = JwtClaims {
        spiffe_id: registry
            .authority
            .spiffe_id(&entry.spiffe_id.as_ref().unwrap().path),
        audience: request.audience,
        issued_at: now,
        expires_at: now.saturating_add(registry.jwt_ttl),
        issuer: None,
        jti: Some(random_jti()),
    };
    let (key, key_id) = registry.authority.jwt_key();
    let svid = sign_jwt_svid(key, key_id, &claims).unwrap();
    Ok(svid_api::NewJwtsvidResponse {
        svid: Some(convert::svid::jwt(
            svid.spiffe_id(),
            svid.token(),
            claims.issued_at,
            claims.expires_at,
        )),
    })
}

/// The first use of a renewed SVID makes the one before invalid.
fn check_agent(registry: &mut Registry, peer: &Peer) -> Result<SpiffeId, Status> {
    if let Some(reason) = registry.refusal {
        return Err(refused(reason));
    }
    let Some((id, serial)) = peer.0.clone().filter(|(id, _)| id.is_agent()) else {
        return Err(Status::permission_denied("authorization denied"));
    };
    if let Some((_, before)) = registry.pending.take_if(|(renewed, _)| *renewed == serial) {
        registry.replaced.insert(before);
    }
    if registry.replaced.contains(&serial) {
        return Err(refused(Reason::AgentNotActive));
    }
    Ok(id)
}

fn refused(reason: Reason) -> Status {
    let detail = types::PermissionDeniedDetails {
        reason: reason.into(),
    };
    let details = rpc::Status {
        code: Code::PermissionDenied.into(),
        message: "refused".to_owned(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/spire.api.types.PermissionDeniedDetails".to_owned(),
            value: detail.encode_to_vec(),
        }],
    };
    Status::with_details(
        Code::PermissionDenied,
        "refused",
        details.encode_to_vec().into(),
    )
}

fn sign(authority: &TestAuthority, path: &str, csr: &[u8], ttl: Duration) -> types::X509svid {
    let csr = Csr::parse(csr).unwrap();
    let now = SystemClock.now();
    let not_after = now.saturating_add(ttl);
    let not_before = now.saturating_sub(Duration::from_secs(10));
    let chain: Vec<CertificateDer<'_>> =
        authority.chain_for(path, csr.spki_der(), not_before, not_after);
    convert::svid::x509(&authority.spiffe_id(path), &chain, not_after)
}
