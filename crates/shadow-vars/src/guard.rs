//! The guards inside [`Pinned`](crate::Pinned): of one thread, or one that can be sent.
//!
//! A guard remembers whether something was created or freed under it. If so, the maintenance that is due is done when it
//! ends, outside of it; a guard under which variables were only looked up costs no reader that.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::panic::RefUnwindSafe;
use std::ptr;

use crate::panics::OnDrop;
use crate::reclaim::Reclaim;
use crate::sync::stat::{AtomicBool, Ordering};
use crate::table::Shield;
use private::Hold;

/// The guard that keeps a reader's references valid: one of this thread, or one that can be sent.
pub trait GuardKind<R: Reclaim>: private::Hold<R> {}

impl<R: Reclaim, G: private::Hold<R>> GuardKind<R> for G {}

mod private {
    use super::Reclaim;

    pub trait Hold<R: Reclaim>: Sized {
        fn place(&self) -> R::Place;

        /// Notes that something is created or freed under this guard.
        fn note_change(&self);

        /// Returns whether a change was noted.
        fn has_changed(&self) -> bool;

        /// Ends the guard's protection and begins a new one. If a change was noted, runs `upkeep` in between and forgets
        /// the change.
        fn renew(&mut self, upkeep: impl FnOnce());
    }
}

/// The guard inside a [`Pinned`](crate::Pinned) of one thread.
pub struct LocalGuard<R: Reclaim> {
    guard: R::Guard,
    changed: Cell<bool>,
}

/// The guard inside an [`OwnedPinned`](crate::OwnedPinned).
pub struct OwnedGuard<R: Reclaim> {
    guard: R::OwnedGuard,
    changed: AtomicBool,
}

/// Whether something was changed says nothing about the guard itself.
impl<R: Reclaim> RefUnwindSafe for LocalGuard<R> where R::Guard: RefUnwindSafe {}

impl<R: Reclaim> LocalGuard<R> {
    #[inline]
    pub(crate) fn hold() -> Self {
        Self {
            guard: R::pin(),
            changed: Cell::new(false),
        }
    }
}

impl<R: Reclaim> OwnedGuard<R> {
    #[track_caller]
    pub(crate) fn hold() -> Self {
        Self {
            guard: R::pin_owned(),
            changed: AtomicBool::new(false),
        }
    }
}

/// Returns the shield of a guard.
#[inline(always)]
pub(crate) fn shield<R: Reclaim, G: GuardKind<R>>(guard: &G) -> Shield<'_, R> {
    // SAFETY: the guard is held for as long as this borrow, as `renew` borrows it mutably.
    unsafe { Shield::new(guard.place()) }
}

impl<R: Reclaim> Hold<R> for LocalGuard<R> {
    #[inline(always)]
    fn place(&self) -> R::Place {
        R::place(&self.guard)
    }

    #[inline(always)]
    fn note_change(&self) {
        self.changed.set(true);
    }

    #[inline(always)]
    fn has_changed(&self) -> bool {
        self.changed.get()
    }

    fn renew(&mut self, upkeep: impl FnOnce()) {
        if !self.changed.replace(false) {
            return R::repin(&mut self.guard);
        }
        // Upkeep does nothing while the thread holds a guard. There is none to drop until the new one has been made.
        let absent = OnDrop::new(|| std::process::abort());
        // SAFETY: replaced below, before it is used or dropped again: a panic in between aborts the process.
        unsafe { ptr::drop_in_place(&raw mut self.guard) };
        upkeep();
        // SAFETY: the field belongs to `self`, and holds no guard any more.
        unsafe { ptr::write(&raw mut self.guard, R::pin()) };
        mem::forget(absent);
    }
}

impl<R: Reclaim> Hold<R> for OwnedGuard<R> {
    #[inline(always)]
    fn place(&self) -> R::Place {
        R::place_owned(&self.guard)
    }

    #[inline(always)]
    fn note_change(&self) {
        // Relaxed, here and below: the code that drops or renews the guard has it alone.
        self.changed.store(true, Ordering::Relaxed);
    }

    #[inline(always)]
    fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    fn renew(&mut self, upkeep: impl FnOnce()) {
        R::repin_owned(&mut self.guard);
        if mem::take(self.changed.get_mut()) {
            upkeep();
        }
    }
}

impl<R: Reclaim> fmt::Debug for LocalGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalGuard").finish_non_exhaustive()
    }
}

impl<R: Reclaim> fmt::Debug for OwnedGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedGuard").finish_non_exhaustive()
    }
}
