//! Attestation of the node and of its workloads by plugins that are programs.

use plugin_host::testing;
use proto::spire::api::types;
use proto::spire::plugin::agent::nodeattestor::v1::node_attestor_server;
use proto::spire::plugin::agent::workloadattestor::v1::workload_attestor_server;
use proto::spire::service::common::config::v1::config_server;
use tonic::Code;

use crate::fake_server::FakeServer;
use crate::harness::{Home, entry, ids, own_entry, wait_until};

#[tokio::test]
#[ignore = "the child of the other tests"]
async fn child() {
    testing::serve().await;
}

/// A block of the child as a plugin that does what `order` says.
fn block(kind: &str, name: &str, order: &str) -> String {
    let own = match kind {
        "NodeAttestor" => node_attestor_server::SERVICE_NAME,
        _ => workload_attestor_server::SERVICE_NAME,
    };
    let services = [own, config_server::SERVICE_NAME];
    let (path, args) = testing::program("plugins::child", &services);
    format!(
        "{kind} \"{name}\" {{ plugin_cmd = {path:?} plugin_args = {args:?} plugin_data {{ order = {order:?} }} }}"
    )
}

fn home(workload_attestors: &[String]) -> Home {
    let others = "KeyManager \"memory\" {} NodeAttestor \"join_token\" {}";
    Home::new().with_plugins(&format!("{others} {}", workload_attestors.join(" ")))
}

/// An entry for the workloads that the plugin `mine` says this of.
fn plugin_entry(id: &str, path: &str, value: &str) -> types::Entry {
    let mut entry = entry(id, path, value);
    entry.selectors[0].r#type = "mine".to_owned();
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn node_is_attested_by_a_plugin() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries.push(own_entry("e1", "/web")));
    let home = Home::new().with_token("").with_plugins(&format!(
        "{} KeyManager \"memory\" {{}} WorkloadAttestor \"unix\" {{}}",
        block("NodeAttestor", "mine", "evidence")
    ));
    let agent = home.start(&server).await;
    assert_eq!(server.asked().attestations, 1);
    assert_eq!(home.stored()["reattestable"], true);
    agent.wait_for_x509().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_has_the_selectors_of_plugins_and_of_built_in_attestors() {
    let server = FakeServer::start();
    let pid = std::process::id();
    server.with(|registry| {
        registry.entries.push(own_entry("e1", "/unix"));
        registry
            .entries
            .push(plugin_entry("e2", "/plugin", &format!("pid:{pid}")));
        registry.entries.push(plugin_entry("e3", "/other", "pid:1"));
    });
    let plugin = block("WorkloadAttestor", "mine", "x");
    let agent = home(&[plugin, "WorkloadAttestor \"unix\" {}".to_owned()])
        .start(&server)
        .await;
    wait_until(async || {
        agent
            .fetch_x509()
            .await
            .is_ok_and(|answer| ids(&answer).len() == 2)
    })
    .await;
    let answer = agent.fetch_x509().await.unwrap();
    let mut found = ids(&answer);
    found.sort_unstable();
    assert_eq!(
        found,
        ["spiffe://example.org/plugin", "spiffe://example.org/unix"]
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attestor_that_fails_leaves_what_the_others_say() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.reattestable = true;
        registry.entries.push(own_entry("e1", "/unix"));
    });
    for order in ["deny", "crash", "huge", "empty"] {
        let plugin = block("WorkloadAttestor", "mine", order);
        let unix = "WorkloadAttestor \"unix\" {}".to_owned();
        let agent = home(&[plugin, unix]).start(&server).await;
        let answer = agent.wait_for_x509().await;
        assert_eq!(ids(&answer), ["spiffe://example.org/unix"], "{order}");
        agent.stop().await;
    }
    // Alone, it leaves nothing: the workload may ask again.
    let agent = home(&[block("WorkloadAttestor", "mine", "deny")])
        .start(&server)
        .await;
    let refused = agent.fetch_x509().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.message(), "workload attestation failed");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_does_not_start_without_its_plugin() {
    let server = FakeServer::start();
    let plugin = block("WorkloadAttestor", "mine", "bad");
    let error = format!(
        "{:#}",
        home(&[plugin]).spawn(&server).end().await.unwrap_err()
    );
    assert!(
        error.ends_with(
            "failed to load plugin \"mine\": failed to configure plugin: configuration is bad"
        ),
        "{error}"
    );
    assert_eq!(server.asked().attestations, 0);
}
