//! How a TLS handshake proves a SPIFFE identity: verifiers, resolvers and configurations.
//!
//! What must hold: a peer is believed only if its chain leads to a root in the bundle of the trust
//! domain that its own id names; key and roots are read anew for every handshake; and no handshake
//! is shortened by an earlier one, because a resumed session would skip the current bundle.

mod config;
mod material;
mod member;
mod peer;
mod pin;
mod signatures;
mod taint;
#[cfg(test)]
mod tests;
mod verifier;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use config::{
    ALPN_CONCLAVE, KeyExchange, client_config, https_client_config, https_server_config,
    insecure_bootstrap_client_config, server_config,
};
pub use material::{SharedTlsMaterial, TlsMaterial};
pub use member::{
    ALPN_JOIN, ALPN_PEER, join_client_config, join_server_config, peer_client_config,
    peer_server_config,
};
pub use peer::{
    PeerError, PeerIdentity, handshake_failure, peer_identity, unbelieved_peer, verify_svid_chain,
};
pub use pin::AuthorityPin;
pub use taint::{Issuers, TaintedAuthorities};
pub use verifier::ClientPolicy;

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not configure TLS")]
pub struct TlsError(#[source] pub(crate) rustls::Error);

/// Makes aws-lc-rs the process's default for whatever asks for one; a second call changes nothing.
///
/// The configurations made here name their provider themselves.
pub fn install_crypto_provider() {
    // An error says that a default is there already.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
}

/// aws-lc-rs with its key exchanges in rustls' order, X25519MLKEM768 first.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
