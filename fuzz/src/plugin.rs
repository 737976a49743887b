//! What plugins say: the line that tells where they listen, what they print, and their answers to every call.
//!
//! Must hold: whatever an answer is, the call ends in time, with a text of bounded length, and takes nothing for said
//! that was not.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use plugin_host::fuzzing::{plugin_behind, printed};
use plugin_host::upstream_authority::UpstreamAuthority;
use plugin_host::{Address, CallError, Kind, Plugin, parse_handshake};
use plugin_host::{agent_node_attestor, server_node_attestor, workload_attestor};
use prost::Message;
use proto::convert;
use proto::spire::plugin::agent::nodeattestor::v1 as agent_node;
use proto::spire::plugin::agent::workloadattestor::v1 as workload;
use proto::spire::plugin::server::nodeattestor::v1 as server_node;
use proto::spire::plugin::server::upstreamauthority::v1 as upstream;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Server;

use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, alone};

/// A byte that says what follows: a line, an output, or an answer.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 6 {
        0 => {
            if let Some(line) = input.text() {
                handshake(line);
            }
        }
        1 => {
            let (first, last_words) = alone(printed(input.rest()));
            assert!(first.is_none_or(|line| line.len() <= 3 * (16 << 10)));
            assert!(last_words.chars().count() <= 400);
        }
        kind => {
            *ANSWER.lock() = Answer::of(input);
            alone(ask(kind));
        }
    }
}

fn handshake(line: &str) {
    match parse_handshake(line) {
        Ok(Address::Unix(path)) => assert!(path.is_absolute()),
        Ok(Address::Tcp(address)) => assert!(address.ip().is_loopback()),
        // Two hundred characters of the line, each escaped at worst.
        Err(error) => assert!(error.to_string().len() < 200 * 10 + 200),
    }
}

/// What the plugin answers, whatever it is asked.
#[derive(Clone, Default)]
struct Answer {
    frames: Bytes,
    status: u8,
    message: Option<HeaderValue>,
}

static ANSWER: LazyLock<Mutex<Answer>> = LazyLock::new(Mutex::default);

impl Answer {
    /// A status, its text, then messages; without a text the bytes as they are.
    fn of(mut input: Input<'_>) -> Self {
        let status = input.byte() % 18;
        let message = input.piece();
        let mut frames = Vec::new();
        if message.is_empty() {
            frames = input.rest().to_vec();
        } else {
            for piece in input.pieces(8) {
                frames.extend(framed(piece));
            }
        }
        Self {
            frames: frames.into(),
            status,
            message: HeaderValue::from_bytes(message).ok(),
        }
    }

    fn response(self) -> Response<Body> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", u16::from(self.status).into());
        if let Some(message) = self.message {
            trailers.insert("grpc-message", message);
        }
        let body = Full::new(self.frames).with_trailers(async { Some(Ok(trailers)) });
        Response::builder()
            .header("content-type", "application/grpc")
            .body(Body::new(body))
            .expect("it is a response")
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("inputs are short");
    [&[0], &len.to_be_bytes()[..], message].concat()
}

async fn ask(kind: u8) {
    let plugin = plugin().await;
    let lost = match kind {
        2 => server_node(&plugin).await,
        3 => agent_node(&plugin).await,
        4 => workload_attestor::attest(&plugin, 1).await.map(drop),
        _ => upstream(&plugin).await,
    };
    if let Err(error) = lost {
        assert!(error.text.chars().count() <= 2_001, "{}", error.text.len());
        assert_ne!(error.code, Code::Ok);
        assert!(error.text != "plugin did not answer within 8s");
        if error.code == Code::Unavailable && !error.is_verdict {
            *PLUGIN.lock() = None;
        }
    }
}

async fn server_node(plugin: &Plugin) -> Result<(), CallError> {
    use server_node_attestor::{Origin, Step, begin};
    let (mut step, mut conversation) = begin(plugin, b"payload", &Origin::default()).await?;
    for _ in 0..STEPS {
        match step {
            Step::Challenge(_) => step = conversation.answer(b"response".to_vec()).await?,
            Step::Verdict(verdict) => {
                assert!(!verdict.spiffe_id.is_empty());
                break;
            }
        }
    }
    Ok(())
}

async fn agent_node(plugin: &Plugin) -> Result<(), CallError> {
    let (payload, mut conversation) = agent_node_attestor::begin(plugin).await?;
    assert!(!payload.is_empty());
    for _ in 0..STEPS {
        assert!(!conversation.answer(b"challenge".to_vec()).await?.is_empty());
    }
    Ok(())
}

