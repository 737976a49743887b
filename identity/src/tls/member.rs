//! rustls configurations between the members of a cluster, and for a server that is to become one.
//!
//! What must hold: TLS 1.3 only, a protocol name of its own for each purpose, and no certificate of
//! another trust domain than the cluster's own, so that no SVID of an agent or a workload opens
//! these doors.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::clock::Clock;
use crate::spiffe_id::SpiffeId;
use crate::tls::config::{ClockTime, member_client, signatures, unresumed_server};
use crate::tls::pin::{AuthorityPin, PinnedVerifier};
use crate::tls::verifier::{
    ClientCertificate, ClientPolicy, ClientVerifier, ServerVerifier, SvidResolver,
};
use crate::tls::{SharedTlsMaterial, TlsError, provider};
use crate::trust_domain::TrustDomain;

/// What members speak among each other.
pub const ALPN_PEER: &[u8] = b"conclave-peer/1";

/// What a server speaks that wants to become a member.
pub const ALPN_JOIN: &[u8] = b"conclave-join/1";

/// For a member's listener: shows the SVID of `material` and lets in who shows one of
/// `trust_domain`.
///
/// # Errors
/// rustls refused the configuration.
pub fn peer_server_config(
    material: SharedTlsMaterial,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, TlsError> {
    let verifier = ClientVerifier {
        material: material.clone(),
        policy: ClientPolicy {
            trust_domain,
            foreign_ids: BTreeSet::new(),
        },
        certificate: ClientCertificate::Required,
        signatures: signatures(),
    };
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError)?
        .with_client_cert_verifier(Arc::new(verifier));
    let config = builder.with_cert_resolver(Arc::new(SvidResolver(material)));
    Ok(unresumed_server(config, vec![ALPN_PEER.to_vec()]))
}

/// For the same listener, for those who have no certificate yet: shows the SVID of `material` and
/// asks for none.
///
/// # Errors
/// rustls refused the configuration.
pub fn join_server_config(
    material: SharedTlsMaterial,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, TlsError> {
    let config = ServerConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SvidResolver(material)));
    Ok(unresumed_server(config, vec![ALPN_JOIN.to_vec()]))
}

/// For a connection to the member `expected`; shows the SVID of `material`.
///
/// # Errors
/// rustls refused the configuration.
pub fn peer_client_config(
    material: SharedTlsMaterial,
    expected: SpiffeId,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, TlsError> {
    let verifier = ServerVerifier {
        material: Some(material.clone()),
        expected,
        signatures: signatures(),
    };
    let mut config = member_client(Arc::new(verifier), clock, ALPN_PEER)?;
    config.client_auth_cert_resolver = Arc::new(SvidResolver(material));
    Ok(config)
}

/// For a connection to any member of the cluster that `pin` names. Shows no certificate.
///
/// # Errors
/// rustls refused the configuration.
pub fn join_client_config(
    pin: AuthorityPin,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, TlsError> {
    let verifier = PinnedVerifier {
        pin,
        signatures: signatures(),
    };
    member_client(Arc::new(verifier), clock, ALPN_JOIN)
}
