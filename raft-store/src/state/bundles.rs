//! Bundles by trust domain, in order of creation.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::bundle::Bundle;
use identity::trust_domain::TrustDomain;

use crate::change::ChangeKind;
use crate::codec::DecodeError;
use crate::record::Sequence;
use crate::state::journal::Journal;
use crate::state::rows::StateHash;
use crate::state::table::Table;

#[derive(Debug, Default)]
pub(crate) struct Bundles {
    table: Table<Bundle>,
    by_trust_domain: BTreeMap<TrustDomain, Sequence>,
}

impl Bundles {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<Bundle>)> {
        self.table
            .after(sequence)
            .map(|(key, bundle)| (*key, bundle))
    }

    pub(crate) fn find(&self, trust_domain: &TrustDomain) -> Option<(Sequence, &Arc<Bundle>)> {
        let sequence = *self.by_trust_domain.get(trust_domain)?;
        Some((sequence, self.table.record(&sequence)?))
    }

    /// Stores a bundle under its sequence, new or known.
    pub(crate) fn put(
        &mut self,
        sequence: Sequence,
        bundle: Bundle,
        journal: &mut Journal,
    ) -> Arc<Bundle> {
        let bundle = Arc::new(bundle);
        self.by_trust_domain
            .insert(bundle.trust_domain.clone(), sequence);
        self.table.put(sequence, Arc::clone(&bundle), journal);
        journal.change(ChangeKind::Bundle {
            trust_domain: bundle.trust_domain.clone(),
            after: Some(Arc::clone(&bundle)),
        });
        bundle
    }

    pub(crate) fn remove(&mut self, sequence: Sequence, journal: &mut Journal) {
        if let Some(bundle) = self.table.remove(&sequence, journal) {
            self.by_trust_domain.remove(&bundle.trust_domain);
            journal.change(ChangeKind::Bundle {
                trust_domain: bundle.trust_domain.clone(),
                after: None,
            });
        }
    }

    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Result<StateHash, DecodeError> {
        let (sequence, bundle, hash) = self.table.load(key, value)?;
        self.by_trust_domain
            .insert(bundle.trust_domain.clone(), sequence);
        Ok(hash)
    }
}
