//! The program with certificates by ACME.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ::acme::testing::AcmeServer;
use daemon::https::client_config_believing;
use daemon::port::free_port;
use identity::pem::encode_certificates;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::Provider;

const DEADLINE: Duration = Duration::from_secs(30);

/// What is answered, and the certificate of whoever answers as `localhost`.
async fn ask(
    address: SocketAddr,
    root: CertificateDer<'static>,
) -> std::io::Result<(String, CertificateDer<'static>)> {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let tls = client_config_believing(roots);
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(tls).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let request = "GET /keys HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok((answer, shown.into_owned()))
}

/// Waits for a certificate that is not this one.
async fn other_than(
    before: Option<&CertificateDer<'static>>,
    address: SocketAddr,
    server: &AcmeServer,
) -> CertificateDer<'static> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let told = match ask(address, server.root()).await {
            Ok((answer, shown)) if before != Some(&shown) => {
                assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
                return shown;
            }
            Ok(_) => "the same".to_owned(),
            Err(error) => error.to_string(),
        };
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "no other certificate: {told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Neither key stands in the log.
fn no_secret_is_logged(folder: &Path) {
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(log.contains("certificate obtained"), "{log}");
    for file in ["localhost", "acme_account+key"] {
        let text = std::fs::read_to_string(folder.join("cache").join(file)).unwrap();
        let key = text.lines().nth(1).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{file}");
        assert!(key.len() == 64 && !log.contains(key), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_obtained_kept_and_renewed() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let server = AcmeServer::start(address).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bundle.json"), "{\"keys\":[]}").unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, encode_certificates([&server.root()])).unwrap();
    let directory = server.directory_url();
    let lines = format!(
        "file {{ path = \"FOLDER/bundle.json\" poll_interval = \"20ms\" }}\n\
         log_path = \"FOLDER/log\"\nlog_level = \"debug\"\n\
         acme {{\n tos_accepted = true\n email = \"a@localhost\"\n directory_url = \"{directory}\"\n \
         cache_dir = \"FOLDER/cache\"\n addr = \"{address}\"\n}}\n"
    );
    let provider = Provider::start_believing(folder, &lines, &roots);
    let first = other_than(None, address, &server).await;
    let folder = provider.end();
    no_secret_is_logged(folder.path());

    // Started again it orders nothing.
    let provider = Provider::start_believing(folder, &lines, &roots);
    assert_eq!(other_than(None, address, &server).await, first);
    assert_eq!((server.issued(), server.accounts()), (1, 1));
    let folder = provider.end();

    // One that is of no use is replaced; one with a short life is renewed while it serves.
    std::fs::write(folder.path().join("cache/localhost"), "").unwrap();
    server.issue_for(Duration::from_secs(12));
    let provider = Provider::start_believing(folder, &lines, &roots);
    let second = other_than(None, address, &server).await;
    assert_ne!(second, first);
    server.issue_for(Duration::from_secs(86_400));
    other_than(Some(&second), address, &server).await;
    assert_eq!((server.issued(), server.accounts()), (3, 1));
    provider.end();
}
