//! What all targets agree on: a trust domain, a time, keys and certificates for seeds, a place for files, runtimes.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::bundle::{Bundle, JwtAuthority};
use identity::clock::{FakeClock, UnixTime};
use identity::secret::PrivateKey;
use identity::testing::TestAuthority;
use identity::trust_domain::TrustDomain;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// 2027-01-15, at which everything happens.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// The own trust domain.
pub static OWN: LazyLock<TrustDomain> =
    LazyLock::new(|| TrustDomain::parse("example.org").expect("it is a name"));

/// The id of [`KEY`] in [`bundle`].
pub const KEY_ID: &str = "kid";

/// A key that is the same in every run, so that a corpus stays good. It protects nothing.
pub static KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let pkcs8 = STANDARD.decode(PKCS8).expect("it is base64");
    PrivateKey::from_pkcs8(&pkcs8).expect("it is a key")
});

const PKCS8: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwOcEci9cK7ugstPRprAkN+4fOZfmbsyskI/Xuv+Q/+KhRANCAATqxyU1zFmPAi/pWpi77KMiFg6abXCzRYZb+k2V4+KVrWTuLJaIJmnX2oRmnLSUHVo35kN/4VsDkhwtHhxj60NO";

/// Authorities of the own trust domain: they differ from run to run.
pub static AUTHORITY: LazyLock<TestAuthority> =
    LazyLock::new(|| TestAuthority::at(OWN.as_str(), NOW));

/// A clock that stands at [`NOW`].
pub fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::new(NOW))
}

/// A bundle whose one key, [`KEY`], verifies tokens.
pub fn bundle() -> Bundle {
    Bundle {
        jwt_authorities: vec![JwtAuthority {
            key_id: KEY_ID.into(),
            public_key: KEY.public_key_der().to_vec(),
            expires_at: None,
            tainted: false,
        }],
        ..Bundle::empty(OWN.clone())
    }
}

/// Where the files of a target are.
pub static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// The file of [`FOLDER`] with this content.
pub fn written(name: &str, content: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    std::fs::write(&path, content).expect("the file is written");
    path
}

/// Runs what takes a runtime, on this thread alone.
pub fn alone<T>(task: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts")
    });
    RUNTIME.block_on(task)
}

/// The same for what ends by itself, whatever others say or leave unsaid.
///
/// # Panics
/// It takes nearly as long as it is given by the shortest of its own deadlines.
pub fn in_time<T>(task: impl Future<Output = T>) -> T {
    const PATIENCE: Duration = Duration::from_secs(7);
    let ended = alone(async { tokio::time::timeout(PATIENCE, task).await });
    ended.unwrap_or_else(|_elapsed| panic!("it did not end within {PATIENCE:?}"))
}

/// Runs what takes a runtime where time passes as soon as nothing else happens.
pub fn patiently<T>(task: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime starts")
    });
    RUNTIME.block_on(task)
}
