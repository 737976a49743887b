//! Owns the attested agents as a service: what is read of them, and what is proposed.
//!
//! How they are admitted is the business of [`crate::attest`].

use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock, UnixTime};
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::{Selector, SelectorError};
use identity::spiffe_id::{IdError, SpiffeId};
use identity::trust_domain::TrustDomain;
use proto::convert::agent::{AgentFilter, AgentView};
use raft_store::{
    AgentRecord, BanAgent, CreateJoinToken, CreateJoinTokenOutcome, DeleteAgent, JoinTokenHash,
    Operation, Proposal, ProposeError, ReadError, Sequence, SetAgentVersion, State, Store,
};

use crate::walk::{self, Rows};

/// The attested agents.
#[derive(Clone, Debug)]
pub struct Agents {
    store: Store,
    clock: Arc<dyn Clock>,
    trust_domain: TrustDomain,
}

/// Some agents of a list, in the order of their first attestation.
#[derive(Clone, Debug)]
pub struct AgentPage {
    /// The agents.
    pub agents: Vec<Arc<AgentRecord>>,
    /// Where the next page starts, unless this one is empty.
    pub last: Option<Sequence>,
}

/// A join token that can be used once.
#[derive(Clone)]
pub struct JoinToken {
    /// The token: a secret.
    pub value: String,
    /// Until when it can be used.
    pub expires_at: UnixTime,
}

impl Agents {
    /// The agents of `store`, all of `trust_domain`.
    pub fn new(store: Store, clock: Arc<dyn Clock>, trust_domain: TrustDomain) -> Self {
        Self {
            store,
            clock,
            trust_domain,
        }
    }

    /// The agent with this name.
    pub fn agent(&self, spiffe_id: &SpiffeId) -> Option<Arc<AgentRecord>> {
        self.store.read(|state| state.agent(spiffe_id).cloned())
    }

    /// The agent with this name, or the confirmed absence of one: it may have been admitted by
    /// another member a moment ago.
    ///
    /// # Errors
    /// The absence could not be confirmed.
    pub async fn confirmed_agent(
        &self,
        spiffe_id: &SpiffeId,
    ) -> Result<Option<Arc<AgentRecord>>, ReadError> {
        if let Some(agent) = self.agent(spiffe_id) {
            return Ok(Some(agent));
        }
        self.store.linearizable(CONFIRM_WITHIN).await?;
        Ok(self.agent(spiffe_id))
    }

    /// How many agents `filter` admits.
    pub async fn count(&self, filter: &AgentFilter) -> usize {
        if *filter == AgentFilter::default() {
            return self.store.read(State::agent_count);
        }
        walk::count(&self.store, all, |agent| filter.admits(&view(agent))).await
    }

    /// Up to `limit` agents that `filter` admits, from the one after `after` on.
    pub async fn list(
        &self,
        filter: &AgentFilter,
        after: Option<Sequence>,
        limit: usize,
    ) -> AgentPage {
        let admits = |agent: &AgentRecord| filter.admits(&view(agent));
        let (agents, last) = walk::page(&self.store, after, limit, all, admits).await;
        AgentPage { agents, last }
    }

    /// Turns an agent away until it is deleted; says whether there is one.
    ///
    /// # Errors
    /// As [`Store::propose`]; after [`ProposeError::Undecided`] it may be banned.
    pub async fn ban(&self, spiffe_id: &SpiffeId) -> Result<bool, ProposeError> {
        let found = self
            .propose(BanAgent {
                spiffe_id: spiffe_id.clone(),
            })
            .await?;
        if found {
            tracing::info!(agent_id = %spiffe_id, "Agent banned");
        }
        Ok(found)
    }

    /// Forgets an agent, which may then attest again; says whether there was one.
    ///
    /// # Errors
    /// As [`Store::propose`]; after [`ProposeError::Undecided`] it may be gone.
    pub async fn delete(&self, spiffe_id: &SpiffeId) -> Result<bool, ProposeError> {
        let found = self
            .propose(DeleteAgent {
                spiffe_id: spiffe_id.clone(),
            })
            .await?;
        if found {
            tracing::info!(agent_id = %spiffe_id, "Agent deleted");
        }
        Ok(found)
    }

    /// Notes what `agent` says to run. A version that is known already costs no write.
    ///
    /// # Errors
    /// As [`Store::propose`].
    pub async fn note_version(
        &self,
        agent: &AgentRecord,
        version: &str,
    ) -> Result<(), ProposeError> {
        if version.is_empty() || *agent.agent_version == *version {
            return Ok(());
        }
        let report = SetAgentVersion {
            spiffe_id: agent.spiffe_id.clone(),
            version: version.into(),
        };
        // An agent that was deleted meanwhile learns it from its next call.
        let _found: bool = self.propose(report).await?;
        Ok(())
    }

