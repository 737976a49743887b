//! The certificate of the web that every member shows at its bundle endpoint, by ACME.
//!
//! Account, certificate and the proof of the domain are in the log, keys sealed, so that any member shows them.
//! The leader alone orders. What it ordered ends with its lead; the next leader orders under the same account.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use acme::{
    certificate::Certificate,
    keeper::{Account, KeepError, Keeper},
    proof::{ProofDigest, Proofs},
    settings::Settings,
    tender::Tender,
};
use arc_swap::ArcSwapOption;
use daemon::supervisor::{Shutdown, chain};
use identity::{clock::Clock, secret::PrivateKey};
use raft_store::{
    AcmeSecret, AcmeSecretKind, KeepAcmeSecret, KeepAcmeSecretOutcome, Operation as _, Proposal,
    RecordName, SealError, SetSetting, State, Store,
};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::leadership::Leadership;

/// The certificate of one domain, as this member shows it.
pub(super) struct WebCertificate {
    store: Store,
    clock: Arc<dyn Clock>,
    domain: Box<str>,
    directory_url: Box<str>,
    /// The record that was opened last, and what was in it; `None` if it is of no use.
    opened: ArcSwapOption<(Arc<AcmeSecret>, Option<Certificate>)>,
    /// Looks at the proof that may ask a quorum at the same time: whoever comes is a stranger.
    looks: Semaphore,
}

impl WebCertificate {
    /// The certificate of `domain` from the ACME server with this directory.
    pub(super) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        domain: &str,
        settings: &Settings,
    ) -> Self {
        Self {
            store,
            clock,
            domain: domain.into(),
            directory_url: settings.directory_url().into(),
            opened: ArcSwapOption::empty(),
            looks: Semaphore::new(MAX_LOOKS),
        }
    }

    /// What the state holds for this domain, opened.
    fn current(&self) -> Option<Certificate> {
        let record = self.record(AcmeSecretKind::Certificate)?;
        if record.name != self.domain {
            return None;
        }
        if let Some(opened) = &*self.opened.load()
            && Arc::ptr_eq(&opened.0, &record)
        {
            return opened.1.clone();
        }
        let certificate = match self.open_certificate(&record) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                let error = chain(&error);
                warn!(
                    error,
                    domain = self.domain,
                    "certificate in the store is of no use"
                );
                None
            }
        };
        self.opened
            .store(Some(Arc::new((record, certificate.clone()))));
        certificate
    }

    fn record(&self, kind: AcmeSecretKind) -> Option<Arc<AcmeSecret>> {
        self.store.read(|state| state.acme_secret(kind).cloned())
    }

    fn open_certificate(&self, record: &AcmeSecret) -> Result<Certificate, KeepError> {
        let key = self.open(record)?;
        let made = Certificate::new(&self.domain, record.chain.clone(), key);
        made.map_err(|error| KeepError::new("reading the certificate", error))
    }

    fn open(&self, record: &AcmeSecret) -> Result<PrivateKey, KeepError> {
        let opened = self
            .store
            .unseal(&RecordName::acme(record.kind), &record.sealed_key);
        let opened = opened.map_err(|error| KeepError::new("opening a key", error))?;
        let key = PrivateKey::from_pkcs8(opened.expose());
        key.map_err(|error| KeepError::new("reading a key", error))
    }

    /// Seals a key and puts it into the log, with what is public of it.
    async fn keep(
        &self,
        kind: AcmeSecretKind,
        (name, chain): (&str, &[CertificateDer<'static>]),
        key: &PrivateKey,
    ) -> Result<(), KeepError> {
        let record_name = RecordName::acme(kind);
        let failed = |source: SealError| KeepError::new("sealing a key", source);
        for _ in 0..MAX_TRIES {
            let secret = AcmeSecret {
                kind,
                directory_url: self.directory_url.clone(),
                name: name.into(),
                chain: chain.to_vec(),
                sealed_key: self.store.seal(&record_name, key.pkcs8()).map_err(failed)?,
            };
            let command = KeepAcmeSecret {
                secret,
                in_place_of: None,
            };
            let kept = self.store.propose(command, self.proposal()).await;
            let kept = kept.map_err(|error| KeepError::new("writing a key to the log", error))?;
            match kept {
                KeepAcmeSecretOutcome::Kept => return Ok(()),
                // The data key left the ring meanwhile.
                KeepAcmeSecretOutcome::UnknownDataKey | KeepAcmeSecretOutcome::Overtaken => {}
            }
        }
        Err(KeepError::new(
            "sealing a key",
            "the data key is being rotated",
        ))
    }

    async fn set_proof(&self, value: Vec<u8>) -> Result<(), KeepError> {
        let command = SetSetting {
            key: PROOF.into(),
            value,
            only_if_absent: false,
        };
        let set = self.store.propose(command, self.proposal()).await;
        set.map(|_| ())
            .map_err(|error| KeepError::new("writing a proof to the log", error))
    }

    /// Other members may have written a moment ago.
    async fn confirm(&self) -> Result<(), KeepError> {
        let confirmed = self.store.linearizable(CONFIRM_WITHIN).await;
        confirmed
            .map(|_| ())
            .map_err(|error| KeepError::new("reading the store", error))
    }

    fn proposal(&self) -> Proposal {
        Proposal::new(self.clock.now())
    }
}

impl Keeper for WebCertificate {
    async fn account(&self) -> Result<Option<Account>, KeepError> {
        self.confirm().await?;
        let Some(record) = self.record(AcmeSecretKind::Account) else {
            return Ok(None);
        };
        Ok(Some(Account {
            key: self.open(&record)?,
            directory_url: record.directory_url.clone(),
            url: Some(record.name.clone()),
        }))
    }

    async fn keep_account(&self, account: Account) -> Result<(), KeepError> {
        let url = account.url.unwrap_or_default();
        self.keep(AcmeSecretKind::Account, (&url, &[]), &account.key)
            .await
    }

    async fn certificate(&self, _domain: &str) -> Result<Option<Certificate>, KeepError> {
        self.confirm().await?;
        // From another ACME server it is shown until this one has given another.
        let record = self.record(AcmeSecretKind::Certificate);
        let is_from_there = record.is_some_and(|one| one.directory_url == self.directory_url);
        Ok(self.current().filter(|_| is_from_there))
    }

    async fn keep_certificate(
        &self,
        domain: &str,
        certificate: Certificate,
    ) -> Result<(), KeepError> {
        let public = (domain, certificate.chain());
        self.keep(AcmeSecretKind::Certificate, public, certificate.key())
            .await
    }

    /// Once it is in the log every member that is asked knows it: it asks a quorum first.
    async fn show_proof(&self, domain: &str, proof: ProofDigest) -> Result<(), KeepError> {
        self.set_proof([proof.as_bytes(), domain.as_bytes()].concat())
            .await
    }

    async fn hide_proof(&self, _domain: &str) {
        let is_shown = |state: &State| state.setting(PROOF).is_some_and(|set| !set.is_empty());
        if self.store.read(is_shown)
            && let Err(error) = self.set_proof(Vec::new()).await
        {
            debug!(error = %chain(&error), "proof of the domain is still shown");
        }
    }
}

impl Proofs for WebCertificate {
    async fn proof(&self, domain: &str) -> Option<ProofDigest> {
        if *domain != *self.domain {
            return None;
        }
        let _turn = self.looks.acquire().await.ok()?;
        if let Err(error) = self.confirm().await {
            let error = chain(&error);
            debug!(
                error,
                "no proof of the domain is shown: it may be that of an order before"
            );
            return None;
        }
        self.store.read(|state| {
            let (digest, proven) = state.setting(PROOF)?.split_first_chunk()?;
            (proven == domain.as_bytes()).then(|| ProofDigest::from_bytes(*digest))
        })
    }
}

/// Nobody is served who comes by another name.
impl ResolvesServerCert for WebCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificate = match hello.server_name() {
            Some(name) if *name == *self.domain => self.current()?,
            _ => return None,
        };
        Some(Arc::clone(certificate.certified()))
    }
}

