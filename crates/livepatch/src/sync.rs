//! Atomics and locks. The only file that names an atomics library for the protocol: `std`, or `loom` under `--cfg
//! shadow_loom`.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use crate::fork::Section;

pub(crate) use asymmetric_barrier::atomics::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use asymmetric_barrier::{__const_unless_loom as const_unless_loom, __static_global as static_global};
pub(crate) use imp::*;

#[cfg(not(shadow_loom))]
mod imp {
    pub(crate) use std::sync::atomic::compiler_fence;

    pub(crate) use super::{Lock as Mutex, Locked as MutexGuard};

    /// Takes a lock of the protocol.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }
}

#[cfg(shadow_loom)]
mod imp {
    use std::sync::PoisonError;

    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Atomics that take no part in the protocol: for names, places, flags of a status, and the handling of forks.
pub(crate) mod stat {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
}

/// A lock of the slow path, held briefly and only over our own code: free in the child of a fork ([`Section`]). No code
/// that can panic runs under it, so it is never poisoned.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(std::sync::Mutex<T>);

/// The guard of a [`Lock`].
#[derive(Debug)]
pub(crate) struct Locked<'l, T> {
    // Dropped before the section.
    guard: std::sync::MutexGuard<'l, T>,
    _section: Section,
}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Locked<'_, T> {
        let section = Section::enter();
        Locked {
            guard: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            _section: section,
        }
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
