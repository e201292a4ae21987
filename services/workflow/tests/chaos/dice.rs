//! Chance from one seed: what a test decided can be decided again.

use std::hash::{BuildHasher, RandomState};

/// A sequence of numbers that follows from its seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// `FLEET_TEST_SEED`, or a new seed; printed either way.
    pub fn thrown(test: &str) -> Self {
        let seed = match std::env::var("FLEET_TEST_SEED") {
            Ok(seed) => seed.parse().expect("FLEET_TEST_SEED is a number"),
            Err(_) => RandomState::new().hash_one(test) >> 32,
        };
        println!("{test}: FLEET_TEST_SEED={seed}");
        Self(seed)
    }

    /// Dice of their own for one of many who throw at the same time.
    pub fn fork(&self, which: u64) -> Self {
        let mut fork = Self(self.0 ^ which.wrapping_mul(0xA076_1D64_78BD_642F));
        fork.next();
        fork
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `end - 1`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
