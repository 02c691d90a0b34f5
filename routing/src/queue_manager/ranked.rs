//! An ordered set that knows places: who is the n-th, and how many come up to a given one.

/// A chunk that grows beyond this is cut in two. A change moves at most so many; a place is found by a walk over the chunks.
const CHUNK_MAX: usize = 256;

/// A set in chunks, each ascending, none empty.
#[derive(Clone, Debug)]
pub(super) struct Ranked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Ranked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Ord + Copy> Ranked<T> {
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    pub(super) fn insert(&mut self, value: T) {
        let at = self.chunk_of(&value).min(self.chunks.len().saturating_sub(1));
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        let chunk = &mut self.chunks[at];
        let Err(place) = chunk.binary_search(&value) else {
            return;
        };
        chunk.insert(place, value);
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(at + 1, upper);
        }
    }

    pub(super) fn remove(&mut self, value: &T) {
        let at = self.chunk_of(value);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        if let Ok(place) = chunk.binary_search(value) {
            chunk.remove(place);
            if chunk.is_empty() {
                self.chunks.remove(at);
            }
        }
    }

    pub(super) fn nth(&self, mut n: usize) -> Option<T> {
        for chunk in &self.chunks {
            if n < chunk.len() {
                return Some(chunk[n]);
            }
            n -= chunk.len();
        }
        None
    }

    /// How many are up to `value`, itself counted.
    pub(super) fn count_up_to(&self, value: &T) -> usize {
        let at = self.chunk_of(value);
        let before: usize = self.chunks[..at].iter().map(Vec::len).sum();
        before
            + self
                .chunks
                .get(at)
                .map_or(0, |chunk| chunk.partition_point(|other| other <= value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// The first chunk that does not end before `value`.
    fn chunk_of(&self, value: &T) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < value))
    }
}

impl<T: Ord + Copy> FromIterator<T> for Ranked<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut set = Self::default();
        values.into_iter().for_each(|value| set.insert(value));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn places_are_those_of_a_sorted_set() {
        let (mut ranked, mut plain) = (Ranked::default(), BTreeSet::new());
        let mut number = 1_u32;
        for step in 0..6_000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (number >> 8) % 1_500;
            // It grows, then shrinks to nothing.
            if step < 3_000 && !number.is_multiple_of(4) {
                ranked.insert(value);
                plain.insert(value);
            } else {
                let gone = plain.range(value..).next().or(plain.first()).copied().unwrap_or(value);
                ranked.remove(&gone);
                plain.remove(&gone);
            }
            assert_eq!(ranked.len(), plain.len());
            assert_eq!(ranked.count_up_to(&value), plain.range(..=value).count());
            let n = value as usize / 2;
            assert_eq!(ranked.nth(n), plain.iter().nth(n).copied());
        }
        assert!(ranked.iter().eq(plain.iter()));
        assert!(plain.is_empty() && ranked.nth(0).is_none() && ranked.chunks.is_empty());
    }
}
