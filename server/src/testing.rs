//! A store of its own for each test, with a clock that the test moves.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::clock::{Clock, FakeClock, UnixTime};
use identity::secret::KeyType;
use identity::trust_domain::TrustDomain;
use raft_store::{FORMATS, FileSeal, Limits, Options, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::attest::{AttestorError, Challenges};
use crate::ca::{DistinguishedName, Policy};

/// 2027-01-15, at which every test begins.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A store in a directory that goes with it.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) clock: Arc<FakeClock>,
    driver: JoinHandle<()>,
    directory: TempDir,
}

impl TestStore {
    /// An empty store.
    pub(crate) async fn create() -> Self {
        Self::understanding(FORMATS).await
    }

    /// An empty store of a member that understands these formats.
    pub(crate) async fn understanding(formats: RangeInclusive<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        Self::open(directory, Arc::new(FakeClock::new(NOW)), formats, limits).await
    }

    /// An empty store of a member that remembers so many changes.
    pub(crate) async fn remembering(changes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits {
            changes,
            ..Limits::default()
        };
        Self::open(directory, Arc::new(FakeClock::new(NOW)), FORMATS, limits).await
    }

    /// The same store after an orderly stop. No other handle of it may be left.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            store,
            clock,
            driver,
            directory,
        } = self;
        store.close().await.unwrap();
        driver.await.unwrap();
        Self::open(directory, clock, FORMATS, Limits::default()).await
    }

    /// The clock, as services take it.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test waits for its driver in restart"
    )]
    async fn open(
        directory: TempDir,
        clock: Arc<FakeClock>,
        formats: RangeInclusive<u32>,
        limits: Limits,
    ) -> Self {
        let seal = FileSeal::at(&directory.path().join("seal.key"));
        let options = Options {
            formats,
            limits,
            ..Options::new(directory.path().join("data"), Box::new(seal))
        };
        let (store, driver) = Store::start(options, Duration::from_secs(60))
            .await
            .unwrap();
        let driver = tokio::spawn(async move { driver.run().await.unwrap() });
        Self {
            store,
            clock,
            driver,
            directory,
        }
    }
}

/// What a server without any settings does.
pub(crate) fn policy() -> Policy {
    Policy {
        trust_domain: trust_domain(),
        ca_ttl: DAY,
        ca_key_type: KeyType::EcP256,
        jwt_key_type: KeyType::EcP256,
        ca_subject: DistinguishedName::new(&["US".to_owned()], &["SPIFFE".to_owned()], ""),
        svid_subject: DistinguishedName::svid_default(),
        jwt_enabled: true,
        jwt_issuer: None,
        x509_svid_ttl: HOUR,
        jwt_svid_ttl: HOUR / 12,
        agent_ttl: HOUR,
        signing_max_staleness: None,
        peer_trust_domain: None,
    }
}

/// `example.org`.
pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// An agent that answers no challenge.
pub(crate) struct Silent;

impl Challenges for Silent {
    fn challenge<'a>(
        &'a mut self,
        _challenge: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, AttestorError>> {
        Box::pin(async { Err(AttestorError::internal("no answer")) })
    }
}
