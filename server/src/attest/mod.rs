//! Owns node attestation: what an agent has to prove to be admitted, and its certificate.
//!
//! An agent exists from the moment that the store has its record, and gets its certificate only
//! after that. Whatever admits it is used up by the same write, so a token admits one agent
//! however many ask at once and whichever member they ask. An agent whose answer was lost asks again
//! for the same key, and gets one.

mod attestor;
mod attestors;
mod external;
mod join_token;
#[cfg(test)]
mod tests;
pub mod x509pop;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock, UnixTime};
use identity::selector::{Selector, SelectorError, SelectorSet};
use identity::spiffe_id::SpiffeId;
use identity::x509::{Csr, X509Error};
use raft_store::{
    AgentRecord, AttestAgent, AttestOutcome, JoinTokenHash, Operation, Proposal, ProposeError,
    PublicKeyHash, ReadError, RedeemJoinToken, RenewAgent, RenewOutcome, State, Store,
};
use rustls_pki_types::CertificateDer;

pub use self::attestor::{
    Attempt, AttestorError, Challenges, NodeAttestor, NodeAttributes, Origin,
};
pub use self::attestors::{AttestorHost, Attestors, NodeAttestorSettings, OpenAttestorError};
use crate::ca::{Ca, IssuedX509, SignError, SvidSubject, X509SvidParams};

/// Admits agents and renews their certificates.
#[derive(Clone)]
pub struct Attestation {
    store: Store,
    ca: Ca,
    clock: Arc<dyn Clock>,
    attestors: Attestors,
    id_selector: IdSelector,
}

/// Whether an agent's own name is one of its selectors.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IdSelector {
    /// It is not.
    #[default]
    Absent,
    /// As `spiffe_id:<name>`.
    Added,
}

/// What an agent shows to be admitted.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The kind of attestation.
    pub kind: &'a str,
    /// In the format of that kind.
    pub payload: &'a [u8],
    /// A signing request, of which only the public key counts.
    pub csr: &'a [u8],
    /// Where it comes from.
    pub origin: &'a Origin,
}

/// An agent that was admitted, or renewed.
#[derive(Clone, Debug)]
pub struct AgentSvid {
    /// Its name.
    pub spiffe_id: SpiffeId,
    /// Its certificate, then the intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    /// Last second of its certificate.
    pub not_after: UnixTime,
    /// Whether it has to attest again instead of renewing.
    pub can_reattest: bool,
}

/// Who an agent is, by what it has shown, and what its admission uses up.
struct Identified {
    spiffe_id: SpiffeId,
    attestation_type: Box<str>,
    selectors: SelectorSet,
    can_reattest: bool,
    /// For the key that is shown with it.
    redeem: Option<(JoinTokenHash, PublicKeyHash)>,
}

