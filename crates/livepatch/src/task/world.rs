//! The side on which units begin, and who is inside on which.

use std::ptr;
use std::time::{Duration, Instant};

use asymmetric_barrier as barrier;
use crossbeam_utils::CachePadded;

use super::record::{INSIDE, Record, SIDE, TaskKind, UNIT};
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering, lock};

/// Which of a point's two functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side(usize);

impl Side {
    #[inline]
    pub(super) fn of(word: u64) -> Self {
        Self((word & SIDE) as usize)
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0
    }

    pub(crate) fn other(self) -> Self {
        Self(1 - self.0)
    }
}

/// What all tasks share.
#[derive(Debug)]
pub(crate) struct World {
    side: CachePadded<AtomicUsize>,
    records: AtomicPtr<Record>,
    /// Held by a scan, and by who begins inside another's unit (T5).
    scan: Mutex<()>,
}

/// What a scan met.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) record: &'static Record,
    /// Inside: on which side, and for how long at least.
    pub(crate) inside: Option<(Side, Duration)>,
    /// Where the unit was entered, if it is inside. Copied: see [`World::forget_places`].
    pub(crate) entered_at: String,
}

impl World {
    #[cfg(not(shadow_loom))]
    pub(crate) const fn new() -> Self {
        Self {
            side: CachePadded::new(AtomicUsize::new(0)),
            records: AtomicPtr::new(ptr::null_mut()),
            scan: Mutex::new(()),
        }
    }

    #[cfg(shadow_loom)]
    pub(crate) fn new() -> Self {
        Self {
            side: CachePadded::new(AtomicUsize::new(0)),
            records: AtomicPtr::new(ptr::null_mut()),
            scan: Mutex::new(()),
        }
    }

