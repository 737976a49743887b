//! Authorities and the steps of their life.

use std::sync::Arc;

use crate::change::ChangeKind;
use crate::codec::DecodeError;
use crate::record::{AuthorityKind, AuthorityRecord, AuthorityState, Sequence};
use crate::state::journal::Journal;
use crate::state::rows::StateHash;
use crate::state::table::Table;

/// A few dozen at most, so lookups walk the table.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    table: Table<AuthorityRecord>,
}

impl Authorities {
    pub(crate) fn of_kind(
        &self,
        kind: AuthorityKind,
    ) -> impl Iterator<Item = (Sequence, &Arc<AuthorityRecord>)> {
        self.table
            .iter()
            .filter(move |(_, authority)| authority.kind == kind)
            .map(|(sequence, authority)| (*sequence, authority))
    }

    pub(crate) fn find(
        &self,
        kind: AuthorityKind,
        id: &str,
    ) -> Option<(Sequence, &Arc<AuthorityRecord>)> {
        self.of_kind(kind)
            .find(|(_, authority)| &*authority.id == id)
    }

    /// Whether one of this kind is on its way to become active.
    pub(crate) fn is_one_coming(&self, kind: AuthorityKind) -> bool {
        self.of_kind(kind).any(|(_, authority)| {
            matches!(
                authority.state,
                AuthorityState::Prepared | AuthorityState::Published
            )
        })
    }

    pub(crate) fn active(&self, kind: AuthorityKind) -> Option<(Sequence, &Arc<AuthorityRecord>)> {
        self.of_kind(kind)
            .find(|(_, authority)| authority.state == AuthorityState::Active)
    }

    /// Stores an authority under its sequence, new or known.
    pub(crate) fn put(
        &mut self,
        sequence: Sequence,
        authority: AuthorityRecord,
        journal: &mut Journal,
    ) -> Arc<AuthorityRecord> {
        let authority = Arc::new(authority);
        let before = self.table.put(sequence, Arc::clone(&authority), journal);
        journal.change(ChangeKind::Authority {
            before,
            after: Some(Arc::clone(&authority)),
        });
        authority
    }

    pub(crate) fn remove(&mut self, sequence: Sequence, journal: &mut Journal) {
        let before = self.table.remove(&sequence, journal);
        if before.is_some() {
            journal.change(ChangeKind::Authority {
                before,
                after: None,
            });
        }
    }

    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Result<StateHash, DecodeError> {
        self.table.load(key, value).map(|(_, _, hash)| hash)
    }
}
