//! Handshakes in memory, between configurations as the server and the agent make them.

mod leaf_alone;
mod post_quantum;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, HandshakeKind, NamedGroup,
    ServerConfig, ServerConnection,
};

use crate::bundle::Bundle;
use crate::clock::{Clock, FakeClock, UnixTime};
use crate::secret::{KeyType, PrivateKey};
use crate::spiffe_id::SpiffeId;
use crate::testing::TestAuthority;
use crate::tls::{
    ALPN_CONCLAVE, ALPN_JOIN, ALPN_PEER, AuthorityPin, ClientPolicy, KeyExchange, PeerError,
    SharedTlsMaterial, TlsMaterial, client_config, insecure_bootstrap_client_config,
    join_client_config, join_server_config, peer_client_config, peer_identity, peer_server_config,
    server_config, verify_svid_chain,
};
use crate::x509::CertificateInfo;
use crate::x509_svid::X509Svid;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

struct Setup {
    clock: Arc<FakeClock>,
    authority: TestAuthority,
    server: SharedTlsMaterial,
    client: SharedTlsMaterial,
    foreign_ids: BTreeSet<SpiffeId>,
    /// The server's.
    key_exchange: KeyExchange,
}

/// A finished handshake.
struct Connected {
    client: ClientConnection,
    server: ServerConnection,
}

fn material(svid: Option<X509Svid>, bundles: &[&Bundle]) -> TlsMaterial {
    let bundles = bundles.iter().map(|bundle| Arc::new((*bundle).clone()));
    TlsMaterial::new(svid, bundles).unwrap()
}

