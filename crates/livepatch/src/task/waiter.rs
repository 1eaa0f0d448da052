//! The thread that waits for units to leave a side. The units that leave wake it, so that it need not poll.
//!
//! A wake-up is a hint: one that is lost, or comes too early, only delays the end of a transition until the next check.

use std::ptr;
use std::thread::{self, Thread};

use crate::sync::stat::{AtomicPtr, Ordering};

/// The waiting thread. Leaked: there is one, and one more in each generation of forks.
static WAITER: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());

fn get() -> Option<&'static Thread> {
    // SAFETY: null, or leaked by `ensure`, whose Release this acquires.
    unsafe { WAITER.load(Ordering::Acquire).as_ref() }
}

/// Makes sure that there is a waiting thread, with `spawn` if there is none yet. `spawn` may fail: then there is none.
/// Must not be called by two threads at once.
pub(crate) fn ensure(spawn: impl FnOnce() -> Option<Thread>) {
    if get().is_none()
        && let Some(thread) = spawn()
    {
        WAITER.store(Box::leak(Box::new(thread)), Ordering::Release);
    }
}

/// Returns whether the calling thread is the waiting thread.
pub(crate) fn is_current() -> bool {
    get().is_some_and(|waiter| waiter.id() == thread::current().id())
}

/// Returns whether there is a waiting thread.
pub(crate) fn exists() -> bool {
    get().is_some()
}

/// Wakes the waiting thread, so that it scans again.
#[cold]
pub(crate) fn wake() {
    if let Some(waiter) = get() {
        waiter.unpark();
    }
}

/// In a fork's child: the waiting thread does not exist, unless it is the one that forked.
pub(super) fn after_fork() {
    if !is_current() {
        WAITER.store(ptr::null_mut(), Ordering::Release);
    }
}
