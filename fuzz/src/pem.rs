//! PEM: bundles, chains and private keys, and the documents within.

use identity::bundle::Bundle;
use identity::pem::{
    decode_certificates, decode_private_key, encode_certificates, encode_private_key,
};
use identity::possession::{ProvingKey, proof_kind};
use identity::secret::{KeyType, PrivateKey};

use crate::input::{Input, plain};
use crate::world::{AUTHORITY, KEY, OWN};

/// A byte that says whether a PKCS#8 document follows or a text.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte() % 2 == 1 {
        return document(input.rest());
    }
    let text = input.rest();
    if let Ok(certificates) = decode_certificates(text) {
        let again = decode_certificates(encode_certificates(&certificates).as_bytes());
        assert_eq!(again.ok().as_ref(), Some(&certificates));
    }
    if let Ok(bundle) = Bundle::from_pem(&OWN, text) {
        let again = Bundle::from_pem(&OWN, bundle.to_pem().as_bytes());
        assert_eq!(again.ok(), Some(bundle));
    }
    if let Ok(key) = decode_private_key(text) {
        let again = decode_private_key(encode_private_key(&key).expose()).expect("it was a key");
        assert_eq!(again.public_key_der(), key.public_key_der());
    }
    if let Ok(key) = ProvingKey::from_pem(text) {
        proof_kind(key.public_key_der()).expect("a key that proves is of a kind");
    }
}

fn document(pkcs8: &[u8]) {
    if let Ok(key) = PrivateKey::from_pkcs8(pkcs8) {
        key.sign(b"message").expect("a key signs");
        key.sign_jws(b"message").expect("a key signs");
        let again = PrivateKey::from_pkcs8(key.pkcs8().expose()).expect("it was a key");
        assert_eq!(again.public_key_der(), key.public_key_der());
    }
    if let Ok(key) = ProvingKey::from_pkcs8(pkcs8) {
        key.prove(b"message").expect("a key proves");
    }
}

/// Certificates and keys, alone and together.
pub fn seeds() -> Vec<Vec<u8>> {
    let bundle = AUTHORITY.bundle().to_pem();
    let mut seeds = vec![plain(&[0], &bundle), plain(&[1], KEY.pkcs8().expose())];
    for kind in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
        let key = PrivateKey::generate(kind).expect("a key is made");
        seeds.push(plain(&[0], encode_private_key(&key).expose()));
        seeds.push(plain(&[1], key.pkcs8().expose()));
    }
    let noisy = format!("# comment\r\n{bundle}\ntrailing\n");
    seeds.push(plain(&[0], noisy));
    seeds
}
