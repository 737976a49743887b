//! Owns the decision whether a caller may make a call, by the rules of [`authz`](super::authz).
//!
//! Must hold: a refusal that depends on replicated state is given only after a linearizable read
//! confirmed it, because agents act on it for good; a new certificate's first use makes it the
//! agent's current one before the call goes on, unless the cluster has no leader just then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::Clock;
use identity::spiffe_id::SpiffeId;
use identity::tls::PeerIdentity;
use raft_store::{
    AgentRecord, PromoteAgentSerial, PromoteOutcome, Proposal, ProposeError, ReadError, State,
    Store,
};

use crate::endpoints::authz::{Callers, Rule};
use crate::endpoints::{AdminSource, Caller, CallerRole};

/// Decides who may call what.
#[derive(Debug)]
pub struct Authorizer {
    store: Store,
    clock: Arc<dyn Clock>,
    admin_ids: HashSet<SpiffeId>,
}

/// What one look at the state says about a call.
enum Verdict {
    Admitted(CallerRole),
    /// The agent presents the certificate that it renewed, for the first time.
    Renewed(Arc<AgentRecord>),
    /// Refused whatever the state says.
    Refused(Option<AgentRefusal>),
    /// Refused by the state as this member sees it now.
    RefusedByState(Option<AgentRefusal>),
}

impl Authorizer {
    /// An authorizer that takes `admin_ids` as administrators beside those of the entries.
    pub fn new(store: Store, clock: Arc<dyn Clock>, admin_ids: HashSet<SpiffeId>) -> Self {
        Self {
            store,
            clock,
            admin_ids,
        }
    }

