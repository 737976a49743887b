//! The agent's private keys: `keys.json` of SPIRE's key manager `disk`, or memory only.
//!
//! Two slots are used in turn, so that the key of the SVID in use is still there when a renewal
//! with the next key fails half-way.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use identity::secret::{KeyError, KeyType, PrivateKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::file;

/// The agent's keys, on disk or in memory only.
pub struct KeyStore {
    path: Option<PathBuf>,
    keys: BTreeMap<Box<str>, PrivateKey>,
    /// Whether the file lacks a key that is held.
    lags: bool,
}

impl KeyStore {
    /// Keys that end with the process.
    pub fn in_memory() -> Self {
        Self {
            path: None,
            keys: BTreeMap::new(),
            lags: false,
        }
    }

    /// The keys of `keys.json` in `directory`; a missing file is an empty store.
    ///
    /// # Errors
    /// The file cannot be read, or a key in it cannot be used.
    pub fn open(directory: &Path) -> Result<Self, KeyStoreError> {
        let path = directory.join("keys.json");
        let bytes = file::read(&path).map_err(|source| KeyStoreError::Read {
            path: path.clone(),
            source,
        })?;
        let keys = match bytes {
            Some(bytes) => decode(&bytes, &path)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            path: Some(path),
            keys,
            lags: false,
        })
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with this public key (SPKI DER).
    pub fn find(&self, public_key_der: &[u8]) -> Option<PrivateKey> {
        self.keys
            .values()
            .find(|key| key.public_key_der() == public_key_der)
            .cloned()
    }

    /// Makes and stores a key in a slot other than the one of `current`.
    ///
    /// # Errors
    /// The keys held are as before.
    pub fn generate(&mut self, current: Option<&PrivateKey>) -> Result<PrivateKey, KeyStoreError> {
        let key = PrivateKey::generate(KEY_TYPE).map_err(KeyStoreError::Generate)?;
        let slot = self.free_slot(current);
        let before = self.keys.insert(slot.into(), key.clone());
        if let Err(error) = self.save() {
            match before {
                Some(before) => self.keys.insert(slot.into(), before),
                None => self.keys.remove(slot),
            };
            return Err(error);
        }
        self.lags = false;
        Ok(key)
    }

    /// Makes a key as [`KeyStore::generate`] does, which is stored by [`KeyStore::catch_up`] alone.
    ///
    /// # Errors
    /// No key could be made.
    pub fn generate_in_memory(
        &mut self,
        current: Option<&PrivateKey>,
    ) -> Result<PrivateKey, KeyStoreError> {
        let key = PrivateKey::generate(KEY_TYPE).map_err(KeyStoreError::Generate)?;
        self.keys
            .insert(self.free_slot(current).into(), key.clone());
        self.lags = self.path.is_some();
        Ok(key)
    }

    /// Stores the keys that the file lacks; says whether there were any.
    ///
    /// # Errors
    /// The file is as before.
    pub fn catch_up(&mut self) -> Result<bool, KeyStoreError> {
        if !self.lags {
            return Ok(false);
        }
        self.save()?;
        self.lags = false;
        Ok(true)
    }

    fn free_slot(&self, current: Option<&PrivateKey>) -> &'static str {
        let in_use = current.is_some_and(|current| {
            self.keys
                .get(SLOTS[0])
                .is_some_and(|key| key.public_key_der() == current.public_key_der())
        });
        if in_use { SLOTS[1] } else { SLOTS[0] }
    }

    fn save(&self) -> Result<(), KeyStoreError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut stored = StoredKeys {
            keys: self
                .keys
                .iter()
                .map(|(slot, key)| (slot.clone(), BASE64_STANDARD.encode(key.pkcs8().expose())))
                .collect(),
        };
        let bytes = serde_json::to_vec(&stored).map(Zeroizing::new);
        stored.keys.values_mut().for_each(Zeroize::zeroize);
        let bytes = bytes.map_err(KeyStoreError::Encode)?;
        file::replace(path, &bytes).map_err(|source| KeyStoreError::Write {
            path: path.clone(),
            source,
        })
    }
}

