//! A client that believes whoever answers and shows what it likes: for what a server must refuse, and for a look at
//! the certificates that it shows.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{Uri, uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use identity::x509_svid::X509Svid;
use prost::bytes::Bytes;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Request, Status, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

/// Who a stranger says it is, and in which protocol.
#[derive(Clone)]
pub struct Stranger {
    /// What it shows, if anything.
    pub svid: Option<X509Svid>,
    /// The application protocol that it asks for.
    pub alpn: &'static str,
}

const DEADLINE: Duration = Duration::from_secs(5);

impl Stranger {
    /// The certificates that the server at `address` shows, leaf first.
    ///
    /// # Errors
    /// There is no handshake.
    pub async fn chain_of(
        &self,
        address: SocketAddr,
    ) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let stream = timeout(DEADLINE, handshake(self.config()?, address)).await??;
        let chain = stream
            .get_ref()
            .1
            .peer_certificates()
            .context("no certificate")?;
        Ok(chain.iter().map(|one| one.clone().into_owned()).collect())
    }

    /// Calls `method` with an empty message; the error is how it was refused.
    ///
    /// # Errors
    /// It was refused, in the handshake or after it.
    pub async fn call(&self, address: SocketAddr, method: &'static str) -> Result<(), String> {
        let config = self.config().map_err(|error| format!("{error:#}"))?;
        let call = async {
            let dial = move |_: Uri| {
                let config = Arc::clone(&config);
                async move { Ok::<_, io::Error>(TokioIo::new(handshake(config, address).await?)) }
            };
            let endpoint = Endpoint::from_static("http://localhost");
            let channel = endpoint
                .connect_with_connector(tower::service_fn(dial))
                .await;
            let channel = channel.map_err(|error| Status::unavailable(format!("{error:?}")))?;
            let mut client = Grpc::new(channel);
            client
                .ready()
                .await
                .map_err(|error| Status::unavailable(format!("{error:?}")))?;
            let codec: ProstCodec<Bytes, Bytes> = ProstCodec::default();
            let path = PathAndQuery::from_static(method);
            client.unary(Request::new(Bytes::new()), path, codec).await
        };
        match timeout(DEADLINE, call).await {
            Ok(Ok(_answer)) => Ok(()),
            Ok(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
            Err(_late) => Err(format!("no answer in {DEADLINE:?}")),
        }
    }

    fn config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
        let mut config = match &self.svid {
            None => builder.with_no_client_auth(),
            Some(svid) => {
                let key = PrivatePkcs8KeyDer::from(svid.key().pkcs8().expose().to_vec());
                builder.with_client_auth_cert(svid.chain().to_vec(), key.into())?
            }
        };
        config.alpn_protocols = vec![self.alpn.as_bytes().to_vec()];
        Ok(Arc::new(config))
    }
}

async fn handshake(
    config: Arc<ClientConfig>,
    address: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(config)
        .connect(ServerName::from(address.ip()), stream)
        .await
}

/// Verifies nothing.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
