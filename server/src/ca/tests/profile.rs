//! The profiles of certificates, read by x509-parser and verified by webpki.

use std::time::Duration;

use identity::{
    clock::UnixTime,
    dns_name::DnsName,
    secret::{KeyType, PrivateKey},
    spiffe_id::SpiffeId,
    trust_domain::TrustDomain,
    x509::subject_key_id,
};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use crate::ca::{
    DistinguishedName,
    signer::{
        self, AuthorityRequest, IssuedAuthority, IssuedX509, Issuers, LeafRequest, SignError,
        Signer, X509Issuer,
    },
    validation::{ValidationError, check_leaf},
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

struct Chain {
    root: CertificateDer<'static>,
    signer: Signer,
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn ca_subject() -> DistinguishedName {
    DistinguishedName::new(&["US".to_owned()], &["SPIFFE".to_owned()], "")
}

fn request<'a>(
    key: &'a PrivateKey,
    trust_domain: &'a TrustDomain,
    ttl: Duration,
) -> AuthorityRequest<'a> {
    let subject = ca_subject();
    AuthorityRequest {
        public_key_der: key.public_key_der(),
        subject,
        trust_domain,
        ttl,
    }
}

/// A root of ten days and an intermediate of one that signs with a key of this type.
fn chain(key_type: KeyType) -> Chain {
    let td = trust_domain();
    let root_key = PrivateKey::generate(key_type).unwrap();
    let root = signer::sign_root(&root_key, &request(&root_key, &td, 10 * DAY), NOW).unwrap();
    let root_issuer = X509Issuer::new("r".into(), root.certificate.clone(), root_key).unwrap();
    let key = PrivateKey::generate(key_type).unwrap();
    let IssuedAuthority { certificate, .. } = root_issuer
        .sign_authority(&request(&key, &td, DAY), NOW)
        .unwrap();
    let signer = Signer::default();
    let issuer = X509Issuer::new("i".into(), certificate, key).unwrap();
    signer.replace(Issuers {
        x509: Some(issuer.into()),
        jwt: None,
        peer: None,
    });
    Chain {
        root: root.certificate,
        signer,
    }
}

fn issue(
    chain: &Chain,
    path: &str,
    dns_names: &[DnsName],
    ttl: Duration,
) -> Result<IssuedX509, SignError> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let spiffe_id = SpiffeId::from_parts(&trust_domain(), path).unwrap();
    let mut subject = DistinguishedName::svid_default();
    if let Some(first) = dns_names.first() {
        subject = subject.with_common_name(first.as_str());
    }
    let request = LeafRequest {
        spiffe_id: &spiffe_id,
        public_key_der: key.public_key_der(),
        dns_names,
        subject: &subject,
        ttl,
    };
    chain.signer.sign_leaf(&request, NOW)
}

fn parsed(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    certificate
}

/// `name` or `name!` if critical, in the order of the certificate.
fn extensions(certificate: &X509Certificate<'_>) -> Vec<String> {
    certificate
        .extensions()
        .iter()
        .map(|extension| {
            let name = match extension.parsed_extension() {
                ParsedExtension::KeyUsage(_) => "keyUsage",
                ParsedExtension::ExtendedKeyUsage(_) => "extKeyUsage",
                ParsedExtension::BasicConstraints(_) => "basicConstraints",
                ParsedExtension::SubjectKeyIdentifier(_) => "subjectKeyId",
                ParsedExtension::AuthorityKeyIdentifier(_) => "authorityKeyId",
                ParsedExtension::SubjectAlternativeName(_) => "subjectAltName",
                other => panic!("unexpected extension {other:?}"),
            };
            format!("{name}{}", if extension.critical { "!" } else { "" })
        })
        .collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().unwrap().unwrap();
    let shown = extension.value.general_names.iter().map(|name| match name {
        GeneralName::URI(uri) => format!("uri={uri}"),
        GeneralName::DNSName(dns) => format!("dns={dns}"),
        other => panic!("unexpected name {other:?}"),
    });
    shown.collect()
}

fn key_ids(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let mut ids = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => ids.0 = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                ids.1 = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            _ => {}
        }
    }
    ids
}

