//! What an agent kept before it was started again: its SVID and bundle, and its keys.

use std::path::Path;

use agent::storage::{DataFile, KeyStore};

use crate::input::{Input, plain};
use crate::world::{AUTHORITY, FOLDER, written};

/// A byte that says which file it is.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let is_data = input.byte().is_multiple_of(2);
    let name = if is_data {
        "agent-data.json"
    } else {
        "keys.json"
    };
    written(name, input.rest());
    match is_data {
        true => data_file(FOLDER.path()),
        false => keys(FOLDER.path()),
    }
}

fn data_file(folder: &Path) {
    let Ok(mut file) = DataFile::open(folder) else {
        return;
    };
    let before = file.data().clone();
    let mut svid = before.svid.clone();
    // Written again it says the same but for what was changed.
    svid.reverse();
    file.store_svid(svid.clone(), !before.reattestable)
        .expect("it is written");
    let opened = DataFile::open(folder).expect("what was written can be read");
    assert_eq!(opened.data(), file.data());
    assert_eq!(opened.data().svid, svid);
    assert_eq!(opened.data().bundle, before.bundle);
}

fn keys(folder: &Path) {
    let Ok(mut store) = KeyStore::open(folder) else {
        return;
    };
    let key = store.generate(None).expect("a key is made");
    let opened = KeyStore::open(folder).expect("what was written can be read");
    let found = opened.find(key.public_key_der()).expect("and has the key");
    assert!(found.pkcs8() == key.pkcs8());
}

/// Files as agents write them, ours and SPIRE's.
pub fn seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let svid = AUTHORITY.x509_svid("/spire/agent/a");
    let mut file = DataFile::open(folder.path()).expect("a missing file is an empty one");
    let root = AUTHORITY.bundle().x509_authorities.remove(0).certificate;
    file.store_bundle(vec![root]).expect("it is written");
    file.store_svid(svid.chain().to_vec(), true)
        .expect("it is written");
    let mut keys = KeyStore::open(folder.path()).expect("a missing file is an empty one");
    let first = keys.generate(None).expect("a key is made");
    keys.generate(Some(&first)).expect("a key is made");
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("it was written");
    vec![
        plain(&[0], read("agent-data.json")),
        plain(
            &[0],
            r#"{"svid":null,"bundle":null,"bootstrap_use":1,"connection_attempts":2}"#,
        ),
        plain(&[1], read("keys.json")),
        plain(&[1], r#"{"keys":{}}"#),
    ]
}
