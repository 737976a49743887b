//! Obtains certificates and renews them in time.

use std::{collections::BTreeMap, convert::Infallible, fmt, sync::Arc, time::Duration};

use daemon::supervisor::{Shutdown, chain};
use identity::clock::Clock;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use crate::{
    certificate::Certificate,
    keeper::Keeper,
    order::{OrderError, obtain},
    schedule::Failures,
    settings::Settings,
};

/// Tends the certificates of some domains, which [`Keeper`] keeps.
pub struct Tender<K> {
    settings: Settings,
    keeper: Arc<K>,
    clock: Arc<dyn Clock>,
    domains: BTreeMap<Box<str>, Tended>,
}

/// How it stands with a domain.
#[derive(Clone, Debug, Default)]
struct Tended {
    failures: Failures,
    trouble: Option<String>,
}

impl<K: Keeper> Tender<K> {
    /// One certificate for each of `domains`. Warns if the terms of service are not agreed to.
    pub fn new<'a>(
        settings: Settings,
        domains: impl IntoIterator<Item = &'a str>,
        keeper: Arc<K>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        if !settings.terms_accepted() {
            warn!(
                directory_url = settings.directory_url(),
                "ACME Terms of Service have not been accepted. See the `tos_accepted` configurable"
            );
        }
        let fresh = |domain: &str| (domain.into(), Tended::default());
        Self {
            settings,
            keeper,
            clock,
            domains: domains.into_iter().map(fresh).collect(),
        }
    }

    /// Tends until `shutdown`.
    ///
    /// # Errors
    /// None: what fails is logged and tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        loop {
            let rest = tokio::select! {
                () = shutdown.requested() => return Ok(()),
                rest = self.tend() => rest,
            };
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Obtains what is missing and renews what is due, one after the other, and answers how long nothing is
    /// to be done then. What fails is logged, and due again after a while.
    ///
    /// Cancel-safe: nothing is half kept.
    pub async fn tend(&mut self) -> Duration {
        let names: Vec<Box<str>> = self.domains.keys().cloned().collect();
        let mut rest = LONGEST_REST;
        for domain in &names {
            rest = rest.min(self.tend_one(domain).await);
        }
        rest.max(SHORTEST_REST)
    }

    /// What failed may be tried again at once: somebody else tried before.
    pub fn forget_failures(&mut self) {
        for tended in self.domains.values_mut() {
            tended.failures = Failures::default();
        }
    }

    /// Why a domain has no certificate, or its certificate was not renewed, for each with which that is so.
    pub fn troubles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.domains
            .iter()
            .filter_map(|(domain, tended)| Some((&**domain, tended.trouble.as_deref()?)))
    }

    async fn tend_one(&mut self, domain: &str) -> Duration {
        let mut tended = self.domains.get(domain).cloned().unwrap_or_default();
        let rest = tended.failures.rest(Instant::now());
        if !rest.is_zero() {
            return rest;
        }
        let within = self.settings.patience().order;
        let rest = match timeout(within, self.renew(domain)).await {
            Ok(Ok(rest)) => {
                tended = Tended::default();
                rest
            }
            Ok(Err(error)) => self.failed(domain, &mut tended, &error),
            Err(_) => self.failed(domain, &mut tended, &OrderError::TooLong(within)),
        };
        self.domains.insert(domain.into(), tended);
        rest
    }

    /// Renews the certificate if it is due; how long it is not.
    async fn renew(&self, domain: &str) -> Result<Duration, OrderError> {
        if let Some(held) = self.keeper.certificate(domain).await? {
            let rest = held.renew_at().saturating_duration_since(self.clock.now());
            if !rest.is_zero() {
                return Ok(rest);
            }
        }
        let directory_url = self.settings.directory_url();
        info!(domain, directory_url, "certificate is being obtained");
        let certificate = self.order(domain).await?;
        let now = self.clock.now();
        if certificate.not_after() <= now {
            return Err(OrderError::Unexpected("its certificate is over"));
        }
        let rest = certificate.renew_at().saturating_duration_since(now);
        let not_after = certificate.not_after();
        self.keeper.keep_certificate(domain, certificate).await?;
        info!(domain, %not_after, renewal_in_s = rest.as_secs(), "certificate obtained");
        Ok(rest)
    }

    /// Orders in a task of its own: should the library panic at what the ACME server says, that is one more
    /// failure.
    async fn order(&self, domain: &str) -> Result<Certificate, OrderError> {
        let (settings, keeper) = (self.settings.clone(), Arc::clone(&self.keeper));
        let domain: Box<str> = domain.into();
        let mut order = JoinSet::new();
        order.spawn(async move { obtain(&settings, &domain, &*keeper).await });
        match order.join_next().await {
            Some(Ok(obtained)) => obtained,
            Some(Err(_)) | None => Err(OrderError::Unexpected("it made the client fail")),
        }
    }

    fn failed(&self, domain: &str, tended: &mut Tended, error: &OrderError) -> Duration {
        let random = uuid::Uuid::new_v4().into_bytes()[0];
        let wait = tended.failures.count(Instant::now(), random);
        let error = tended.trouble.insert(shortened(chain(error)));
        warn!(
            error,
            domain,
            directory_url = self.settings.directory_url(),
            retry_in_s = wait.as_secs(),
            "certificate was not obtained"
        );
        wait
    }
}

impl<K> fmt::Debug for Tender<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tender")
            .field("settings", &self.settings)
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}

/// An ACME server may say as much as it likes.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_LEN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Times are looked at anew at least so often: clocks are set, and certificates replaced by others.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// A certificate that is due as soon as it is issued is not ordered without end.
const SHORTEST_REST: Duration = Duration::from_secs(5);

const MAX_ERROR_LEN: usize = 1000;
