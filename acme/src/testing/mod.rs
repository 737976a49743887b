//! An ACME server to test against. It believes nobody: it verifies signatures and nonces (RFC 8555 §6), looks
//! at the domain itself (RFC 8737 §3), and misbehaves as it is told.

pub mod anybody;
mod http1;
mod issue;
mod jws;
pub mod look;
mod orders;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustls_pki_types::CertificateDer;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use self::{issue::Issuer, orders::Orders};

/// What the server does that no ACME server should.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vice {
    /// Answers once it has left this vice.
    Delay,
    /// Takes questions and gives no answer.
    Silence,
    /// Answers with what is no JSON.
    Garbage,
    /// Answers without end.
    Endless,
    /// Believes no nonce.
    NoNonce,
    /// Wants its terms agreed to, which is no vice.
    Terms,
    /// Says that questions come too often.
    RateLimit,
    /// Has a directory without a usable place for nonces.
    Directory,
    /// Asks to come back after the end of time.
    Wait,
    /// Knows no look by TLS.
    OtherChallenges,
    /// Wants a name proven that nobody ordered.
    OtherDomain,
    /// Issues for another key than that of the request.
    OtherKey,
    /// Issues for another name than that of the request.
    OtherName,
    /// Issues what is over already.
    Over,
    /// Issues something else than certificates.
    NoChain,
    /// Takes the request for the certificate, and gives no answer.
    Procrastination,
    /// Finds no proof, wherever it looks, and says so in the order.
    Blind,
}

/// A running ACME server.
pub struct AcmeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _running: JoinSet<()>,
}

struct Shared {
    base: String,
    issuer: Issuer,
    orders: Mutex<Orders>,
    vice: watch::Sender<Option<Vice>>,
    /// Where domains are looked at.
    place: Mutex<SocketAddr>,
    life: Mutex<Duration>,
    questions: AtomicU32,
    looks: AtomicU32,
    waiting: AtomicU32,
    issued: AtomicU32,
    accounts: AtomicU32,
}

impl AcmeServer {
    /// Starts one that looks for every domain at `place` and issues for 90 days.
    pub async fn start(place: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            base: format!("https://localhost:{}", address.port()),
            issuer: Issuer::new(),
            orders: Mutex::default(),
            vice: watch::Sender::new(None),
            place: Mutex::new(place),
            life: Mutex::new(Duration::from_secs(90 * 86_400)),
            questions: AtomicU32::new(0),
            looks: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            issued: AtomicU32::new(0),
            accounts: AtomicU32::new(0),
        });
        let mut running = JoinSet::new();
        running.spawn(http1::serve(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _running: running,
        }
    }

    /// The URL of the directory.
    #[must_use]
    pub fn directory_url(&self) -> String {
        format!("https://localhost:{}/directory", self.address.port())
    }

    /// What proves the server itself and everything that it issues.
    #[must_use]
    pub fn root(&self) -> CertificateDer<'static> {
        self.shared.issuer.root()
    }

    /// Falls into a vice, or leaves it.
    pub fn fall_into(&self, vice: Option<Vice>) {
        self.shared.vice.send_replace(vice);
    }

    /// Looks for domains there from now on.
    pub fn look_at(&self, place: SocketAddr) {
        *held(&self.shared.place) = place;
    }

    /// What is issued from now on lives so long.
    pub fn issue_for(&self, life: Duration) {
        *held(&self.shared.life) = life;
    }

    /// Forgets accounts and orders.
    pub fn forget(&self) {
        *held(&self.shared.orders) = Orders::default();
    }

    /// How many questions were heard, whatever became of them.
    #[must_use]
    pub fn questions(&self) -> u32 {
        self.shared.questions.load(Ordering::SeqCst)
    }

    /// How often a domain was looked at and found proven.
    #[must_use]
    pub fn looks(&self) -> u32 {
        self.shared.looks.load(Ordering::SeqCst)
    }

    /// How many requests for a certificate were taken and not answered.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// How many certificates were issued.
    #[must_use]
    pub fn issued(&self) -> u32 {
        self.shared.issued.load(Ordering::SeqCst)
    }

    /// How many accounts were made.
    #[must_use]
    pub fn accounts(&self) -> u32 {
        self.shared.accounts.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn vice(&self) -> Option<Vice> {
        *self.vice.borrow()
    }

    fn has(&self, vice: Vice) -> bool {
        self.vice() == Some(vice)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
