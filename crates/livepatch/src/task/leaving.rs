//! Who waits for units to leave a side, woken by those that do so that it need not look all the time.

use std::sync::OnceLock;
use std::thread::{self, Thread};

/// The thread that waits.
static WAITER: OnceLock<Thread> = OnceLock::new();

/// The thread that waits, made by `spawn` if there is none yet. It can happen that there is none: then nobody waits.
pub(crate) fn waiter(spawn: impl FnOnce() -> Option<Thread>) {
    if WAITER.get().is_none()
        && let Some(thread) = spawn()
    {
        WAITER.get_or_init(|| thread);
    }
}

/// Whether the calling thread is the one that waits.
pub(crate) fn is_waiter() -> bool {
    WAITER.get().is_some_and(|waiter| waiter.id() == thread::current().id())
}

/// Lets the thread that waits look.
#[cold]
pub(crate) fn wake() {
    if let Some(waiter) = WAITER.get() {
        waiter.unpark();
    }
}
