//! A pair of barriers, one of which costs next to nothing.
//!
//! For a light barrier of one thread and a heavy one of another: either what was stored before the light one is seen after
//! the heavy one, or what was stored before the heavy one is seen after the light one. Two sequentially consistent fences
//! have that property; so have a compiler fence and `membarrier(2)`, which makes every running thread of the process
//! execute a barrier somewhere between two of its instructions.

use crate::sync::{Ordering, fence};
#[cfg(all(test, shadow_loom))]
use crate::table::defect::{Defect, planted_everywhere};

pub(super) use imp::{compiler, heavy, init, is_compilers, light};

#[cfg(all(target_os = "linux", not(shadow_loom), not(miri)))]
mod imp {
    use std::sync::OnceLock;

    use super::*;
    use crate::sync::compiler_fence;
    use crate::sync::stat::AtomicBool;

    /// Whether readers rely on `membarrier`. Set once, before the first thread has a participant.
    static LIGHT: AtomicBool = AtomicBool::new(false);

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: takes three numbers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Finds out what there is. Before a thread's first `light`.
    pub(crate) fn init() {
        static DETECTED: OnceLock<()> = OnceLock::new();
        DETECTED.get_or_init(|| {
            // Release: pairs with the Acquire in `heavy`.
            LIGHT.store(
                membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
                Ordering::Release,
            );
        });
    }

    /// Whether a light barrier keeps nothing but the compiler in order. After `init`.
    pub(crate) fn is_compilers() -> bool {
        // Relaxed: never changes after `init`.
        LIGHT.load(Ordering::Relaxed)
    }

    pub(crate) fn light() {
        if is_compilers() {
            compiler();
        } else {
            // SeqCst: pairs with `heavy`.
            fence(Ordering::SeqCst);
        }
    }

    /// The light barrier, where [`is_compilers`] says so.
    #[inline]
    pub(crate) fn compiler() {
        compiler_fence(Ordering::SeqCst);
    }

    /// Whether there was one: not if a process is denied the call that it once was allowed.
    #[cold]
    #[must_use]
    pub(crate) fn heavy() -> bool {
        // SeqCst: pairs with `light` where that is a fence.
        fence(Ordering::SeqCst);
        !LIGHT.load(Ordering::Acquire) || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }
}

#[cfg(not(all(target_os = "linux", not(shadow_loom), not(miri))))]
mod imp {
    use super::*;

    pub(crate) fn init() {}

    pub(crate) fn is_compilers() -> bool {
        false
    }

    pub(crate) fn compiler() {
        unreachable!("light barriers are fences here");
    }

    pub(crate) fn light() {
        #[cfg(all(test, shadow_loom))]
        if planted_everywhere(Defect::NoLightBarrier) {
            return;
        }
        // SeqCst: pairs with `heavy`.
        fence(Ordering::SeqCst);
    }

    #[must_use]
    pub(crate) fn heavy() -> bool {
        #[cfg(all(test, shadow_loom))]
        if planted_everywhere(Defect::NoHeavyBarrier) {
            return true;
        }
        // SeqCst: pairs with `light`.
        fence(Ordering::SeqCst);
        true
    }
}
