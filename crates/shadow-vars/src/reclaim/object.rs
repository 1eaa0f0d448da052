//! What retire lists know of the objects on them: a link, and somebody who takes them back.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::Reclaim;
use crate::shard::Shard;
use crate::sync::{AtomicU64, Ordering};

/// A word of an object, by which retire lists link it. Beside the link it has 19 bits for the object's own use.
pub(crate) struct Link(AtomicU64);

/// The bits of the link: of an address, which has 48 bits and is a multiple of 8.
const NEXT: u64 = 0x0000_ffff_ffff_fff8;

impl Link {
    pub(crate) fn new(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    /// Links a retired object before `next`.
    pub(crate) fn set_next(&self, next: *mut Self) {
        // Relaxed: what the word says was settled before; the list's own Release publishes the link.
        let own = self.0.load(Ordering::Relaxed) & !NEXT;
        self.0.store(own | next.expose_provenance() as u64, Ordering::Relaxed);
    }

    /// What a retired object is linked before, or null.
    pub(crate) fn next(&self) -> *mut Self {
        // Relaxed: whoever takes a list over has acquired it.
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

/// From when to when an object could be found, in eras: of backends with intervals (B2).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) born: u64,
    /// Only known of what is held.
    pub(crate) retired: End,
}

impl Interval {
    pub(crate) fn new(born: u64) -> Self {
        Self { born, retired: End(0) }
    }
}

/// The period that an object waited for, and about what it owns beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End(u64);

impl End {
    /// Bits of the period: no program gets through them. Above is the weight, by its highest bit and the two below.
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

    /// What was given, or up to a fifth less.
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

/// What became of an object.
#[derive(Clone, Copy)]
pub(crate) struct Freed {
    pub(crate) bytes: u64,
    /// Whether its `Drop` panicked; then it counts as dropped.
    pub(crate) panicked: bool,
}

/// What an object owns beside its own bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weighed {
    pub(crate) bytes: u64,
    /// Whether who was asked panicked; then nothing is known.
    pub(crate) panicked: bool,
}

/// Who takes back the objects of a store.
pub(crate) trait Objects: Send + Sync + 'static {
    /// What [`free_plain`](Self::free_plain) finds out of a kind of objects: most come many of a kind.
    type Kind: Copy + Send;

    /// Gives an object's memory back in a few steps, if it owns nothing: no code of others runs. Its bytes then.
    ///
    /// # Safety
    ///
    /// Nobody can reach the object any more; once. The shard is the caller's; `kind` was found out for the same shard.
    unsafe fn free_plain<R: Reclaim>(
        &self,
        object: NonNull<Link>,
        shard: Shard,
        kind: &mut Option<Self::Kind>,
    ) -> Option<u64>;

    /// Where the interval of an object is. Only of stores whose backend has them.
    ///
    /// # Safety
    ///
    /// The object is allocated, and of such a store.
    unsafe fn interval(&self, object: NonNull<Link>) -> NonNull<Interval>;

    /// Drops what an object owns, and gives its memory back.
    ///
    /// # Safety
    ///
    /// Nobody can reach the object any more; once. The shard is the caller's.
    unsafe fn reclaim(&self, object: NonNull<Link>, shard: Shard) -> Freed;

    /// What an object with a destructor owns beside its bytes. May run code of others, which may do anything that a free may.
    ///
    /// # Safety
    ///
    /// The object is a variable, which is dead, and a guard of the caller protects it.
    unsafe fn weigh(&self, object: NonNull<Link>) -> Weighed;

    /// Bytes of an object.
    ///
    /// # Safety
    ///
    /// It is allocated.
    unsafe fn bytes(&self, object: NonNull<Link>) -> u64;

    /// Many objects in a row were given back by this thread, whose shard this is.
    fn settle(&self, shard: Shard);

    /// Drops what an object owns, and marks it: whoever touches it now is caught.
    ///
    /// # Safety
    ///
    /// As [`reclaim`](Self::reclaim).
    #[cfg(any(test, shadow_loom))]
    unsafe fn poison(&self, object: NonNull<Link>) -> Freed;

    /// Gives the memory of a [poisoned](Self::poison) object back.
    ///
    /// # Safety
    ///
    /// It is poisoned; once.
    #[cfg(any(test, shadow_loom))]
    unsafe fn free_poisoned(&self, object: NonNull<Link>, shard: Shard);
}
