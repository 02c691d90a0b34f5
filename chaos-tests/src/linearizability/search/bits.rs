//! Sets of operations.

/// A set that grows from its beginning, mostly: written down, it is only as long as its ragged end.
pub(super) struct Bits {
    words: Vec<u64>,
    /// Words before it are full.
    low: usize,
    /// Words from it on are empty.
    high: usize,
    count: usize,
}

impl Bits {
    pub(super) fn new(size: usize) -> Self {
        Self {
            words: vec![0; size.div_ceil(64)],
            low: 0,
            high: 0,
            count: 0,
        }
    }

    pub(super) fn has(&self, bit: u32) -> bool {
        self.words[bit as usize / 64] & (1 << (bit % 64)) != 0
    }

    pub(super) fn set(&mut self, bit: u32) {
        let word = bit as usize / 64;
        self.words[word] |= 1 << (bit % 64);
        self.high = self.high.max(word + 1);
        while self.words.get(self.low) == Some(&u64::MAX) {
            self.low += 1;
        }
        self.count += 1;
    }

    pub(super) fn clear(&mut self, bit: u32) {
        let word = bit as usize / 64;
        self.words[word] &= !(1 << (bit % 64));
        self.low = self.low.min(word);
        while self.high > 0 && self.words[self.high - 1] == 0 {
            self.high -= 1;
        }
        self.count -= 1;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The number of full words, and what comes after them: equal for equal sets alone.
    pub(super) fn window(&self) -> Box<[u64]> {
        let ragged = self.words.get(self.low..self.high).unwrap_or_default();
        std::iter::once(self.low as u64).chain(ragged.iter().copied()).collect()
    }

    /// All words up to the last that is not empty.
    pub(super) fn all(&self) -> Box<[u64]> {
        self.words[..self.high].into()
    }
}

/// Whether every element of the one is in the other; both as [`Bits::all`] gives them.
pub(super) fn part_of(one: &[u64], other: &[u64]) -> bool {
    one.len() <= other.len() && one.iter().zip(other).all(|(one, other)| one & !other == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_taken_back_is_the_set_from_before() {
        let mut bits = Bits::new(300);
        let mut windows = vec![bits.window()];
        for bit in 0..300 {
            bits.set(bit * 7 % 300);
            windows.push(bits.window());
        }
        let different: std::collections::HashSet<_> = windows.iter().collect();
        assert_eq!(different.len(), windows.len());
        assert_eq!(bits.count(), 300);
        for bit in (0..300).rev() {
            assert_eq!(Some(bits.window()), windows.pop());
            bits.clear(bit * 7 % 300);
        }
        assert_eq!((bits.window(), bits.count()), (windows.remove(0), 0));
    }

    #[test]
    fn part_of_another() {
        assert!(part_of(&[], &[]));
        assert!(part_of(&[0b01], &[0b11, 1]));
        assert!(!part_of(&[0b100], &[0b11, 1]));
        assert!(!part_of(&[0b01, 1], &[0b11]));
    }
}
