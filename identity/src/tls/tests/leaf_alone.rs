//! Clients that show a leaf without the certificate that signed it.

use std::sync::Arc;

use super::{Setup, connect};
use crate::spiffe_id::SpiffeId;
use crate::testing::TestAuthority;
use crate::tls::{KeyExchange, SharedTlsMaterial, TlsMaterial, client_config};
use crate::x509_svid::X509Svid;

/// Whether the server of `setup` lets in a client with the leaf that `authority` signed alone.
fn is_let_in(setup: &Setup, authority: &TestAuthority) -> bool {
    let whole = authority.x509_svid("/spire/agent/x");
    let leaf = X509Svid::new(whole.chain()[..1].to_vec(), whole.key().clone()).unwrap();
    let bundle = Arc::new(setup.authority.bundle());
    let material = SharedTlsMaterial::new(TlsMaterial::new(Some(leaf), [bundle]).unwrap());
    let expected = SpiffeId::server(setup.authority.trust_domain());
    let client = client_config(material, expected, KeyExchange::Any, setup.clock()).unwrap();
    connect(&Arc::new(client), &setup.server_config()).is_ok()
}

#[test]
fn leaf_alone_will_do_where_the_server_has_the_same_issuer() {
    let setup = Setup::new();
    assert!(is_let_in(&setup, &setup.authority));
    let now = crate::clock::Clock::now(&*setup.clock);
    let impostor = TestAuthority::at(setup.authority.trust_domain().as_str(), now);
    assert!(!is_let_in(&setup, &impostor));
}
