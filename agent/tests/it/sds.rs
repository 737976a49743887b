//! What Envoy gets, and when it is turned away.

use identity::pem;
use identity::testing::TestAuthority;
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use proto::convert;
use proto::envoy::config::core::v3::data_source::Specifier;
use proto::envoy::config::core::v3::{DataSource, Node};
use proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use proto::envoy::extensions::transport_sockets::tls::v3::{Secret, SpiffeCertValidatorConfig};
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use proto::google::rpc;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::fake_server::FakeServer;
use crate::harness::{Agent, Home, PATIENCE, next, own_entry};

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// An Envoy's stream of secrets.
struct Envoy {
    requests: mpsc::Sender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
}

impl Envoy {
    async fn connect(agent: &Agent) -> Self {
        let (requests, outgoing) = mpsc::channel(4);
        let mut client = client(agent).await;
        let stream = client.stream_secrets(ReceiverStream::new(outgoing)).await;
        Self {
            requests,
            answers: stream.unwrap().into_inner(),
        }
    }

    async fn ask(&self, names: &[&str], version: &str, nonce: &str) {
        let request = DiscoveryRequest {
            version_info: version.to_owned(),
            response_nonce: nonce.to_owned(),
            ..request(names)
        };
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        next(&mut self.answers).await
    }
}

async fn client(agent: &Agent) -> SecretDiscoveryServiceClient<Channel> {
    SecretDiscoveryServiceClient::new(agent.connect().await.unwrap())
}

fn request(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.iter().map(ToString::to_string).collect(),
        type_url: SECRET.to_owned(),
        ..DiscoveryRequest::default()
    }
}

async fn fetch(agent: &Agent, request: DiscoveryRequest) -> Result<DiscoveryResponse, Status> {
    let answer = client(agent).await.fetch_secrets(request).await?;
    Ok(answer.into_inner())
}

fn secrets(response: &DiscoveryResponse) -> Vec<Secret> {
    let resources = response.resources.iter();
    resources
        .map(|resource| {
            assert_eq!(resource.type_url, SECRET);
            Secret::decode(resource.value.as_slice()).unwrap()
        })
        .collect()
}

fn names(response: &DiscoveryResponse) -> Vec<String> {
    secrets(response).into_iter().map(|one| one.name).collect()
}

fn inline(source: Option<&DataSource>) -> &[u8] {
    match source.and_then(|source| source.specifier.as_ref()) {
        Some(Specifier::InlineBytes(bytes)) => bytes,
        None => panic!("nothing inline"),
    }
}

/// Trust domains and PEM of a validation context with the SPIFFE validator.
fn validated(secret: &Secret) -> Vec<(String, String)> {
    let Some(Type::ValidationContext(context)) = &secret.r#type else {
        panic!("{} is no validation context", secret.name);
    };
    assert_eq!(context.trusted_ca, None);
    let config = context.custom_validator_config.clone().unwrap();
    assert_eq!(config.name, "envoy.tls.cert_validator.spiffe");
    let config = config.typed_config.unwrap();
    assert_eq!(
        config.type_url,
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
    );
    let config = SpiffeCertValidatorConfig::decode(config.value.as_slice()).unwrap();
    let domains = config.trust_domains.iter().map(|one| {
        let text = inline(one.trust_bundle.as_ref()).to_vec();
        (one.name.clone(), String::from_utf8(text).unwrap())
    });
    domains.collect()
}

