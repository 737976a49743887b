//! Connections as the callers that a script names: over a Unix socket, or over TLS with or without
//! a client certificate.
//!
//! The server's certificate is not checked: that is what other tests are about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acme::testing::anybody::Anybody;
use hyper_util::rt::TokioIo;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// A client certificate: the chain with the leaf first, and the leaf's key.
pub(crate) type ClientCertificate = (Vec<Vec<u8>>, KeyPair);

/// A connection over a Unix socket, made when it is first used.
pub(crate) fn unix(socket: &Path) -> Channel {
    let socket = PathBuf::from(socket);
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(
        move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        },
    ))
}

/// A connection over TLS to a port of this machine, made when it is first used.
pub(crate) fn tls(port: u16, certificate: Option<ClientCertificate>) -> anyhow::Result<Channel> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::new(provider)));
    let mut config = match certificate {
        None => config.with_no_client_auth(),
        Some((chain, key)) => config.with_client_auth_cert(
            chain.into_iter().map(CertificateDer::from).collect(),
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let endpoint = Endpoint::from_static("http://localhost");
    Ok(
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        })),
    )
}
