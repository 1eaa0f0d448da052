//! The task that each thread runs, and how deeply nested that task is in units and calls.
//!
//! Every call of a patchable function, in whatever library of the process, reads and updates this word. For a
//! `thread_local!` in a shared library, each access would call into the dynamic linker: some fifteen instructions, and
//! all caller-saved registers are lost. So on known targets the word lies at a fixed offset from the thread pointer (the
//! initial-exec TLS model), the same for all threads. Other libraries should find the offset by the variable's name; but
//! rustc does not export a thread-local symbol defined in assembly in a way that GNU ld accepts. So, on x86-64, they find
//! it by the name of an *indirect function* (`STT_GNU_IFUNC`): the dynamic linker calls the resolver once for each
//! library, before any other code of that library, and stores its result where the function's address is looked up. That
//! slot is meant for addresses of functions, but holds any word. One instruction loads the offset, and the word is
//! addressed by it directly: a call updates the depth in one instruction.

use std::cell::Cell;
use std::ptr;

use super::record::{OUTSIDE, Record, placeholder};

pub(super) use imp::Here;

/// Returns the task that this thread runs. The reference is `'static` only for this thread, and no other thread gets it.
#[inline]
pub(super) fn running() -> &'static Running {
    Here::new().running()
}

/// The record pointer of a thread until its first unit. Not null, except in models: a null check would be two
/// instructions of every outermost call.
const PLACEHOLDER: *const Record = placeholder::ADDRESS;

/// Returns the record, unless it is the placeholder.
///
/// # Safety
///
/// The pointer is the placeholder's, or that of a record of the world.
#[inline(always)]
unsafe fn as_record(record: *const Record) -> Option<&'static Record> {
    // SAFETY: not the placeholder, so a record by the caller's guarantee, and records are never freed.
    (!ptr::eq(record, PLACEHOLDER)).then(|| unsafe { &*record })
}

/// The task that this thread runs. Has no destructor, so it is valid until the very end of the thread.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Running {
    /// The task's [`Record::depth`]; the one in the record is stale while the thread runs the task.
    pub(super) depth: Cell<i64>,
    /// The task's record. The [`PLACEHOLDER`], with a depth of [`OUTSIDE`], until the thread's first unit.
    record: Cell<*const Record>,
}

