//! The seal provider that keeps its key in a file: 32 random bytes, for the owner only.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use identity::secret::SecretBytes;
use zeroize::Zeroizing;

use super::{SealProvider, SealProviderError, Wrapped};

/// Key-encryption key in a file. Nothing is read or written before the store needs it.
#[derive(Clone, Debug)]
pub struct FileSeal {
    path: PathBuf,
}

impl FileSeal {
    /// The key at `path`. The store makes it at its first start; later a missing key is an error.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The key itself, if it is the one that wrapped all of `witnesses`.
    ///
    /// # Errors
    /// The key is missing, unusable, or not the one that wrapped.
    pub(crate) fn export(&self, witnesses: &[Wrapped]) -> Result<SecretBytes, SealProviderError> {
        let kek = self.read()?;
        for Wrapped { context, bytes } in witnesses {
            self.unwrap_with(&kek, context, bytes)?;
        }
        Ok(kek)
    }

    /// Keeps the key of a cluster that this host was admitted to.
    ///
    /// # Errors
    /// Another key is there already, which stays; or the file cannot be written.
    pub fn import(&self, key: &SecretBytes) -> Result<(), SealProviderError> {
        match self.read() {
            Err(SealProviderError::Missing { .. }) => self.write(key).map_err(self.io("write")),
            Err(error) => Err(error),
            Ok(held) if held == *key => Ok(()),
            Ok(_) => Err(SealProviderError::Taken {
                location: self.location(),
            }),
        }
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn io(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> SealProviderError {
        let location = self.location();
        move |source| SealProviderError::Io {
            doing,
            location,
            source,
        }
    }

    fn unusable(&self, problem: &'static str) -> SealProviderError {
        SealProviderError::Unusable {
            location: self.location(),
            problem,
        }
    }

    fn read(&self) -> Result<SecretBytes, SealProviderError> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let location = self.location();
                return Err(SealProviderError::Missing { location });
            }
            Err(error) => return Err(self.io("read")(error)),
        };
        if metadata.mode() & 0o077 != 0 {
            return Err(self.unusable("others may read it; its mode must be 0600"));
        }
        // Reserved in full, so that no copy of the key is left behind by growing.
        let mut key = Vec::with_capacity(KEY_LEN_BYTES + 1);
        let limit = u64::try_from(key.capacity()).unwrap_or(u64::MAX);
        let file = File::open(&self.path).map_err(self.io("read"))?;
        let read = file.take(limit).read_to_end(&mut key);
        let key = SecretBytes::new(key);
        match read.map_err(self.io("read"))? {
            KEY_LEN_BYTES => Ok(key),
            _ => Err(self.unusable("it is not 32 bytes long")),
        }
    }

    fn write(&self, key: &SecretBytes) -> std::io::Result<()> {
        let temporary = self.path.with_extension("new");
        // A file left there would keep its own mode and owner.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(key.expose())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            Some(_) | None => Ok(()),
        }
    }

    fn unwrap_with(
        &self,
        kek: &SecretBytes,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<SecretBytes, SealProviderError> {
        let rest = wrapped.strip_prefix(&[FORMAT]);
        let parts = rest
            .and_then(|rest| rest.split_first_chunk::<CHECK_LEN_BYTES>())
            .and_then(|(check, rest)| Some((check, rest.split_first_chunk::<NONCE_LEN>()?)));
        let (check, (nonce, sealed)) = parts.ok_or(SealProviderError::Damaged)?;
        if *check != check_value(kek) {
            let location = self.location();
            return Err(SealProviderError::Wrong { location });
        }
        let cipher = cipher(kek).ok_or_else(|| self.unusable("the cipher refused it"))?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = cipher.open_in_place(nonce, Aad::from(context), &mut bytes);
        let opened = opened.ok().ok_or(SealProviderError::Damaged)?;
        Ok(SecretBytes::new(opened.to_vec()))
    }
}

impl SealProvider for FileSeal {
    fn create(&self) -> Result<(), SealProviderError> {
        match self.read() {
            Err(SealProviderError::Missing { .. }) => {}
            other => return other.map(|_| ()),
        }
        let mut key = vec![0; KEY_LEN_BYTES];
        aws_lc_rs::rand::fill(&mut key)
            .ok()
            .ok_or_else(|| self.unusable("the random source failed"))?;
        self.write(&SecretBytes::new(key)).map_err(self.io("write"))
    }

    fn wrap(&self, context: &[u8], key: &SecretBytes) -> Result<Vec<u8>, SealProviderError> {
        self.wrap_like(&[], context, key)
    }

