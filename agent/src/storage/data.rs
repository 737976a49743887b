//! `agent-data.json`: the agent's SVID, the own bundle, and whether the agent may attest again.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use identity::clock::UnixTime;
use identity::pem::encode_certificates;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::file;
use crate::bootstrap::{Occasion, rfc3339};

/// What the agent knows about itself and its trust domain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentData {
    /// The agent's SVID, leaf first; empty before attestation.
    pub svid: Vec<CertificateDer<'static>>,
    /// The X.509 authorities of the own trust domain; empty before attestation.
    pub bundle: Vec<CertificateDer<'static>>,
    /// Whether the server said that this agent renews by attesting again.
    pub reattestable: bool,
    bootstrap: BootstrapState,
}

/// The file, and what it holds.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    data: AgentData,
}

impl DataFile {
    /// Opens `agent-data.json` in `directory`; a missing file is an agent that never attested.
    ///
    /// # Errors
    /// The file cannot be read or is not what an agent wrote.
    pub fn open(directory: &Path) -> Result<Self, DataError> {
        let path = directory.join("agent-data.json");
        let data = match file::read(&path).map_err(|source| DataError::read(&path, source))? {
            Some(bytes) => AgentData::decode(&bytes, &path)?,
            None => AgentData::default(),
        };
        Ok(Self { path, data })
    }

    /// What is stored.
    pub fn data(&self) -> &AgentData {
        &self.data
    }

    /// Stores another SVID.
    ///
    /// # Errors
    /// The file still holds the one before.
    pub fn store_svid(
        &mut self,
        svid: Vec<CertificateDer<'static>>,
        reattestable: bool,
    ) -> Result<(), DataError> {
        self.store(AgentData {
            svid,
            reattestable,
            ..self.data.clone()
        })
    }

    /// Stores the authorities of the own bundle; nothing is written when they are the ones held.
    ///
    /// # Errors
    /// The file still holds the ones before.
    pub fn store_bundle(&mut self, bundle: Vec<CertificateDer<'static>>) -> Result<(), DataError> {
        if bundle == self.data.bundle {
            return Ok(());
        }
        self.store(AgentData {
            bundle,
            ..self.data.clone()
        })
    }

    /// Forgets the SVID, so that the next start attests.
    ///
    /// # Errors
    /// The SVID is still stored.
    pub fn delete_svid(&mut self) -> Result<(), DataError> {
        self.store_svid(Vec::new(), false)
    }

    /// Forgets the SVID and the bundle, so that the next start is as the first.
    ///
    /// # Errors
    /// Both are still stored.
    pub fn start_over(&mut self) -> Result<(), DataError> {
        self.store(AgentData {
            bootstrap: self.data.bootstrap.clone(),
            ..AgentData::default()
        })
    }

    /// Notes another attempt to learn whom to believe.
    ///
    /// # Errors
    /// The attempt is not noted.
    pub fn begin_attempt(&mut self, now: UnixTime) -> Result<Occasion, DataError> {
        let since = self.data.bootstrap.since().unwrap_or(now);
        let before = &self.data.bootstrap;
        let bootstrap = BootstrapState {
            connection_attempts: before.connection_attempts.saturating_add(1),
            bootstrap_start_time: rfc3339(since),
            bootstrap_use: before.bootstrap_use.max(FIRST_BOOTSTRAP),
        };
        let occasion = Occasion {
            is_rebootstrap: bootstrap.bootstrap_use == REBOOTSTRAP,
            attempt: bootstrap.connection_attempts,
            since,
        };
        self.store_bootstrap(bootstrap)?;
        Ok(occasion)
    }

    /// Since when no server has been believed, which is noted if it is new.
    ///
    /// # Errors
    /// The time is not noted.
    pub fn disbelieved_since(&mut self, now: UnixTime) -> Result<UnixTime, DataError> {
        if let Some(since) = self.data.bootstrap.since() {
            return Ok(since);
        }
        self.store_bootstrap(BootstrapState {
            bootstrap_start_time: rfc3339(now),
            ..self.data.bootstrap.clone()
        })?;
        Ok(now)
    }

