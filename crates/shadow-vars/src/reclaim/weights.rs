//! The weight of the objects of one shard's list: what they own besides their bytes, while they wait.

use super::counters::difference;
use crate::sync::{Ordering, stat};

/// Bytes for which a full batch is not awaited: the size of one object, or the weight of the open objects.
pub(super) const LARGE: u64 = 1 << 16;

/// What objects own besides their bytes, as far as it is known.
#[derive(Default)]
pub(super) struct Weights {
    /// The weight of the open objects.
    open: stat::AtomicU64,
    /// The weight of the batch closed last, and its average per object: the weight of each is not recorded.
    pub(super) waiting: stat::AtomicU64,
    pub(super) each: stat::AtomicU64,
    /// The value of `retired` at that close: `closed_at - reclaimed` of its objects are left.
    closed_at: stat::AtomicU64,
}

impl Weights {
    /// Turns the weight of the open objects into that of the waiting ones, of which there are `objects`; `retired` is the
    /// list's count.
    pub(super) fn close(&self, objects: u64, retired: u64) {
        let weight = self.open.swap(0, Ordering::Relaxed);
        self.waiting.store(weight, Ordering::Relaxed);
        self.each.store(weight.div_ceil(objects.max(1)), Ordering::Relaxed);
        self.closed_at.store(retired, Ordering::Relaxed);
    }

    /// Adds to the weight of the open objects. Returns whether that fills a batch.
    #[inline]
    pub(super) fn add(&self, weight: u64) -> bool {
        // Relaxed, here and below: statistics, and how soon a batch is closed. If the batch has just been closed, the
        // weight counts with the next one.
        let before = self.open.fetch_add(weight, Ordering::Relaxed);
        before / LARGE != before.saturating_add(weight) / LARGE
    }

    /// Returns the weight of all objects that wait, by the list's count of reclaimed ones.
    pub(super) fn pending(&self, reclaimed: &stat::AtomicU64) -> u64 {
        let left = difference(&self.closed_at, reclaimed);
        let waiting = left.saturating_mul(self.each.load(Ordering::Relaxed));
        let waiting = waiting.min(self.waiting.load(Ordering::Relaxed));
        self.open.load(Ordering::Relaxed).saturating_add(waiting)
    }
}
