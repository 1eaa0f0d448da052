//! When grace periods are pushed on, and when somebody looks after what others have left behind.
//!
//! A value that owns nothing may wait until a batch is full, and where no barrier is due, until the next one is: of two threads
//! that free at full speed, each interrupts the other by its barriers, and mostly one serves both. One with a destructor may hold much that a store does not see,
//! and others may wait for what it lets go: it is dropped soon. What that costs are the barriers of the backend. So each one
//! is followed by a pause of so many times what it took, for the whole process ([`paid`]): of the processor's time it is a
//! hundredth or two, however many threads free, and what waits meanwhile is what is freed in some tens of microseconds.
//!
//! Whoever retires a value with a destructor leaves a word that says so ([`note_waiting`]). While it stands, operations that
//! create or free look at the clock when they are done, and after ten milliseconds at all stores that have such values.

use crate::sync::stat::{AtomicBool, AtomicU64, Ordering};

/// Whether some store may have retired values with destructors.
static WAITING: AtomicBool = AtomicBool::new(false);
/// When a barrier may be paid again, and when somebody looks at all stores again.
static DUE: AtomicU64 = AtomicU64::new(0);
static NEXT_LOOK: AtomicU64 = AtomicU64::new(0);

/// At most a millisecond, in ticks: where they are no nanoseconds, there are more than a thousand million a second.
const MILLISECOND: u64 = 1_000_000;

/// A pause is so many times as long as what came before it.
const PAUSE: u64 = 64;

/// Milliseconds of the longest pause between two looks at all stores.
const LONGEST: u64 = 1000;

/// See [`note_waiting`]. To be read behind a barrier by who has just retired something.
#[inline(always)]
pub(crate) fn is_waiting() -> bool {
    // Relaxed: the barriers order it, that of who asks and the heavy one in `stores::visit_all`.
    !cfg!(shadow_loom) && WAITING.load(Ordering::Relaxed)
}

/// Some store has retired values with destructors.
#[cold]
pub(super) fn note_waiting() {
    WAITING.store(true, Ordering::Relaxed);
}

/// Nobody has, from here on, as the caller is about to look at all stores.
pub(super) fn forget_waiting() {
    WAITING.store(false, Ordering::Relaxed);
}

/// Whether it is in the middle of a pause all through a model; most need none.
#[cfg(all(test, shadow_loom))]
pub(crate) static PAUSED: AtomicBool = AtomicBool::new(false);

/// Whether a barrier may be paid.
#[inline]
pub(crate) fn is_due() -> bool {
    #[cfg(all(test, shadow_loom))]
    let paused = PAUSED.load(Ordering::Relaxed);
    #[cfg(not(all(test, shadow_loom)))]
    let paused = false;
    // Relaxed, here and below: only how often something is done depends on it.
    !paused && (cfg!(shadow_loom) || is_over(DUE.load(Ordering::Relaxed), now(), 4 * MILLISECOND))
}

/// Whether a barrier may be paid, or somebody should look at all stores.
#[inline(always)]
pub(crate) fn is_time() -> bool {
    let now = now();
    is_over(DUE.load(Ordering::Relaxed), now, 4 * MILLISECOND)
        || is_over(NEXT_LOOK.load(Ordering::Relaxed), now, LONGEST * MILLISECOND)
}

/// Whether a pause is over that ends then. If its end is farther away than any is long, the clock was set back.
#[inline(always)]
fn is_over(end: u64, now: u64, longest: u64) -> bool {
    now >= end || end - now > longest
}

/// Until when a pause is, of so many times what came before it took. Ticks may begin anywhere and jump ahead: the last one there
/// is comes after all others.
fn pause_after(start: u64, end: u64, times: u64, (least, most): (u64, u64)) -> u64 {
    let pause = end.saturating_sub(start).saturating_mul(times).clamp(least, most);
    end.saturating_add(pause)
}

/// Runs what a barrier is paid in, and begins the pause after it.
pub(crate) fn paid(run: impl FnOnce()) {
    if cfg!(shadow_loom) {
        return run();
    }
    let start = now();
    run();
    let end = now();
    let until = pause_after(start, end, PAUSE, (MILLISECOND / 64, 2 * MILLISECOND));
    DUE.store(until, Ordering::Relaxed);
}

/// Looks at all stores, if it is time for that and nobody else does. The pause after it is longer if the look was.
pub(crate) fn look(run: impl FnOnce()) {
    let (start, longest) = (now(), LONGEST * MILLISECOND);
    let next = NEXT_LOOK.load(Ordering::Relaxed);
    let taken = is_over(next, start, longest)
        && NEXT_LOOK
            .compare_exchange(
                next,
                start.saturating_add(longest),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok();
    if taken {
        run();
        let end = now();
        let until = pause_after(start, end, 16, (8 * MILLISECOND, longest));
        NEXT_LOOK.store(until, Ordering::Relaxed);
    }
}

/// Ticks of a clock that is cheap to read, and the same for all threads, or nearly.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn now() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn now() -> u64 {
    nanoseconds()
}

/// Nanoseconds since a moment of the process, not 0.
pub(crate) fn nanoseconds() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;

    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    #[test]
    fn pauses_end_wherever_the_clock_is() {
        let (least, most) = (8 * MILLISECOND, LONGEST * MILLISECOND);
        let until = |start, end| pause_after(start, end, PAUSE, (least, most));
        assert_eq!(until(100, 100 + MILLISECOND), 100 + 65 * MILLISECOND);
        assert_eq!(until(100, 50), 50 + least, "set back");
        assert_eq!(until(0, 1 << 62), (1 << 62) + most, "jumped ahead");
        let last = until(u64::MAX - 1, u64::MAX);
        assert!(!is_over(last, u64::MAX - 1, most) && is_over(last, u64::MAX, most));
        assert!(is_over(last, 7, most), "gone around");
    }
}
