//! Pacing: when grace periods are advanced, and when a thread visits what others have left behind.
//!
//! A value that owns nothing may wait until a batch is full and, where no barrier is due, until the next batch is: of
//! two threads that free at full speed, each interrupts the other by its barriers, and mostly one serves both. A value
//! with a destructor may hold resources that a store does not see, and other threads may wait for what it releases, so
//! it is dropped soon. The cost of that is the backend's barriers. So each barrier is followed by a pause of [`PAUSE`]
//! times its duration, for the whole process ([`paced`]): barriers take a hundredth or two of the processor's time,
//! however many threads free, and what waits meanwhile is what is freed in some tens of microseconds.
//!
//! A process that has not paid for barriers for a while has saved up for some ([`SAVINGS`]): a burst of frees after a quiet
//! time gets one for each few dozen values, without a pause between them ([`spend`]), so that the values of the burst do not
//! wait for operations that may be long in coming. In the long run, barriers take no more of the processor's time by this.
//!
//! A thread that retires a value with a destructor sets a flag ([`note_waiting`]). While it is set, operations that
//! create or free check the clock at their end, and after ten milliseconds visit all stores that have such values.

use crate::sync::stat::{AtomicBool, AtomicU64, Ordering};

/// Whether some store may have retired values with destructors.
static WAITING: AtomicBool = AtomicBool::new(false);
/// When the next barrier is due, and when all stores are visited next.
static DUE: AtomicU64 = AtomicU64::new(0);
static NEXT_VISIT: AtomicU64 = AtomicU64::new(0);
/// The end of all pauses so far, had each begun where the one before ended: what lies behind the clock is saved.
static PAID_UNTIL: AtomicU64 = AtomicU64::new(0);

/// At most a millisecond, in ticks: where ticks are not nanoseconds, there are more than 10^9 a second.
const MILLISECOND: u64 = 1_000_000;

/// The length of a pause, as a multiple of the time that the work before it took.
const PAUSE: u64 = 64;

/// The longest pause for one barrier, and the most time that can be saved.
const LONGEST_PAUSE: u64 = 2 * MILLISECOND;
const SAVINGS: u64 = 128 * MILLISECOND;

/// How much later than due a barrier is paid under a guard: at the end of an operation, outside its guard, it is worth more.
const GRACE: u64 = MILLISECOND / 8;

/// The longest pause between two visits to all stores, in milliseconds.
const LONGEST: u64 = 1000;

/// Returns the flag of [`note_waiting`]. A thread that has just retired something must read it behind a barrier.
#[inline(always)]
pub(crate) fn is_waiting() -> bool {
    // Relaxed: ordered by the caller's barrier and the heavy one in `stores::visit_all`.
    !cfg!(shadow_loom) && WAITING.load(Ordering::Relaxed)
}

/// Notes that some store has retired values with destructors.
#[cold]
pub(super) fn note_waiting() {
    WAITING.store(true, Ordering::Relaxed);
}

/// Clears the flag, as the caller is about to visit all stores.
pub(super) fn forget_waiting() {
    WAITING.store(false, Ordering::Relaxed);
}

/// Whether a model runs as in the middle of a pause; most models have no pauses.
#[cfg(all(test, shadow_loom))]
pub(crate) static PAUSED: AtomicBool = AtomicBool::new(false);

/// Returns whether a barrier is due.
#[inline]
pub(crate) fn is_due() -> bool {
    #[cfg(all(test, shadow_loom))]
    let paused = PAUSED.load(Ordering::Relaxed);
    #[cfg(not(all(test, shadow_loom)))]
    let paused = false;
    // Relaxed, here and below: these values only decide how often work is done.
    !paused && (cfg!(shadow_loom) || is_over(DUE.load(Ordering::Relaxed), now(), 2 * LONGEST_PAUSE))
}

/// Returns whether a barrier has been due for a while, and no operation that ended meanwhile has paid for it.
#[inline]
pub(crate) fn is_overdue() -> bool {
    if cfg!(shadow_loom) {
        return is_due();
    }
    let due = DUE.load(Ordering::Relaxed).saturating_add(GRACE);
    is_over(due, now(), 2 * LONGEST_PAUSE + GRACE)
}

/// Makes a barrier due now, if enough has been saved for one.
#[cold]
pub(super) fn spend() {
    let now = now();
    if is_over(PAID_UNTIL.load(Ordering::Relaxed), now, 2 * LONGEST_PAUSE) {
        DUE.fetch_min(now, Ordering::Relaxed);
    }
}

/// Returns whether a barrier is due, or a visit to all stores.
#[inline(always)]
pub(crate) fn is_anything_due() -> bool {
    let now = now();
    is_over(DUE.load(Ordering::Relaxed), now, 2 * LONGEST_PAUSE)
        || is_over(NEXT_VISIT.load(Ordering::Relaxed), now, LONGEST * MILLISECOND)
}

/// Returns whether the pause that ends at `end` is over. If its end is farther away than the longest pause, the clock
/// was set back.
#[inline(always)]
fn is_over(end: u64, now: u64, longest: u64) -> bool {
    now >= end || end - now > longest
}

/// Returns the end of a pause of `times` times the duration from `start` to `end`, at least `least` and at most `most`.
/// Ticks may begin anywhere and jump ahead; the sum saturates, so the end is at most the last tick.
fn pause_after(start: u64, end: u64, times: u64, (least, most): (u64, u64)) -> u64 {
    let pause = end.saturating_sub(start).saturating_mul(times).clamp(least, most);
    end.saturating_add(pause)
}

/// Runs work that includes a barrier, and begins the pause after it.
pub(crate) fn paced(run: impl FnOnce()) {
    if cfg!(shadow_loom) {
        return run();
    }
    let start = now();
    run();
    let end = now();
    let until = pause_after(start, end, PAUSE, (MILLISECOND / 64, LONGEST_PAUSE));
    DUE.store(until, Ordering::Relaxed);
    // Not exact if several threads pay at once: then one of the pauses is lost.
    let from = PAID_UNTIL.load(Ordering::Relaxed).max(end.saturating_sub(SAVINGS));
    let paid_until = from.saturating_add(until.saturating_sub(end));
    PAID_UNTIL.store(paid_until.min(until), Ordering::Relaxed);
}

/// Visits all stores by `run`, if a visit is due and no other thread does it. The pause after it grows with its
/// duration.
pub(crate) fn visit(run: impl FnOnce()) {
    let (start, longest) = (now(), LONGEST * MILLISECOND);
    let next = NEXT_VISIT.load(Ordering::Relaxed);
    let taken = is_over(next, start, longest)
        && NEXT_VISIT
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
        NEXT_VISIT.store(until, Ordering::Relaxed);
    }
}

/// Returns the ticks of a clock that is cheap to read and (nearly) the same for all threads.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn now() -> u64 {
    // SAFETY: every x86-64 processor has this instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn now() -> u64 {
    nanoseconds()
}

/// Returns the nanoseconds since the first call in this process, plus 1.
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
