//! The certificates of the domains, by ACME: in memory, and in a folder so that a restart orders none.
//!
//! The folder is laid out as that of SPIRE's provider: `acme_account+key` has the key of the account, and each
//! domain's own file its key, then its chain, in PEM. Keys lie there in the clear, for whoever runs the provider
//! alone to read.

use std::{
    collections::BTreeMap,
    fmt,
    fs::DirBuilder,
    io::{self, Write as _},
    mem,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acme::{
    certificate::Certificate,
    keeper::{Account, KeepError, Keeper},
    proof::{ProofDigest, Proofs},
};
use anyhow::Context as _;
use daemon::{bounded_file, supervisor::chain};
use identity::{
    pem::{decode_certificates, decode_private_key, encode_certificates, encode_private_key},
    secret::{KeyType, PrivateKey, SecretBytes},
};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tempfile::NamedTempFile;
use tracing::{error, warn};

/// What is kept and shown.
pub struct WebCertificates {
    /// `None`: memory is all there is.
    folder: Option<PathBuf>,
    directory_url: Box<str>,
    account: Mutex<Option<Account>>,
    certificates: Mutex<BTreeMap<Box<str>, Certificate>>,
    proofs: Mutex<BTreeMap<Box<str>, ProofDigest>>,
}

impl WebCertificates {
    /// Those in `folder`, which is made unless it is there, from the ACME server with this directory.
    ///
    /// # Errors
    /// The folder cannot be written to. An order whose end could not be kept would be made at every start.
    pub fn open(folder: Option<PathBuf>, directory_url: &str) -> anyhow::Result<Arc<Self>> {
        if let Some(folder) = &folder {
            let path = folder.display();
            DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(folder)
                .with_context(|| format!("cache_dir {path} cannot be made"))?;
            NamedTempFile::new_in(folder)
                .with_context(|| format!("cache_dir {path} cannot be written to"))?;
        }
        Ok(Arc::new(Self {
            folder,
            directory_url: directory_url.into(),
            account: Mutex::default(),
            certificates: Mutex::default(),
            proofs: Mutex::default(),
        }))
    }

    fn read(&self, name: &str) -> Result<Option<SecretBytes>, KeepError> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        match bounded_file::read(&folder.join(name), MAX_FILE_LEN_BYTES) {
            Ok(mut text) => Ok(Some(SecretBytes::new(mem::take(&mut *text)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(KeepError::new("reading a file of cache_dir", error)),
        }
    }

    /// Writes a file that nobody else may read. What was obtained serves from memory if that fails.
    fn write(&self, name: &str, text: &SecretBytes) {
        let Some(folder) = &self.folder else {
            return;
        };
        if let Err(error) = write_file(folder, name, text) {
            let path = folder.join(name).display().to_string();
            error!(%error, path, "what was obtained by ACME is kept in memory alone");
        }
    }

    fn cached(&self, domain: &str) -> Result<Option<Certificate>, KeepError> {
        let Some(text) = self.read(domain)? else {
            return Ok(None);
        };
        match parse(domain, text.expose()) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    domain, "certificate in cache_dir is of no use, another is obtained"
                );
                Ok(None)
            }
        }
    }
}

impl Keeper for WebCertificates {
    async fn account(&self) -> Result<Option<Account>, KeepError> {
        if let Some(account) = &*held(&self.account) {
            return Ok(Some(account.clone()));
        }
        let Some(text) = self.read(ACCOUNT_FILE)? else {
            return Ok(None);
        };
        match decode_private_key(text.expose()) {
            Ok(key) if key.key_type() == KeyType::EcP256 => Ok(Some(Account {
                directory_url: self.directory_url.clone(),
                url: None,
                key,
            })),
            Ok(_) => {
                warn!("account key in cache_dir is not on P-256, another account is made");
                Ok(None)
            }
            Err(error) => {
                let error = chain(&error);
                warn!(
                    error,
                    "account key in cache_dir is of no use, another account is made"
                );
                Ok(None)
            }
        }
    }

    async fn keep_account(&self, account: Account) -> Result<(), KeepError> {
        self.write(ACCOUNT_FILE, &encode_private_key(&account.key));
        *held(&self.account) = Some(account);
        Ok(())
    }

    async fn certificate(&self, domain: &str) -> Result<Option<Certificate>, KeepError> {
        if let Some(certificate) = held(&self.certificates).get(domain) {
            return Ok(Some(certificate.clone()));
        }
        let cached = self.cached(domain)?;
        if let Some(certificate) = &cached {
            held(&self.certificates).insert(domain.into(), certificate.clone());
        }
        Ok(cached)
    }

    async fn keep_certificate(
        &self,
        domain: &str,
        certificate: Certificate,
    ) -> Result<(), KeepError> {
        self.write(domain, &printed(certificate.key(), &certificate));
        held(&self.certificates).insert(domain.into(), certificate);
        Ok(())
    }

    async fn show_proof(&self, domain: &str, proof: ProofDigest) -> Result<(), KeepError> {
        held(&self.proofs).insert(domain.into(), proof);
        Ok(())
    }

    async fn hide_proof(&self, domain: &str) {
        held(&self.proofs).remove(domain);
    }
}

impl Proofs for WebCertificates {
    async fn proof(&self, domain: &str) -> Option<ProofDigest> {
        held(&self.proofs).get(domain).copied()
    }
}

