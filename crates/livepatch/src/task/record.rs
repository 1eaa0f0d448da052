//! The record of one task: which unit it is in, and on which side; what scans and statuses read of it.
//!
//! The owner, the task that has claimed the record, writes most fields; others write `word` and `side` to force a unit (T7),
//! and `notes` to be woken when it ends. Relies on T7, O3, O4.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::time::Instant;

use super::model::Reader;
use super::side::{Side, outside, unit_of};
use crate::fork;
use crate::sync::{AtomicU64, AtomicUsize, Lock, Ordering, const_unless_loom, stat};
use crate::wire::{Deserialize, Serialize};

/// The depth of a task that is in no unit.
pub(super) const OUTSIDE: i64 = -1;

/// The record of one task. Never freed, but reused by later tasks.
#[repr(align(128))] // Two cache lines: the owner writes at every unit, and neighbouring lines are fetched in pairs.
pub(crate) struct Record {
    /// See the table of the page. Written by the owner, and once by a thread that forces a unit.
    pub(super) word: AtomicU64,
    /// The side that calls use (T7): 0 or 1. Written along with the word's, but retained when a unit ends: the next tries
    /// it first.
    pub(super) side: AtomicUsize,
    /// The reader of the owner's light barriers (O2). Active while the record is taken.
    pub(super) reader: Reader,
    /// How many units and calls the owner is in, nested, less one; it cannot overflow. [`OUTSIDE`] if there is none, so
    /// that incrementing or decrementing it detects the first and the last. While a thread runs the task, the depth is in
    /// [`Running`](super::current::Running) instead. Only accessed by the owner.
    pub(super) depth: Cell<i64>,
    /// Actions due when the unit ends: bits of [`Note`].
    notes: stat::AtomicU8,
    /// Stack frames that will return to this record, whatever its depth. Only accessed by the owner.
    pub(super) awaited: Cell<u64>,
    /// The thread that is the task, or that polled it last. Only accessed by the owner, and by a fork's child.
    owner: Cell<u64>,
    /// How many forks' children have released this record. Only changed while there is one thread.
    generation: Cell<u64>,
    /// Where the unit was entered.
    pub(super) place: stat::AtomicPtr<Location<'static>>, // A [`Place`].
    /// Whether a task has this record. For a status.
    taken: stat::AtomicBool,
    info: Lock<TaskInfo>,
    /// Never changes once the record is in the list.
    pub(super) next: Cell<*const Record>,
    /// The next free record. Only accessed under the lock of the list of free records.
    pub(super) next_free: Cell<Option<&'static Record>>,
}

// SAFETY: `depth`, `awaited` and `owner` are only accessed by the task that has taken the record, which is handed on by
// the lock of the free records, or by the executor with its future; `next` never changes once the record is shared;
// `next_free` is accessed under that lock; `generation`, and all of these in a fork's child, change while there is one
// thread; all else is atomic or locked.
unsafe impl Sync for Record {}
// SAFETY: as above.
unsafe impl Send for Record {}

/// Stands in for a thread's record until its first unit, so that [`World::try_begin`](super::world::World::try_begin)
/// need not check for null: its side is one that the world's word never has, so no unit begins with it. Values stored in
/// it are ignored. It is in no list. Models, in which a record cannot be a static, have null instead.
#[cfg(not(shadow_loom))]
pub(super) mod placeholder {
    use super::{AtomicUsize, Cow, Record, TaskKind};

    pub(in super::super) static PLACEHOLDER: Record = {
        let mut placeholder = Record::new(Cow::Borrowed("placeholder"), TaskKind::Thread);
        placeholder.side = AtomicUsize::new(4);
        placeholder
    };

    pub(in super::super) const ADDRESS: *const Record = &raw const PLACEHOLDER;
}
#[cfg(shadow_loom)]
pub(super) mod placeholder {
    pub(in super::super) const ADDRESS: *const super::Record = std::ptr::null();
}

/// Where a unit was entered, and whether by a call: if so, the pointer is odd.
#[derive(Clone, Copy)]
pub(crate) struct Place(*const Location<'static>);

// SAFETY: stands for a shared reference to a value that is never written to.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    pub(crate) const fn of_guard(place: &'static Location<'static>) -> Self {
        Self(ptr::from_ref(place))
    }

    pub(crate) const fn of_call(place: &'static Location<'static>) -> Self {
        const { assert!(align_of::<Location<'static>>() > 1) };
        Self(ptr::from_ref(place).wrapping_byte_add(1))
    }

    fn is_of_call(self) -> bool {
        self.0.addr() & 1 != 0
    }

    /// Returns the source location, if there is one.
    ///
    /// # Safety
    ///
    /// The library that contains it is loaded.
    unsafe fn location(self) -> Option<&'static Location<'static>> {
        // SAFETY: null, or from a `&'static Location`; the caller guarantees that its library is loaded.
        unsafe { self.0.map_addr(|addr| addr & !1).as_ref() }
    }
}

/// An action due when a unit ends.
#[derive(Clone, Copy)]
pub(super) enum Note {
    /// Release the record with its last guard: its task has ended. Only set and read by the owner.
    Orphan = 1,
    /// Wake the thread that waits for the unit. A hint.
    HoldsUp = 2,
}

/// A task's data for a status.
#[derive(Clone, Debug)]
pub(crate) struct TaskInfo {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: TaskKind,
    /// The word in which a scan first saw the task inside its current unit, and when.
    pub(super) since: Option<(u64, Instant)>,
}

/// What runs a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// A thread, which has a record from its first unit to its end.
    Thread,
    /// A future in [`in_unit`](crate::UnitExt::in_unit).
    Future,
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "thread",
            Self::Future => "future",
        })
    }
}

