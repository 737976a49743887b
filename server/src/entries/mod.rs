//! Owns the registration entries as a service: what is read of them, and what is proposed.
//!
//! Rules that need the other entries (uniqueness, known bundles) are decided by the store when it
//! applies a proposal, so that they hold whoever else writes.

mod authorized;
mod filter;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use identity::clock::Clock;
use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use proto::convert::entry::EntryFilter;
use raft_store::{
    AgentRecord, CreateEntries, CreateEntryOutcome, DeleteEntries, EntryChange, Operation,
    Proposal, ProposeError, ReadError, Sequence, State, Store, UpdateEntries, UpdateEntryOutcome,
};

use crate::walk::{self, Rows};

pub(crate) use authorized::{applies, is_in_domain, roots};
pub use authorized::{authorized, authorized_entry};

/// The registration entries.
#[derive(Clone, Debug)]
pub struct Entries {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// Some entries of a list, in the order of their creation.
#[derive(Clone, Debug)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Arc<RegistrationEntry>>,
    /// Where the next page starts, unless this one is empty.
    pub last: Option<Sequence>,
}

impl Entries {
    /// The entries of `store`.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// The clock by which entries are dated.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The entry with this id.
    pub fn entry(&self, id: &EntryId) -> Option<Arc<RegistrationEntry>> {
        self.store.read(|state| state.entry(id).cloned())
    }

    /// The entry with this id, or the confirmed absence of one: it may have been made through
    /// another member a moment ago.
    ///
    /// # Errors
    ///
    /// The absence could not be confirmed.
    pub async fn confirmed_entry(
        &self,
        id: &EntryId,
    ) -> Result<Option<Arc<RegistrationEntry>>, ReadError> {
        if let Some(entry) = self.entry(id) {
            return Ok(Some(entry));
        }
        self.store.linearizable(CONFIRM_WITHIN).await?;
        Ok(self.entry(id))
    }

    /// How many entries `filter` admits.
    pub async fn count(&self, filter: &EntryFilter) -> usize {
        if filter::is_all(filter) {
            return self.store.read(State::entry_count);
        }
        walk::count(
            &self.store,
            |state, after| candidates(state, filter, after),
            |entry| filter::admits(filter, entry),
        )
        .await
    }

    /// Up to `limit` entries that `filter` admits, from the one after `after` on.
    pub async fn list(
        &self,
        filter: &EntryFilter,
        after: Option<Sequence>,
        limit: usize,
    ) -> EntryPage {
        let (entries, last) = walk::page(
            &self.store,
            after,
            limit,
            |state, after| candidates(state, filter, after),
            |entry| filter::admits(filter, entry),
        )
        .await;
        EntryPage { entries, last }
    }

    /// The entries that `agent` is authorized for.
    pub fn authorized(&self, agent: &AgentRecord) -> Vec<Arc<RegistrationEntry>> {
        self.store.read(|state| authorized(state, agent))
    }

    /// The entries that the agent `spiffe_id` is authorized for, for as long as it is an agent: a
    /// banned or deleted one is authorized for nothing, which is not the same as no entries.
    pub fn authorized_still(&self, spiffe_id: &SpiffeId) -> Option<Vec<Arc<RegistrationEntry>>> {
        self.store.read(|state| {
            let agent = state.agent(spiffe_id).filter(|agent| !agent.is_banned())?;
            Some(authorized(state, agent))
        })
    }

    /// Creates entries; the outcomes are in the order of `entries`.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`]; after [`ProposeError::Undecided`] they may exist.
    pub async fn create(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Vec<CreateEntryOutcome>, ProposeError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.propose(CreateEntries { entries }).await
    }

    /// Changes entries; the outcomes are in the order of `changes`.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`]; after [`ProposeError::Undecided`] they may be changed.
    pub async fn update(
        &self,
        changes: Vec<EntryChange>,
    ) -> Result<Vec<UpdateEntryOutcome>, ProposeError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.propose(UpdateEntries { changes }).await
    }

    /// Deletes entries, and says of each, in the order of `ids`, whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Store::propose`]; after [`ProposeError::Undecided`] they may be gone.
    pub async fn delete(&self, ids: Vec<EntryId>) -> Result<Vec<bool>, ProposeError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.propose(DeleteEntries { ids }).await
    }

    async fn propose<O: Operation>(&self, operation: O) -> Result<O::Outcome, ProposeError> {
        let proposal = Proposal::new(self.clock.now());
        self.store.propose(operation, proposal).await
    }
}

/// How long the absence of an entry may take to confirm.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// The entries after `after` among which are all that `filter` admits: those of the narrowest index that it allows.
fn candidates<'a>(
    state: &'a State,
    filter: &EntryFilter,
    after: Option<Sequence>,
) -> Rows<'a, RegistrationEntry> {
    if let Some(spiffe_id) = &filter.spiffe_id {
        Box::new(state.entries_by_spiffe_id(spiffe_id, after))
    } else if let Some(parent_id) = &filter.parent_id {
        Box::new(state.entries_by_parent(parent_id, after))
    } else {
        Box::new(state.entries_after(after))
    }
}
