//! Who waits for units to leave a side, woken by those that do so that it need not look all the time.

use std::ptr;
use std::thread::{self, Thread};

use crate::sync::stat::{AtomicPtr, Ordering};

/// The thread that waits. Leaked: there is one, and one more in each generation of forks.
static WAITER: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());

fn get() -> Option<&'static Thread> {
    // SAFETY: null, or leaked by `waiter`, whose Release this acquires.
    unsafe { WAITER.load(Ordering::Acquire).as_ref() }
}

/// The thread that waits, made by `spawn` if there is none yet. It can happen that there is none: then nobody waits. Not
/// to be called by two threads at once.
pub(crate) fn waiter(spawn: impl FnOnce() -> Option<Thread>) {
    if get().is_none()
        && let Some(thread) = spawn()
    {
        WAITER.store(Box::leak(Box::new(thread)), Ordering::Release);
    }
}

/// Whether the calling thread is the one that waits.
pub(crate) fn is_waiter() -> bool {
    get().is_some_and(|waiter| waiter.id() == thread::current().id())
}

/// Whether there is a thread that waits.
pub(crate) fn has_waiter() -> bool {
    get().is_some()
}

/// Lets the thread that waits look.
#[cold]
pub(crate) fn wake() {
    if let Some(waiter) = get() {
        waiter.unpark();
    }
}

/// In a fork's child: the thread that waits is not there, unless it has forked itself.
#[cfg(not(shadow_loom))]
pub(super) fn after_fork() {
    if !is_waiter() {
        WAITER.store(ptr::null_mut(), Ordering::Release);
    }
}
