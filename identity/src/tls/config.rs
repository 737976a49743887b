//! rustls configurations for the server's listener and for connections to it.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, ServerConfig, SupportedProtocolVersion, WantsVerifier};
use rustls_pki_types::UnixTime as PathTime;

use crate::clock::Clock;
use crate::spiffe_id::SpiffeId;
use crate::tls::verifier::{
    ClientCertificate, ClientPolicy, ClientVerifier, ServerVerifier, SvidResolver,
};
use crate::tls::{SharedTlsMaterial, TlsError, provider};

/// Everything on these connections is gRPC.
const ALPN_HTTP2: &[u8] = b"h2";

/// Bundles are published as documents of the web.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The same, as our own agents and servers speak it to each other: the server takes keep-alive pings
/// as often as the client sends them. SPIRE's servers hang up on a client that pings more often than
/// every five minutes, so an agent has to know before it begins.
pub const ALPN_CONCLAVE: &[u8] = b"conclave/1";

/// How the two sides of a connection agree on keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyExchange {
    /// In the best way that both know.
    #[default]
    Any,
    /// In ways only that a quantum computer does not undo, hence over TLS 1.3.
    PostQuantum,
}

impl KeyExchange {
    /// aws-lc-rs with these ways, the best first.
    pub fn provider(self) -> Arc<CryptoProvider> {
        match self {
            Self::Any => provider(),
            Self::PostQuantum => Arc::new(CryptoProvider {
                kx_groups: POST_QUANTUM_GROUPS.to_vec(),
                ..rustls::crypto::aws_lc_rs::default_provider()
            }),
        }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Any => &ALL,
            Self::PostQuantum => &ALL[..1],
        }
    }
}

/// Each together with a classical one, so that neither has to be relied on alone.
const POST_QUANTUM_GROUPS: [&dyn SupportedKxGroup; 2] =
    [kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768];

/// For a listener: shows the SVID of `material`, and lets in clients without a certificate and
/// those whose certificate verifies and pleases `policy`.
///
/// # Errors
/// rustls refused the configuration.
pub fn server_config(
    material: SharedTlsMaterial,
    policy: ClientPolicy,
    key_exchange: KeyExchange,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, TlsError> {
    let verifier = ClientVerifier {
        material: material.clone(),
        policy,
        certificate: ClientCertificate::Optional,
        signatures: signatures(),
    };
    let config = server_builder(key_exchange, clock)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SvidResolver(material)));
    Ok(unresumed_server(config, offered()))
}

/// For a connection to the server `expected`, which must verify against the bundle of its trust
/// domain in `material`; shows the SVID of `material` if it has one.
///
/// # Errors
/// rustls refused the configuration.
pub fn client_config(
    material: SharedTlsMaterial,
    expected: SpiffeId,
    key_exchange: KeyExchange,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, TlsError> {
    let verifier = ServerVerifier {
        material: Some(material.clone()),
        expected,
        signatures: signatures(),
    };
    let mut config = agent_client(verifier, key_exchange, clock)?;
    config.client_auth_cert_resolver = Arc::new(SvidResolver(material));
    Ok(config)
}

/// For the first connection of an agent that was told to trust whoever answers: the server must
/// call itself `expected`, and that is all that is known of it. Shows no certificate.
///
/// # Errors
/// rustls refused the configuration.
pub fn insecure_bootstrap_client_config(
    expected: SpiffeId,
    key_exchange: KeyExchange,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, TlsError> {
    let verifier = ServerVerifier {
        material: None,
        expected,
        signatures: signatures(),
    };
    agent_client(verifier, key_exchange, clock)
}

/// For a download from the web server `expected`, which must verify against the bundle of its trust
/// domain in `material`. Shows no certificate.
///
/// # Errors
/// rustls refused the configuration.
pub fn https_client_config(
    material: SharedTlsMaterial,
    expected: SpiffeId,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, TlsError> {
    let verifier = ServerVerifier {
        material: Some(material),
        expected,
        signatures: signatures(),
    };
    let builder = client_builder(KeyExchange::Any, clock)?;
    let protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(unresumed(builder, Arc::new(verifier), protocols))
}

/// For a web server: shows the SVID of `material` and asks for no certificate.
///
/// # Errors
/// rustls refused the configuration.
pub fn https_server_config(
    material: SharedTlsMaterial,
    key_exchange: KeyExchange,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, TlsError> {
    let config = server_builder(key_exchange, clock)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SvidResolver(material)));
    Ok(unresumed_server(config, vec![ALPN_HTTP1.to_vec()]))
}

fn server_builder(
    key_exchange: KeyExchange,
    clock: Arc<dyn Clock>,
) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TlsError> {
    let time = Arc::new(ClockTime(clock));
    ServerConfig::builder_with_details(key_exchange.provider(), time)
        .with_protocol_versions(key_exchange.versions())
        .map_err(TlsError)
}

fn client_builder(
    key_exchange: KeyExchange,
    clock: Arc<dyn Clock>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    let time = Arc::new(ClockTime(clock));
    ClientConfig::builder_with_details(key_exchange.provider(), time)
        .with_protocol_versions(key_exchange.versions())
        .map_err(TlsError)
}

fn agent_client(
    verifier: ServerVerifier,
    key_exchange: KeyExchange,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, TlsError> {
    let builder = client_builder(key_exchange, clock)?;
    Ok(unresumed(builder, Arc::new(verifier), offered()))
}

/// A client that believes by `verifier`, shows nothing, and verifies every connection anew, over TLS 1.3.
pub(super) fn member_client(
    verifier: Arc<dyn ServerCertVerifier>,
    clock: Arc<dyn Clock>,
    protocol: &[u8],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError)?;
    Ok(unresumed(builder, verifier, vec![protocol.to_vec()]))
}

fn unresumed(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    verifier: Arc<dyn ServerCertVerifier>,
    protocols: Vec<Vec<u8>>,
) -> ClientConfig {
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols;
    config
}

/// Makes a server verify every connection anew.
pub(super) fn unresumed_server(mut config: ServerConfig, protocols: Vec<Vec<u8>>) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols;
    config
}

/// The server's order decides: its own protocol where both speak it.
fn offered() -> Vec<Vec<u8>> {
    vec![ALPN_CONCLAVE.to_vec(), ALPN_HTTP2.to_vec()]
}

pub(super) fn signatures() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// Lets rustls ask the [`Clock`].
#[derive(Debug)]
pub(super) struct ClockTime(pub(super) Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<PathTime> {
        let secs = u64::try_from(self.0.now().as_secs()).ok()?;
        Some(PathTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}
