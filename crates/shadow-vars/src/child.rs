//! What happens around a fork: see [`fork`](crate::fork).

pub(crate) use imp::watch;

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
mod imp {
    use std::cell::UnsafeCell;

    use crate::sync::stat::{AtomicBool, Ordering};
    use crate::{fork, reclaim, shard, wait};

    /// What a fork holds from before to after it.
    struct Held(UnsafeCell<Option<(fork::Gate, wait::Frozen)>>);

    // SAFETY: only touched by who forks, between the shutting of the gate and its end.
    unsafe impl Sync for Held {}

    static HELD: Held = Held(UnsafeCell::new(None));

    /// Sees to it that forks are noticed from now on, or by the moment when another thread that has just begun this is done.
    /// Whether there was memory for that.
    pub(crate) fn watch() -> bool {
        static WATCHED: AtomicBool = AtomicBool::new(false);
        // Relaxed: guards nothing.
        if WATCHED.load(Ordering::Relaxed) || WATCHED.swap(true, Ordering::Relaxed) {
            return true;
        }
        // SAFETY: functions that live as long as this code: they are taken off the list when it is unloaded.
        let watched = unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) } == 0;
        if !watched {
            WATCHED.store(false, Ordering::Relaxed);
        }
        watched
    }

    /// Waits for nobody who holds the list's lock and is in a section: nobody is in both.
    extern "C" fn before() {
        let gate = fork::shut();
        let waiters = wait::freeze();
        // SAFETY: with the gate shut.
        unsafe { *HELD.0.get() = Some((gate, waiters)) };
    }

    fn release() {
        // SAFETY: with the gate shut, which is in here; taken out before it is opened.
        let held = unsafe { (*HELD.0.get()).take() };
        drop(held);
    }

    extern "C" fn parent() {
        release();
    }

    /// F1 to F3. Runs before anything else of the child.
    extern "C" fn child() {
        fork::become_child();
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
    /// Nothing here: forks are not followed.
    pub(crate) fn watch() -> bool {
        true
    }
}
