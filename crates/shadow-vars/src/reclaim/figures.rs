//! Statistics: how much is retired, what it weighs, and what holds it back.

use std::ptr::NonNull;

use super::counters::difference;
use super::held::Held;
use super::list::List;
use super::object::{Link, Objects};
use super::retired::RetireLists;
use super::{Reclaim, pace};
use crate::sync::Ordering;

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
            let held = self.lists().filter_map(|(_, list)| list.held.get());
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

impl<O: Objects> List<O> {
    /// Notes the time for an object that was retired just now and is open.
    pub(super) fn note_age(&self) {
        if !crate::sync::LOOM && self.opened.load(Ordering::Relaxed) == 0 {
            self.opened.store(pace::nanoseconds(), Ordering::Relaxed);
        }
    }

    /// Returns an approximate time by which the oldest object still retired had been retired.
    pub(super) fn oldest(&self) -> Option<u64> {
        if self.waiting() == 0 {
            return None;
        }
        let held = self.held.get().map_or(0, |held| held.since.load(Ordering::Relaxed));
        let since = [&self.waiting_since, &self.opened].map(|since| since.load(Ordering::Relaxed));
        [held].into_iter().chain(since).find(|&since| since != 0)
    }

    /// Returns the bytes retired and not yet reclaimed, including what the objects own.
    fn pending_bytes(&self) -> u64 {
        let bytes = difference(&self.retired_bytes, &self.reclaimed_bytes);
        let held = self.held.get().map_or(0, Held::weight);
        let bytes = bytes.saturating_add(held);
        // Weight that was counted with the wrong batch is ignored once nothing waits.
        let weights = self.weights.get().filter(|_| self.waiting() > 0);
        bytes.saturating_add(weights.map_or(0, |weights| weights.pending(&self.reclaimed)))
    }
}

#[cfg(all(test, not(shadow_loom)))]
mod tests;
