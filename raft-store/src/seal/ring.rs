//! The data keys, unwrapped, and what they seal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use identity::secret::SecretBytes;

use super::{RecordName, SealError, SealProvider, SealProviderError, Witnesses};
use crate::record::{DataKey, Sealed};

/// Unwrapped data keys by id; the highest id seals.
pub(crate) struct KeyRing {
    keys: BTreeMap<u32, UnwrappedKey>,
    /// Secrets sealed with one key at most.
    limit: u64,
}

struct UnwrappedKey {
    cipher: LessSafeKey,
    /// Secrets sealed by this process.
    sealed: AtomicU64,
}

impl KeyRing {
    /// An empty ring whose keys seal at most `limit` secrets each.
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            keys: BTreeMap::new(),
            limit,
        }
    }

    /// Numbers of the keys, lowest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.keys.keys().copied()
    }

    /// Drops the keys whose number is not among `ids`.
    pub(crate) fn retain(&mut self, ids: &[u32]) {
        self.keys.retain(|id, _| ids.contains(id));
    }

    /// Whether the key that seals is nearly used up.
    pub(crate) fn is_worn(&self) -> bool {
        let newest = self.keys.last_key_value();
        newest.is_some_and(|(_, key)| key.sealed.load(Ordering::Relaxed) >= self.limit / 4 * 3)
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.keys.contains_key(&id)
    }

    /// Unwraps a data key into the ring.
    pub(crate) fn add(
        &mut self,
        key: &DataKey,
        provider: &dyn SealProvider,
    ) -> Result<(), SealProviderError> {
        let bytes = provider.unwrap(&context(key.id), &key.wrapped)?;
        let unbound = UnboundKey::new(&AES_256_GCM, bytes.expose())
            .ok()
            .ok_or(SealProviderError::Damaged)?;
        let key_unwrapped = UnwrappedKey {
            cipher: LessSafeKey::new(unbound),
            sealed: AtomicU64::new(0),
        };
        self.keys.insert(key.id, key_unwrapped);
        Ok(())
    }

    pub(crate) fn seal(
        &self,
        name: &RecordName,
        plaintext: &SecretBytes,
    ) -> Result<Sealed, SealError> {
        let (&id, key) = self.keys.last_key_value().ok_or(SealError::NoDataKey)?;
        if key.sealed.fetch_add(1, Ordering::Relaxed) >= self.limit {
            return Err(SealError::UsedUp(id));
        }
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce)
            .ok()
            .ok_or(SealError::Cryptography)?;
        let mut ciphertext = plaintext.expose().to_vec();
        key.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(name, id)),
                &mut ciphertext,
            )
            .ok()
            .ok_or(SealError::Cryptography)?;
        Ok(Sealed {
            key_id: id,
            nonce,
            ciphertext,
        })
    }

    pub(crate) fn unseal(
        &self,
        name: &RecordName,
        sealed: &Sealed,
    ) -> Result<SecretBytes, SealError> {
        let id = sealed.key_id;
        let key = self.keys.get(&id).ok_or(SealError::UnknownDataKey(id))?;
        let mut bytes = zeroize::Zeroizing::new(sealed.ciphertext.clone());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let opened = key
            .cipher
            .open_in_place(nonce, Aad::from(associated(name, id)), &mut bytes);
        match opened {
            Ok(plaintext) => Ok(SecretBytes::new(plaintext.to_vec())),
            Err(_) => Err(SealError::DoesNotOpen(name.as_str().into())),
        }
    }
}

/// A fresh data key, wrapped as those before it.
pub(crate) fn new_data_key(
    id: u32,
    witnesses: &Witnesses,
    provider: &dyn SealProvider,
) -> Result<DataKey, SealProviderError> {
    let mut bytes = vec![0; KEY_LEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .ok()
        .ok_or(SealProviderError::Damaged)?;
    let wrapped = witnesses.wrap(provider, &context(id), &SecretBytes::new(bytes))?;
    Ok(DataKey { id, wrapped })
}

/// What a data key is wrapped for.
pub(super) fn context(id: u32) -> Vec<u8> {
    [b"conclave data key ".as_slice(), &id.to_be_bytes()].concat()
}

fn associated(name: &RecordName, id: u32) -> Vec<u8> {
    [&id.to_be_bytes(), name.as_str().as_bytes()].concat()
}

const KEY_LEN_BYTES: usize = 32;
