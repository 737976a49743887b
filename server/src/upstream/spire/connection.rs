//! The connection to a server above: found by name, believed by the roots of the Workload API.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use identity::clock::Clock;
use identity::spiffe_id::SpiffeId;
use identity::tls::{self, SharedTlsMaterial, TlsError, handshake_failure};
use identity::trust_domain::TrustDomain;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::upstream::SpireSettings;

/// A channel that connects when it is needed, each time with the material of then.
pub(super) fn connect(
    settings: &SpireSettings,
    trust_domain: &TrustDomain,
    material: SharedTlsMaterial,
    clock: Arc<dyn Clock>,
) -> Result<Channel, TlsError> {
    let expected = SpiffeId::server(trust_domain);
    let config = tls::client_config(material, expected, settings.key_exchange, clock)?;
    let config = Arc::new(config);
    let (host, port) = (settings.host.clone(), settings.port);
    let connector = tower::service_fn(move |_uri| {
        let (host, config) = (host.clone(), Arc::clone(&config));
        async move { dial(&host, port, config).await.map(TokioIo::new) }
    });
    // The name is not looked up: the connector knows where to go.
    let endpoint = Endpoint::from_static("http://spire-server")
        .timeout(CALL_WITHIN)
        .tcp_nodelay(true);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// The first address that answers, beginning with any.
async fn dial(
    host: &str,
    port: u16,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.truncate(MAX_ADDRESSES);
    let first = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % addresses.len().max(1);
    addresses.rotate_left(first);
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let connector = TlsConnector::from(Arc::clone(&config));
        let name = ServerName::try_from(host.to_owned())
            .unwrap_or_else(|_not_a_name| ServerName::IpAddress(address.ip().into()));
        let connecting = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let shaken = connector.connect(name, tcp).await;
            shaken.map_err(|error| io::Error::new(error.kind(), handshake_failure(&error)))
        };
        match tokio::time::timeout(DIAL_WITHIN, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = io::Error::new(error.kind(), format!("{address}: {error}")),
            Err(_elapsed) => {
                let text = format!("{address}: no answer within {} s", DIAL_WITHIN.as_secs());
                failure = io::Error::new(io::ErrorKind::TimedOut, text);
            }
        }
    }
    Err(failure)
}

/// How long one address may take.
const DIAL_WITHIN: Duration = Duration::from_secs(3);

/// Addresses that are tried at most.
const MAX_ADDRESSES: usize = 16;

/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);
