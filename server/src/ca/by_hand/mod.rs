//! Authorities as operators see and move them, on any member.
//!
//! Each step is one store operation, decided when it is applied: two operators at once, a leader
//! that dies, or the automatic lifecycle beside it do nothing by halves. What is refused is refused
//! after a confirmed read. When a step is done, this member goes by it already.
//!
//! The X.509 authority that operators speak of is the root. Its intermediate, which signs, comes
//! with its activation. Below an upstream there is no root: they speak of the intermediate then, and of
//! the upstream's authorities ([`upstream`]).

mod upstream;

use std::{sync::Arc, time::Duration};

pub use self::upstream::UpstreamRefusal;

use raft_store::{
    ActivateAuthority, ActivateRoot, AuthorityKind, AuthorityOutcome, AuthorityRecord,
    AuthorityState, Operation, PrepareSuccessor, Proposal, ProposeError, ReadError,
    RevokeAuthority, State, TaintAuthority,
};

use crate::ca::{
    Ca,
    lifecycle::MAX_AUTHORITIES,
    maker::{AuthorityMaker, MakerError, StandAlone, active},
    report::{self, Done},
    upstream::{AT_MOST, Coming},
};
use crate::time_check::{self, WrongClock};

/// The kinds that operators move.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LocalKind {
    /// X.509: the root, or below an upstream the intermediate.
    X509,
    /// JWT.
    Jwt,
}

impl LocalKind {
    const fn stand_alone(self) -> StandAlone {
        match self {
            Self::X509 => StandAlone::Root,
            Self::Jwt => StandAlone::Jwt,
        }
    }
}

/// The authorities of one kind that an operator is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalAuthorityState {
    /// Signs.
    pub active: Arc<AuthorityRecord>,
    /// Is in the bundle, and is next.
    pub prepared: Option<Arc<AuthorityRecord>>,
    /// Signed before, and may be tainted or revoked by now.
    pub old: Option<Arc<AuthorityRecord>>,
}

/// What an id that an operator gave stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nothing.
    Unknown,
    /// A key in the bundle that another server signs with.
    Foreign,
    /// An authority of this server.
    Own(AuthorityState),
}

/// Moves authorities. A clone moves the same ones.
#[derive(Clone, Debug)]
pub struct LocalAuthorities {
    ca: Ca,
    maker: AuthorityMaker,
}

impl LocalAuthorities {
    pub(super) const fn new(ca: Ca, maker: AuthorityMaker) -> Self {
        Self { ca, maker }
    }

    /// Whether there are JWT authorities at all.
    pub fn has_jwt(&self) -> bool {
        self.ca.issues_jwt_svids()
    }

    /// Whether somebody above signs the X.509 authorities.
    pub fn has_upstream(&self) -> bool {
        self.maker.upstream.is_there()
    }

    fn in_store(&self, kind: LocalKind) -> AuthorityKind {
        match kind {
            LocalKind::X509 if self.has_upstream() => AuthorityKind::X509Intermediate,
            LocalKind::X509 => AuthorityKind::X509Root,
            LocalKind::Jwt => AuthorityKind::Jwt,
        }
    }

    /// The authorities of one kind, as this member knows them.
    ///
    /// # Errors
    /// [`LocalAuthorityError::NotReady`] alone.
    pub fn state(&self, kind: LocalKind) -> Result<LocalAuthorityState, LocalAuthorityError> {
        self.maker.store.read(|state| {
            // In the order of their making, which is that of their activation.
            let latest = |states: &[AuthorityState]| {
                let of_kind = state.authorities(self.in_store(kind));
                let fitting = of_kind.filter(|one| states.contains(&one.state));
                fitting.last().cloned()
            };
            Ok(LocalAuthorityState {
                active: active(state, self.in_store(kind)).ok_or(LocalAuthorityError::NotReady)?,
                prepared: latest(&[AuthorityState::Prepared, AuthorityState::Published]),
                old: latest(&[
                    AuthorityState::Old,
                    AuthorityState::Tainted,
                    AuthorityState::Revoked,
                ]),
            })
        })
    }

    /// Makes the next authority and puts it into the bundle. One that was prepared before gives up
    /// its place.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`].
    pub async fn prepare(
        &self,
        kind: LocalKind,
    ) -> Result<Arc<AuthorityRecord>, LocalAuthorityError> {
        self.confirm_clock().await?;
        self.confirm().await?;
        self.state(kind)?;
        for _ in 0..MAX_TRIES {
            match self.try_to_prepare(kind).await? {
                AuthorityOutcome::Done(authority) => {
                    report::step(Done::Prepared, &authority);
                    return Ok(authority);
                }
                AuthorityOutcome::Full => return Err(self.full(kind)),
                // The data key that it was sealed with has just gone: with another one, then.
                AuthorityOutcome::UnknownDataKey
                | AuthorityOutcome::SlotTaken
                | AuthorityOutcome::NotFound
                | AuthorityOutcome::WrongState(_) => {}
            }
        }
        Err(LocalAuthorityError::Overtaken)
    }

