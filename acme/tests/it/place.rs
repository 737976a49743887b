//! A place that serves a domain: a listener that proves it, and a memory for what is obtained.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acme::certificate::Certificate;
use acme::keeper::{Account, KeepError, Keeper};
use acme::proof::{ProofDigest, Proofs, ProvingHandshakes};
use acme::settings::{Patience, Settings};
use acme::tender::Tender;
use acme::testing::AcmeServer;
use daemon::supervisor::Shutdown;
use daemon::web::{Answer, Documents, Listener, Origin, empty};
use http::{StatusCode, request::Parts};
use identity::clock::{FakeClock, SystemClock, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::task::JoinSet;

pub(crate) const DOMAIN: &str = "web.test";

/// Everything that is kept and shown.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) account: Mutex<Option<Account>>,
    pub(crate) certificate: Mutex<Option<Certificate>>,
    pub(crate) proof: Mutex<Option<ProofDigest>>,
}

impl Keeper for Memory {
    async fn account(&self) -> Result<Option<Account>, KeepError> {
        Ok(self.account.lock().unwrap().clone())
    }

    async fn keep_account(&self, account: Account) -> Result<(), KeepError> {
        *self.account.lock().unwrap() = Some(account);
        Ok(())
    }

    async fn certificate(&self, domain: &str) -> Result<Option<Certificate>, KeepError> {
        assert_eq!(domain, DOMAIN);
        Ok(self.certificate.lock().unwrap().clone())
    }

    async fn keep_certificate(
        &self,
        domain: &str,
        certificate: Certificate,
    ) -> Result<(), KeepError> {
        assert_eq!(domain, DOMAIN);
        *self.certificate.lock().unwrap() = Some(certificate);
        Ok(())
    }

    async fn show_proof(&self, domain: &str, proof: ProofDigest) -> Result<(), KeepError> {
        assert_eq!(domain, DOMAIN);
        *self.proof.lock().unwrap() = Some(proof);
        Ok(())
    }

    async fn hide_proof(&self, _domain: &str) {
        *self.proof.lock().unwrap() = None;
    }
}

/// The proofs of a memory.
struct Shown(Arc<Memory>);

impl Proofs for Shown {
    async fn proof(&self, domain: &str) -> Option<ProofDigest> {
        let proof = *self.0.proof.lock().unwrap();
        proof.filter(|_| domain == DOMAIN)
    }
}

/// Has nothing to show to those who do not look for a proof.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

struct Nothing;

impl Documents for Nothing {
    fn answer(&self, _request: &Parts, _origin: Origin) -> Answer {
        empty(StatusCode::NO_CONTENT)
    }
}

/// A listener, an ACME server that looks at it, and what it issued.
pub(crate) struct Place {
    pub(crate) server: AcmeServer,
    pub(crate) memory: Arc<Memory>,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<FakeClock>,
    _running: JoinSet<()>,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let memory = Arc::new(Memory::default());
        let usual = daemon::web::server_config(Arc::new(NoCertificate)).unwrap();
        let handshakes = ProvingHandshakes::new(usual, Shown(Arc::clone(&memory)));
        let listener = Listener::tls_by_hello("127.0.0.1:0", Arc::new(handshakes)).await;
        let listener = listener.unwrap();
        let address = listener.local_address().unwrap().unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let served = listener.serve(Arc::new(Nothing), Shutdown::new());
            served.await.unwrap();
        });
        Self {
            server: AcmeServer::start(address).await,
            memory,
            address,
            clock: Arc::new(FakeClock::new(now())),
            _running: running,
        }
    }

    pub(crate) fn settings(&self, terms_accepted: bool) -> Settings {
        let url = self.server.directory_url();
        let settings = Settings::new(&url, "a@web.test", terms_accepted);
        let settings = settings.unwrap().believing(vec![self.server.root()]);
        settings.with_patience(Patience {
            answer: Duration::from_secs(20),
            order: Duration::from_secs(60),
        })
    }

    pub(crate) fn tender_of(&self, settings: Settings) -> Tender<Memory> {
        let clock = self.clock.clone();
        Tender::new(settings, [DOMAIN], Arc::clone(&self.memory), clock)
    }

    pub(crate) fn tender(&self) -> Tender<Memory> {
        self.tender_of(self.settings(true))
    }

    pub(crate) fn held(&self) -> Option<Certificate> {
        self.memory.certificate.lock().unwrap().clone()
    }
}

/// The time by which the ACME server issues.
fn now() -> UnixTime {
    identity::clock::Clock::now(&SystemClock)
}

/// What keeps the certificate from being there; empty if nothing does.
pub(crate) fn trouble(tender: &Tender<Memory>) -> &str {
    tender.troubles().next().map_or("", |(_, trouble)| trouble)
}
