//! One task's place: which unit it is in, and on which side.

use std::cell::Cell;
use std::panic::Location;
use std::ptr;
use std::time::Instant;

use parking_lot::Mutex;

use super::world::Side;
use crate::sync::{AtomicU64, Ordering, stat};

/// In a word: on side 1.
pub(super) const SIDE: u64 = 1;
/// In a word: in a unit.
pub(super) const INSIDE: u64 = 2;
/// What each unit adds to the number in its record's word.
pub(super) const UNIT: u64 = 4;

/// One task's place in the world. Never freed; used again by later tasks.
#[derive(Debug)]
#[repr(align(128))] // Two cache lines: the owner writes at every unit, and neighbouring lines are fetched in pairs.
pub(crate) struct Record {
    /// See the table of the page. Written by the owner, and once by who forces a unit.
    pub(super) word: AtomicU64,
    /// Units and calls that the owner is in, one in the other. Only the owner touches it.
    pub(super) depth: Cell<u32>,
    /// Whether nobody will come back to this record once `depth` is 0. Only the owner touches it.
    pub(super) orphan: Cell<bool>,
    /// Where the unit was entered.
    pub(super) place: stat::AtomicPtr<Location<'static>>,
    taken: stat::AtomicBool,
    about: Mutex<About>,
    /// Never changes once the record is in the list.
    pub(super) next: Cell<*const Record>,
}

// SAFETY: `depth` and `orphan` are only touched by the task that has taken the record, which `taken` hands on, or the
// executor with its future; `next` never changes once the record is shared; all else is atomic or locked.
unsafe impl Sync for Record {}
// SAFETY: as above.
unsafe impl Send for Record {}

/// What a status says of a task.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) kind: TaskKind,
    /// The word in which a scan saw the task inside, and when it first did.
    pub(super) since: Option<(u64, Instant)>,
}

/// What runs a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum TaskKind {
    /// A thread, which has a record from its first unit to its end.
    Thread,
    /// A future in [`in_unit`](crate::UnitExt::in_unit).
    Future,
}

impl Record {
    pub(super) fn new(name: String, kind: TaskKind) -> Self {
        Self {
            word: AtomicU64::new(0),
            depth: Cell::new(0),
            orphan: Cell::new(false),
            place: stat::AtomicPtr::new(ptr::null_mut()),
            taken: stat::AtomicBool::new(true),
            about: Mutex::new(About {
                name,
                kind,
                since: None,
            }),
            next: Cell::new(ptr::null()),
        }
    }

    /// Takes a record that was given back.
    pub(super) fn take(&self, name: &str, kind: TaskKind) -> bool {
        // Acquire: with the Release of `give_back`; the cells are ours.
        let taken = self
            .taken
            .compare_exchange(false, true, stat::Ordering::Acquire, stat::Ordering::Relaxed);
        if taken.is_ok() {
            *self.about.lock() = About {
                name: name.to_owned(),
                kind,
                since: None,
            };
        }
        taken.is_ok()
    }

    /// The task is at its end, outside every unit.
    pub(super) fn give_back(&self) {
        self.orphan.set(false);
        // Release: with the Acquire of `take`.
        self.taken.store(false, stat::Ordering::Release);
    }

    pub(crate) fn is_taken(&self) -> bool {
        // Relaxed: for a status.
        self.taken.load(stat::Ordering::Relaxed)
    }

    pub(crate) fn about(&self) -> About {
        self.about.lock().clone()
    }

    /// The side of the unit that the owner is in.
    #[inline]
    pub(crate) fn side(&self) -> Side {
        // Acquire (O4): with the Release of `World::force`.
        Side::of(self.word.load(Ordering::Acquire))
    }

    pub(crate) fn place(&self) -> Option<&'static Location<'static>> {
        // SAFETY: null, or from a `&'static Location`, forgotten before the library that it is in is unloaded. Relaxed: it
        // is never written to.
        unsafe { self.place.load(stat::Ordering::Relaxed).as_ref() }
    }

    /// Forgets where a unit that is over was entered, unless the next has begun meanwhile.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(super) fn forget_place(&self) {
        let place = self.place.load(stat::Ordering::Relaxed);
        // Relaxed: for a status. It fails if the owner has just stored the next unit's.
        let _ = self
            .place
            .compare_exchange(place, ptr::null_mut(), stat::Ordering::Relaxed, stat::Ordering::Relaxed);
    }

    /// Notes that a scan met this word inside; since when scans have.
    pub(super) fn met(&self, word: u64) -> Instant {
        let unit = word & !SIDE; // A forced unit is the same unit.
        let mut about = self.about.lock();
        match about.since {
            Some((known, since)) if known == unit => since,
            _ => {
                let now = Instant::now();
                about.since = Some((unit, now));
                now
            }
        }
    }
}
