//! For models: a system that lets the process register for its barrier and then refuses it. Does what
//! `asymmetric_barrier` does then (its H1 to H6, which have models of their own), with one reader for each record.

use super::record::Record;
use crate::sync::{AtomicUsize, Ordering, fence};

const LIGHT: usize = 0;
const FENCES: usize = 1;
/// A system that does not refuse: neither light barriers nor heavy ones do anything. For models that establish by other
/// means the order that barriers are for.
const NOTHING: usize = 2;

#[derive(Debug)]
pub(crate) struct Refusal {
    /// The mode of light barriers.
    mode: AtomicUsize,
    /// Whether all readers are settled: from then on hooks are not called.
    settled: AtomicUsize,
}

impl Refusal {
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self {
            mode: AtomicUsize::new(LIGHT),
            settled: AtomicUsize::new(0),
        }
    }

    /// Neither refuses nor executes barriers.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Self {
            mode: AtomicUsize::new(NOTHING),
            ..Self::new()
        }
    }

    /// Executes a light barrier: nothing, as a compiler fence is nothing to loom, or a fence, after which `hook` is called.
    pub(super) fn light(&self, record: &Record, hook: impl FnOnce(&Record)) {
        if self.is_fences() {
            settle(record);
            hook(record);
        }
    }

    /// Executes a heavy barrier, and returns whether all readers are settled, so that it is one. Calls `hook` before it
    /// checks.
    pub(super) fn heavy(&self, hook: impl FnOnce(), mut records: impl Iterator<Item = &'static Record>) -> bool {
        if self.mode.load(Ordering::Relaxed) == NOTHING {
            return true;
        }
        // SeqCst: pairs with the fence of `settle`.
        fence(Ordering::SeqCst);
        self.mode.store(FENCES, Ordering::Release);
        // Acquire: pairs with the store below.
        if self.settled.load(Ordering::Acquire) == 1 {
            return true;
        }
        hook();
        // Acquire: pairs with the fence of `settle`.
        let all = records.all(|record| record.settled.load(Ordering::Acquire) == 1);
        if all {
            self.settled.store(1, Ordering::Release);
        }
        all
    }

    pub(super) fn is_fences(&self) -> bool {
        self.mode.load(Ordering::Relaxed) == FENCES
    }
}

/// Fences, and marks the reader as settled.
pub(super) fn settle(record: &Record) {
    // SeqCst: pairs with the fence of `heavy`.
    fence(Ordering::SeqCst);
    record.settled.store(1, Ordering::Relaxed);
}
