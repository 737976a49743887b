//! What plugins say: the line that tells where they listen, what they print, their answers to every call, and what they
//! call themselves.
//!
//! Must hold: whatever an answer is, the call ends in time, with a text of bounded length, and takes nothing for said
//! that was not.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use identity::bundle::Bundle;
use identity::x509_svid::X509Svid;
use parking_lot::Mutex;
use plugin_host::fuzzing::{connected, host_services, introduced, plugin_behind, printed};
use plugin_host::host_services::{AgentStore, HostServices, IdentityProvider};
use plugin_host::upstream_authority::UpstreamAuthority;
use plugin_host::{Address, CallError, Kind, Plugin, StartError, parse_handshake};
use plugin_host::{agent_node_attestor, server_node_attestor, workload_attestor};
use prost::Message;
use proto::convert;
use proto::spire::plugin::agent::nodeattestor::v1 as agent_node;
use proto::spire::plugin::agent::workloadattestor::v1 as workload;
use proto::spire::plugin::server::nodeattestor::v1 as server_node;
use proto::spire::plugin::server::upstreamauthority::v1 as upstream;
use proto::spire::service::common::config::v1::ValidateResponse;
use proto::spire::service::private::init::v1::InitResponse;
use tokio::io::DuplexStream;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service as _;

use crate::foreign::{Answer, Turns, answer, framed, refused, said};
use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, alone, in_time};

/// A byte that says what follows: a line, an output, an answer, the answers to the first calls, or a call.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 8 {
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
        kind @ 2..6 => {
            ANSWERS.set([Answer::of(input)]);
            in_time(ask(kind));
        }
        6 => {
            let data = (input.byte() % 2 == 1).then_some("a = 1");
            let answers = input.pieces(4).into_iter().map(Input::new);
            ANSWERS.set(answers.map(Answer::of));
            in_time(introduce(data));
        }
        _ => in_time(call(input)),
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

/// What the plugin answers, one call after the other.
static ANSWERS: LazyLock<Turns<Answer>> = LazyLock::new(Turns::default);

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

/// Init, then validation and configuration.
async fn introduce(data: Option<&str>) {
    match introduced(channel().await, Kind::UpstreamAuthority, data).await {
        Ok(_) => {}
        Err(StartError::Init(status) | StartError::Configure(status)) => {
            if std::error::Error::source(&status).is_some() {
                *CHANNEL.lock() = None;
            }
        }
        // Two hundred characters of its own, and the names up to a length.
        Err(error) => assert!(error.to_string().chars().count() < 1_000, "{error}"),
    }
}

static PLUGIN: Mutex<Option<Plugin>> = Mutex::new(None);

/// The plugin of before, or a new one if the connection to that one was lost.
async fn plugin() -> Plugin {
    if let Some(plugin) = &*PLUGIN.lock() {
        return plugin.clone();
    }
    let plugin = plugin_behind(Kind::ServerNodeAttestor, "mine", stream()).await;
    let plugin = plugin.expect("somebody is there");
    *PLUGIN.lock() = Some(plugin.clone());
    plugin
}

static CHANNEL: Mutex<Option<Channel>> = Mutex::new(None);

/// The same for a plugin that has said nothing yet.
async fn channel() -> Channel {
    if let Some(channel) = &*CHANNEL.lock() {
        return channel.clone();
    }
    let channel = connected(stream()).await.expect("somebody is there");
    *CHANNEL.lock() = Some(channel.clone());
    channel
}

/// A stream to who answers.
#[expect(clippy::disallowed_methods, reason = "it runs as long as the process")]
fn stream() -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 << 10);
    let connections = tokio_stream::once(Ok::<_, std::io::Error>(far));
    tokio::task::spawn(answer(connections, ANSWERS.clone()));
    near
}

/// A service of the process that a plugin calls: which one, then a message.
async fn call(mut input: Input<'_>) {
    let path = HOST_METHODS[usize::from(input.byte()) % HOST_METHODS.len()].as_str();
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(Bytes::from(framed(input.rest())))))
        .expect("it is a request");
    let mut router = host_services(&HostServices::of_server(Arc::new(Known), Arc::new(Known)));
    let answer = router.call(request).await;
    let answer = answer.unwrap_or_else(|never| match never {});
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body().collect().await.ok();
}

static HOST_METHODS: LazyLock<Vec<String>> = LazyLock::new(|| {
    proto::descriptors::rpc_paths()
        .filter(|path| path.starts_with("/spire.hostservice."))
        .collect()
});

/// The agent "known", and this process.
struct Known;

impl AgentStore for Known {
    fn has<'a>(
        &'a self,
        agent_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        Box::pin(std::future::ready(match agent_id {
            "" => Err("no name".to_owned()),
            name => Ok(name == "known"),
        }))
    }
}

impl IdentityProvider for Known {
    fn identity(&self) -> Option<(X509Svid, Arc<Bundle>)> {
        let svid = AUTHORITY.x509_svid("/spire/server");
        Some((svid, Arc::new(AUTHORITY.bundle())))
    }
}

/// Lines, outputs, and an answer to each call: good ones, refusals, and bytes that are no message.
pub fn seeds() -> Vec<Vec<u8>> {
    let answer = |kind: u8, message: &[u8]| plain(&[kind], said([message]));
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
        answer(2, &challenge()),
        answer(2, &verdict()),
        answer(3, &evidence()),
        answer(4, &selectors()),
    ]);
    seeds.extend(of_upstreams().iter().map(|message| answer(5, message)));
    seeds.extend(introductions());
    let calls = (0..HOST_METHODS.len()).filter_map(|number| u8::try_from(number).ok());
    seeds.extend(calls.map(|number| plain(&[7, number], b"\x0a\x05known")));
    seeds
}

/// Plugins that take a configuration, find fault with it, have none, or are of another kind.
fn introductions() -> Vec<Vec<u8>> {
    let named = |names: &[&str]| {
        let plugin_service_names = names.iter().map(|&name| name.to_owned()).collect();
        let response = InitResponse {
            plugin_service_names,
        };
        said([response.encode_to_vec()])
    };
    let own = "spire.plugin.server.upstreamauthority.v1.UpstreamAuthority";
    let config = "spire.service.common.config.v1.Config";
    let whole = named(&[own, config, "other.Service"]);
    let notes = ValidateResponse {
        valid: false,
        notes: vec!["a is no b".to_owned()],
    };
    let unimplemented = refused(12, "unknown service");
    let refused = refused(3, "no");
    vec![
        join(
            &[6, 1],
            [&whole, &said([notes.encode_to_vec()]), &said([[]])],
        ),
        join(&[6, 1], [&whole, &unimplemented, &refused]),
        join(&[6, 0], [&named(&[own])]),
        join(&[6, 1], [&named(&[own])]),
        join(&[6, 0], [&named(&[config])]),
        join(&[6, 0], [&refused]),
    ]
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
