//! The only file that names an atomics library: `std` in ordinary builds, `loom` under `--cfg shadow_loom`.
//!
//! What takes part in a protocol comes from here, so that loom sees every such access. Statistics and the id
//! registry use [`stat`], which stays `std` even under loom: no protocol decision depends on how stale they are,
//! and leaving them out keeps the number of schedules small.

#[cfg(not(shadow_loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(shadow_loom))]
pub(crate) use std::thread_local;

#[cfg(shadow_loom)]
pub(crate) use loom::{
    lazy_static,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread_local,
};
#[cfg(all(test, not(shadow_loom)))]
pub(crate) use std::sync::atomic::fence;

/// Atomics that loom does not model: counters for statistics and sizing, and the append-only id registry.
pub(crate) mod stat {
    #[cfg(any(test, shadow_loom))]
    pub(crate) use std::sync::atomic::AtomicBool;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

/// Locks, ignoring poison: nothing that can panic runs under the locks of this crate.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// As [`lock`], for the locks that loom does not model.
pub(crate) fn lock_stat<T>(mutex: &stat::Mutex<T>) -> stat::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A number that no other thread of the process has or will have; never 0, below 2^60.
pub(crate) fn thread_token() -> u64 {
    use std::cell::Cell;

    static NEXT: stat::AtomicU64 = stat::AtomicU64::new(1);

    // No destructor, so it is there even while the thread's other locals are torn down.
    thread_local! {
        #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro has no such form")]
        static TOKEN: Cell<u64> = Cell::new(0);
    }

    TOKEN.with(|token| {
        if token.get() == 0 {
            // Relaxed: only the uniqueness of the numbers matters.
            token.set(NEXT.fetch_add(1, stat::Ordering::Relaxed));
        }
        token.get()
    })
}
