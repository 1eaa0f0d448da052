//! How much is retired, what it weighs, and what holds it back: for statistics, and for how soon batches are closed.

use std::ptr::NonNull;

use super::Reclaim;
use super::object::{Link, Objects};
use super::retired::RetireLists;
use crate::sync::Ordering;
use crate::sync::stat::AtomicU64;

impl<O: Objects> RetireLists<O> {
    /// Objects retired so far.
    pub(crate) fn retired(&self) -> u64 {
        self.lists().map(|(_, list)| list.retired.load(Ordering::Relaxed)).sum()
    }

    /// Objects and bytes retired and not yet reclaimed: of each shard as it was at a moment of its own, as what is retired in
    /// one is reclaimed in the same.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let (objects, bytes) = self.lists().fold((0, 0), |sum, (_, list)| {
            let objects = difference(&list.retired, &list.reclaimed);
            let bytes = list.pending_bytes();
            (sum.0 + objects, sum.1 + bytes)
        });
        (objects as usize, bytes as usize)
    }

    /// Bytes of those that cannot be reclaimed before the guards of this period go; about. With intervals, of those that were
    /// looked at.
    pub(crate) fn held_back<R: Reclaim>(&self, period: u64) -> usize {
        if R::INTERVALS {
            let held = self.lists().filter_map(|(_, list)| list.held());
            return held.map(|held| held.held_back(period)).sum::<u64>() as usize;
        }
        let held = self.lists().filter(|(_, list)| list.waits_for_later(period));
        held.map(|(_, list)| list.pending_bytes()).sum::<u64>() as usize
    }

    /// What an object owns beside its bytes, for who retires it next, in a chain.
    ///
    /// # Safety
    ///
    /// As [`Objects::weigh`].
    #[inline]
    pub(crate) unsafe fn weigh(&self, object: NonNull<Link>) -> u64 {
        // SAFETY: the caller's.
        let weighed = unsafe { self.objects.weigh(object) };
        if weighed.panicked {
            self.shared.weigh_panics.fetch_add(1, Ordering::Relaxed);
        }
        // More than there is room for in an address space: a sum of them has room for a few.
        weighed.bytes.min(1 << 48)
    }

    pub(crate) fn weigh_panics(&self) -> u64 {
        self.shared.weigh_panics.load(Ordering::Relaxed)
    }

    pub(crate) fn drop_panics(&self) -> u64 {
        self.lists()
            .map(|(_, list)| list.drop_panics.load(Ordering::Relaxed))
            .sum()
    }
}

/// By how much the first counter was ahead of the second, at a moment of the call if a few tries find one.
pub(super) fn difference(first: &AtomicU64, second: &AtomicU64) -> u64 {
    // Acquire: the look at the first comes after that at the second; and before the next.
    let mut before = second.load(Ordering::Acquire);
    for _ in 0..8 {
        let ahead = first.load(Ordering::Acquire);
        let after = second.load(Ordering::Acquire);
        if before == after {
            return ahead.saturating_sub(after);
        }
        before = after;
    }
    first.load(Ordering::Acquire).saturating_sub(before)
}
