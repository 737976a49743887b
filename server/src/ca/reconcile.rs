//! Carries out the steps that `lifecycle` finds, on the leading member, and hands this member's
//! signer whatever is active.
//!
//! The task takes no input: it looks at the records, does the next step, and looks again. It is
//! woken by changes of authorities and by a timer, so the usual case, a restart and a change of
//! leader are one path. A step that fails is tried again with the next wake-up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{convert::Infallible, sync::Arc, time::Duration};

use daemon::supervisor::Shutdown;
use identity::clock::Clock;
use raft_store::{
    ActivateAuthority, ActivateRoot, AuthorityKind, AuthorityOutcome, AuthorityRecord, Operation,
    PrepareAuthority, Proposal, ProposeError, PublishAuthority, ReadError, RemoveAuthority, Store,
    Topic,
};
use tracing::{info, warn};

use crate::ca::{
    Ca, Inner,
    activation::Activation,
    by_hand::LocalAuthorities,
    fence::Fence,
    lifecycle::{self, Above, Step},
    maker::{AuthorityMaker, MakerError, StandAlone, active},
    policy::Policy,
    report::{self, Done},
    signer::{Issuers, Signer},
    upstream::UpstreamTask,
};
use crate::leadership::{self, Leadership};
use crate::time_check::{self, WrongClock};
use crate::upstream::Upstream;

/// Keeps authorities in the state that time demands. Runs for as long as the server does.
#[derive(Debug)]
pub struct AuthorityTask {
    store: Store,
    clock: Arc<dyn Clock>,
    policy: Arc<Policy>,
    maker: AuthorityMaker,
    signer: Arc<Signer>,
    activation: Activation,
    /// Whether the seal key opens the stored keys no more, as far as operators were told.
    is_seal_key_lost: AtomicBool,
}

impl Ca {
    /// The authority whose records `store` holds, and the task that looks after it.
    ///
    /// Authorities that are active already can sign at once; on a first start the task makes them.
    pub fn open(store: Store, clock: Arc<dyn Clock>, policy: Policy) -> (Self, AuthorityTask) {
        Self::open_below(Upstream::none(), store, clock, policy)
    }

    /// The same, whose intermediates `upstream` signs if there is one. What it is needed for does
    /// [`UpstreamTask`].
    pub fn open_below(
        upstream: Upstream,
        store: Store,
        clock: Arc<dyn Clock>,
        policy: Policy,
    ) -> (Self, AuthorityTask) {
        let policy = Arc::new(policy);
        let signer = Arc::new(Signer::default());
        let activation = Activation::default();
        let maker = AuthorityMaker {
            store: store.clone(),
            clock: Arc::clone(&clock),
            policy: Arc::clone(&policy),
            upstream,
        };
        let ca = Self(Arc::new(Inner {
            signer: Arc::clone(&signer),
            policy: Arc::clone(&policy),
            clock: Arc::clone(&clock),
            activation: activation.clone(),
            fence: Fence::new(store.clone(), policy.signing_max_staleness),
        }));
        let task = AuthorityTask {
            store,
            clock,
            policy,
            maker,
            signer,
            activation,
            is_seal_key_lost: AtomicBool::new(false),
        };
        if let Err(error) = task.load_issuers() {
            warn!(
                error = &error as &dyn std::error::Error,
                "active authority cannot be used"
            );
        }
        (ca, task)
    }
}

impl AuthorityTask {
    /// The same authorities, for operators to move by hand.
    pub fn by_hand(&self, ca: &Ca) -> LocalAuthorities {
        LocalAuthorities::new(ca.clone(), self.maker.clone())
    }

    /// Does what needs the upstream; `None` if there is none.
    pub fn upstream(&self) -> Option<UpstreamTask> {
        let has_upstream = self.maker.upstream.is_there();
        has_upstream.then(|| UpstreamTask::new(self.maker.clone()))
    }

