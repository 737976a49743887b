//! An ordered map for keys that mostly come at its end: short sorted vectors, filled to the brim,
//! where a tree of nodes would be half empty.

use std::collections::BTreeMap;

/// A map in the order of its keys.
#[derive(Debug)]
pub(crate) struct Chunks<K, V> {
    /// Sorted, none empty, by a key that is at most their first.
    chunks: BTreeMap<K, Vec<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Chunks<K, V> {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Clone, V> Chunks<K, V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (_, chunk) = self.chunks.range(..=key).next_back()?;
        let at = position(chunk, key).ok()?;
        Some(&chunk[at].1)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let rows = self.chunks.values().flatten();
        rows.map(|(key, value)| (key, value))
    }

    /// Values behind `key`, or all.
    pub(crate) fn after<'a>(
        &'a self,
        key: Option<&K>,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let home = key.and_then(|key| self.chunks.range(..=key).next_back());
        let (rest, others) = match (key, home) {
            (Some(key), Some((first, chunk))) => {
                let from = chunk.partition_point(|(other, _)| other <= key);
                (&chunk[from..], self.behind(Some(first)))
            }
            (Some(_), None) | (None, _) => (&[][..], self.behind(None)),
        };
        let others = others.flat_map(|(_, chunk)| chunk);
        rest.iter().chain(others).map(|(key, value)| (key, value))
    }

    pub(crate) fn last_key(&self) -> Option<&K> {
        let (_, chunk) = self.chunks.last_key_value()?;
        chunk.last().map(|(key, _)| key)
    }

    /// Stores a value; the answer is what stood there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let home = self.chunks.range_mut(..=&key).next_back();
        let Some((_, chunk)) = home else {
            let lowest = self.chunks.pop_first();
            let mut chunk = lowest.map_or_else(Vec::new, |(_, chunk)| chunk);
            if chunk.len() == CAPACITY {
                let upper = std::mem::take(&mut chunk);
                self.chunks.insert(upper[0].0.clone(), upper);
            }
            chunk.insert(0, (key.clone(), value));
            self.chunks.insert(key, chunk);
            self.len += 1;
            return None;
        };
        match position(chunk, &key) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) if chunk.len() < CAPACITY => {
                self.len += 1;
                chunk.insert(at, (key, value));
                None
            }
            Err(at) => {
                self.len += 1;
                // At the end, the full chunk stays full; elsewhere both halves get room.
                let middle = if at == chunk.len() { at } else { CAPACITY / 2 };
                let mut upper = chunk.split_off(middle);
                if at < middle {
                    chunk.insert(at, (key, value));
                } else {
                    upper.insert(at - middle, (key, value));
                }
                chunk.shrink_to_fit();
                let first = upper[0].0.clone();
                self.chunks.insert(first, upper);
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (first, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = position(chunk, key).ok()?;
        let (_, value) = chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            let first = first.clone();
            self.chunks.remove(&first);
        } else if chunk.len() * 4 < chunk.capacity() {
            chunk.shrink_to_fit();
        }
        Some(value)
    }

    fn behind<'a>(
        &'a self,
        first: Option<&K>,
    ) -> impl Iterator<Item = (&'a K, &'a Vec<(K, V)>)> + use<'a, K, V> {
        use std::ops::Bound;
        let from = first.map_or(Bound::Unbounded, Bound::Excluded);
        self.chunks.range((from, Bound::Unbounded))
    }
}

fn position<K: Ord, V>(chunk: &[(K, V)], key: &K) -> Result<usize, usize> {
    chunk.binary_search_by(|(other, _)| other.cmp(key))
}

/// Values in a chunk at most: what an insertion in the middle moves.
const CAPACITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of numbers that look random and are always the same.
    fn numbers() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(1_u64), |last| {
            Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
        })
        .map(|number| number >> 33)
    }

    fn same(chunks: &Chunks<u64, u64>, model: &BTreeMap<u64, u64>) {
        assert_eq!(chunks.len(), model.len());
        assert!(chunks.iter().eq(model.iter()));
        assert!(chunks.iter().rev().eq(model.iter().rev()));
        assert_eq!(chunks.last_key(), model.keys().next_back());
    }

    #[test]
    fn it_does_what_a_tree_does() {
        for spread in [50, 5_000, u64::MAX] {
            let (mut chunks, mut model) = (Chunks::default(), BTreeMap::new());
            for (step, number) in numbers().take(20_000).enumerate() {
                let key = number % spread;
                if step % 3 == 2 {
                    assert_eq!(chunks.remove(&key), model.remove(&key));
                } else {
                    assert_eq!(chunks.insert(key, number), model.insert(key, number));
                }
                assert_eq!(chunks.get(&key), model.get(&key));
                if step % 500 == 0 {
                    same(&chunks, &model);
                    let after = model.range(key + 1..);
                    assert!(chunks.after(Some(&key)).eq(after));
                }
            }
            same(&chunks, &model);
        }
    }

    #[test]
    fn rows_that_come_at_the_end_leave_no_gaps() {
        let mut chunks = Chunks::default();
        for key in 0..10_000_u64 {
            chunks.insert(key, key);
        }
        assert_eq!(chunks.chunks.len(), 10_000_usize.div_ceil(CAPACITY));
        // The oldest go first, as requests do.
        for key in 0..10_000 {
            assert_eq!(chunks.iter().next().map(|(key, _)| *key), Some(key));
            assert_eq!(chunks.remove(&key), Some(key));
        }
        assert!(chunks.chunks.is_empty());
    }
}
