//! Attestation by the engine of the container that the workload is in, beside other attestors.
//!
//! This process is made a container's: its own control group counts as one, and an engine knows it.

use std::path::Path;

use proto::spire::api::types;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::fake_server::FakeServer;
use crate::harness::{Home, entry, ids, own_entry, wait_until};

/// A pattern that finds the id of a container in one of the control groups of this process, if it is in
/// one that has a name.
fn own_pattern() -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let (above, _name) = paths
        .filter_map(|path| path.rsplit_once('/'))
        .find(|(_, name)| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-@".contains(&byte);
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name.bytes().all(is_plain)
        })?;
    Some(format!("{above}/<id>"))
}

/// An engine whose every container has this process as its first, and the label `a` of value `b`.
fn engine(socket: &Path) -> JoinSet<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let pid = std::process::id();
    let mut engine = JoinSet::new();
    engine.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let body =
                format!(r#"{{"State": {{"Pid": {pid}}}, "Config": {{"Labels": {{"a": "b"}}}}}}"#);
            let len = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    engine
}

fn docker_entry(id: &str, path: &str, value: &str) -> types::Entry {
    let mut entry = entry(id, path, value);
    entry.selectors[0].r#type = "docker".to_owned();
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_has_the_identity_of_its_container_and_the_others_without_the_engine() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.reattestable = true;
        registry.entries.push(own_entry("e1", "/unix"));
        registry
            .entries
            .push(docker_entry("e2", "/web", "label:a:b"));
        registry
            .entries
            .push(docker_entry("e3", "/other", "label:a:c"));
    });
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    // Where all groups are the first, as in a container without the host's view, there is nothing to find.
    let pattern = own_pattern();
    let plugins = format!(
        "KeyManager \"memory\" {{}} NodeAttestor \"join_token\" {{}} WorkloadAttestor \"unix\" {{}}
         WorkloadAttestor \"docker\" {{ plugin_data {{
             docker_socket_path = \"unix://{}\"
             use_new_container_locator = false
             container_id_cgroup_matchers = [{:?}]
         }} }}",
        socket.display(),
        pattern.as_deref().unwrap_or("/nowhere/<id>"),
    );
    let home = Home::new().with_plugins(&plugins);
    let agent = home.start(&server).await;
    assert_eq!(
        ids(&agent.wait_for_x509().await),
        ["spiffe://example.org/unix"]
    );

    let _engine = engine(&socket);
    let expected: &[&str] = match pattern {
        Some(_) => &["spiffe://example.org/unix", "spiffe://example.org/web"],
        None => &["spiffe://example.org/unix"],
    };
    wait_until(async || {
        let answer = agent.fetch_x509().await;
        answer.is_ok_and(|answer| ids(&answer) == expected)
    })
    .await;
    agent.stop().await;
}
