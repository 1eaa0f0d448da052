//! Grace periods that were asked for and that nobody has taken up yet: a lock-free stack.

use std::ptr;

use super::retired::GracePeriod;
use crate::sync::{AtomicPtr, Ordering};

/// Pushed to by everybody who closes a batch, emptied by who drives the backend.
pub(crate) struct Asked<T = ()>(AtomicPtr<Entry<T>>);

struct Entry<T> {
    period: GracePeriod,
    note: T,
    next: *mut Entry<T>,
}

impl<T> Asked<T> {
    #[cfg(not(shadow_loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    #[cfg(shadow_loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn push(&self, period: GracePeriod, note: T) {
        let entry = Box::into_raw(Box::new(Entry {
            period,
            note,
            next: ptr::null_mut(),
        }));
        // Relaxed: the exchange fails if it is stale.
        let mut next = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: ours until the exchange succeeds.
            unsafe { (*entry).next = next };
            // Release: pairs with the swap in `take`.
            match self
                .0
                .compare_exchange_weak(next, entry, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(found) => next = found,
            }
        }
    }

    /// All that was pushed, newest first.
    pub(crate) fn take(&self) -> impl Iterator<Item = (GracePeriod, T)> {
        // Acquire: pairs with `push`.
        let mut entry = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        std::iter::from_fn(move || {
            if entry.is_null() {
                return None;
            }
            // SAFETY: made by `Box::into_raw`, and taken off the stack once.
            let taken = *unsafe { Box::from_raw(entry) };
            entry = taken.next;
            Some((taken.period, taken.note))
        })
    }
}
