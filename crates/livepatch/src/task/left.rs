//! What the unloading of a library needs of the tasks: whether the units that may be in its code have left.
//!
//! [`wait_for_units`] takes the units that are inside now, and returns when none of them is; later ones do not matter,
//! as the caller has made sure that they cannot get into the library. The outcome is `Ok`, or how many are left when the
//! time is up. Relies on O2, O3.

use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use super::current;
use super::record::{OUTSIDE, Record};
use super::side::{INSIDE, unit_of};
use super::unit::WORLD;
use super::world::World;
use crate::sync::{Ordering, lock, stat};

/// How long a thread that waits for units sleeps between checks.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Waits until all units that are inside now have left. If some have not when the time is up, returns how many.
pub(crate) fn wait_for_units(until: Option<Instant>) -> Result<(), usize> {
    let in_time = || until.is_none_or(|until| Instant::now() < until);
    // O2: pairs with the light barrier of `World::begin`.
    while !WORLD.settle() {
        // Refused, until all tasks have fenced or ended.
        if !in_time() {
            return Err(WORLD.inside().len());
        }
        thread::sleep(POLL_INTERVAL);
    }
    let mut units = WORLD.inside();
    loop {
        units.retain(|(record, word): &(&Record, u64)| !WORLD.has_left(record, *word));
        if units.is_empty() {
            return Ok(());
        }
        if !in_time() {
            return Err(units.len());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Returns whether the running task is in a unit.
pub(crate) fn is_inside() -> bool {
    current::running().depth.get() != OUTSIDE
}

impl World {
    /// Returns the words of all units that are inside, for [`has_left`](Self::has_left).
    fn inside(&self) -> Vec<(&'static Record, u64)> {
        let _whole = lock(&self.scan);
        self.records()
            .map(|record| (record, record.word.load(Ordering::Acquire)))
            .filter(|(_, word)| word & INSIDE != 0)
            .collect()
    }

    /// Returns whether the unit that had this word has left, and acquires its effects if so (O3).
    fn has_left(&self, record: &Record, word: u64) -> bool {
        let now = record.word.load(Ordering::Acquire);
        now & INSIDE == 0 || unit_of(now) != unit_of(word)
    }

    /// Forgets where units that are over were entered: the place may be in a library that no code runs in any more and
    /// that is about to be unloaded. Takes the lock, as [`tasks`](Self::tasks) reads places under it.
    pub(crate) fn forget_places(&self) {
        let _whole = lock(&self.scan);
        self.records()
            .filter(|record| record.word.load(Ordering::Acquire) & INSIDE == 0)
            .for_each(Record::forget_place);
    }
}

impl Record {
    /// Forgets where a unit that is over was entered, unless the next has begun meanwhile.
    fn forget_place(&self) {
        let place = self.place.load(stat::Ordering::Relaxed);
        // Relaxed: for a status. It fails if the owner has just stored the next unit's place.
        let _ = self
            .place
            .compare_exchange(place, ptr::null_mut(), stat::Ordering::Relaxed, stat::Ordering::Relaxed);
    }
}