    /// Notes that a server was believed; nothing is written if that is no news.
    ///
    /// # Errors
    /// It is not noted.
    pub fn believed(&mut self) -> Result<(), DataError> {
        self.store_bootstrap(BootstrapState {
            bootstrap_use: REBOOTSTRAP,
            ..BootstrapState::default()
        })
    }

    fn store_bootstrap(&mut self, bootstrap: BootstrapState) -> Result<(), DataError> {
        if bootstrap == self.data.bootstrap {
            return Ok(());
        }
        self.store(AgentData {
            bootstrap,
            ..self.data.clone()
        })
    }

    fn store(&mut self, data: AgentData) -> Result<(), DataError> {
        file::replace(&self.path, &data.encode()?).map_err(|source| DataError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.data = data;
        Ok(())
    }
}

impl AgentData {
    fn decode(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let stored: StoredData =
            serde_json::from_slice(bytes).map_err(|source| DataError::Json {
                path: path.to_path_buf(),
                source,
            })?;
        let certificates = |list: Option<Vec<String>>| {
            list.unwrap_or_default()
                .iter()
                .map(|item| decode_certificate(item))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| DataError::Certificate(path.to_path_buf()))
        };
        Ok(Self {
            svid: certificates(stored.svid)?,
            bundle: certificates(stored.bundle)?,
            reattestable: stored.reattestable,
            bootstrap: stored.bootstrap,
        })
    }

    fn encode(&self) -> Result<Vec<u8>, DataError> {
        let encoded = |list: &[CertificateDer<'_>]| {
            Some(list.iter().map(|item| encode_certificate(item)).collect())
        };
        serde_json::to_vec(&StoredData {
            svid: encoded(&self.svid),
            bundle: encoded(&self.bundle),
            reattestable: self.reattestable,
            bootstrap: self.bootstrap.clone(),
        })
        .map_err(DataError::Encode)
    }
}

/// Why the agent's data cannot be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
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
    /// The file is not the JSON that an agent writes.
    #[error("{path} is not agent data")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// The data has no JSON form.
    #[error("agent data cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// A certificate in the file is not base64 of PEM.
    #[error("{0} has a certificate that cannot be read")]
    Certificate(PathBuf),
}

impl DataError {
    fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_path_buf(),
            source,
        }
    }
}

/// The file's form. SPIRE writes `null` for an empty list.
#[derive(Deserialize, Serialize)]
struct StoredData {
    svid: Option<Vec<String>>,
    bundle: Option<Vec<String>>,
    #[serde(default)]
    reattestable: bool,
    #[serde(flatten)]
    bootstrap: BootstrapState,
}

/// How the agent fares in learning whom to believe, as SPIRE's agent notes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct BootstrapState {
    #[serde(default)]
    bootstrap_use: i64,
    #[serde(default = "zero_time")]
    bootstrap_start_time: String,
    #[serde(default)]
    connection_attempts: i64,
}

impl Default for BootstrapState {
    fn default() -> Self {
        Self {
            bootstrap_use: 0,
            bootstrap_start_time: zero_time(),
            connection_attempts: 0,
        }
    }
}

/// Values of `bootstrap_use` in SPIRE; 0 is an agent that never tried.
const FIRST_BOOTSTRAP: i64 = 1;
const REBOOTSTRAP: i64 = 2;

impl BootstrapState {
    /// When the attempts began that have not succeeded yet.
    fn since(&self) -> Option<UnixTime> {
        let time = OffsetDateTime::parse(&self.bootstrap_start_time, &Rfc3339).ok()?;
        let is_set = time.year() > 1;
        is_set.then(|| UnixTime::from_secs(time.unix_timestamp()))
    }
}

/// How Go writes a time that was never set.
fn zero_time() -> String {
    "0001-01-01T00:00:00Z".to_owned()
}

fn decode_certificate(item: &str) -> Option<CertificateDer<'static>> {
    let pem = BASE64_STANDARD.decode(item).ok()?;
    CertificateDer::from_pem_slice(&pem).ok()
}

