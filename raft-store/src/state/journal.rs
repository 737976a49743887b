//! What one command did to the state: rows for the disk, changes for the feed, and the hash.

use std::sync::Arc;

use crate::change::ChangeKind;
use crate::state::rows::{RowWrite, StateHash};

/// Collects the effects of one command while it is applied.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) rows: Vec<RowWrite>,
    pub(crate) changes: Vec<ChangeKind>,
    /// What the state's hash grows by.
    pub(crate) hash: StateHash,
}

impl Journal {
    pub(crate) fn put(
        &mut self,
        key: Box<[u8]>,
        value: Vec<u8>,
        hash: StateHash,
        before: Option<StateHash>,
    ) {
        self.hash = self.hash.minus(before.unwrap_or_default()).plus(hash);
        self.rows.push(RowWrite {
            key,
            value: Some(value),
        });
    }

    pub(crate) fn delete(&mut self, key: Box<[u8]>, hash: StateHash) {
        self.hash = self.hash.minus(hash);
        self.rows.push(RowWrite { key, value: None });
    }

    pub(crate) fn change(&mut self, kind: ChangeKind) {
        self.changes.push(kind);
    }

    /// Notes an entry's change.
    pub(crate) fn entry(
        &mut self,
        before: Option<&Arc<identity::entry::RegistrationEntry>>,
        after: Option<&Arc<identity::entry::RegistrationEntry>>,
    ) {
        self.change(ChangeKind::Entry {
            before: before.cloned(),
            after: after.cloned(),
        });
    }
}
