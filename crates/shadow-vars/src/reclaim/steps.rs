//! Runs a test's own code after every single instruction of a thread, from a signal handler.

use std::cell::Cell;
use std::ptr;

thread_local! {
    /// Has no destructor, and is initialised before the first step.
    static ON_STEP: Cell<Option<fn()>> = const { Cell::new(None) };
}

extern "C" fn handler(_: libc::c_int) {
    if let Some(call) = ON_STEP.get() {
        call();
    }
}

/// Sets or clears the processor's single-step flag.
#[inline(always)]
fn step(on: bool) {
    // SAFETY: changes one flag, on the stack; the signal of each step has a handler.
    unsafe {
        if on {
            std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
        } else {
            std::arch::asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq");
        }
    }
}

/// Runs `run`, and `on_step` after each of its instructions.
pub(crate) fn at_each_step<O>(on_step: fn(), run: impl FnOnce() -> O) -> O {
    // SAFETY: the handler calls what this thread has set, and nothing on other threads.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()), 0);
    }
    ON_STEP.set(Some(on_step));
    step(true);
    let answer = run();
    step(false);
    ON_STEP.set(None);
    answer
}
