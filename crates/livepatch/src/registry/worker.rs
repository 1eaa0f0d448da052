//! The worker thread, which ends transitions that wait for units of work.

use std::thread;
use std::time::Duration;

use super::{Registry, registry};
use crate::callout;
use crate::task::waiter;

/// How long the worker sleeps between checks, initially and at most. Units that leave the old side wake it.
const SLEEPS: (Duration, Duration) = (Duration::from_millis(1), POLL_INTERVAL);

/// The longest interval between checks whether a transition can end.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Starts or wakes the worker, for a transition that could not end at once. Only called by the holder of the change lock.
pub(super) fn start() {
    waiter::ensure(|| {
        // If no thread can be created, transitions end in `Registry::poll`.
        let spawned = thread::Builder::new().name("livepatch".to_owned()).spawn(work);
        spawned.ok().map(|handle| handle.thread().clone())
    });
    // The worker must not wake itself: it would no longer sleep.
    if !waiter::is_current() {
        waiter::wake();
    }
}

fn work() {
    let mut sleep = SLEEPS.0;
    loop {
        if registry().is_in_transition() {
            thread::park_timeout(sleep);
            sleep = (sleep * 2).min(SLEEPS.1);
            // The worker takes the change lock itself, so `poll` is not reentrant. A panic of a patch does not end this
            // thread.
            callout::quietly(|| {
                let _ = registry().poll();
            });
        } else {
            thread::park();
            sleep = SLEEPS.0;
        }
    }
}

impl Registry {
    fn is_in_transition(&self) -> bool {
        self.inner.lock().transition.is_some()
    }
}