    async fn try_to_prepare(
        &self,
        kind: LocalKind,
    ) -> Result<AuthorityOutcome, LocalAuthorityError> {
        if kind == LocalKind::X509 && self.has_upstream() {
            let operation = self.maker.new_below_upstream(Coming::GivesWay).await?;
            return self.propose(operation).await;
        }
        let authority = self.maker.make(kind.stand_alone()).await?;
        if kind == LocalKind::Jwt {
            // Whoever believes the upstream must believe it before it signs.
            self.publish_upwards(&authority).await?;
        }
        let operation = PrepareSuccessor {
            authority,
            trust_domain: self.ca.trust_domain().clone(),
            at_most: AT_MOST,
        };
        self.propose(operation).await
    }

    /// Lets the prepared authority `id` sign on all members.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`]; it must be prepared.
    pub async fn activate(
        &self,
        kind: LocalKind,
        id: &str,
    ) -> Result<Arc<AuthorityRecord>, LocalAuthorityError> {
        self.confirm_clock().await?;
        self.confirm().await?;
        for _ in 0..MAX_TRIES {
            let found = self.standing(kind, id);
            let Standing::Own(AuthorityState::Published) = found else {
                return Err(LocalAuthorityError::Refused(found));
            };
            if let AuthorityOutcome::Done(authority) = self.try_to_activate(kind, id).await? {
                self.goes_by(kind, id).await;
                report::step(Done::Activated, &authority);
                return Ok(authority);
            }
            // Something has changed since it was looked at: look again.
        }
        Err(LocalAuthorityError::Overtaken)
    }

    async fn try_to_activate(
        &self,
        kind: LocalKind,
        id: &str,
    ) -> Result<AuthorityOutcome, LocalAuthorityError> {
        if kind == LocalKind::Jwt || self.has_upstream() {
            let (kind, id) = (self.in_store(kind), id.into());
            return self.propose(ActivateAuthority { kind, id }).await;
        }
        let root = self.maker.store.read(|state| {
            let root = state.authority(AuthorityKind::X509Root, id);
            root.cloned()
        });
        let Some(root) = root else {
            return Ok(AuthorityOutcome::NotFound);
        };
        let intermediate = self.maker.make_below(&root).await?;
        let id = root.id.clone();
        self.propose(ActivateRoot { id, intermediate }).await
    }

    /// Waits until this member signs with the authority. It is active whether or not it does.
    async fn goes_by(&self, kind: LocalKind, id: &str) {
        let signs = || {
            let issuers = self.ca.0.signer.issuers();
            match kind {
                LocalKind::Jwt => issuers.jwt.as_ref().is_some_and(|key| key.key_id() == id),
                LocalKind::X509 if self.has_upstream() => issuers
                    .x509
                    .as_ref()
                    .is_some_and(|issuer| issuer.id() == id),
                LocalKind::X509 => issuers.x509.as_ref().is_some_and(|issuer| {
                    let below = |state: &State| {
                        let record = state
                            .authority(AuthorityKind::X509Intermediate, issuer.id())
                            .cloned();
                        record.is_some_and(|record| record.issuer_id.as_deref() == Some(id))
                    };
                    self.maker.store.read(below)
                }),
            }
        };
        let waiting = self.ca.0.activation.wait_until(signs);
        if tokio::time::timeout(GOES_BY_WITHIN, waiting).await.is_err() {
            tracing::warn!(
                local_authority_id = id,
                "activated, but this server does not sign with it yet"
            );
        }
    }

    /// Marks the old authority `id`, so that everybody replaces what it signed.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`]; it must be old.
    pub async fn taint(
        &self,
        kind: LocalKind,
        id: &str,
    ) -> Result<Arc<AuthorityRecord>, LocalAuthorityError> {
        self.require_own(kind)?;
        self.expect(kind, id, AuthorityState::Old).await?;
        let operation = TaintAuthority {
            kind: self.in_store(kind),
            id: id.into(),
            trust_domain: self.ca.trust_domain().clone(),
        };
        let authority = moved(self.propose(operation).await?)?;
        report::step(Done::Tainted, &authority);
        Ok(authority)
    }

    /// Takes the tainted authority `id` out of the bundle.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`]; it must be tainted.
    pub async fn revoke(
        &self,
        kind: LocalKind,
        id: &str,
    ) -> Result<Arc<AuthorityRecord>, LocalAuthorityError> {
        self.require_own(kind)?;
        self.expect(kind, id, AuthorityState::Tainted).await?;
        let operation = RevokeAuthority {
            kind: self.in_store(kind),
            id: id.into(),
            trust_domain: self.ca.trust_domain().clone(),
        };
        let authority = moved(self.propose(operation).await?)?;
        report::step(Done::Revoked, &authority);
        Ok(authority)
    }

    /// Refuses to take away what an upstream signed: it would sign the next one with the same key.
    ///
    /// # Errors
    /// [`LocalAuthorityError::HasUpstream`] alone.
    pub fn require_own(&self, kind: LocalKind) -> Result<(), LocalAuthorityError> {
        match kind {
            LocalKind::X509 if self.has_upstream() => Err(LocalAuthorityError::HasUpstream),
            LocalKind::X509 | LocalKind::Jwt => Ok(()),
        }
    }

