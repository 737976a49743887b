//! Files that change, and files that do not fit.

use identity::clock::FakeClock;
use identity::pem::{encode_certificates, encode_private_key};
use identity::secret::{KeyType, PrivateKey};
use identity::testing::{TestAuthority, TestPki};
use identity::x509::CertificateInfo;
use tempfile::TempDir;

use super::*;
use crate::ca::signed_request;
use crate::testing::{DAY, HOUR, NOW, trust_domain};

struct Files {
    folder: TempDir,
    clock: Arc<FakeClock>,
}

impl Files {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(FakeClock::new(NOW)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, certificates: &[&TestPki], key: &PrivateKey, roots: Option<&TestPki>) {
        let certificates = certificates.iter().map(|one| one.certificate());
        self.write("c.pem", encode_certificates(certificates).as_bytes());
        self.write("k.pem", encode_private_key(key).expose());
        if let Some(root) = roots {
            self.write(
                "b.pem",
                encode_certificates([root.certificate()]).as_bytes(),
            );
        }
    }

    fn write(&self, name: &str, text: &[u8]) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn settings(&self, with_bundle: bool) -> DiskFiles {
        DiskFiles {
            certificates: self.path("c.pem"),
            key: self.path("k.pem"),
            bundle: with_bundle.then(|| self.path("b.pem")),
        }
    }

    async fn open(&self, with_bundle: bool) -> Result<Disk, String> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let opened = Disk::open(self.settings(with_bundle), trust_domain(), clock).await;
        opened.map_err(|error| chain(&error))
    }

    async fn refusal(&self, with_bundle: bool) -> String {
        let refused = self.open(with_bundle).await.map(drop).unwrap_err();
        refused.replace(&*self.folder.path().to_string_lossy(), "DIR")
    }
}

fn request(ttl: Duration) -> (PrivateKey, MintRequest) {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let csr = signed_request(&key, &trust_domain());
    let request = MintRequest {
        csr,
        preferred_ttl: ttl,
    };
    (key, request)
}

async fn minted(disk: &Disk, ttl: Duration) -> (CertificateInfo, Minted) {
    let (key, request) = request(ttl);
    let minted = disk.mint(&request).await.unwrap();
    let info = CertificateInfo::parse(&minted.chain[0]).unwrap();
    assert_eq!(info.public_key_der, key.public_key_der());
    (info, minted)
}

#[tokio::test]
async fn intermediate_has_the_profile_of_spires() {
    let files = Files::new();
    let root = TestPki::root("root", NOW);
    files.put(&[&root], root.key(), None);
    let disk = files.open(false).await.unwrap();
    let (info, minted) = minted(&disk, DAY).await;
    assert_eq!(minted.chain.len(), 1);
    assert_eq!(minted.roots[0].certificate, *root.certificate());
    assert_eq!(info.uri_sans, ["spiffe://example.org"]);
    let usage = info.key_usage.unwrap();
    assert!(info.is_ca && usage.key_cert_sign && usage.crl_sign && !usage.digital_signature);
    let text = info.subject_text();
    assert!(
        text.starts_with("SERIALNUMBER=") && text.ends_with(",O=SPIFFE,C=US"),
        "{text}"
    );
    let above = CertificateInfo::parse(root.certificate()).unwrap();
    assert_eq!(info.authority_key_id, above.subject_key_id);
    assert_eq!(info.not_before, NOW.saturating_sub(Duration::from_secs(10)));
    assert_eq!(info.not_after, NOW.saturating_add(DAY));
    // An hour unless told, and never longer than the root.
    let hour = self::minted(&disk, Duration::ZERO).await.0.not_after;
    assert_eq!(hour, NOW.saturating_add(HOUR));
    let long = self::minted(&disk, 1000 * DAY).await.0.not_after;
    assert_eq!(long, above.not_after);
}

#[tokio::test]
async fn intermediates_of_the_file_go_behind_what_they_sign() {
    let files = Files::new();
    let root = TestPki::root("root", NOW);
    let upper = root.below("upper");
    let lower = upper.below("lower");
    files.put(&[&lower, &upper], lower.key(), Some(&root));
    let (_, minted) = minted(&files.open(true).await.unwrap(), DAY).await;
    let expected = [lower.certificate(), upper.certificate()];
    assert!(minted.chain[1..].iter().eq(expected));
    assert_eq!(minted.roots.len(), 1);
}

