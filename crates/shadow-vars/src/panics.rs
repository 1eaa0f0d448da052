//! Handling panics of user code that must not end the code that calls it.
//!
//! A caught panic is a value like any other: its payload may have a `Drop`, which may panic too. So a payload is either passed
//! on or given to [`discard`], never just dropped.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

type Payload = Box<dyn Any + Send>;

/// Drops the payload of a panic. If that panics again, the new payload is leaked, as this might go on for ever.
#[cold]
pub(crate) fn discard(payload: Payload) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// The first panic of several calls, kept until all have been made.
#[derive(Default)]
pub(crate) struct FirstPanic(Option<Payload>);

impl FirstPanic {
    /// Makes a call, and catches its panic.
    #[inline]
    pub(crate) fn catch(&mut self, call: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
            self.keep(payload);
        }
    }

    #[cold]
    fn keep(&mut self, payload: Payload) {
        match self.0 {
            None => self.0 = Some(payload),
            Some(_) => discard(payload),
        }
    }

    /// Returns the first panic of both.
    #[cfg(feature = "rayon")]
    pub(crate) fn or(mut self, mut later: Self) -> Self {
        if let Some(payload) = later.0.take() {
            self.keep(payload);
        }
        self
    }

    /// Resumes the panic, if there was one.
    pub(crate) fn resume(mut self) {
        if let Some(payload) = self.0.take() {
            resume_unwind(payload);
        }
    }
}

impl Drop for FirstPanic {
    fn drop(&mut self) {
        if let Some(payload) = self.0.take() {
            discard(payload);
        }
    }
}

/// Makes a call when it is dropped, during a panic or not.
pub(crate) struct OnDrop<F: FnOnce()>(ManuallyDrop<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(crate) fn new(call: F) -> Self {
        Self(ManuallyDrop::new(call))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        // SAFETY: taken here only.
        let call = unsafe { ManuallyDrop::take(&mut self.0) };
        call();
    }
}
