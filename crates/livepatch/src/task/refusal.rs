//! A system that lets the process register for its barrier and then refuses it, for models: what `asymmetric_barrier` makes
//! of that (its H1 to H6, which have models of their own), with one reader for each record.

use super::record::Record;
use crate::sync::{AtomicUsize, Ordering, fence};

const LIGHT: usize = 0;
const FENCES: usize = 1;

/// The mode of light barriers.
#[derive(Debug)]
pub(crate) struct Refusal(AtomicUsize);

impl Refusal {
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(LIGHT))
    }

    /// A light barrier: nothing, which is what a compiler fence is to loom, or a fence, after which `hook` is called.
    pub(super) fn light(&self, record: &Record, hook: impl FnOnce(&Record)) {
        if self.is_fences() {
            settle(record);
            hook(record);
        }
    }

    /// A heavy barrier, which is one when all readers are settled. Calls `hook` before it looks.
    pub(super) fn heavy(&self, hook: impl FnOnce(), mut records: impl Iterator<Item = &'static Record>) -> bool {
        // SeqCst: with that of `settle`.
        fence(Ordering::SeqCst);
        self.0.store(FENCES, Ordering::Release);
        hook();
        // Acquire: with the fence of `settle`.
        records.all(|record| record.settled.load(Ordering::Acquire) == 1)
    }

    pub(super) fn is_fences(&self) -> bool {
        self.0.load(Ordering::Relaxed) == FENCES
    }
}

/// A reader fences, and says so.
pub(super) fn settle(record: &Record) {
    // SeqCst: with that of `heavy`.
    fence(Ordering::SeqCst);
    record.settled.store(1, Ordering::Relaxed);
}
