//! The own bundle as an endpoint publishes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daemon::https::client_config_believing;
use daemon::port::free_port;
use identity::bundle::Bundle;
use identity::clock::SystemClock;
use identity::pem::{encode_certificates, encode_private_key};
use identity::secret::{KeyType, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::tls::{SharedTlsMaterial, TlsMaterial, https_client_config};
use identity::trust_domain::TrustDomain;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use server::federation::{BundleEndpointSettings, EndpointProof};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

use super::own_bundle;
use crate::world::World;

/// A server that publishes its bundle at the port.
async fn publisher(proof: EndpointProof) -> (World, u16) {
    let port = free_port().unwrap();
    let settings = BundleEndpointSettings {
        address: format!("127.0.0.1:{port}"),
        refresh_hint: Duration::from_secs(90),
        proof,
    };
    let world = World::start_with(|config| config.federation.bundle_endpoint = Some(settings));
    (world.await, port)
}

/// What is answered to one request; an error if the endpoint is not believed.
async fn ask(port: u16, tls: &Arc<ClientConfig>, request: &str) -> std::io::Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await?;
    let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_bundle_is_published_with_the_servers_svid() {
    let (world, port) = publisher(EndpointProof::ServerSvid).await;
    let own = own_bundle(&world).await;
    let material = TlsMaterial::new(None, [Arc::new(own.clone())]).unwrap();
    let server = SpiffeId::parse("spiffe://example.org/spire/server").unwrap();
    let tls = https_client_config(
        SharedTlsMaterial::new(material),
        server,
        Arc::new(SystemClock),
    );
    let tls = Arc::new(tls.unwrap());

    let answer = ask(port, &tls, "GET /").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("content-type: application/json\r\n"),
        "{answer}"
    );
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let name = TrustDomain::parse("example.org").unwrap();
    let published = Bundle::from_spiffe_jwks(&name, body.as_bytes()).unwrap();
    assert_eq!(published.refresh_hint_s, 90);
    assert_eq!(published.sequence, own.sequence);
    assert_eq!(published.x509_authorities, own.x509_authorities);
    assert_eq!(published.jwt_authorities.len(), own.jwt_authorities.len());

    for (request, status, text) in [
        ("GET /bundle", "404", "404 page not found\n"),
        ("POST /", "405", "405 method not allowed\n"),
        ("PUT /bundle", "405", "405 method not allowed\n"),
    ] {
        let answer = ask(port, &tls, request).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.ends_with(&format!("\r\n\r\n{text}")), "{answer}");
    }
}

/// A new certificate for `localhost` in the two files.
fn write_pair(certificate: &Path, key: &Path) -> Arc<ClientConfig> {
    let pair = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let root: CertificateDer<'static> = params.self_signed(&pair).unwrap().der().clone();
    std::fs::write(key, encode_private_key(&pair).expose()).unwrap();
    std::fs::write(certificate, encode_certificates([&root])).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    client_config_believing(roots)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_web_is_shown_and_replaced_when_its_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let (certificate, key) = (path("web.pem"), path("web.key"));
    let first = write_pair(&certificate, &key);
    let (_world, port) = publisher(EndpointProof::CertificateFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        sync_interval: Duration::from_millis(20),
    })
    .await;
    let answer = ask(port, &first, "GET /").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    let second = write_pair(&certificate, &key);
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(port, &second, "GET /").await.is_err() {
        assert!(Instant::now() < deadline, "still the first one");
        sleep(Duration::from_millis(20)).await;
    }
    ask(port, &first, "GET /").await.unwrap_err();
}
