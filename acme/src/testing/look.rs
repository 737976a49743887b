//! The look at a domain (RFC 8737 §3).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use identity::x509::CertificateInfo;
use rustls::{ClientConfig, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::anybody::Anybody;

/// Whether whoever is at `place` shows the proof for `domain`, and nothing else on the connection.
pub async fn is_proven(place: SocketAddr, domain: &str, proof: &[u8; 32]) -> bool {
    let look = look(place, domain, proof);
    let looked = tokio::time::timeout(Duration::from_secs(20), look).await;
    matches!(looked, Ok(Ok(true)))
}

async fn look(place: SocketAddr, domain: &str, proof: &[u8; 32]) -> io::Result<bool> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::new(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect(place).await?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (_, connection) = stream.get_ref();
    let is_agreed = connection.alpn_protocol() == Some(b"acme-tls/1");
    let shown = connection.peer_certificates().unwrap_or_default();
    Ok(is_agreed && matches!(shown, [one] if is_proof(one, domain, proof)))
}

/// Signed by itself, for the one name, with the digest in a critical extension.
fn is_proof(certificate: &CertificateDer<'_>, domain: &str, proof: &[u8; 32]) -> bool {
    // id-pe-acmeIdentifier, critical, an octet string of 34 bytes that has one of 32.
    let mut extension = vec![
        0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f, 0x01, 0x01, 0xff, 0x04, 0x22,
        0x04, 0x20,
    ];
    extension.extend_from_slice(proof);
    let holds = certificate
        .windows(extension.len())
        .any(|window| window == extension);
    let info = CertificateInfo::parse(certificate);
    holds
        && info.is_ok_and(|info| info.dns_names == [domain] && info.issuer_der == info.subject_der)
}
