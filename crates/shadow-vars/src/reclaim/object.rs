//! What retire lists know of the objects on them: a link, and an owner that frees them.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::Reclaim;
use crate::shard::Shard;
use crate::sync::{AtomicU64, Ordering};

/// A word of an object, by which retire lists link it. The object has the other 19 bits of the word for its own use.
pub(crate) struct Link(AtomicU64);

/// The bits of the link: an address, which has 48 bits and is a multiple of 8.
const NEXT: u64 = 0x0000_ffff_ffff_fff8;

impl Link {
    pub(crate) fn new(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    /// Links a retired object before `next`.
    pub(crate) fn set_next(&self, next: *mut Self) {
        // Relaxed: the object's own bits do not change any more; the list's own Release publishes the link.
        let own = self.0.load(Ordering::Relaxed) & !NEXT;
        self.0.store(own | next.expose_provenance() as u64, Ordering::Relaxed);
    }

    /// Returns the object that this retired object is linked before, or null.
    pub(crate) fn next(&self) -> *mut Self {
        // Relaxed: a thread that takes a list over has acquired it.
        std::ptr::with_exposed_provenance_mut((self.0.load(Ordering::Relaxed) & NEXT) as usize)
    }
}

impl Deref for Link {
    type Target = AtomicU64;

    #[inline(always)]
    fn deref(&self) -> &AtomicU64 {
        &self.0
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut AtomicU64 {
        &mut self.0
    }
}

/// The eras between which an object could be found, in backends with intervals (B2).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) born: u64,
    /// Only known for held objects.
    pub(crate) retired: End,
}

impl Interval {
    pub(crate) fn new(born: u64) -> Self {
        Self { born, retired: End(0) }
    }
}

/// The period that an object waited for, and approximately what it owns besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End(u64);

impl End {
    /// The number of bits of the period: no program exceeds them. The bits above are the weight, by its highest bit and
    /// the two below it.
    const PERIOD: u32 = 56;

    pub(crate) fn new(period: u64, weight: u64) -> Self {
        let weight = match weight {
            0..4 => weight,
            _ => (u64::from(weight.ilog2()) - 1) * 4 + (weight >> (weight.ilog2() - 2) & 3),
        };
        Self(weight << Self::PERIOD | period)
    }

    pub(crate) fn period(self) -> u64 {
        self.0 & ((1 << Self::PERIOD) - 1)
    }

    /// Returns the weight given to `new`, or up to a fifth less.
    pub(crate) fn weight(self) -> u64 {
        match self.0 >> Self::PERIOD {
            small @ 0..4 => small,
            large => (4 + large % 4) << (large / 4 - 1),
        }
    }
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_end_keeps_the_period_and_nearly_the_weight() {
        for weight in (0..64).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1, u64::MAX >> bits]) {
            for period in [0, 1, (1 << 56) - 1] {
                let end = End::new(period, weight);
                assert_eq!(end.period(), period);
                let kept = end.weight();
                assert!(kept <= weight && kept >= weight - weight / 5, "{kept} of {weight}");
            }
        }
    }
}

/// The result of freeing an object.
#[derive(Clone, Copy)]
pub(crate) struct Freed {
    pub(crate) bytes: u64,
    /// Whether its `Drop` panicked; it counts as dropped.
    pub(crate) panicked: bool,
}

/// What an object owns besides its own bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weighed {
    pub(crate) bytes: u64,
    /// Whether the weigher panicked; then `bytes` means nothing.
    pub(crate) panicked: bool,
}

/// The owner of a store's objects, which frees them.
pub(crate) trait Objects: Send + Sync + 'static {
    /// What [`free_plain`](Self::free_plain) learns about a kind of objects and uses again: most runs are of one kind.
    type Kind: Copy + Send;

    /// Fast path: frees an object that owns nothing, without running foreign code. Returns its bytes, or `None` if it
    /// may own something.
    ///
    /// # Safety
    ///
    /// No thread can reach the object any more; at most once per object. The shard is the caller's; `kind` was learned
    /// in the same shard.
    unsafe fn free_plain<R: Reclaim>(
        &self,
        object: NonNull<Link>,
        shard: Shard,
        kind: &mut Option<Self::Kind>,
    ) -> Option<u64>;

    /// Returns the interval of an object, in stores whose backend has intervals.
    ///
    /// # Safety
    ///
    /// The object is allocated, and of such a store.
    unsafe fn interval(&self, object: NonNull<Link>) -> NonNull<Interval>;

    /// Drops what an object owns, and frees it.
    ///
    /// # Safety
    ///
    /// No thread can reach the object any more; at most once per object. The shard is the caller's.
    unsafe fn reclaim(&self, object: NonNull<Link>, shard: Shard) -> Freed;

    /// Returns what an object with a destructor owns besides its bytes. May run foreign code, which may do anything that
    /// a free may.
    ///
    /// # Safety
    ///
    /// The object is a dead variable, and a guard of the caller protects it.
    unsafe fn weigh(&self, object: NonNull<Link>) -> Weighed;

    /// Returns the size of an object in bytes.
    ///
    /// # Safety
    ///
    /// The object is allocated.
    unsafe fn bytes(&self, object: NonNull<Link>) -> u64;

    /// Called after this thread, whose shard this is, has freed a run of objects.
    fn settle(&self, shard: Shard);

    /// Drops what an object owns, and marks it, so that later accesses are caught.
    ///
    /// # Safety
    ///
    /// Same as [`reclaim`](Self::reclaim).
    #[cfg(any(test, shadow_loom))]
    unsafe fn poison(&self, object: NonNull<Link>) -> Freed;

    /// Frees a [poisoned](Self::poison) object.
    ///
    /// # Safety
    ///
    /// The object is poisoned; at most once per object.
    #[cfg(any(test, shadow_loom))]
    unsafe fn free_poisoned(&self, object: NonNull<Link>, shard: Shard);
}
