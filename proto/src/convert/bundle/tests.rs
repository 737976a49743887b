//! Refusals with the texts that clients know, taint, and masks.

use identity::secret::{KeyType, PrivateKey};

use super::*;

fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).unwrap()
}

fn certificate() -> Vec<u8> {
    let params = rcgen::CertificateParams::default();
    params.self_signed(&key()).unwrap().der().to_vec()
}

fn jwt_key(key_id: &str) -> types::JwtKey {
    types::JwtKey {
        public_key: key().public_key_der().to_vec(),
        key_id: key_id.to_owned(),
        expires_at: 4_102_444_800,
        tainted: true,
    }
}

fn wire() -> types::Bundle {
    types::Bundle {
        trust_domain: "fed.test".to_owned(),
        x509_authorities: vec![types::X509Certificate {
            asn1: certificate(),
            tainted: true,
        }],
        jwt_authorities: vec![jwt_key("fk")],
        refresh_hint: 300,
        sequence_number: 42,
        wit_authorities: vec![types::WitKey::default()],
    }
}

fn refused(wire: &types::Bundle, expected: &str) {
    assert_eq!(new(wire).unwrap_err().to_string(), expected);
}

#[test]
fn marks_of_taint_are_kept_from_a_server_and_dropped_from_an_administrator() {
    let expected = types::Bundle {
        wit_authorities: vec![],
        ..wire()
    };
    let wire = types::Bundle {
        x509_authorities: expected.x509_authorities.clone(),
        jwt_authorities: expected.jwt_authorities.clone(),
        ..wire()
    };
    assert_eq!(to_wire(&received(&wire).unwrap(), None), expected);

    let bundle = new(&wire).unwrap();
    assert!(bundle.x509_authorities.iter().all(|one| !one.tainted));
    assert!(bundle.jwt_authorities.iter().all(|one| !one.tainted));
    assert_eq!((bundle.refresh_hint_s, bundle.sequence), (300, 42));
}

#[test]
fn broken_trust_domain_is_named() {
    refused(
        &types::Bundle::default(),
        "trust domain argument is not valid: trust domain is missing",
    );
    refused(
        &types::Bundle {
            trust_domain: "BAD DOMAIN".to_owned(),
            ..types::Bundle::default()
        },
        "trust domain argument is not valid: trust domain characters are limited to lowercase \
         letters, numbers, dots, dashes, and underscores",
    );
}

#[test]
fn malformed_authorities_are_named() {
    let no = types::X509Certificate {
        asn1: b"no".to_vec(),
        tainted: false,
    };
    refused(
        &types::Bundle {
            x509_authorities: vec![no.clone()],
            ..wire()
        },
        "failed to convert bundle: unable to parse X.509 authority: x509: malformed certificate",
    );
    assert_eq!(
        x509_authorities(&[no]).unwrap_err().to_string(),
        "failed to convert X.509 authority: x509: malformed certificate"
    );
    assert_eq!(
        jwt_authorities(&[jwt_key("")]).unwrap_err().to_string(),
        "failed to convert JWT authority: missing key ID"
    );
    let no = types::JwtKey {
        public_key: b"no".to_vec(),
        ..jwt_key("k")
    };
    assert_eq!(
        jwt_authorities(&[no]).unwrap_err().to_string(),
        "failed to convert JWT authority: malformed or unsupported public key"
    );
    let long = jwt_key(&"k".repeat(256));
    assert_eq!(
        jwt_authorities(&[long]).unwrap_err().to_string(),
        "failed to convert JWT authority: key ID is longer than 255 bytes"
    );
}

#[test]
fn several_certificates_in_one_authority_are_several_authorities() {
    let (one, two) = (certificate(), certificate());
    let joined = types::X509Certificate {
        asn1: [one.as_slice(), &two].concat(),
        tainted: false,
    };
    let authorities = x509_authorities(&[joined]).unwrap();
    let found: Vec<_> = authorities
        .iter()
        .map(|authority| authority.certificate.to_vec())
        .collect();
    assert_eq!(found, [one, two]);
}

#[test]
fn update_changes_only_what_its_mask_chooses() {
    let mask = types::BundleMask {
        refresh_hint: true,
        ..types::BundleMask::default()
    };
    let changed = update(&wire(), Some(&mask)).unwrap();
    assert_eq!(
        changed,
        BundleUpdate {
            trust_domain: TrustDomain::parse("fed.test").unwrap(),
            x509_authorities: None,
            jwt_authorities: None,
            refresh_hint_s: Some(300),
            sequence: None,
        }
    );
}

#[test]
fn output_mask_leaves_the_trust_domain_and_what_it_chooses() {
    let bundle = new(&wire()).unwrap();
    let mask = types::BundleMask {
        sequence_number: true,
        ..types::BundleMask::default()
    };
    let expected = types::Bundle {
        trust_domain: "fed.test".to_owned(),
        sequence_number: 42,
        ..types::Bundle::default()
    };
    assert_eq!(to_wire(&bundle, Some(&mask)), expected);
}
