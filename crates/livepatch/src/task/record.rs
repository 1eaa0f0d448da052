//! One task's place: which unit it is in, and on which side.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::time::Instant;

use asymmetric_barrier::Reader;

use super::world::Side;
use crate::fork;
use crate::sync::{AtomicU64, AtomicUsize, Lock, Ordering, const_unless_loom, stat};

/// In a word: on side 1.
pub(super) const SIDE: u64 = 1;
/// In a word: in a unit.
pub(super) const INSIDE: u64 = 2;
/// In a word: forced in the middle of this unit.
pub(super) const FORCED: u64 = 4;
/// What each unit adds to the number in its record's word. It fills the word's upper 61 bits: no task gets through them, nor
/// would the last carry into a flag.
pub(super) const UNIT: u64 = 8;

/// The depth of a task that is in no unit.
pub(super) const OUTSIDE: i64 = -1;

/// The word of the unit after that which had this word and is over, but for its side.
#[inline]
pub(super) fn next_unit(word: u64) -> u64 {
    word.wrapping_add(UNIT + INSIDE)
}

/// The word of a task whose unit of this word is over.
#[inline]
pub(super) fn outside(word: u64) -> u64 {
    word & !(UNIT - 1)
}

/// What a word says but for the side: the same for a unit before and after it is forced.
pub(super) fn unit_of(word: u64) -> u64 {
    word & !(SIDE | FORCED)
}

/// One task's place in the world. Never freed; used again by later tasks.
#[repr(align(128))] // Two cache lines: the owner writes at every unit, and neighbouring lines are fetched in pairs.
pub(crate) struct Record {
    /// See the table of the page. Written by the owner, and once by who forces a unit.
    pub(super) word: AtomicU64,
    /// The side that calls go by (T7): 0 or 1. Written with the word's, but kept when a unit ends: the next tries it first.
    pub(super) side: AtomicUsize,
    /// For the light barriers of the owner (O2). Active while the record is taken.
    pub(super) reader: Reader,
    /// Whether the reader has fenced in a model whose system refuses its barrier.
    #[cfg(shadow_loom)]
    pub(super) settled: AtomicUsize,
    /// How many units and calls the owner is in, one in the other, beside the first: no program gets through all numbers.
    /// [`OUTSIDE`] if it is in none, so that a count up or down tells the first and the last. Kept elsewhere while a thread
    /// runs the task, see [`Running`](super::current::Running). Only the owner touches it.
    pub(super) depth: Cell<i64>,
    /// What is to be done when the unit ends: bits of [`Note`].
    notes: stat::AtomicU8,
    /// Stack frames that will come back to this record, whatever its depth. Only the owner touches it.
    pub(super) awaited: Cell<u64>,
    /// The thread that the task is, or that polled it last. Only the owner touches it, and a fork's child.
    owner: Cell<u64>,
    /// How often a fork's child has let go of who had this record. Only changed while there is one thread.
    era: Cell<u64>,
    /// Where the unit was entered.
    place: stat::AtomicPtr<Location<'static>>, // A [`Place`].
    /// For a status.
    taken: stat::AtomicBool,
    about: Lock<About>,
    /// Never changes once the record is in the list.
    pub(super) next: Cell<*const Record>,
    /// The next that nobody has. Only touched under the lock of that list.
    pub(super) next_free: Cell<Option<&'static Record>>,
}

// SAFETY: `depth`, `awaited` and `owner` are only touched by the task that has taken the record, which the lock of the free
// records hands on, or the executor with its future; `next` never changes once the record is shared; `next_free` is touched
// under that lock; `era`, and all of these in a fork's child, change while there is one thread; all else is atomic or locked.
unsafe impl Sync for Record {}
// SAFETY: as above.
unsafe impl Send for Record {}

/// What a thread has in place of a record until its first unit, so that [`World::begin`](super::world::World::begin) need not
/// ask: of a side that the world's word never has, so no unit begins with it. What is stored in it means nothing. In no list.
#[cfg(not(shadow_loom))]
pub(super) static NOBODY: Record = {
    let mut nobody = Record::new(Cow::Borrowed("nobody"), TaskKind::Thread);
    nobody.side = AtomicUsize::new(4);
    nobody
};

/// Where a unit was entered, and whether by a call: then the pointer is not even.
#[derive(Clone, Copy)]
pub(crate) struct Place(*const Location<'static>);

// SAFETY: stands for a shared reference to what is never written to.
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

    /// # Safety
    ///
    /// The library that it is in is loaded.
    unsafe fn location(self) -> Option<&'static Location<'static>> {
        // SAFETY: null, or from a `&'static Location`, by contract still there.
        unsafe { self.0.map_addr(|addr| addr & !1).as_ref() }
    }
}

/// What is to be done when a unit ends.
#[derive(Clone, Copy)]
pub(super) enum Note {
    /// No new unit will come to this record: it goes back with its last guard. Only the owner says so, and asks.
    Orphan = 1,
    /// Who waits for the unit is to be woken. A hint.
    HoldsUp = 2,
}