impl Attestation {
    /// Attestation of agents that `store` holds, with certificates of `ca`: by join token alone,
    /// until there are attestors.
    pub fn new(store: Store, ca: Ca, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            ca,
            clock,
            attestors: Attestors::default(),
            id_selector: IdSelector::Absent,
        }
    }

    /// The same with these attestors beside join tokens.
    #[must_use]
    pub fn with_attestors(self, attestors: Attestors, id_selector: IdSelector) -> Self {
        Self {
            attestors,
            id_selector,
            ..self
        }
    }

    /// Admits the agent that `evidence` proves, and the answers that it gives to `challenges`.
    ///
    /// # Errors
    /// Why it was not admitted. After [`AttestError::Store`] it may have been; whoever shows the same
    /// evidence for the same key again is then admitted as well.
    pub async fn attest(
        &self,
        evidence: Evidence<'_>,
        challenges: &mut dyn Challenges,
    ) -> Result<AgentSvid, AttestError> {
        let (identified, csr) = match evidence.kind {
            join_token::TYPE => self.identify_by_join_token(evidence).await?,
            _ => {
                let identified = self.identify_by_attestor(evidence, challenges).await?;
                (
                    identified,
                    read_csr(evidence.csr).map_err(AttestError::Csr)?,
                )
            }
        };
        let issued = self.sign(&identified.spiffe_id, &csr)?;
        self.admit(identified, issued).await
    }

    /// Gives `agent` a new certificate. The old one stays good until the new one is shown.
    ///
    /// # Errors
    /// Why it got none. After [`RenewError::Store`] a serial may be pending that nobody has.
    pub async fn renew(&self, agent: &AgentRecord, csr: &[u8]) -> Result<AgentSvid, RenewError> {
        let csr = read_csr(csr).map_err(RenewError::Csr)?;
        let issued = self.sign(&agent.spiffe_id, &csr)?;
        let renewal = RenewAgent {
            spiffe_id: agent.spiffe_id.clone(),
            new_serial: issued.serial.clone(),
            new_not_after: issued.not_after,
        };
        match self.propose(renewal).await.map_err(RenewError::Store)? {
            RenewOutcome::Renewed => {
                tracing::info!(agent_id = %agent.spiffe_id, "Agent SVID renewed");
                Ok(AgentSvid {
                    spiffe_id: agent.spiffe_id.clone(),
                    chain: issued.chain,
                    not_after: issued.not_after,
                    can_reattest: agent.can_reattest,
                })
            }
            RenewOutcome::NotFound => Err(RenewError::NotFound),
            RenewOutcome::Banned => Err(RenewError::Banned),
        }
    }

    async fn identify_by_attestor(
        &self,
        evidence: Evidence<'_>,
        challenges: &mut dyn Challenges,
    ) -> Result<Identified, AttestError> {
        let attestor = self
            .attestors
            .find(evidence.kind)
            .ok_or_else(|| AttestError::UnknownType(evidence.kind.into()))?;
        let attempt = Attempt {
            payload: evidence.payload,
            origin: evidence.origin,
            challenges,
        };
        let name = attestor.name();
        let attributes = attestor.attest(attempt).await;
        let attributes = attributes.map_err(|cause| AttestError::Attestor {
            name: name.into(),
            cause,
        })?;
        let spiffe_id = attributes.spiffe_id;
        self.check_agent_id(&spiffe_id, name)?;
        let values = attributes.selector_values.iter();
        let selectors = values
            .map(|value| Selector::new(name, value))
            .collect::<Result<_, _>>()
            .map_err(AttestError::Selector)?;
        Ok(Identified {
            spiffe_id,
            attestation_type: name.into(),
            selectors,
            can_reattest: attributes.can_reattest,
            redeem: None,
        })
    }

    /// Whatever an attestor says, agents are agents of this trust domain and nobody else.
    fn check_agent_id(&self, spiffe_id: &SpiffeId, attestor: &str) -> Result<(), AttestError> {
        if spiffe_id.is_server() {
            return Err(AttestError::ServerId);
        }
        if !spiffe_id.is_member_of(self.ca.trust_domain()) || !spiffe_id.is_agent() {
            return Err(AttestError::NotAnAgentId(spiffe_id.clone()));
        }
        let own = format!("/spire/agent/{attestor}/");
        if !spiffe_id.path().starts_with(&own) {
            tracing::warn!(
                agent_id = %spiffe_id,
                node_attestor_type = attestor,
                subsystem_name = "api",
                "The node attestor produced an agent ID outside of its own part of the agents' namespace"
            );
        }
        Ok(())
    }

    fn sign(&self, spiffe_id: &SpiffeId, csr: &Csr) -> Result<IssuedX509, SignError> {
        self.ca.sign_x509_svid(&X509SvidParams {
            spiffe_id,
            public_key_der: csr.spki_der(),
            dns_names: &[],
            ttl: None,
            subject: SvidSubject::Agent,
        })
    }

    async fn admit(
        &self,
        identified: Identified,
        issued: IssuedX509,
    ) -> Result<AgentSvid, AttestError> {
        let selectors = self.selectors(&identified)?;
        let Identified {
            spiffe_id,
            attestation_type,
            can_reattest,
            ..
        } = identified;
        let admission = AttestAgent {
            spiffe_id: spiffe_id.clone(),
            attestation_type: attestation_type.clone(),
            serial: issued.serial,
            not_after: issued.not_after,
            can_reattest,
            selectors,
            redeem: identified.redeem.map(|(token, _)| token),
        };
        let outcome = self.propose_admission(admission, identified.redeem).await;
        match outcome.map_err(AttestError::Store)? {
            AttestOutcome::Attested => {
                tracing::info!(
                    agent_id = %spiffe_id,
                    node_attestor_type = &*attestation_type,
                    "Agent attestation request completed"
                );
                let IssuedX509 {
                    chain, not_after, ..
                } = issued;
                Ok(AgentSvid {
                    spiffe_id,
                    chain,
                    not_after,
                    can_reattest,
                })
            }
            AttestOutcome::Banned => Err(AttestError::Banned),
            AttestOutcome::TokenNotRedeemable => Err(AttestError::TokenNotRedeemable),
            AttestOutcome::TokenExpired => Err(AttestError::TokenExpired),
        }
    }

    /// By token in a way that can be repeated, once every member knows that way.
    async fn propose_admission(
        &self,
        admission: AttestAgent,
        redeem: Option<(JoinTokenHash, PublicKeyHash)>,
    ) -> Result<AttestOutcome, ProposeError> {
        let is_known = || self.store.read(State::cluster_version) >= RedeemJoinToken::FORMAT;
        match redeem {
            Some((token, public_key)) if is_known() => {
                let redemption = RedeemJoinToken {
                    spiffe_id: admission.spiffe_id,
                    serial: admission.serial,
                    not_after: admission.not_after,
                    selectors: admission.selectors,
                    token,
                    public_key,
                };
                self.propose(redemption).await
            }
            _ => self.propose(admission).await,
        }
    }

    fn selectors(&self, identified: &Identified) -> Result<SelectorSet, AttestError> {
        let attested = identified.selectors.clone();
        if self.id_selector == IdSelector::Absent {
            return Ok(attested);
        }
        let own = Selector::new("spiffe_id", identified.spiffe_id.as_str())
            .map_err(AttestError::Selector)?;
        Ok(attested.union(&std::iter::once(own).collect()))
    }

    async fn propose<O: Operation>(&self, operation: O) -> Result<O::Outcome, ProposeError> {
        self.store
            .propose(operation, Proposal::new(self.clock.now()))
            .await
    }
}