impl Record {
    const_unless_loom! {
        pub(super) fn new(name: Cow<'static, str>, kind: TaskKind) -> Self {
            Self {
                word: AtomicU64::new(0),
                side: AtomicUsize::new(0),
                reader: Reader::new(),
                depth: Cell::new(OUTSIDE),
                notes: stat::AtomicU8::new(0),
                awaited: Cell::new(0),
                owner: Cell::new(0),
                generation: Cell::new(0),
                place: stat::AtomicPtr::new(ptr::null_mut()),
                taken: stat::AtomicBool::new(true),
                info: Lock::new(TaskInfo {
                    name,
                    kind,
                    since: None,
                }),
                next: Cell::new(ptr::null()),
                next_free: Cell::new(None),
            }
        }
    }

    /// Claims this free record for a task.
    pub(super) fn claim(&'static self, name: Cow<'static, str>, kind: TaskKind) {
        *self.info.lock() = TaskInfo {
            name,
            kind,
            since: None,
        };
        self.reader.activate();
        self.taken.store(true, stat::Ordering::Relaxed);
    }

    /// Releases the record. Its task has ended, outside every unit, and does not access it again.
    pub(super) fn release(&self) {
        debug_assert_eq!((self.depth.get(), self.awaited.get()), (OUTSIDE, 0));
        self.notes.store(0, stat::Ordering::Relaxed);
        self.reader.deactivate();
        self.taken.store(false, stat::Ordering::Relaxed);
    }

    /// Fences on behalf of the owner, if light barriers are fences.
    pub(super) fn settle(&self) {
        self.reader.settle();
    }

    /// Returns whether any action is due when the unit ends.
    #[inline(always)]
    pub(super) fn has_notes(&self) -> bool {
        // Relaxed: written by the owner, or a hint.
        self.notes.load(stat::Ordering::Relaxed) != 0
    }

    pub(super) fn note(&self, note: Note) {
        self.notes.fetch_or(note as u8, stat::Ordering::Relaxed);
    }

    pub(super) fn has_note(&self, note: Note) -> bool {
        self.notes.load(stat::Ordering::Relaxed) & note as u8 != 0
    }

    /// Clears the note, and returns whether it was set.
    pub(super) fn take_note(&self, note: Note) -> bool {
        self.notes.fetch_and(!(note as u8), stat::Ordering::Relaxed) & note as u8 != 0
    }

    /// Makes the calling thread the owner: it is the task, or polls it.
    pub(super) fn set_owner(&self) {
        self.owner.set(fork::this_thread());
    }

    /// Returns the record's generation, which changes when a fork's child releases the record.
    pub(super) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// In a fork's child: returns whether the task still exists, because it is this thread or was last polled by it. If
    /// not, ends its unit and releases the record.
    ///
    /// # Safety
    ///
    /// The calling thread is the only one of the process.
    pub(super) unsafe fn survives_fork(&self) -> bool {
        if self.is_taken() && self.owner.get() == fork::this_thread() {
            return true;
        }
        // Relaxed: there is no other thread.
        let word = self.word.load(Ordering::Relaxed);
        self.word.store(outside(word), Ordering::Relaxed);
        self.place.store(ptr::null_mut(), stat::Ordering::Relaxed);
        self.depth.set(OUTSIDE);
        self.awaited.set(0);
        self.generation.set(self.generation.get() + 1);
        self.release();
        false
    }

    pub(crate) fn is_taken(&self) -> bool {
        // Relaxed: for a status.
        self.taken.load(stat::Ordering::Relaxed)
    }

    pub(crate) fn info(&self) -> TaskInfo {
        self.info.lock().clone()
    }

    /// Returns the side of the unit that the owner is in.
    #[inline(always)]
    pub(crate) fn side(&self) -> Side {
        // Acquire (O4): pairs with the Release of `World::force`.
        Side::at(self.side.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn set_place(&self, place: Place) {
        // Relaxed: for a status.
        self.place.store(place.0.cast_mut(), stat::Ordering::Relaxed);
    }

    /// Returns where the unit was entered, and whether by a call.
    pub(crate) fn place(&self) -> Option<(&'static Location<'static>, bool)> {
        // Relaxed: the location is never written to.
        let place = Place(self.place.load(stat::Ordering::Relaxed));
        // SAFETY: places are forgotten before their library is unloaded.
        let location = unsafe { place.location() }?;
        Some((location, place.is_of_call()))
    }

    /// Notes that a scan saw this word inside, and returns when a scan first saw its unit.
    pub(super) fn first_seen(&self, word: u64) -> Instant {
        let unit = unit_of(word); // A forced unit is the same unit.
        let mut info = self.info.lock();
        match info.since {
            Some((known, since)) if known == unit => since,
            _ => {
                let now = Instant::now();
                info.since = Some((unit, now));
                now
            }
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the cells: the caller need not be the owner.
        f.debug_struct("Record")
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}