    /// A record for a new task, outside every unit.
    pub(crate) fn register(&self, name: &str, kind: TaskKind) -> &'static Record {
        barrier::init();
        if let Some(record) = self.records().find(|record| record.take(name, kind)) {
            return record;
        }
        let record: &'static Record = Box::leak(Box::new(Record::new(name.to_owned(), kind)));
        // Relaxed: the exchange below checks it. Release: with the Acquire of `records`.
        let mut head = self.records.load(Ordering::Relaxed);
        loop {
            record.next.set(head);
            let new = ptr::from_ref(record).cast_mut();
            match self
                .records
                .compare_exchange(head, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return record,
                Err(now) => head = now,
            }
        }
    }

    fn records(&self) -> impl Iterator<Item = &'static Record> {
        // Acquire: with the Release of `register`.
        let mut next: *const Record = self.records.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null, or a record of this list; they are never freed.
            let record = unsafe { next.as_ref() }?;
            next = record.next.get();
            Some(record)
        })
    }

    /// The owner of `record`, which is outside, begins a unit.
    #[inline]
    pub(crate) fn begin(&self, record: &Record) {
        // Relaxed: the owner's own.
        let unit = (record.word.load(Ordering::Relaxed) & !(INSIDE | SIDE)).wrapping_add(UNIT) | INSIDE;
        // Acquire (O1): with the Release of `flip`, here and below.
        let mut side = self.side.load(Ordering::Acquire);
        loop {
            // Release (O3): with the Acquire of the scan.
            record.word.store(unit | side as u64, Ordering::Release);
            barrier::light(); // O2: with the heavy one of `flip`.
            let now = self.side.load(Ordering::Acquire);
            if now == side {
                return;
            }
            side = now;
        }
    }

    /// The owner of `record`, which is outside, begins a unit inside that of `outer`, which is the caller's (T5).
    pub(crate) fn begin_inside(&self, record: &Record, outer: &Record) {
        let _no_scan = lock(&self.scan);
        let unit = (record.word.load(Ordering::Relaxed) & !(INSIDE | SIDE)).wrapping_add(UNIT) | INSIDE;
        // Release: as in `begin`. Relaxed: the caller's own; forcing takes the lock.
        let side = outer.word.load(Ordering::Relaxed) & SIDE;
        record.word.store(unit | side, Ordering::Release);
    }

    /// The owner of `record`, which is inside, leaves. The side that it was on.
    #[inline]
    pub(crate) fn leave(&self, record: &Record) -> Side {
        // Relaxed: the owner's own; if it is forced just now, it has left anyway.
        let word = record.word.load(Ordering::Relaxed);
        // Release (O3): with the Acquire of the scan.
        record.word.store(word & !INSIDE, Ordering::Release);
        Side::of(word)
    }

    /// The side on which units begin.
    pub(crate) fn side(&self) -> Side {
        // Acquire: the caller is the only one to flip, or asks for a status.
        Side(self.side.load(Ordering::Acquire))
    }

    /// Units begin on the other side from now on. Whether the barrier was there: if not, ask [`settle`](Self::settle).
    #[must_use]
    pub(crate) fn flip(&self) -> bool {
        // Release (O1): with the Acquire of `begin`.
        self.side.store(self.side().other().index(), Ordering::Release);
        barrier::heavy() // O2: with the light one of `begin`.
    }

    /// The heavy barrier of a flip whose own was refused.
    #[must_use]
    pub(crate) fn settle(&self) -> bool {
        barrier::heavy() // O2.
    }

    /// Whether no unit is inside on `side`. After a flip away from it, that stays so (T4).
    pub(crate) fn is_empty(&self, side: Side) -> bool {
        let _whole = lock(&self.scan);
        // Acquire (O3): with the Release of `leave` and `begin`.
        !self.records().any(|record| {
            let word = record.word.load(Ordering::Acquire);
            let stays = word & INSIDE != 0 && Side::of(word) == side;
            if stays {
                record.met(word);
            }
            stays
        })
    }

    /// All tasks, and for how long those that are in a unit have been there.
    pub(crate) fn tasks(&self) -> Vec<Seen> {
        let _whole = lock(&self.scan);
        self.records()
            .filter(|record| record.is_taken())
            .map(|record| {
                let word = record.word.load(Ordering::Acquire);
                let inside =
                    (word & INSIDE != 0).then(|| (Side::of(word), Instant::now().duration_since(record.met(word))));
                let place = inside.and_then(|_| record.place());
                Seen {
                    record,
                    inside,
                    entered_at: place.map(ToString::to_string).unwrap_or_default(),
                }
            })
            .collect()
    }

    /// The words of all units that are inside: what [`has_left`](Self::has_left) asks about.
    #[cfg_attr(
        not(all(feature = "library", target_os = "linux")),
        allow(dead_code, reason = "only libraries are unloaded")
    )]
    pub(crate) fn inside(&self) -> Vec<(&'static Record, u64)> {
        let _whole = lock(&self.scan);
        self.records()
            .map(|record| (record, record.word.load(Ordering::Acquire)))
            .filter(|(_, word)| word & INSIDE != 0)
            .collect()
    }

    /// Forgets where units that are over were entered: that may be in a library, of which nothing runs any more and which
    /// is to be unloaded. Under the lock, as [`tasks`](Self::tasks) reads places under it.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(crate) fn forget_places(&self) {
        let _whole = lock(&self.scan);
        self.records()
            .filter(|record| record.word.load(Ordering::Acquire) & INSIDE == 0)
            .for_each(Record::forget_place);
    }

    /// Whether the unit that had this word has left. Acquires what it did (O3).
    #[cfg_attr(
        not(all(feature = "library", target_os = "linux")),
        allow(dead_code, reason = "only libraries are unloaded")
    )]
    pub(crate) fn has_left(&self, record: &Record, word: u64) -> bool {
        let now = record.word.load(Ordering::Acquire);
        now & INSIDE == 0 || now & !SIDE != word & !SIDE
    }

    /// Takes every unit that is inside on `side` over to the other, in the middle of its work. How many.
    pub(crate) fn force(&self, side: Side) -> usize {
        let _whole = lock(&self.scan);
        self.records()
            .filter(|record| {
                let word = record.word.load(Ordering::Acquire);
                word & INSIDE != 0
                    && Side::of(word) == side
                    // Release (O4): with the Acquire of `Record::side`. If it fails, the unit has left.
                    && record
                        .word
                        .compare_exchange(word, word ^ SIDE, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
            })
            .count()
    }
}
