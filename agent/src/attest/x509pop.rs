//! Attestation by a certificate whose key this node holds; wire-identical to SPIRE's `x509pop`.
//!
//! The files, or the identity of another Workload API, are read for each attempt: whoever renews
//! them need not tell the agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use daemon::bounded_file;
use daemon::command_line::path_error_text;
use daemon::supervisor::chain;
use futures_util::future::BoxFuture;
use identity::pem::{MAX_PEM_LEN_BYTES, decode_certificates};
use identity::possession::{ProofKind, ProvingKey, proof_kind};
use identity::x509::{CertificateInfo, split_certificates};
use proto::attestation::x509pop::{Challenge, Evidence, NONCE_LEN_BYTES, Response, signed_message};
use proto::workload::X509svidRequest;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use rustls_pki_types::CertificateDer;
use tonic::Request;
use tonic::metadata::MetadataValue;
use zeroize::Zeroizing;

use super::attestor::{Attempt, AttestorError, Lasts, NodeAttestor};

/// What this attestor is called.
pub const NAME: &str = "x509pop";

/// Where the certificate and its key come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// From files.
    Files {
        /// PEM, not encrypted.
        private_key: PathBuf,
        /// PEM, leaf first; intermediates may follow.
        certificate: PathBuf,
        /// PEM, further intermediates.
        intermediates: Option<PathBuf>,
    },
    /// From the Workload API at this socket, as the first identity that it has for the agent.
    WorkloadApi(PathBuf),
}

/// The attestor.
pub struct X509Pop(Source);

impl X509Pop {
    /// An attestor that shows what `source` has.
    ///
    /// # Errors
    /// The files cannot be used. Another Workload API is asked only when it is needed.
    pub async fn open(source: Source) -> Result<Self, AttestorError> {
        if matches!(source, Source::Files { .. }) {
            Holding::of(&source).await?;
        }
        Ok(Self(source))
    }
}

impl NodeAttestor for X509Pop {
    fn name(&self) -> &str {
        NAME
    }

    fn lasts(&self) -> Lasts {
        Lasts::Always
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Attempt>, AttestorError>> {
        Box::pin(async {
            let holding = Holding::of(&self.0).await?;
            let begun: Box<dyn Attempt> = Box::new(holding);
            Ok(begun)
        })
    }
}

/// A certificate with its key.
struct Holding {
    key: ProvingKey,
    kind: ProofKind,
    payload: Vec<u8>,
}

impl Attempt for Holding {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn answer(&mut self, challenge: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, AttestorError>> {
        Box::pin(async move { self.prove(&challenge) })
    }
}

impl Holding {
    async fn of(source: &Source) -> Result<Self, AttestorError> {
        match source {
            Source::Files {
                private_key,
                certificate,
                intermediates,
            } => {
                let unusable = |cause| AttestorError(format!("unable to load keypair: {cause}"));
                let key = read(private_key).await.map_err(unusable)?;
                let key = ProvingKey::from_pem(&key).map_err(|error| unusable_pair(&error))?;
                let certificates = read_certificates(certificate).await;
                let mut certificates = certificates.map_err(unusable)?;
                if let Some(path) = intermediates {
                    let more = read_certificates(path).await.map_err(|error| {
                        AttestorError(format!("unable to load intermediate certificates: {error}"))
                    })?;
                    certificates.extend(more);
                }
                Self::new(key, certificates)
            }
            Source::WorkloadApi(socket) => {
                let fetched = tokio::time::timeout(FETCH_WITHIN, fetch(socket)).await;
                let late = || format!("no answer within {FETCH_WITHIN:?}");
                let fetched = fetched.unwrap_or_else(|_elapsed| Err(late()));
                let (key, certificates) = fetched.map_err(|cause| {
                    let what = "unable to fetch SVID from workload API";
                    AttestorError(format!("{what}: {cause}"))
                })?;
                Self::new(key, certificates)
            }
        }
    }

