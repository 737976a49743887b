//! Proofs of every kind of key, in every form that its file may have.

use aws_lc_rs::encoding::{EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const MESSAGE: &[u8] = b"a nonce of each side";

fn text(label: &str, der: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).unwrap()
}

fn rsa() -> (RsaKeyPair, Vec<u8>) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pkcs8 = pkcs8.as_ref().to_vec();
    (pair, pkcs8)
}

/// The key as PKCS#8 and in the form of its own kind.
fn texts() -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for algorithm in [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA256_ASN1_SIGNING,
    ] {
        let pair = ecdsa(algorithm);
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        texts.push(text("PRIVATE KEY", pkcs8.as_ref()));
        let sec1: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
        texts.push(text("EC PRIVATE KEY", sec1.as_ref()));
    }
    let (_, pkcs8) = rsa();
    texts.push(text("PRIVATE KEY", &pkcs8));
    // A version and an algorithm stand before the key.
    let (content, _) = der::expect(der::SEQUENCE, &pkcs8).unwrap();
    let (_, rest) = der::expect(der::INTEGER, content).unwrap();
    let (_, rest) = der::expect(der::SEQUENCE, rest).unwrap();
    let (pkcs1, _) = der::expect(0x04, rest).unwrap();
    texts.push(text("RSA PRIVATE KEY", pkcs1));
    texts
}

#[test]
fn a_key_of_every_kind_and_form_proves_its_possession() {
    for text in texts() {
        let key = ProvingKey::from_pem(&text).unwrap();
        let proof = key.prove(MESSAGE).unwrap();
        let verdict = verify_proof(key.public_key_der(), MESSAGE, &proof);
        assert!(matches!(verdict, Ok(())), "{verdict:?}");
        let another = verify_proof(key.public_key_der(), b"another message", &proof);
        assert!(matches!(another, Err(PossessionError::Signature)));
    }
}

#[test]
fn the_proof_of_another_key_is_refused() {
    let keys: Vec<_> = texts()
        .iter()
        .map(|text| ProvingKey::from_pem(text).unwrap())
        .collect();
    for (at, key) in keys.iter().enumerate() {
        for (other_at, other) in keys.iter().enumerate() {
            // Two forms of one EC key stand side by side, the RSA keys last.
            let is_same = key.public_key_der() == other.public_key_der();
            let proof = other.prove(MESSAGE).unwrap();
            let verdict = verify_proof(key.public_key_der(), MESSAGE, &proof);
            assert_eq!(verdict.is_ok(), is_same, "{at} {other_at}");
        }
    }
}

#[test]
fn salt_of_the_longest_and_of_the_advised_length_are_taken() {
    static MAX: aws_lc_rs::signature::RsaSignatureEncoding =
        RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
    static SHORT: aws_lc_rs::signature::RsaSignatureEncoding =
        RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(20));
    let (pair, pkcs8) = rsa();
    let key = ProvingKey::from_pem(&text("PRIVATE KEY", &pkcs8)).unwrap();
    let sign = |encoding| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature)
            .unwrap();
        verify_proof(key.public_key_der(), MESSAGE, &Proof::Rsa { signature })
    };
    assert!(sign(&MAX).is_ok());
    assert!(sign(&RSA_PSS_SHA256).is_ok());
    assert!(matches!(sign(&SHORT), Err(PossessionError::Signature)));
    // The same key with the padding of certificates.
    let pkcs1 = sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256);
    assert!(matches!(pkcs1, Err(PossessionError::Signature)));
}

#[test]
fn integers_are_taken_with_and_without_leading_zeros() {
    let key = ProvingKey::from_pem(&texts()[0]).unwrap();
    let mut short = None;
    // One in 128 has a short integer, so that one in 10^17 runs finds none.
    for number in 0_u32..5000 {
        let message = number.to_be_bytes();
        let Proof::Ecdsa { r, s } = key.prove(&message).unwrap() else {
            panic!("a P-256 key signs with ECDSA");
        };
        assert!(r.first() != Some(&0) && s.first() != Some(&0));
        let is_short = r.len() < 32 || s.len() < 32;
        let padded = Proof::Ecdsa {
            r: [&[0, 0], &r[..]].concat(),
            s,
        };
        verify_proof(key.public_key_der(), &message, &padded).unwrap();
        short = is_short.then_some(number);
        if short.is_some() {
            break;
        }
    }
    assert!(short.is_some());
}

#[test]
fn proofs_that_cannot_be_signatures_are_refused() {
    let key = ProvingKey::from_pem(&texts()[0]).unwrap();
    let Proof::Ecdsa { r, s } = key.prove(MESSAGE).unwrap() else {
        panic!("a P-256 key signs with ECDSA");
    };
    let spki = key.public_key_der();
    let refused = |r: &[u8], s: &[u8]| {
        let proof = Proof::Ecdsa {
            r: r.to_vec(),
            s: s.to_vec(),
        };
        matches!(
            verify_proof(spki, MESSAGE, &proof),
            Err(PossessionError::Signature)
        )
    };
    assert!(refused(&[], &[]) && refused(&r, &[]) && refused(&[], &s));
    assert!(refused(&s, &r) && refused(&[1], &[1]));
    assert!(refused(&vec![0xff; 100_000], &s));
    for bit in 0..r.len() * 8 {
        let mut flipped = r.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&flipped, &s), "bit {bit}");
    }
    let signature = vec![1; 256];
    assert!(matches!(
        verify_proof(spki, MESSAGE, &Proof::Rsa { signature }),
        Err(PossessionError::OtherKind)
    ));
}

#[test]
fn kinds_of_keys_are_told_apart() {
    let kinds: Vec<_> = texts()
        .iter()
        .map(|text| proof_kind(ProvingKey::from_pem(text).unwrap().public_key_der()).unwrap())
        .collect();
    assert_eq!(kinds[..6], [ProofKind::Ecdsa; 6]);
    assert_eq!(kinds[6..], [ProofKind::Rsa { bits: 2048 }; 2]);
    let ed25519 = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let spki: PublicKeyX509Der<'_> = ed25519.public_key().as_der().unwrap();
    let kind = proof_kind(spki.as_ref());
    assert!(matches!(kind, Err(PossessionError::Unsupported)));
    assert!(matches!(
        proof_kind(b"no"),
        Err(PossessionError::PublicKey(_))
    ));
}

#[test]
fn texts_without_a_usable_key_are_refused() {
    let read = |text: &[u8]| ProvingKey::from_pem(text).unwrap_err();
    assert!(matches!(read(b""), PossessionError::Pem(_)));
    let encrypted = text("ENCRYPTED PRIVATE KEY", &[0x30, 0]);
    assert!(matches!(read(&encrypted), PossessionError::Pem(_)));
    let broken = text("PRIVATE KEY", &[0x30, 0]);
    assert!(matches!(read(&broken), PossessionError::Rejected(_)));
    let long = vec![b'\n'; MAX_PEM_LEN_BYTES + 1];
    assert!(matches!(read(&long), PossessionError::TooLong));
}
