//! A pair of barriers, one of which costs next to nothing.
//!
//! For a light barrier of one thread and a heavy one of another: either what was stored before the light one is seen after
//! the heavy one, or what was stored before the heavy one is seen after the light one. Two sequentially consistent fences
//! have that property; so have a compiler fence and `membarrier(2)`, which makes every running thread of the process
//! execute a barrier somewhere between two of its instructions.
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
//! A sandbox may refuse `membarrier` to a process that has used it. Then light barriers become fences, and heavy ones are
//! none ([`heavy`] says so) until each active [`Reader`] has fenced once: what it did by compiler fences alone is known
//! only then. A thread that never comes to another light barrier keeps heavy ones away, until its reader is
//! [deactivated](Reader::deactivate); [`unsettled`] counts such readers.
//!
//! # Fork
//!
//! The child of a fork has one thread. Who had readers for the others deactivates them there; barriers need nothing else.
//!
//! Progress: all functions are wait-free, but that a reader's first activation is lock-free. None allocates.
//! Every build with `--cfg shadow_loom` takes loom's fences in place of both barriers, for models of their users; the
//! hand-over itself has models here.

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

    /// Whose light barriers are paired with heavy ones: a thread, or anything else that does one step after the other.
    /// Heavy barriers know the readers that are active.
    #[derive(Debug)]
    pub struct Reader(Place);

    impl Reader {
        /// Not active.
        pub const fn new() -> Self {
            Self(Place::new())
        }

        /// Begins to use the reader. Does nothing if it is active.
        pub fn activate(&'static self) {
            BARRIERS.activate(&self.0);
        }

        /// No light barrier of this reader comes any more, or none before it is activated again. Not to be called beside
        /// one that is under way.
        pub fn deactivate(&self) {
            self.0.deactivate::<Membarrier>();
        }

        /// The light barrier: a compiler fence where the platform has the heavy one, else a sequentially consistent fence.
        /// Pairs with [`heavy`] only if the reader is active. Returns whether it was the fence.
        #[inline(always)]
        pub fn light(&self) -> bool {
            BARRIERS.light(&self.0)
        }

        /// The light barrier, for [hooks](on_fence): where it is a fence, it calls none.
        pub fn settle(&self) {
            BARRIERS.settle(&self.0);
        }
    }

    /// The heavy barrier. Returns whether there was one: if not, try again later. See [the crate](crate) for when there is
    /// none.
    #[cold]
    #[must_use]
    pub fn heavy() -> bool {
        BARRIERS.heavy()
    }

    /// From now on, `hook` is called by threads that fence in place of a cheaper barrier, or ask for a heavy one that needs
    /// it: so that it [settles](Reader::settle) what other readers the thread has. Else one of them, which the thread does not
    /// come to any more, would keep heavy barriers away. It must not panic, and does nothing else. Returns whether there was
    /// room for it: for eight.
    pub fn on_fence(hook: fn()) -> bool {
        BARRIERS.add_hook(hook)
    }

    /// Whether light barriers keep nothing but the compiler in order, so that heavy ones are system calls. Once it has been
    /// true it may become false, for good. True when asked where a light barrier is due, of an active reader, a compiler
    /// fence does for one.
    #[inline(always)]
    pub fn is_asymmetric() -> bool {
        BARRIERS.is_light()
    }

    /// How many active readers are known to have used light barriers that no fence has followed, in a process that was
    /// denied the heavy one. While there are any, [`heavy`] is no barrier.
    pub fn unsettled() -> usize {
        BARRIERS.unsettled()
    }
}

#[cfg(not(all(target_os = "linux", not(shadow_loom), not(miri))))]
mod imp {
    #[cfg(shadow_loom)]
    use loom::sync::atomic::{Ordering, fence};
    #[cfg(not(shadow_loom))]
    use std::sync::atomic::{Ordering, fence};

    /// Whose light barriers are paired with heavy ones. Here all are.
    #[derive(Debug)]
    pub struct Reader(());

    impl Reader {
        /// Not active.
        pub const fn new() -> Self {
            Self(())
        }

        /// Begins to use the reader: nothing to do here.
        pub fn activate(&'static self) {}

        /// No light barrier of this reader comes any more: nothing to do here.
        pub fn deactivate(&self) {}

        /// The light barrier: here, a sequentially consistent fence. Returns whether it was one.
        #[inline]
        pub fn light(&self) -> bool {
            // SeqCst: pairs with `heavy`.
            fence(Ordering::SeqCst);
            true
        }

        /// The light barrier, for hooks: nothing to do here.
        pub fn settle(&self) {}
    }

    /// Here hooks have nothing to do.
    pub fn on_fence(_hook: fn()) -> bool {
        true
    }

    /// The heavy barrier: here, a sequentially consistent fence. Always there.
    #[must_use]
    pub fn heavy() -> bool {
        // SeqCst: pairs with `light`.
        fence(Ordering::SeqCst);
        true
    }

    /// Whether light barriers keep nothing but the compiler in order: not here.
    #[inline]
    pub fn is_asymmetric() -> bool {
        false
    }

    /// Readers that keep heavy barriers away: none here.
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