/// Nobody is served who does not say by which domain he comes.
impl ResolvesServerCert for WebCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = held(&self.certificates);
        let certificate = certificates.get(hello.server_name()?)?;
        Some(Arc::clone(certificate.certified()))
    }
}

/// Without what is kept.
impl fmt::Debug for WebCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebCertificates")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn parse(domain: &str, text: &[u8]) -> anyhow::Result<Certificate> {
    let key = decode_private_key(text)?;
    let chain = decode_certificates(text)?;
    Ok(Certificate::new(domain, chain, key)?)
}

fn printed(key: &PrivateKey, certificate: &Certificate) -> SecretBytes {
    let key = encode_private_key(key);
    let chain = encode_certificates(certificate.chain());
    // Reserved in full, so that no copy of a key is left behind by growing.
    let mut text = Vec::with_capacity(key.expose().len() + chain.len());
    text.extend_from_slice(key.expose());
    text.extend_from_slice(chain.as_bytes());
    SecretBytes::new(text)
}

/// Whole or not at all, with mode 0600.
fn write_file(folder: &Path, name: &str, text: &SecretBytes) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.expose())?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))
        .map_err(|error| error.error)?;
    Ok(())
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const ACCOUNT_FILE: &str = "acme_account+key";

const FOLDER_MODE: u32 = 0o700;

const MAX_FILE_LEN_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use identity::pem::encode_pkcs8;
    use rustls_pki_types::CertificateDer;

    use super::*;

    const URL: &str = "https://ca.test/";

    fn certificate(domain: &str) -> Certificate {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let params = rcgen::CertificateParams::new([domain.to_owned()]).unwrap();
        let leaf: CertificateDer<'static> = params.self_signed(&key).unwrap().der().clone();
        Certificate::new(domain, vec![leaf], key).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_nobody_elses_to_read() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let open = || WebCertificates::open(Some(folder.clone()), URL).unwrap();
        let first = open();
        let made = certificate("a.test");
        first
            .keep_certificate("a.test", made.clone())
            .await
            .unwrap();
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let account = Account {
            directory_url: URL.into(),
            url: Some("https://ca.test/1".into()),
            key: key.clone(),
        };
        first.keep_account(account).await.unwrap();
        assert_eq!(mode(&folder), 0o700);
        let mut names = Vec::new();
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap();
            assert_eq!(mode(&file.path()), 0o600, "{file:?}");
            names.push(file.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["a.test", "acme_account+key"]);

        let second = open();
        let kept = second.certificate("a.test").await.unwrap().unwrap();
        assert_eq!(kept.chain(), made.chain());
        assert!(kept.key().pkcs8() == made.key().pkcs8());
        let kept = second.account().await.unwrap().unwrap();
        assert_eq!((&*kept.directory_url, kept.url), (URL, None));
        assert!(kept.key.pkcs8() == key.pkcs8());
        assert!(second.certificate("b.test").await.unwrap().is_none());
    }

    /// SPIRE's writes keys as SEC 1, behind its PEM label.
    #[tokio::test]
    async fn what_spires_provider_kept_is_used_on() {
        fn as_sec1(key: &PrivateKey) -> String {
            // On P-256, what stands in a PKCS#8 document behind 29 bytes that name the curve.
            let inner = SecretBytes::from(&key.pkcs8().expose()[29..]);
            let text = String::from_utf8(encode_pkcs8(&inner).expose().to_vec());
            text.unwrap().replace("PRIVATE KEY", "EC PRIVATE KEY")
        }
        let folder = tempfile::tempdir().unwrap();
        let made = certificate("a.test");
        let text = as_sec1(made.key()) + &encode_certificates(made.chain());
        fs::write(folder.path().join("a.test"), text).unwrap();
        let account = PrivateKey::generate(KeyType::EcP256).unwrap();
        fs::write(folder.path().join("acme_account+key"), as_sec1(&account)).unwrap();
        let kept = WebCertificates::open(Some(folder.path().to_owned()), URL).unwrap();
        let found = kept.certificate("a.test").await.unwrap().unwrap();
        assert!(found.key().pkcs8() == made.key().pkcs8());
        let found = kept.account().await.unwrap().unwrap();
        assert!(found.key.pkcs8() == account.pkcs8());
    }

    #[tokio::test]
    async fn what_is_of_no_use_is_obtained_anew() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
        let path = Some(folder.path().to_owned());
        let kept = WebCertificates::open(path, URL).unwrap();
        let other = certificate("b.test");
        let of_another = printed(other.key(), &other);
        for text in [&b""[..], b"garbage", of_another.expose()] {
            put("a.test", text);
            put("acme_account+key", &text[..text.len().min(9)]);
            assert!(kept.certificate("a.test").await.unwrap().is_none());
            assert!(kept.account().await.unwrap().is_none());
        }
        // What cannot be read is not overwritten, and no order is made for it.
        put("a.test", &[b' '; 300 * 1024]);
        let error = kept.certificate("a.test").await.unwrap_err();
        assert_eq!(
            chain(&error),
            "reading a file of cache_dir failed: the file is longer than 262144 bytes"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = WebCertificates::open(Some(file.join("x")), URL).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.contains("file/x cannot be made: "), "{refused}");
        WebCertificates::open(None, URL).unwrap();
    }
}