/// A server with two identities of this process, the first of which federates.
fn two_identities() -> (FakeServer, [String; 2]) {
    let server = FakeServer::start();
    let partner = TestAuthority::new("a-partner.example").bundle();
    let own = server.with(|registry| {
        let mut first = own_entry("a", "/first");
        first.federates_with = vec!["a-partner.example".to_owned()];
        registry.entries = vec![own_entry("b", "/second"), first];
        registry.federated = vec![convert::bundle::to_wire(&partner, None)];
        registry.authority.bundle().to_pem()
    });
    (server, [own, partner.to_pem()])
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_and_bundle_are_inline_pem() {
    let (server, [own, partner]) = two_identities();
    let agent = Home::new().start(&server).await;
    let response = fetch(&agent, request(&["default", "ALL"])).await.unwrap();
    assert_eq!((response.version_info, response.nonce), Default::default());
    let response = fetch(&agent, request(&["default", "ALL"])).await.unwrap();
    assert_eq!(response.type_url, SECRET);
    let [all, default] = secrets(&response).try_into().unwrap();
    assert_eq!(
        (all.name.as_str(), default.name.as_str()),
        ("ALL", "default")
    );
    let domains = [
        ("a-partner.example".to_owned(), partner),
        ("example.org".to_owned(), own),
    ];
    assert_eq!(validated(&all), domains);

    let Some(Type::TlsCertificate(certificate)) = default.r#type else {
        panic!("no certificate");
    };
    let chain = pem::decode_certificates(inline(certificate.certificate_chain.as_ref())).unwrap();
    let key = pem::decode_private_key(inline(certificate.private_key.as_ref())).unwrap();
    let svid = identity::x509_svid::X509Svid::new(chain, key).unwrap();
    assert_eq!(svid.spiffe_id().as_str(), "spiffe://example.org/first");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_decide_what_comes_and_one_too_many_refuses_all() {
    let (server, _) = two_identities();
    let agent = Home::new().start(&server).await;
    let own = "spiffe://example.org";
    let partner = "spiffe://a-partner.example";
    let (first, second) = ("spiffe://example.org/first", "spiffe://example.org/second");
    for (asked, expected) in [
        (&[][..], &[own, partner, first, second][..]),
        (&[""], &[own, partner, first, second]),
        (&[second, "ROOTCA"], &["ROOTCA", second]),
        (
            &[second, "default", partner, own],
            &[own, partner, "default", second],
        ),
        (&["ALL", partner], &["ALL", partner]),
    ] {
        let response = fetch(&agent, request(asked)).await.unwrap();
        assert_eq!(names(&response), expected, "{asked:?}");
    }
    for (asked, left) in [
        (&["z\"", "ROOTCA", "a"][..], r#"["a" "z\""]"#),
        (&[own, "ROOTCA", "ALL"], r#"["ALL" "ROOTCA"]"#),
        (&["ROOTCA", "ALL"], r#"["ALL"]"#),
        (&[first, "default"], r#"["default"]"#),
        (&["spiffe://other.example"], r#"["spiffe://other.example"]"#),
    ] {
        let status = fetch(&agent, request(asked)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let expected = format!("workload is not authorized for the requested identities {left}");
        assert_eq!(status.message(), expected);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_validator_are_those_of_the_config() {
    let (server, [own, _]) = two_identities();
    let home = Home::new().with(
        r#"sds {
            default_svid_name = "svid"
            default_bundle_name = "own"
            default_all_bundles_name = "each"
            disable_spiffe_cert_validation = true
        }"#,
    );
    let agent = home.start(&server).await;
    let response = fetch(&agent, request(&["svid", "own"])).await.unwrap();
    let [bundle, svid] = secrets(&response).try_into().unwrap();
    assert_eq!((bundle.name.as_str(), svid.name.as_str()), ("own", "svid"));
    let Some(Type::ValidationContext(context)) = bundle.r#type else {
        panic!("no validation context");
    };
    assert_eq!(inline(context.trusted_ca.as_ref()), own.as_bytes());
    assert_eq!(context.custom_validator_config, None);
    let status = fetch(&agent, request(&["each"])).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(
        status.message(),
        "unable to use \"SPIFFE validator\" on Envoy below 1.17"
    );
    // An Envoy may ask for the validator all the same.
    let no = Value {
        kind: Some(Kind::BoolValue(false)),
    };
    let metadata = Struct {
        fields: [("disable_spiffe_cert_validation".to_owned(), no)].into(),
    };
    let with_node = DiscoveryRequest {
        node: Some(Node {
            metadata: Some(metadata),
            ..Node::default()
        }),
        ..request(&["each"])
    };
    let response = fetch(&agent, with_node).await.unwrap();
    assert_eq!(validated(&secrets(&response)[0]).len(), 2);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_answers_the_first_request_other_names_and_changes_alone() {
    let (server, _) = two_identities();
    let agent = Home::new().start(&server).await;
    let mut envoy = Envoy::connect(&agent).await;
    envoy.ask(&["default"], "", "").await;
    let first = envoy.next().await.unwrap();
    assert_eq!((first.version_info.as_str(), first.nonce.len()), ("1", 8));
    assert_eq!(names(&first), ["default"]);
    // An acknowledgement, one that is late and names something else, and a refusal.
    envoy.ask(&["default"], "1", &first.nonce).await;
    envoy.ask(&["ROOTCA"], "1", "00000000").await;
    let refusal = DiscoveryRequest {
        response_nonce: first.nonce.clone(),
        error_detail: Some(rpc::Status {
            message: "no".to_owned(),
            ..rpc::Status::default()
        }),
        ..request(&["default"])
    };
    envoy.requests.send(refusal).await.unwrap();
    envoy.ask(&["default", "ALL"], "1", &first.nonce).await;
    let second = envoy.next().await.unwrap();
    assert_eq!(second.version_info, "1");
    assert_ne!(second.nonce, first.nonce);
    assert_eq!(names(&second), ["ALL", "default"]);

    server.with(|registry| registry.entries[0].x509_svid_ttl = 7);
    server.with(|registry| registry.entries[0].revision_number += 1);
    let third = envoy.next().await.unwrap();
    let version: u64 = third.version_info.parse().unwrap();
    assert!(version > 1);
    assert_eq!(names(&third), ["ALL", "default"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_when_a_subscribed_identity_goes() {
    let (server, _) = two_identities();
    let agent = Home::new().start(&server).await;
    let mut envoy = Envoy::connect(&agent).await;
    envoy.ask(&["spiffe://example.org/second"], "", "").await;
    envoy.next().await.unwrap();
    server.with(|registry| registry.entries.retain(|entry| entry.id != "b"));
    let status = loop {
        // What else changes is pushed before.
        if let Err(status) = envoy.next().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        r#"workload is not authorized for the requested identities ["spiffe://example.org/second"]"#
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_without_an_entry_gets_bundles_and_later_its_identity() {
    let server = FakeServer::start();
    let agent = Home::new().start(&server).await;
    let mut envoy = Envoy::connect(&agent).await;
    envoy.ask(&[], "", "").await;
    let first = envoy.next().await.unwrap();
    assert_eq!(names(&first), ["spiffe://example.org"]);
    server.with(|registry| registry.entries.push(own_entry("a", "/late")));
    let second = envoy.next().await.unwrap();
    assert_eq!(second.version_info, "2");
    assert_eq!(
        names(&second),
        ["spiffe://example.org", "spiffe://example.org/late"]
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_closed_stream_ends_well_and_a_stopping_agent_says_so() {
    let (server, _) = two_identities();
    let agent = Home::new().start(&server).await;
    let Envoy {
        requests,
        mut answers,
    } = Envoy::connect(&agent).await;
    drop(requests);
    let end = timeout(PATIENCE, answers.message()).await.unwrap();
    assert_eq!(end.unwrap(), None);

    let mut envoy = Envoy::connect(&agent).await;
    envoy.ask(&["default"], "", "").await;
    envoy.next().await.unwrap();
    agent.request_stop();
    assert_eq!(envoy.next().await.unwrap_err().code(), Code::Unavailable);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_secrets_are_not_implemented() {
    let (server, _) = two_identities();
    let agent = Home::new().start(&server).await;
    let (_requests, outgoing) = mpsc::channel::<DeltaDiscoveryRequest>(1);
    let mut client = client(&agent).await;
    let status = client.delta_secrets(ReceiverStream::new(outgoing)).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "Method is not implemented");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_api_can_be_switched_off() {
    let (server, _) = two_identities();
    let home = Home::new().with("disable_workload_api = true");
    let agent = home.start(&server).await;
    let status = agent.fetch_x509().await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "unknown service SpiffeWorkloadAPI");
    assert!(fetch(&agent, request(&["default"])).await.is_ok());
    agent.stop().await;

    let home = home.with("disable_sds_api = true");
    let agent = home.start(&server).await;
    let status = fetch(&agent, request(&["default"])).await.unwrap_err();
    assert_eq!(
        status.message(),
        "unknown service envoy.service.secret.v3.SecretDiscoveryService"
    );
    assert_eq!(agent.fetch_x509().await.unwrap().svids.len(), 2);
    agent.stop().await;
}
