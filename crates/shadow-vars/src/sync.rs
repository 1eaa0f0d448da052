//! The only file that names an atomics library: `std` in ordinary builds, `loom` under `--cfg shadow_loom`.
//!
//! The atomics of protocols come from here, so that loom sees every such access. Statistics and the id registry use [`stat`],
//! which stays `std` even under loom: no protocol decision depends on how stale they are, and leaving them out keeps the
//! number of schedules small.

/// Not modelled by loom, as it is no instruction.
pub(crate) use std::sync::atomic::compiler_fence;

pub(crate) use asymmetric_barrier::atomics::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use asymmetric_barrier::{__const_unless_loom as const_unless_loom, __static_global as static_global};
pub(crate) use imp::{Condvar, Mutex, MutexGuard, static_thread_local, thread_local};

/// Whether this is a build for models, in which every access to an atomic is a scheduling point.
pub(crate) const LOOM: bool = cfg!(shadow_loom);

#[cfg(not(shadow_loom))]
mod imp {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread_local;

    /// Defines a thread-local that needs no lazy initialisation.
    macro_rules! static_thread_local {
        ($(#[$meta:meta])* static $name:ident: $of:ty = $init:expr;) => {
            crate::sync::thread_local! { $(#[$meta])* static $name: $of = const { $init }; }
        };
    }
    pub(crate) use static_thread_local;
}

#[cfg(shadow_loom)]
mod imp {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread_local;

    macro_rules! static_thread_local {
        ($(#[$meta:meta])* static $name:ident: $of:ty = $init:expr;) => {
            crate::sync::thread_local! { $(#[$meta])* static $name: $of = $init; }
        };
    }
    pub(crate) use static_thread_local;
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
