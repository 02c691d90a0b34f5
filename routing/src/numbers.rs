//! Numbers that follow from a seed alone (SplitMix64: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number
//! generators", OOPSLA 2014): whoever has the seed can repeat what was drawn.

/// A line of numbers.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The line of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, uniform in all of `u64`.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next one, uniform in 0..below; `below` is above 0.
    pub fn below(&mut self, below: u64) -> u64 {
        // The lowest 2^64 mod `below` numbers are one too many for some remainders.
        let surplus = below.wrapping_neg() % below;
        loop {
            let number = self.draw();
            if number >= surplus {
                return number % below;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference_implementation() {
        // https://prng.di.unimi.it/splitmix64.c, seed 1234567.
        let mut numbers = Numbers::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| numbers.draw()).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(drawn, expected);
    }
}
