//! Agents by name, in order of creation.

use std::sync::Arc;

use identity::spiffe_id::SpiffeId;

use crate::change::ChangeKind;
use crate::codec::DecodeError;
use crate::record::{AgentRecord, Sequence};
use crate::state::journal::Journal;
use crate::state::rows::StateHash;
use crate::state::table::{HashIndex, Table};

#[derive(Debug, Default)]
pub(crate) struct Agents {
    table: Table<AgentRecord>,
    by_id: HashIndex,
}

impl Agents {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<AgentRecord>)> {
        self.table.after(sequence).map(|(key, agent)| (*key, agent))
    }

    pub(crate) fn find(&self, spiffe_id: &SpiffeId) -> Option<(Sequence, &Arc<AgentRecord>)> {
        self.by_id.candidates(spiffe_id, None).find_map(|sequence| {
            let agent = self.table.record(&sequence)?;
            (agent.spiffe_id == *spiffe_id).then_some((sequence, agent))
        })
    }

    /// Stores an agent under its sequence, new or known.
    pub(crate) fn put(&mut self, sequence: Sequence, agent: AgentRecord, journal: &mut Journal) {
        let agent = Arc::new(agent);
        let before = self.table.put(sequence, Arc::clone(&agent), journal);
        if before.is_none() {
            self.by_id.insert(&agent.spiffe_id, sequence);
        }
        journal.change(ChangeKind::Agent {
            before,
            after: Some(agent),
        });
    }

    pub(crate) fn remove(&mut self, sequence: Sequence, journal: &mut Journal) {
        if let Some(agent) = self.table.remove(&sequence, journal) {
            self.by_id.remove(&agent.spiffe_id, sequence);
            journal.change(ChangeKind::Agent {
                before: Some(agent),
                after: None,
            });
        }
    }

    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Result<StateHash, DecodeError> {
        let (sequence, agent, hash) = self.table.load(key, value)?;
        self.by_id.insert(&agent.spiffe_id, sequence);
        Ok(hash)
    }
}