    /// Makes a join token, random unless `wanted` names one, and with `alias` an entry that gives
    /// its agent that name.
    ///
    /// # Errors
    /// Why there is no such token. After [`JoinTokenError::Store`] there may be one.
    pub async fn create_join_token(
        &self,
        wanted: Option<String>,
        ttl: Duration,
        alias: Option<SpiffeId>,
    ) -> Result<JoinToken, JoinTokenError> {
        let value = wanted.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let now = self.clock.now();
        let agent = SpiffeId::join_token_agent(&self.trust_domain, &value)
            .map_err(JoinTokenError::Unusable)?;
        let alias = alias
            .map(|spiffe_id| alias_entry(agent, spiffe_id, now))
            .transpose()?;
        let expires_at = now.saturating_add(ttl);
        let hash = JoinTokenHash::of(value.as_bytes());
        let creation = CreateJoinToken {
            hash,
            expires_at,
            alias: alias.map(Box::new),
        };
        match self
            .propose(creation)
            .await
            .map_err(JoinTokenError::Store)?
        {
            CreateJoinTokenOutcome::Created => Ok(JoinToken { value, expires_at }),
            CreateJoinTokenOutcome::Exists => Err(JoinTokenError::Exists),
            CreateJoinTokenOutcome::AliasSimilar(_)
            | CreateJoinTokenOutcome::AliasIdTaken
            | CreateJoinTokenOutcome::AliasInvalid(_) => Err(JoinTokenError::Alias),
        }
    }

    async fn propose<O: Operation>(&self, operation: O) -> Result<O::Outcome, ProposeError> {
        self.store
            .propose(operation, Proposal::new(self.clock.now()))
            .await
    }
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why no join token was made.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    /// The wanted token cannot be part of an agent's name.
    #[error("token cannot be used in a SPIFFE ID")]
    Unusable(#[source] IdError),
    /// There is such a token already.
    #[error("join token already exists")]
    Exists,
    /// The entry with the agent's further name would be a second one of its kind.
    #[error("similar entry already exists")]
    Alias,
    /// The agent's name cannot be a selector.
    #[error("agent ID cannot be a selector")]
    Selector(#[source] SelectorError),
    /// The store did not take the token, or did not say whether it did.
    #[error("join token could not be stored")]
    Store(#[source] ProposeError),
}

/// How long the absence of an agent may take to confirm.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// The agents after `after`.
fn all(state: &State, after: Option<Sequence>) -> Rows<'_, AgentRecord> {
    Box::new(state.agents_after(after))
}

/// What the API tells of an agent.
pub fn view(agent: &AgentRecord) -> AgentView<'_> {
    AgentView {
        spiffe_id: &agent.spiffe_id,
        attestation_type: &agent.attestation_type,
        serial: &agent.serial,
        not_after: agent.not_after,
        selectors: &agent.selectors,
        can_reattest: agent.can_reattest,
        agent_version: &agent.agent_version,
    }
}

/// The entry that gives the agent of a join token a second name.
fn alias_entry(
    agent: SpiffeId,
    spiffe_id: SpiffeId,
    now: UnixTime,
) -> Result<RegistrationEntry, JoinTokenError> {
    let selector = Selector::new("spiffe_id", agent.as_str()).map_err(JoinTokenError::Selector)?;
    Ok(RegistrationEntry {
        id: EntryId::random(),
        spiffe_id,
        parent_id: agent,
        selectors: std::iter::once(selector).collect(),
        x509_svid_ttl_s: 0,
        jwt_svid_ttl_s: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: Vec::new(),
        revision: 0,
        store_svid: false,
        hint: "".into(),
        additional_attributes: None,
        created_at: now,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, poll};
    use raft_store::AttestAgent;

    use crate::testing::{HOUR, NOW, TestStore, trust_domain};
    use crate::walk::PART;

    use super::*;

    const COUNT: usize = PART + 100;

    fn numbered(number: usize) -> AttestAgent {
        let path = format!("/spire/agent/x/{number}");
        AttestAgent {
            spiffe_id: SpiffeId::from_parts(&trust_domain(), &path).unwrap(),
            attestation_type: "x".into(),
            serial: "1".into(),
            not_after: NOW.saturating_add(HOUR),
            can_reattest: number.is_multiple_of(1_000),
            selectors: std::iter::empty().collect(),
            redeem: None,
        }
    }

    #[tokio::test]
    async fn agents_can_be_written_while_others_are_listed_and_counted() {
        let test = TestStore::create().await;
        let agents = Agents::new(test.store.clone(), test.clock(), trust_domain());
        let admissions = (0..COUNT).map(|number| agents.propose(numbered(number)));
        let mut admissions = futures_util::stream::iter(admissions).buffer_unordered(256);
        while let Some(admitted) = admissions.next().await {
            admitted.unwrap();
        }
        let filter = AgentFilter {
            can_reattest: Some(true),
            ..AgentFilter::default()
        };
        let mut counting = std::pin::pin!(agents.count(&filter));
        let mut listing = std::pin::pin!(agents.list(&filter, None, usize::MAX));
        assert!(poll!(counting.as_mut()).is_pending());
        assert!(poll!(listing.as_mut()).is_pending());
        assert!(agents.ban(&numbered(1).spiffe_id).await.unwrap());
        assert_eq!(counting.await, 5);
        let whole = listing.await.agents;
        assert_eq!(whole.len(), 5);

        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = agents.list(&filter, after, 2).await;
            if page.agents.is_empty() {
                break;
            }
            paged.extend(page.agents);
            after = page.last;
        }
        assert_eq!(paged, whole);
        assert_eq!(agents.count(&AgentFilter::default()).await, COUNT);
    }
}