/// What a status says of a task.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) name: Cow<'static, str>,
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
                #[cfg(shadow_loom)]
                settled: AtomicUsize::new(0),
                depth: Cell::new(OUTSIDE),
                notes: stat::AtomicU8::new(0),
                awaited: Cell::new(0),
                owner: Cell::new(0),
                era: Cell::new(0),
                place: stat::AtomicPtr::new(ptr::null_mut()),
                taken: stat::AtomicBool::new(true),
                about: Lock::new(About {
                    name,
                    kind,
                    since: None,
                }),
                next: Cell::new(ptr::null()),
                next_free: Cell::new(None),
            }
        }
    }

    /// A task has taken this record, which nobody had.
    pub(super) fn taken_by(&'static self, name: Cow<'static, str>, kind: TaskKind) {
        *self.about.lock() = About {
            name,
            kind,
            since: None,
        };
        self.reader.activate();
        self.taken.store(true, stat::Ordering::Relaxed);
    }

    /// The task is at its end, outside every unit, and will not touch this record again.
    pub(super) fn let_go(&self) {
        debug_assert_eq!((self.depth.get(), self.awaited.get()), (OUTSIDE, 0));
        self.notes.store(0, stat::Ordering::Relaxed);
        self.reader.deactivate();
        self.taken.store(false, stat::Ordering::Relaxed);
    }

    /// The owner fences, if light barriers are fences.
    pub(super) fn settle(&self) {
        #[cfg(shadow_loom)]
        super::refusal::settle(self);
        self.reader.settle();
    }

    /// Whether there is anything to be done when the unit ends.
    #[inline(always)]
    pub(super) fn is_noted(&self) -> bool {
        // Relaxed: the owner's own, or a hint.
        self.notes.load(stat::Ordering::Relaxed) != 0
    }

    pub(super) fn note(&self, note: Note) {
        self.notes.fetch_or(note as u8, stat::Ordering::Relaxed);
    }

    pub(super) fn has_note(&self, note: Note) -> bool {
        self.notes.load(stat::Ordering::Relaxed) & note as u8 != 0
    }

    /// Whether it was noted, which it is no more.
    pub(super) fn take_note(&self, note: Note) -> bool {
        self.notes.fetch_and(!(note as u8), stat::Ordering::Relaxed) & note as u8 != 0
    }

    /// The running thread is the task, or polls it.
    pub(super) fn owned_here(&self) {
        self.owner.set(fork::this_thread());
    }

    /// Who has this record: changes if a fork's child lets go of them.
    pub(super) fn era(&self) -> u64 {
        self.era.get()
    }

    /// In a fork's child: whether the task is still there, for it was this thread or was polled last by it. If not, it is
    /// outside from now on, and nobody's.
    #[cfg(not(shadow_loom))]
    pub(super) fn outlives_fork(&self) -> bool {
        if self.is_taken() && self.owner.get() == fork::this_thread() {
            return true;
        }
        // Relaxed: there is no other thread.
        let word = self.word.load(Ordering::Relaxed);
        self.word.store(outside(word), Ordering::Relaxed);
        self.place.store(ptr::null_mut(), stat::Ordering::Relaxed);
        self.depth.set(OUTSIDE);
        self.awaited.set(0);
        self.era.set(self.era.get() + 1);
        self.let_go();
        false
    }

    pub(crate) fn is_taken(&self) -> bool {
        // Relaxed: for a status.
        self.taken.load(stat::Ordering::Relaxed)
    }

    pub(crate) fn about(&self) -> About {
        self.about.lock().clone()
    }

    /// The side of the unit that the owner is in.
    #[inline(always)]
    pub(crate) fn side(&self) -> Side {
        // Acquire (O4): with the Release of `World::force`.
        Side::at(self.side.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn set_place(&self, place: Place) {
        // Relaxed: for a status.
        self.place.store(place.0.cast_mut(), stat::Ordering::Relaxed);
    }

    /// Where the unit was entered, and whether by a call.
    pub(crate) fn place(&self) -> Option<(&'static Location<'static>, bool)> {
        // Relaxed: what it points to is never written to.
        let place = Place(self.place.load(stat::Ordering::Relaxed));
        // SAFETY: forgotten before the library that it is in is unloaded.
        let location = unsafe { place.location() }?;
        Some((location, place.is_of_call()))
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
        let unit = unit_of(word); // A forced unit is the same unit.
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

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the cells: who prints need not be the owner.
        f.debug_struct("Record")
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    /// Nobody comes so far; and who did would find a unit like any other.
    #[test]
    fn the_last_number_of_a_unit_carries_into_no_flag() {
        let last = !(UNIT - 1);
        for flags in [0, SIDE, SIDE | FORCED] {
            let over = |word: u64| outside(word | flags | INSIDE);
            assert_eq!(next_unit(over(last)), INSIDE);
            assert_eq!(next_unit(over(last - UNIT)), last | INSIDE);
        }
        assert_ne!(unit_of(last | INSIDE), unit_of(next_unit(last)));
    }
}
