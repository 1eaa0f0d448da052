//! Handlers that run around a fork: see [`fork`].

use std::cell::UnsafeCell;

use crate::reclaim::watch;
use crate::sync::stat::{AtomicBool, Ordering};
use crate::sync::{MutexGuard, tokens_given};
use crate::waiters::List;
use crate::{fork, shard, waiters};

/// What a fork holds from its beginning to its end.
struct Held(UnsafeCell<Option<(fork::Gate, MutexGuard<'static, List>)>>);

// SAFETY: only accessed by the thread that forks, while the gate is shut.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

/// Makes sure that forks are noticed from now on, or as soon as another thread that is doing this has finished. Returns
/// whether there was memory for that.
pub(crate) fn watch() -> bool {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    // Relaxed: it guards no other memory.
    if WATCHED.load(Ordering::Relaxed) || WATCHED.swap(true, Ordering::Relaxed) {
        return true;
    }
    // SAFETY: functions of this code, in which nothing panics.
    let watched = unsafe { fork::at_fork(before, parent, child) };
    if !watched {
        WATCHED.store(false, Ordering::Relaxed);
    }
    watched
}

/// Shuts the gate and locks the waiters' list. Cannot deadlock: no thread holds the list's lock while it is in a section.
extern "C" fn before() {
    let gate = fork::shut();
    let waiters = waiters::lock();
    // SAFETY: the gate is shut.
    unsafe { *HELD.0.get() = Some((gate, waiters)) };
}

fn release() {
    // SAFETY: the gate, which is in here, is shut; it is taken out before it opens.
    let held = unsafe { (*HELD.0.get()).take() };
    drop(held);
}

extern "C" fn parent() {
    release();
}

/// Does what F1 to F3 require. Runs before any other code in the child.
extern "C" fn child() {
    fork::become_child(tokens_given());
    shard::release_vanished();
    watch::let_go_of_others();
    // SAFETY: as in `release`.
    if let Some((_, waiters)) = unsafe { &mut *HELD.0.get() } {
        waiters.forget_all();
    }
    release();
}
