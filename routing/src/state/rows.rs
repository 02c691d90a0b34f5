//! A sorted map of shared rows, cut into shared chunks: cloning it costs one reference count per chunk, so a capture of a
//! million rows takes about a millisecond, and a write after it copies one chunk and one row.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of one chunk, at most. Small enough to copy cheaply, large enough that there are few chunks.
const CHUNK_MAX: usize = 64;

type Chunk<K, V> = Vec<(K, Arc<V>)>;

/// Rows by key. The cut into chunks depends on history; what can be read of it does not.
#[derive(Debug)]
pub(crate) struct Rows<K, V> {
    /// By a lower bound of the chunk's keys.
    chunks: BTreeMap<K, Arc<Chunk<K, V>>>,
    len: usize,
}

impl<K: Clone, V> Clone for Rows<K, V> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            len: self.len,
        }
    }
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Clone, V> Rows<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, key: &K) -> Option<&Arc<V>> {
        let (_, chunk) = self.chunks.range(..=key).next_back()?;
        let at = chunk.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// To be written: copied first, if a capture shares it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V>
    where
        V: Clone,
    {
        let (_, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = chunk.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
        Some(Arc::make_mut(&mut Arc::make_mut(chunk)[at].1))
    }

    /// Changes a row, which is made when it is not there.
    pub fn change(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Clone + Default,
    {
        if let Some(row) = self.get_mut(&key) {
            return change(row);
        }
        let mut row = V::default();
        change(&mut row);
        self.put(key, Arc::new(row));
    }

    /// Inserts or replaces; gives the row that was there.
    pub fn put(&mut self, key: K, row: Arc<V>) -> Option<Arc<V>> {
        let bound = match self.chunks.range(..=&key).next_back() {
            Some((bound, _)) => bound.clone(),
            None => {
                let first = self.chunks.pop_first().map(|(_, chunk)| chunk).unwrap_or_default();
                self.chunks.insert(key.clone(), first);
                key.clone()
            }
        };
        let chunk = Arc::make_mut(self.chunks.entry(bound).or_default());
        let at = match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => return Some(std::mem::replace(&mut chunk[at].1, row)),
            Err(at) => at,
        };
        chunk.insert(at, (key, row));
        self.len += 1;
        if chunk.len() > CHUNK_MAX {
            // Ids grow with time: a row past the end starts a new chunk and leaves a full one behind.
            let cut = if at + 1 == chunk.len() { at } else { chunk.len() / 2 };
            let right = chunk.split_off(cut);
            self.chunks.insert(right[0].0.clone(), Arc::new(right));
        }
        None
    }

    pub fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        let (bound, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = chunk.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
        let bound = bound.clone();
        let chunk = Arc::make_mut(chunk);
        let (_, row) = chunk.remove(at);
        self.len -= 1;
        if chunk.len() < CHUNK_MAX / 4 {
            self.join_with_neighbour(bound);
        }
        Some(row)
    }

    /// A chunk that has become small goes into the one before it, so that there are never many small ones.
    fn join_with_neighbour(&mut self, bound: K) {
        let small = self.chunks.get(&bound).map_or(0, |chunk| chunk.len());
        if small == 0 {
            self.chunks.remove(&bound);
            return;
        }
        let fits = |chunk: &Arc<Chunk<K, V>>| chunk.len() + small <= CHUNK_MAX / 2;
        if self
            .chunks
            .range(..&bound)
            .next_back()
            .is_none_or(|(_, before)| !fits(before))
        {
            return;
        }
        let Some(moved) = self.chunks.remove(&bound) else {
            return;
        };
        if let Some((_, before)) = self.chunks.range_mut(..&bound).next_back() {
            Arc::make_mut(before).extend(moved.iter().map(|(key, row)| (key.clone(), row.clone())));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &Arc<V>)> {
        self.chunks
            .values()
            .flat_map(|chunk| chunk.iter())
            .map(|(key, row)| (key, row))
    }

    /// Rows with greater keys, in order.
    pub fn iter_after(&self, key: K) -> impl Iterator<Item = (&K, &Arc<V>)> {
        self.iter_from(key.clone()).skip_while(move |(k, _)| **k == key)
    }

    /// Rows with this key and greater ones, in order.
    pub fn iter_from(&self, key: K) -> impl Iterator<Item = (&K, &Arc<V>)> {
        let bound = self
            .chunks
            .range(..=&key)
            .next_back()
            .map_or_else(|| key.clone(), |(bound, _)| bound.clone());
        self.chunks
            .range(bound..)
            .flat_map(|(_, chunk)| chunk.iter())
            .skip_while(move |(k, _)| *k < key)
            .map(|(key, row)| (key, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the plain map that it stands for, with captures that later writes must not change.
        #[test]
        fn rows_are_a_sorted_map(steps in proptest::collection::vec((any::<bool>(), 0u32..400, any::<u8>()), 1..800)) {
            let (mut rows, mut model) = (Rows::<u32, u8>::default(), BTreeMap::<u32, u8>::new());
            let mut captures = Vec::new();
            for (n, (put, key, value)) in steps.into_iter().enumerate() {
                if put {
                    let was = rows.put(key, Arc::new(value));
                    prop_assert_eq!(was.map(|v| *v), model.insert(key, value));
                } else {
                    prop_assert_eq!(rows.remove(&key).map(|v| *v), model.remove(&key));
                }
                if n % 100 == 0 {
                    captures.push((rows.clone(), model.clone()));
                }
            }
            captures.push((rows, model));
            for (rows, model) in captures {
                prop_assert_eq!(rows.len(), model.len());
                prop_assert!(rows.iter().map(|(k, v)| (*k, **v)).eq(model.iter().map(|(k, v)| (*k, *v))));
                for key in [0, 7, 200, 399] {
                    prop_assert_eq!(rows.get(&key).map(|v| **v), model.get(&key).copied());
                    prop_assert!(rows.iter_from(key).map(|(k, _)| *k).eq(model.range(key..).map(|(k, _)| *k)));
                    prop_assert!(rows.iter_after(key).map(|(k, _)| *k).eq(model.range(key + 1..).map(|(k, _)| *k)));
                }
            }
        }

        #[test]
        fn rows_in_order_of_time_fill_their_chunks(count in 1usize..2000) {
            let mut rows = Rows::<usize, ()>::default();
            for key in 0..count {
                rows.put(key, Arc::new(()));
            }
            prop_assert!(rows.chunks.len() <= count.div_ceil(CHUNK_MAX));
        }
    }
}
