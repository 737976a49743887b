//! Owns what all streams of this member are told: follows the change feed once for all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use identity::bundle::Bundle;
use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use raft_store::{AgentRecord, Changes, Revision, State, Store};

use super::outbox::{Outbox, Update};
use super::root::{ParentsMoved, Root};
use super::{Batch, Ended, StreamId};
use crate::endpoints::AgentRefusal;
use crate::entries;

/// The streams and what they have in common.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) own: TrustDomain,
    changes: Changes,
    pub(super) roots: HashMap<SpiffeId, Root>,
    /// The roots that a parent belongs to.
    pub(super) roots_of_parent: HashMap<SpiffeId, BTreeSet<SpiffeId>>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    /// The streams of an agent, the oldest first.
    by_agent: HashMap<SpiffeId, Vec<StreamId>>,
    last_id: StreamId,
}

/// One agent that is told of changes.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) agent: Arc<AgentRecord>,
    pub(super) serial: Box<str>,
    pub(super) roots: Vec<SpiffeId>,
    /// The bundles that it was told.
    pub(super) bundles: Bundles,
    outbox: Arc<Outbox>,
}

/// Bundles by their trust domain.
pub(super) type Bundles = BTreeMap<TrustDomain, Arc<Bundle>>;

/// Updates of the streams that a step concerns.
pub(super) type Updates = BTreeMap<StreamId, Update>;

/// Who wants a stream, and from where on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber<'a> {
    pub(super) agent: &'a SpiffeId,
    /// Serial of the certificate that it showed.
    pub(super) serial: &'a str,
    /// What it has already; 0 for nothing.
    pub(super) after: Revision,
}

/// A stream that began.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: StreamId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) first: Batch,
}

/// Whether a stream could begin.
#[derive(Debug)]
pub(super) enum Attach {
    Done(Attached),
    Refused(AgentRefusal),
    /// The state is ahead of the feed for a moment, so what changed cannot be told yet.
    Later,
}

impl Hub {
    pub(super) fn new(store: &Store, own: TrustDomain) -> Self {
        Self {
            own,
            changes: store.changes_after(store.read(State::revision)),
            roots: HashMap::new(),
            roots_of_parent: HashMap::new(),
            streams: BTreeMap::new(),
            by_agent: HashMap::new(),
            last_id: StreamId::default(),
        }
    }

    /// Up to where the streams were told everything.
    pub(super) const fn revision(&self) -> Revision {
        self.changes.seen()
    }

    /// Tells the streams what happened since the last call.
    pub(super) fn catch_up(&mut self, store: &Store) {
        loop {
            let mut updates = Updates::new();
            match self.changes.take() {
                Ok(changes) if changes.is_empty() => return,
                Ok(changes) => store.read(|state| self.process(state, &changes, &mut updates)),
                Err(_compacted) => {
                    self.changes = store.changes_after(store.read(State::revision));
                    self.process_anything(store, &mut updates);
                }
            }
            let revision = self.revision();
            for (id, update) in updates {
                if let Some(stream) = self.streams.get(&id) {
                    stream.outbox.put(update, revision);
                }
            }
        }
    }

