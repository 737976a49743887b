//! Members that applied the same entries have the same state: hashes are noted now and then, to be compared.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::codec::wire;
use crate::state::StateHash;

/// The state's hashes behind certain entries, the same ones on every member.
#[derive(Debug, Default)]
pub(super) struct Hashes(Mutex<VecDeque<(u64, StateHash)>>);

impl Hashes {
    /// Whether the hash behind this entry is to be noted.
    pub(super) const fn is_due(index: u64) -> bool {
        index.is_multiple_of(EVERY_ENTRIES)
    }

    pub(super) fn note(&self, index: u64, hash: StateHash) {
        let mut noted = self.0.lock();
        if noted.len() == MAX_NOTED {
            noted.pop_front();
        }
        noted.push_back((index, hash));
    }

    pub(super) fn all(&self) -> Vec<(u64, StateHash)> {
        self.0.lock().iter().copied().collect()
    }
}

/// The newest entry behind which a majority of the voters has one and the same other hash.
pub(super) fn contradicted(
    own: &[(u64, StateHash)],
    others: &[Vec<wire::IndexedHash>],
    voters: usize,
) -> Option<u64> {
    own.iter().rev().find_map(|(index, own_hash)| {
        let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
        let same_index = others
            .iter()
            .flatten()
            .filter(|noted| noted.index == *index);
        for noted in same_index {
            *counts.entry(noted.hash.as_slice()).or_default() += 1;
        }
        let (hash, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        (hash != own_hash.as_bytes().as_slice() && count > voters / 2).then_some(*index)
    })
}

/// Hashes are noted behind the entries whose index is a multiple of this.
const EVERY_ENTRIES: u64 = 1_000;

/// Hashes held at most.
const MAX_NOTED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn hash(number: u8) -> StateHash {
        use crate::command::{Envelope, RequestId, SetSetting};
        let mut state = State::default();
        let envelope = Envelope {
            request_id: RequestId::from_bytes([number; 16]),
            at: identity::clock::UnixTime::from_secs(1),
            command: SetSetting {
                key: "key".into(),
                value: vec![number],
                only_if_absent: false,
            }
            .into(),
        };
        state.apply(1, &envelope);
        state.state_hash()
    }

    fn told(index: u64, hash: StateHash) -> Vec<wire::IndexedHash> {
        vec![wire::IndexedHash {
            index,
            hash: hash.as_bytes().to_vec(),
        }]
    }

    #[test]
    fn a_majority_that_agrees_against_a_member_is_believed() {
        let own = [(1_000, hash(1)), (2_000, hash(2))];
        let others = [told(2_000, hash(9)), told(2_000, hash(9))];
        assert_eq!(contradicted(&own, &others, 3), Some(2_000));
    }

    #[test]
    fn one_other_or_two_that_disagree_are_not() {
        let own = [(1_000, hash(1))];
        let one = [told(1_000, hash(9))];
        assert_eq!(contradicted(&own, &one, 3), None);
        let torn = [told(1_000, hash(8)), told(1_000, hash(9))];
        assert_eq!(contradicted(&own, &torn, 3), None);
        let other_index = [told(3_000, hash(9)), told(3_000, hash(9))];
        assert_eq!(contradicted(&own, &other_index, 3), None);
        let same = [told(1_000, hash(1)), told(1_000, hash(1))];
        assert_eq!(contradicted(&own, &same, 3), None);
    }

    #[test]
    fn the_oldest_hash_goes_first() {
        let hashes = Hashes::default();
        for index in 1..=100 {
            hashes.note(index * EVERY_ENTRIES, hash(1));
        }
        let all = hashes.all();
        assert_eq!((all.len(), all[0].0), (MAX_NOTED, 37_000));
    }
}
