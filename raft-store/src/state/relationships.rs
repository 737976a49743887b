//! Federation relationships by trust domain, in order of creation.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::federation::FederationRelationship;
use identity::trust_domain::TrustDomain;

use crate::change::ChangeKind;
use crate::codec::DecodeError;
use crate::record::Sequence;
use crate::state::journal::Journal;
use crate::state::rows::StateHash;
use crate::state::table::Table;

#[derive(Debug, Default)]
pub(crate) struct Relationships {
    table: Table<FederationRelationship>,
    by_trust_domain: BTreeMap<TrustDomain, Sequence>,
}

impl Relationships {
    pub(crate) fn after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<FederationRelationship>)> {
        self.table
            .after(sequence)
            .map(|(key, relationship)| (*key, relationship))
    }

    pub(crate) fn find(
        &self,
        trust_domain: &TrustDomain,
    ) -> Option<(Sequence, &Arc<FederationRelationship>)> {
        let sequence = *self.by_trust_domain.get(trust_domain)?;
        Some((sequence, self.table.record(&sequence)?))
    }

    /// Stores a relationship under its sequence, new or known.
    pub(crate) fn put(
        &mut self,
        sequence: Sequence,
        relationship: FederationRelationship,
        journal: &mut Journal,
    ) -> Arc<FederationRelationship> {
        let relationship = Arc::new(relationship);
        let trust_domain = relationship.trust_domain.clone();
        self.by_trust_domain.insert(trust_domain.clone(), sequence);
        self.table.put(sequence, Arc::clone(&relationship), journal);
        journal.change(ChangeKind::Relationship {
            trust_domain,
            after: Some(Arc::clone(&relationship)),
        });
        relationship
    }

    pub(crate) fn remove(&mut self, sequence: Sequence, journal: &mut Journal) {
        if let Some(relationship) = self.table.remove(&sequence, journal) {
            self.by_trust_domain.remove(&relationship.trust_domain);
            journal.change(ChangeKind::Relationship {
                trust_domain: relationship.trust_domain.clone(),
                after: None,
            });
        }
    }

    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Result<StateHash, DecodeError> {
        let (sequence, relationship, hash) = self.table.load(key, value)?;
        self.by_trust_domain
            .insert(relationship.trust_domain.clone(), sequence);
        Ok(hash)
    }
}
