//! From a parent's address to its home bucket and to 12 bits for the tag.
//!
//! Addresses come in regular strides, which hashes that are good enough for other keys cluster on. A folded
//! multiplication brings every bit of the address down into the low half; a second multiplication spreads it over
//! the high bits, from which the index is taken.

use std::hash::{BuildHasher, Hasher};

/// Low bits of a tag in which a hash is 0, so that those of an id's index stand there as they are.
pub(crate) const PLAIN: u32 = 4;

/// An odd constant with no pattern, the first digits of e, times a power of two: products end in zeros.
const SPREAD: u64 = 0xadf8_5458_a2bb_4a9b << PLAIN;

/// A hash function for addresses, keyed per store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddrHasher {
    /// The first factor: odd, without a pattern, another for each seed. Zero makes all hashes equal (tests).
    fold: u64,
    /// The second: [`SPREAD`], here where the other is loaded from.
    spread: u64,
}

impl AddrHasher {
    pub(crate) fn new(seed: u64) -> Self {
        // Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): seeds that differ in a bit give factors that differ in many.
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            fold: (mixed ^ mixed >> 31) | 1,
            spread: SPREAD,
        }
    }

    /// A hasher with a seed of the process's own randomness.
    pub(crate) fn random() -> Self {
        Self::new(std::collections::hash_map::RandomState::new().build_hasher().finish())
    }

    /// A hasher that gives every address the same hash.
    pub(crate) fn constant() -> Self {
        Self {
            fold: 0,
            spread: SPREAD,
        }
    }

    #[inline]
    pub(crate) fn hash(self, obj: usize) -> AddrHash {
        let wide = u128::from(obj as u64) * u128::from(self.fold);
        let folded = wide as u64 ^ (wide >> 64) as u64;
        let spread = folded.wrapping_mul(self.spread);
        AddrHash {
            spread,
            tag: spread as u16,
        }
    }
}

/// The hash of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddrHash {
    /// A point in the hash space; tables of every size keep their entries in this order (split order).
    pub(crate) spread: u64,
    /// Its low 16 bits, which no table is large enough to use. The last [`PLAIN`] are 0.
    pub(crate) tag: u16,
}

impl AddrHash {
    /// The bucket of a table of `2^log2` buckets in which the probe for this address starts.
    #[inline]
    #[cfg(test)]
    pub(crate) fn home(self, log2: u32) -> usize {
        home(self.spread, log2)
    }
}

/// The home bucket of a point in the hash space: its `log2` high bits.
#[inline]
pub(crate) fn home(spread: u64, log2: u32) -> usize {
    // Rotated, not shifted: a shift by 64 (a table of one bucket) is not defined.
    spread.rotate_left(log2) as usize & ((1 << log2) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_splits_a_bucket_in_two() {
        let hasher = AddrHasher::new(42);
        for obj in (0..4096_usize).map(|n| 0x7f00_0000_0000 + n * 64) {
            let hash = hasher.hash(obj);
            for log2 in 0..20 {
                assert_eq!(hash.home(log2 + 1) >> 1, hash.home(log2));
            }
            assert_eq!(hash.home(0), 0);
        }
    }

    /// For every stride that an allocator or a page table makes, 2^12 addresses leave no bucket of 2^9 with more
    /// than four times its share of eight.
    #[test]
    fn strides_do_not_cluster() {
        for seed in [0, 1, 0xdead_beef, u64::MAX] {
            let hasher = AddrHasher::new(seed);
            for stride in [
                8_usize,
                16,
                24,
                32,
                48,
                64,
                80,
                96,
                128,
                192,
                256,
                1024,
                4096,
                4160,
                65536,
                1 << 21,
            ] {
                let mut load = [0_u32; 512];
                let mut tags = std::collections::HashSet::new();
                for n in 0..4096_usize {
                    let hash = hasher.hash(0x7f12_3456_7000 + n * stride);
                    load[hash.home(9)] += 1;
                    tags.insert(hash.tag);
                }
                let worst = load.iter().max().copied().unwrap_or(0);
                assert!(worst <= 32, "stride {stride}, seed {seed}: {worst} in one bucket");
                assert!(tags.len() > 1024, "stride {stride}, seed {seed}: {} tags", tags.len());
            }
        }
    }
}
