//! Carries out the steps that `lifecycle` finds, on the leading member, and hands this member's
//! signer whatever is active.
//!
//! The task takes no input: it looks at the records, does the next step, and looks again. It is
//! woken by changes of authorities and by a timer, so the usual case, a restart and a change of
//! leader are one path. A step that fails is tried again with the next wake-up.

use std::{convert::Infallible, sync::Arc, time::Duration};

use daemon::supervisor::Shutdown;
use identity::{
    clock::Clock,
    lifetime::BACKDATE,
    secret::{KeyError, PrivateKey},
};
use raft_store::{
    ActivateAuthority, AuthorityKind, AuthorityOutcome, AuthorityRecord, AuthorityState,
    ChangeKind, Changes, Operation, PrepareAuthority, Proposal, ProposeError, PublishAuthority,
    ReadError, RecordName, RemoveAuthority, SealError, State, Store,
};
use tracing::{info, warn};

use crate::ca::{
    Ca, Inner,
    activation::Activation,
    authority::{MakeError, NewAuthority, Root},
    certificate::Validity,
    fence::Fence,
    lifecycle::{self, Step},
    policy::Policy,
    signer::{Issuers, JwtIssuer, SignError, Signer, X509Issuer},
};
use crate::leadership::{self, Leadership};

/// Keeps authorities in the state that time demands. Runs for as long as the server does.
#[derive(Debug)]
pub struct AuthorityTask {
    store: Store,
    clock: Arc<dyn Clock>,
    policy: Arc<Policy>,
    signer: Arc<Signer>,
    activation: Activation,
}

