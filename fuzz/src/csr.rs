//! Signing requests (PKCS#10).

use identity::dns_name::DnsName;
use identity::secret::{KeyType, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::x509::{Csr, DistinguishedName, PublicKey, generate_csr, subject_key_id};

/// One request in DER.
pub fn run(data: &[u8]) {
    let Ok(csr) = Csr::parse(data) else {
        return;
    };
    for uri in csr.uri_sans() {
        SpiffeId::parse(uri).ok();
    }
    for name in csr.dns_names() {
        DnsName::parse(name).ok();
    }
    DistinguishedName::parse(csr.subject_der()).ok();
    if csr.verify_signature().is_ok() {
        // Whoever is to sign for this key need not look whether it is one.
        let key = PublicKey::parse(csr.spki_der()).expect("a key that verifies is a key");
        assert!(key.is_supported());
        subject_key_id(csr.spki_der()).expect("a key that verifies has a name");
    }
    assert!(!format!("{csr:?}").is_empty());
}

/// A request of each kind of key, with and without names.
pub fn seeds() -> Vec<Vec<u8>> {
    let id = SpiffeId::parse("spiffe://example.org/w").expect("it is an id");
    let names = ["a.example.org", "bad name"].map(|name| DnsName::parse(name).expect("a name"));
    let mut seeds = Vec::new();
    for kind in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
        let key = PrivateKey::generate(kind).expect("a key is made");
        let full = generate_csr(&key, Some(&id), &names);
        let bare = generate_csr(&key, None, &[]);
        seeds.extend([full, bare].map(|csr| csr.expect("a request is made")));
    }
    seeds
}
