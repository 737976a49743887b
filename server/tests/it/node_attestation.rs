//! Attestation by certificate over the wire, at any member, and what becomes of its agents.

use std::path::Path;

use identity::pem::{encode_certificates, encode_private_key};
use identity::possession::{ProofKind, ProvingKey};
use identity::secret::{KeyType, PrivateKey};
use identity::x509::generate_csr;
use identity::x509_svid::X509Svid;
use proto::attestation::x509pop::{Challenge, Evidence, NONCE_LEN_BYTES, Response, signed_message};
use proto::spire::api::server::agent::v1 as wire;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::agent::v1::attest_agent_request::{Params, Step};
use proto::spire::api::server::agent::v1::attest_agent_response::Step as Answered;
use proto::spire::api::server::entry::v1::GetAuthorizedEntriesRequest;
use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::types;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use server::attest::x509pop::{ClientAddress, Settings, Trust};
use server::attest::{IdSelector, NodeAttestorSettings};
use server::config::Config;
use server::endpoints::TrustedProxies;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::world::{World, entry, selector, wire_id};

/// An authority of another PKI, and the folder with its file.
struct Pki {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, PrivateKey>,
}

/// A node with a certificate of the PKI.
struct Node {
    key: ProvingKey,
    certificate: CertificateDer<'static>,
}

impl Pki {
    fn new() -> Self {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = encode_certificates([certificate.der()]);
        std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn node(&self, name: &str) -> Node {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pem = encode_private_key(&key);
        Node {
            key: ProvingKey::from_pem(pem.expose()).unwrap(),
            certificate: certificate.der().clone(),
        }
    }

    fn trusted(&self) -> impl Fn(&mut Config) {
        let path = self.folder.path().join("ca.pem");
        move |config| config.node_attestors = vec![settings(&path)]
    }
}

fn settings(ca: &Path) -> NodeAttestorSettings {
    NodeAttestorSettings::X509Pop(Settings {
        trust: Trust::ExternalPki(vec![ca.to_owned()]),
        agent_path_template: None,
        max_intermediates: 4,
        max_rsa_key_size_bits: 8192,
        client_address: ClientAddress::Ignored,
    })
}

fn params(payload: Vec<u8>, key: &PrivateKey) -> wire::AttestAgentRequest {
    wire::AttestAgentRequest {
        step: Some(Step::Params(Params {
            data: Some(types::AttestationData {
                r#type: "x509pop".to_owned(),
                payload,
            }),
            params: Some(wire::AgentX509svidParams {
                csr: generate_csr(key, None, &[]).unwrap(),
            }),
        })),
    }
}

/// The whole conversation; `answer` makes of a challenge what the node says to it.
async fn converse(
    channel: Channel,
    node: &Node,
    answer: impl Fn(&[u8]) -> Vec<u8>,
) -> Result<(X509Svid, bool), Status> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let evidence = Evidence {
        certificates: vec![node.certificate.clone()],
    };
    let (requests, outgoing) = mpsc::channel(1);
    let first = params(evidence.to_payload(), &key);
    requests.send(first).await.unwrap();
    let mut answers = AgentClient::new(channel)
        .attest_agent(ReceiverStream::new(outgoing))
        .await?
        .into_inner();
    loop {
        let message = answers.message().await?.expect("a result before the end");
        match message.step.unwrap() {
            Answered::Challenge(challenge) => {
                let step = Some(Step::ChallengeResponse(answer(&challenge)));
                let request = wire::AttestAgentRequest { step };
                requests.send(request).await.unwrap();
            }
            Answered::Result(result) => {
                assert!(answers.message().await?.is_none(), "the stream ends");
                let chain = result.svid.unwrap().cert_chain.into_iter();
                let chain = chain.map(CertificateDer::from).collect();
                return Ok((X509Svid::new(chain, key).unwrap(), result.reattestable));
            }
        }
    }
}

