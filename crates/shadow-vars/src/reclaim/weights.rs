//! What the objects of one shard's list own beside their bytes, while they wait.

use std::ptr;

use super::figures::difference;
use super::held::Held;
use super::list::List;
use super::object::Objects;
use super::retired::LARGE;
use crate::mem::try_box;
use crate::sync::{Ordering, stat};

/// What objects own beside their bytes, as far as somebody said so.
#[derive(Default)]
pub(super) struct Weights {
    /// Of what is open,
    open: stat::AtomicU64,
    /// and of what was closed last: of all of it, and each on average, as nobody knows any more which weighs what.
    pub(super) waiting: stat::AtomicU64,
    pub(super) each: stat::AtomicU64,
    /// What `retired` was then: there are as many left as `reclaimed` lacks.
    closed_at: stat::AtomicU64,
}

impl<O: Objects> List<O> {
    /// What is open weighs as what waits from now on.
    pub(super) fn close_weight(&self) {
        let Some(weights) = self.weights() else { return };
        let weight = weights.open.swap(0, Ordering::Relaxed);
        weights.waiting.store(weight, Ordering::Relaxed);
        let each = weight.div_ceil(self.fresh().max(1));
        weights.each.store(each, Ordering::Relaxed);
        let retired = self.retired.load(Ordering::Relaxed);
        weights.closed_at.store(retired, Ordering::Relaxed);
    }

    pub(super) fn weights(&self) -> Option<&Weights> {
        // Acquire: pairs with `make_weights`.
        // SAFETY: null, or made there, and freed with the list.
        unsafe { self.weights.load(Ordering::Acquire).as_ref() }
    }

    #[cold]
    pub(super) fn make_weights(&self) -> Option<&Weights> {
        let fresh = Box::into_raw(try_box(Weights::default())?);
        // AcqRel: Release pairs with `weights`; Acquire with that of who was first.
        if let Err(first) = self
            .weights
            .compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: made above, and nobody else's.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: as in `weights`.
            return unsafe { first.as_ref() };
        }
        self.weights()
    }

    /// So much more is open, which was retired just now. Whether that fills a batch, with what was there before.
    #[inline]
    pub(super) fn add_weight(&self, weight: u64) -> bool {
        if weight == 0 {
            return false;
        }
        // Relaxed, here and below: statistics, and how soon a batch is closed. If that has just been done, it is counted with the
        // next one.
        let Some(weights) = self.weights().or_else(|| self.make_weights()) else {
            return weight >= LARGE;
        };
        let before = weights.open.fetch_add(weight, Ordering::Relaxed);
        before / LARGE != before.saturating_add(weight) / LARGE
    }

    /// Bytes that are retired and not yet reclaimed, with what objects own beside theirs.
    pub(super) fn pending_bytes(&self) -> u64 {
        let bytes = difference(&self.retired_bytes, &self.reclaimed_bytes);
        let held = self.held().map_or(0, Held::weight);
        let bytes = bytes.saturating_add(held);
        // What was counted with the wrong batch waits for nothing.
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