/// Why keys cannot be read, made or stored.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The file exists and cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be replaced.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not the JSON of a key store.
    #[error("{0} is not a key store")]
    Json(PathBuf),
    /// The keys have no JSON form.
    #[error("keys cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// A key in the file cannot be used.
    #[error("{path} has an unusable key {slot:?}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The key's name in it.
        slot: Box<str>,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// No key could be made.
    #[error("cannot generate a key")]
    Generate(#[source] KeyError),
}

const KEY_TYPE: KeyType = KeyType::EcP256;

const SLOTS: [&str; 2] = ["agent-svid-A", "agent-svid-B"];

#[derive(Deserialize, Serialize)]
struct StoredKeys {
    keys: BTreeMap<Box<str>, String>,
}

fn decode(bytes: &[u8], path: &Path) -> Result<BTreeMap<Box<str>, PrivateKey>, KeyStoreError> {
    // The parser's own error is left out: it may quote a piece of the file.
    let Ok(stored) = serde_json::from_slice::<StoredKeys>(bytes) else {
        return Err(KeyStoreError::Json(path.to_path_buf()));
    };
    stored
        .keys
        .into_iter()
        .map(|(slot, encoded)| {
            let encoded = Zeroizing::new(encoded);
            let Ok(pkcs8) = BASE64_STANDARD
                .decode(encoded.as_bytes())
                .map(Zeroizing::new)
            else {
                return Err(KeyStoreError::Json(path.to_path_buf()));
            };
            let key = PrivateKey::from_pkcs8(&pkcs8).map_err(|source| KeyStoreError::Key {
                path: path.to_path_buf(),
                slot: slot.clone(),
                source,
            })?;
            Ok((slot, key))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_key_comes_back_and_keeps_the_one_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = KeyStore::open(directory.path()).unwrap();
        assert!(store.is_empty());
        let first = store.generate(None).unwrap();
        let second = store.generate(Some(&first)).unwrap();

        let mut store = KeyStore::open(directory.path()).unwrap();
        assert!(store.find(first.public_key_der()).is_some());
        assert!(store.find(second.public_key_der()).is_some());

        let third = store.generate(Some(&second)).unwrap();
        assert!(store.find(first.public_key_der()).is_none());
        assert!(store.find(second.public_key_der()).is_some());
        assert!(store.find(third.public_key_der()).is_some());
    }

    #[test]
    fn key_that_the_disk_does_not_take_is_stored_when_it_does() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = KeyStore::open(directory.path()).unwrap();
        let first = store.generate(None).unwrap();
        let blocker = directory.path().join("keys.json.tmp");
        std::fs::create_dir(&blocker).unwrap();
        assert!(store.generate(Some(&first)).is_err());
        assert!(!store.catch_up().unwrap());
        let second = store.generate_in_memory(Some(&first)).unwrap();
        store.catch_up().unwrap_err();
        assert!(store.find(second.public_key_der()).is_some());
        let reopened = KeyStore::open(directory.path()).unwrap();
        assert!(reopened.find(first.public_key_der()).is_some());
        assert!(reopened.find(second.public_key_der()).is_none());

        std::fs::remove_dir(&blocker).unwrap();
        assert!(store.catch_up().unwrap());
        assert!(!store.catch_up().unwrap());
        let reopened = KeyStore::open(directory.path()).unwrap();
        assert!(reopened.find(first.public_key_der()).is_some());
        assert!(reopened.find(second.public_key_der()).is_some());
    }

    #[test]
    fn file_has_the_slots_of_spire() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = KeyStore::open(directory.path()).unwrap();
        let key = store.generate(None).unwrap();
        let bytes = std::fs::read(directory.path().join("keys.json")).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let encoded = value["keys"]["agent-svid-A"].as_str().unwrap();
        assert_eq!(
            BASE64_STANDARD.decode(encoded).unwrap(),
            key.pkcs8().expose()
        );
    }

    #[test]
    fn damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        std::fs::write(&path, r#"{"keys":{"agent-svid-A":"AAAA"}}"#).unwrap();
        assert!(matches!(
            KeyStore::open(directory.path()),
            Err(KeyStoreError::Key { .. })
        ));
        std::fs::write(&path, "not json").unwrap();
        assert!(matches!(
            KeyStore::open(directory.path()),
            Err(KeyStoreError::Json(_))
        ));
    }
}
