//! The look at a domain (RFC 8737 §3).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use identity::x509::CertificateInfo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
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

/// Verifies that the key is there, and asks nothing of the certificate.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 alone".to_owned()))
    }

    /// By the bare key: the library takes no certificate with a critical extension that it does not know.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let info = CertificateInfo::parse(cert);
        let info = info.map_err(|error| rustls::Error::General(error.to_string()))?;
        let key = SubjectPublicKeyInfoDer::from(info.public_key_der);
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
