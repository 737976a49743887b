//! Every RPC of an agent: the Workload API, Envoy's secrets, and what administrators and delegates call, over a
//! cache with two identities.
//!
//! Must hold: no message stops the agent, and what a workload has no claim to is in no answer.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use agent::admin_api::{self, About};
use agent::attestor::{Unix, WorkloadAttestor};
use agent::cache::{Cache, CachedSvid};
use agent::caller::Callers;
use agent::client::{Dialer, ServerAddress, ServerClient, Servers, TlsMode};
use agent::config::{self, Config, LoadArgs};
use agent::endpoints::{Parts, RateLimits, Router};
use agent::jwt::{JwtSvids, TokenLimits};
use agent::{sds, workload_api};
use bytes::Bytes;
use daemon::supervisor::Shutdown;
use daemon::unix::{Peer, PeerProcess};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use identity::bundle::Bundle;
use identity::clock::Clock;
use identity::tls::{KeyExchange, SharedTlsMaterial, TlsMaterial};
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use prost::Message as _;
use proto::convert;
use proto::convert::entry::AuthorizedEntry;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::DiscoveryRequest;
use proto::spire::api::agent::delegatedidentity::v1 as delegated;
use proto::spire::api::types;
use proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest};
use tonic::body::Body;
use tower::Service as _;

use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, NOW, OWN, alone, clock};

/// Which RPC, whether the header of the Workload API is there, then one message, or several for a stream.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let path = METHODS[usize::from(input.byte()) % METHODS.len()].as_str();
    let has_header = input.byte() > 0;
    let messages = match path.ends_with(STREAM) {
        true => input.pieces(8),
        false => vec![input.rest()],
    };
    LazyLock::force(&ROUTER);
    // No server answers here, and a token is waited for as long as one may.
    let asks_a_server = path.contains("/FetchJWTSVID");
    let patience = match asks_a_server {
        true => AT_ONCE,
        false => PATIENCE,
    };
    alone(async {
        let answered = tokio::time::timeout(patience, call(path, has_header, &messages)).await;
        assert!(
            answered.is_ok() || asks_a_server,
            "{path} was not answered in time"
        );
    });
}

const PATIENCE: Duration = Duration::from_secs(8);

const AT_ONCE: Duration = Duration::from_millis(5);

const STREAM: &str = "/StreamSecrets";

static METHODS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let services = [
        "/SpiffeWorkloadAPI/",
        "/spire.api.agent.",
        "/envoy.service.secret.",
    ];
    proto::descriptors::rpc_paths()
        .filter(|path| services.iter().any(|service| path.starts_with(service)))
        .collect()
});

async fn call(path: &str, has_header: bool, messages: &[&[u8]]) {
    let mut frames = Vec::new();
    for message in messages {
        let len = u32::try_from(message.len()).expect("inputs are short");
        frames.push(0);
        frames.extend_from_slice(&len.to_be_bytes());
        frames.extend_from_slice(message);
    }
    let mut request = Request::post(path).header("content-type", "application/grpc");
    if has_header {
        request = request.header("workload.spiffe.io", "true");
    }
    let body = Body::new(Full::new(Bytes::from(frames)));
    let mut request = request.body(body).expect("it is a request");
    request.extensions_mut().insert(OURSELVES.clone());
    let mut router = ROUTER.lock().clone();
    let response = router
        .call(request)
        .await
        .unwrap_or_else(|never| match never {});
    let mut body = response.into_body();
    for _ in 0..MAX_FRAMES {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = settle() => return,
        };
        let Some(Ok(frame)) = frame else {
            return;
        };
        // A delegate may ask for everybody.
        if let Some(data) = frame.data_ref()
            && !path.contains("DelegatedIdentity")
        {
            let secret = SECRET.key().pkcs8().expose();
            let leaks = data.windows(secret.len()).any(|part| part == secret);
            assert!(!leaks, "{path} gave away the identity of others");
        }
    }
}

/// Lets everything happen that can happen without time passing.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

const MAX_FRAMES: usize = 16;

static OURSELVES: LazyLock<Peer> = LazyLock::new(|| {
    let pid = i32::try_from(std::process::id()).expect("pids are small");
    PeerProcess::of_pid(pid).expect("this process runs").into()
});

/// The SVID of somebody else.
static SECRET: LazyLock<identity::x509_svid::X509Svid> =
    LazyLock::new(|| AUTHORITY.x509_svid("/secret"));

static ROUTER: LazyLock<Mutex<Router>> = LazyLock::new(|| Mutex::new(router()));

fn router() -> Router {
    let clock: Arc<dyn Clock> = clock();
    let config = Arc::new(config());
    let material = TlsMaterial::new(
        Some(AUTHORITY.x509_svid("/spire/agent/a")),
        [Arc::new(AUTHORITY.bundle())],
    );
    let material = SharedTlsMaterial::new(material.expect("an SVID can be shown"));
    let servers = Servers {
        // Nobody listens there: what has to be asked for is not to be had.
        addresses: vec![ServerAddress {
            host: "127.0.0.1".to_owned(),
            port: 1,
        }],
        trust_domain: OWN.clone(),
        clock: Arc::clone(&clock),
        key_exchange: KeyExchange::default(),
    };
    let dialer = Dialer::new(&servers, TlsMode::Verified(material.clone()));
    let client = ServerClient::new(dialer.expect("the material is good"), OWN.clone());
    let limits = TokenLimits {
        max_tokens: 16,
        renewal: PATIENCE,
    };
    let parts = Parts {
        callers: Arc::new(Callers::new(
            WorkloadAttestor::new(Some(Unix::new(false, 0)), None, Vec::new()),
            Vec::new(),
        )),
        cache: Arc::new(cache()),
        jwt_svids: Arc::new(JwtSvids::new(client, Arc::clone(&clock), limits)),
        rate_limits: Arc::new(RateLimits::new(config.rate_limits.clone())),
        config,
        clock,
    };
    let about = About {
        material,
        last_sync: Arc::default(),
        started: alone(async { tokio::time::Instant::now() }),
        log: daemon::log::of_process(),
    };
    let shutdown = Shutdown::new();
    admin_api::router(parts.clone(), about, shutdown.clone())
        .with(workload_api::Service::server(
            parts.clone(),
            shutdown.clone(),
        ))
        .with(sds::Service::server(parts, shutdown))
}

