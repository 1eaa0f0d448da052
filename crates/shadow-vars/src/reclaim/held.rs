//! Held objects: with intervals (B1 to B6 of [`eras`](super::eras)), objects that a lagging reader cannot have found
//! are freed although its period is not over; the others are *held*.
//!
//! - **H1** A batch whose period is not over is [*sifted*](super::sift) under TAKEN (R2) once its readers can be known (B3): objects
//!   that no reader may find are freed, and the others are held, with the period that they waited for. The batch then
//!   counts as drained, so the next can be closed.
//! - **H2** Held objects only change under TAKEN. They are in two chains: the *rest* of the current round, and those
//!   already examined in the round and *kept*. When the rest is empty, the next round begins. Each pass examines some
//!   of them, each by its own interval: so an object held only by a reader that has gone is not held because of another
//!   that came after the object was retired.
//! - **H3** `oldest` is no later than the period of any held object; it is published when the freed objects have been
//!   dropped. So what was retired before a mark has been dropped when R5 says so, and `oldest` is past the period of
//!   the batch that had been drained last when a thread first saw that.
//!
//! A fork may cut off a thread under TAKEN anywhere (F4). The objects in its hands are lost, a batch at most. The
//! chains are whole, or both the same at the end of a round; the thread that [takes over](Held::mend) handles that.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::object::Link;
use super::pace;
use crate::sync::{AtomicPtr, Ordering, compiler_fence, stat};

/// The held objects of one shard's list (H2).
pub(super) struct Held {
    rest: AtomicPtr<Link>,
    kept: AtomicPtr<Link>,
    /// The oldest period in each chain: only touched under TAKEN.
    oldest_of_rest: stat::AtomicU64,
    oldest_of_kept: stat::AtomicU64,
    /// H3: `u64::MAX` if nothing is held.
    oldest: stat::AtomicU64,
    /// The period of the batch last drained by sifting.
    pub(super) drained: stat::AtomicU64,
    /// The period of the batch that was too young to be sifted.
    pub(super) spared: stat::AtomicU64,
    pub(super) count: stat::AtomicU64,
    /// Bytes of the held objects, and approximately what they own besides these.
    bytes: stat::AtomicU64,
    weight: stat::AtomicU64,
    /// A time by which the oldest held object was held; or 0.
    pub(super) since: stat::AtomicU64,
}

/// A period that held objects have to be past: see [`Held::is_past`].
pub(super) struct Reached(Cell<u64>);

