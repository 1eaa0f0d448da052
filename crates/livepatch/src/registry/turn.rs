//! The turn: who may change patches and modules. Held while callbacks run, so by whom is known: they get an error in place of
//! a hang, and so does a fork's child if the holder is not there.

use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::{ChangeError, EnableError, Forked, ModuleError, Reentrant};
use crate::fork;
use crate::sync::Lock;

/// How long a fork waits for another thread's turn.
const PATIENCE: Duration = Duration::from_millis(100);

/// Why there is no turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoTurn {
    Reentrant,
    Forked,
}

#[derive(Debug)]
pub(super) struct TurnLock(Lock<State>);

#[derive(Debug)]
struct State {
    /// The thread that has it.
    owner: Option<u64>,
    /// A fork of this thread took it, to give it back after.
    by_fork: bool,
    /// The process was forked in the middle of another thread's turn.
    torn: bool,
    waiting: Vec<Thread>,
}

impl TurnLock {
    pub(super) const fn new() -> Self {
        Self(Lock::new(State {
            owner: None,
            by_fork: false,
            torn: false,
            waiting: Vec::new(),
        }))
    }

    /// Waits for it, and has it. To be followed by [`release`](Self::release).
    pub(super) fn take(&self) -> Result<(), NoTurn> {
        self.try_take(None, false).map(|_| ())
    }

    /// Whether it has it: not if the time was over.
    fn try_take(&self, until: Option<Instant>, by_fork: bool) -> Result<bool, NoTurn> {
        let me = fork::this_thread();
        loop {
            {
                let mut state = self.0.lock();
                match state.owner {
                    _ if state.torn => return Err(NoTurn::Forked),
                    Some(owner) if owner == me => return Err(NoTurn::Reentrant),
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
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    pub(super) fn release(&self) {
        let waiting = {
            let mut state = self.0.lock();
            state.owner = None;
            std::mem::take(&mut state.waiting)
        };
        waiting.iter().for_each(Thread::unpark);
    }

    /// Whether the calling thread has it.
    #[cfg(all(feature = "control", target_os = "linux"))]
    pub(super) fn is_mine(&self) -> bool {
        self.0.lock().owner == Some(fork::this_thread())
    }

    /// Whether nobody will ever have it again.
    pub(super) fn is_torn(&self) -> bool {
        self.0.lock().torn
    }

    /// Before a fork: nobody should be in the middle of a change. But a callback may wait for what the forking thread holds.
    pub(super) fn before_fork(&self) {
        // Without it, the fork goes on: see `in_child`.
        let _ = self.try_take(Instant::now().checked_add(PATIENCE), true);
    }

    /// After a fork, in the parent.
    pub(super) fn in_parent(&self) {
        let waiting = {
            let mut state = self.0.lock();
            // If it is another's mark, its thread has the turn, and we have none.
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
            // Ours, or another thread's that was about to fork, too: it changes nothing.
            state.owner = None;
        } else if state.owner.is_some_and(|owner| owner != fork::this_thread()) {
            state.owner = None;
            state.torn = true;
        }
    }
}

impl From<NoTurn> for EnableError {
    fn from(no: NoTurn) -> Self {
        match no {
            NoTurn::Reentrant => Reentrant.into(),
            NoTurn::Forked => Forked.into(),
        }
    }
}

impl From<NoTurn> for ChangeError {
    fn from(no: NoTurn) -> Self {
        match no {
            NoTurn::Reentrant => Reentrant.into(),
            NoTurn::Forked => Forked.into(),
        }
    }
}

impl From<NoTurn> for ModuleError {
    fn from(no: NoTurn) -> Self {
        match no {
            NoTurn::Reentrant => Reentrant.into(),
            NoTurn::Forked => Forked.into(),
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
        let turn = TurnLock::new();
        on_another_thread(|| turn.before_fork());
        turn.before_fork(); // In vain.
        turn.in_child();
        assert!(!turn.is_torn());
        turn.take().unwrap();
        // A change of this thread's goes on in the child.
        turn.before_fork();
        turn.in_child();
        assert!(matches!(turn.take(), Err(NoTurn::Reentrant)));
        turn.release();
        turn.take().unwrap();
    }

    #[test]
    fn a_change_of_another_thread_is_torn_in_the_child() {
        let turn = TurnLock::new();
        on_another_thread(|| turn.take().unwrap());
        turn.before_fork();
        turn.in_child();
        assert!(matches!(turn.take(), Err(NoTurn::Forked)));
    }

    #[test]
    fn a_fork_gives_its_own_turn_back() {
        let turn = TurnLock::new();
        turn.before_fork();
        on_another_thread(|| turn.in_parent());
        assert!(matches!(turn.take(), Err(NoTurn::Reentrant)));
        turn.in_parent();
        turn.take().unwrap();
        turn.in_parent();
        assert!(matches!(turn.take(), Err(NoTurn::Reentrant)));
    }
}
