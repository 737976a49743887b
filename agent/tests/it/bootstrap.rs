//! What an agent believes its first server by, and what it does when no server is believed any more.

use std::path::{Path, PathBuf};

use identity::pem::{encode_certificates, encode_private_key};
use identity::secret::{KeyType, PrivateKey};
use identity::testing::TestAuthority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::fake_server::FakeServer;
use crate::harness::{Home, ids, own_entry, wait_until};

/// Answers each HTTP request on a socket with the next of these, and tells the requests' first lines.
async fn answer(socket: PathBuf, answers: Vec<String>) -> Vec<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let mut asked = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        asked.push(request.lines().next().unwrap().to_owned());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    asked
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn bundle(server: &FakeServer) -> String {
    server.with(|registry| registry.authority.bundle().to_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn program_on_a_socket_tells_whom_to_believe_and_is_told_why() {
    let server = FakeServer::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("trust.sock");
    let mut program = JoinSet::new();
    program.spawn(answer(socket.clone(), vec![ok(&bundle(&server))]));
    let home = Home::new().trusting(format!(
        "trust_bundle_url = \"http://localhost/bundle?a=b\" trust_bundle_unix_socket = {socket:?}"
    ));
    home.start(&server).await.stop().await;
    let asked = program.join_next().await.unwrap().unwrap();
    let address = server.address;
    let (line, time) = asked[0].split_once("start-time=").unwrap();
    assert_eq!(
        line,
        "GET /bundle?a=b&spire-attest-mode=bootstrap&spire-connection-attempts=1&spire-attest-"
    );
    assert!(
        time.ends_with(&format!(
            "&spire-server-address={}&spire-server-port={}&spiffe-trust-domain=example.org HTTP/1.1",
            address.ip(),
            address.port()
        )),
        "{time}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_workload_api_tells_whom_to_believe() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries.push(own_entry("e1", "/web")));
    let elder = Home::new().start(&server).await;
    elder.wait_for_x509().await;
    server.with(|registry| registry.tokens.insert("second".to_owned()));
    let socket = elder.socket_path.display();
    let home = Home::new().with_token("second").trusting(format!(
        "trust_bundle_spiffe_workload_api = \"unix://{socket}\""
    ));
    let agent = home.start(&server).await;
    assert_eq!(
        ids(&agent.wait_for_x509().await),
        ["spiffe://example.org/web"]
    );
    agent.stop().await;
    elder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_bundle_file_ends_the_agent_at_once() {
    let server = FakeServer::start();
    let home = Home::new().trusting("trust_bundle_path = \"/nowhere/bundle.pem\"".to_owned());
    let error = format!("{:#}", home.spawn(&server).end().await.unwrap_err());
    assert!(
        error.contains("trust bundle /nowhere/bundle.pem"),
        "{error}"
    );
}

/// An agent that can attest at any time.
fn node(folder: &Path) -> Home {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("node.key"), encode_private_key(&key).expose()).unwrap();
    let certificate = encode_certificates([certificate.der()]);
    std::fs::write(folder.join("node.pem"), certificate).unwrap();
    Home::new().with_token("").with_plugins(&format!(
        r#"NodeAttestor "x509pop" {{ plugin_data {{
            private_key_path = {:?} certificate_path = {:?}
        }} }}
        KeyManager "memory" {{}} WorkloadAttestor "unix" {{}}"#,
        folder.join("node.key"),
        folder.join("node.pem"),
    ))
}

/// Puts another server, of an authority that nobody knows, in the place of `server`.
fn replace(server: &mut FakeServer) {
    server.stop();
    server.with(|registry| registry.authority = TestAuthority::new("example.org"));
    server.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_meets_no_server_of_its_bundle_begins_anew() {
    let mut server = FakeServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.pem");
    std::fs::write(&file, bundle(&server)).unwrap();
    let home = node(folder.path())
        .with("rebootstrap_mode = \"always\" rebootstrap_delay = \"1s\"")
        .trusting(format!("trust_bundle_path = {file:?}"));
    let agent = home.start(&server).await;
    replace(&mut server);
    // It waits first: nothing is forgotten while the server may come back.
    wait_until(async || home.stored()["bootstrap_start_time"] != "0001-01-01T00:00:00Z").await;
    assert_eq!(home.stored()["bundle"].as_array().unwrap().len(), 1);
    let error = format!("{:#}", agent.end().await.unwrap_err());
    assert!(
        error.contains("shutting down for rebootstrapping"),
        "{error}"
    );
    assert_eq!(home.stored()["bundle"].as_array().unwrap().len(), 0);
    assert_eq!(home.stored()["svid"].as_array().unwrap().len(), 0);
    // Whoever runs it starts it again.
    std::fs::write(&file, bundle(&server)).unwrap();
    home.start(&server).await.stop().await;
    assert_eq!(
        home.stored()["bootstrap_start_time"],
        "0001-01-01T00:00:00Z"
    );
    assert_eq!(server.asked().attestations, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_believes_its_servers_again_when_they_come_back_in_time() {
    let mut server = FakeServer::start();
    let folder = tempfile::tempdir().unwrap();
    let home = node(folder.path()).with("rebootstrap_mode = \"auto\"");
    let agent = home.start(&server).await;
    let authority = server.with(|registry| {
        std::mem::replace(&mut registry.authority, TestAuthority::new("example.org"))
    });
    server.stop();
    server.resume();
    wait_until(async || home.stored()["bootstrap_start_time"] != "0001-01-01T00:00:00Z").await;
    server.stop();
    server.with(|registry| registry.authority = authority);
    server.resume();
    wait_until(async || home.stored()["bootstrap_start_time"] == "0001-01-01T00:00:00Z").await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_cannot_attest_again_is_told_so_when_it_must() {
    let server = FakeServer::start();
    let home = Home::new().with("rebootstrap_mode = \"always\"");
    let error = format!("{:#}", home.spawn(&server).end().await.unwrap_err());
    assert!(
        error.contains("you have requested rebootstrap support"),
        "{error}"
    );
}