/// A signing request made by whoever holds its key: nobody gets a certificate over another's.
fn read_csr(der: &[u8]) -> Result<Csr, X509Error> {
    let csr = Csr::parse(der)?;
    csr.verify_signature()?;
    Ok(csr)
}

impl fmt::Debug for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attestation").finish_non_exhaustive()
    }
}

impl fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The payload may be a secret.
        f.debug_struct("Evidence")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why an agent was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// Nobody here knows that kind of attestation.
    #[error("could not find node attestor type {0:?}")]
    UnknownType(Box<str>),
    /// The attestor does not believe the agent, or the conversation with it failed.
    #[error("nodeattestor({name}): {cause}")]
    Attestor {
        /// The attestor.
        name: Box<str>,
        /// Its verdict.
        cause: AttestorError,
    },
    /// The attestor calls an agent what the server is called.
    #[error("agent ID cannot collide with the server ID")]
    ServerId,
    /// The attestor found an agent that is none of this trust domain's.
    #[error("{0} is not in the agent namespace of the trust domain")]
    NotAnAgentId(SpiffeId),
    /// The attestor found something that cannot be a selector.
    #[error("selector cannot be used")]
    Selector(#[source] SelectorError),
    /// There is no such token: never made, or used.
    #[error("join token does not exist or has already been used")]
    TokenNotRedeemable,
    /// The token is too old, and gone now.
    #[error("join token expired")]
    TokenExpired,
    /// The agent is banned until it is deleted.
    #[error("agent is banned")]
    Banned,
    /// The signing request cannot be read, or its maker does not hold its key.
    #[error("signing request cannot be used")]
    Csr(#[source] X509Error),
    /// Its certificate could not be signed.
    #[error("certificate could not be signed")]
    Sign(#[from] SignError),
    /// It is not certain that this member knows every token.
    #[error("state could not be confirmed")]
    Unconfirmed(#[source] ReadError),
    /// The store did not take the agent, or did not say whether it did.
    #[error("agent could not be stored")]
    Store(#[source] ProposeError),
}

/// Why an agent got no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// There is no such agent any more.
    #[error("agent not found")]
    NotFound,
    /// The agent was banned meanwhile.
    #[error("agent is banned")]
    Banned,
    /// The signing request cannot be read, or its maker does not hold its key.
    #[error("signing request cannot be used")]
    Csr(#[source] X509Error),
    /// Its certificate could not be signed.
    #[error("certificate could not be signed")]
    Sign(#[from] SignError),
    /// The store did not take the new serial, or did not say whether it did.
    #[error("new serial could not be stored")]
    Store(#[source] ProposeError),
}

/// How long a refusal may wait for the certainty that it is right.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
