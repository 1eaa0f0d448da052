//! The one thing that each thread has of its own: the task that it runs, and how deep that is in units and calls.
//!
//! Each call of a patchable function reads and counts here, in whatever library of the process it is. For a `thread_local!`
//! of a library that is shared, the dynamic linker is asked for the address each time, some fifteen instructions, and all
//! registers that a callee may use are lost. So where the target is known, this lies at a fixed distance from the thread
//! pointer (initial-exec is what the model is called), and four instructions know the address.

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

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(shadow_loom),
    not(miri)
))]
mod imp {
    use std::arch::{asm, naked_asm};

    use super::{OUTSIDE, Running};

    // What is put down below: of `OUTSIDE` and null.
    const _: () = assert!(OUTSIDE == -1 && size_of::<Running>() == 16 && align_of::<Running>() <= 16);

    /// Where the thread's `Running` is: each thread begins with a copy of what stands here. A function, as those are what
    /// every library reaches; [`running`] alone calls it, not as one calls others: it leaves all registers as they are but
    /// the one that it returns in, and the flags.
    #[cfg(target_arch = "x86_64")]
    #[unsafe(naked)]
    extern "C" fn place() {
        naked_asm!(
            ".pushsection .tdata.livepatch, \"awT\", @progbits",
            ".p2align 4",
            "{place}.running:",
            ".quad -1",
            ".quad 0",
            ".popsection",
            "mov rax, qword ptr [rip + {place}.running@gottpoff]",
            "add rax, qword ptr fs:[0]",
            "ret",
            place = sym place,
        )
    }

    /// As above; it uses one more register.
    #[cfg(target_arch = "aarch64")]
    #[unsafe(naked)]
    extern "C" fn place() {
        naked_asm!(
            ".pushsection .tdata.livepatch, \"awT\", %progbits",
            ".p2align 4",
            "{place}.running:",
            ".quad -1",
            ".quad 0",
            ".popsection",
            "mrs x1, tpidr_el0",
            "adrp x0, :gottprel:{place}.running",
            "ldr x0, [x0, :gottprel_lo12:{place}.running]",
            "add x0, x0, x1",
            "ret",
            place = sym place,
        )
    }

    /// The task that this thread runs: `'static` as far as this thread goes, which is the only one to get the reference.
    #[inline(always)]
    pub(in super::super) fn running() -> &'static Running {
        let running: *const Running;
        // SAFETY: the function takes nothing and touches no memory but the stack, which is there for a call. It returns an
        // address that does not change while this thread is in this function, and keeps all registers but those named here,
        // some of which a linker's stub may use.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!(
                "call qword ptr [rip + {place}@GOTPCREL]",
                place = sym place,
                out("rax") running,
                options(pure, nomem),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!(
                "bl {place}",
                place = sym place,
                out("x0") running,
                out("x1") _, out("x16") _, out("x17") _, out("lr") _,
                options(pure, nomem),
            );
        }
        // SAFETY: this thread has it to its end, and no other gets the reference, as it is not `Sync`.
        unsafe { &*running }
    }
}

/// The portable form.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(shadow_loom),
    not(miri)
)))]
mod imp {
    use std::cell::Cell;
    use std::ptr;

    use super::{OUTSIDE, Running};

    thread_local! {
        static RUNNING: Running = const {
            Running { depth: Cell::new(OUTSIDE), record: Cell::new(ptr::null()) }
        };
    }

    /// The task that this thread runs: `'static` as far as this thread goes, which is the only one to get the reference.
    #[inline]
    pub(in super::super) fn running() -> &'static Running {
        // SAFETY: as it has no destructor, this thread has it to its end, and no other gets the reference, as it is not
        // `Sync`.
        RUNNING.with(|running| unsafe { &*ptr::from_ref(running) })
    }
}