    /// Refuses ids of which it is certain that they stand for something else.
    async fn expect(
        &self,
        kind: LocalKind,
        id: &str,
        required: AuthorityState,
    ) -> Result<(), LocalAuthorityError> {
        self.confirm().await?;
        let found = self.standing(kind, id);
        if found == Standing::Own(required) {
            Ok(())
        } else {
            Err(LocalAuthorityError::Refused(found))
        }
    }

    fn standing(&self, kind: LocalKind, id: &str) -> Standing {
        self.maker.store.read(|state| {
            if let Some(authority) = state.authority(self.in_store(kind), id) {
                return Standing::Own(authority.state);
            }
            let bundle = state.bundle(self.ca.trust_domain());
            let is_key = kind == LocalKind::Jwt
                && bundle.is_some_and(|bundle| bundle.jwt_authority(id).is_some());
            if is_key {
                Standing::Foreign
            } else {
                Standing::Unknown
            }
        })
    }

    /// The refusal to prepare one more, with the one that stands in its way.
    fn full(&self, kind: LocalKind) -> LocalAuthorityError {
        let oldest = self.maker.store.read(|state| {
            let in_state = |wanted| {
                let mut all = state.authorities(self.in_store(kind));
                all.find(|one| one.state == wanted)
                    .map(|one| one.id.clone())
            };
            in_state(AuthorityState::Tainted).or_else(|| in_state(AuthorityState::Old))
        });
        // Without an old one there was room a moment ago.
        oldest.map_or(LocalAuthorityError::Overtaken, |oldest| {
            LocalAuthorityError::Full { oldest }
        })
    }

    /// What is made by a wrong clock is of another time.
    async fn confirm_clock(&self) -> Result<(), LocalAuthorityError> {
        Ok(time_check::confirm(&self.maker.store).await?)
    }

    /// This member may not know yet what another one did.
    async fn confirm(&self) -> Result<(), LocalAuthorityError> {
        let confirmed = self.maker.store.linearizable(CONFIRM_WITHIN).await;
        confirmed
            .map(drop)
            .map_err(LocalAuthorityError::Unconfirmed)
    }

    async fn propose<O: Operation>(&self, operation: O) -> Result<O::Outcome, LocalAuthorityError> {
        let proposal = Proposal::new(self.maker.clock.now());
        let proposed = self.maker.store.propose(operation, proposal).await;
        proposed.map_err(LocalAuthorityError::Store)
    }
}

/// The authority, if it was moved: another operator may have been faster.
fn moved(outcome: AuthorityOutcome) -> Result<Arc<AuthorityRecord>, LocalAuthorityError> {
    match outcome {
        AuthorityOutcome::Done(authority) => Ok(authority),
        AuthorityOutcome::WrongState(state) => {
            Err(LocalAuthorityError::Refused(Standing::Own(state)))
        }
        AuthorityOutcome::NotFound => Err(LocalAuthorityError::Refused(Standing::Unknown)),
        AuthorityOutcome::SlotTaken | AuthorityOutcome::UnknownDataKey | AuthorityOutcome::Full => {
            Err(LocalAuthorityError::Overtaken)
        }
    }
}

/// Why an authority was not moved.
#[derive(Debug, thiserror::Error)]
pub enum LocalAuthorityError {
    /// No authority of this kind signs yet.
    #[error("no authority is active yet")]
    NotReady,
    /// What the id stands for cannot be moved so.
    #[error("authority cannot be moved so: {0:?}")]
    Refused(Standing),
    /// There are as many as there may be.
    #[error(
        "there are {MAX_AUTHORITIES} authorities that are still believed; taint and revoke {oldest} first"
    )]
    Full {
        /// The one that can go first.
        oldest: Box<str>,
    },
    /// An upstream signs the X.509 authorities, and what it signs with is to be tainted or revoked.
    #[error("there is an upstream authority")]
    HasUpstream,
    /// The server is its own root.
    #[error("there is no upstream authority")]
    NoUpstream,
    /// The upstream's authority cannot be moved so.
    #[error("authority of the upstream cannot be moved so")]
    Upstream(#[from] UpstreamRefusal),
    /// Others moved authorities at the same time.
    #[error("authorities changed in the meantime")]
    Overtaken,
    /// It is not certain that this member has seen every step.
    #[error("state could not be confirmed")]
    Unconfirmed(#[source] ReadError),
    /// What is made here would be of another time.
    #[error(transparent)]
    WrongClock(#[from] WrongClock),
    /// The store did not take the step, or did not say whether it did.
    #[error("store did not take the step")]
    Store(#[source] ProposeError),
    /// The authority could not be made or opened.
    #[error(transparent)]
    Maker(#[from] MakerError),
}

/// How often a step is tried while data keys are renewed or authorities move.
const MAX_TRIES: u32 = 3;

/// How long this member may take to learn what others did.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// How long this member may take to go by what it has applied.
const GOES_BY_WITHIN: Duration = Duration::from_secs(5);
