//! Keys planted in every form, and what must not be taken for one.

use base64::{Engine as _, engine::general_purpose};
use identity::hex;
use identity::secret::{KeyType, PrivateKey};

use super::*;

fn scan(folder: &Path, except: &[PathBuf]) -> Found {
    let scan = Scan {
        points: PublicPoints::default(),
        secrets: vec![("the seal key".to_owned(), vec![7; 32])],
        except,
        budget: Duration::from_secs(60),
    };
    scan.run(&[folder.to_owned()]).unwrap()
}

/// The scalar, which is the octet string after its tag and length in PKCS#8.
fn scalar(key: &PrivateKey) -> [u8; 32] {
    let document = key.pkcs8().expose();
    let mark = b"\x02\x01\x01\x04\x20";
    let at = document
        .windows(mark.len())
        .position(|window| window == mark)
        .unwrap();
    *document[at + mark.len()..].first_chunk().unwrap()
}

#[test]
fn a_key_is_found_in_every_form_at_any_place() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let scalar = scalar(&key);
    let forms: [(&str, Vec<u8>); 7] = [
        ("raw", scalar.to_vec()),
        (
            "base64",
            general_purpose::STANDARD.encode(scalar).into_bytes(),
        ),
        (
            "base64url",
            general_purpose::URL_SAFE_NO_PAD.encode(scalar).into_bytes(),
        ),
        (
            "misaligned",
            format!("xy{}", general_purpose::STANDARD_NO_PAD.encode(scalar)).into_bytes(),
        ),
        ("hex", hex::lower(&scalar).into_bytes()),
        ("HEX", hex::lower(&scalar).to_uppercase().into_bytes()),
        (
            "lines",
            general_purpose::STANDARD
                .encode(scalar)
                .replacen('A', "A\n", 1)
                .into_bytes(),
        ),
    ];
    for (name, form) in forms {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("certificate"), key.public_key_der()).unwrap();
        let planted = [b"some log line = ".as_slice(), &form, b" and more\0\0"].concat();
        fs::write(folder.path().join("planted"), planted).unwrap();
        let found = scan(folder.path(), &[]);
        assert_eq!(found.public_keys, 1);
        assert_eq!(found.tried, found.candidates);
        let found: Vec<_> = found.secrets.iter().collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].contains("planted"), "{name}: {found:?}");
    }
}

#[test]
fn a_document_is_found_without_its_public_key() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let pem = identity::pem::encode_private_key(&key);
    for form in [
        key.pkcs8().expose(),
        pem.expose(),
        hex::lower(key.pkcs8().expose()).as_bytes(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("planted"), form).unwrap();
        assert!(!scan(folder.path(), &[]).secrets.is_empty());
    }
}

#[test]
fn a_known_secret_is_found_but_in_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("seal.key");
    fs::write(&own, [7; 32]).unwrap();
    assert!(
        scan(folder.path(), std::slice::from_ref(&own))
            .secrets
            .is_empty()
    );
    fs::write(folder.path().join("copy"), hex::lower(&[7; 32])).unwrap();
    assert_eq!(scan(folder.path(), &[own]).secrets.len(), 1);
}

#[test]
fn public_keys_and_noise_are_no_find() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = crate::random::Random::new(1);
    let noise: Vec<_> = (0..500)
        .flat_map(|_| random.next_u64().to_be_bytes())
        .collect();
    fs::write(folder.path().join("noise"), noise).unwrap();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    fs::write(folder.path().join("certificate"), key.public_key_der()).unwrap();
    let found = scan(folder.path(), &[]);
    assert!(found.secrets.is_empty(), "{:?}", found.secrets);
    assert!(found.candidates > 3_000, "{}", found.candidates);
}
