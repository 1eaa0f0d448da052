//! The weight of the objects of one shard's list: what they own besides their bytes, while they wait.

use std::ptr;

use super::figures::difference;
use super::held::Held;
use super::list::List;
use super::object::Objects;
use super::retired::LARGE;
use crate::mem::try_box;
use crate::sync::{Ordering, stat};

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

impl<O: Objects> List<O> {
    /// Turns the weight of the open objects into that of the waiting ones.
    pub(super) fn close_weight(&self) {
        let Some(weights) = self.weights() else { return };
        let weight = weights.open.swap(0, Ordering::Relaxed);
        weights.waiting.store(weight, Ordering::Relaxed);
        let each = weight.div_ceil(self.unheld().max(1));
        weights.each.store(each, Ordering::Relaxed);
        let retired = self.retired.load(Ordering::Relaxed);
        weights.closed_at.store(retired, Ordering::Relaxed);
    }

    pub(super) fn weights(&self) -> Option<&Weights> {
        // Acquire: pairs with `make_weights`.
        // SAFETY: null, or made by `make_weights` and freed with the list.
        unsafe { self.weights.load(Ordering::Acquire).as_ref() }
    }

    #[cold]
    pub(super) fn make_weights(&self) -> Option<&Weights> {
        let fresh = Box::into_raw(try_box(Weights::default())?);
        // AcqRel: Release pairs with `weights`; Acquire with that of the thread that was first.
        if let Err(first) = self
            .weights
            .compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: made above, and not published.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: as in `weights`.
            return unsafe { first.as_ref() };
        }
        self.weights()
    }

    /// Adds to the weight of the open objects. Returns whether that fills a batch.
    #[inline]
    pub(super) fn add_weight(&self, weight: u64) -> bool {
        if weight == 0 {
            return false;
        }
        // Relaxed, here and below: statistics, and how soon a batch is closed. If the batch has just been closed, the
        // weight counts with the next one.
        let Some(weights) = self.weights().or_else(|| self.make_weights()) else {
            return weight >= LARGE;
        };
        let before = weights.open.fetch_add(weight, Ordering::Relaxed);
        before / LARGE != before.saturating_add(weight) / LARGE
    }

    /// Returns the bytes retired and not yet reclaimed, including what the objects own.
    pub(super) fn pending_bytes(&self) -> u64 {
        let bytes = difference(&self.retired_bytes, &self.reclaimed_bytes);
        let held = self.held().map_or(0, Held::weight);
        let bytes = bytes.saturating_add(held);
        // Weight that was counted with the wrong batch is ignored once nothing waits.
        let Some(weights) = self.weights().filter(|_| self.waiting() > 0) else {
            return bytes;
        };
        let left = difference(&weights.closed_at, &self.reclaimed);
        let waiting = left.saturating_mul(weights.each.load(Ordering::Relaxed));
        let waiting = waiting.min(weights.waiting.load(Ordering::Relaxed));
        let open = weights.open.load(Ordering::Relaxed);
        bytes.saturating_add(open).saturating_add(waiting)
    }
}
