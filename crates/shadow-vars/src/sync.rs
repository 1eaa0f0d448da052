//! The only file that names an atomics library: `std` in ordinary builds, `loom` under `--cfg shadow_loom`.
//!
//! The atomics of protocols come from here, so that loom sees every such access. Statistics and the id registry use [`stat`],
//! which stays `std` even under loom: no protocol decision depends on how stale they are, and leaving them out keeps the
//! number of schedules small.

/// Not modelled by loom, as it is no instruction.
pub(crate) use std::sync::atomic::compiler_fence;

pub(crate) use imp::{
    AtomicPtr, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, const_unless_loom, fence, static_global,
    static_thread_local, thread_local,
};

/// Whether this is a build for models, in which every access to an atomic is a scheduling point.
pub(crate) const LOOM: bool = cfg!(shadow_loom);

#[cfg(not(shadow_loom))]
mod imp {
    pub(crate) use std::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence},
    };
    pub(crate) use std::thread_local;

    /// Defines a static that takes part in a protocol: under loom, it is initialised anew for each execution of a model.
    macro_rules! static_global {
        ($(#[$meta:meta])* static $name:ident: $of:ty = $init:expr;) => {
            $(#[$meta])* static $name: $of = $init;
        };
    }

    /// Defines a function that is `const` except under loom, whose atomics have no `const` constructors.
    macro_rules! const_unless_loom {
        ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
    }

    /// Defines a thread-local that needs no lazy initialisation.
    macro_rules! static_thread_local {
        ($(#[$meta:meta])* static $name:ident: $of:ty = $init:expr;) => {
            crate::sync::thread_local! { $(#[$meta])* static $name: $of = const { $init }; }
        };
    }
    pub(crate) use {const_unless_loom, static_global, static_thread_local};
}

/// Loom's types. The loads of its atomics can be restricted to the newest store.
///
/// Loom tries two accesses of one word in both orders if it notices that they conflict, but it remembers only one access per
/// word: if a thread loads a word and then exchanges it, its own load hides that another thread had loaded the word before.
/// Read-modify-writes are never overlooked, so a model is explored twice: once with true loads, which may see any store that
/// the memory model allows, and once with loads that are exchanges which fail.
#[cfg(shadow_loom)]
pub(crate) mod imp {
    use std::ops::{Deref, DerefMut};

    pub(crate) use loom::sync::atomic::{self, Ordering, fence};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use loom::{lazy_static, thread_local};

    use super::stat;

    /// Whether all loads see the newest store only. Not to be changed in the middle of an execution.
    pub(crate) static NEWEST: stat::AtomicBool = stat::AtomicBool::new(false);

    macro_rules! modelled {
        ($($name:ident $(<$of:ident>)?, $value:ty, $never:expr;)*) => {$(
            #[derive(Default)]
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

            impl $(<$of>)? DerefMut for $name $(<$of>)? {
                fn deref_mut(&mut self) -> &mut Self::Target {
                    &mut self.0
                }
            }
        )*};
    }

    modelled! {
        AtomicPtr<T>, *mut T, std::ptr::without_provenance_mut(usize::MAX);
        AtomicU64, u64, u64::MAX;
        AtomicUsize, usize, usize::MAX;
    }

    macro_rules! static_global {
        ($(#[$meta:meta])* static $name:ident: $of:ty = $init:expr;) => {
            crate::sync::imp::lazy_static! { $(#[$meta])* static ref $name: $of = $init; }
        };
    }

    macro_rules! const_unless_loom {
        ($($all:tt)*) => { $($all)* };
    }

    macro_rules! static_thread_local {
        ($(#[$meta:meta])* static $name:ident: $of:ty = $init:expr;) => {
            crate::sync::thread_local! { $(#[$meta])* static $name: $of = $init; }
        };
    }
    pub(crate) use {const_unless_loom, static_global, static_thread_local};
}

/// Atomics that loom does not model: counters for statistics and sizing, and the append-only id registry.
pub(crate) mod stat {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

/// Locks a mutex, ignoring poison: no code that can panic runs under the locks of this crate.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Like [`lock`], for mutexes that loom does not model.
pub(crate) fn lock_stat<T>(mutex: &stat::Mutex<T>) -> stat::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// All tokens are below this: the builder's has to fit into a life word.
pub(crate) const TOKENS: u64 = 1 << 44;

/// Returns a number that no other thread of the process, nor of a forked child, has or will have; never 0, below [`TOKENS`].
/// When all of those have been given out (17 billion threads a year for a thousand years), threads share the last one: then
/// constructors that meet may be refused as recursions, and nothing else changes.
pub(crate) fn thread_token() -> u64 {
    use std::cell::Cell;

    // Without a destructor, so that it is accessible even while the thread's other locals are dropped.
    thread_local! {
        #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro has no such form")]
        static TOKEN: Cell<u64> = Cell::new(0);
    }

    TOKEN.with(|token| {
        if token.get() == 0 {
            // Relaxed: only the uniqueness of the numbers matters.
            let next = |next: u64| (next < TOKENS - 1).then_some(next + 1);
            let (Ok(mine) | Err(mine)) =
                NEXT_TOKEN.fetch_update(stat::Ordering::Relaxed, stat::Ordering::Relaxed, next);
            token.set(mine);
        }
        token.get()
    })
}

static NEXT_TOKEN: stat::AtomicU64 = stat::AtomicU64::new(1);

/// Returns a bound: all tokens given out so far are below it.
pub(crate) fn tokens_given() -> u64 {
    NEXT_TOKEN.load(stat::Ordering::Relaxed)
}
