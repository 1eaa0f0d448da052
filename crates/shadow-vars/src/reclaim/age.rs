//! The age of guards of backends with [participants](super::participants): determined by scans, as a pin records no
//! time.
//!
//! - **E9** From time to time a scan records the newest target that a barrier had come after, and reads the clock last:
//!   a *mark*. A thread that announces itself after that barrier has its target or a newer one (E3), and so has an
//!   owned guard that is counted after the scan has looked for those (E8; those of [`Eras`](super::Eras) are
//!   participants, B5). So a guard of an epoch older than a mark's existed when the clock was read. It may be older, by
//!   up to the time since the mark before. A participant seen with one epoch at two scans, both behind the barrier, has
//!   not released its guard in between: else it would have announced a newer epoch.
//!
//! A guard that holds nothing back leaves no mark: while no period begins, no guard lags. So a thread that wants to
//! know begins a period (a [`beat`](Ages::is_beat_due)).

use std::time::Duration;

use super::pace;
use crate::fork;
use crate::sync::stat::{AtomicU64, Mutex, MutexGuard, Ordering};

/// The age after which guards are reported, in nanoseconds; 0 for never.
static AGE: AtomicU64 = AtomicU64::new(10_000_000_000);

/// The fractions of the age between two marks and between two beats.
const STEPS: u64 = 16;
const BEATS: u64 = 8;

/// The most marks that are retained: older ones are farther apart.
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

/// The ages of one backend's guards, whose epochs are its own.
pub struct Ages {
    marks: Mutex<Marks>,
    /// When the next beat is due.
    next_beat: AtomicU64,
}

/// See [`report_old_guards`](crate::report_old_guards). The caller has to make the next beat come [at
/// once](Ages::beat_at_once).
pub(super) fn set(age: Option<Duration>) {
    let nanoseconds = age.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX).max(1));
    // Relaxed, here and below: the numbers publish nothing else.
    AGE.store(nanoseconds, Ordering::Relaxed);
}

fn age() -> Option<u64> {
    let age = AGE.load(Ordering::Relaxed);
    (age > 0 && !crate::sync::LOOM).then_some(age)
}

impl Ages {
    pub(super) const fn new() -> Self {
        Self {
            marks: Mutex::new(Marks::new()),
            next_beat: AtomicU64::new(0),
        }
    }

    /// Adds a mark if it is time: a scan has found a guard of epoch `oldest` and none that is older; a barrier came
    /// after `fenced`, which is newer. Returns the epoch below which guards are too old.
    pub(super) fn note(&self, oldest: u64, fenced: u64) -> Option<u64> {
        let age = age()?;
        let _section = fork::section();
        // No code panics under the lock.
        let marks = &mut *self.marks.try_lock().ok()?;
        let now = pace::nanoseconds();
        marks.forget(oldest);
        let last = marks.made().last();
        if last.is_none_or(|last| last.epoch < fenced && now.saturating_sub(last.at) >= age / STEPS) {
            marks.add(Mark { epoch: fenced, at: now });
        }
        marks.too_old(now, age)
    }

    /// Returns the epoch below which guards are too old.
    pub(super) fn too_old(&self) -> Option<u64> {
        let age = age()?;
        let _section = fork::section();
        self.lock().too_old(pace::nanoseconds(), age)
    }

    /// Returns the minimum age of a guard of this epoch.
    pub(super) fn of(&self, epoch: u64) -> Duration {
        let _section = fork::section();
        let marks = self.lock();
        let first = marks.made().iter().find(|mark| mark.epoch > epoch);
        Duration::from_nanos(first.map_or(0, |first| pace::nanoseconds().saturating_sub(first.at)))
    }

    /// Returns whether it is time to check the guards, even if nothing waits for them.
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

    /// Makes the next beat due, because the age was changed.
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

    /// Removes the marks that say nothing about guards of this epoch or later.
    fn forget(&mut self, oldest: u64) {
        let useless = self.made().iter().take_while(|mark| mark.epoch <= oldest).count();
        self.made.copy_within(useless..self.count, 0);
        self.count -= useless;
    }

    fn add(&mut self, mark: Mark) {
        if self.count == MARKS {
            // The first is retained: it says how old the oldest guard is.
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

/// What reports need of a participant, besides its epoch.
pub(super) struct Noted {
    /// The newest epoch that has been reported.
    pub(super) reported: AtomicU64,
    /// The name of the thread that took the participant, as the kernel has it, padded with zeros. For an owned guard,
    /// the number of the place where it was made.
    name: [AtomicU64; 2],
}

impl Noted {
    pub(super) const fn new() -> Self {
        Self {
            reported: AtomicU64::new(0),
            name: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Records this thread's name. Does not allocate.
    pub(super) fn note_name(&self) {
        let mut name = [0_u8; 16];
        #[cfg(all(target_os = "linux", feature = "tracing", not(miri)))]
        {
            // SAFETY: writes at most 16 bytes. If the call is refused, the name stays empty.
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        }
        // Release: pairs with `name`.
        for (word, part) in self.name.iter().zip(name.chunks_exact_mut(8)) {
            word.store(
                part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
                Ordering::Release,
            );
        }
    }

    /// Records the number of the place where an owned guard is made.
    pub(super) fn note_place(&self, number: u32) {
        // Release: as in `note_name`.
        self.name[0].store(u64::from(number), Ordering::Release);
    }

    pub(super) fn place(&self) -> u32 {
        // Acquire: as in `name`.
        self.name[0].load(Ordering::Acquire) as u32
    }

    pub(super) fn name(&self) -> [u8; 16] {
        // Acquire: a reader that sees the name of the next owner sees that the guard of the last has been dropped.
        let [first, last] = self
            .name
            .each_ref()
            .map(|word| word.load(Ordering::Acquire).to_be_bytes());
        let mut name = [0; 16];
        name[..8].copy_from_slice(&first);
        name[8..].copy_from_slice(&last);
        name
    }
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    /// Also with more marks than are retained: the longest lagging guard never appears younger.
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
