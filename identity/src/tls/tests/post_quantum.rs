//! Handshakes without a key exchange that a quantum computer undoes.

use std::sync::Arc;

use rustls::{NamedGroup, ServerConfig};

use super::{Setup, connect};
use crate::spiffe_id::SpiffeId;
use crate::tls::post_quantum_client_config;

#[test]
fn keys_that_a_quantum_computer_undoes_can_be_refused() {
    let setup = Setup::new();
    let id = || SpiffeId::server(setup.authority.trust_domain());
    for material in [Some(setup.client.clone()), None] {
        let shown = material.is_some();
        let client = post_quantum_client_config(material, id(), setup.clock()).unwrap();
        let client = Arc::new(client);
        let connected = connect(&client, &setup.server_config()).unwrap();
        let group = connected.server.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
        assert_eq!(connected.server.peer_certificates().is_some(), shown);
        let mut classical = rustls::crypto::aws_lc_rs::default_provider();
        classical
            .kx_groups
            .retain(|group| group.name() == NamedGroup::X25519);
        let mut server = ServerConfig::builder_with_provider(Arc::new(classical))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(setup.server_config().cert_resolver.clone());
        server.alpn_protocols = setup.server_config().alpn_protocols.clone();
        let server = Arc::new(server);
        assert!(connect(&setup.client_config(), &server).is_ok());
        assert!(connect(&client, &server).is_err());
    }
}
