//! The change lock, which gives one thread the right to change patches and modules. It is held while callbacks run, so it
//! records its owner: a callback that tries to take it gets an error instead of a deadlock, and so does a fork's child
//! whose parent's holder does not exist there.

use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::{ChangeError, EnableError, Forked, ModuleError, Reentrant};
use crate::fork;
use crate::sync::Lock;

/// How long a fork waits for a change of another thread.
const FORK_TIMEOUT: Duration = Duration::from_millis(100);

/// Why the lock cannot be taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum LockError {
    Reentrant,
    Forked,
}

#[derive(Debug)]
pub(super) struct ChangeLock(Lock<State>);

#[derive(Debug)]
struct State {
    /// The thread that holds it.
    owner: Option<u64>,
    /// A fork of this thread holds it, and releases it afterwards.
    by_fork: bool,
    /// The process was forked during another thread's change: the lock can never be taken again.
    poisoned: bool,
    waiting: Vec<Thread>,
}

impl ChangeLock {
    pub(super) const fn new() -> Self {
        Self(Lock::new(State {
            owner: None,
            by_fork: false,
            poisoned: false,
            waiting: Vec::new(),
        }))
    }

    /// Takes the lock, waiting for it. To be followed by [`release`](Self::release).
    pub(super) fn take(&self) -> Result<(), LockError> {
        self.try_take(None, false).map(|_| ())
    }

    /// Takes the lock, and returns whether it did so before the deadline.
    fn try_take(&self, until: Option<Instant>, by_fork: bool) -> Result<bool, LockError> {
        let me = fork::this_thread();
        loop {
            {
                let mut state = self.0.lock();
                match state.owner {
                    _ if state.poisoned => return Err(LockError::Forked),
                    Some(owner) if owner == me => return Err(LockError::Reentrant),
                    None => {
                        (state.owner, state.by_fork) = (Some(me), by_fork);
                        return Ok(true);
                    }
                    Some(_) => {
                        let this = thread::current();
                        if !state.waiting.iter().any(|one| one.id() == this.id()) {
                            state.waiting.push(this);
                        }
                    }
                }
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return Ok(false),
                Some(remaining) => thread::park_timeout(remaining),
            }
        }
    }

    /// Releases the lock, which the calling thread holds.
    pub(super) fn release(&self) {
        debug_assert!(self.is_mine());
        let waiting = {
            let mut state = self.0.lock();
            state.owner = None;
            std::mem::take(&mut state.waiting)
        };
        waiting.iter().for_each(Thread::unpark);
    }

    /// Returns whether the calling thread holds it.
    pub(super) fn is_mine(&self) -> bool {
        self.0.lock().owner == Some(fork::this_thread())
    }

    /// Returns whether it can never be taken again.
    pub(super) fn is_poisoned(&self) -> bool {
        self.0.lock().poisoned
    }

    /// Before a fork: waits until no change is in progress. Only for a limited time, as a callback may wait for a lock
    /// that the forking thread holds.
    pub(super) fn before_fork(&self) {
        // If it fails, the fork proceeds: see `in_child`.
        let _ = self.try_take(Instant::now().checked_add(FORK_TIMEOUT), true);
    }

    /// After a fork, in the parent.
    pub(super) fn in_parent(&self) {
        let waiting = {
            let mut state = self.0.lock();
            // If another thread's fork has set the mark, that thread holds the lock, and we do not.
            if !state.by_fork || state.owner != Some(fork::this_thread()) {
                return;
            }
            (state.owner, state.by_fork) = (None, false);
            std::mem::take(&mut state.waiting)
        };
        waiting.iter().for_each(Thread::unpark);
    }

    /// After a fork, in the child.
    pub(super) fn in_child(&self) {
        let mut state = self.0.lock();
        state.waiting.clear();
        if std::mem::take(&mut state.by_fork) {
            // Held by this fork, or by that of another thread: neither changes anything.
            state.owner = None;
        } else if state.owner.is_some_and(|owner| owner != fork::this_thread()) {
            state.owner = None;
            state.poisoned = true;
        }
    }
}

impl From<LockError> for EnableError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Reentrant => Reentrant.into(),
            LockError::Forked => Forked.into(),
        }
    }
}

impl From<LockError> for ChangeError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Reentrant => Reentrant.into(),
            LockError::Forked => Forked.into(),
        }
    }
}

impl From<LockError> for ModuleError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Reentrant => Reentrant.into(),
            LockError::Forked => Forked.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_another_thread(work: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(work).join().unwrap());
    }

    #[test]
    fn a_turn_that_another_fork_has_is_free_in_the_child() {
        let lock = ChangeLock::new();
        on_another_thread(|| lock.before_fork());
        lock.before_fork(); // Times out.
        lock.in_child();
        assert!(!lock.is_poisoned());
        lock.take().unwrap();
        // A change of this thread continues in the child.
        lock.before_fork();
        lock.in_child();
        assert!(matches!(lock.take(), Err(LockError::Reentrant)));
        lock.release();
        lock.take().unwrap();
    }

    #[test]
    fn a_change_of_another_thread_is_torn_in_the_child() {
        let lock = ChangeLock::new();
        on_another_thread(|| lock.take().unwrap());
        lock.before_fork();
        lock.in_child();
        assert!(matches!(lock.take(), Err(LockError::Forked)));
    }

    #[test]
    fn a_fork_gives_its_own_turn_back() {
        let lock = ChangeLock::new();
        lock.before_fork();
        on_another_thread(|| lock.in_parent());
        assert!(matches!(lock.take(), Err(LockError::Reentrant)));
        lock.in_parent();
        lock.take().unwrap();
        lock.in_parent();
        assert!(matches!(lock.take(), Err(LockError::Reentrant)));
    }
}
