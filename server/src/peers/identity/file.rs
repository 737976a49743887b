//! `peer.sealed`: what a member shows to its peers, kept so that it can connect before it has a
//! state.
//!
//! The file is encrypted under a key of its own that the seal provider wraps; it is replaced as a
//! whole, so a crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use daemon::bounded_file;
use identity::bundle::{Bundle, X509Authority};
use identity::secret::{KeyError, PrivateKey, SecretBytes};
use identity::tls::{TlsError, TlsMaterial};
use identity::x509::X509Error;
use identity::x509_svid::{SvidError, X509Svid};
use prost::Message as _;
use proto::conclave::cluster::v1 as wire;
use raft_store::{SealProvider, SealProviderError};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::peers::envelope::{self, Ciphertext, EnvelopeError};
use crate::peers::name;

/// Who this member is, and whom it believes.
#[derive(Clone, Debug)]
pub(crate) struct PeerIdentity {
    pub(crate) cluster_id: [u8; 16],
    pub(crate) member_id: u64,
    /// Certificate and key; the authority stands behind the leaf, for joiners to see.
    pub(crate) svid: X509Svid,
    /// Certificates of the authorities that sign members' certificates.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// Whether the store of this member was opened before.
    pub(crate) has_started: bool,
}

impl PeerIdentity {
    /// What handshakes with peers use.
    pub(crate) fn material(&self) -> Result<TlsMaterial, IdentityFileError> {
        let authorities = self.authorities.iter().cloned().map(X509Authority::new);
        let bundle = Bundle {
            x509_authorities: authorities
                .collect::<Result<_, _>>()
                .map_err(IdentityFileError::Authority)?,
            ..Bundle::empty(name::trust_domain(&self.cluster_id))
        };
        TlsMaterial::new(Some(self.svid.clone()), [bundle.into()]).map_err(IdentityFileError::Tls)
    }

    fn to_secret(&self) -> SecretBytes {
        let chain = self.svid.chain().iter();
        let message = RedactedOnDrop(wire::PeerIdentity {
            cluster_id: self.cluster_id.to_vec(),
            member_id: self.member_id,
            private_key: self.svid.key().pkcs8().expose().to_vec(),
            certificate_chain: chain.map(|certificate| certificate.to_vec()).collect(),
            peer_authorities: self.authorities.iter().map(|der| der.to_vec()).collect(),
            has_started: self.has_started,
        });
        SecretBytes::new(message.0.encode_to_vec())
    }

    fn from_secret(secret: &SecretBytes) -> Result<Self, IdentityFileError> {
        let message = wire::PeerIdentity::decode(secret.expose());
        let mut message = RedactedOnDrop(message.map_err(|_field| IdentityFileError::Damaged)?);
        let message = &mut message.0;
        let cluster_id = std::mem::take(&mut message.cluster_id).try_into();
        let certificates = |list: &mut Vec<Vec<u8>>| {
            let list = std::mem::take(list).into_iter();
            list.map(CertificateDer::from).collect::<Vec<_>>()
        };
        let key = PrivateKey::from_pkcs8(&message.private_key).map_err(IdentityFileError::Key)?;
        let chain = certificates(&mut message.certificate_chain);
        Ok(Self {
            cluster_id: cluster_id.map_err(|_bytes| IdentityFileError::Damaged)?,
            member_id: message.member_id,
            svid: X509Svid::new(chain, key).map_err(IdentityFileError::Svid)?,
            authorities: certificates(&mut message.peer_authorities),
            has_started: message.has_started,
        })
    }
}

/// Whether the content of `peer.sealed`, once it is open, is an identity that handshakes can use.
#[cfg(feature = "fuzzing")]
pub fn reads_as_identity(secret: &[u8]) -> bool {
    let identity = PeerIdentity::from_secret(&SecretBytes::from(secret));
    identity.is_ok_and(|identity| identity.material().is_ok())
}

/// Wipes the key when the message goes.
struct RedactedOnDrop(wire::PeerIdentity);

impl Drop for RedactedOnDrop {
    fn drop(&mut self) {
        drop(Zeroizing::new(std::mem::take(&mut self.0.private_key)));
    }
}

/// The file of one member.
#[derive(Debug)]
pub(crate) struct IdentityFile {
    path: PathBuf,
    seal: Box<dyn SealProvider>,
}

impl IdentityFile {
    /// The file in `data_dir`, sealed with `seal`. Nothing is read or written yet.
    pub(crate) fn new(data_dir: &Path, seal: Box<dyn SealProvider>) -> Self {
        Self {
            path: data_dir.join(FILE_NAME),
            seal,
        }
    }

    /// What the file holds; `None` if there is none.
    pub(crate) fn read(&self) -> Result<Option<PeerIdentity>, IdentityFileError> {
        let bytes = match bounded_file::read(&self.path, MAX_LEN_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        };
        let sealed =
            wire::SealedFile::decode(&bytes[..]).map_err(|_field| IdentityFileError::Damaged)?;
        let nonce = sealed.nonce.try_into();
        let ciphertext = Ciphertext {
            nonce: nonce.map_err(|_bytes| IdentityFileError::Damaged)?,
            bytes: sealed.ciphertext,
        };
        let key = self.seal.unwrap(CONTEXT, &sealed.wrapped_key)?;
        let secret = envelope::open(&key, CONTEXT, &ciphertext)?;
        PeerIdentity::from_secret(&secret).map(Some)
    }

