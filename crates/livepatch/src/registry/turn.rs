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
        self.try_take(None).map(|_| ())
    }

    /// Whether it has it: not if the time was over.
    fn try_take(&self, until: Option<Instant>) -> Result<bool, NoTurn> {
        let me = fork::this_thread();
        loop {
            {
                let mut state = self.0.lock();
                match state.owner {
                    _ if state.torn => return Err(NoTurn::Forked),
                    Some(owner) if owner == me => return Err(NoTurn::Reentrant),
                    None => {
                        state.owner = Some(me);
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
        if let Ok(true) = self.try_take(Instant::now().checked_add(PATIENCE)) {
            self.0.lock().by_fork = true;
        }
    }

    /// After a fork, in the parent.
    pub(super) fn in_parent(&self) {
        // If it is another's mark, its thread has the turn, and we have none.
        let ours = {
            let mut state = self.0.lock();
            let ours = state.by_fork && state.owner == Some(fork::this_thread());
            state.by_fork &= !ours;
            ours
        };
        if ours {
            self.release();
        }
    }

    /// After a fork, in the child.
    pub(super) fn in_child(&self) {
        let mut state = self.0.lock();
        state.waiting.clear();
        let is_mine = state.owner == Some(fork::this_thread());
        if std::mem::take(&mut state.by_fork) && is_mine {
            state.owner = None;
        } else if !is_mine && state.owner.take().is_some() {
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
