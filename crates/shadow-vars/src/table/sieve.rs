//! A Bloom filter over the keys of a table, for look-ups that mostly find nothing.
//!
//! A bucket is a cache line. A look-up that finds nothing has to read one, and in a large table the lines of all homes fit
//! into no near cache. A *sieve* has 32 bits for each bucket, three of which stand for a key with that home (Bloom,
//! *Space/time trade-offs in hash coding with allowable errors*, CACM 1970): it takes a sixteenth of the memory of the slots,
//! and three absent keys in a hundred pass it. The bits are set before the first slot is claimed for such a key, and never
//! cleared (L7).
//!
//! Look-ups that find their key would pay for the check and gain nothing. So finds skip the sieve until one in [a
//! thousand](Sieve::is_sample) of those that find nothing enables it, and use it until one in a thousand of those that find
//! something disables it.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::hash::{KeyHash, home};
use crate::mapping;
use crate::sync::{AtomicU64, Ordering};

/// Bits per bucket, and buckets per word.
const BITS: usize = 32;
const BUCKETS: usize = u64::BITS as usize / BITS;

/// The sizes of tables that get a sieve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sieved {
    /// The logarithm of the number of buckets of the smallest such table, and of the first that is too large.
    smallest: u32,
    too_large: u32,
    /// Whether finds check the sieve from the start, and each may switch (tests).
    from_start: bool,
}

impl Sieved {
    /// A table that fits into a near cache needs no sieve; and the sieve of a very large table would not fit into one either,
    /// so that it would cost inserts more than it saves look-ups.
    pub(crate) const USUAL: Self = Self {
        smallest: 17,
        too_large: 21,
        from_start: false,
    };

    /// All tables, and finds keep switching: for tests.
    pub(crate) const ALL: Self = Self {
        smallest: 0,
        too_large: u32::MAX,
        from_start: true,
    };

    /// No table, for models of other parts.
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
    /// The logarithm of the table's number of buckets.
    log2: u32,
    from_start: bool,
}

impl Sieve {
    /// Creates the sieve of a table with 2^log2 buckets, if it should have one. Also returns `None` if allocation fails: then
    /// the table does without.
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
            from_start: sieved.from_start,
        })
    }

    /// Returns the bytes it occupies.
    pub(super) fn bytes(&self) -> usize {
        words(self.log2) * size_of::<AtomicU64>()
    }

    /// Returns the word and the bits that stand for keys with this hash.
    #[inline(always)]
    fn place(&self, hash: KeyHash) -> (&AtomicU64, u64) {
        let home = home(hash.point, self.log2);
        // The lowest bits of the hash distinguish the ids of one place.
        let bits = [0, 16, 21].map(|from| 1_u64 << ((hash.point >> from) as usize % BITS));
        let bits = bits.iter().fold(0, |all, bit| all | bit);
        // SAFETY: in bounds: the words hold `BITS` bits for each of the 2^log2 buckets; zero bytes are valid.
        let word = unsafe { self.words.add(home / BUCKETS).as_ref() };
        (word, bits << (home % BUCKETS * BITS))
    }

    /// Records that a slot is about to be claimed for a key (L7).
    #[inline(always)]
    pub(super) fn note(&self, hash: KeyHash) {
        let (word, bits) = self.place(hash);
        // Relaxed, both: a thread that must see the bits is ordered after the claim (L7).
        if word.load(Ordering::Relaxed) & bits != bits {
            word.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Returns whether a slot may have been claimed for a key.
    #[inline(always)]
    pub(super) fn may_contain(&self, hash: KeyHash) -> bool {
        let (word, bits) = self.place(hash);
        // Relaxed: as in `note`.
        word.load(Ordering::Relaxed) & bits == bits
    }

    /// Returns whether look-ups of keys with this home decide whether finds use the sieve: one in 1,024.
    #[inline(always)]
    pub(super) fn is_sample<B>(bucket: &B) -> bool {
        // A bucket is a line.
        std::ptr::from_ref(bucket).addr() & (1023 * 64) == 0
    }

    /// Returns whether finds check the sieve from the start.
    pub(super) fn starts_with_sieve(&self) -> bool {
        self.from_start
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
            // SAFETY: allocated with this layout; not used any more.
            unsafe { mapping::dealloc(self.words.cast(), layout) };
        }
    }
}
