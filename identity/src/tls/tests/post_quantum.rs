//! Handshakes without a key exchange that a quantum computer undoes.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, NamedGroup, ServerConfig, SupportedProtocolVersion};

use super::{Connected, Setup, connect, verifier};
use crate::spiffe_id::SpiffeId;
use crate::tls::{
    KeyExchange, client_config, https_client_config, https_server_config,
    insecure_bootstrap_client_config,
};

/// A provider that knows one way alone.
fn knows(only: NamedGroup) -> Arc<CryptoProvider> {
    let providers = [KeyExchange::Any, KeyExchange::PostQuantum].map(KeyExchange::provider);
    let mut groups = providers.iter().flat_map(|known| &known.kx_groups);
    let group = groups.find(|group| group.name() == only).unwrap();
    Arc::new(CryptoProvider {
        kx_groups: vec![*group],
        ..rustls::crypto::aws_lc_rs::default_provider()
    })
}

fn group(connected: &Connected) -> NamedGroup {
    let group = connected.server.negotiated_key_exchange_group();
    group.unwrap().name()
}

#[test]
fn clients_can_refuse_keys_that_a_quantum_computer_undoes() {
    const ONLY: KeyExchange = KeyExchange::PostQuantum;
    let setup = Setup::new();
    let id = SpiffeId::server(setup.authority.trust_domain());
    let verified = client_config(setup.client.clone(), id.clone(), ONLY, setup.clock());
    let insecure = insecure_bootstrap_client_config(id, ONLY, setup.clock());
    for (client, shown) in [(verified, true), (insecure, false)] {
        let client = Arc::new(client.unwrap());
        let connected = connect(&client, &setup.server_config()).unwrap();
        assert_eq!(group(&connected), NamedGroup::X25519MLKEM768);
        assert_eq!(connected.server.peer_certificates().is_some(), shown);
        let mut server = ServerConfig::builder_with_provider(knows(NamedGroup::X25519))
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

/// A client of `setup`'s server that knows one way to agree on keys, and speaks these versions.
fn limited(
    setup: &Setup,
    only: NamedGroup,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let template = setup.client_config();
    let time = template.time_provider.clone();
    let mut client = ClientConfig::builder_with_details(knows(only), time)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier(setup))
        .with_client_cert_resolver(template.client_auth_cert_resolver.clone());
    client.alpn_protocols = template.alpn_protocols.clone();
    Arc::new(client)
}

#[test]
fn servers_can_refuse_keys_that_a_quantum_computer_undoes() {
    let mut setup = Setup::new();
    let clients = |setup: &Setup| {
        [
            limited(setup, NamedGroup::X25519, &[&TLS13]),
            limited(setup, NamedGroup::secp256r1, &[&TLS13, &TLS12]),
            limited(setup, NamedGroup::secp256r1, &[&TLS12]),
        ]
    };
    for client in clients(&setup) {
        connect(&client, &setup.server_config()).unwrap();
    }
    setup.key_exchange = KeyExchange::PostQuantum;
    for client in clients(&setup) {
        assert!(connect(&client, &setup.server_config()).is_err());
    }
    for hybrid in [NamedGroup::X25519MLKEM768, NamedGroup::secp256r1MLKEM768] {
        let client = limited(&setup, hybrid, &[&TLS13]);
        let connected = connect(&client, &setup.server_config()).unwrap();
        assert_eq!(group(&connected), hybrid);
        assert!(connected.server.peer_certificates().is_some());
    }
    let connected = connect(&setup.client_config(), &setup.server_config()).unwrap();
    assert_eq!(group(&connected), NamedGroup::X25519MLKEM768);
}

#[test]
fn web_servers_can_refuse_them_too() {
    let setup = Setup::new();
    let id = SpiffeId::server(setup.authority.trust_domain());
    let any = https_client_config(setup.client.clone(), id, setup.clock()).unwrap();
    let mut classical = ClientConfig::clone(&limited(&setup, NamedGroup::X25519, &[&TLS13]));
    classical.alpn_protocols = any.alpn_protocols.clone();
    let (any, classical) = (Arc::new(any), Arc::new(classical));
    let server = |key_exchange| {
        let config = https_server_config(setup.server.clone(), key_exchange, setup.clock());
        Arc::new(config.unwrap())
    };
    connect(&classical, &server(KeyExchange::Any)).unwrap();
    let strict = server(KeyExchange::PostQuantum);
    assert!(connect(&classical, &strict).is_err());
    let connected = connect(&any, &strict).unwrap();
    assert_eq!(group(&connected), NamedGroup::X25519MLKEM768);
}