    fn new(
        key: ProvingKey,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, AttestorError> {
        let unusable = |problem: &str| AttestorError(format!("unable to load keypair: {problem}"));
        let leaf = certificates
            .first()
            .ok_or_else(|| unusable("no certificate"))?;
        let leaf = CertificateInfo::parse(leaf).map_err(|error| unusable(&error.to_string()))?;
        if *leaf.public_key_der != *key.public_key_der() {
            return Err(unusable("private key does not match public key"));
        }
        let kind = proof_kind(key.public_key_der()).map_err(|error| unusable_pair(&error))?;
        Ok(Self {
            key,
            kind,
            payload: Evidence { certificates }.to_payload(),
        })
    }

    fn prove(&self, challenge: &[u8]) -> Result<Vec<u8>, AttestorError> {
        let failed =
            |cause: &str| AttestorError(format!("failed to calculate challenge response: {cause}"));
        let challenge = Challenge::parse(challenge)
            .map_err(|error| AttestorError(format!("unable to unmarshal challenge: {error}")))?;
        let of_server = challenge.nonce(self.kind).ok_or_else(|| match self.kind {
            ProofKind::Rsa { .. } => failed("expecting RSA challenge"),
            ProofKind::Ecdsa => failed("expecting ECDSA challenge"),
        })?;
        // With a nonce of this side, no server can choose what is signed.
        let mut nonce = [0; NONCE_LEN_BYTES];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|error| failed(&error.to_string()))?;
        let message =
            signed_message(of_server, &nonce).ok_or_else(|| failed("invalid challenge nonce"))?;
        let proof = self
            .key
            .prove(&message)
            .map_err(|error| failed(&chain(&error)))?;
        Ok(Response::new(nonce, proof).to_bytes())
    }
}

fn unusable_pair(error: &(dyn std::error::Error + 'static)) -> AttestorError {
    AttestorError(format!("unable to load keypair: {}", chain(error)))
}

async fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let read = bounded_file::read_waiting(path, MAX_PEM_LEN_BYTES).await;
    read.map_err(|error| path_error_text("open", path, &error))
}

async fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path).await?;
    decode_certificates(&text).map_err(|error| format!("{}: {}", path.display(), chain(&error)))
}

/// The first identity that another Workload API has for this process.
async fn fetch(socket: &Path) -> Result<(ProvingKey, Vec<CertificateDer<'static>>), String> {
    let channel = daemon::unix::connect(socket)
        .await
        .map_err(|error| chain(&error))?;
    let mut request = Request::new(X509svidRequest {});
    let yes = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", yes);
    let answers = SpiffeWorkloadApiClient::new(channel)
        .fetch_x509svid(request)
        .await;
    let mut answers = answers
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let answer = answers
        .message()
        .await
        .map_err(|status| status.message().to_owned())?;
    let svids = answer.map(|answer| answer.svids).unwrap_or_default();
    let svid = svids.into_iter().next().ok_or("no identity")?;
    let pkcs8 = Zeroizing::new(svid.x509_svid_key);
    let key = ProvingKey::from_pkcs8(&pkcs8).map_err(|error| chain(&error))?;
    let certificates = split_certificates(&svid.x509_svid).map_err(|error| error.to_string())?;
    Ok((key, certificates))
}

