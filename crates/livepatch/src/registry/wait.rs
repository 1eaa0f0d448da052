//! Beginning a change, ending a transition that is due, and waiting for its end.
//!
//! A change that finds that a fork has taken the worker away ends a due transition first. The worker, and threads that
//! wait where there is none, poll: [`Registry::poll`] takes the change lock, ends the transition if no unit holds it up
//! (T4), and checks the watchdog.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::change::{Change, Registry};
use super::change_lock::LockError;
use super::worker;
use crate::error::{Reentrant, WaitError};
use crate::task::{self, waiter};

/// The longest that a thread that waits for a transition sleeps before it checks by itself.
const MAX_PARK: Duration = Duration::from_secs(1);

impl Registry {
    /// Waits until no patch is in transition. Must not be called inside a unit or from a callback: the transition waits
    /// for those.
    ///
    /// # Errors
    ///
    /// If a patch still is in transition when the time is up.
    pub fn wait(&self, timeout: Duration) -> Result<(), WaitError> {
        let until = Instant::now().checked_add(timeout);
        let this = thread::current();
        loop {
            task::fence();
            let patch = {
                let mut inner = self.inner.lock();
                inner.waiting.retain(|one| one.id() != this.id());
                let Some(transition) = &inner.transition else {
                    return Ok(());
                };
                let patch = transition.patch.name.clone();
                inner.waiting.push(this.clone());
                patch
            };
            let remaining = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if remaining.is_zero() || self.change_lock.is_poisoned() {
                self.inner.lock().waiting.retain(|one| one.id() != this.id());
                let tasks = self.holding_up().len();
                return Err(WaitError {
                    patch,
                    tasks,
                    unsettled: asymmetric_barrier::unsettled(),
                });
            }
            if waiter::exists() && !self.worker_lost.load(Ordering::Relaxed) {
                // Not indefinitely: the system may start to refuse the barrier meanwhile.
                thread::park_timeout(remaining.min(MAX_PARK));
            } else {
                // There is no worker yet, or there can be none: this thread completes the transition.
                let _ = self.poll();
                thread::park_timeout(remaining.min(worker::POLL_INTERVAL));
            }
        }
    }

    /// Ends the running transition if no unit of work holds it up. A thread of the registry does so by itself. Does
    /// nothing if nothing can change any more: see [`Forked`](crate::Forked).
    ///
    /// # Errors
    ///
    /// If it is called from a callback.
    pub fn poll(&self) -> Result<(), Reentrant> {
        match self.begin_change() {
            Ok(change) => {
                change.try_complete();
                change.check_watchdog();
                change.update_retained(&[]); // Variables for which libraries were retained may have been freed.
            }
            Err(LockError::Reentrant) => return Err(Reentrant),
            Err(LockError::Forked) => {}
        }
        Ok(())
    }

    /// Begins a change, waiting for the change lock.
    pub(super) fn begin_change(&self) -> Result<Change<'_>, LockError> {
        let change = Change::begin(self)?;
        // Relaxed: stored while there was one thread.
        if self.worker_lost.swap(false, Ordering::Relaxed) {
            change.try_complete();
        }
        Ok(change)
    }
}
