//! A pair of barriers, one of which costs next to nothing.
//!
//! For a light barrier of one thread and a heavy one of another: either what was stored before the light one is seen after
//! the heavy one, or what was stored before the heavy one is seen after the light one. Two sequentially consistent fences
//! have that property; so have a compiler fence and `membarrier(2)`, which makes every running thread of the process
//! execute a barrier somewhere between two of its instructions.
//!
//! ```
//! use std::sync::atomic::{AtomicBool, Ordering};
//! static INSIDE: AtomicBool = AtomicBool::new(false);
//! static CLOSED: AtomicBool = AtomicBool::new(false);
//!
//! asymmetric_barrier::init(); // once, before the first light barrier
//! std::thread::scope(|scope| {
//!     // Often: a few instructions.
//!     let entered = scope.spawn(|| {
//!         INSIDE.store(true, Ordering::Relaxed);
//!         asymmetric_barrier::light();
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
//! Progress: all functions are wait-free; the first [`init`] of a process may wait for another thread's first.
//! Every build with `--cfg shadow_loom` takes loom's fences in place of both, for models.

pub use imp::{compiler, heavy, init, is_compilers, light};

#[cfg(all(target_os = "linux", not(shadow_loom), not(miri)))]
mod imp {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

    /// Whether light barriers rely on `membarrier`. Set once, before the first of them.
    static LIGHT: AtomicBool = AtomicBool::new(false);

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: takes three numbers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Finds out what there is. Before a thread's first [`light`]; once a process is enough.
    pub fn init() {
        static DETECTED: OnceLock<()> = OnceLock::new();
        DETECTED.get_or_init(|| {
            // Release: pairs with the Acquire in `heavy`.
            LIGHT.store(
                membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
                Ordering::Release,
            );
        });
    }

    /// Whether a light barrier keeps nothing but the compiler in order. Does not change after [`init`].
    #[inline]
    pub fn is_compilers() -> bool {
        // Relaxed: never changes after `init`.
        LIGHT.load(Ordering::Relaxed)
    }

    /// The light barrier: a compiler fence where the platform has the heavy one, else a sequentially consistent fence.
    #[inline]
    pub fn light() {
        if is_compilers() {
            compiler();
        } else {
            // SeqCst: pairs with `heavy`.
            fence(Ordering::SeqCst);
        }
    }

    /// The light barrier, where [`is_compilers`] says so: for callers that have asked before.
    #[inline]
    pub fn compiler() {
        compiler_fence(Ordering::SeqCst);
    }

    /// The heavy barrier. Whether there was one: not if a process is denied the call that it once was allowed.
    #[cold]
    #[must_use]
    pub fn heavy() -> bool {
        // SeqCst: pairs with `light` where that is a fence.
        fence(Ordering::SeqCst);
        !LIGHT.load(Ordering::Acquire) || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }
}

#[cfg(not(all(target_os = "linux", not(shadow_loom), not(miri))))]
mod imp {
    #[cfg(shadow_loom)]
    use loom::sync::atomic::{Ordering, fence};
    #[cfg(not(shadow_loom))]
    use std::sync::atomic::{Ordering, fence};

    /// Nothing to find out here.
    pub fn init() {}

    /// Whether a light barrier keeps nothing but the compiler in order: not here.
    pub fn is_compilers() -> bool {
        false
    }

    /// # Panics
    ///
    /// Always: light barriers are fences here.
    pub fn compiler() {
        unreachable!("light barriers are fences here");
    }

    /// The light barrier: here, a sequentially consistent fence.
    #[inline]
    pub fn light() {
        // SeqCst: pairs with `heavy`.
        fence(Ordering::SeqCst);
    }

    /// The heavy barrier: here, a sequentially consistent fence. Always there.
    #[must_use]
    pub fn heavy() -> bool {
        // SeqCst: pairs with `light`.
        fence(Ordering::SeqCst);
        true
    }
}