fn config() -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent.conf");
    let text = r#"agent {
        trust_domain = "example.org"
        server_address = "127.0.0.1"
        server_port = 1
        insecure_bootstrap = true
        data_dir = "data"
        authorized_delegates = ["spiffe://example.org/own"]
        allow_unauthenticated_verifiers = true
        allowed_foreign_jwt_claims = ["iss"]
    }"#;
    std::fs::write(&path, text).expect("the file is written");
    config::load(&LoadArgs::from_path(path)).unwrap_or_else(|error| panic!("{error:#}"))
}

/// An identity of this process, one of nobody here, and two bundles.
fn cache() -> Cache {
    let cache = Cache::new(OWN.clone(), 16);
    let uid = OURSELVES.uid();
    let own = AUTHORITY.x509_svid("/own");
    let entries = [
        Arc::new(entry("own", "/own", &format!("uid:{uid}"))),
        Arc::new(entry("secret", "/secret", "uid:4294967294")),
    ];
    let other = TrustDomain::parse("other.org").expect("it is a name");
    let foreign = Bundle {
        trust_domain: other,
        ..crate::world::bundle()
    };
    let mut bundle = AUTHORITY.bundle();
    bundle
        .jwt_authorities
        .extend(crate::world::bundle().jwt_authorities);
    cache.set_bundles(vec![bundle, foreign]);
    cache.set_entries(&entries);
    let svids = [(&entries[0], &own), (&entries[1], &*SECRET)];
    cache.set_svids(
        svids
            .map(|(entry, svid)| (entry.id.clone(), CachedSvid::new(svid, svid.not_after(), 0)))
            .into(),
    );
    cache
}

fn entry(id: &str, path: &str, selector: &str) -> AuthorizedEntry {
    let wire = types::Entry {
        id: id.to_owned(),
        spiffe_id: Some(convert::id::to_wire(&AUTHORITY.spiffe_id(path))),
        selectors: vec![types::Selector {
            r#type: "unix".to_owned(),
            value: selector.to_owned(),
        }],
        federates_with: vec!["other.org".to_owned()],
        hint: "hint".to_owned(),
        created_at: NOW.as_secs(),
        ..types::Entry::default()
    };
    convert::entry::authorized(&wire).expect("the entry is whole")
}

/// Each RPC with nothing, and those that take something with a good request.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..METHODS.len())
        .filter_map(|number| u8::try_from(number).ok())
        .flat_map(|number| [vec![number, 0], vec![number, 1]])
        .collect();
    let mut seed = |name: &str, messages: &[Vec<u8>]| {
        let number = METHODS.iter().position(|path| path.ends_with(name));
        let number = number.and_then(|number| u8::try_from(number).ok());
        let start = [number.unwrap_or_else(|| panic!("no RPC {name}")), 1];
        seeds.push(match name == STREAM {
            true => join(&start, messages),
            false => plain(&start, messages.concat()),
        });
    };
    let jwt = JwtsvidRequest {
        audience: vec!["a".to_owned()],
        spiffe_id: "spiffe://example.org/own".to_owned(),
    };
    seed("/FetchJWTSVID", &[jwt.encode_to_vec()]);
    let token = crate::jwt::seeds().remove(0);
    let validate = ValidateJwtsvidRequest {
        audience: "audience".to_owned(),
        svid: String::from_utf8(token[1..].to_vec()).expect("a token is text"),
    };
    seed("/ValidateJWTSVID", &[validate.encode_to_vec()]);
    let secrets = |names: &[&str], version: &str| DiscoveryRequest {
        version_info: version.to_owned(),
        node: Some(Node::default()),
        resource_names: names.iter().map(|&name| name.to_owned()).collect(),
        type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret".to_owned(),
        ..DiscoveryRequest::default()
    };
    let [first, second] = [
        secrets(&["default", "ROOTCA", "spiffe://example.org/own"], ""),
        secrets(&["ALL", "spiffe://other.org"], "1"),
    ]
    .map(|request| request.encode_to_vec());
    seed("/FetchSecrets", std::slice::from_ref(&first));
    seed("/FetchSecrets", std::slice::from_ref(&second));
    seed(STREAM, &[first, second]);
    let svids = delegated::SubscribeToX509sviDsRequest {
        selectors: vec![types::Selector {
            r#type: "unix".to_owned(),
            value: "uid:1".to_owned(),
        }],
        pid: 0,
    };
    seed("/SubscribeToX509SVIDs", &[svids.encode_to_vec()]);
    let jwts = delegated::FetchJwtsviDsRequest {
        audience: vec!["a".to_owned()],
        selectors: svids.selectors,
        pid: 0,
    };
    seed("/FetchJWTSVIDs", &[jwts.encode_to_vec()]);
    seeds
}