    fn wrap_like(
        &self,
        witnesses: &[Wrapped],
        context: &[u8],
        key: &SecretBytes,
    ) -> Result<Vec<u8>, SealProviderError> {
        // Read once: the file may be replaced between a check and its use.
        let kek = self.export(witnesses)?;
        let failed = || self.unusable("encryption failed");
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok().ok_or_else(failed)?;
        let mut sealed = key.expose().to_vec();
        let cipher = cipher(&kek).ok_or_else(failed)?;
        cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut sealed,
            )
            .ok()
            .ok_or_else(failed)?;
        let mut wrapped = vec![FORMAT];
        wrapped.extend_from_slice(&check_value(&kek));
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&sealed);
        Ok(wrapped)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, SealProviderError> {
        self.unwrap_with(&self.read()?, context, wrapped)
    }
}

fn cipher(key: &SecretBytes) -> Option<LessSafeKey> {
    let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).ok()?;
    Some(LessSafeKey::new(unbound))
}

/// Tells a wrong key from a damaged record, and says nothing else about the key.
fn check_value(key: &SecretBytes) -> [u8; CHECK_LEN_BYTES] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let tag = hmac::sign(&key, b"conclave seal key check");
    let mut check = [0; CHECK_LEN_BYTES];
    check.copy_from_slice(&tag.as_ref()[..CHECK_LEN_BYTES]);
    check
}

// Wrapped key: format u8 | check value 8 | nonce 12 | ciphertext 32 | tag 16.
const FORMAT: u8 = 1;
const CHECK_LEN_BYTES: usize = 8;
const KEY_LEN_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn key_is_for_its_owner_only_whatever_was_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        let left = directory.path().join("seal.new");
        fs::write(&left, "left by a crash").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        let seal = FileSeal::at(&path);
        seal.create().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let secret = SecretBytes::new(vec![7; 32]);
        let wrapped = seal.wrap(b"context", &secret).unwrap();
        assert!(seal.unwrap(b"context", &wrapped).unwrap() == secret);
        assert!(matches!(
            seal.unwrap(b"other", &wrapped),
            Err(SealProviderError::Damaged)
        ));
    }

    #[test]
    fn key_that_was_replaced_wraps_nothing_beside_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        let seal = FileSeal::at(&path);
        seal.create().unwrap();
        let secret = SecretBytes::new(vec![7; 32]);
        let witness = || Wrapped {
            context: b"one".to_vec(),
            bytes: seal.wrap(b"one", &secret).unwrap(),
        };
        let own = witness();
        let like = seal
            .wrap_like(std::slice::from_ref(&own), b"two", &secret)
            .unwrap();
        assert!(seal.unwrap(b"two", &like).unwrap() == secret);
        fs::write(&path, [9; KEY_LEN_BYTES]).unwrap();
        let witnesses = [witness(), own];
        let refused = seal.wrap_like(&witnesses, b"two", &secret).unwrap_err();
        assert!(
            matches!(refused, SealProviderError::Wrong { .. }),
            "{refused}"
        );
        let refused = seal.export(&witnesses).err().unwrap();
        assert!(
            matches!(refused, SealProviderError::Wrong { .. }),
            "{refused}"
        );
    }

    #[test]
    fn key_of_another_cluster_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let own = FileSeal::at(&directory.path().join("own.key"));
        own.create().unwrap();
        let joiner = FileSeal::at(&directory.path().join("joiner.key"));
        let key = own.export(&[]).unwrap();
        joiner.import(&key).unwrap();
        joiner.import(&key).unwrap();
        assert!(joiner.export(&[]).unwrap() == key);
        let refused = joiner.import(&SecretBytes::new(vec![1; 32])).unwrap_err();
        assert!(
            matches!(refused, SealProviderError::Taken { .. }),
            "{refused}"
        );
        assert!(joiner.export(&[]).unwrap() == key);
    }

    #[test]
    fn key_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        let seal = FileSeal::at(&path);
        seal.create().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = seal.create().unwrap_err();
        assert!(
            matches!(error, SealProviderError::Unusable { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_file_of_another_length_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        let seal = FileSeal::at(&path);
        seal.create().unwrap();
        // Of the last there is no more on the disk than of the others, and no room in memory.
        for len_bytes in [0, 31, 33, 1 << 40] {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(len_bytes).unwrap();
            let error = seal.export(&[]).err().unwrap().to_string();
            assert!(error.contains("it is not 32 bytes long"), "{error}");
        }
    }
}
