//! A server that takes no keys that a quantum computer undoes (`require_pq_kem`).

use std::sync::Arc;
use std::time::Duration;

use daemon::port::free_port;
use identity::pem::{encode_certificates, encode_private_key};
use identity::secret::{KeyType, PrivateKey};
use identity::tls::KeyExchange;
use rustls::{ClientConfig, NamedGroup, RootCertStore};
use rustls_pki_types::ServerName;
use server::federation::{BundleEndpointSettings, EndpointProof};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::World;

/// Why a client that agrees on keys in this one way does not believe the server at `port`: it believes nobody.
async fn refusal(port: u16, only: NamedGroup) -> String {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == only);
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    shaken.await.unwrap_err().to_string()
}

/// A server with these keys, its port, and that of its bundle endpoint.
async fn start(key_exchange: KeyExchange, proof: EndpointProof) -> (World, [u16; 2]) {
    let endpoint = free_port().unwrap();
    let settings = BundleEndpointSettings {
        address: format!("127.0.0.1:{endpoint}"),
        refresh_hint: Duration::from_secs(90),
        proof,
    };
    let world = World::start_with(|config| {
        config.key_exchange = key_exchange;
        config.federation.bundle_endpoint = Some(settings);
    });
    let world = world.await;
    let ports = [world.address().port(), endpoint];
    (world, ports)
}

#[tokio::test(flavor = "multi_thread")]
async fn classical_keys_are_refused_on_every_listener_and_hybrid_ones_taken() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["web.pem", "web.key"].map(|name| folder.path().join(name));
    let pair = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let root = params.self_signed(&pair).unwrap();
    std::fs::write(&key, encode_private_key(&pair).expose()).unwrap();
    std::fs::write(&certificate, encode_certificates([root.der()])).unwrap();
    let files = || EndpointProof::CertificateFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        sync_interval: Duration::from_secs(3_600),
    };
    for proof in [EndpointProof::ServerSvid, files()] {
        let (_any, ports) = start(KeyExchange::Any, proof.clone()).await;
        for port in ports {
            // As far as the certificate: the keys are agreed on.
            let refusal = refusal(port, NamedGroup::X25519).await;
            assert!(refusal.contains("UnknownIssuer"), "{refusal}");
        }
        let (world, ports) = start(KeyExchange::PostQuantum, proof).await;
        for port in ports {
            let classical = refusal(port, NamedGroup::X25519).await;
            assert!(classical.contains("HandshakeFailure"), "{classical}");
            let hybrid = refusal(port, NamedGroup::X25519MLKEM768).await;
            assert!(hybrid.contains("UnknownIssuer"), "{hybrid}");
        }
        // Who knows both is served.
        world.agent().await;
    }
}