impl Setup {
    fn new() -> Self {
        let authority = TestAuthority::at("td", NOW);
        let bundle = authority.bundle();
        let shared = |path: &str| {
            SharedTlsMaterial::new(material(Some(authority.x509_svid(path)), &[&bundle]))
        };
        Self {
            clock: Arc::new(FakeClock::new(NOW)),
            server: shared("/spire/server"),
            client: shared("/spire/agent/x"),
            authority,
            foreign_ids: BTreeSet::new(),
            key_exchange: KeyExchange::Any,
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        let policy = ClientPolicy {
            trust_domain: self.authority.trust_domain().clone(),
            foreign_ids: self.foreign_ids.clone(),
        };
        Arc::new(
            server_config(self.server.clone(), policy, self.key_exchange, self.clock()).unwrap(),
        )
    }

    fn client_config(&self) -> Arc<ClientConfig> {
        let expected = SpiffeId::server(self.authority.trust_domain());
        Arc::new(
            client_config(
                self.client.clone(),
                expected,
                KeyExchange::Any,
                self.clock(),
            )
            .unwrap(),
        )
    }

    fn connect(&self) -> Result<Connected, Error> {
        connect(&self.client_config(), &self.server_config())
    }
}

/// Passes bytes to and fro until both sides are done, or one gives up.
fn connect(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Connected, Error> {
    let name = "any.host.test".try_into().unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(Connected { client, server })
}

/// The [`PeerError`] inside of a failed handshake.
fn refusal(result: Result<Connected, Error>) -> String {
    match result.map(|_| ()).unwrap_err() {
        Error::InvalidCertificate(CertificateError::Other(error)) => error.to_string(),
        other => other.to_string(),
    }
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let setup = Setup::new();
    let connected = setup.connect().unwrap();
    let client = peer_identity(connected.server.peer_certificates().unwrap()).unwrap();
    let server = peer_identity(connected.client.peer_certificates().unwrap()).unwrap();
    assert_eq!(client.spiffe_id.as_str(), "spiffe://td/spire/agent/x");
    assert_eq!(server.spiffe_id.as_str(), "spiffe://td/spire/server");
    let shown = setup.client.load();
    let svid = shown.svid().unwrap();
    assert_eq!(client.serial, svid.serial());
    assert_eq!(client.not_after, svid.not_after());
    assert_eq!(connected.client.alpn_protocol(), Some(ALPN_CONCLAVE));
    let group = connected.server.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn plain_http2_is_spoken_with_whoever_knows_no_more() {
    let setup = Setup::new();
    let plain = vec![b"h2".to_vec()];
    let mut client = ClientConfig::clone(&setup.client_config());
    client.alpn_protocols = plain.clone();
    let connected = connect(&Arc::new(client), &setup.server_config()).unwrap();
    assert_eq!(connected.server.alpn_protocol(), Some(&b"h2"[..]));
    let mut server = ServerConfig::clone(&setup.server_config());
    server.alpn_protocols = plain;
    let connected = connect(&setup.client_config(), &Arc::new(server)).unwrap();
    assert_eq!(connected.client.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn no_handshake_is_resumed() {
    let setup = Setup::new();
    let (client, server) = (setup.client_config(), setup.server_config());
    for _ in 0..3 {
        let connected = connect(&client, &server).unwrap();
        assert_eq!(connected.server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connected.client.tls13_tickets_received(), 0);
    }
}

#[test]
fn tls_1_2_is_spoken_too() {
    let setup = Setup::new();
    let mut client = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let template = setup.client_config();
    client
        .dangerous()
        .set_certificate_verifier(verifier(&setup));
    client.client_auth_cert_resolver = template.client_auth_cert_resolver.clone();
    client.alpn_protocols = template.alpn_protocols.clone();
    client.time_provider = template.time_provider.clone();
    let client = Arc::new(client);
    for _ in 0..2 {
        let connected = connect(&client, &setup.server_config()).unwrap();
        assert_eq!(connected.server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(
            connected.server.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_2)
        );
        assert_eq!(connected.server.peer_certificates().unwrap().len(), 2);
    }
}

fn verifier(setup: &Setup) -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    Arc::new(super::verifier::ServerVerifier {
        material: Some(setup.client.clone()),
        expected: SpiffeId::server(setup.authority.trust_domain()),
        signatures: super::provider().signature_verification_algorithms,
    })
}

#[test]
fn a_client_may_come_without_a_certificate() {
    let setup = Setup::new();
    setup
        .client
        .replace(material(None, &[&setup.authority.bundle()]));
    let connected = setup.connect().unwrap();
    assert_eq!(connected.server.peer_certificates(), None);
}

#[test]
fn an_expired_certificate_is_refused_on_both_sides() {
    let setup = Setup::new();
    let past = setup.authority.x509_svid_between(
        "/spire/agent/x",
        NOW.saturating_sub(Duration::from_secs(100)),
        NOW.saturating_sub(Duration::from_secs(1)),
    );
    setup
        .client
        .replace(material(Some(past), &[&setup.authority.bundle()]));
    let expired = Error::InvalidCertificate(CertificateError::Expired);
    assert_eq!(setup.connect().map(|_| ()).unwrap_err(), expired);

    let setup = Setup::new();
    setup.clock.advance(Duration::from_secs(3601));
    assert_eq!(setup.connect().map(|_| ()).unwrap_err(), expired);
}

#[test]
fn an_expired_root_verifies_nothing() {
    let setup = Setup::new();
    let late = NOW.saturating_add(Duration::from_secs(2 * 24 * 3600));
    let svid = setup.authority.x509_svid_between("/w", NOW, late);
    let result = verify_svid_chain(svid.chain(), &setup.server.load(), late);
    assert!(matches!(result, Err(PeerError::Path(_))), "{result:?}");
}

#[test]
fn a_foreign_client_is_refused_unless_it_is_named() {
    let mut setup = Setup::new();
    let foreign = TestAuthority::at("other", NOW);
    let own = setup.authority.bundle();
    setup
        .client
        .replace(material(Some(foreign.x509_svid("/admin")), &[&own]));
    let refused = "unexpected trust domain of spiffe://other/admin";
    assert_eq!(refusal(setup.connect()), refused);
    // Knowing the bundle of a domain does not let it in.
    let svid = setup.server.load().svid().cloned();
    setup
        .server
        .replace(material(svid.clone(), &[&own, &foreign.bundle()]));
    assert_eq!(refusal(setup.connect()), refused);
    setup.foreign_ids = [foreign.spiffe_id("/admin")].into();
    setup.connect().unwrap();
    setup.server.replace(material(svid, &[&own]));
    assert_eq!(
        refusal(setup.connect()),
        "no X.509 bundle for trust domain \"other\""
    );
}

#[test]
fn a_bundle_vouches_for_its_own_trust_domain_only() {
    let setup = Setup::new();
    // Another domain's authority signs an id of ours.
    let foreign = TestAuthority::at("other", NOW);
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let forged = leaf("spiffe://td/spire/agent/x", |_| {});
    let svid = X509Svid::new(foreign.sign(&forged, &key), key).unwrap();
    let own = setup.authority.bundle();
    let server_svid = setup.server.load().svid().cloned();
    setup
        .server
        .replace(material(server_svid, &[&own, &foreign.bundle()]));
    setup.client.replace(material(Some(svid), &[&own]));
    let error = setup.connect().map(|_| ()).unwrap_err();
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(error, unknown);
}

#[test]
fn another_server_of_the_domain_is_refused() {
    let setup = Setup::new();
    let own = setup.authority.bundle();
    let impostor = setup.authority.x509_svid("/workload");
    setup.server.replace(material(Some(impostor), &[&own]));
    assert_eq!(
        refusal(setup.connect()),
        "unexpected ID spiffe://td/workload, expected spiffe://td/spire/server"
    );
}

#[test]
fn roots_and_svids_are_swapped_under_a_standing_configuration() {
    let setup = Setup::new();
    let (client, server) = (setup.client_config(), setup.server_config());
    let next = TestAuthority::at("td", NOW);
    setup.server.replace(material(
        Some(next.x509_svid("/spire/server")),
        &[&setup.authority.bundle()],
    ));
    let error = connect(&client, &server).map(|_| ()).unwrap_err();
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(error, unknown);
    let mut both = setup.authority.bundle();
    both.x509_authorities.extend(next.bundle().x509_authorities);
    let svid = setup.client.load().svid().cloned();
    setup.client.replace(material(svid, &[&both]));
    connect(&client, &server).unwrap();
}

#[test]
fn a_tainted_root_still_verifies() {
    let setup = Setup::new();
    let mut bundle = setup.authority.bundle();
    bundle.x509_authorities[0].tainted = true;
    let svid = setup.client.load().svid().cloned();
    setup.client.replace(material(svid, &[&bundle]));
    setup.connect().unwrap();
}

#[test]
fn an_insecure_bootstrap_wants_the_right_name_and_shows_nothing() {
    let setup = Setup::new();
    let config = |id: &str| {
        let id = SpiffeId::parse(id).unwrap();
        Arc::new(insecure_bootstrap_client_config(id, KeyExchange::Any, setup.clock()).unwrap())
    };
    let connected = connect(&config("spiffe://td/spire/server"), &setup.server_config()).unwrap();
    assert_eq!(connected.server.peer_certificates(), None);
    assert_eq!(
        refusal(connect(
            &config("spiffe://td2/spire/server"),
            &setup.server_config()
        )),
        "unexpected ID spiffe://td/spire/server, expected spiffe://td2/spire/server"
    );
}

/// A proper leaf with one thing changed.
fn leaf(uri: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    change(&mut params);
    params
}

#[test]
fn certificates_that_are_no_svids_are_refused() {
    let setup = Setup::new();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let check = |uri: &str, change: fn(&mut CertificateParams), expected: &str| {
        let chain = setup.authority.sign(&leaf(uri, change), &key);
        let error = verify_svid_chain(&chain, &setup.server.load(), NOW).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(cause.unwrap_or_else(|| error.to_string()), expected);
    };
    let two = |params: &mut CertificateParams| {
        let second = SanType::URI("spiffe://td/b".try_into().unwrap());
        params.subject_alt_names.push(second);
    };
    check(
        "spiffe://td/a",
        two,
        "expected exactly one URI SAN, found 2",
    );
    let none = |params: &mut CertificateParams| params.subject_alt_names.clear();
    check(
        "spiffe://td/a",
        none,
        "expected exactly one URI SAN, found 0",
    );
    check(
        "spiffe://td",
        |_| {},
        "leaf certificate has the SPIFFE ID of a trust domain: spiffe://td",
    );
    check(
        "https://td/a",
        |_| {},
        "URI SAN is not a SPIFFE ID: scheme is missing or invalid",
    );
    let ca = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    check("spiffe://td/a", ca, "leaf certificate has the CA flag set");
    let signer = |params: &mut CertificateParams| {
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    };
    check(
        "spiffe://td/a",
        signer,
        "leaf certificate has keyCertSign or cRLSign key usage",
    );
    let mute = |params: &mut CertificateParams| params.key_usages.clear();
    check(
        "spiffe://td/a",
        mute,
        "leaf certificate lacks digitalSignature key usage",
    );
    let other_use = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    };
    let chain = setup
        .authority
        .sign(&leaf("spiffe://td/a", other_use), &key);
    let error = verify_svid_chain(&chain, &setup.server.load(), NOW).unwrap_err();
    assert!(matches!(error, PeerError::Path(_)), "{error:?}");
}

#[test]
fn a_workload_cannot_sign_another() {
    let setup = Setup::new();
    let workload_key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let workload = leaf("spiffe://td/w", |_| {});
    let workload_chain = setup.authority.sign(&workload, &workload_key);
    verify_svid_chain(&workload_chain, &setup.server.load(), NOW).unwrap();
    let issuer = rcgen::Issuer::new(workload, workload_key);
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let forged = leaf("spiffe://td/spire/server", |_| {})
        .signed_by(&key, &issuer)
        .unwrap();
    let chain = [&[forged.der().clone()][..], &workload_chain].concat();
    let error = verify_svid_chain(&chain, &setup.server.load(), NOW).unwrap_err();
    assert!(matches!(error, PeerError::Path(_)), "{error:?}");
}

#[test]
fn an_intermediate_must_say_that_it_signs() {
    let setup = Setup::new();
    let issuer_key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let issuer_chain = setup.authority.sign(&params, &issuer_key);
    let issuer = rcgen::Issuer::new(params, issuer_key);
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let forged = leaf("spiffe://td/w", |_| {})
        .signed_by(&key, &issuer)
        .unwrap();
    let chain = [&[forged.der().clone()][..], &issuer_chain].concat();
    let error = verify_svid_chain(&chain, &setup.server.load(), NOW).unwrap_err();
    assert!(matches!(error, PeerError::Issuer), "{error:?}");
}

#[test]
fn damaged_and_overlong_chains_are_refused() {
    let setup = Setup::new();
    let svid = setup.authority.x509_svid("/w");
    let material = setup.server.load();
    let leaf = &svid.chain()[0];
    for bit in 0..leaf.len() * 8 {
        let mut flipped = leaf.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let chain = [flipped.into(), svid.chain()[1].clone()];
        assert!(
            verify_svid_chain(&chain, &material, NOW).is_err(),
            "bit {bit}"
        );
    }
    let long = vec![leaf.clone(); 17];
    let error = verify_svid_chain(&long, &material, NOW).unwrap_err();
    assert!(matches!(error, PeerError::TooManyCertificates));
    let error = verify_svid_chain(&[], &material, NOW).unwrap_err();
    assert!(matches!(error, PeerError::NoCertificate));
}

/// The configurations of two members of the setup's cluster.
fn member_configs(setup: &Setup) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let expected = SpiffeId::server(setup.authority.trust_domain());
    let client = peer_client_config(setup.client.clone(), expected, setup.clock()).unwrap();
    let own = setup.authority.trust_domain().clone();
    let server = peer_server_config(setup.server.clone(), own, setup.clock()).unwrap();
    (Arc::new(client), Arc::new(server))
}

#[test]
fn members_speak_tls_1_3_under_a_protocol_of_their_own() {
    let setup = Setup::new();
    let (client, server) = member_configs(&setup);
    let connected = connect(&client, &server).unwrap();
    assert_eq!(connected.server.alpn_protocol(), Some(ALPN_PEER));
    let version = connected.server.protocol_version();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
    let id = peer_identity(connected.server.peer_certificates().unwrap()).unwrap();
    assert_eq!(id.spiffe_id.as_str(), "spiffe://td/spire/agent/x");
}

#[test]
fn who_is_no_member_is_refused_at_the_peer_door() {
    let mut setup = Setup::new();
    let (client, server) = member_configs(&setup);
    // An agent with an SVID of the trust domain that the servers sign for.
    let other = TestAuthority::at("example.org", NOW);
    let svid = other.x509_svid("/spire/agent/x");
    setup.client.replace(material(
        Some(svid),
        &[&other.bundle(), &setup.authority.bundle()],
    ));
    assert_eq!(
        refusal(connect(&client, &server)),
        "unexpected trust domain of spiffe://example.org/spire/agent/x"
    );
    // A member of another cluster, even one of the same name.
    let other = TestAuthority::at("td", NOW);
    let svid = other.x509_svid("/spire/agent/x");
    let bundle = setup.authority.bundle();
    setup.client.replace(material(Some(svid), &[&bundle]));
    assert!(connect(&client, &server).is_err());
    // Nobody.
    setup.client.replace(material(None, &[&bundle]));
    assert_eq!(
        connect(&client, &server).map(drop).unwrap_err(),
        Error::NoCertificatesPresented
    );
    // The protocol of the API.
    setup.client = setup.server.clone();
    assert_eq!(
        connect(&setup.client_config(), &server)
            .map(drop)
            .unwrap_err(),
        Error::NoApplicationProtocol
    );
}

#[test]
fn joiner_believes_the_pinned_authority_only() {
    let setup = Setup::new();
    let server = join_server_config(setup.server.clone(), setup.clock()).unwrap();
    let server = Arc::new(server);
    let shown = setup.server.load();
    let authority = CertificateInfo::parse(&shown.svid().unwrap().chain()[1]).unwrap();
    let joiner = |pin| Arc::new(join_client_config(pin, setup.clock()).unwrap());
    let own = setup.authority.trust_domain();

    let pin = AuthorityPin::new(own.clone(), &authority.public_key_der);
    let connected = connect(&joiner(pin), &server).unwrap();
    assert_eq!(connected.server.alpn_protocol(), Some(ALPN_JOIN));
    assert_eq!(connected.server.peer_certificates(), None);
    let exporter = |label: &[u8], connected: &Connected| {
        let client = connected
            .client
            .export_keying_material([0; 32], label, None);
        let server = connected
            .server
            .export_keying_material([0; 32], label, None);
        (client.unwrap(), server.unwrap())
    };
    let (client_value, server_value) = exporter(b"EXPORTER-test", &connected);
    assert_eq!(client_value, server_value);

    let pin = AuthorityPin::new(own.clone(), b"another key");
    assert_eq!(
        refusal(connect(&joiner(pin), &server)),
        PeerError::NotPinned.to_string()
    );
    let other = TestAuthority::at("other", NOW).trust_domain().clone();
    let pin = AuthorityPin::new(other, &authority.public_key_der);
    assert_eq!(
        refusal(connect(&joiner(pin), &server)),
        "no X.509 bundle for trust domain \"td\""
    );
}

#[test]
fn leaf_that_the_pinned_authority_did_not_sign_is_refused() {
    let setup = Setup::new();
    let shown = setup.server.load();
    let authority = shown.svid().unwrap().chain()[1].clone();
    let pinned = CertificateInfo::parse(&authority).unwrap();
    // Somebody who has seen the certificate of the authority, but not its key.
    let impostor = TestAuthority::at("td", NOW).x509_svid("/spire/server");
    let chain = vec![impostor.chain()[0].clone(), authority];
    let impostor = X509Svid::new(chain, impostor.key().clone()).unwrap();
    setup.server.replace(material(Some(impostor), &[]));
    let server = join_server_config(setup.server.clone(), setup.clock()).unwrap();
    let pin = AuthorityPin::new(
        setup.authority.trust_domain().clone(),
        &pinned.public_key_der,
    );
    let client = join_client_config(pin, setup.clock()).unwrap();
    assert_eq!(
        connect(&Arc::new(client), &Arc::new(server))
            .map(drop)
            .unwrap_err(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
}
