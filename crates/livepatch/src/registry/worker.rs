//! The thread that ends transitions which wait for units of work.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use super::{Registry, registry};
use crate::task::Side;

/// How long the worker sleeps between looks, at first and at most. Units that leave the old side wake it.
const NAPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The side that units should leave, plus 1; 0 if no transition runs.
static LEFT: AtomicUsize = AtomicUsize::new(0);
static WORKER: OnceLock<Thread> = OnceLock::new();

/// Whether the running transition waits for units of this side.
#[inline]
pub(crate) fn is_left(side: Side) -> bool {
    // Relaxed: a hint. Who is not told is found by the worker's next look.
    LEFT.load(Ordering::Relaxed) == side.index() + 1
}

/// A unit has left the side that the running transition waits for.
#[cold]
pub(crate) fn wake() {
    if let Some(worker) = WORKER.get() {
        worker.unpark();
    }
}

/// From now on, units that leave this side wake the worker.
pub(super) fn expect_to_leave(side: Option<Side>) {
    LEFT.store(side.map_or(0, |side| side.index() + 1), Ordering::Relaxed);
}

/// There is a transition that could not end at once.
pub(super) fn start() {
    if WORKER.get().is_none() {
        // If there can be no thread, `Registry::poll` is what ends transitions. Only the turn's holder comes here.
        if let Ok(handle) = thread::Builder::new().name("livepatch".to_owned()).spawn(work) {
            WORKER.get_or_init(|| handle.thread().clone());
        }
    }
    // Not itself: it would not nap any more.
    if WORKER.get().is_some_and(|worker| worker.id() != thread::current().id()) {
        wake();
    }
}

fn work() {
    let mut nap = NAPS.0;
    loop {
        if registry().is_in_transition() {
            thread::park_timeout(nap);
            nap = (nap * 2).min(NAPS.1);
            // A turn of its own: never refused.
            let _ = registry().poll();
        } else {
            thread::park();
            nap = NAPS.0;
        }
    }
}

impl Registry {
    fn is_in_transition(&self) -> bool {
        self.inner.lock().transition.is_some()
    }
}
