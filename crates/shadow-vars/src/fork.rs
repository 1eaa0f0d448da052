//! Support for `fork`: the child has one thread, and the memory of many.
//!
//! What threads that do not exist in the child have held is released there, in one of these ways:
//!
//! - **F1** Everything that is held for long names its holder by a [token](crate::sync::thread_token): [`vanished`] tells
//!   whether that thread no longer exists, and then the next thread that needs it takes over (retire lists, constructors).
//! - **F2** Short locks (of a store's ids and of the memory of nodes) are taken inside a [`section`], and the list of waiters
//!   for constructors is locked by the lock of [`wait`](crate::wait). A fork waits until no thread is inside, so the child
//!   finds all of them unlocked.
//! - **F3** The participant, place and reader of a thread are freed in the child's first steps ([`child`](crate::child)).
//! - **F4** What a thread changes by plain stores of its own (a magazine, a plain push) is consistent after every prefix of
//!   them: a fork cuts each thread off between two stores, and keeps the stores before.
//!
//! Forks by other means than `fork(3)` (`vfork`, `clone`, raw system calls) are not noticed. A thread that forks from within
//! an allocator that serves this crate deadlocks with itself: as for any allocator, `fork` must not be called there.

pub(crate) use imp::{Gate, at_fork, become_child, generation, section, shut, vanished};

/// The generation of a process that is not a forked child.
const FIRST: u64 = 1;

/// Returns whether the process is the child of a fork that was noticed.
pub(crate) fn is_child() -> bool {
    generation() > FIRST
}

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
mod imp {
    use std::cell::Cell;
    use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

    use super::FIRST;
    use crate::sync::stat::{AtomicU64, Ordering};
    use crate::sync::thread_token;

    /// Read-locked by threads in a section.
    static GATE: RwLock<()> = RwLock::new(());

    thread_local! {
        /// Whether this thread has shut the gate. Has no destructor.
        static IS_SHUT: Cell<bool> = const { Cell::new(false) };
    }

    /// While it exists, only the thread that forks can be in a section.
    pub(crate) struct Gate(#[expect(dead_code, reason = "for its drop")] RwLockWriteGuard<'static, ()>);

    impl Drop for Gate {
        fn drop(&mut self) {
            IS_SHUT.set(false);
        }
    }

    /// Tokens below this were given out before the last fork that led to this process;
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    /// of these, only this one still belongs to a thread.
    static SURVIVOR: AtomicU64 = AtomicU64::new(0);
    /// See [`generation`]. 64 bits, incremented by each fork: never overflows.
    static GENERATION: AtomicU64 = AtomicU64::new(FIRST);

    /// Enters a section, in which short locks may be held; a fork waits for its end. Not to be nested: a fork that waits keeps
    /// others from entering. (But not the thread that forks, whose other handlers may use a store.)
    pub(crate) fn section() -> Option<RwLockReadGuard<'static, ()>> {
        (!IS_SHUT.get()).then(|| GATE.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until no thread is in a section, and keeps others out.
    pub(crate) fn shut() -> Gate {
        let gate = GATE.write().unwrap_or_else(PoisonError::into_inner);
        IS_SHUT.set(true);
        Gate(gate)
    }

    /// Returns whether the thread with this token existed in a process from which this one was forked, and does not exist
    /// here.
    pub(crate) fn vanished(token: u64) -> bool {
        // Relaxed: stored before any other thread of this process began.
        token < BEFORE.load(Ordering::Relaxed) && token != SURVIVOR.load(Ordering::Relaxed)
    }

    /// Returns the process's generation: one more in a child than in its parent, never 0.
    #[inline(always)]
    pub(crate) fn generation() -> u64 {
        // Relaxed: as in `vanished`.
        GENERATION.load(Ordering::Relaxed)
    }

    /// Has these functions called around each fork: before it, and then in the parent and in the child. Returns whether there
    /// was memory for that.
    ///
    /// # Safety
    ///
    /// The functions do not unwind, and may be called until this code is unloaded.
    pub(crate) unsafe fn at_fork(before: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
        // SAFETY: the caller guarantees it; when this code is unloaded, they are unregistered.
        unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) == 0 }
    }

    /// Records that all threads but this one have [vanished], of which `tokens` were given out. The first step in a child.
    pub(crate) fn become_child(tokens: u64) {
        // Relaxed, all: there is no other thread.
        BEFORE.store(tokens, Ordering::Relaxed);
        SURVIVOR.store(thread_token(), Ordering::Relaxed);
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(not(all(target_os = "linux", not(miri), not(shadow_loom))))]
mod imp {
    use super::FIRST;

    /// Nothing to hold: forks are not followed here.
    pub(crate) struct Section;

    /// Nothing to hold, as [`Section`].
    pub(crate) struct Gate;

    pub(crate) fn section() -> Section {
        Section
    }

    pub(crate) fn shut() -> Gate {
        Gate
    }

    pub(crate) fn vanished(_token: u64) -> bool {
        false
    }

    pub(crate) fn generation() -> u64 {
        FIRST
    }

    /// Does nothing: forks are not followed here.
    ///
    /// # Safety
    ///
    /// Always safe.
    pub(crate) unsafe fn at_fork(_before: extern "C" fn(), _parent: extern "C" fn(), _child: extern "C" fn()) -> bool {
        true
    }

    pub(crate) fn become_child(_tokens: u64) {}
}
