//! The one thing that each thread has of its own: the task that it runs, and how deep that is in units and calls.
//!
//! Each call of a patchable function reads and counts here, in whatever library of the process it is. For a `thread_local!`
//! of a library that is shared, the dynamic linker is asked for the address each time, some fifteen instructions, and all
//! registers that a callee may use are lost. So where the target is known, this lies at a fixed distance from the thread
//! pointer (initial-exec is what the model is called), which is the same for all threads. Other libraries should find the
//! distance by the variable's name; but rustc exports no thread-local symbol of assembly in a way that GNU ld takes. So, on
//! x86-64, they find it by the name of a *function that is resolved* (`STT_GNU_IFUNC`): the dynamic linker calls it once for
//! each library, before any other code of that, and what it returns is put where the function's address is looked for. That
//! is meant for addresses of functions, but it is a word like another. One instruction reads the distance, and the word
//! is reached by it without the address being known: calls count in one instruction.

use std::cell::Cell;
use std::ptr;

#[cfg(not(shadow_loom))]
use super::record::NOBODY;
use super::record::{OUTSIDE, Record};

pub(super) use imp::Here;

/// The task that this thread runs: `'static` as far as this thread goes, which is the only one to get the reference.
#[inline]
pub(super) fn running() -> &'static Running {
    Here::new().running()
}

/// What a thread has for a record until its first unit. Not null: to ask for that would be two instructions of each first
/// call. A model has no such statics.
const fn nobody() -> *const Record {
    #[cfg(not(shadow_loom))]
    return &raw const NOBODY;
    #[cfg(shadow_loom)]
    return ptr::null();
}

/// The record, if it is somebody's.
#[inline(always)]
fn known(record: *const Record) -> Option<&'static Record> {
    // SAFETY: a record, if not nobody's; they are never freed.
    (!ptr::eq(record, nobody())).then(|| unsafe { &*record })
}

/// The task that this thread runs. Has no destructor, so it is there to the thread's very end.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Running {
    /// As [`Record::depth`] of the task, which is not up to date meanwhile.
    pub(super) depth: Cell<i64>,
    /// The task's record. [`nobody`], with a depth of [`OUTSIDE`], until the thread's first unit.
    record: Cell<*const Record>,
}

impl Running {
    pub(super) fn record(&self) -> Option<&'static Record> {
        known(self.record.get())
    }

    /// The thread goes on with another task, as a future is polled, or with none. How deep that is, it knows itself.
    #[inline]
    pub(super) fn switch(&self, to: Option<&'static Record>) {
        if let Some(before) = self.record() {
            before.depth.set(self.depth.get());
        }
        self.depth.set(to.map_or(OUTSIDE, |record| record.depth.get()));
        self.record.set(to.map_or(nobody(), ptr::from_ref));
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

impl Here {
    /// The running task's record, if it ever was in a unit.
    #[inline(always)]
    pub(super) fn known(self) -> Option<&'static Record> {
        known(self.record())
    }

    /// The same, or [`NOBODY`]: but in models this is never none.
    #[inline(always)]
    pub(super) fn known_or_nobody(self) -> Option<&'static Record> {
        if cfg!(shadow_loom) {
            return self.known();
        }
        // SAFETY: a record, or nobody's; they are never freed.
        Some(unsafe { &*self.record() })
    }

    /// The record of a task that is in a unit.
    ///
    /// # Safety
    ///
    /// The task is in a unit.
    #[inline(always)]
    pub(super) unsafe fn inside(self) -> &'static Record {
        let record = self.record();
        debug_assert!(!ptr::eq(record, nobody()));
        // SAFETY: by contract: who sets a depth sets a record first, and those are never freed.
        unsafe { &*record }
    }
}

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    target_arch = "x86_64",
    not(shadow_loom),
    not(miri)
))]
mod imp {
    use std::arch::{asm, naked_asm};
    use std::marker::PhantomData;
    use std::mem::offset_of;

    use super::{NOBODY, OUTSIDE, Record, Running};

    // What is put down below: of `OUTSIDE` and `NOBODY`.
    const _: () = assert!(OUTSIDE == -1 && size_of::<Running>() == 16 && align_of::<Running>() <= 16);
    // And how it is reached.
    const _: () = assert!(offset_of!(Running, depth) == 0 && offset_of!(Running, record) == 8);

    /// What resolves to the distance of a thread's `Running` from its thread pointer: each thread begins with a copy of what
    /// stands here. Nobody calls it but who resolves it. By then the distance is known: it is relocated before what has
    /// to be resolved.
    #[unsafe(naked)]
    extern "C" fn distance() {
        naked_asm!(
            ".type {distance}, @gnu_indirect_function",
            ".pushsection .tdata.livepatch, \"awT\", @progbits",
            ".p2align 4",
            "{distance}.running:",
            ".quad -1",
            ".quad {nobody}",
            ".popsection",
            "mov rax, qword ptr [rip + {distance}.running@gottpoff]",
            "ret",
            distance = sym distance,
            nobody = sym NOBODY,
        )
    }