/// Base64 of a PEM block: the file's lists are Go byte strings that hold PEM.
fn encode_certificate(certificate: &CertificateDer<'_>) -> String {
    BASE64_STANDARD.encode(encode_certificates([certificate]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificates() -> Vec<CertificateDer<'static>> {
        vec![
            CertificateDer::from(vec![7; 100]),
            CertificateDer::from(vec![9; 48]),
        ]
    }

    #[test]
    fn stored_data_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = DataFile::open(directory.path()).unwrap();
        assert_eq!(file.data(), &AgentData::default());
        file.store_svid(certificates(), true).unwrap();
        file.store_bundle(certificates()[1..].to_vec()).unwrap();

        let mut file = DataFile::open(directory.path()).unwrap();
        assert_eq!(file.data().svid, certificates());
        assert_eq!(file.data().bundle, certificates()[1..]);
        assert!(file.data().reattestable);

        file.delete_svid().unwrap();
        let file = DataFile::open(directory.path()).unwrap();
        assert_eq!(file.data().svid, Vec::new());
        assert_eq!(file.data().bundle, certificates()[1..]);
    }

    #[test]
    fn file_has_the_keys_of_spire() {
        let directory = tempfile::tempdir().unwrap();
        DataFile::open(directory.path())
            .unwrap()
            .store_svid(certificates(), false)
            .unwrap();
        let bytes = std::fs::read(directory.path().join("agent-data.json")).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        let mut expected = vec![
            "svid",
            "bundle",
            "reattestable",
            "bootstrap_use",
            "bootstrap_start_time",
            "connection_attempts",
        ];
        expected.sort_unstable();
        let mut keys: Vec<_> = keys.iter().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, expected);
        let pem = BASE64_STANDARD
            .decode(value["svid"][0].as_str().unwrap())
            .unwrap();
        assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----\n"));
    }

    #[test]
    fn empty_lists_of_spire_are_null() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"svid":null,"bundle":null,"reattestable":false,"bootstrap_use":1,
            "bootstrap_start_time":"2026-01-02T03:04:05Z","connection_attempts":3}"#;
        std::fs::write(directory.path().join("agent-data.json"), text).unwrap();
        let mut file = DataFile::open(directory.path()).unwrap();
        assert_eq!(file.data().svid, Vec::new());
        // What only SPIRE's agent reads is carried along.
        file.store_svid(certificates(), false).unwrap();
        let bytes = std::fs::read(directory.path().join("agent-data.json")).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["connection_attempts"], 3);
        assert_eq!(value["bootstrap_start_time"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn attempts_are_counted_from_the_first_until_a_server_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let at = UnixTime::from_secs;
        let occasion = |is_rebootstrap, attempt, since| Occasion {
            is_rebootstrap,
            attempt,
            since: at(since),
        };
        let mut file = DataFile::open(directory.path()).unwrap();
        assert_eq!(
            file.begin_attempt(at(100)).unwrap(),
            occasion(false, 1, 100)
        );
        let mut file = DataFile::open(directory.path()).unwrap();
        assert_eq!(
            file.begin_attempt(at(105)).unwrap(),
            occasion(false, 2, 100)
        );
        assert_eq!(file.disbelieved_since(at(110)).unwrap(), at(100));
        file.believed().unwrap();
        let mut file = DataFile::open(directory.path()).unwrap();
        assert_eq!(file.disbelieved_since(at(200)).unwrap(), at(200));
        assert_eq!(file.disbelieved_since(at(300)).unwrap(), at(200));
        file.store_svid(certificates(), true).unwrap();
        file.store_bundle(certificates()).unwrap();
        file.start_over().unwrap();
        let mut file = DataFile::open(directory.path()).unwrap();
        assert_eq!((file.data().svid.len(), file.data().bundle.len()), (0, 0));
        assert_eq!(file.begin_attempt(at(400)).unwrap(), occasion(true, 1, 200));
    }

    #[test]
    fn damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent-data.json");
        std::fs::write(&path, r#"{"svid":["%%%"],"bundle":[]}"#).unwrap();
        assert!(matches!(
            DataFile::open(directory.path()),
            Err(DataError::Certificate(_))
        ));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(
            DataFile::open(directory.path()),
            Err(DataError::Json { .. })
        ));
    }
}