    /// Says in which role `caller` may make the call that `rule` is about.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError::Denied`] is an answer; the other variants say that there was none in time.
    pub async fn authorize(
        &self,
        rule: &Rule,
        caller: &Caller,
    ) -> Result<CallerRole, AuthorizeError> {
        let mut verdict = self.judge(rule.callers, caller);
        if matches!(verdict, Verdict::RefusedByState(_)) {
            self.store.linearizable(CONFIRM_WITHIN).await?;
            verdict = self.judge(rule.callers, caller);
        }
        if let Verdict::Renewed(record) = &verdict
            && let Some(peer) = caller.identity()
        {
            match self.promote(peer).await {
                Ok(()) => verdict = self.judge(rule.callers, caller),
                // Both certificates are the agent's. That it may go on with the new one must not
                // depend on a leader; a later call makes it the only one.
                Err(ProposeError::NoLeader | ProposeError::Undecided | ProposeError::Busy) => {
                    return Ok(CallerRole::Agent(Arc::clone(record)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        match verdict {
            Verdict::Admitted(role) => Ok(role),
            Verdict::Refused(reason) | Verdict::RefusedByState(reason) => {
                if let (Some(reason), Some(peer)) = (reason, caller.identity()) {
                    reason.log(&peer.spiffe_id);
                }
                Err(AuthorizeError::Denied { reason })
            }
            // The record was banned or replaced while its new certificate was being recorded.
            Verdict::Renewed(_) => Err(AuthorizeError::Denied {
                reason: Some(AgentRefusal::NotActive),
            }),
        }
    }

    fn judge(&self, callers: Callers, caller: &Caller) -> Verdict {
        let peer = match (callers, caller) {
            (Callers::Any, _) => return Verdict::Admitted(CallerRole::Nobody),
            (
                Callers::Local | Callers::AdminOrLocal | Callers::AdminLocalOrAgent,
                Caller::Local(_),
            ) => return Verdict::Admitted(CallerRole::Local),
            (Callers::Agent | Callers::Downstream, Caller::Local(_))
            | (Callers::Local, Caller::Tls { .. })
            | (_, Caller::Tls { identity: None, .. }) => return Verdict::Refused(None),
            (
                _,
                Caller::Tls {
                    identity: Some(peer),
                    ..
                },
            ) => peer,
        };
        match callers {
            Callers::Any | Callers::Local => Verdict::Refused(None),
            Callers::AdminOrLocal => self.judge_admin(peer),
            Callers::AdminLocalOrAgent => match self.judge_admin(peer) {
                admitted @ Verdict::Admitted(_) => admitted,
                _ => self.judge_agent(peer),
            },
            Callers::Agent => self.judge_agent(peer),
            Callers::Downstream => self.judge_downstream(peer),
        }
    }

    fn judge_admin(&self, peer: &PeerIdentity) -> Verdict {
        if self.admin_ids.contains(&peer.spiffe_id) {
            Verdict::Admitted(CallerRole::Admin(AdminSource::Config))
        } else if self.has_entry(&peer.spiffe_id, |entry| entry.admin) {
            Verdict::Admitted(CallerRole::Admin(AdminSource::Entry))
        } else {
            Verdict::RefusedByState(None)
        }
    }

    fn judge_downstream(&self, peer: &PeerIdentity) -> Verdict {
        if self.has_entry(&peer.spiffe_id, |entry| entry.downstream) {
            Verdict::Admitted(CallerRole::Downstream)
        } else {
            Verdict::RefusedByState(None)
        }
    }

    fn has_entry(
        &self,
        spiffe_id: &SpiffeId,
        holds: impl Fn(&identity::entry::RegistrationEntry) -> bool,
    ) -> bool {
        self.store.read(|state: &State| {
            state
                .entries_by_spiffe_id(spiffe_id, None)
                .any(|(_, entry)| holds(entry))
        })
    }

    fn judge_agent(&self, peer: &PeerIdentity) -> Verdict {
        if self.clock.now() > peer.not_after {
            return Verdict::Refused(Some(AgentRefusal::Expired));
        }
        let Some(record) = self
            .store
            .read(|state| state.agent(&peer.spiffe_id).cloned())
        else {
            return Verdict::RefusedByState(Some(AgentRefusal::NotAttested));
        };
        judge_record(record, &peer.serial)
    }

    async fn promote(&self, peer: &PeerIdentity) -> Result<(), ProposeError> {
        let operation = PromoteAgentSerial {
            spiffe_id: peer.spiffe_id.clone(),
            serial: peer.serial.as_str().into(),
        };
        let proposal = Proposal {
            deadline: PROMOTE_WITHIN,
            ..Proposal::new(self.clock.now())
        };
        match self.store.propose(operation, proposal).await? {
            // Stale: another call promoted it first, or the agent is gone; the state tells which.
            PromoteOutcome::Promoted | PromoteOutcome::Stale => Ok(()),
        }
    }
}

fn judge_record(record: Arc<AgentRecord>, serial: &str) -> Verdict {
    if record.is_banned() {
        Verdict::RefusedByState(Some(AgentRefusal::Banned))
    } else if *record.serial == *serial {
        Verdict::Admitted(CallerRole::Agent(record))
    } else if *record.new_serial == *serial {
        Verdict::Renewed(record)
    } else {
        Verdict::RefusedByState(Some(AgentRefusal::NotActive))
    }
}

/// Why a caller is not taken as an agent. Agents act on it: they renew, attest again or stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AgentRefusal {
    /// Its certificate is past its end.
    Expired,
    /// It has no record.
    NotAttested,
    /// Its record is banned.
    Banned,
    /// Its certificate is neither the current nor the renewed one.
    NotActive,
}

impl AgentRefusal {
    fn log(self, caller_id: &SpiffeId) {
        let subsystem_name = "api";
        match self {
            Self::Expired => {
                tracing::error!(%caller_id, subsystem_name, "Agent SVID is expired");
            }
            Self::NotAttested => {
                tracing::error!(%caller_id, subsystem_name, "Agent is not attested");
            }
            Self::Banned => tracing::error!(%caller_id, subsystem_name, "Agent is banned"),
            Self::NotActive => {
                tracing::error!(%caller_id, subsystem_name, "Agent SVID is not active");
            }
        }
    }
}

/// Why a call was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// The caller may not make this call.
    #[error("denied")]
    Denied {
        /// What the agent check found, if the call is open to agents.
        reason: Option<AgentRefusal>,
    },
    /// A refusal could not be confirmed in time.
    #[error("caller could not be checked against the current state")]
    Unconfirmed(#[from] ReadError),
    /// The agent's new certificate could not be recorded.
    #[error("agent SVID could not be activated")]
    NotPromoted(#[from] ProposeError),
}

/// How long a call waits until an agent's new certificate is its only one.
const PROMOTE_WITHIN: Duration = Duration::from_secs(1);

/// How long a call may wait for the store before it is admitted or refused.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
