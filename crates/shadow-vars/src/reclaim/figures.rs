//! Statistics: how much is retired, what it weighs, and what holds it back. Also used to decide how soon batches are
//! closed.

use std::ptr::NonNull;

use super::Reclaim;
use super::object::{Link, Objects};
use super::retired::RetireLists;
use crate::sync::Ordering;
use crate::sync::stat::AtomicU64;

/// The most that one object counts for, whatever weight is reported. So a list's sum has room for 2^32 of them, which
/// would take 160 GiB.
const HEAVIEST: u64 = 4 << 30;

impl<O: Objects> RetireLists<O> {
    /// Returns the number of objects retired so far.
    pub(crate) fn retired(&self) -> u64 {
        self.lists().map(|(_, list)| list.retired.load(Ordering::Relaxed)).sum()
    }

    /// Returns the objects and bytes retired and not yet reclaimed. Each shard is counted at a time of its own; objects
    /// are reclaimed in the shard in which they were retired.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let (objects, bytes) = self.lists().fold((0_u64, 0_u64), |sum, (_, list)| {
            let objects = difference(&list.retired, &list.reclaimed);
            let bytes = list.pending_bytes();
            (sum.0.saturating_add(objects), sum.1.saturating_add(bytes))
        });
        (objects as usize, bytes as usize)
    }

    /// Returns approximately the bytes that cannot be reclaimed before the guards of this period are dropped. With
    /// intervals, only examined objects count.
    pub(crate) fn held_back<R: Reclaim>(&self, period: u64) -> usize {
        if R::INTERVALS {
            let held = self.lists().filter_map(|(_, list)| list.held());
            return held.map(|held| held.held_back(period)).fold(0, u64::saturating_add) as usize;
        }
        let held = self.lists().filter(|(_, list)| list.waits_for_later(period));
        held.map(|(_, list)| list.pending_bytes()).fold(0, u64::saturating_add) as usize
    }

    /// Returns what an object owns besides its bytes, for a caller that retires it next, in a chain.
    ///
    /// # Safety
    ///
    /// Same as [`Objects::weigh`].
    #[inline]
    pub(crate) unsafe fn weigh(&self, object: NonNull<Link>) -> u64 {
        // SAFETY: guaranteed by the caller.
        let weighed = unsafe { self.objects.weigh(object) };
        if weighed.panicked {
            self.shared.weigh_panics.fetch_add(1, Ordering::Relaxed);
        }
        weighed.bytes.min(HEAVIEST)
    }

    pub(crate) fn weigh_panics(&self) -> u64 {
        self.shared.weigh_panics.load(Ordering::Relaxed)
    }

    pub(crate) fn drop_panics(&self) -> u64 {
        self.lists()
            .map(|(_, list)| list.drop_panics.load(Ordering::Relaxed))
            .fold(0, u64::saturating_add)
    }
}

/// Returns how far the first counter was ahead of the second: at one point in time during the call, if a few attempts
/// find one.
pub(super) fn difference(first: &AtomicU64, second: &AtomicU64) -> u64 {
    // Acquire: the load of the first comes after that of the second, and before the next.
    let mut before = second.load(Ordering::Acquire);
    for _ in 0..8 {
        let now = first.load(Ordering::Acquire);
        let after = second.load(Ordering::Acquire);
        if before == after {
            return ahead(now, after);
        }
        before = after;
    }
    ahead(first.load(Ordering::Acquire), before)
}

/// Returns how far the first of two counts is ahead of the second: 0 if it is behind, as it may be if it was read
/// first. They may have wrapped around: exact while they are less than 2^63 apart.
pub(super) fn ahead(first: u64, second: u64) -> u64 {
    u64::try_from(first.wrapping_sub(second).cast_signed()).unwrap_or(0)
}

#[cfg(all(test, not(shadow_loom)))]
mod tests;
