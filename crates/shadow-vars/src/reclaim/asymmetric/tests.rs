//! What only the inside of a participant shows: counts at their ends, and signal handlers at every instruction.

use std::cell::Cell;
use std::{ptr, thread};

use super::*;
use crate::reclaim::participants::{Participant, Shared, participant};
use crate::sync::stat;

fn mine() -> &'static Shared {
    // SAFETY: participants are never freed.
    unsafe { participant::<Asymmetric>().as_ref() }.expect("pinned before")
}

/// Whether this thread is inside.
fn is_announced() -> bool {
    mine().epoch.load(Ordering::Relaxed) != 0
}

#[test]
fn guards_that_are_forgotten_do_not_carry_into_a_flag() {
    thread::spawn(|| {
        let outer = Asymmetric::pin();
        // As if so many had been forgotten: each width that a counter might have.
        for bits in [8, 16, 31, 32, 48, 62] {
            for forgotten in [(1_u64 << bits) - 2, (1 << bits) - 1, 1 << bits] {
                mine().guards.set(forgotten);
                drop(Asymmetric::pin());
                assert_eq!(mine().guards.get(), forgotten);
                assert!(Asymmetric::is_pinned() && is_announced(), "{forgotten} guards");
                assert!(mine().taken.load(stat::Ordering::Relaxed));
            }
        }
        mine().guards.set(1);
        drop(outer);
        assert!(!Asymmetric::is_pinned() && !is_announced());
    })
    .join()
    .unwrap();
}

/// A thread's last guard gives the participant back, though it is dropped after the thread's locals have begun to go.
#[test]
fn a_guard_held_to_the_threads_end_is_one() {
    thread_local! {
        static HELD: Cell<Option<AsymmetricGuard>> = const { Cell::new(None) };
    }
    let address = thread::spawn(|| {
        // Made before the participant's own local, so dropped after it.
        HELD.set(None);
        HELD.set(Some(Asymmetric::pin()));
        ptr::from_ref(mine()).addr()
    })
    .join()
    .unwrap();
    let left = Participant::all::<Asymmetric>().find(|participant| ptr::from_ref(*participant).addr() == address);
    let left = left.expect("participants are never freed");
    assert_eq!(left.epoch.load(Ordering::Relaxed), 0);
}

/// Runs a signal handler after every single instruction of a pin, a nested pin, a renewal, and their ends.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
#[test]
fn a_signal_handler_may_pin_between_any_two_instructions() {
    use crate::sync::stat::{AtomicBool, AtomicU64};

    static STEPS: AtomicU64 = AtomicU64::new(0);
    static UNPROTECTED: AtomicU64 = AtomicU64::new(0);
    /// Whether what is interrupted has a guard.
    static PINNED: AtomicBool = AtomicBool::new(false);

    extern "C" fn handler(_: libc::c_int) {
        STEPS.fetch_add(1, stat::Ordering::Relaxed);
        let pin = Asymmetric::pin();
        let inside = is_announced();
        let inner = Asymmetric::pin();
        let still = is_announced();
        drop(inner);
        let outer = is_announced();
        drop(pin);
        let after = is_announced() || !PINNED.load(stat::Ordering::Relaxed);
        if !(inside && still && outer && after) {
            UNPROTECTED.fetch_add(1, stat::Ordering::Relaxed);
        }
    }

    /// Sets or clears the processor's single-step flag.
    fn step(on: bool) {
        // SAFETY: changes one flag, by the stack; the signal of each step has a handler.
        unsafe {
            if on {
                std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
            } else {
                std::arch::asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq");
            }
        }
    }

    fn set_pinned(pinned: bool) {
        PINNED.store(pinned, stat::Ordering::Relaxed);
    }

    // The handler is the process's, its signal comes to the thread that steps.
    thread::spawn(|| {
        // SAFETY: a handler that only pins, of a thread that has pinned.
        unsafe {
            drop(Asymmetric::pin());
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()), 0);
        }
        step(true);
        let mut outer = Asymmetric::pin();
        set_pinned(true);
        Asymmetric::repin(&mut outer);
        let inner = Asymmetric::pin();
        drop(inner);
        set_pinned(false);
        drop(outer);
        let again = Asymmetric::pin();
        set_pinned(true);
        set_pinned(false);
        drop(again);
        step(false);
        assert_eq!((mine().guards.get(), is_announced()), (0, false));
    })
    .join()
    .unwrap();
    let steps = STEPS.load(stat::Ordering::Relaxed);
    assert!(steps > 60, "only {steps} steps");
    assert_eq!(UNPROTECTED.load(stat::Ordering::Relaxed), 0, "of {steps} steps");
}
