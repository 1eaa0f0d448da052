//! The system's process-wide barrier.

use std::io;

use crate::handover::{Answer, System};

/// `membarrier(2)`, for this process alone.
#[derive(Debug)]
pub(crate) enum Membarrier {}

impl System for Membarrier {
    fn register() -> bool {
        call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
    }

    fn barrier() -> Answer {
        if call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
            return Answer::Done;
        }
        if is_temporary() {
            return Answer::NotNow;
        }
        // Also refused if the process is not registered.
        if Self::register() && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
            return Answer::Done;
        }
        if is_temporary() { Answer::NotNow } else { Answer::Denied }
    }
}

fn call(command: libc::c_int) -> bool {
    // SAFETY: takes three numbers and touches no memory of the program.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Returns whether the last call failed temporarily, for lack of memory, not by policy.
fn is_temporary() -> bool {
    matches!(
        io::Error::last_os_error().raw_os_error(),
        Some(libc::ENOMEM | libc::EAGAIN | libc::EINTR)
    )
}
