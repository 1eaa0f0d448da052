//! The only file that names an atomics library for the protocol: `std`, or `loom` under `--cfg shadow_loom`; and the locks.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use crate::fork::Section;

#[cfg(shadow_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{Ordering, fence},
};
#[cfg(all(test, shadow_loom))]
pub(crate) use modelled::loads_see_the_newest;
#[cfg(shadow_loom)]
pub(crate) use modelled::{AtomicPtr, AtomicU64, AtomicUsize};
#[cfg(not(shadow_loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(shadow_loom))]
pub(crate) use {Lock as Mutex, Locked as MutexGuard};

/// Loom's atomics, with loads that can be told to see the newest store only: `shadow-vars` has the same, and says why.
#[cfg(shadow_loom)]
mod modelled {
    use std::ops::Deref;
    use std::sync::atomic::AtomicBool;

    use loom::sync::atomic::{self, Ordering};

    static NEWEST: AtomicBool = AtomicBool::new(false);

    /// Whether all loads from now on see the newest store only. Not to be changed in the middle of an execution.
    #[cfg(test)]
    pub(crate) fn loads_see_the_newest(newest: bool) {
        NEWEST.store(newest, Ordering::Relaxed);
    }

    macro_rules! modelled {
        ($($name:ident $(<$of:ident>)?, $value:ty, $never:expr;)*) => {$(
            #[derive(Debug)]
            pub(crate) struct $name $(<$of>)? (atomic::$name $(<$of>)?);

            impl $(<$of>)? $name $(<$of>)? {
                #[track_caller]
                pub(crate) fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                #[track_caller]
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    if NEWEST.load(Ordering::Relaxed) {
                        // No word ever has this value; and if one had, it would keep it.
                        let (Ok(value) | Err(value)) = self.0.compare_exchange($never, $never, order, order);
                        value
                    } else {
                        self.0.load(order)
                    }
                }
            }

            impl $(<$of>)? Deref for $name $(<$of>)? {
                type Target = atomic::$name $(<$of>)?;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        )*};
    }

    modelled! {
        AtomicPtr<T>, *mut T, std::ptr::without_provenance_mut(usize::MAX);
        AtomicU64, u64, u64::MAX;
        AtomicUsize, usize, usize::MAX;
    }
}

/// A function that is `const` where loom's atomics, which are not, are not used.
#[cfg(not(shadow_loom))]
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
}
#[cfg(shadow_loom)]
macro_rules! const_unless_loom {
    ($($all:tt)*) => { $($all)* };
}
pub(crate) use const_unless_loom;

/// What takes no part in the protocol: names, places, flags for a status, and what goes on around a fork.
pub(crate) mod stat {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};
}

/// A lock of the slow path, held for moments and over none but our own code: free in the child of a fork ([`Section`]).
/// Nothing that can panic runs under it, so there is no poison.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(std::sync::Mutex<T>);

/// A [`Lock`] that is held.
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

    #[cfg_attr(
        not(all(feature = "library", target_os = "linux")),
        allow(dead_code, reason = "only modules need it")
    )]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
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

/// A light barrier, where the system has a heavy one: a compiler fence.
#[cfg(not(shadow_loom))]
#[inline(always)]
pub(crate) fn light_fence() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// What it does together with the heavy one, as loom has it.
#[cfg(shadow_loom)]
pub(crate) fn light_fence() {
    fence(Ordering::SeqCst);
}

/// A lock of the protocol.
#[cfg(not(shadow_loom))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// A lock of the protocol, as loom has it.
#[cfg(shadow_loom)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