    /// Whether there is anybody to be told anything.
    pub(super) fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Whether nothing is kept for anybody.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
            && self.roots_of_parent.is_empty()
            && self.streams.is_empty()
            && self.by_agent.is_empty()
    }

    /// Begins a stream.
    pub(super) fn attach(&mut self, store: &Store, subscriber: Subscriber<'_>) -> Attach {
        self.catch_up(store);
        store.read(|state| {
            let record = state.agent(subscriber.agent);
            let agent = match standing(record, subscriber.serial) {
                Ok(agent) => Arc::clone(agent),
                Err(refusal) => return Attach::Refused(refusal),
            };
            let after = subscriber.after;
            if after != Revision::default() && self.revision() != state.revision() {
                return Attach::Later;
            }
            let (id, outbox) = self.add_stream(state, agent, subscriber.serial.into());
            let resumed = (after != Revision::default())
                .then(|| self.changed_since(store, state, id, after))
                .flatten();
            let first = resumed.unwrap_or_else(|| self.whole(state, id));
            Attach::Done(Attached { id, outbox, first })
        })
    }

    /// Everything that a stream's agent is to have, instead of what its outbox held.
    pub(super) fn restart(&mut self, store: &Store, id: StreamId) -> Batch {
        if let Some(stream) = self.streams.get(&id) {
            stream.outbox.clear();
        }
        store.read(|state| self.whole(state, id))
    }

    /// Ends all streams.
    pub(super) fn end_all(&self, ended: Ended) {
        for stream in self.streams.values() {
            stream.end(ended, self.revision());
        }
    }

    /// Forgets a stream that nobody reads any more.
    pub(super) fn detach(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        for root in &stream.roots {
            self.leave_root(root, id);
        }
        if let Some(streams) = self.by_agent.get_mut(&stream.agent.spiffe_id) {
            streams.retain(|other| *other != id);
            if streams.is_empty() {
                self.by_agent.remove(&stream.agent.spiffe_id);
            }
        }
    }

    fn add_stream(
        &mut self,
        state: &State,
        agent: Arc<AgentRecord>,
        serial: Box<str>,
    ) -> (StreamId, Arc<Outbox>) {
        self.last_id = self.last_id.next();
        let id = self.last_id;
        let siblings = self.by_agent.entry(agent.spiffe_id.clone()).or_default();
        siblings.push(id);
        if siblings.len() > MAX_STREAMS_OF_AN_AGENT {
            // Most likely, the reader of the oldest is gone.
            let oldest = siblings.remove(0);
            if let Some(stream) = self.streams.get(&oldest) {
                stream.end(Ended::Superseded, self.changes.seen());
            }
        }
        let roots = entries::roots(state, &agent);
        for root in &roots {
            self.enter_root(state, root, id);
        }
        let outbox = Arc::new(Outbox::default());
        let stream = Stream {
            agent,
            serial,
            roots,
            bundles: Bundles::new(),
            outbox: Arc::clone(&outbox),
        };
        self.streams.insert(id, stream);
        (id, outbox)
    }

    fn whole(&mut self, state: &State, id: StreamId) -> Batch {
        let mut batch = Batch::empty(self.revision());
        batch.is_reset = true;
        let Some(stream) = self.streams.get(&id) else {
            return batch;
        };
        let mut entries = BTreeMap::new();
        for root in stream.roots.iter().filter_map(|root| self.roots.get(root)) {
            entries.extend(root.members().map(|entry| (&entry.id, entry)));
        }
        batch.entries = entries.into_values().cloned().collect();
        batch.bundles = self.tell_all_bundles(state, id);
        batch
    }

    /// All bundles that a stream's agent needs; they count as told.
    pub(super) fn tell_all_bundles(&mut self, state: &State, id: StreamId) -> Vec<Arc<Bundle>> {
        let Some(stream) = self.streams.get(&id) else {
            return Vec::new();
        };
        let needed = self.needed_bundles(state, stream);
        let bundles = needed.values().cloned().collect();
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.bundles = needed;
        }
        bundles
    }

    pub(super) fn needed_bundles(&self, state: &State, stream: &Stream) -> Bundles {
        let roots = stream.roots.iter().filter_map(|root| self.roots.get(root));
        let federated = roots.flat_map(Root::federated);
        std::iter::once(&self.own)
            .chain(federated)
            .filter_map(|name| Some((name.clone(), Arc::clone(state.bundle(name)?))))
            .collect()
    }

    pub(super) fn streams_of(&self, agent: &SpiffeId) -> Vec<StreamId> {
        self.by_agent.get(agent).cloned().unwrap_or_default()
    }

    /// The entry `id`, if one of `roots` leads to it.
    pub(super) fn member(
        &self,
        roots: &[SpiffeId],
        id: &EntryId,
    ) -> Option<&Arc<RegistrationEntry>> {
        let mut roots = roots.iter().filter_map(|root| self.roots.get(root));
        roots.find_map(|root| root.member(id))
    }

    pub(super) fn enter_root(&mut self, state: &State, root_id: &SpiffeId, stream: StreamId) {
        let root = match self.roots.get_mut(root_id) {
            Some(root) => root,
            None => {
                let root = Root::build(state, root_id.clone());
                for parent in root.parents() {
                    let roots = self.roots_of_parent.entry(parent.clone()).or_default();
                    roots.insert(root_id.clone());
                }
                self.roots.entry(root_id.clone()).or_insert(root)
            }
        };
        root.streams.insert(stream);
    }

    pub(super) fn leave_root(&mut self, root_id: &SpiffeId, stream: StreamId) {
        let Some(root) = self.roots.get_mut(root_id) else {
            return;
        };
        root.streams.remove(&stream);
        if root.streams.is_empty()
            && let Some(root) = self.roots.remove(root_id)
        {
            let lost = root.parents().cloned().collect();
            let gained = Vec::new();
            self.parents_moved(root_id, ParentsMoved { gained, lost });
        }
    }

    pub(super) fn parents_moved(&mut self, root_id: &SpiffeId, moved: ParentsMoved) {
        for parent in moved.gained {
            let roots = self.roots_of_parent.entry(parent).or_default();
            roots.insert(root_id.clone());
        }
        for parent in moved.lost {
            if let Some(roots) = self.roots_of_parent.get_mut(&parent) {
                roots.remove(root_id);
                if roots.is_empty() {
                    self.roots_of_parent.remove(&parent);
                }
            }
        }
    }
}

impl Stream {
    fn end(&self, ended: Ended, revision: Revision) {
        let update = Update {
            ended: Some(ended),
            ..Update::default()
        };
        self.outbox.put(update, revision);
    }
}

/// The record of an agent that may go on with the certificate that it showed.
pub(super) fn standing<'a>(
    record: Option<&'a Arc<AgentRecord>>,
    serial: &str,
) -> Result<&'a Arc<AgentRecord>, AgentRefusal> {
    let record = record.ok_or(AgentRefusal::NotAttested)?;
    if record.is_banned() {
        Err(AgentRefusal::Banned)
    } else if *record.serial == *serial || *record.new_serial == *serial {
        Ok(record)
    } else {
        Err(AgentRefusal::NotActive)
    }
}

/// Streams of one agent at once: that of the connection it uses, and a few whose end nobody has
/// noticed yet.
const MAX_STREAMS_OF_AN_AGENT: usize = 4;