#[tokio::test]
async fn files_are_read_anew_for_each_intermediate_and_broken_ones_change_nothing() {
    let files = Files::new();
    let (old, new) = (TestPki::root("old", NOW), TestPki::root("new", NOW));
    let key_id = |pki: &TestPki| {
        let info = CertificateInfo::parse(pki.certificate()).unwrap();
        info.subject_key_id
    };
    files.put(&[&old], old.key(), None);
    let disk = files.open(false).await.unwrap();
    assert_eq!(minted(&disk, DAY).await.0.authority_key_id, key_id(&old));
    files.put(&[&new], old.key(), None);
    assert_eq!(minted(&disk, DAY).await.0.authority_key_id, key_id(&old));
    files.put(&[&new], new.key(), None);
    assert_eq!(minted(&disk, DAY).await.0.authority_key_id, key_id(&new));
    std::fs::remove_file(files.path("k.pem")).unwrap();
    assert_eq!(minted(&disk, DAY).await.0.authority_key_id, key_id(&new));
}

#[tokio::test]
async fn files_that_do_not_fit_are_refused_in_spires_words() {
    let files = Files::new();
    let root = TestPki::root("root", NOW);
    let other = TestPki::root("other", NOW);
    let lower = root.below("lower");
    assert_eq!(
        files.refusal(false).await,
        "unable to load upstream CA key: open DIR/k.pem: no such file or directory"
    );
    files.put(&[&root], root.key(), None);
    std::fs::remove_file(files.path("c.pem")).unwrap();
    assert_eq!(
        files.refusal(false).await,
        "unable to load upstream CA cert: open DIR/c.pem: no such file or directory"
    );
    files.put(&[&root], root.key(), None);
    assert_eq!(
        files.refusal(true).await,
        "unable to load upstream CA bundle: open DIR/b.pem: no such file or directory"
    );
    files.write("k.pem", b"nothing");
    let nothing = files.refusal(false).await;
    assert!(
        nothing.starts_with("unable to load upstream CA key: malformed PEM"),
        "{nothing}"
    );
    files.put(&[&root], other.key(), None);
    let mismatch = "unable to load upstream CA: certificate and private key do not match";
    assert_eq!(files.refusal(false).await, mismatch);
    files.put(&[&lower, &root], lower.key(), None);
    assert_eq!(
        files.refusal(false).await,
        "with no bundle_file_path configured only self-signed CAs are supported"
    );
    let astray = "unable to load upstream CA: certificate cannot be validated with the provided \
                  bundle or is not self-signed";
    files.put(&[&lower], lower.key(), Some(&other));
    assert!(files.refusal(true).await.starts_with(astray));
    // Not self-signed, although it is the only one.
    files.put(&[&lower], lower.key(), None);
    files.open(false).await.unwrap();
    let ended = TestPki::root_between("root", (NOW.saturating_sub(DAY), NOW.saturating_sub(HOUR)));
    files.put(&[&ended], ended.key(), None);
    assert!(files.refusal(false).await.starts_with(astray), "expired");
    // A workload's certificate signs nothing.
    let svid = TestAuthority::at("example.org", NOW).x509_svid("/w");
    files.write("c.pem", encode_certificates(&svid.chain()[..1]).as_bytes());
    files.write("k.pem", encode_private_key(svid.key()).expose());
    assert!(files.refusal(false).await.starts_with(astray), "no CA");
}

#[tokio::test]
async fn certificates_are_bounded() {
    let files = Files::new();
    let root = TestPki::root("root", NOW);
    files.put(&[&root], root.key(), None);
    let many = std::iter::repeat_n(root.certificate(), MAX_AUTHORITIES + 1);
    files.write("b.pem", encode_certificates(many).as_bytes());
    assert_eq!(
        files.refusal(true).await,
        "unable to load upstream CA bundle: more than 1024 certificates"
    );
}

#[tokio::test]
async fn requests_of_others_are_not_signed() {
    let files = Files::new();
    let root = TestPki::root("root", NOW);
    files.put(&[&root], root.key(), None);
    let disk = files.open(false).await.unwrap();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let of_workload = identity::spiffe_id::SpiffeId::parse("spiffe://example.org/w").unwrap();
    for csr in [
        identity::x509::generate_csr(&key, Some(&of_workload), &[]).unwrap(),
        identity::x509::generate_csr(&key, None, &[]).unwrap(),
        vec![1, 2, 3],
    ] {
        let request = MintRequest {
            csr,
            preferred_ttl: DAY,
        };
        let refused = disk.mint(&request).await.unwrap_err();
        assert!(chain(&refused).contains("unable to sign CSR"), "{refused}");
    }
    // The upstream's certificate ended under the running server.
    files.clock.advance(400 * DAY);
    let (_, late) = request(DAY);
    let late = disk.mint(&late).await.unwrap_err();
    assert!(
        chain(&late).contains("active authority is valid only from"),
        "{late}"
    );
}