#[test]
fn leaf_has_the_profile_of_spire() {
    let chain = chain(KeyType::EcP256);
    let dns = ["a.example.org", "*.b.example.org"].map(|name| DnsName::parse(name).unwrap());
    let issued = issue(&chain, "/web", &dns, HOUR).unwrap();
    let [leaf, intermediate] = issued.chain.as_slice() else {
        panic!("{:?}", issued.chain)
    };
    let (leaf, intermediate) = (parsed(leaf), parsed(intermediate));

    assert_eq!(leaf.version().0, 2);
    assert_eq!(
        leaf.subject().to_string(),
        "C=US, O=SPIRE, CN=a.example.org"
    );
    assert_eq!(leaf.issuer().as_raw(), intermediate.subject().as_raw());
    assert_eq!(
        extensions(&leaf),
        [
            "keyUsage!",
            "extKeyUsage",
            "basicConstraints!",
            "subjectKeyId",
            "authorityKeyId",
            "subjectAltName"
        ]
    );
    assert_eq!(
        names(&leaf),
        [
            "dns=a.example.org",
            "dns=*.b.example.org",
            "uri=spiffe://example.org/web"
        ]
    );
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    // digitalSignature, keyEncipherment, keyAgreement: bits 0, 2 and 4.
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 0b1_0101);
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && purposes.client_auth && purposes.other.is_empty());
    let own_id = subject_key_id(leaf.public_key().raw).unwrap().to_vec();
    assert_eq!(key_ids(&leaf), (Some(own_id), key_ids(&intermediate).0));
    assert_eq!(leaf.validity().not_before.timestamp(), NOW.as_secs() - 10);
    assert_eq!(leaf.validity().not_after.timestamp(), NOW.as_secs() + 3600);
    assert_eq!(issued.not_after, NOW.saturating_add(HOUR));
    assert_eq!(*issued.serial, *leaf.tbs_certificate.serial.to_string());
}

#[test]
fn authorities_have_the_profile_of_spire() {
    let chain = chain(KeyType::EcP256);
    let issued = issue(&chain, "/web", &[], HOUR).unwrap();
    let downstream = chain
        .signer
        .sign_downstream_authority(
            PrivateKey::generate(KeyType::EcP256)
                .unwrap()
                .public_key_der(),
            &trust_domain(),
            2 * DAY,
            NOW,
        )
        .unwrap();
    assert_eq!(downstream[1], issued.chain[1]);
    let (root, intermediate) = (parsed(&chain.root), parsed(&issued.chain[1]));
    let downstream = parsed(&downstream[0]);

    for authority in [&root, &intermediate, &downstream] {
        assert_eq!(names(authority), ["uri=spiffe://example.org"]);
        let constraints = authority.basic_constraints().unwrap().unwrap().value;
        assert_eq!(
            (constraints.ca, constraints.path_len_constraint),
            (true, None)
        );
        // keyCertSign, cRLSign: bits 5 and 6.
        assert_eq!(
            authority.key_usage().unwrap().unwrap().value.flags,
            0b110_0000
        );
    }
    let without_issuer = [
        "keyUsage!",
        "basicConstraints!",
        "subjectKeyId",
        "subjectAltName",
    ];
    assert_eq!(extensions(&root), without_issuer);
    let with_issuer = [
        "keyUsage!",
        "basicConstraints!",
        "subjectKeyId",
        "authorityKeyId",
        "subjectAltName",
    ];
    assert_eq!(extensions(&intermediate), with_issuer);
    assert_eq!(extensions(&downstream), with_issuer);
    let serial = |certificate: &X509Certificate<'_>| certificate.tbs_certificate.serial.to_string();
    assert_eq!(
        intermediate.subject().to_string(),
        format!("C=US, O=SPIFFE, serialNumber={}", serial(&intermediate))
    );
    assert_eq!(
        downstream.subject().to_string(),
        format!(
            "C=US, O=SPIFFE, OU=DOWNSTREAM-1, serialNumber={}",
            serial(&intermediate)
        )
    );
    assert_eq!(key_ids(&downstream).1, key_ids(&intermediate).0);
    // Two days were asked for; the intermediate has one.
    assert_eq!(
        downstream.validity().not_after.timestamp(),
        NOW.as_secs() + 24 * 3600
    );
}