impl Reached {
    pub(super) const fn new() -> Self {
        Self(Cell::new(0))
    }
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            rest: AtomicPtr::new(ptr::null_mut()),
            kept: AtomicPtr::new(ptr::null_mut()),
            oldest_of_rest: stat::AtomicU64::new(u64::MAX),
            oldest_of_kept: stat::AtomicU64::new(u64::MAX),
            oldest: stat::AtomicU64::new(u64::MAX),
            drained: stat::AtomicU64::new(0),
            spared: stat::AtomicU64::new(0),
            count: stat::AtomicU64::new(0),
            bytes: stat::AtomicU64::new(0),
            weight: stat::AtomicU64::new(0),
            since: stat::AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // Acquire: pairs with `publish_oldest`.
        self.oldest.load(Ordering::Acquire) == u64::MAX
    }

    /// Returns whether all objects retired before a mark have been dropped, given that its batch counts as drained
    /// (H3).
    pub(super) fn is_past(&self, reached: &Reached) -> bool {
        if self.is_empty() {
            return true;
        }
        if reached.0.get() == 0 {
            // Relaxed: acquired with the count of drained batches.
            reached.0.set(self.drained.load(Ordering::Relaxed));
        }
        // Acquire: pairs with `publish_oldest`.
        self.oldest.load(Ordering::Acquire) > reached.0.get()
    }

    /// Returns approximately the bytes that the guards of this period may hold, including what the objects own.
    pub(super) fn held_back(&self, period: u64) -> u64 {
        // Relaxed, all: an estimate.
        if self.drained.load(Ordering::Relaxed) <= period {
            return 0;
        }
        self.bytes.load(Ordering::Relaxed).saturating_add(self.weight())
    }

    /// Returns approximately how many bytes the held objects own besides their own.
    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Adds a held object of this size, which owns `weight` more. Under TAKEN.
    pub(super) fn count_bytes(&self, bytes: u64, weight: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.weight.fetch_add(weight, Ordering::Relaxed);
    }

    /// Subtracts an object that is no longer held. Under TAKEN.
    pub(super) fn forget_bytes(&self, bytes: u64, weight: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.weight.fetch_sub(weight, Ordering::Relaxed);
    }

    /// Returns whether a batch was already waiting for this period at the last call.
    pub(super) fn has_waited(&self, period: u64) -> bool {
        // Relaxed: an estimate.
        self.spared.swap(period, Ordering::Relaxed) == period
    }

    /// Holds an object.
    ///
    /// # Safety
    ///
    /// The caller holds the list TAKEN, whose held objects these are. The object is of this list, in no chain, and of a store
    /// with intervals.
    pub(super) unsafe fn keep(&self, object: NonNull<Link>, retired: u64) {
        debug_assert!(retired <= self.drained.load(Ordering::Relaxed), "looked for by it");
        // Relaxed, here and below: under TAKEN (H2).
        // SAFETY: the caller guarantees that the object is in no chain.
        unsafe { object.as_ref() }.set_next(self.kept.load(Ordering::Relaxed));
        object.as_ptr().expose_provenance();
        // Counted first: a fork may come in between (F4), and an object that is not counted would never be examined.
        let oldest = self.oldest_of_kept.load(Ordering::Relaxed).min(retired);
        self.oldest_of_kept.store(oldest, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.kept.store(object.as_ptr(), Ordering::Relaxed);
    }

    /// Takes out the next object of this round, or begins the next round and returns `None`.
    ///
    /// # Safety
    ///
    /// The caller holds the list TAKEN, and none of the held objects is freed but those that it took out.
    pub(super) unsafe fn next(&self) -> Option<NonNull<Link>> {
        let Some(object) = NonNull::new(self.rest.load(Ordering::Relaxed)) else {
            let oldest = self.oldest_of_kept.load(Ordering::Relaxed);
            self.oldest_of_rest.store(oldest, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            // A fork may come in between here, too: then both chains are the same, which is [mended](Self::mend).
            self.rest.store(self.kept.load(Ordering::Relaxed), Ordering::Relaxed);
            self.end_of_round();
            return None;
        };
        // SAFETY: in a chain of this list (H2), so it is allocated; the caller guarantees that nothing else changes the chain.
        self.rest.store(unsafe { object.as_ref() }.next(), Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(object)
    }

    /// Empties the kept chain, which the rest has taken over. Under TAKEN.
    fn end_of_round(&self) {
        compiler_fence(Ordering::SeqCst);
        self.kept.store(ptr::null_mut(), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.oldest_of_kept.store(u64::MAX, Ordering::Relaxed);
    }

    /// In the child of a fork: completes what a thread that does not exist here was doing under TAKEN, which the caller
    /// holds now.
    pub(super) fn mend(&self) {
        let rest = self.rest.load(Ordering::Relaxed);
        if !rest.is_null() && rest == self.kept.load(Ordering::Relaxed) {
            self.end_of_round();
        }
        self.publish_oldest();
        if !self.is_empty() && self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(pace::nanoseconds(), Ordering::Relaxed);
        }
    }

    /// Publishes the oldest period, once the freed objects have been dropped (H3). Under TAKEN.
    pub(super) fn publish_oldest(&self) {
        for (chain, oldest) in [(&self.rest, &self.oldest_of_rest), (&self.kept, &self.oldest_of_kept)] {
            if chain.load(Ordering::Relaxed).is_null() {
                oldest.store(u64::MAX, Ordering::Relaxed);
            }
        }
        let [rest, kept] = [&self.oldest_of_rest, &self.oldest_of_kept].map(|oldest| oldest.load(Ordering::Relaxed));
        // Release: pairs with `is_past`.
        self.oldest.store(rest.min(kept), Ordering::Release);
        if rest.min(kept) == u64::MAX {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// Takes all held objects, for the store's drop.
    pub(super) fn take_all(&self) -> [*mut Link; 2] {
        self.mend();
        // Acquire: the last holder has left TAKEN.
        [&self.rest, &self.kept].map(|chain| chain.swap(ptr::null_mut(), Ordering::Acquire))
    }
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(miri), not(shadow_loom)))]
mod tests;
