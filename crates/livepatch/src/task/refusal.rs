//! A system that lets the process register for its barrier and then refuses it, for models: what `asymmetric_barrier` makes
//! of that (its H1 to H6, which have models of their own), with one reader for each record.

use super::record::Record;
use crate::sync::{AtomicUsize, Ordering, fence};

const LIGHT: usize = 0;
const FENCES: usize = 1;
/// A system that does not refuse: light barriers are nothing, which is what they are to the processor, and heavy ones do
/// nothing either. For models that order otherwise what barriers are for.
const NOTHING: usize = 2;

#[derive(Debug)]
pub(crate) struct Refusal {
    /// The mode of light barriers.
    mode: AtomicUsize,
    /// Whether all readers are settled: then hooks are not called any more.
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

    /// No refusal, nor barriers.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Self {
            mode: AtomicUsize::new(NOTHING),
            ..Self::new()
        }
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
        if self.mode.load(Ordering::Relaxed) == NOTHING {
            return true;
        }
        // SeqCst: with that of `settle`.
        fence(Ordering::SeqCst);
        self.mode.store(FENCES, Ordering::Release);
        // Acquire: with the store below.
        if self.settled.load(Ordering::Acquire) == 1 {
            return true;
        }
        hook();
        // Acquire: with the fence of `settle`.
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

/// A reader fences, and says so.
pub(super) fn settle(record: &Record) {
    // SeqCst: with that of `heavy`.
    fence(Ordering::SeqCst);
    record.settled.store(1, Ordering::Relaxed);
}
