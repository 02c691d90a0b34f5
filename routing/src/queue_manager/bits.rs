//! A growing set of small numbers: one row or column of the compatibility matrix.

/// A set of handles.
#[derive(Clone, Debug, Default)]
pub(super) struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    pub(super) fn insert(&mut self, bit: u32) {
        let word = (bit / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (bit % 64);
    }

    pub(super) fn remove(&mut self, bit: u32) {
        if let Some(word) = self.words.get_mut((bit / 64) as usize) {
            *word &= !(1 << (bit % 64));
        }
    }

    pub(super) fn contains(&self, bit: u32) -> bool {
        self.word((bit / 64) as usize) & (1 << (bit % 64)) != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Keeps the allocation.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// The 64 members from `64 * word` on, as bits.
    pub(super) fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    pub(super) fn word_count(&self) -> usize {
        self.words.len()
    }

    /// Members, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(word, &bits)| Members {
            bits,
            base: word as u32 * 64,
        })
    }

    /// Members of both, ascending.
    pub(super) fn iter_both<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        self.words
            .iter()
            .zip(&other.words)
            .enumerate()
            .flat_map(|(word, (a, b))| Members {
                bits: a & b,
                base: word as u32 * 64,
            })
    }
}

/// The members that one word holds.
pub(super) struct Members {
    pub(super) bits: u64,
    pub(super) base: u32,
}

impl Iterator for Members {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.bits == 0 {
            return None;
        }
        let bit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(self.base + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_bits_behave_as_sets() {
        let mut a = BitSet::default();
        let mut b = BitSet::default();
        for bit in [0, 63, 64, 200] {
            a.insert(bit);
        }
        assert!(!a.meets(&b));
        b.insert(200);
        b.insert(5_000);
        assert!(a.meets(&b) && b.meets(&a));
        assert_eq!(a.iter().collect::<Vec<_>>(), [0, 63, 64, 200]);
        assert_eq!(a.iter_both(&b).collect::<Vec<_>>(), [200]);
        a.remove(200);
        a.remove(9_999);
        assert!(!a.contains(200) && !a.contains(9_999) && a.contains(64));
        a.add_all(&b);
        assert!(a.contains(5_000));
        a.clear();
        assert_eq!(a.iter().count(), 0);
    }
}