    /// Where this thread's [`Running`] is: by its distance from the thread pointer.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Here {
        distance: usize,
        _not_send: PhantomData<*const ()>,
    }

    impl Here {
        #[inline(always)]
        pub(in super::super) fn new() -> Self {
            let at;
            // SAFETY: reads the word of the linker's table that has what `distance` resolves to, and which never changes.
            // Not what the linker might make of an address that is computed: a function of its own that jumps there.
            unsafe {
                asm!(
                    "mov {at}, qword ptr [rip + {distance}@GOTPCREL]",
                    distance = sym distance,
                    at = out(reg) at,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            Self {
                distance: at,
                _not_send: PhantomData,
            }
        }

        /// Counts one deeper. Whether the task was in a unit before.
        #[inline(always)]
        pub(in super::super) fn deeper(self) -> bool {
            // SAFETY: the depth is this thread's own, and no reference to it is more than that of a cell.
            unsafe {
                asm!(
                    "inc qword ptr fs:[{at}]",
                    "jz {outside}",
                    at = in(reg) self.distance,
                    outside = label { return false },
                    options(nostack),
                );
            }
            true
        }

        /// Counts back. Whether the task is still in a unit.
        #[inline(always)]
        pub(in super::super) fn back(self) -> bool {
            // SAFETY: as in `deeper`.
            unsafe {
                asm!(
                    "dec qword ptr fs:[{at}]",
                    "js {outside}",
                    at = in(reg) self.distance,
                    outside = label { return false },
                    options(nostack),
                );
            }
            true
        }

        /// The running task's record, or [`nobody`].
        #[inline(always)]
        pub(super) fn record(self) -> *const Record {
            let record;
            // SAFETY: as in `deeper`.
            unsafe {
                asm!(
                    "mov {record}, qword ptr fs:[{at} + 8]",
                    at = in(reg) self.distance,
                    record = lateout(reg) record,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            record
        }

        /// The whole of it: `'static` as far as this thread goes, which is the only one to get the reference.
        #[inline]
        pub(in super::super) fn running(self) -> &'static Running {
            let thread: *const u8;
            // SAFETY: where the thread pointer points to there is the pointer itself.
            unsafe {
                asm!(
                    "mov {thread}, qword ptr fs:[0]",
                    thread = lateout(reg) thread,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            // SAFETY: this thread has it to its end, and no other gets the reference, as it is not `Sync`.
            unsafe { &*thread.wrapping_add(self.distance).cast() }
        }
    }
}

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    target_arch = "aarch64",
    not(shadow_loom),
    not(miri)
))]
mod imp {
    use std::arch::{asm, naked_asm};

    pub(in super::super) use super::by_reference::Here;
    use super::{NOBODY, OUTSIDE, Running};

    // What is put down below: of `OUTSIDE` and `NOBODY`.
    const _: () = assert!(OUTSIDE == -1 && size_of::<Running>() == 16 && align_of::<Running>() <= 16);

    /// Where the thread's `Running` is: each thread begins with a copy of what stands here. A function, as those are what
    /// every library reaches; [`running`] alone calls it, not as one calls others: it leaves all registers as they are but
    /// the one that it returns in, and one more.
    #[unsafe(naked)]
    extern "C" fn place() {
        naked_asm!(
            ".pushsection .tdata.livepatch, \"awT\", %progbits",
            ".p2align 4",
            "{place}.running:",
            ".quad -1",
            ".quad {nobody}",
            ".popsection",
            "mrs x1, tpidr_el0",
            "adrp x0, :gottprel:{place}.running",
            "ldr x0, [x0, :gottprel_lo12:{place}.running]",
            "add x0, x0, x1",
            "ret",
            place = sym place,
            nobody = sym NOBODY,
        )
    }

    /// As [`Here::running`].
    #[inline(always)]
    pub(super) fn running() -> &'static Running {
        let running: *const Running;
        // SAFETY: the function takes nothing and touches no memory but the stack, which is there for a call. It returns an
        // address that does not change while this thread is in this function, and keeps all registers but those named here,
        // some of which a linker's stub may use.
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

    pub(in super::super) use super::by_reference::Here;
    use super::{OUTSIDE, Running, nobody};

    thread_local! {
        static RUNNING: Running = const {
            Running { depth: Cell::new(OUTSIDE), record: Cell::new(nobody()) }
        };
    }

    /// As [`Here::running`].
    #[inline]
    pub(super) fn running() -> &'static Running {
        // SAFETY: as it has no destructor, this thread has it to its end, and no other gets the reference, as it is not
        // `Sync`.
        RUNNING.with(|running| unsafe { &*ptr::from_ref(running) })
    }
}

/// [`Here`](by_reference::Here) where the address is all that is known.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    target_arch = "x86_64",
    not(shadow_loom),
    not(miri)
)))]
mod by_reference {
    use super::{OUTSIDE, Record, Running, imp};

    /// Where this thread's [`Running`] is.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Here(&'static Running);

    impl Here {
        #[inline(always)]
        pub(in super::super) fn new() -> Self {
            Self(imp::running())
        }

        /// Counts one deeper. Whether the task was in a unit before.
        #[inline(always)]
        pub(in super::super) fn deeper(self) -> bool {
            let depth = self.0.depth.get() + 1;
            self.0.depth.set(depth);
            depth != OUTSIDE + 1
        }

        /// Counts back. Whether the task is still in a unit.
        #[inline(always)]
        pub(in super::super) fn back(self) -> bool {
            let depth = self.0.depth.get() - 1;
            self.0.depth.set(depth);
            depth != OUTSIDE
        }

        /// The running task's record, or [`nobody`].
        #[inline(always)]
        pub(super) fn record(self) -> *const Record {
            self.0.record.get()
        }

        /// The whole of it: `'static` as far as this thread goes, which is the only one to get the reference.
        #[inline(always)]
        pub(in super::super) fn running(self) -> &'static Running {
            self.0
        }
    }
}