/// Without what is kept.
impl fmt::Debug for WebCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebCertificate")
            .field("domain", &self.domain)
            .field("directory_url", &self.directory_url)
            .finish_non_exhaustive()
    }
}

/// Orders and renews `certificate` while this member leads, until `shutdown`.
///
/// # Errors
/// None: what fails is logged and tried again.
pub(super) async fn tend(
    certificate: Arc<WebCertificate>,
    settings: Settings,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    let store = certificate.store.clone();
    let clock = Arc::clone(&certificate.clock);
    let domain = certificate.domain.clone();
    let mut leadership = Leadership::of(&store);
    let mut tender = Tender::new(settings, [&*domain], certificate, clock);
    loop {
        if !leadership.leads() {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = leadership.gained() => tender.forget_failures(),
            }
        }
        let tended = async {
            until_kept(&store).await;
            let rest = tender.tend().await;
            tokio::time::sleep(rest).await;
        };
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            () = leadership.lost() => {}
            () = tended => {}
        }
    }
}

/// Waits until every member understands what is to be kept: nothing is ordered that has no place.
async fn until_kept(store: &Store) {
    let mut changes = store.changes_after(store.read(State::revision));
    while store.read(State::cluster_version) < KeepAcmeSecret::FORMAT {
        if changes.next().await.is_err() {
            changes = store.changes_after(store.read(State::revision));
        }
    }
}

/// The setting with the proof that is to be shown: its digest, then the domain; empty if there is none.
const PROOF: &str = "acme-proof";

/// A handshake has ten seconds.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

const MAX_LOOKS: usize = 4;

/// How often a key is sealed anew while data keys are rotated.
const MAX_TRIES: u32 = 3;

#[cfg(test)]
mod tests;
