//! The only file that names an atomics library for the protocol: `std`, or `loom` under `--cfg shadow_loom`.

#[cfg(shadow_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::Ordering};
#[cfg(all(test, shadow_loom))]
pub(crate) use modelled::loads_see_the_newest;
#[cfg(shadow_loom)]
pub(crate) use modelled::{AtomicPtr, AtomicU64, AtomicUsize};
#[cfg(not(shadow_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};

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

/// What takes no part in the protocol: names, places, flags for a status.
pub(crate) mod stat {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
}

/// Locks, ignoring poison: nothing that can panic runs under the locks of this file.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
