//! For how long guards of backends with [participants](super::participants) have been held: told by scans, as a pin writes no
//! time down.
//!
//! - **E9** A scan notes now and then what the newest target was that a barrier had come after, and reads the clock last: a
//!   *mark*. Who announces itself after that barrier has its target or a newer one (E3), and so has an owned guard that is counted
//!   after the scan has looked for those (E8; those of [`Eras`](super::Eras) are participants, B5). So a guard of an epoch older than a mark's was there when the clock was read.
//!   It may be older, by the time to the mark before. A participant that is seen with one epoch at two scans, both behind the
//!   barrier, has not let go in between: else it had announced a newer one.
//!
//! What a guard does not hold back leaves no mark: while no period begins, nobody lags. So who wants to know begins one (a
//! [`beat`](Ages::is_beat_due)).

use std::time::Duration;

use super::pace;
use crate::fork;
use crate::sync::stat::{AtomicU64, Mutex, MutexGuard, Ordering};

/// The age after which guards are reported, in nanoseconds; 0 for never.
static AGE: AtomicU64 = AtomicU64::new(10_000_000_000);

/// Parts of the age that go by between two marks.
const STEPS: u64 = 16;
const BEATS: u64 = 8;

/// Marks that are kept: older ones are farther apart.
const MARKS: usize = 64;

#[derive(Clone, Copy)]
struct Mark {
    epoch: u64,
    /// Nanoseconds of [`pace`].
    at: u64,
}

/// Oldest first; both numbers grow.
struct Marks {
    made: [Mark; MARKS],
    count: usize,
}

/// What is known of one backend's guards, whose epochs are its own.
pub struct Ages {
    marks: Mutex<Marks>,
    /// When a beat is due next.
    next_beat: AtomicU64,
}

/// See [`report_old_guards`](crate::report_old_guards). Whoever sets it sees to it that the next beat comes
/// [at once](Ages::beat_at_once).
pub(super) fn set(age: Option<Duration>) {
    let nanoseconds = age.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX).max(1));
    // Relaxed, here and below: numbers by themselves.
    AGE.store(nanoseconds, Ordering::Relaxed);
}

fn age() -> Option<u64> {
    let age = AGE.load(Ordering::Relaxed);
    (age > 0 && !cfg!(shadow_loom)).then_some(age)
}

impl Ages {
    pub(super) const fn new() -> Self {
        Self {
            marks: Mutex::new(Marks::new()),
            next_beat: AtomicU64::new(0),
        }
    }

    /// A scan has found a guard of this epoch, and none that is older; a barrier came after `fenced`, which is newer. Guards of
    /// epochs below the result are too old.
    pub(super) fn note(&self, oldest: u64, fenced: u64) -> Option<u64> {
        let age = age()?;
        let _section = fork::section();
        // Nothing panics under it.
        let marks = &mut *self.marks.try_lock().ok()?;
        let now = pace::nanoseconds();
        marks.forget(oldest);
        let last = marks.made().last();
        if last.is_none_or(|last| last.epoch < fenced && now.saturating_sub(last.at) >= age / STEPS) {
            marks.add(Mark { epoch: fenced, at: now });
        }
        marks.too_old(now, age)
    }

    /// Guards of epochs below this are too old.
    pub(super) fn too_old(&self) -> Option<u64> {
        let age = age()?;
        let _section = fork::section();
        self.lock().too_old(pace::nanoseconds(), age)
    }

    /// The age of a guard of this epoch, at least.
    pub(super) fn of(&self, epoch: u64) -> Duration {
        let _section = fork::section();
        let marks = self.lock();
        let first = marks.made().iter().find(|mark| mark.epoch > epoch);
        Duration::from_nanos(first.map_or(0, |first| pace::nanoseconds().saturating_sub(first.at)))
    }

    /// Whether it is time to see who holds guards, though nothing may wait for them.
    pub(super) fn is_beat_due(&self) -> bool {
        let Some(age) = age() else { return false };
        let (now, next) = (pace::nanoseconds(), self.next_beat.load(Ordering::Relaxed));
        let then = now + age / BEATS;
        let beat = &self.next_beat;
        now >= next
            && beat
                .compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Another age was set.
    pub(super) fn beat_at_once(&self) {
        self.next_beat.store(0, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        crate::sync::lock_stat(&self.marks)
    }
}

impl Marks {
    const fn new() -> Self {
        Self {
            made: [Mark { epoch: 0, at: 0 }; MARKS],
            count: 0,
        }
    }

    fn made(&self) -> &[Mark] {
        &self.made[..self.count]
    }

    /// Those that say nothing of guards of this epoch or later.
    fn forget(&mut self, oldest: u64) {
        let useless = self.made().iter().take_while(|mark| mark.epoch <= oldest).count();
        self.made.copy_within(useless..self.count, 0);
        self.count -= useless;
    }

    fn add(&mut self, mark: Mark) {
        if self.count == MARKS {
            // The first stays: it says how old the oldest guard is.
            (0..MARKS / 2).for_each(|at| self.made[at] = self.made[2 * at]);
            self.count = MARKS / 2;
        }
        self.made[self.count] = mark;
        self.count += 1;
    }

    fn too_old(&self, now: u64, age: u64) -> Option<u64> {
        let old = self.made().iter().take_while(|mark| now.saturating_sub(mark.at) >= age);
        old.last().map(|mark| mark.epoch)
    }
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    /// Also when there have been more marks than are kept: whoever lags longest is never made younger.
    #[test]
    fn the_oldest_keeps_its_age() {
        let mut marks = Marks::new();
        for n in 1..10_000 {
            marks.add(Mark { epoch: n, at: n * 10 });
            assert!(marks.made().is_sorted_by_key(|mark| mark.at));
            assert_eq!(marks.made()[0].at, 10);
            assert_eq!(marks.made().last().map(|mark| mark.epoch), Some(n));
        }
        assert_eq!(marks.too_old(99_990, 99_980), Some(1));
        assert_eq!(marks.too_old(99_990, 99_981), None);
        assert_eq!(marks.too_old(99_990, 0), Some(9_999));
        marks.forget(9_998);
        assert_eq!(marks.made().len(), 1);
        marks.forget(9_999);
        assert_eq!(marks.too_old(u64::MAX, 0), None);
    }
}