impl Ca {
    /// The authority whose records `store` holds, and the task that looks after it.
    ///
    /// Authorities that are active already can sign at once; on a first start the task makes them.
    pub fn open(store: Store, clock: Arc<dyn Clock>, policy: Policy) -> (Self, AuthorityTask) {
        let policy = Arc::new(policy);
        let signer = Arc::new(Signer::default());
        let activation = Activation::default();
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
            signer,
            activation,
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
    /// Looks after the authorities until `shutdown`.
    ///
    /// # Errors
    /// None: failures are logged, and what failed is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut changes = self.store.changes_after(self.store.read(State::revision));
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
                () = authority_changed(&self.store, &mut changes) => {}
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
        // A new leader may not have applied yet what the last one did.
        let confirmed = self.store.linearizable(CONFIRM_WITHIN).await;
        confirmed.map_err(StepError::Unconfirmed)?;
        let Some(step) = self.next_step(kind) else {
            return Ok(false);
        };
        match self.carry_out(kind, &step).await? {
            AuthorityOutcome::Done(authority) => report(&step, &authority),
            AuthorityOutcome::NotFound
            | AuthorityOutcome::WrongState(_)
            | AuthorityOutcome::SlotTaken
            | AuthorityOutcome::UnknownDataKey => return Err(StepError::Overtaken),
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
        let now = self.clock.now();
        self.store.read(|state| {
            let authorities: Vec<_> = state.authorities(kind).cloned().collect();
            let root = active(state, AuthorityKind::X509Root);
            lifecycle::next_step(kind, &authorities, root.as_deref(), now)
        })
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
            Step::Activate(id) => self.propose(ActivateAuthority { kind, id }).await,
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

    /// Makes an authority; its key leaves this function sealed.
    async fn new_record(&self, kind: AuthorityKind) -> Result<AuthorityRecord, StepError> {
        let policy = Arc::clone(&self.policy);
        let now = self.clock.now();
        let root = match kind {
            AuthorityKind::X509Intermediate => Some(self.unsealed_root()?),
            AuthorityKind::X509Root | AuthorityKind::Jwt | AuthorityKind::Peer => None,
        };
        let making =
            tokio::task::spawn_blocking(move || match (kind, root, &policy.peer_trust_domain) {
                (AuthorityKind::Jwt, ..) => NewAuthority::jwt(&policy, now),
                (AuthorityKind::Peer, _, Some(domain)) => NewAuthority::peer(domain, now),
                (_, Some(root), _) => NewAuthority::intermediate(&policy, root, now),
                (_, None, _) => NewAuthority::root(&policy, now),
            });
        let new = making.await.map_err(StepError::Interrupted)??;
        let sealed_key = self
            .store
            .seal(&RecordName::authority(kind, new.id()), new.key().pkcs8())?;
        Ok(new.into_record(sealed_key))
    }

    /// The active root with its key, which leaves the store for one signature only.
    fn unsealed_root(&self) -> Result<Root, StepError> {
        let root = self
            .store
            .read(|state| active(state, AuthorityKind::X509Root));
        let root = root.ok_or(StepError::Overtaken)?;
        Ok(Root {
            id: root.id.clone(),
            issuer: self.x509_issuer(&root)?,
        })
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
                .map(|record| self.x509_issuer(&record))
                .transpose()?
                .map(Arc::new),
            jwt: jwt
                .map(|record| self.jwt_issuer(&record))
                .transpose()?
                .map(Arc::new),
            peer: peer
                .map(|record| self.x509_issuer(&record))
                .transpose()?
                .map(Arc::new),
        };
        self.signer.replace(issuers);
        self.activation.announce();
        Ok(())
    }

    fn x509_issuer(&self, record: &AuthorityRecord) -> Result<X509Issuer, StepError> {
        let certificate = record.certificate.clone().ok_or(StepError::NoCertificate)?;
        let key = self.unsealed_key(record)?;
        X509Issuer::new(record.id.clone(), certificate, key).map_err(StepError::Sign)
    }

    fn jwt_issuer(&self, record: &AuthorityRecord) -> Result<JwtIssuer, StepError> {
        let validity = Validity {
            not_before: record.issued_at.saturating_sub(BACKDATE),
            not_after: record.not_after,
        };
        Ok(JwtIssuer::new(
            record.id.clone(),
            self.unsealed_key(record)?,
            validity,
        ))
    }

    fn unsealed_key(&self, record: &AuthorityRecord) -> Result<PrivateKey, StepError> {
        let name = RecordName::authority(record.kind, &record.id);
        let pkcs8 = self.store.unseal(&name, &record.sealed_key)?;
        PrivateKey::from_pkcs8(pkcs8.expose()).map_err(StepError::Key)
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
    /// The records changed in the meantime: somebody else did a step.
    #[error("authorities changed in the meantime")]
    Overtaken,
    /// A new authority could not be made.
    #[error("authority could not be made")]
    Make(#[from] MakeError),
    /// The thread that makes it did not finish.
    #[error("making of an authority was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    /// A key could not be sealed or unsealed.
    #[error("key could not be sealed or unsealed")]
    Seal(#[from] SealError),
    /// An unsealed key cannot be read.
    #[error("unsealed key cannot be read")]
    Key(#[source] KeyError),
    /// The record of an X.509 authority holds no certificate.
    #[error("x509 authority without a certificate")]
    NoCertificate,
    /// The certificate of an authority does not fit its key.
    #[error("authority cannot be used")]
    Sign(#[source] SignError),
}

/// How often the time is looked at, as in SPIRE.
const TICK: Duration = Duration::from_secs(10);

const MAX_STEPS: usize = 16;

/// How long a member may take to learn that it still leads and what was done before.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

fn active(state: &State, kind: AuthorityKind) -> Option<Arc<AuthorityRecord>> {
    state
        .authorities(kind)
        .find(|authority| authority.state == AuthorityState::Active)
        .cloned()
}

/// Completes when an authority was changed. Cancel-safe: a change that was read is not acted on
/// here, and the records are looked at again anyway.
async fn authority_changed(store: &Store, changes: &mut Changes) {
    loop {
        match changes.next().await {
            Ok(batch) => {
                if batch
                    .iter()
                    .any(|change| matches!(change.kind, ChangeKind::Authority { .. }))
                {
                    return;
                }
            }
            Err(_compacted) => {
                *changes = store.changes_after(store.read(State::revision));
                return;
            }
        }
    }
}

/// One log line for each step, in the words that operators' scripts wait for.
fn report(step: &Step, authority: &AuthorityRecord) {
    let what = match authority.kind {
        AuthorityKind::X509Root => "X509 root CA",
        AuthorityKind::X509Intermediate => "X509 CA",
        AuthorityKind::Jwt => "JWT key",
        AuthorityKind::Peer => "peer CA",
    };
    let done = match step {
        Step::Prepare => "prepared",
        Step::Publish(_) => "published",
        Step::Activate(_) => "activated",
        Step::Remove(_) => "removed",
    };
    info!(
        local_authority_id = %authority.id,
        issued_at = authority.issued_at.as_secs(),
        expires_at = authority.not_after.as_secs(),
        "{what} {done}"
    );
}
