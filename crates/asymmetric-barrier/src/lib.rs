//! A pair of memory barriers, one of which costs almost nothing.
//!
//! For a light barrier of one thread and a heavy barrier of another, at least one of the following holds: what was
//! stored before the light one is seen after the heavy one, or what was stored before the heavy one is seen after the
//! light one. Two sequentially consistent fences have that property. So does a compiler fence paired with
//! `membarrier(2)`, which makes every running thread of the process execute a barrier between two of its instructions.
//!
//! ```
//! use asymmetric_barrier::Reader;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! static INSIDE: AtomicBool = AtomicBool::new(false);
//! static CLOSED: AtomicBool = AtomicBool::new(false);
//! static READER: Reader = Reader::new();
//!
//! READER.activate(); // before its first light barrier
//! std::thread::scope(|scope| {
//!     // Often: a few instructions.
//!     let entered = scope.spawn(|| {
//!         INSIDE.store(true, Ordering::Relaxed);
//!         READER.light();
//!         !CLOSED.load(Ordering::Relaxed)
//!     });
//!     // Seldom: a system call that interrupts the running threads.
//!     CLOSED.store(true, Ordering::Relaxed);
//!     assert!(asymmetric_barrier::heavy());
//!     let seen = INSIDE.load(Ordering::Relaxed);
//!     assert!(seen || !entered.join().unwrap(), "entered, and nobody saw it");
//! });
//! ```
//!
//! # A process that is denied the call later
//!
//! A sandbox may refuse `membarrier` to a process that has used it before. Then light barriers become fences, and heavy
//! ones fail ([`heavy`] returns false) until each active [`Reader`] has fenced once: until then, what it ordered by
//! compiler fences alone may not be visible. A thread that never reaches another light barrier makes all heavy ones
//! fail, until its reader is [deactivated](Reader::deactivate); [`unsettled`] counts such readers.
//!
//! # Fork
//!
//! The child of a fork has one thread. It has to deactivate the readers of the others; barriers need nothing else.
//!
//! # Progress
//!
//! All functions are wait-free, except that a reader's first activation is lock-free. None allocates.
//!
//! # Models
//!
//! A build with `--cfg shadow_loom` uses loom's fences for both barriers, for models of their users; the hand-over
//! itself is modelled in this crate.

#[doc(hidden)]
#[macro_use]
pub mod atomics;
#[cfg(any(all(target_os = "linux", not(shadow_loom), not(miri)), all(test, shadow_loom)))]
mod handover;
#[cfg(all(target_os = "linux", not(shadow_loom), not(miri)))]
mod membarrier;
#[cfg(all(test, shadow_loom))]
mod tests {
    mod loom;
}

pub use imp::{Reader, heavy, is_asymmetric, on_fence, unsettled};

#[cfg(all(target_os = "linux", not(shadow_loom), not(miri)))]
mod imp {
    use crate::handover::{Barriers, Place};
    use crate::membarrier::Membarrier;

    static BARRIERS: Barriers<Membarrier> = Barriers::new();

    /// A thread, or any other sequence of steps, whose light barriers are paired with heavy ones. Heavy barriers know
    /// the readers that are active.
    #[derive(Debug)]
    pub struct Reader(Place);

    impl Reader {
        /// Creates a reader that is not active.
        pub const fn new() -> Self {
            Self(Place::new())
        }

        /// Activates the reader, before its first light barrier. Does nothing if it is active.
        pub fn activate(&'static self) {
            BARRIERS.activate(&self.0);
        }

        /// Deactivates the reader: it must not execute light barriers before it is activated again. Must not be called
        /// concurrently with one.
        pub fn deactivate(&self) {
            self.0.deactivate::<Membarrier>();
        }

        /// Executes the light barrier: a compiler fence where the platform has the heavy one, else a sequentially
        /// consistent fence. Pairs with [`heavy`] only if the reader is active. Returns whether it was the sequentially
        /// consistent fence.
        #[inline(always)]
        pub fn light(&self) -> bool {
            BARRIERS.light(&self.0)
        }

        /// Executes the light barrier without calling hooks, for use in [hooks](on_fence).
        pub fn settle(&self) {
            BARRIERS.settle(&self.0);
        }
    }

    /// Executes the heavy barrier. Returns whether it succeeded: if not, try again later. See [the crate](crate) for
    /// when it fails.
    #[cold]
    #[must_use]
    pub fn heavy() -> bool {
        BARRIERS.heavy()
    }

    /// Registers a hook for threads that fence instead of executing a cheaper barrier, or that need such a fence for a
    /// heavy one: `hook` is called then, to [settle](Reader::settle) the other readers of the thread. Otherwise a
    /// reader that its thread no longer uses would make heavy barriers fail. The hook must not panic, and must do
    /// nothing else. Returns false if there is no room: there is room for eight.
    pub fn on_fence(hook: fn()) -> bool {
        BARRIERS.add_hook(hook)
    }

    /// Returns whether light barriers are compiler fences, so that heavy ones are system calls. Once true, it may
    /// become false, for good. If it returns true where an active reader needs a light barrier, a compiler fence
    /// suffices for one.
    #[inline(always)]
    pub fn is_asymmetric() -> bool {
        BARRIERS.is_light()
    }

    /// Returns the number of active readers that may have used light barriers without a fence after them, in a process
    /// that was denied the heavy one. While it is not 0, [`heavy`] fails.
    pub fn unsettled() -> usize {
        BARRIERS.unsettled()
    }
}

#[cfg(not(all(target_os = "linux", not(shadow_loom), not(miri))))]
mod imp {
    use crate::atomics::{Ordering, fence};

    /// A thread, or any other sequence of steps, whose light barriers are paired with heavy ones. On this platform all
    /// are.
    #[derive(Debug)]
    pub struct Reader(());

    impl Reader {
        /// Creates a reader that is not active.
        pub const fn new() -> Self {
            Self(())
        }

        /// Activates the reader: nothing to do on this platform.
        pub fn activate(&'static self) {}

        /// Deactivates the reader: nothing to do on this platform.
        pub fn deactivate(&self) {}

        /// Executes the light barrier: on this platform, a sequentially consistent fence. Returns true.
        #[inline]
        pub fn light(&self) -> bool {
            // SeqCst: pairs with `heavy`.
            fence(Ordering::SeqCst);
            true
        }

        /// Executes the light barrier in hooks: nothing to do on this platform.
        pub fn settle(&self) {}
    }

    /// Registers a hook: on this platform hooks are never called.
    pub fn on_fence(_hook: fn()) -> bool {
        true
    }

    /// Executes the heavy barrier: on this platform, a sequentially consistent fence. Always succeeds.
    #[must_use]
    pub fn heavy() -> bool {
        // SeqCst: pairs with `light`.
        fence(Ordering::SeqCst);
        true
    }

    /// Returns whether light barriers are compiler fences: never on this platform.
    #[inline]
    pub fn is_asymmetric() -> bool {
        false
    }

    /// Returns the number of readers that make heavy barriers fail: 0 on this platform.
    pub fn unsettled() -> usize {
        0
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// The README's examples are tests, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
