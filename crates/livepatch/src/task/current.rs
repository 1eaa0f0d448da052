//! The one thing that each thread has of its own: the task that it runs, and how deep that is in units and calls.
//!
//! Each call of a patchable function reads and counts here, in whatever library of the process it is. For a `thread_local!`
//! of a library that is shared, the dynamic linker is asked for the address each time, some fifteen instructions; so where
//! the target is known, this lies at a fixed distance from the thread pointer (initial-exec is what the model is called),
//! and two instructions know the address. `build.rs` says where.

use std::cell::Cell;
use std::ptr;

use super::record::{OUTSIDE, Record};

pub(super) use imp::running;

/// The task that this thread runs. Has no destructor, so it is there to the thread's very end.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Running {
    /// As [`Record::depth`] of the task, which is not up to date meanwhile.
    pub(super) depth: Cell<i64>,
    /// The task's record. Null, with a depth of [`OUTSIDE`], until the thread's first unit.
    record: Cell<*const Record>,
}

impl Running {
    #[inline(always)]
    pub(super) fn record(&self) -> Option<&'static Record> {
        // SAFETY: null, or a record; they are never freed.
        unsafe { self.record.get().as_ref() }
    }

    /// The record of a task that is in a unit.
    ///
    /// # Safety
    ///
    /// The depth is not [`OUTSIDE`].
    #[inline(always)]
    pub(super) unsafe fn record_inside(&self) -> &'static Record {
        debug_assert!(!self.record.get().is_null());
        // SAFETY: by contract: who sets a depth sets a record first, and those are never freed.
        unsafe { &*self.record.get() }
    }

    /// The thread goes on with another task, as a future is polled, or with none. How deep that is, it knows itself.
    #[inline]
    pub(super) fn switch(&self, to: Option<&'static Record>) {
        if let Some(before) = self.record() {
            before.depth.set(self.depth.get());
        }
        self.depth.set(to.map_or(OUTSIDE, |record| record.depth.get()));
        self.record.set(to.map_or(ptr::null(), ptr::from_ref));
    }

    /// The depth of a task whose guard or frame this thread has: where it is kept.
    #[inline]
    pub(super) fn depth_of<'r>(&'r self, record: &'r Record) -> &'r Cell<i64> {
        if ptr::eq(self.record.get(), record) {
            &self.depth
        } else {
            &record.depth
        }
    }
}

#[cfg(all(livepatch_initial_exec, not(miri)))]
mod imp {
    use std::arch::{asm, global_asm};

    use super::{OUTSIDE, Running};

    // The library is empty: what it has is below. But only symbols that come from a library are exported by Rust's shared
    // ones. Two versions of this crate in one process have one each.
    #[link(name = "livepatch_running", kind = "static")]
    unsafe extern "C" {
        #[link_name = concat!(
            "__livepatch_running_", env!("CARGO_PKG_VERSION_MAJOR"),
            "_", env!("CARGO_PKG_VERSION_MINOR"), "_", env!("CARGO_PKG_VERSION_PATCH")
        )]
        safe static RUNNING: [u64; 2];
    }

    // A `Running` of `OUTSIDE` and null, in the image of which each thread begins with a copy.
    const _: () = assert!(OUTSIDE == -1 && size_of::<Running>() == 16 && align_of::<Running>() <= 16);
    global_asm!(
        ".pushsection .tdata.livepatch, \"awT\", %progbits",
        ".p2align 4",
        ".globl {running}",
        ".type {running}, %object",
        ".size {running}, 16",
        "{running}:",
        ".quad -1",
        ".quad 0",
        ".popsection",
        running = sym RUNNING,
    );

    /// The task that this thread runs.
    #[inline(always)]
    pub(in super::super) fn running<'r>() -> &'r Running {
        let running: *const Running;
        // SAFETY: the distance from the thread pointer, which the dynamic linker has put into the table of addresses, and
        // the thread pointer itself: both do not change while this thread is in this function.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!(
                "mov {at}, qword ptr [rip + {running}@gottpoff]",
                "add {at}, qword ptr fs:[0]",
                running = sym RUNNING,
                at = out(reg) running,
                options(pure, nomem, nostack),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!(
                "mrs {thread}, tpidr_el0",
                "adrp {at}, :gottprel:{running}",
                "ldr {at}, [{at}, :gottprel_lo12:{running}]",
                "add {at}, {at}, {thread}",
                running = sym RUNNING,
                thread = out(reg) _,
                at = out(reg) running,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        // SAFETY: this thread has it to its end, and no other gets the reference, as it is not `Sync`.
        unsafe { &*running }
    }
}

/// The portable form.
#[cfg(not(all(livepatch_initial_exec, not(miri))))]
mod imp {
    use std::cell::Cell;
    use std::ptr;

    use super::{OUTSIDE, Running};

    thread_local! {
        static RUNNING: Running = const {
            Running { depth: Cell::new(OUTSIDE), record: Cell::new(ptr::null()) }
        };
    }

    /// The task that this thread runs.
    #[inline]
    pub(in super::super) fn running<'r>() -> &'r Running {
        // SAFETY: as it has no destructor, this thread has it to its end, and no other gets the reference, as it is not
        // `Sync`.
        RUNNING.with(|running| unsafe { &*ptr::from_ref(running) })
    }
}