/// How long another Workload API may take.
const FETCH_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use identity::possession::verify_proof;
    use identity::secret::{KeyType, PrivateKey};

    use super::*;

    struct Files {
        folder: tempfile::TempDir,
        spki: Vec<u8>,
    }

    impl Files {
        fn new(key_type: KeyType) -> Self {
            let key = PrivateKey::generate(key_type).unwrap();
            let params = rcgen_params();
            let certificate = params.self_signed(&key).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let pem = identity::pem::encode_certificates([certificate.der()]);
            std::fs::write(folder.path().join("c.pem"), pem).unwrap();
            let key_pem = identity::pem::encode_private_key(&key);
            std::fs::write(folder.path().join("k.pem"), key_pem.expose()).unwrap();
            let spki = key.public_key_der().to_vec();
            Self { folder, spki }
        }

        fn source(&self, intermediates: Option<&str>) -> Source {
            let path = |name: &str| self.folder.path().join(name);
            Source::Files {
                private_key: path("k.pem"),
                certificate: path("c.pem"),
                intermediates: intermediates.map(path),
            }
        }
    }

    fn rcgen_params() -> rcgen::CertificateParams {
        rcgen::CertificateParams::new(vec!["node.example".to_owned()]).unwrap()
    }

    async fn refusal(source: Source) -> String {
        let opened = X509Pop::open(source).await.map(drop);
        opened.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_challenge_is_answered_with_a_fresh_proof() {
        for (key_type, kind) in [
            (KeyType::EcP256, ProofKind::Ecdsa),
            (KeyType::EcP384, ProofKind::Ecdsa),
            (KeyType::Rsa2048, ProofKind::Rsa { bits: 2048 }),
        ] {
            let files = Files::new(key_type);
            let attestor = X509Pop::open(files.source(Some("c.pem"))).await.unwrap();
            let mut attempt = attestor.begin().await.unwrap();
            let shown = Evidence::parse(attempt.payload()).unwrap();
            assert_eq!(shown.certificates.len(), 2);
            let nonce = [7; NONCE_LEN_BYTES];
            let mut seen = Vec::new();
            for _ in 0..2 {
                let challenge = Challenge::new(kind, nonce).to_bytes();
                let answer = attempt.answer(challenge).await.unwrap();
                let (own, proof) = Response::parse(&answer).unwrap().proof(kind).unwrap();
                let message = signed_message(&nonce, &own).unwrap();
                verify_proof(&files.spki, &message, &proof).unwrap();
                seen.push(own);
            }
            assert_ne!(seen[0], seen[1]);
        }
    }

    #[tokio::test]
    async fn challenges_that_are_none_are_refused() {
        let files = Files::new(KeyType::EcP256);
        let attestor = X509Pop::open(files.source(None)).await.unwrap();
        let mut attempt = attestor.begin().await.unwrap();
        let rsa = Challenge::new(ProofKind::Rsa { bits: 2048 }, [0; NONCE_LEN_BYTES]).to_bytes();
        for (challenge, expected) in [
            (b"nope".to_vec(), "unable to unmarshal challenge"),
            (
                rsa,
                "failed to calculate challenge response: expecting ECDSA challenge",
            ),
            (
                br#"{"ecdsa_signature":{"nonce":"AAAA"}}"#.to_vec(),
                "failed to calculate challenge response: invalid challenge nonce",
            ),
        ] {
            let refused = attempt.answer(challenge).await.unwrap_err().to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }

    #[tokio::test]
    async fn files_that_do_not_fit_are_named() {
        let files = Files::new(KeyType::EcP256);
        let path = |name: &str| files.folder.path().join(name);
        let missing = refusal(files.source(Some("nope.pem"))).await;
        assert!(
            missing.starts_with("unable to load intermediate certificates: open ")
                && missing.ends_with("nope.pem: no such file or directory"),
            "{missing}"
        );
        let other = PrivateKey::generate(KeyType::EcP256).unwrap();
        let pem = identity::pem::encode_private_key(&other);
        std::fs::write(path("k.pem"), pem.expose()).unwrap();
        assert_eq!(
            refusal(files.source(None)).await,
            "unable to load keypair: private key does not match public key"
        );
        std::fs::write(path("k.pem"), "").unwrap();
        let empty = refusal(files.source(None)).await;
        assert!(
            empty.starts_with("unable to load keypair: no unencrypted private key"),
            "{empty}"
        );
        for (name, start) in [
            ("k.pem", "unable to load keypair: open "),
            ("i.pem", "unable to load intermediate certificates: open "),
        ] {
            let files = Files::new(KeyType::EcP256);
            std::fs::copy(path("c.pem"), files.folder.path().join("i.pem")).unwrap();
            let long = vec![b'\n'; MAX_PEM_LEN_BYTES + 1];
            std::fs::write(files.folder.path().join(name), long).unwrap();
            let long = refusal(files.source(Some("i.pem"))).await;
            let end = format!("{name}: the file is longer than {MAX_PEM_LEN_BYTES} bytes");
            assert!(long.starts_with(start) && long.ends_with(&end), "{long}");
        }
        std::fs::remove_file(path("k.pem")).unwrap();
        let gone = refusal(files.source(None)).await;
        assert!(gone.ends_with("k.pem: no such file or directory"), "{gone}");
    }

    #[tokio::test]
    async fn renewed_files_are_shown_by_the_next_attempt() {
        let files = Files::new(KeyType::EcP256);
        let attestor = X509Pop::open(files.source(None)).await.unwrap();
        let before = attestor.begin().await.unwrap().payload().to_vec();
        let renewed = Files::new(KeyType::EcP256);
        for name in ["c.pem", "k.pem"] {
            let from = renewed.folder.path().join(name);
            std::fs::copy(from, files.folder.path().join(name)).unwrap();
        }
        let after = attestor.begin().await.unwrap().payload().to_vec();
        assert_ne!(before, after);
    }
}
