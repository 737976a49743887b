//! The change feed: the latest changes, in a ring, for any number of followers.
//!
//! A follower that fell behind the ring is told so and reloads; nobody is waited for. The ring is bounded by what its
//! changes take in memory, too: they hold what is long gone from the state. Who cares for a topic alone is
//! woken by it alone: most changes are of entries and agents, and most tasks look after something else.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::change::{Change, ChangeKind};
use crate::record::Revision;

/// The ring, filled by apply.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: Mutex<Ring>,
    newest: watch::Sender<Revision>,
    authorities: watch::Sender<()>,
    bundles: watch::Sender<()>,
    capacity: usize,
}

/// What changes seldom, and matters to more than one task when it does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Topic {
    /// Authorities.
    Authorities,
    /// Bundles, and the federation relationships that they come from.
    Bundles,
}

impl Topic {
    const fn of(kind: &ChangeKind) -> Option<Self> {
        match kind {
            ChangeKind::Authority { .. } => Some(Self::Authorities),
            ChangeKind::Bundle { .. } | ChangeKind::Relationship { .. } => Some(Self::Bundles),
            ChangeKind::Entry { .. }
            | ChangeKind::Agent { .. }
            | ChangeKind::Member { .. }
            | ChangeKind::ClusterVersion
            | ChangeKind::Setting { .. } => None,
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    changes: VecDeque<Arc<Change>>,
    len_bytes: usize,
    /// Changes up to this revision are not in the ring.
    floor: Revision,
}

impl Ring {
    fn extend(&mut self, changes: Vec<Arc<Change>>) {
        self.len_bytes += changes
            .iter()
            .map(|change| change.len_bytes())
            .sum::<usize>();
        self.changes.extend(changes);
    }

    fn pop(&mut self) -> Option<Arc<Change>> {
        let oldest = self.changes.pop_front()?;
        self.len_bytes -= oldest.len_bytes();
        Some(oldest)
    }
}

impl Feed {
    /// An empty feed that knows nothing of what happened until `revision`.
    pub(crate) fn new(revision: Revision, capacity: usize) -> Self {
        let ring = Ring {
            changes: VecDeque::new(),
            len_bytes: 0,
            floor: revision,
        };
        Self {
            ring: Mutex::new(ring),
            newest: watch::Sender::new(revision),
            authorities: watch::Sender::new(()),
            bundles: watch::Sender::new(()),
            capacity,
        }
    }

    /// Adds changes, whose revisions rise up to `revision`.
    pub(crate) fn publish(&self, changes: Vec<Arc<Change>>, revision: Revision) {
        let topics: BTreeSet<Topic> = changes
            .iter()
            .filter_map(|change| Topic::of(&change.kind))
            .collect();
        let mut ring = self.ring.lock();
        ring.extend(changes);
        while ring.changes.len() > self.capacity || ring.len_bytes > MAX_LEN_BYTES {
            let Some(dropped) = ring.pop() else {
                break;
            };
            ring.floor = dropped.revision;
            // A revision is in the ring as a whole or not at all.
            while ring
                .changes
                .front()
                .is_some_and(|next| next.revision == dropped.revision)
            {
                ring.pop();
            }
        }
        drop(ring);
        self.newest.send_if_modified(|newest| {
            let is_newer = revision > *newest;
            *newest = revision.max(*newest);
            is_newer
        });
        for topic in topics {
            self.topic(topic).send_replace(());
        }
    }

    const fn topic(&self, topic: Topic) -> &watch::Sender<()> {
        match topic {
            Topic::Authorities => &self.authorities,
            Topic::Bundles => &self.bundles,
        }
    }

    /// Tells when something of this topic changes, from now on.
    pub(crate) fn signal(&self, topic: Topic) -> Signal {
        Signal(self.topic(topic).subscribe())
    }

    /// Forgets everything: the state was replaced by another at `revision`.
    pub(crate) fn reset(&self, revision: Revision) {
        let mut ring = self.ring.lock();
        ring.changes.clear();
        ring.len_bytes = 0;
        ring.floor = revision;
        drop(ring);
        self.newest.send_replace(revision);
        self.authorities.send_replace(());
        self.bundles.send_replace(());
    }

    fn after(&self, revision: Revision) -> Result<Vec<Arc<Change>>, Compacted> {
        let ring = self.ring.lock();
        if revision < ring.floor {
            return Err(Compacted { oldest: ring.floor });
        }
        let start = ring
            .changes
            .partition_point(|change| change.revision <= revision);
        let end = (start + MAX_BATCH).min(ring.changes.len());
        let last = ring
            .changes
            .range(start..end)
            .last()
            .map(|change| change.revision);
        Ok(ring
            .changes
            .range(start..)
            .take_while(|change| Some(change.revision) <= last)
            .cloned()
            .collect())
    }
}

/// Says that something of a topic changed; what, the state tells.
#[derive(Debug)]
pub struct Signal(watch::Receiver<()>);

impl Signal {
    /// Waits until something changed since this was made or last ended; several changes may be told as one.
    /// Cancel-safe.
    pub async fn raised(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

/// What a follower asked for is no longer in the ring: it must read the state and go on from there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("changes up to revision {oldest} are no longer held")]
pub struct Compacted {
    /// The oldest revision from which a follower can go on.
    pub oldest: Revision,
}

/// The changes after a revision, as they come.
#[derive(Debug)]
pub struct Changes {
    feed: Arc<Feed>,
    newest: watch::Receiver<Revision>,
    seen: Revision,
}

impl Changes {
    pub(crate) fn new(feed: Arc<Feed>, seen: Revision) -> Self {
        let newest = feed.newest.subscribe();
        Self { feed, newest, seen }
    }

    /// The revision up to which changes were handed out.
    #[must_use]
    pub const fn seen(&self) -> Revision {
        self.seen
    }

    /// Hands out the changes that are there, without waiting, all of a revision together, and
    /// takes note of the newest revision even if it changed nothing that is told. An empty answer
    /// says that there are no more for now.
    ///
    /// # Errors
    /// As [`Changes::next`].
    pub fn take(&mut self) -> Result<Vec<Arc<Change>>, Compacted> {
        // Looked at before the ring, which then holds everything up to it.
        let newest = *self.newest.borrow_and_update();
        let changes = self.feed.after(self.seen)?;
        self.seen = match changes.last() {
            Some(last) => last.revision,
            None => self.seen.max(newest),
        };
        Ok(changes)
    }

    /// Waits until the newest revision is another than at the last call of this or of
    /// [`Changes::take`]. Cancel-safe.
    pub async fn moved(&mut self) {
        if self.newest.changed().await.is_err() {
            // The feed lives as long as this handle, so its sender does, too.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for changes and hands them out, all of a revision together. Cancel-safe. Some
    /// revisions change nothing that is told, so numbers may be left out.
    ///
    /// # Errors
    /// This follower is too far behind; after reading the state at some revision it starts anew.
    pub async fn next(&mut self) -> Result<Vec<Arc<Change>>, Compacted> {
        loop {
            self.newest.mark_unchanged();
            let newest = *self.newest.borrow();
            let changes = self.feed.after(self.seen)?;
            if let Some(last) = changes.last() {
                self.seen = last.revision;
                return Ok(changes);
            }
            if self.newest.changed().await.is_err() {
                // The feed lives as long as this handle, so its sender does, too.
                std::future::pending::<()>().await;
            }
            self.seen = self.seen.max(newest);
        }
    }
}

/// What the changes in the ring may take; 16,384 ordinary ones take a third of it.
const MAX_LEN_BYTES: usize = 64 << 20;

/// Changes handed out at once, but for the rest of a revision.
const MAX_BATCH: usize = 1024;
