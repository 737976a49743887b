//! One kind of record: shared values by key, each with the hash of its row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::codec::{DecodeError, Record};
use crate::record::Sequence;
use crate::state::chunks::Chunks;
use crate::state::journal::Journal;
use crate::state::rows::{RowKey, StateHash};

/// Records of one kind. What changes here is noted in the journal, so that disk and hash follow.
#[derive(Debug)]
pub(crate) struct Table<R: Record> {
    rows: Chunks<R::Key, Row<R>>,
}

#[derive(Debug)]
struct Row<R> {
    record: Arc<R>,
    hash: StateHash,
}

impl<R: Record> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: Chunks::default(),
        }
    }
}

impl<R: Record> Table<R> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn record(&self, key: &R::Key) -> Option<&Arc<R>> {
        self.rows.get(key).map(|row| &row.record)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&R::Key, &Arc<R>)> {
        self.rows.iter().map(|(key, row)| (key, &row.record))
    }

    /// Records behind `key`, or all.
    pub(crate) fn after(&self, key: Option<R::Key>) -> impl Iterator<Item = (&R::Key, &Arc<R>)> {
        self.rows
            .after(key.as_ref())
            .map(|(key, row)| (key, &row.record))
    }

    pub(crate) fn last_key(&self) -> Option<&R::Key> {
        self.rows.last_key()
    }

    /// Stores a record; the answer is what stood there before.
    pub(crate) fn put(
        &mut self,
        key: R::Key,
        record: Arc<R>,
        journal: &mut Journal,
    ) -> Option<Arc<R>> {
        let row_key = R::TABLE.row_key(&key.to_bytes());
        let value = record.to_bytes();
        let hash = StateHash::of_row(&row_key, &value);
        let before = self.rows.insert(key, Row { record, hash });
        journal.put(row_key, value, hash, before.as_ref().map(|row| row.hash));
        before.map(|row| row.record)
    }

    /// Removes a record; the answer is what stood there.
    pub(crate) fn remove(&mut self, key: &R::Key, journal: &mut Journal) -> Option<Arc<R>> {
        let row = self.rows.remove(key)?;
        journal.delete(R::TABLE.row_key(&key.to_bytes()), row.hash);
        Some(row.record)
    }

    /// Takes over a stored row; the answer is the record's key and itself.
    pub(crate) fn load(
        &mut self,
        row_key: &[u8],
        value: &[u8],
    ) -> Result<(R::Key, Arc<R>, StateHash), DecodeError> {
        self.load_with(row_key, value, |_| ())
    }

    /// Takes over a stored row whose record `adjust` has seen first, without changing its meaning.
    pub(crate) fn load_with(
        &mut self,
        row_key: &[u8],
        value: &[u8],
        adjust: impl FnOnce(&mut R),
    ) -> Result<(R::Key, Arc<R>, StateHash), DecodeError> {
        let key = row_key
            .get(1..)
            .and_then(R::Key::from_bytes)
            .ok_or(DecodeError::Field("row key"))?;
        let mut record = R::from_bytes(value)?;
        adjust(&mut record);
        let record = Arc::new(record);
        let hash = StateHash::of_row(row_key, value);
        let row = Row {
            record: Arc::clone(&record),
            hash,
        };
        self.rows.insert(key.clone(), row);
        Ok((key, record, hash))
    }
}

/// Finds records by something that they contain: a set of (hash, sequence), 8 bytes a record.
///
/// Hashes collide, so whoever looks up compares the record itself. The order within one hash is
/// that of creation, whatever the hash function, so what a lookup yields is the same everywhere.
/// A sequence has [`SEQUENCE_BITS`] bits here: a trillion creations, thirty years of a thousand a
/// second.
#[derive(Debug, Default)]
pub(crate) struct HashIndex(std::collections::BTreeSet<u64>);

impl HashIndex {
    /// The index of many records at once, much faster than one after the other.
    pub(crate) fn of<K: Hash>(records: impl Iterator<Item = (K, Sequence)>) -> Self {
        let members = records.map(|(key, sequence)| hash(&key) | sequence.as_u64());
        let mut members: Vec<u64> = members.collect();
        members.sort_unstable();
        Self(members.into_iter().collect())
    }

    pub(crate) fn insert(&mut self, key: &(impl Hash + ?Sized), sequence: Sequence) {
        self.0.insert(hash(key) | sequence.as_u64());
    }

    pub(crate) fn remove(&mut self, key: &(impl Hash + ?Sized), sequence: Sequence) {
        self.0.remove(&(hash(key) | sequence.as_u64()));
    }

    /// Records created after `after`, or all, that may contain `key`, in order of creation.
    pub(crate) fn candidates<K: Hash + ?Sized>(
        &self,
        key: &K,
        after: Option<Sequence>,
    ) -> impl Iterator<Item = Sequence> + use<'_, K> {
        use std::ops::Bound;
        let hash = hash(key);
        let last = hash | SEQUENCE_MASK;
        // No record has a greater sequence than the mask.
        let from = after.map_or(Bound::Included(hash), |after| {
            Bound::Excluded(hash | after.as_u64().min(SEQUENCE_MASK))
        });
        let members = self.0.range((from, Bound::Included(last)));
        members.map(|member| Sequence::new(member & SEQUENCE_MASK))
    }
}

/// A hash with room for a sequence below it.
pub(crate) fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    // Fixed keys: no randomness in the state, not even where it could not be seen.
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() & !SEQUENCE_MASK
}

const SEQUENCE_BITS: u32 = 40;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
