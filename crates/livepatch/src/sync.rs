//! Atomics and locks. The only file that names an atomics library for the protocol: `std`, or `loom` under `--cfg
//! shadow_loom`.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use crate::fork::Section;

pub(crate) use imp::*;

#[cfg(not(shadow_loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence};

    pub(crate) use super::{Lock as Mutex, Locked as MutexGuard};

    /// Takes a lock of the protocol.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    /// Makes a function `const`, except with loom's atomics, whose constructors are not.
    macro_rules! const_unless_loom {
        ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
    }
    pub(crate) use const_unless_loom;

    /// Defines a static of the protocol: in a model, it is initialised anew for each execution.
    macro_rules! static_global {
        ($(#[$meta:meta])* $(pub($in:ident))? static $name:ident: $of:ty = $init:expr;) => {
            $(#[$meta])* $(pub($in))? static $name: $of = $init;
        };
    }
    pub(crate) use static_global;
}

/// Loom's atomics, with loads that can be restricted to the newest store: `shadow-vars` has the same, and explains why.
#[cfg(shadow_loom)]
mod imp {
    use std::ops::Deref;
    use std::sync::PoisonError;
    use std::sync::atomic::AtomicBool;

    use loom::sync::atomic::{self};
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{Ordering, fence},
    };

    static NEWEST: AtomicBool = AtomicBool::new(false);

    /// Sets whether all later loads see the newest store only. Must not be changed during an execution.
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
                        // No word ever has this value; and if one had, it would be stored unchanged.
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

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    macro_rules! const_unless_loom {
        ($($all:tt)*) => { $($all)* };
    }
    pub(crate) use const_unless_loom;

    macro_rules! static_global {
        ($(#[$meta:meta])* $(pub($in:ident))? static $name:ident: $of:ty = $init:expr;) => {
            loom::lazy_static! { $(#[$meta])* $(pub($in))? static ref $name: $of = $init; }
        };
    }
    pub(crate) use static_global;
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
