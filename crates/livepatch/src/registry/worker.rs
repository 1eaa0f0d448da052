//! The worker thread, which ends transitions that wait for units of work.
//!
//! It is started by the first transition that cannot end at once, and lives as long as the process; a fork's child starts
//! its own. While a transition runs, it polls, at intervals that grow from the first to the last of [`SLEEPS`], and
//! whenever a unit that holds the transition up has left. Otherwise it sleeps. If it cannot be created, waiting threads poll.

use std::thread;
use std::time::Duration;

use crate::callout;
use crate::task::waiter;

/// How long the worker sleeps between checks, initially and at most. Units that leave the old side wake it.
const SLEEPS: (Duration, Duration) = (Duration::from_millis(1), POLL_INTERVAL);

/// The longest interval between checks whether a transition can end.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What the worker does.
#[derive(Clone, Copy)]
pub(super) struct Work {
    /// Returns whether a transition runs.
    pub(super) is_due: fn() -> bool,
    /// Ends it if no unit of work holds it up.
    pub(super) poll: fn(),
}

/// Starts or wakes the worker, for a transition that could not end at once. Only called by the holder of the change lock.
pub(super) fn start(work: Work) {
    waiter::ensure(|| {
        // If no thread can be created, transitions end in `Registry::poll`.
        let worker = thread::Builder::new().name("livepatch".to_owned());
        let spawned = worker.spawn(move || run(work));
        spawned.ok().map(|handle| handle.thread().clone())
    });
    // The worker must not wake itself: it would no longer sleep.
    if !waiter::is_current() {
        waiter::wake();
    }
}

fn run(work: Work) {
    let mut sleep = SLEEPS.0;
    loop {
        if (work.is_due)() {
            thread::park_timeout(sleep);
            sleep = (sleep * 2).min(SLEEPS.1);
            // A panic of a patch does not end this thread.
            callout::quietly(|| (work.poll)());
        } else {
            thread::park();
            sleep = SLEEPS.0;
        }
    }
}