#[test]
fn signatures_of_every_key_type_verify_up_to_the_root() {
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
        let chain = chain(key_type);
        let issued = issue(&chain, "/web", &[], HOUR).unwrap();
        let leaf = webpki::EndEntityCert::try_from(&issued.chain[0]).unwrap();
        let anchor = webpki::anchor_from_trusted_cert(&chain.root).unwrap();
        let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        let anchors = [anchor];
        for usage in [
            webpki::KeyUsage::server_auth(),
            webpki::KeyUsage::client_auth(),
        ] {
            let verified = leaf.verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &issued.chain[1..],
                time,
                usage,
                None,
                None,
            );
            assert!(verified.is_ok(), "{key_type}: {:?}", verified.err());
        }
    }
}

#[test]
fn nothing_outlives_its_issuer_and_nothing_is_signed_outside_its_validity() {
    let chain = chain(KeyType::EcP256);
    let issued = issue(&chain, "/web", &[], 2_000_000_000 * Duration::from_secs(1)).unwrap();
    assert_eq!(issued.not_after, NOW.saturating_add(DAY));

    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let spiffe_id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let request = LeafRequest {
        spiffe_id: &spiffe_id,
        public_key_der: key.public_key_der(),
        dns_names: &[],
        subject: &DistinguishedName::svid_default(),
        ttl: HOUR,
    };
    let refused = chain
        .signer
        .sign_leaf(&request, NOW.saturating_add(DAY + Duration::from_secs(1)));
    assert!(
        matches!(refused, Err(SignError::OutsideValidity { .. })),
        "{refused:?}"
    );
    let refused = Signer::default().sign_leaf(&request, NOW);
    assert!(
        matches!(refused, Err(SignError::NoAuthority("x509"))),
        "{refused:?}"
    );
}

#[test]
fn serial_numbers_are_random() {
    let chain = chain(KeyType::EcP256);
    let serials: Vec<u128> = (0..64)
        .map(|_| {
            issue(&chain, "/web", &[], HOUR)
                .unwrap()
                .serial
                .parse()
                .unwrap()
        })
        .collect();
    // Every bit is seen set and clear: 2^-57 for a false alarm.
    assert_eq!(
        serials.iter().fold(0, |seen, serial| seen | serial),
        u128::MAX
    );
    assert_eq!(
        serials.iter().fold(u128::MAX, |seen, serial| seen & serial),
        0
    );
}

#[test]
fn key_ids_of_jwt_authorities_are_32_letters_and_digits() {
    for _ in 0..32 {
        let id = signer::random_key_id().unwrap();
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
}

#[test]
fn certificates_that_break_the_profile_are_refused() {
    let chain = chain(KeyType::EcP256);
    let issuers = chain.signer.issuers();
    let issuer = issuers.x509.as_ref().unwrap();
    let spiffe_id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let issued = issue(&chain, "/web", &[], HOUR).unwrap();
    let leaf = issued.chain[0].to_vec();
    let check = |der: &[u8], id: &SpiffeId, now: UnixTime| {
        check_leaf(der, id, issuer.validity(), now).map_err(|error| match error {
            ValidationError::Malformed => "malformed",
            ValidationError::Profile(part) => part,
        })
    };
    assert_eq!(check(&leaf, &spiffe_id, NOW), Ok(()));
    let other = SpiffeId::parse("spiffe://example.org/wet").unwrap();
    assert_eq!(
        check(&leaf, &other, NOW),
        Err("unexpected alternative name")
    );
    assert_eq!(
        check(&leaf, &spiffe_id, NOW.saturating_add(2 * HOUR)),
        Err("not valid now")
    );
    let own_id = SpiffeId::of_trust_domain(&trust_domain());
    assert_eq!(check(&issued.chain[1], &own_id, NOW), Err("key usage"));
    // A CA certificate in all but key usage and purposes.
    let broken = |from: &[u8], to: &[u8]| {
        let mut der = leaf.clone();
        let at = der
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        der.splice(at..at + from.len(), to.iter().copied());
        der
    };
    let without_client_auth = broken(&[5, 5, 7, 3, 2], &[5, 5, 7, 3, 9]);
    assert_eq!(
        check(&without_client_auth, &spiffe_id, NOW),
        Err("extended key usage")
    );
    let signs_certificates = broken(&[3, 2, 3, 0b1010_1000], &[3, 2, 3, 0b1010_1100]);
    assert_eq!(
        check(&signs_certificates, &spiffe_id, NOW),
        Err("key usage")
    );
    for len in 0..leaf.len() {
        assert_eq!(
            check(&leaf[..len], &spiffe_id, NOW),
            Err("malformed"),
            "{len} bytes"
        );
    }
}
