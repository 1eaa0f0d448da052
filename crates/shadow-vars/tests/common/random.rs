//! Random rounds from a seed, so that a failure can be named and reproduced.

use super::rounds::{KEYS, MOST_PER_STEP, Manner, Round, Step, Verb};

/// SplitMix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.word() % limit as u64) as usize
    }

    /// Returns a round for this many threads.
    pub fn round(&mut self, threads: usize) -> Round {
        let manner = Manner::from_bits(self.word() as u8);
        // With few keys and few kinds of operations, the operations of a round interact.
        let keys = 1 + self.below(KEYS);
        let verbs: Vec<Verb> = (0..2 + self.below(5))
            .map(|_| Verb::ALL[self.below(Verb::ALL.len())])
            .collect();
        let fillers = self.below(MOST_PER_STEP + 1);
        let programs = (0..threads)
            .map(|_| {
                (0..3 + self.below(5))
                    .map(|_| Step {
                        verb: verbs[self.below(verbs.len())],
                        key: self.below(keys),
                        fillers: self.below(fillers + 1),
                    })
                    .collect()
            })
            .collect();
        Round { programs, manner }
    }
}
