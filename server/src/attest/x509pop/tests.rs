//! What `x509pop` believes and what not, and whom it takes a node for.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::clock::UnixTime;
use identity::pem::{MAX_PEM_LEN_BYTES, encode_certificates, encode_private_key};
use identity::possession::ProvingKey;
use identity::secret::{KeyType, PrivateKey};
use proto::attestation::x509pop::NONCE_LEN_BYTES;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    SanType,
};
use tonic::Code;

use super::*;
use crate::attest::Challenges;
use crate::testing::{DAY, NOW, TestStore, trust_domain};

/// An authority of some other PKI.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, PrivateKey>,
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).unwrap()
}

fn date(time: UnixTime) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(time.as_secs()).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(NOW.saturating_sub(DAY));
    params.not_after = date(NOW.saturating_add(DAY));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(vec![0x0a, 0xbc].into());
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Authority {
    fn root(name: &str) -> Self {
        let (key, params) = (new_key(), ca_params(name));
        Self {
            certificate: params.self_signed(&key).unwrap().der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn below(&self, name: &str) -> Self {
        let (key, params) = (new_key(), ca_params(name));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn node(&self, params: &CertificateParams) -> Node {
        self.node_with(params, new_key())
    }

    fn node_with(&self, params: &CertificateParams, key: PrivateKey) -> Node {
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pem = encode_private_key(&key);
        Node {
            key: ProvingKey::from_pem(pem.expose()).unwrap(),
            chain: vec![certificate.der().clone()],
            asked: Vec::new(),
            forges: |answer| answer,
        }
    }
}

/// A node that answers challenges with its key, perhaps not honestly.
struct Node {
    key: ProvingKey,
    chain: Vec<CertificateDer<'static>>,
    asked: Vec<Vec<u8>>,
    forges: fn(Vec<u8>) -> Vec<u8>,
}

impl Challenges for Node {
    fn challenge<'a>(
        &'a mut self,
        challenge: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, AttestorError>> {
        let kind = proof_kind(self.key.public_key_der()).unwrap();
        let parsed = Challenge::parse(&challenge).unwrap();
        let own = [9; NONCE_LEN_BYTES];
        let message = signed_message(parsed.nonce(kind).unwrap(), &own).unwrap();
        let answer = Response::new(own, self.key.prove(&message).unwrap()).to_bytes();
        self.asked.push(challenge);
        let answer = (self.forges)(answer);
        Box::pin(async move { Ok(answer) })
    }
}

struct World {
    test: TestStore,
    folder: tempfile::TempDir,
    settings: Settings,
}

impl World {
    async fn trusting(authorities: &[&Authority]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let world = Self {
            test: TestStore::create().await,
            folder,
            settings: Settings {
                trust: Trust::ExternalPki(vec![path]),
                agent_path_template: None,
                max_intermediates: 4,
                max_rsa_key_size_bits: 8192,
                client_address: ClientAddress::Ignored,
            },
        };
        world.trust(authorities);
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn trust(&self, authorities: &[&Authority]) {
        let pem = encode_certificates(authorities.iter().map(|one| &one.certificate));
        // Renamed into place, as whoever renews such files does.
        std::fs::write(self.folder.path().join("new"), pem).unwrap();
        std::fs::rename(self.folder.path().join("new"), self.path()).unwrap();
    }

    async fn attestor(&self) -> X509Pop {
        let host = AttestorHost {
            trust_domain: trust_domain(),
            store: self.test.store.clone(),
            clock: self.test.clock(),
        };
        X509Pop::open(self.settings.clone(), &host).await.unwrap()
    }

    async fn attest(&self, node: &mut Node) -> Result<NodeAttributes, AttestorError> {
        attest(&self.attestor().await, node).await
    }

    /// The refusal of a node, and how often it was asked for a proof.
    async fn refusal(&self, node: &mut Node) -> (Code, String, usize) {
        let refused = self.attest(node).await.unwrap_err();
        (refused.code, refused.text, node.asked.len())
    }
}

async fn attest(attestor: &X509Pop, node: &mut Node) -> Result<NodeAttributes, AttestorError> {
    let certificates = node.chain.clone();
    show(attestor, &Evidence { certificates }.to_payload(), node).await
}

async fn show(
    attestor: &X509Pop,
    payload: &[u8],
    node: &mut Node,
) -> Result<NodeAttributes, AttestorError> {
    let origin = Origin {
        address: Some([10, 0, 0, 7].into()),
        untrusted_host: None,
    };
    let attempt = Attempt {
        payload,
        origin: &origin,
        challenges: node,
    };
    attestor.attest(attempt).await
}

fn sha1(certificate: &[u8]) -> String {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_named_by_its_certificate_and_all_that_vouch_for_it() {
    let root = Authority::root("root");
    let middle = root.below("middle");
    let world = World::trusting(&[&root]).await;
    let mut odd = params("node-1");
    let uris = [
        "x509pop://example.org/rack/7",
        "x509pop://example.org/zone/a%2Fb/c",
        "x509pop://example.org/alone",
        "x509pop://other.test/rack/8",
    ];
    odd.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
    let mut node = middle.node(&odd);
    node.chain.push(middle.certificate.clone());
    let attributes = world.attest(&mut node).await.unwrap();
    let leaf = sha1(&node.chain[0]);
    assert_eq!(
        attributes.spiffe_id.as_str(),
        format!("spiffe://example.org/spire/agent/x509pop/{leaf}")
    );
    assert!(attributes.can_reattest);
    assert_eq!(
        attributes.selector_values,
        [
            "subject:cn:node-1".to_owned(),
            format!("ca:fingerprint:{}", sha1(&middle.certificate)),
            format!("ca:fingerprint:{}", sha1(&root.certificate)),
            "serialnumber:0abc".to_owned(),
            "san:rack:7".to_owned(),
            "san:zone:a/b/c".to_owned(),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_are_challenged() {
    let root = Authority::root("root");
    let world = World::trusting(&[&root]).await;
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
        let key = PrivateKey::generate(key_type).unwrap();
        let mut node = root.node_with(&params("n"), key);
        world.attest(&mut node).await.unwrap();
        // Each attempt has a challenge of its own.
        world.attest(&mut node).await.unwrap();
        let [first, second] = node.asked.as_slice() else {
            panic!("one challenge each expected");
        };
        assert_ne!(first, second);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_proofs_are_refused() {
    let root = Authority::root("root");
    let world = World::trusting(&[&root]).await;
    let honest = || root.node(&params("n"));
    // The certificate of another.
    let mut thief = honest();
    thief.chain = honest().chain;
    let (code, text, _) = world.refusal(&mut thief).await;
    assert_eq!(code, Code::PermissionDenied);
    let failed = "challenge response verification failed: ";
    assert_eq!(text, format!("{failed}ECDSA signature verify failed"));
    // What an honest node answered to an earlier challenge.
    static RECORDED: parking_lot::Mutex<Vec<u8>> = parking_lot::Mutex::new(Vec::new());
    let mut node = honest();
    node.forges = |answer| {
        RECORDED.lock().clone_from(&answer);
        answer
    };
    world.attest(&mut node).await.unwrap();
    node.forges = |_| RECORDED.lock().clone();
    let (code, text, _) = world.refusal(&mut node).await;
    assert_eq!(code, Code::PermissionDenied);
    assert_eq!(text, format!("{failed}ECDSA signature verify failed"));
    // Answers that are none.
    let rsa: fn(Vec<u8>) -> Vec<u8> = |_| {
        br#"{"rsa_signature":{"nonce":"AAAA","signature":"AAAA"},"ecdsa_signature":null}"#.to_vec()
    };
    let short: fn(Vec<u8>) -> Vec<u8> =
        |_| br#"{"ecdsa_signature":{"nonce":"AAAA","r":"AQ==","s":"AQ=="}}"#.to_vec();
    for (forges, code, expected) in [
        (
            rsa,
            Code::PermissionDenied,
            format!("{failed}expecting ECDSA response"),
        ),
        (
            short,
            Code::PermissionDenied,
            format!("{failed}invalid response nonce"),
        ),
        (
            (|_| b"nope".to_vec()) as fn(Vec<u8>) -> Vec<u8>,
            Code::InvalidArgument,
            "unable to unmarshal challenge response: ".to_owned(),
        ),
        (
            |_| Vec::new(),
            Code::InvalidArgument,
            "unable to unmarshal challenge response: ".to_owned(),
        ),
    ] {
        let mut node = honest();
        node.forges = forges;
        let (given, text, _) = world.refusal(&mut node).await;
        assert_eq!(given, code, "{text}");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_prove_nothing_are_refused_without_a_challenge() {
    let root = Authority::root("root");
    let world = World::trusting(&[&root]).await;
    let refused = async |node: &mut Node| {
        let (code, text, asked) = world.refusal(node).await;
        assert_eq!(asked, 0, "{text}");
        (code, text)
    };
    // Another authority, also one of the same name.
    for stranger in ["stranger", "root"] {
        let mut node = Authority::root(stranger).node(&params("n"));
        let (code, text) = refused(&mut node).await;
        assert_eq!(code, Code::PermissionDenied);
        assert!(
            text.starts_with("certificate verification failed: "),
            "{text}"
        );
    }
    let mut late = params("n");
    late.not_after = date(NOW.saturating_sub(Duration::from_secs(1)));
    let (code, text) = refused(&mut root.node(&late)).await;
    assert_eq!(code, Code::PermissionDenied);
    assert!(text.contains("CertExpired"), "{text}");
    // The intermediate that would lead to the root is not shown.
    let mut orphan = root.below("middle").node(&params("n"));
    let (code, _) = refused(&mut orphan).await;
    assert_eq!(code, Code::PermissionDenied);
    let mut other_use = params("n");
    other_use.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    let (code, text) = refused(&mut root.node(&other_use)).await;
    assert_eq!(code, Code::Internal);
    let expected =
        "unable to generate challenge: certificate not intended for digital signature use";
    assert_eq!(text, expected);
    let mut empty = root.node(&params("n"));
    empty.chain.clear();
    let invalid = |text: &str| (Code::InvalidArgument, text.to_owned());
    assert_eq!(
        refused(&mut empty).await,
        invalid("no certificate to attest")
    );
    let mut long = root.node(&params("n"));
    long.chain = vec![long.chain[0].clone(); 6];
    assert_eq!(
        refused(&mut long).await,
        invalid("too many intermediate certificates")
    );
    let mut garbled = root.node(&params("n"));
    garbled.chain.push(vec![0x30, 0].into());
    let (code, text) = refused(&mut garbled).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        text.starts_with("unable to parse intermediate certificate 0: "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_over_the_limit_are_not_computed_with() {
    let root = Authority::root("root");
    let mut world = World::trusting(&[&root]).await;
    world.settings.max_rsa_key_size_bits = 2047;
    let rsa = || PrivateKey::generate(KeyType::Rsa2048).unwrap();
    let (code, text, asked) = world
        .refusal(&mut root.node_with(&params("n"), rsa()))
        .await;
    assert_eq!((code, asked), (Code::InvalidArgument, 0));
    assert_eq!(text, "leaf certificate key size too large");
    let mut node = root.node(&params("n"));
    node.chain
        .push(root.node_with(&params("m"), rsa()).chain[0].clone());
    let (code, text, asked) = world.refusal(&mut node).await;
    assert_eq!((code, asked), (Code::InvalidArgument, 0));
    assert_eq!(text, "intermediate certificate 0 key size too large");
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_are_no_evidence_are_refused() {
    let root = Authority::root("root");
    let world = World::trusting(&[&root]).await;
    let attestor = world.attestor().await;
    let mut node = root.node(&params("n"));
    for payload in [
        &b"nope"[..],
        b"{}",
        br#"{"certificates":["AAAA"]}"#,
        &[0xff; 100_000],
    ] {
        let refused = show(&attestor, payload, &mut node).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    }
    assert!(node.asked.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_are_read_anew_when_their_file_changes() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let world = World::trusting(&[&old]).await;
    let attestor = world.attestor().await;
    let mut of_old = old.node(&params("n"));
    let mut of_new = new.node(&params("n"));
    attest(&attestor, &mut of_old).await.unwrap();
    attest(&attestor, &mut of_new).await.unwrap_err();
    world.trust(&[&old, &new]);
    attest(&attestor, &mut of_old).await.unwrap();
    attest(&attestor, &mut of_new).await.unwrap();
    world.trust(&[&new]);
    attest(&attestor, &mut of_old).await.unwrap_err();
    attest(&attestor, &mut of_new).await.unwrap();
    // A file that cannot be used changes nothing.
    std::fs::write(world.path(), "not PEM").unwrap();
    attest(&attestor, &mut of_new).await.unwrap();
    std::fs::remove_file(world.path()).unwrap();
    attest(&attestor, &mut of_new).await.unwrap();
    world.trust(&[&old]);
    attest(&attestor, &mut of_new).await.unwrap_err();
}

#[tokio::test]
async fn authorities_in_a_file_that_is_too_long_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, vec![b'\n'; MAX_PEM_LEN_BYTES + 1]).unwrap();
    let paths = std::slice::from_ref(&path);
    let at_start = Authorities::in_files(paths).await.map(drop);
    let validated = read_authorities(&path).map(drop);
    for refused in [at_start, validated] {
        let text = refused.unwrap_err().to_string();
        let end = format!("ca.pem: the file is longer than {MAX_PEM_LEN_BYTES} bytes");
        assert!(text.ends_with(&end), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn address_of_the_caller_has_to_be_in_the_certificate_if_wanted() {
    let root = Authority::root("root");
    let mut world = World::trusting(&[&root]).await;
    world.settings.client_address = ClientAddress::Verified;
    let node = |address: [u8; 4]| {
        let mut params = params("n");
        params.subject_alt_names = vec![SanType::IpAddress(address.into())];
        root.node(&params)
    };
    world.attest(&mut node([10, 0, 0, 7])).await.unwrap();
    let (code, text, asked) = world.refusal(&mut node([10, 0, 0, 8])).await;
    assert_eq!((code, asked), (Code::PermissionDenied, 0));
    assert_eq!(
        text,
        "client IP 10.0.0.7 does not match any certificate IP SAN"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_name_agents() {
    let root = Authority::root("root");
    let mut world = World::trusting(&[&root]).await;
    let mut named = params("Host One");
    named
        .distinguished_name
        .push(DnType::OrganizationName, "Example");
    let uri = "x509pop://example.org/rack/r7".try_into().unwrap();
    named.subject_alt_names = vec![
        SanType::DnsName("one.example".try_into().unwrap()),
        SanType::URI(uri),
    ];
    for (template, expected) in [
        ("/{{ .PluginName }}/{{ .SerialNumberHex }}", "/x509pop/0abc"),
        (
            "/x/{{ .Subject.CommonName | lower | replace \" \" \"-\" }}",
            "/x/host-one",
        ),
        (
            "/{{ index .Subject.Organization 0 }}/{{ first .DNSNames }}",
            "/Example/one.example",
        ),
        (
            "/{{ .URISanSelectors.rack }}/{{ .SerialNumber }}",
            "/r7/2748",
        ),
        (
            "/{{ .TrustDomain }}/{{ with .Issuer }}{{ .CommonName }}{{ end }}",
            "/example.org/root",
        ),
    ] {
        world.settings.agent_path_template = Some(parse_path_template(template).unwrap());
        let attributes = world.attest(&mut root.node(&named)).await.unwrap();
        let expected = format!("spiffe://example.org/spire/agent{expected}");
        assert_eq!(attributes.spiffe_id.as_str(), expected, "{template}");
    }
    for (template, expected) in [
        (
            "/{{ .Subject.CommonName }}",
            "invalid agent path suffix \"/Host One\"",
        ),
        ("/{{ .URISanSelectors.nope }}", "no entry for key \"nope\""),
        (
            "/../{{ .SerialNumberHex }}",
            "invalid agent path suffix \"/../0abc\"",
        ),
        (
            "{{ .SerialNumberHex }}",
            "invalid agent path suffix \"0abc\"",
        ),
        ("/x/", "invalid agent path suffix \"/x/\""),
    ] {
        world.settings.agent_path_template = Some(parse_path_template(template).unwrap());
        let (code, text, _) = world.refusal(&mut root.node(&named)).await;
        assert_eq!(code, Code::Internal);
        assert_eq!(text, format!("failed to make spiffe id: {expected}"));
    }
    let unknown = parse_path_template("/{{ .Nope }}").unwrap_err().to_string();
    assert!(
        unknown.starts_with("no field \"Nope\"; there are DNSNames, "),
        "{unknown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn svids_of_the_own_trust_domain_are_exchanged_below_the_prefix_alone() {
    use crate::ca::{Ca, SvidSubject, X509SvidParams};
    use crate::testing::policy;
    let mut world = World::trusting(&[&Authority::root("root")]).await;
    let (ca, authorities) = Ca::open(world.test.store.clone(), world.test.clock(), policy());
    authorities.settle().await.unwrap();
    world.settings.trust = Trust::Spiffe {
        path_prefix: "/spire-exchange/".to_owned(),
    };
    let node = |path: &str| {
        let key = new_key();
        let id = identity::spiffe_id::SpiffeId::from_parts(&trust_domain(), path).unwrap();
        let issued = ca.sign_x509_svid(&X509SvidParams {
            spiffe_id: &id,
            public_key_der: key.public_key_der(),
            dns_names: &[],
            ttl: None,
            subject: SvidSubject::Workload,
        });
        let pem = encode_private_key(&key);
        Node {
            key: ProvingKey::from_pem(pem.expose()).unwrap(),
            chain: issued.unwrap().chain,
            asked: Vec::new(),
            forges: |answer| answer,
        }
    };
    let attributes = world
        .attest(&mut node("/spire-exchange/rack/1"))
        .await
        .unwrap();
    assert_eq!(
        attributes.spiffe_id.as_str(),
        "spiffe://example.org/spire/agent/x509pop/rack/1"
    );
    let (code, text, _) = world.refusal(&mut node("/other/1")).await;
    assert_eq!(code, Code::PermissionDenied);
    assert_eq!(text, "x509 cert doesnt match SVID prefix");
    // The authority of another PKI is none here.
    let stranger = Authority::root("root");
    let (code, _, _) = world.refusal(&mut stranger.node(&params("n"))).await;
    assert_eq!(code, Code::PermissionDenied);
}