impl Running {
    pub(super) fn record(&self) -> Option<&'static Record> {
        // SAFETY: it is the placeholder's at first, and `switch` stores that or a record's.
        unsafe { as_record(self.record.get()) }
    }

    /// Switches the thread to another task, as when a future is polled, or to none. The depth is saved in one record and
    /// loaded from the other.
    #[inline]
    pub(super) fn switch(&self, to: Option<&'static Record>) {
        if let Some(before) = self.record() {
            before.depth.set(self.depth.get());
        }
        self.depth.set(to.map_or(OUTSIDE, |record| record.depth.get()));
        self.record.set(to.map_or(PLACEHOLDER, ptr::from_ref));
    }

    /// Returns the depth of a task whose guard or frame this thread has, wherever it is stored.
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
    /// Returns the running task's record, if it was ever in a unit.
    #[inline(always)]
    pub(super) fn record(self) -> Option<&'static Record> {
        // SAFETY: as in `Running::record`, whose field this is.
        unsafe { as_record(self.record_ptr()) }
    }

    /// Returns the running task's record, or [`PLACEHOLDER`]. Never `None` except in models.
    #[inline(always)]
    pub(super) fn record_or_placeholder(self) -> Option<&'static Record> {
        if cfg!(shadow_loom) {
            return self.record();
        }
        // SAFETY: a record, or the placeholder; neither is ever freed.
        Some(unsafe { &*self.record_ptr() })
    }

    /// Returns the record of the running task, which is in a unit.
    ///
    /// # Safety
    ///
    /// The task is in a unit.
    #[inline(always)]
    pub(super) unsafe fn record_unchecked(self) -> &'static Record {
        let record = self.record_ptr();
        debug_assert!(!ptr::eq(record, PLACEHOLDER));
        // SAFETY: the caller guarantees that the task is in a unit: then its record was set before its depth, and records
        // are never freed.
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

    use super::{OUTSIDE, Record, Running};
    use crate::task::record::placeholder::PLACEHOLDER;

    // The values of `OUTSIDE` and `PLACEHOLDER` in the assembly below.
    const _: () = assert!(OUTSIDE == -1 && size_of::<Running>() == 16 && align_of::<Running>() <= 16);
    // And the offsets by which it is accessed.
    const _: () = assert!(offset_of!(Running, depth) == 0 && offset_of!(Running, record) == 8);

    /// Resolves to the offset of a thread's `Running` from its thread pointer. The section below holds the initial value,
    /// of which each thread gets a copy. Only the dynamic linker calls this; by then the offset is known, because it is
    /// relocated before indirect functions are resolved.
    #[unsafe(naked)]
    extern "C" fn distance() {
        naked_asm!(
            ".type {distance}, @gnu_indirect_function",
            ".pushsection .tdata.livepatch, \"awT\", @progbits",
            ".p2align 4",
            "{distance}.running:",
            ".quad -1",
            ".quad {placeholder}",
            ".popsection",
            "mov rax, qword ptr [rip + {distance}.running@gottpoff]",
            "ret",
            distance = sym distance,
            placeholder = sym PLACEHOLDER,
        )
    }

    /// A handle to this thread's [`Running`]: its offset from the thread pointer.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Here {
        distance: usize,
        _not_send: PhantomData<*const ()>,
    }

    impl Here {
        #[inline(always)]
        pub(in super::super) fn new() -> Self {
            let at;
            // SAFETY: reads the linker's table entry for `distance`, which holds the resolved value and never changes.
            // (Taking the function's address instead could yield a linker stub that jumps there.)
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

        /// Increments the depth. Returns whether the task was already in a unit.
        #[inline(always)]
        pub(in super::super) fn increment_depth(self) -> bool {
            // SAFETY: the depth belongs to this thread, and references to it are to a `Cell`.
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

        /// Decrements the depth. Returns whether the task is still in a unit.
        #[inline(always)]
        pub(in super::super) fn decrement_depth(self) -> bool {
            // SAFETY: as in `increment_depth`.
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

        /// Returns the running task's record, or the [`PLACEHOLDER`](super::PLACEHOLDER).
        #[inline(always)]
        pub(super) fn record_ptr(self) -> *const Record {
            let record;
            // SAFETY: as in `increment_depth`.
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

        /// Returns this thread's [`Running`]. The reference is `'static` only for this thread, and no other thread gets it.
        #[inline]
        pub(in super::super) fn running(self) -> &'static Running {
            let thread: *const u8;
            // SAFETY: the word that the thread pointer points to holds the thread pointer itself.
            unsafe {
                asm!(
                    "mov {thread}, qword ptr fs:[0]",
                    thread = lateout(reg) thread,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            // SAFETY: valid until this thread's end, and no other thread gets the reference, as it is not `Sync`.
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
    use super::{OUTSIDE, Running};
    use crate::task::record::placeholder::PLACEHOLDER;

    // The values of `OUTSIDE` and `PLACEHOLDER` in the assembly below.
    const _: () = assert!(OUTSIDE == -1 && size_of::<Running>() == 16 && align_of::<Running>() <= 16);

    /// Returns the address of the thread's `Running`. The section below holds the initial value, of which each thread
    /// gets a copy. A function, because every library can reach functions. Only [`running`] calls it, with its own
    /// calling convention: it preserves all registers but the one of its result and one more.
    #[unsafe(naked)]
    extern "C" fn place() {
        naked_asm!(
            ".pushsection .tdata.livepatch, \"awT\", %progbits",
            ".p2align 4",
            "{place}.running:",
            ".quad -1",
            ".quad {placeholder}",
            ".popsection",
            "mrs x1, tpidr_el0",
            "adrp x0, :gottprel:{place}.running",
            "ldr x0, [x0, :gottprel_lo12:{place}.running]",
            "add x0, x0, x1",
            "ret",
            place = sym place,
            placeholder = sym PLACEHOLDER,
        )
    }

    /// See [`Here::running`].
    #[inline(always)]
    pub(super) fn running() -> &'static Running {
        let running: *const Running;
        // SAFETY: the function takes no arguments and uses no memory but the stack, which suffices for a call. It returns
        // an address that does not change while this thread is in this function, and preserves all registers but those
        // named here, some of which a linker's stub may use.
        unsafe {
            asm!(
                "bl {place}",
                place = sym place,
                out("x0") running,
                out("x1") _, out("x16") _, out("x17") _, out("lr") _,
                options(pure, nomem),
            );
        }
        // SAFETY: valid until this thread's end, and no other thread gets the reference, as it is not `Sync`.
        unsafe { &*running }
    }
}

/// The portable implementation.
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
    use super::{OUTSIDE, PLACEHOLDER, Running};

    thread_local! {
        static RUNNING: Running = const {
            Running { depth: Cell::new(OUTSIDE), record: Cell::new(PLACEHOLDER) }
        };
    }

    /// See [`Here::running`].
    #[inline]
    pub(super) fn running() -> &'static Running {
        // SAFETY: it has no destructor, so it is valid until this thread's end; and no other thread gets the reference,
        // as it is not `Sync`.
        RUNNING.with(|running| unsafe { &*ptr::from_ref(running) })
    }
}

/// [`Here`](by_reference::Here) where accesses go through the address.
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

    /// A handle to this thread's [`Running`].
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Here(&'static Running);

    impl Here {
        #[inline(always)]
        pub(in super::super) fn new() -> Self {
            Self(imp::running())
        }

        /// Increments the depth. Returns whether the task was already in a unit.
        #[inline(always)]
        pub(in super::super) fn increment_depth(self) -> bool {
            let depth = self.0.depth.get() + 1;
            self.0.depth.set(depth);
            depth != OUTSIDE + 1
        }

        /// Decrements the depth. Returns whether the task is still in a unit.
        #[inline(always)]
        pub(in super::super) fn decrement_depth(self) -> bool {
            let depth = self.0.depth.get() - 1;
            self.0.depth.set(depth);
            depth != OUTSIDE
        }

        /// Returns the running task's record, or the [`PLACEHOLDER`](super::PLACEHOLDER).
        #[inline(always)]
        pub(super) fn record_ptr(self) -> *const Record {
            self.0.record.get()
        }

        /// Returns this thread's [`Running`]. The reference is `'static` only for this thread, and no other thread gets it.
        #[inline(always)]
        pub(in super::super) fn running(self) -> &'static Running {
            self.0
        }
    }
}