fn honest(node: &Node) -> impl Fn(&[u8]) -> Vec<u8> {
    |challenge| {
        let challenge = Challenge::parse(challenge).unwrap();
        let own = [5; NONCE_LEN_BYTES];
        let message = signed_message(challenge.nonce(ProofKind::Ecdsa).unwrap(), &own).unwrap();
        Response::new(own, node.key.prove(&message).unwrap()).to_bytes()
    }
}

async fn attest(world: &World, node: &Node) -> Result<(X509Svid, bool), Status> {
    converse(world.anonymous().await, node, honest(node)).await
}

async fn agent(world: &World, svid: &X509Svid) -> types::Agent {
    let request = wire::GetAgentRequest {
        id: Some(wire_id(svid.spiffe_id().path())),
        output_mask: None,
    };
    let mut admin = AgentClient::new(world.admin().await);
    admin.get_agent(request).await.unwrap().into_inner()
}

async fn authorized(world: &World, svid: &X509Svid) -> Result<Vec<String>, Status> {
    let entries = EntryClient::new(world.holder(svid.clone()).await)
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await?
        .into_inner()
        .entries;
    let paths = entries
        .into_iter()
        .map(|entry| entry.spiffe_id.unwrap().path);
    Ok(paths.collect())
}

/// What an agent with this SVID is answered that asks for its renewal.
async fn renewal(world: &World, svid: X509Svid) -> Result<(), Status> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let request = wire::RenewAgentRequest {
        params: Some(wire::AgentX509svidParams {
            csr: generate_csr(&key, None, &[]).unwrap(),
        }),
    };
    let mut client = AgentClient::new(world.holder(svid).await);
    client.renew_agent(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn node_attests_at_one_member_and_again_at_another() {
    let pki = Pki::new();
    let change = pki.trusted();
    let members = World::cluster_of(&change).await;
    let [one, two, three] = &members;
    let node = pki.node("n1");
    let (first, reattestable) = attest(two, &node).await.unwrap();
    assert!(reattestable);
    assert!(
        first
            .spiffe_id()
            .path()
            .starts_with("/spire/agent/x509pop/")
    );
    // An alias finds the node by what was verified of it, and hands on what hangs below it.
    let alias = types::Entry {
        selectors: vec![selector("x509pop", "subject:cn:n1")],
        ..entry("/hosts", "/spire/server")
    };
    one.create(vec![alias, entry("/web", "/hosts")]).await;
    assert_eq!(authorized(three, &first).await.unwrap(), ["/web"]);
    let known = agent(three, &first).await;
    assert_eq!(
        (known.attestation_type.as_str(), known.can_reattest),
        ("x509pop", true)
    );
    let values: Vec<_> = known
        .selectors
        .iter()
        .map(|one| one.value.as_str())
        .collect();
    assert_eq!(values.len(), 3, "{values:?}");
    assert!(values.contains(&"subject:cn:n1"));

    // Whoever attests again has a new certificate, and the old one is worth nothing anywhere.
    let (second, _) = attest(three, &node).await.unwrap();
    assert_eq!(second.spiffe_id(), first.spiffe_id());
    for member in &members {
        assert_eq!(authorized(member, &second).await.unwrap(), ["/web"]);
        let refused = authorized(member, &first).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    // It is to attest again, not to renew.
    let refused = renewal(one, second).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.message(), "agent must reattest instead of renew");

    // A ban holds at every member until it is lifted.
    let id = Some(wire_id(first.spiffe_id().path()));
    let mut admin = AgentClient::new(two.admin().await);
    admin
        .ban_agent(wire::BanAgentRequest { id: id.clone() })
        .await
        .unwrap();
    for member in &members {
        let refused = attest(member, &node).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(refused.message(), "failed to attest: agent is banned");
    }
    admin
        .delete_agent(wire::DeleteAgentRequest { id })
        .await
        .unwrap();
    let (third, _) = attest(one, &node).await.unwrap();
    assert_eq!(authorized(two, &third).await.unwrap(), ["/web"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_which_attestor_refuses() {
    let pki = Pki::new();
    let world = World::start_with(pki.trusted()).await;
    let stranger = Pki::new().node("n1");
    let refused = attest(&world, &stranger).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let expected = "nodeattestor(x509pop): certificate verification failed: ";
    assert!(refused.message().starts_with(expected), "{refused}");

    let node = pki.node("n1");
    let other = pki.node("n2");
    let refused = converse(world.anonymous().await, &node, honest(&other))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        refused.message(),
        "nodeattestor(x509pop): challenge response verification failed: ECDSA signature verify failed"
    );
    // More than a stranger may send.
    let refused = converse(world.anonymous().await, &node, |_| vec![b' '; 300 << 10])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "{refused}");
    let count = wire::CountAgentsRequest::default();
    let mut admin = AgentClient::new(world.admin().await);
    let count = admin.count_agents(count).await.unwrap().into_inner().count;
    assert_eq!(count, 0, "nobody was admitted");
    attest(&world, &node).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_falls_silent_after_its_challenge_is_told_why_it_is_not_admitted() {
    let pki = Pki::new();
    let world = World::start_with(pki.trusted()).await;
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let node = pki.node("n1");
    let evidence = Evidence {
        certificates: vec![node.certificate],
    };
    let (requests, outgoing) = mpsc::channel(1);
    let first = params(evidence.to_payload(), &key);
    requests.send(first).await.unwrap();
    let mut answers = AgentClient::new(world.anonymous().await)
        .attest_agent(ReceiverStream::new(outgoing))
        .await
        .unwrap()
        .into_inner();
    let challenge = answers.message().await.unwrap().unwrap();
    assert!(matches!(challenge.step, Some(Answered::Challenge(_))));
    drop(requests);
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(
        refused.message(),
        "failed to receive challenge from agent: EOF"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_have_their_names_as_selectors_if_wanted() {
    let pki = Pki::new();
    let change = pki.trusted();
    let world = World::start_with(|config| {
        change(config);
        config.agent_id_selector = IdSelector::Added;
    })
    .await;
    let (svid, _) = attest(&world, &pki.node("n1")).await.unwrap();
    let own = selector("spiffe_id", svid.spiffe_id().as_str());
    assert!(agent(&world, &svid).await.selectors.contains(&own));
    let joined = world.agent().await;
    let own = selector("spiffe_id", joined.id.as_str());
    assert_eq!(agent(&world, &joined.svid).await.selectors, [own]);
}

#[tokio::test(flavor = "multi_thread")]
async fn address_of_a_node_is_what_a_trusted_proxy_says() {
    let pki = Pki::new();
    let path = pki.folder.path().join("ca.pem");
    let start = async |trusted: &str| {
        let networks = vec![trusted.parse().unwrap()];
        World::start_with(|config| {
            let NodeAttestorSettings::X509Pop(settings) = settings(&path) else {
                panic!("another attestor");
            };
            config.node_attestors = vec![NodeAttestorSettings::X509Pop(Settings {
                client_address: ClientAddress::Verified,
                ..settings
            })];
            config.trusted_proxies = TrustedProxies::new(networks);
        })
        .await
    };
    let node = pki.node("n1");
    let world = start("127.0.0.0/8").await;
    for (header, address) in [
        ("PROXY TCP4 10.9.9.9 127.0.0.1 1 2\r\n", "10.9.9.9"),
        ("PROXY UNKNOWN\r\n", "127.0.0.1"),
        ("", "127.0.0.1"),
    ] {
        let channel = world.behind_a_proxy(header).await.unwrap();
        let refused = converse(channel, &node, honest(&node)).await.unwrap_err();
        let expected = format!("client IP {address} does not match any certificate IP SAN");
        assert_eq!(
            refused.message(),
            format!("nodeattestor(x509pop): {expected}")
        );
    }
    world
        .behind_a_proxy("PROXY TCP4 nonsense\r\n")
        .await
        .unwrap_err();
    // Nobody else may say where a connection comes from.
    let world = start("10.0.0.0/8").await;
    let header = "PROXY TCP4 10.9.9.9 127.0.0.1 1 2\r\n";
    world.behind_a_proxy(header).await.unwrap_err();
    world.behind_a_proxy("").await.unwrap();
}
