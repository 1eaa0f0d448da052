//! The only file that names an atomics library for the protocol: `std`, or `loom` under `--cfg shadow_loom`.

#[cfg(shadow_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(shadow_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};

/// What takes no part in the protocol: names, places, flags of who owns a record.
pub(crate) mod stat {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
}

/// Locks, ignoring poison: nothing that can panic runs under the locks of this file.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
