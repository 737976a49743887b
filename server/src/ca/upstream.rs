//! Does what an upstream is needed for, on the leading member alone: asks for intermediates,
//! publishes JWT keys upwards, and lets the own bundle follow the upstream's.
//!
//! Beside `reconcile`, so that an upstream that hangs holds up nothing else. Like it, the task takes
//! no input: it looks at the records and does what is missing. What it stores is one entry each: an
//! intermediate with its upstream's roots, so that these are in the bundle before it signs.

use std::{convert::Infallible, error::Error, sync::Arc, time::Duration};

use daemon::supervisor::{Shutdown, chain};
use identity::{
    bundle::{Bundle, JwtAuthority, X509Authority},
    tls::{Issuers, TaintedAuthorities},
};
use parking_lot::Mutex;
use raft_store::{
    ActivateAuthority, AuthorityKind, AuthorityOutcome, AuthorityRecord, AuthorityState, Operation,
    PrepareBelowUpstream, Proposal, PublishAuthority, State, SyncUpstreamBundle, Topic,
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::ca::{
    lifecycle::{MAX_AUTHORITIES, Step},
    maker::{AuthorityMaker, MakerError, active},
    reconcile::{CONFIRM_WITHIN, StepError, needs_upstream},
    report::{self, Done},
};
use crate::leadership::{self, Leadership};
use crate::time_check;

/// Keeps what comes from the upstream in the state that time and the upstream demand. Runs for as
/// long as the server does.
#[derive(Debug)]
pub struct UpstreamTask {
    maker: AuthorityMaker,
    trouble: UpstreamTrouble,
    /// JWT keys that the upstream was given, and when.
    given: Mutex<Vec<(Box<str>, Instant)>>,
}

/// What keeps the upstream from doing its part. A clone tells of the same one.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTrouble(Arc<Mutex<Option<String>>>);

impl UpstreamTrouble {
    /// The last failure, if nothing has succeeded since.
    pub fn now(&self) -> Option<String> {
        self.0.lock().clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock() = trouble;
    }
}

impl UpstreamTask {
    pub(super) fn new(maker: AuthorityMaker) -> Self {
        Self {
            maker,
            trouble: UpstreamTrouble::default(),
            given: Mutex::default(),
        }
    }

    /// What keeps the upstream from doing its part, for whoever tells of it.
    pub fn trouble(&self) -> UpstreamTrouble {
        self.trouble.clone()
    }

    /// Does what is due, again and again, until `shutdown`.
    ///
    /// # Errors
    /// None: failures are logged, and what failed is tried again after a while.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let store = &self.maker.store;
        let mut authorities = store.signal(Topic::Authorities);
        let mut leadership = Leadership::of(store);
        let mut pause = Pause::default();
        loop {
            let tended = tokio::select! {
                () = shutdown.requested() => return Ok(()),
                tended = self.tend() => tended,
            };
            let wait = match &tended {
                Ok(()) => pause.after_success(),
                Err(error) => {
                    let wait = pause.after_failure();
                    warn!(
                        error = error as &dyn Error,
                        upstream_authority = self.maker.upstream.name(),
                        retry_in_s = wait.as_secs(),
                        "upstream authority did not do its part"
                    );
                    wait
                }
            };
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = leadership.gained() => pause = Pause::default(),
                () = authorities.raised(), if tended.is_ok() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does everything that is due now.
    ///
    /// # Errors
    /// The first thing that failed; the others were tried, too.
    pub(crate) async fn tend(&self) -> Result<(), StepError> {
        if !leadership::leads(&self.maker.store) {
            self.maker.upstream.rest().await;
            self.trouble.set(None);
            return Ok(());
        }
        let intermediate = self.tend_intermediate().await;
        let bundle = self.follow_bundle().await;
        let keys = self.publish_keys().await;
        let all = intermediate.and(bundle).and(keys);
        let told = all.as_ref().err().map(|error| chain(error));
        self.trouble.set(told);
        all
    }

    async fn tend_intermediate(&self) -> Result<(), StepError> {
        const KIND: AuthorityKind = AuthorityKind::X509Intermediate;
        let is_due = || self.due(KIND) == Some(Step::Prepare);
        if !is_due() {
            return Ok(());
        }
        self.confirm_due().await?;
        if !is_due() {
            return Ok(());
        }
        let prepared = self.prepare(Coming::Stays).await?;
        report::step(Done::Prepared, &prepared);
        Ok(())
    }

    /// Stores a new intermediate as published.
    async fn prepare(&self, coming: Coming) -> Result<Arc<AuthorityRecord>, StepError> {
        let operation = self.maker.new_below_upstream(coming).await?;
        match self.propose(operation).await? {
            AuthorityOutcome::Done(authority) => Ok(authority),
            AuthorityOutcome::NotFound
            | AuthorityOutcome::WrongState(_)
            | AuthorityOutcome::SlotTaken
            | AuthorityOutcome::UnknownDataKey
            | AuthorityOutcome::Full => Err(StepError::Overtaken),
        }
    }

    /// Publishes the JWT key that waits for it, and gives the upstream those that it lacks.
    async fn publish_keys(&self) -> Result<(), StepError> {
        const KIND: AuthorityKind = AuthorityKind::Jwt;
        if !self.maker.policy.jwt_enabled {
            return Ok(());
        }
        let Some(Step::Publish(id)) = self.due(KIND) else {
            return Ok(());
        };
        self.confirm_due().await?;
        let found = |state: &State| state.authority(KIND, &id).cloned();
        let Some(key) = self.maker.store.read(found) else {
            return Ok(());
        };
        self.give(&key).await?;
        let operation = PublishAuthority {
            kind: KIND,
            id,
            trust_domain: self.maker.policy.trust_domain.clone(),
        };
        match self.propose(operation).await? {
            AuthorityOutcome::Done(key) => report::step(Done::Published, &key),
            AuthorityOutcome::NotFound
            | AuthorityOutcome::WrongState(_)
            | AuthorityOutcome::SlotTaken
            | AuthorityOutcome::UnknownDataKey
            | AuthorityOutcome::Full => return Err(StepError::Overtaken),
        }
        Ok(())
    }

    async fn give(&self, key: &AuthorityRecord) -> Result<(), StepError> {
        let keys = self.maker.publish_upwards(key).await?;
        {
            let mut given = self.given.lock();
            given.retain(|(id, at)| *id != key.id && at.elapsed() < GIVE_AGAIN_AFTER);
            given.push((key.id.clone(), Instant::now()));
        }
        self.sync(Vec::new(), keys).await
    }

    /// Lets the own bundle follow the upstream's. What stands below a tainted root is replaced here
    /// before everybody else is told to do so.
    async fn follow_bundle(&self) -> Result<(), StepError> {
        let bundle = self.maker.upstream.bundle().await;
        let Some(mut bundle) = bundle.map_err(MakerError::Upstream)? else {
            return Ok(());
        };
        if let Some(tainted) = self.newly_tainted(&bundle) {
            self.confirm().await?;
            if let Err(error) = self.leave(&tainted).await {
                warn!(
                    error = &error as &dyn Error,
                    "Failed to process tainted keys on upstream authority"
                );
                // Nobody could replace anything: that is told once it can be done.
                for root in &mut bundle.x509_authorities {
                    root.tainted = false;
                }
            }
        }
        self.give_missing(&bundle.jwt_authorities).await?;
        self.sync(bundle.x509_authorities, bundle.jwt_authorities)
            .await
    }

    /// The tainted roots that the own bundle does not mark yet.
    fn newly_tainted(&self, given: &Bundle) -> Option<TaintedAuthorities> {
        let own = &self.maker.policy.trust_domain;
        let held = self.maker.store.read(|state| state.bundle(own).cloned());
        let is_known = |root: &X509Authority| {
            let mut held = held.iter().flat_map(|held| &held.x509_authorities);
            held.any(|known| known.tainted && known.certificate == root.certificate)
        };
        let mut new = Bundle::clone(given);
        new.x509_authorities
            .retain(|root| root.tainted && !is_known(root));
        let tainted = TaintedAuthorities::of(&new);
        (!tainted.is_empty()).then_some(tainted)
    }

    /// Signs below none of these roots any more.
    async fn leave(&self, tainted: &TaintedAuthorities) -> Result<(), StepError> {
        const KIND: AuthorityKind = AuthorityKind::X509Intermediate;
        let is_below = |authority: &AuthorityRecord| {
            let above = authority.upstream_chain.iter().flatten();
            let chain: Vec<_> = authority.certificate.iter().chain(above).cloned().collect();
            tainted.stand_behind(&Issuers::of(&chain))
        };
        let (active, next) = self.maker.store.read(|state| {
            let mut all = state.authorities(KIND);
            let next = all.find(|one| one.state == AuthorityState::Published);
            (active(state, KIND), next.cloned())
        });
        if !active.is_some_and(|active| is_below(&active)) {
            return Ok(());
        }
        info!("Current root CA is signed by a tainted upstream authority, preparing rotation");
        let next = match next {
            Some(next) if !is_below(&next) => next,
            Some(_) | None => {
                let prepared = self.prepare(Coming::GivesWay).await?;
                report::step(Done::Prepared, &prepared);
                prepared
            }
        };
        if is_below(&next) {
            return Err(StepError::StillTainted);
        }
        let (kind, id) = (KIND, next.id.clone());
        match self.propose(ActivateAuthority { kind, id }).await? {
            AuthorityOutcome::Done(activated) => report::step(Done::Activated, &activated),
            AuthorityOutcome::NotFound
            | AuthorityOutcome::WrongState(_)
            | AuthorityOutcome::SlotTaken
            | AuthorityOutcome::UnknownDataKey
            | AuthorityOutcome::Full => return Err(StepError::Overtaken),
        }
        Ok(())
    }

    /// An upstream may have lost keys that it had, or never had those of a server that was its own
    /// root before.
    async fn give_missing(&self, held: &[JwtAuthority]) -> Result<(), StepError> {
        if !self.maker.policy.jwt_enabled {
            return Ok(());
        }
        let own = self.maker.store.read(|state| {
            let keys = state.authorities(AuthorityKind::Jwt);
            keys.cloned().collect::<Vec<_>>()
        });
        let now = self.maker.clock.now();
        for key in own {
            let signs = match key.state {
                AuthorityState::Published | AuthorityState::Active | AuthorityState::Old => true,
                AuthorityState::Prepared | AuthorityState::Tainted | AuthorityState::Revoked => {
                    false
                }
            };
            let is_held = held.iter().any(|one| one.key_id == key.id);
            let was_given =
                |(id, at): &(Box<str>, Instant)| *id == key.id && at.elapsed() < GIVE_AGAIN_AFTER;
            if signs && !is_held && now < key.not_after && !self.given.lock().iter().any(was_given)
            {
                self.give(&key).await?;
            }
        }
        Ok(())
    }

    async fn sync(
        &self,
        x509: Vec<X509Authority>,
        mut jwt: Vec<JwtAuthority>,
    ) -> Result<(), StepError> {
        let now = self.maker.clock.now();
        jwt.retain(|key| key.expires_at.is_none_or(|end| now <= end));
        let command = SyncUpstreamBundle {
            trust_domain: self.maker.policy.trust_domain.clone(),
            x509,
            jwt,
        };
        let store = &self.maker.store;
        let says_nothing = command.x509.is_empty() && command.jwt.is_empty();
        if !says_nothing && store.read(|state| state.lacks_of_upstream(&command)) {
            let own = &self.maker.policy.trust_domain;
            let held = store.read(|state| state.bundle(own).cloned());
            let proposal = Proposal::new(now);
            let stored = store.propose(command, proposal).await;
            let bundle = stored.map_err(StepError::Store)?;
            if let Some(held) = held {
                report::revoked_above(&held, &bundle);
            }
            info!(
                sequence = bundle.sequence,
                x509_authorities = bundle.x509_authorities.len(),
                jwt_authorities = bundle.jwt_authorities.len(),
                "bundle follows the upstream authority"
            );
        }
        Ok(())
    }

    /// The step that is due, if it needs the upstream.
    fn due(&self, kind: AuthorityKind) -> Option<Step> {
        let step = self.maker.next_step(kind)?;
        needs_upstream(kind, &step).then_some(step)
    }

    /// What is due by this member's clock may not be by the others'.
    async fn confirm_due(&self) -> Result<(), StepError> {
        time_check::confirm(&self.maker.store).await?;
        self.confirm().await
    }

    /// A new leader may not have applied yet what the last one did.
    async fn confirm(&self) -> Result<(), StepError> {
        let confirmed = self.maker.store.linearizable(CONFIRM_WITHIN).await;
        confirmed.map(drop).map_err(StepError::Unconfirmed)
    }

    async fn propose<O>(&self, operation: O) -> Result<AuthorityOutcome, StepError>
    where
        O: Operation<Outcome = AuthorityOutcome>,
    {
        let proposal = Proposal::new(self.maker.clock.now());
        let proposed = self.maker.store.propose(operation, proposal).await;
        proposed.map_err(StepError::Store)
    }
}

/// What becomes of an intermediate that is on its way already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coming {
    /// It stays, and no other one is stored.
    Stays,
    /// It has signed nothing, and goes.
    GivesWay,
}

impl AuthorityMaker {
    /// A new intermediate from the upstream, to be stored with the upstream's roots.
    pub(super) async fn new_below_upstream(
        &self,
        coming: Coming,
    ) -> Result<PrepareBelowUpstream, MakerError> {
        let made = self.make_below_upstream().await?;
        Ok(PrepareBelowUpstream {
            authority: made.authority,
            roots: made.roots,
            trust_domain: self.policy.trust_domain.clone(),
            at_most: AT_MOST,
            only_if_none_is_coming: coming == Coming::Stays,
        })
    }
}

pub(super) const AT_MOST: u32 = 3;
const _: () = assert!(AT_MOST as usize == MAX_AUTHORITIES, "one limit");

/// How long to wait for the next look.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
}

impl Pause {
    fn after_success(&mut self) -> Duration {
        self.failures = 0;
        POLL
    }

    /// Doubles with every failure, and is never the same on two members.
    fn after_failure(&mut self) -> Duration {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let byte = uuid::Uuid::new_v4().as_bytes()[0];
        let share = 0.75 + 0.25 * f64::from(byte) / f64::from(u8::MAX);
        doubled.min(LONGEST_RETRY).mul_f64(share)
    }
}

/// How often the upstream's bundle is looked at, as in SPIRE.
const POLL: Duration = Duration::from_secs(5);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long a key that the upstream took may be missing from its bundle.
const GIVE_AGAIN_AFTER: Duration = Duration::from_secs(60);
