//! What a table was never asked to hold: a few bits for each bucket, for those who look for what mostly is not there.
//!
//! A bucket is a cache line. A look-up that finds nothing has read one for nothing, and of a large table those of all homes fit
//! into no near cache. A *sieve* has 16 bits for each bucket, one of which stands for a key with that home: a thirty-second of
//! the slots. A bit is set before the first slot is claimed for such a key, and never cleared (L7).
//!
//! Hits would pay for a look at it and learn nothing. So finds pass it by until one in [a thousand](Sieved::USUAL) of those
//! that find nothing says otherwise, and again when as many find something behind it.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::hash::KeyHash;
use crate::mapping;
use crate::sync::{AtomicU64, Ordering};

/// Bits for each bucket, and buckets in a word.
const BITS: usize = 16;
const BUCKETS: usize = u64::BITS as usize / BITS;

/// Which tables of a store have a sieve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sieved {
    /// The logarithm of the buckets of the smallest, and of the first that is too large.
    smallest: u32,
    too_large: u32,
    /// One look-up in so many chooses whether finds ask it, a power of two.
    one_in: u64,
}

impl Sieved {
    /// What fits into a near cache needs none; and of the largest tables it fits into none itself, so that it would cost those
    /// who insert more than it spares others.
    pub(crate) const USUAL: Self = Self {
        smallest: 12,
        too_large: 21,
        one_in: 1024,
    };

    /// All, and finds ask as often as not: for tests.
    pub(crate) const ALL: Self = Self {
        smallest: 0,
        too_large: u32::MAX,
        one_in: 1,
    };

    /// None, for models of other things.
    #[cfg(shadow_loom)]
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
    layout: Layout,
    /// The bits of a bucket's number.
    mask: usize,
    /// The bits of a hash that are 0 if its look-up chooses.
    sample: u64,
}

impl Sieve {
    /// Of a table with 2^log2 buckets, if it is to have one. Nothing also if there is no memory: then it goes without.
    pub(super) fn new(log2: u32, sieved: Sieved) -> Option<Self> {
        if !sieved.has(log2) {
            return None;
        }
        let buckets = 1_usize << log2;
        let words = buckets.div_ceil(BUCKETS);
        let layout = Layout::array::<AtomicU64>(words).ok()?;
        // SAFETY: no table is empty.
        let memory = unsafe { mapping::alloc(layout, true) }?.cast::<AtomicU64>();
        #[cfg(shadow_loom)]
        for word in 0..words {
            // SAFETY: in bounds of the allocation (loom's atomics are laid out as `array` says).
            unsafe { memory.add(word).write(AtomicU64::new(0)) };
        }
        Some(Self {
            words: memory,
            layout,
            mask: buckets - 1,
            sample: (sieved.one_in - 1) << 20,
        })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// The word and the bit that stand for keys with this hash and home.
    #[inline(always)]
    fn place(&self, home: usize, hash: KeyHash) -> (&AtomicU64, u64) {
        let home = home & self.mask;
        // Hash bits, and what tells the ids of one place apart.
        let bit = (hash.point ^ hash.point >> 4) as usize % BITS;
        // SAFETY: a word for each few of the buckets, whose numbers have no other bits; zero bytes are valid.
        let word = unsafe { self.words.add(home / BUCKETS).as_ref() };
        (word, 1 << (home % BUCKETS * BITS + bit))
    }

    /// Notes that a slot is about to be claimed for a key (L7).
    #[inline(always)]
    pub(super) fn note(&self, home: usize, hash: KeyHash) {
        let (word, bit) = self.place(home, hash);
        // Relaxed, both: who has to see it is ordered behind the claim (L7).
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether a slot may have been claimed for a key.
    #[inline(always)]
    pub(super) fn may_have(&self, home: usize, hash: KeyHash) -> bool {
        let (word, bit) = self.place(home, hash);
        // Relaxed: as in `note`.
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Whether a look-up of this key is one of those by which finds choose their way.
    #[inline(always)]
    pub(super) fn is_sample(&self, hash: KeyHash) -> bool {
        hash.point & self.sample == 0
    }

    /// Whether finds ask it from the first on.
    pub(super) fn asks_at_first(&self) -> bool {
        self.sample == 0
    }
}

// SAFETY: owns an array of atomics.
unsafe impl Send for Sieve {}
// SAFETY: an array of atomics.
unsafe impl Sync for Sieve {}

impl Drop for Sieve {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; nobody uses it any more.
        unsafe { mapping::dealloc(self.words.cast(), self.layout) };
    }
}