    /// Looks after the authorities until `shutdown`.
    ///
    /// # Errors
    /// None: failures are logged, and what failed is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut authorities = self.store.signal(Topic::Authorities);
        let mut leadership = Leadership::of(&self.store);
        loop {
            if let Err(error) = self.settle().await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "authorities are not settled"
                );
            }
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = authorities.raised() => {}
                // What the last leader left is taken up at once.
                () = leadership.gained() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Does every step that is due now, then returns.
    ///
    /// # Errors
    /// The first step that failed; the records are as the step before left them.
    pub(crate) async fn settle(&self) -> Result<(), StepError> {
        let loaded = self.load_issuers();
        self.check_seal_key();
        self.tend_data_keys().await;
        if !leadership::leads(&self.store) {
            return loaded;
        }
        for kind in AuthorityKind::ALL {
            // A kind needs a handful of steps even after a long standstill.
            for _ in 0..MAX_STEPS {
                if !self.take_step(kind).await? {
                    break;
                }
            }
        }
        loaded
    }

    /// Tells operators, once, that the seal key was replaced or taken away while this member runs.
    fn check_seal_key(&self) {
        let checked = self.store.check_seal_key();
        let was_lost = self
            .is_seal_key_lost
            .swap(checked.is_err(), Ordering::Relaxed);
        match checked {
            Err(error) if !was_lost => warn!(
                error = &error as &dyn std::error::Error,
                "seal key does not open the stored keys any more: this member would not start again, and \
                 seals nothing until that is mended"
            ),
            Ok(()) if was_lost => info!("seal key opens the stored keys again"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Renews the data key when it is due. A failure must not keep authorities from their steps.
    async fn tend_data_keys(&self) {
        match self.store.tend_data_keys(self.clock.now()).await {
            Ok(None) => {}
            Ok(Some(rotation)) => info!(
                data_key = rotation.data_key,
                resealed = rotation.resealed,
                removed = ?rotation.removed,
                "data key rotated"
            ),
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "data key is not rotated"
            ),
        }
    }

    /// Does the next step of one kind; says whether there was one.
    pub(super) async fn take_step(&self, kind: AuthorityKind) -> Result<bool, StepError> {
        if !self.is_wanted(kind) {
            return Ok(false);
        }
        if self.next_step(kind).is_none() {
            return Ok(false);
        }
        time_check::confirm(&self.store).await?;
        // A new leader may not have applied yet what the last one did.
        let confirmed = self.store.linearizable(CONFIRM_WITHIN).await;
        confirmed.map_err(StepError::Unconfirmed)?;
        let Some(step) = self.next_step(kind) else {
            return Ok(false);
        };
        match self.carry_out(kind, &step).await? {
            AuthorityOutcome::Done(authority) => tell(&step, &authority),
            AuthorityOutcome::NotFound
            | AuthorityOutcome::WrongState(_)
            | AuthorityOutcome::SlotTaken
            | AuthorityOutcome::UnknownDataKey
            | AuthorityOutcome::Full => return Err(StepError::Overtaken),
        }
        self.load_issuers()?;
        Ok(true)
    }

    fn is_wanted(&self, kind: AuthorityKind) -> bool {
        match kind {
            AuthorityKind::X509Root | AuthorityKind::X509Intermediate => true,
            AuthorityKind::Jwt => self.policy.jwt_enabled,
            AuthorityKind::Peer => self.policy.peer_trust_domain.is_some(),
        }
    }

    fn next_step(&self, kind: AuthorityKind) -> Option<Step> {
        let step = self.maker.next_step(kind)?;
        // What the upstream is needed for is not for here: it may take its time.
        let is_ours = !self.maker.upstream.is_there() || !needs_upstream(kind, &step);
        is_ours.then_some(step)
    }

    async fn carry_out(
        &self,
        kind: AuthorityKind,
        step: &Step,
    ) -> Result<AuthorityOutcome, StepError> {
        let trust_domain = self.policy.trust_domain.clone();
        match step.clone() {
            Step::Prepare => {
                let authority = self.new_record(kind).await?;
                self.propose(PrepareAuthority { authority }).await
            }
            Step::Publish(id) => {
                self.propose(PublishAuthority {
                    kind,
                    id,
                    trust_domain,
                })
                .await
            }
            Step::Activate(id) => self.activate(kind, id).await,
            Step::Remove(id) => {
                self.propose(RemoveAuthority {
                    kind,
                    id,
                    trust_domain,
                })
                .await
            }
        }
    }

    async fn propose<O>(&self, operation: O) -> Result<AuthorityOutcome, StepError>
    where
        O: Operation<Outcome = AuthorityOutcome>,
    {
        let proposal = Proposal::new(self.clock.now());
        self.store
            .propose(operation, proposal)
            .await
            .map_err(StepError::Store)
    }

    /// A root that takes over from another one does so together with an intermediate of its own.
    async fn activate(
        &self,
        kind: AuthorityKind,
        id: Box<str>,
    ) -> Result<AuthorityOutcome, StepError> {
        let (root, takes_over) = self.store.read(|state| {
            let takes_over = active(state, kind).is_some() && state.cluster_version() >= ROTATION;
            (state.authority(kind, &id).cloned(), takes_over)
        });
        let root = root.filter(|root| root.kind == AuthorityKind::X509Root && takes_over);
        let Some(root) = root else {
            return self.propose(ActivateAuthority { kind, id }).await;
        };
        let intermediate = self.maker.make_below(&root).await?;
        self.propose(ActivateRoot { id, intermediate }).await
    }

    async fn new_record(&self, kind: AuthorityKind) -> Result<AuthorityRecord, StepError> {
        let made = match (kind, &self.policy.peer_trust_domain) {
            (AuthorityKind::X509Root, _) => self.maker.make(StandAlone::Root).await,
            (AuthorityKind::Jwt, _) => self.maker.make(StandAlone::Jwt).await,
            (AuthorityKind::Peer, Some(domain)) => {
                self.maker.make(StandAlone::Peer(domain.clone())).await
            }
            (AuthorityKind::X509Intermediate, _) => {
                let root = self
                    .store
                    .read(|state| active(state, AuthorityKind::X509Root));
                let root = root.ok_or(StepError::Overtaken)?;
                self.maker.make_below(&root).await
            }
            (AuthorityKind::Peer, None) => return Err(StepError::Overtaken),
        };
        Ok(made?)
    }

    /// Lets the signer use the authorities that are active now. Ids are never used twice, so an
    /// authority that is held already needs no second look.
    fn load_issuers(&self) -> Result<(), StepError> {
        let (x509, jwt, peer) = self.store.read(|state| {
            (
                active(state, AuthorityKind::X509Intermediate),
                active(state, AuthorityKind::Jwt),
                active(state, AuthorityKind::Peer),
            )
        });
        let held = self.signer.issuers();
        let held_x509 = held.x509.as_ref().map(|issuer| issuer.id());
        let held_jwt = held.jwt.as_ref().map(|issuer| issuer.key_id());
        let held_peer = held.peer.as_ref().map(|issuer| issuer.id());
        if held_x509 == x509.as_ref().map(|record| &*record.id)
            && held_jwt == jwt.as_ref().map(|record| &*record.id)
            && held_peer == peer.as_ref().map(|record| &*record.id)
        {
            return Ok(());
        }
        let issuers = Issuers {
            x509: x509
                .map(|record| self.maker.x509_issuer(&record))
                .transpose()?
                .map(Arc::new),
            jwt: jwt
                .map(|record| self.maker.jwt_issuer(&record))
                .transpose()?
                .map(Arc::new),
            peer: peer
                .map(|record| self.maker.x509_issuer(&record))
                .transpose()?
                .map(Arc::new),
        };
        self.signer.replace(issuers);
        self.activation.announce();
        Ok(())
    }
}

/// Why a step was not done; the next wake-up tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// The store did not take the step, or did not say whether it did.
    #[error("store did not take the step")]
    Store(#[source] ProposeError),
    /// It is not certain that this member has seen every step.
    #[error("state could not be confirmed")]
    Unconfirmed(#[source] ReadError),
    /// Time has come by this member's clock alone.
    #[error(transparent)]
    WrongClock(#[from] WrongClock),
    /// The records changed in the meantime: somebody else did a step.
    #[error("authorities changed in the meantime")]
    Overtaken,
    /// The upstream has nothing else to sign with than what it tells to leave.
    #[error("upstream authority still signs with a tainted authority")]
    StillTainted,
    /// An authority could not be made or opened.
    #[error(transparent)]
    Maker(#[from] MakerError),
}

/// How often the time is looked at, as in SPIRE.
const TICK: Duration = Duration::from_secs(10);

const MAX_STEPS: usize = 16;

/// How long a member may take to learn that it still leads and what was done before.
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// The command format that has rotation by hand.
const ROTATION: u32 = 2;

/// Whether an upstream, if there is one, has to do something for the step: sign an intermediate, or
/// publish a JWT key.
pub(super) fn needs_upstream(kind: AuthorityKind, step: &Step) -> bool {
    matches!(
        (kind, step),
        (AuthorityKind::X509Intermediate, Step::Prepare) | (AuthorityKind::Jwt, Step::Publish(_))
    )
}

impl AuthorityMaker {
    /// What has to happen next to the authorities of a kind, by the records as they are now.
    pub(super) fn next_step(&self, kind: AuthorityKind) -> Option<Step> {
        let now = self.clock.now();
        let is_below_upstream = self.upstream.is_there();
        self.store.read(|state| {
            let of_kind = |kind| state.authorities(kind).cloned().collect::<Vec<_>>();
            if kind == AuthorityKind::X509Root && is_below_upstream {
                let intermediates = of_kind(AuthorityKind::X509Intermediate);
                return lifecycle::next_step_of_former_roots(&of_kind(kind), &intermediates);
            }
            let root = active(state, AuthorityKind::X509Root);
            let above = match &root {
                _ if is_below_upstream => Above::Upstream,
                Some(root) => Above::Root(root),
                None => Above::Nobody,
            };
            lifecycle::next_step(kind, &of_kind(kind), above, now)
        })
    }
}

fn tell(step: &Step, authority: &AuthorityRecord) {
    let done = match step {
        Step::Prepare => Done::Prepared,
        Step::Publish(_) => Done::Published,
        Step::Activate(_) => Done::Activated,
        Step::Remove(_) => Done::Removed,
    };
    report::step(done, authority);
}
