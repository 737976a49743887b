//! Owns what one stream has still to be told. Changes of one record replace each other, so a slow
//! reader costs no more than what it would have to read at once; beyond a limit it reads everything
//! anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::bundle::Bundle;
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use raft_store::Revision;
use tokio::sync::Notify;

use super::root::Diff;
use super::{Batch, Ended};

/// What one step of the hub means for one stream.
#[derive(Debug, Default)]
pub(super) struct Update {
    pub(super) entries: Diff,
    /// As they are now, or `None` for those that are not needed any more, or gone.
    pub(super) bundles: BTreeMap<TrustDomain, Option<Arc<Bundle>>>,
    pub(super) ended: Option<Ended>,
}

/// The changes between the hub and one stream.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Mutex<Pending>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    revision: Revision,
    update: Update,
    is_overfull: bool,
}

/// What is in an outbox.
#[derive(Debug)]
pub(super) enum Taken {
    Nothing,
    Changes(Batch),
    /// More than an outbox holds: everything has to be read anew.
    TooMuch,
    End(Ended),
}

impl Outbox {
    /// Adds an update, after which the stream has everything up to `revision`.
    pub(super) fn put(&self, update: Update, revision: Revision) {
        let mut pending = self.pending.lock();
        pending.revision = revision;
        let held = &mut pending.update;
        held.ended = held.ended.or(update.ended);
        held.entries.extend(update.entries);
        held.bundles.extend(update.bundles);
        if held.entries.len() > MAX_ENTRIES {
            pending.is_overfull = true;
        }
        if pending.is_overfull {
            pending.forget();
        }
        drop(pending);
        self.filled.notify_one();
    }

    /// Forgets what was put, because the stream is given everything.
    pub(super) fn clear(&self) {
        let mut pending = self.pending.lock();
        pending.forget();
        pending.is_overfull = false;
    }

    /// Waits until something was put. Cancel-safe.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes what there is.
    pub(super) fn take(&self) -> Taken {
        let mut pending = self.pending.lock();
        if let Some(ended) = pending.update.ended {
            return Taken::End(ended);
        }
        if pending.is_overfull {
            return Taken::TooMuch;
        }
        let update = std::mem::take(&mut pending.update);
        if update.entries.is_empty() && update.bundles.is_empty() {
            return Taken::Nothing;
        }
        let mut batch = Batch::empty(pending.revision);
        for (id, entry) in update.entries {
            match entry {
                Some(entry) => batch.entries.push(entry),
                None => batch.removed_entries.push(id),
            }
        }
        for (trust_domain, bundle) in update.bundles {
            match bundle {
                Some(bundle) => batch.bundles.push(bundle),
                None => batch.removed_bundles.push(trust_domain),
            }
        }
        Taken::Changes(batch)
    }
}

impl Pending {
    fn forget(&mut self) {
        self.update.entries.clear();
        self.update.bundles.clear();
    }
}

/// Changed entries that are noted for a stream at most.
const MAX_ENTRIES: usize = 8_192;
