//! Attestation by a plugin that is a program: what it may do, and what it may not.

use daemon::config::{Findings, take_plugins};
use identity::secret::{KeyType, PrivateKey};
use identity::x509::generate_csr;
use identity::x509_svid::X509Svid;
use plugin_host::{Kind, Settings, testing};
use proto::spire::api::server::agent::v1 as wire;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::agent::v1::attest_agent_request::{Params, Step};
use proto::spire::api::server::agent::v1::attest_agent_response::Step as Answered;
use proto::spire::api::types;
use proto::spire::plugin::server::nodeattestor::v1::node_attestor_server;
use proto::spire::service::common::config::v1::config_server;
use rustls_pki_types::CertificateDer;
use server::attest::NodeAttestorSettings;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::world::{World, wire_id};

#[tokio::test]
#[ignore = "the child of the other tests"]
async fn child() {
    testing::serve().await;
}

const NAME: &str = "mine";

/// The child as a node attestor, configured with `data`.
fn settings(data: &str) -> NodeAttestorSettings {
    let text = format!(
        "plugins {{ NodeAttestor \"{NAME}\" {{ plugin_cmd = \"/x\" plugin_data {{ {data} }} }} }}"
    );
    let mut document = daemon::hcl::parse(&text).unwrap();
    let plugins = take_plugins(&mut document, &["NodeAttestor"], &mut Findings::new()).unwrap();
    let settings = Settings::from_config(&plugins[0], Kind::ServerNodeAttestor);
    let mut settings = settings.unwrap().unwrap();
    let services = [
        node_attestor_server::SERVICE_NAME,
        config_server::SERVICE_NAME,
    ];
    (settings.path, settings.args) = testing::program("plugin_attestation::child", &services);
    NodeAttestorSettings::Plugin(settings)
}

async fn world() -> World {
    World::start_with(|config| config.node_attestors = vec![settings("a = 1")]).await
}

/// The whole conversation, with evidence that tells the plugin what to do.
async fn attest(world: &World, order: &str) -> Result<X509Svid, Status> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = Params {
        data: Some(types::AttestationData {
            r#type: NAME.to_owned(),
            payload: order.as_bytes().to_vec(),
        }),
        params: Some(wire::AgentX509svidParams {
            csr: generate_csr(&key, None, &[]).unwrap(),
        }),
    };
    let (requests, outgoing) = mpsc::channel(1);
    let step = Some(Step::Params(params));
    requests
        .send(wire::AttestAgentRequest { step })
        .await
        .unwrap();
    let mut answers = AgentClient::new(world.anonymous().await)
        .attest_agent(ReceiverStream::new(outgoing))
        .await?
        .into_inner();
    loop {
        match answers.message().await?.unwrap().step.unwrap() {
            Answered::Challenge(challenge) => {
                let answer = [b"answer to ".as_slice(), &challenge].concat();
                let step = Some(Step::ChallengeResponse(answer));
                requests
                    .send(wire::AttestAgentRequest { step })
                    .await
                    .unwrap();
            }
            Answered::Result(result) => {
                let chain = result.svid.unwrap().cert_chain.into_iter();
                let chain = chain.map(CertificateDer::from).collect();
                return Ok(X509Svid::new(chain, key).unwrap());
            }
        }
    }
}

async fn count(world: &World) -> i32 {
    let mut admin = AgentClient::new(world.admin().await);
    let count = admin
        .count_agents(wire::CountAgentsRequest::default())
        .await;
    count.unwrap().into_inner().count
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_a_plugin_believes_is_admitted_with_its_selectors() {
    let mut world = world().await;
    let own = "spiffe://example.org/spire/agent/mine/a";
    let svid = attest(&world, &format!("challenge {own}")).await.unwrap();
    assert_eq!(svid.spiffe_id().as_str(), own);
    let svid = attest(&world, &format!("id {own}")).await.unwrap();
    assert_eq!(svid.spiffe_id().as_str(), own);
    let request = wire::GetAgentRequest {
        id: Some(wire_id("/spire/agent/mine/a")),
        output_mask: None,
    };
    let mut admin = AgentClient::new(world.admin().await);
    let agent = admin.get_agent(request).await.unwrap().into_inner();
    assert_eq!(
        (agent.attestation_type.as_str(), agent.can_reattest),
        (NAME, true)
    );
    let selectors = agent.selectors.iter();
    let selectors: Vec<_> = selectors
        .map(|one| (one.r#type.as_str(), one.value.as_str()))
        .collect();
    assert_eq!(
        selectors,
        [
            (NAME, "configured:example.org a = 1"),
            (NAME, "origin:127.0.0.1 localhost")
        ]
    );
    // The plugin asks the server.
    let refused = attest(&world, &format!("known {own}")).await.unwrap_err();
    assert_eq!(refused.message(), "nodeattestor(mine): agent is known");
    attest(&world, "known spiffe://example.org/spire/agent/mine/b")
        .await
        .unwrap();
    let asked = format!("identity {own}");
    attest(&world, &asked).await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plugin_that_lies_admits_nobody() {
    let world = world().await;
    for (order, code, text) in [
        (
            "id spiffe://other.test/spire/agent/mine/a",
            Code::Internal,
            "invalid agent ID: spiffe://other.test/spire/agent/mine/a is not in the agent namespace of the trust domain",
        ),
        (
            "id spiffe://example.org/workload",
            Code::Internal,
            "invalid agent ID: spiffe://example.org/workload is not in the agent namespace of the trust domain",
        ),
        (
            "id spiffe://example.org/spire/server",
            Code::Internal,
            "agent ID cannot collide with the server ID",
        ),
        (
            "id nonsense",
            Code::Internal,
            "nodeattestor(mine): plugin gave an unusable agent ID: ",
        ),
        (
            "id ",
            Code::Internal,
            "nodeattestor(mine): plugin response missing agent ID",
        ),
        (
            "deny",
            Code::PermissionDenied,
            "nodeattestor(mine): not convinced",
        ),
        (
            "nothing",
            Code::Internal,
            "nodeattestor(mine): plugin closed stream unexpectedly",
        ),
        (
            "huge",
            Code::ResourceExhausted,
            "nodeattestor(mine): Error, decoded message length too large",
        ),
        (
            "crash",
            Code::Unavailable,
            "nodeattestor(mine): connection to the plugin was lost",
        ),
    ] {
        let refused = attest(&world, order).await.unwrap_err();
        assert_eq!(refused.code(), code, "{order}: {refused}");
        assert!(refused.message().starts_with(text), "{order}: {refused}");
    }
    assert_eq!(count(&world).await, 0, "nobody was admitted");
    // The server lives, and so does the plugin, again.
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    while let Err(error) = attest(&world, "id spiffe://example.org/spire/agent/mine/a").await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&world).await, 1);
    world.agent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_does_not_start_without_its_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::world::config(folder.path().to_owned());
    config.node_attestors = vec![settings("bad = true")];
    let clock = std::sync::Arc::new(identity::clock::SystemClock);
    let started =
        server::app::App::start(&config, clock, daemon::supervisor::Shutdown::new()).await;
    let error = format!("{:#}", started.map(drop).unwrap_err());
    assert_eq!(
        error,
        "failed to load plugin \"mine\": failed to configure plugin: configuration is bad"
    );
}
