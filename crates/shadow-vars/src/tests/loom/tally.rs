//! Models of counting in two phases: a reading is the true count at some point in time, except for operations under
//! way.
//!
//! The operations consist of what matters in a real one: the barrier that its compare-and-swap is, then the phase and
//! the counter.

use std::sync::Arc;

use loom::thread;

use super::{Small, Usual, explore, join};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::tally::{Phase, Word, add};

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        (**self).store(value, order);
    }

    fn fetch_add(&self, by: u64, order: Ordering) {
        (**self).fetch_add(by, order);
    }

    fn swap_if(&self, from: u64, to: u64) -> bool {
        let swapped = self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        swapped.is_ok()
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

const CREATED: usize = 0;
const FREED: usize = 1;

/// The counters of one id, by side, with as many shards as there are counting threads.
struct Counters<const SHARDS: usize> {
    phase: Phase<AtomicU64>,
    shards: [[[AtomicU64; 2]; 2]; SHARDS],
}

impl<const SHARDS: usize> Counters<SHARDS> {
    fn new() -> Arc<Self> {
        let two = || [AtomicU64::new(0), AtomicU64::new(0)];
        Arc::new(Self {
            phase: Phase::new(AtomicU64::new(0)),
            shards: std::array::from_fn(|_| [two(), two()]),
        })
    }

    /// Counts one operation of the thread with this shard.
    fn count(&self, shard: usize, which: usize) {
        fence(Ordering::SeqCst);
        let side = self.phase.side();
        add(&self.shards[shard][side.index()][which], true, 1);
    }

    /// Returns the creations and frees, as a reading has them.
    fn look(&self) -> (u64, u64) {
        let read = |which: usize, side: usize| -> u64 {
            let counters = self
                .shards
                .iter()
                .map(|shard| shard[side][which].load(Ordering::Relaxed));
            counters.sum()
        };
        let sides = self
            .phase
            .snapshot(|side| (read(CREATED, side.index()), read(FREED, side.index())));
        (sides[0].0 + sides[1].0, sides[0].1 + sides[1].1)
    }

    fn live(&self) -> i64 {
        let (created, freed) = self.look();
        created as i64 - freed as i64
    }
}

/// A thread creates and frees a variable repeatedly: a reading that begins with nothing under way finds none or one.
#[test]
fn a_variable_that_comes_and_goes_is_counted_once() {
    explore(Usual, || {
        let counters = Counters::<1>::new();
        let other = thread::spawn({
            let counters = counters.clone();
            move || {
                for _ in 0..3 {
                    counters.count(0, CREATED);
                    counters.count(0, FREED);
                }
            }
        });
        let live = counters.live();
        assert!((0..=1).contains(&live), "{live} of one variable");
        join(other);
        assert_eq!(counters.look(), (3, 3), "with nothing under way");
    });
}

/// The second reading in a row: one operation may be under way on either side.
#[test]
fn a_second_look_finds_no_more_than_is_under_way() {
    explore(Usual, || {
        let counters = Counters::<1>::new();
        let other = thread::spawn({
            let counters = counters.clone();
            move || {
                for _ in 0..2 {
                    counters.count(0, CREATED);
                    counters.count(0, FREED);
                }
            }
        });
        let looks = [counters.live(), counters.live()];
        assert!((0..=1).contains(&looks[0]) && (-1..=2).contains(&looks[1]), "{looks:?}");
        join(other);
        assert_eq!(counters.look(), (2, 2), "with nothing under way");
    });
}

/// One thread frees what another creates: no free is counted without its creation (N4).
#[test]
fn a_free_is_counted_with_its_creation() {
    explore(Small, || {
        let counters = Counters::<2>::new();
        let made = Arc::new(AtomicUsize::new(0));
        let creator = thread::spawn({
            let (counters, made) = (counters.clone(), made.clone());
            move || {
                counters.count(0, CREATED);
                made.store(1, Ordering::Release);
            }
        });
        let remover = thread::spawn({
            let counters = counters.clone();
            move || {
                let there = made.load(Ordering::Acquire) == 1;
                if there {
                    counters.count(1, FREED);
                }
                u64::from(there)
            }
        });
        let (created, freed) = counters.look();
        assert!(freed <= created, "{freed} freed of {created}");
        join(creator);
        let freed = join(remover);
        assert_eq!(counters.look(), (1, freed), "with nothing under way");
    });
}

/// Two threads read at once: one that is disturbed starts over.
#[test]
fn two_looks_at_once_are_both_true() {
    explore(Small, || {
        let counters = Counters::<1>::new();
        let other = thread::spawn({
            let counters = counters.clone();
            move || counters.live()
        });
        // One variable stays, and another is created and freed.
        counters.count(0, CREATED);
        for _ in 0..2 {
            counters.count(0, CREATED);
            counters.count(0, FREED);
        }
        let third = thread::spawn({
            let counters = counters.clone();
            move || counters.live()
        });
        for _ in 0..2 {
            counters.count(0, CREATED);
            counters.count(0, FREED);
        }
        let looks = [join(other), join(third)];
        assert!(looks.iter().all(|live| (-1..=3).contains(live)), "{looks:?}");
        assert_eq!(counters.look(), (5, 4), "with nothing under way");
    });
}

/// A thread's own counters are made in between: until then it counts in the shared ones (N5).
struct Late {
    phase: Phase<AtomicU64>,
    common: [[AtomicU64; 2]; 2],
    own: [[AtomicU64; 2]; 2],
    /// Whether `own` is published.
    made: AtomicUsize,
}

impl Late {
    fn new() -> Arc<Self> {
        let two = || [AtomicU64::new(0), AtomicU64::new(0)];
        Arc::new(Self {
            phase: Phase::new(AtomicU64::new(0)),
            common: [two(), two()],
            own: [two(), two()],
            made: AtomicUsize::new(0),
        })
    }

    /// Counts one operation of the thread that may have counters of its own, which makes them after it has counted.
    fn count(&self, which: usize, make: bool) {
        fence(Ordering::SeqCst);
        let side = self.phase.side();
        if self.made.load(Ordering::Acquire) == 1 {
            add(&self.own[side.index()][which], true, 1);
        } else {
            add(&self.common[side.index()][which], false, 1);
        }
        if make {
            self.made.store(1, Ordering::Release);
        }
    }

    fn look(&self) -> (u64, u64) {
        let read = |which: usize, side: usize| {
            let common = self.common[side][which].load(Ordering::Relaxed);
            match self.made.load(Ordering::Acquire) {
                1 => common + self.own[side][which].load(Ordering::Relaxed),
                _ => common,
            }
        };
        let sides = self
            .phase
            .snapshot(|side| (read(CREATED, side.index()), read(FREED, side.index())));
        (sides[0].0 + sides[1].0, sides[0].1 + sides[1].1)
    }
}

/// A variable created and freed while its thread begins to use its own counters is counted once.
#[test]
fn counters_that_are_made_late_lose_nothing() {
    for made_after in 0..3 {
        explore(Usual, move || {
            let counters = Late::new();
            let other = thread::spawn({
                let counters = counters.clone();
                move || {
                    for n in 0..2 {
                        counters.count(CREATED, made_after == 2 * n);
                        counters.count(FREED, made_after == 2 * n + 1);
                    }
                }
            });
            let (created, freed) = counters.look();
            let live = created as i64 - freed as i64;
            assert!((0..=1).contains(&live), "{live} of one variable");
            join(other);
            assert_eq!(counters.look(), (2, 2), "with nothing under way");
        });
    }
}
