//! Who waits for units to leave a side: a hint, so that it need not look all the time.

use std::sync::OnceLock;
use std::thread::{self, Thread};

use super::world::Side;
use crate::sync::stat::{AtomicUsize, Ordering};

/// The side that units should leave, plus 1; 0 if nobody waits.
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// The thread that waits.
static WAITER: OnceLock<Thread> = OnceLock::new();

/// A unit of this side has left.
#[inline]
pub(super) fn left(side: Side) {
    // Relaxed: a hint. Who is not told finds out at its next look.
    if LEFT.load(Ordering::Relaxed) == side.index() + 1 {
        wake();
    }
}

/// From now on, units that leave this side wake the thread that waits.
pub(crate) fn expect(side: Option<Side>) {
    LEFT.store(side.map_or(0, |side| side.index() + 1), Ordering::Relaxed);
}

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
