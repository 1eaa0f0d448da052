//! The child of a fork: one thread, in the memory of many.
//!
//! What vanished threads held is let go of in the child, each by its own kind:
//!
//! - **F1** Whatever is held for long names its holder by a [token](crate::sync::thread_token): [`vanished`] says whether
//!   that thread is gone, and then whoever meets it goes on in its place (retire lists, constructors).
//! - **F2** What is locked for a moment (a store's ids, the memory of nodes) is locked inside a [`section`], and what waits
//!   for constructors under the lock of [`wait`]. A fork waits until nobody is inside, so the child finds none of it locked.
//! - **F3** A thread's participant, place and reader are taken away from it in the child's first steps ([`child`]).
//! - **F4** What a thread changes by plain stores of its own (a magazine, a counter, a plain push) is whole after every
//!   prefix of them: a fork cuts each thread off between two stores, and keeps what came before.
//!
//! Forks by other ways than `fork(3)` (`vfork`, `clone`, raw system calls) are not noticed. Who forks in the middle of an
//! allocator that serves this crate waits for itself: as for any allocator, `fork` is not to be called from there.

pub(crate) use imp::{generation, section, vanished, watch};

/// The generation of a process that no fork led to.
const FIRST: u64 = 1;

/// Whether the process is the child of a fork that was noticed.
pub(crate) fn is_child() -> bool {
    generation() > FIRST
}

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
mod imp {
    use std::cell::UnsafeCell;
    use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

    use super::FIRST;
    use crate::reclaim;
    use crate::shard;
    use crate::sync::stat::{AtomicBool, AtomicU64, Ordering};
    use crate::sync::{thread_token, tokens_given};
    use crate::wait;

    /// Read-locked by whoever is in a section.
    static GATE: RwLock<()> = RwLock::new(());

    /// Tokens below this were given out before the last fork that led to this process,
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    /// and only this of them is still a thread's.
    static SURVIVOR: AtomicU64 = AtomicU64::new(0);
    /// See [`generation`]. 64 bits, one for each fork: never full.
    static GENERATION: AtomicU64 = AtomicU64::new(FIRST);

    /// What a fork holds from before to after it.
    struct Held(UnsafeCell<Option<(RwLockWriteGuard<'static, ()>, wait::Frozen)>>);

    // SAFETY: only touched by who forks, between the write lock of the gate and its end.
    unsafe impl Sync for Held {}

    static HELD: Held = Held(UnsafeCell::new(None));

    /// Inside, short locks are held, which a fork waits for. Not to be nested: a fork that waits keeps others out.
    pub(crate) fn section() -> RwLockReadGuard<'static, ()> {
        GATE.read().unwrap_or_else(std::sync::PoisonError::into_inner)
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

    /// Sees to it that forks are noticed from now on. Whether there was memory for that.
    pub(crate) fn watch() -> bool {
        static WATCHED: AtomicBool = AtomicBool::new(false);
        // Relaxed: guards nothing.
        if WATCHED.load(Ordering::Relaxed) || WATCHED.swap(true, Ordering::Relaxed) {
            return true;
        }
        // SAFETY: functions that live as long as this code: they are taken off the list when it is unloaded.
        let watched = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } == 0;
        if !watched {
            WATCHED.store(false, Ordering::Relaxed);
        }
        watched
    }

    extern "C" fn prepare() {
        let gate = GATE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let waiters = wait::freeze();
        // SAFETY: under the gate's write lock.
        unsafe { *HELD.0.get() = Some((gate, waiters)) };
    }

    fn release() {
        // SAFETY: under the write lock, which is in here; taken out before it is let go.
        let held = unsafe { (*HELD.0.get()).take() };
        drop(held);
    }

    extern "C" fn parent() {
        release();
    }

    /// F1 to F3. Runs before anything else of the child.
    extern "C" fn child() {
        // Relaxed, all: there is no other thread.
        BEFORE.store(tokens_given(), Ordering::Relaxed);
        SURVIVOR.store(thread_token(), Ordering::Relaxed);
        GENERATION.fetch_add(1, Ordering::Relaxed);
        shard::let_go_of_others();
        reclaim::let_go_of_others();
        // SAFETY: as in `release`.
        if let Some((_, waiters)) = unsafe { &mut *HELD.0.get() } {
            waiters.forget_all();
        }
        release();
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

    pub(crate) fn watch() -> bool {
        true
    }
}
