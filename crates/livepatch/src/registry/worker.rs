//! The thread that ends transitions which wait for units of work.

use std::thread;
use std::time::Duration;

use super::{Registry, registry};
use crate::callout;
use crate::task::waiter;

/// How long the worker sleeps between looks, at first and at most. Units that leave the old side wake it.
const NAPS: (Duration, Duration) = (Duration::from_millis(1), LOOK);

/// How often somebody looks whether a transition can end, at least.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// There is a transition that could not end at once. Only the turn's holder comes here.
pub(super) fn start() {
    waiter::ensure(|| {
        // If there can be no thread, `Registry::poll` is what ends transitions.
        let spawned = thread::Builder::new().name("livepatch".to_owned()).spawn(work);
        spawned.ok().map(|handle| handle.thread().clone())
    });
    // Not itself: it would not nap any more.
    if !waiter::is_current() {
        waiter::wake();
    }
}

fn work() {
    let mut nap = NAPS.0;
    loop {
        if registry().is_in_transition() {
            thread::park_timeout(nap);
            nap = (nap * 2).min(NAPS.1);
            // A turn of its own: never refused. Whatever a patch does, this thread goes on.
            callout::quietly(|| {
                let _ = registry().poll();
            });
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
