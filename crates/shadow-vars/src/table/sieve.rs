//! What a table was never asked to hold: a few bits for each bucket, for those who look for what mostly is not there.
//!
//! A bucket is a cache line. A look-up that finds nothing has read one for nothing, and of a large table those of all homes fit
//! into no near cache. A *sieve* has 32 bits for each bucket, three of which stand for a key with that home (Bloom, *Space/time
//! trade-offs in hash coding with allowable errors*, CACM 1970): a sixteenth of the slots, and three keys in a hundred seem to be
//! there that are not. They are set before the first slot is claimed for such a key, and never cleared (L7).
//!
//! Hits would pay for a look at it and learn nothing. So finds pass it by until one in [a thousand](Sieve::is_sample) of those
//! that find nothing says otherwise, and again when as many find something behind it.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::hash::{KeyHash, home};
use crate::mapping;
use crate::sync::{AtomicU64, Ordering};

/// Bits for each bucket, and buckets in a word.
const BITS: usize = 32;
const BUCKETS: usize = u64::BITS as usize / BITS;

/// Which tables of a store have a sieve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sieved {
    /// The logarithm of the buckets of the smallest, and of the first that is too large.
    smallest: u32,
    too_large: u32,
    /// Whether finds ask it from the first on, and each changes its mind.
    at_once: bool,
}

impl Sieved {
    /// What fits into a near cache needs none; and of the largest tables it fits into none itself, so that it would cost those
    /// who insert more than it spares others.
    pub(crate) const USUAL: Self = Self {
        smallest: 17,
        too_large: 21,
        at_once: false,
    };

    /// All, and finds ask as often as not: for tests.
    pub(crate) const ALL: Self = Self {
        smallest: 0,
        too_large: u32::MAX,
        at_once: true,
    };

    /// None, for models of other things.
    #[cfg(all(test, shadow_loom))]
    pub(crate) const NONE: Self = Self {
        too_large: 0,
        ..Self::ALL
    };

    fn has(self, log2: u32) -> bool {
        (self.smallest..self.too_large).contains(&log2)
    }
}

/// The sieve of one table.
pub(crate) struct Sieve {
    words: NonNull<AtomicU64>,
    /// Of the table's buckets.
    log2: u32,
    at_once: bool,
}

impl Sieve {
    /// Of a table with 2^log2 buckets, if it is to have one. Nothing also if there is no memory: then it goes without.
    pub(super) fn new(log2: u32, sieved: Sieved) -> Option<Self> {
        if !sieved.has(log2) {
            return None;
        }
        // SAFETY: no table is empty.
        let memory = unsafe { mapping::alloc(layout(log2)?, true) }?.cast::<AtomicU64>();
        #[cfg(shadow_loom)]
        for word in 0..words(log2) {
            // SAFETY: in bounds of the allocation (loom's atomics are laid out as an array says).
            unsafe { memory.add(word).write(AtomicU64::new(0)) };
        }
        Some(Self {
            words: memory,
            log2,
            at_once: sieved.at_once,
        })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        words(self.log2) * size_of::<AtomicU64>()
    }

    /// The word and the bits that stand for keys with this hash.
    #[inline(always)]
    fn place(&self, hash: KeyHash) -> (&AtomicU64, u64) {
        let home = home(hash.point, self.log2);
        // The lowest tell the ids of one place apart.
        let bits = [0, 16, 21].map(|from| 1_u64 << ((hash.point >> from) as usize % BITS));
        let bits = bits.iter().fold(0, |all, bit| all | bit);
        // SAFETY: a word for each few of the 2^log2 buckets; zero bytes are valid.
        let word = unsafe { self.words.add(home / BUCKETS).as_ref() };
        (word, bits << (home % BUCKETS * BITS))
    }

    /// Notes that a slot is about to be claimed for a key (L7).
    #[inline(always)]
    pub(super) fn note(&self, hash: KeyHash) {
        let (word, bits) = self.place(hash);
        // Relaxed, both: who has to see it is ordered behind the claim (L7).
        if word.load(Ordering::Relaxed) & bits != bits {
            word.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Whether a slot may have been claimed for a key.
    #[inline(always)]
    pub(super) fn may_have(&self, hash: KeyHash) -> bool {
        let (word, bits) = self.place(hash);
        // Relaxed: as in `note`.
        word.load(Ordering::Relaxed) & bits == bits
    }

    /// Whether look-ups of keys with this home are among those by which finds choose their way: one in 1,024.
    #[inline(always)]
    pub(super) fn is_sample<B>(bucket: &B) -> bool {
        // A bucket is a line.
        std::ptr::from_ref(bucket).addr() & (1023 * 64) == 0
    }

    /// Whether finds ask it from the first on.
    pub(super) fn asks_at_first(&self) -> bool {
        self.at_once
    }
}

fn words(log2: u32) -> usize {
    (1_usize << log2).div_ceil(BUCKETS)
}

fn layout(log2: u32) -> Option<Layout> {
    Layout::array::<AtomicU64>(words(log2)).ok()
}

// SAFETY: owns an array of atomics.
unsafe impl Send for Sieve {}
// SAFETY: an array of atomics.
unsafe impl Sync for Sieve {}

impl Drop for Sieve {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.log2) {
            // SAFETY: allocated with this layout; nobody uses it any more.
            unsafe { mapping::dealloc(self.words.cast(), layout) };
        }
    }
}