const STEPS: usize = 4;

async fn upstream(plugin: &Plugin) -> Result<(), CallError> {
    let above = UpstreamAuthority::new(plugin.clone());
    above.bundle().await.ok();
    let key = &AUTHORITY.bundle().jwt_authorities[0];
    above.publish_jwt_key(key).await.ok();
    let minted = above.mint(b"csr".to_vec(), 60).await?;
    // What came last is still known.
    tokio::task::yield_now().await;
    above.bundle().await?;
    assert!(minted.chain.len() <= 16 << 10);
    Ok(())
}

static PLUGIN: Mutex<Option<Plugin>> = Mutex::new(None);

/// The plugin of before, or a new one if the connection to that one was lost.
#[expect(clippy::disallowed_methods, reason = "it runs as long as the process")]
async fn plugin() -> Plugin {
    if let Some(plugin) = &*PLUGIN.lock() {
        return plugin.clone();
    }
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::task::spawn(async move {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(ANSWER.lock().clone().response())
        });
        let connections = tokio_stream::once(Ok::<_, std::io::Error>(far));
        let served = Server::builder().serve_with_incoming(service, connections);
        served.await.ok();
    });
    let plugin = plugin_behind(Kind::ServerNodeAttestor, "mine", near).await;
    let plugin = plugin.expect("somebody is there");
    *PLUGIN.lock() = Some(plugin.clone());
    plugin
}

/// Lines, outputs, and an answer to each call: good ones, refusals, and bytes that are no message.
pub fn seeds() -> Vec<Vec<u8>> {
    let said = |kind: u8, message: &[u8]| {
        let start = join(&[kind, 0], [b"x"]);
        join(&start, [message])
    };
    let hclog =
        r#"{"@level":"warn","@message":"hot","@module":"m","@timestamp":"t","a":1,"b":"x y"}"#;
    let mut seeds = vec![
        plain(&[0], "1|1|unix|/tmp/p|grpc|MII|true\n"),
        plain(&[0], "1|1|tcp|127.0.0.1:1234|grpc"),
        plain(
            &[1],
            format!("first\n{hclog}\n[INFO] x\npanic: why\ngoroutine 1\n"),
        ),
        join(&[2, 7], ["nodeattestor(mine): no"]),
        plain(&[3, 0, 0, 0], framed(b"\x0a\x01a")),
        plain(&[4, 0, 0, 0], b"\x01\xff\xff\xff\xff"),
    ];
    seeds.extend([
        said(2, &challenge()),
        said(2, &verdict()),
        said(3, &evidence()),
        said(4, &selectors()),
    ]);
    seeds.extend(of_upstreams().iter().map(|message| said(5, message)));
    seeds
}

fn challenge() -> Vec<u8> {
    use server_node::attest_response::Response;
    let response = Some(Response::Challenge(b"nonce".to_vec()));
    server_node::AttestResponse { response }.encode_to_vec()
}

fn verdict() -> Vec<u8> {
    use server_node::attest_response::Response;
    let attributes = server_node::AgentAttributes {
        spiffe_id: "spiffe://example.org/spire/agent/mine/a".to_owned(),
        selector_values: vec!["a:1".to_owned()],
        can_reattest: true,
    };
    let response = Some(Response::AgentAttributes(attributes));
    server_node::AttestResponse { response }.encode_to_vec()
}

fn evidence() -> Vec<u8> {
    use agent_node::payload_or_challenge_response::Data;
    let data = Some(Data::Payload(b"payload".to_vec()));
    agent_node::PayloadOrChallengeResponse { data }.encode_to_vec()
}

fn selectors() -> Vec<u8> {
    let selector_values = vec!["a:1".to_owned(), "b".to_owned()];
    workload::AttestResponse { selector_values }.encode_to_vec()
}

fn of_upstreams() -> [Vec<u8>; 3] {
    let bundle = convert::plugin_bundle(&AUTHORITY.bundle());
    let (roots, keys) = (bundle.x509_authorities, bundle.jwt_authorities);
    [
        upstream::MintX509caResponse {
            x509_ca_chain: roots.clone(),
            upstream_x509_roots: roots.clone(),
        }
        .encode_to_vec(),
        upstream::PublishJwtKeyResponse {
            upstream_jwt_keys: keys.clone(),
        }
        .encode_to_vec(),
        upstream::SubscribeToLocalBundleResponse {
            upstream_x509_roots: roots,
            upstream_jwt_keys: keys,
        }
        .encode_to_vec(),
    ]
}
