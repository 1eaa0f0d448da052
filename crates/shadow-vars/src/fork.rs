//! The child of a fork: one thread, in the memory of many.
//!
//! What vanished threads held is let go of in the child, each by its own kind:
//!
//! - **F1** Whatever is held for long names its holder by a [token](crate::sync::thread_token): [`vanished`] says whether
//!   that thread is gone, and then whoever meets it goes on in its place (retire lists, constructors).
//! - **F2** What is locked for a moment (a store's ids, the memory of nodes) is locked inside a [`section`], and what waits
//!   for constructors under the lock of [`wait`](crate::wait). A fork waits until nobody is inside, so the child finds none
//!   of it locked.
//! - **F3** A thread's participant, place and reader are taken away from it in the child's first steps ([`child`](crate::child)).
//! - **F4** What a thread changes by plain stores of its own (a magazine, a plain push) is whole after every prefix
//!   of them: a fork cuts each thread off between two stores, and keeps what came before.
//!
//! Forks by other ways than `fork(3)` (`vfork`, `clone`, raw system calls) are not noticed. Who forks in the middle of an
//! allocator that serves this crate waits for itself: as for any allocator, `fork` is not to be called from there.

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(crate) use imp::{Gate, become_child, shut};
pub(crate) use imp::{generation, section, vanished};

/// The generation of a process that no fork led to.
const FIRST: u64 = 1;

/// Whether the process is the child of a fork that was noticed.
pub(crate) fn is_child() -> bool {
    generation() > FIRST
}

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
mod imp {
    use std::cell::Cell;
    use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

    use super::FIRST;
    use crate::sync::stat::{AtomicU64, Ordering};
    use crate::sync::{thread_token, tokens_given};

    /// Read-locked by whoever is in a section.
    static GATE: RwLock<()> = RwLock::new(());

    thread_local! {
        /// Whether this thread has shut the gate. Has no destructor.
        static IS_SHUT: Cell<bool> = const { Cell::new(false) };
    }

    /// While it is there, nobody is in a section but the thread that forks.
    pub(crate) struct Gate(#[expect(dead_code, reason = "for its drop")] RwLockWriteGuard<'static, ()>);

    impl Drop for Gate {
        fn drop(&mut self) {
            IS_SHUT.set(false);
        }
    }

    /// Tokens below this were given out before the last fork that led to this process,
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    /// and only this of them is still a thread's.
    static SURVIVOR: AtomicU64 = AtomicU64::new(0);
    /// See [`generation`]. 64 bits, one for each fork: never full.
    static GENERATION: AtomicU64 = AtomicU64::new(FIRST);

    /// Inside, short locks are held, which a fork waits for. Not to be nested: a fork that waits keeps others out. (But not
    /// the thread that forks, whose other handlers may use a store.)
    pub(crate) fn section() -> Option<RwLockReadGuard<'static, ()>> {
        (!IS_SHUT.get()).then(|| GATE.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until nobody is in a section.
    pub(crate) fn shut() -> Gate {
        let gate = GATE.write().unwrap_or_else(PoisonError::into_inner);
        IS_SHUT.set(true);
        Gate(gate)
    }

    /// Whether the thread with this token is gone, as it was in a process from which this one was forked.
    pub(crate) fn vanished(token: u64) -> bool {
        // Relaxed: stored before any other thread of this process began.
        token < BEFORE.load(Ordering::Relaxed) && token != SURVIVOR.load(Ordering::Relaxed)
    }

    /// The process's generation: one more in a child than in its parent, not 0.
    #[inline(always)]
    pub(crate) fn generation() -> u64 {
        // Relaxed: as above.
        GENERATION.load(Ordering::Relaxed)
    }

    /// The first thing in a child: all threads but this one are [gone](vanished).
    pub(crate) fn become_child() {
        // Relaxed, all: there is no other thread.
        BEFORE.store(tokens_given(), Ordering::Relaxed);
        SURVIVOR.store(thread_token(), Ordering::Relaxed);
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(not(all(target_os = "linux", not(miri), not(shadow_loom))))]
mod imp {
    use super::FIRST;

    /// Nothing here: forks are not followed.
    pub(crate) struct Section;

    pub(crate) fn section() -> Section {
        Section
    }

    pub(crate) fn vanished(_token: u64) -> bool {
        false
    }

    pub(crate) fn generation() -> u64 {
        FIRST
    }
}
