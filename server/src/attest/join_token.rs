//! Owns attestation by join token: whoever shows the token is the agent that it was made for.

use identity::selector::SelectorSet;
use identity::spiffe_id::SpiffeId;
use identity::x509::Csr;
use raft_store::{AgentRecord, DiscardJoinToken, JoinTokenHash, PublicKeyHash};

use super::{AttestError, Attestation, CONFIRM_WITHIN, Evidence, Identified, read_csr};

/// The name of this kind of attestation.
pub(super) const TYPE: &str = "join_token";

impl Attestation {
    /// The agent of the token that is shown, if there is such a token that is not used up, or was by
    /// the key of the signing request; and that request. One that cannot be used uses up the token.
    pub(super) async fn identify_by_join_token(
        &self,
        evidence: Evidence<'_>,
    ) -> Result<(Identified, Csr), AttestError> {
        let payload = evidence.payload;
        let hash = JoinTokenHash::of(payload);
        let spiffe_id = std::str::from_utf8(payload)
            .ok()
            .and_then(|token| SpiffeId::join_token_agent(self.ca.trust_domain(), token).ok())
            .ok_or(AttestError::TokenNotRedeemable)?;
        let asked = read_csr(evidence.csr).map(|csr| (PublicKeyHash::of(csr.spki_der()), csr));
        let shown = asked.as_ref().ok().map(|(public_key, _)| *public_key);
        self.confirm_token(&hash, &spiffe_id, shown).await?;
        let (public_key, csr) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                let discarded = self.propose(DiscardJoinToken { hash }).await;
                discarded.map_err(AttestError::Store)?;
                return Err(AttestError::Csr(error));
            }
        };
        let identified = Identified {
            spiffe_id,
            attestation_type: TYPE.into(),
            selectors: SelectorSet::default(),
            can_reattest: false,
            redeem: Some((hash, public_key)),
        };
        Ok((identified, csr))
    }

    /// Refuses a token that nobody made before anything is written: strangers may ask as often as
    /// they like. Only what the quorum does not know either is refused.
    async fn confirm_token(
        &self,
        hash: &JoinTokenHash,
        agent: &SpiffeId,
        public_key: Option<PublicKeyHash>,
    ) -> Result<(), AttestError> {
        let now = self.clock.now();
        let may_repeat = |agent: &AgentRecord| {
            let admission = agent.admission.as_deref();
            admission
                .zip(public_key)
                .is_some_and(|(admission, key)| admission.may_repeat(key, now))
        };
        let is_known = || {
            self.store.read(|state| {
                state.join_token_end(hash).is_some()
                    || state.agent(agent).is_some_and(|agent| may_repeat(agent))
            })
        };
        if is_known() {
            return Ok(());
        }
        self.store
            .linearizable(CONFIRM_WITHIN)
            .await
            .map_err(AttestError::Unconfirmed)?;
        if is_known() {
            Ok(())
        } else {
            Err(AttestError::TokenNotRedeemable)
        }
    }
}