    /// Replaces the file. When this returns, it is on disk.
    pub(crate) fn write(&self, identity: &PeerIdentity) -> Result<(), IdentityFileError> {
        let key = envelope::new_key()?;
        let ciphertext = envelope::seal(&key, CONTEXT, &identity.to_secret())?;
        let file = wire::SealedFile {
            wrapped_key: self.seal.wrap(CONTEXT, &key)?,
            nonce: ciphertext.nonce.to_vec(),
            ciphertext: ciphertext.bytes,
        };
        self.replace(&file.encode_to_vec())
            .map_err(|error| self.io("write", error))
    }

    /// Forgets the identity, if there is one.
    pub(crate) fn remove(&self) -> Result<(), IdentityFileError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io("remove", error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        // A file left there would keep its own mode and owner.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    fn io(&self, doing: &'static str, source: io::Error) -> IdentityFileError {
        IdentityFileError::Io {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}

/// Why the identity of a member cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// The file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The seal key is missing, wrong or unusable.
    #[error("the member's peer identity cannot be unsealed")]
    Seal(#[from] SealProviderError),
    /// The content does not open, or the library failed.
    #[error("the member's peer identity cannot be decrypted")]
    Envelope(#[from] EnvelopeError),
    /// The content is malformed.
    #[error("{FILE_NAME} is damaged; remove it: a member that has its store makes a new one")]
    Damaged,
    /// The private key cannot be read.
    #[error("the key of the member's peer identity cannot be read")]
    Key(#[source] KeyError),
    /// Certificate and key are no identity.
    #[error("the member's peer certificate cannot be used")]
    Svid(#[source] SvidError),
    /// The certificate of an authority cannot be read.
    #[error("the certificate of a peer authority cannot be read")]
    Authority(#[source] X509Error),
    /// The identity cannot be used in handshakes.
    #[error("the member's peer identity cannot be used for TLS")]
    Tls(#[source] TlsError),
}

const FILE_NAME: &str = "peer.sealed";
/// A key, its certificate, and the authorities of the cluster.
const MAX_LEN_BYTES: usize = 1 << 20;
const CONTEXT: &[u8] = b"conclave peer identity";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use identity::testing::TestAuthority;
    use raft_store::FileSeal;

    use super::*;

    fn identity() -> PeerIdentity {
        let cluster_id = [5; 16];
        let authority = TestAuthority::new(name::trust_domain(&cluster_id).as_str());
        let roots = authority.bundle().x509_authorities;
        PeerIdentity {
            cluster_id,
            member_id: 9,
            svid: authority.x509_svid("/member/9"),
            authorities: roots.into_iter().map(|root| root.certificate).collect(),
            has_started: true,
        }
    }

    fn file(folder: &Path) -> IdentityFile {
        let seal = FileSeal::at(&folder.join("seal.key"));
        IdentityFile::new(folder, Box::new(seal))
    }

    #[test]
    fn identity_is_kept_for_its_owner_only_and_in_no_plain_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        file.seal.create().unwrap();
        assert!(file.read().unwrap().is_none());
        let identity = identity();
        file.write(&identity).unwrap();
        file.write(&identity).unwrap();
        let read = file.read().unwrap().unwrap();
        assert_eq!(read.member_id, 9);
        assert_eq!(read.svid.chain(), identity.svid.chain());
        assert_eq!(read.authorities, identity.authorities);
        assert!(read.has_started);
        let path = folder.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        let key = identity.svid.key().pkcs8().expose();
        // The private scalar stands early in the document.
        let shown = bytes
            .windows(16)
            .any(|window| key.windows(16).any(|k| k == window));
        assert!(!shown);
    }

    #[test]
    fn longer_file_than_any_identity_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(FILE_NAME)).unwrap();
        let error = anyhow::Error::from(file(folder.path()).read().unwrap_err());
        let path = folder.path().join(FILE_NAME).display().to_string();
        let expected = format!("cannot read {path}: the file is longer than 1048576 bytes");
        assert_eq!(format!("{error:#}"), expected);
    }

    #[test]
    fn damaged_files_and_other_seal_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        file.seal.create().unwrap();
        file.write(&identity()).unwrap();
        let path = folder.path().join(FILE_NAME);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            fs::write(&path, &damaged).unwrap();
            assert!(file.read().is_err(), "{at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(file.read().is_err(), "{at}");
        }
        fs::write(&path, &bytes).unwrap();
        fs::remove_file(folder.path().join("seal.key")).unwrap();
        file.seal.create().unwrap();
        let refused = file.read().unwrap_err();
        assert!(
            matches!(
                refused,
                IdentityFileError::Seal(SealProviderError::Wrong { .. })
            ),
            "{refused}"
        );
    }
}
