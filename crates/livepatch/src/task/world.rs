//! The side on which units begin, and who is inside on which.

use std::borrow::Cow;
use std::ptr;
use std::time::{Duration, Instant};

use asymmetric_barrier as barrier;
use crossbeam_utils::CachePadded;

use super::defect::Defect;
use super::record::{FORCED, INSIDE, Note, Record, SIDE, TaskKind, next_unit, outside, unit_of};
#[cfg(shadow_loom)]
use super::refusal::Refusal;
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering, const_unless_loom, fence, light_fence, lock};

/// In the world's word, beside its side: light barriers are fences (O5). No record's side has it.
const FENCES: usize = 2;

/// Which of a point's two functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side(usize);

impl Side {
    #[inline]
    pub(super) fn of(word: u64) -> Self {
        Self((word & SIDE) as usize)
    }

    /// The side of a record, or of the world.
    #[inline(always)]
    pub(super) fn at(index: usize) -> Self {
        debug_assert!(index <= 1);
        Self(index)
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
    /// On which side units begin, and [`FENCES`].
    side: CachePadded<AtomicUsize>,
    records: AtomicPtr<Record>,
    /// The records that nobody has: the first, which knows the next. Held for moments.
    free: Mutex<Option<&'static Record>>,
    /// Held by a scan, and by who begins inside another's unit (T5).
    scan: Mutex<()>,
    /// The system's barrier of a model that refuses it.
    #[cfg(shadow_loom)]
    pub(crate) refusal: Option<Refusal>,
    /// What a model plants.
    #[cfg(shadow_loom)]
    pub(crate) defect: Option<Defect>,
    /// Loom lets a store come between what an exchange has read and what it writes, unless that is an exchange too.
    #[cfg(shadow_loom)]
    pub(crate) exact: bool,
}

/// What a scan met.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) record: &'static Record,
    /// Inside: on which side, and for how long at least.
    pub(crate) inside: Option<(Side, Duration)>,
    /// Whether it was forced there, and so counts as inside on both sides (T6).
    pub(crate) forced: bool,
    /// Where the unit was entered, if it is inside. Copied: see [`World::forget_places`].
    pub(crate) entered_at: String,
    /// Whether by a call of a patchable function.
    pub(crate) by_call: bool,
}

impl World {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                side: CachePadded::new(AtomicUsize::new(0)),
                records: AtomicPtr::new(ptr::null_mut()),
                free: Mutex::new(None),
                scan: Mutex::new(()),
                #[cfg(shadow_loom)]
                refusal: None,
                #[cfg(shadow_loom)]
                defect: None,
                #[cfg(shadow_loom)]
                exact: false,
            }
        }
    }

    /// The owner of `record`, which is outside, begins a unit.
    #[inline]
    pub(crate) fn begin_wholly(&self, record: &Record) {
        if self.begin(record).is_none() {
            self.begin_anew(record);
        }
    }

    /// The owner of `record`, which is outside, begins a unit: on which side. None if that is not the side of its last one, or
    /// if light barriers are fences (O5): [`begin_anew`](Self::begin_anew) is to follow. None of [`NOBODY`](super::record::NOBODY).
    #[inline(always)]
    pub(crate) fn begin(&self, record: &Record) -> Option<Side> {
        // Relaxed, both: the owner's own, or as good (T7).
        let tried = record.side.load(Ordering::Relaxed);
        let word = record.word.load(Ordering::Relaxed);
        debug_assert!(word == outside(word) || tried > 1);
        let unit = next_unit(word);
        self.put(record, unit, tried);
        if !self.has(Defect::NoLightBarrier) && self.refusal().is_none() {
            light_fence(); // O2: with the heavy barrier of `flip`; O5.
        }
        if self.has(Defect::NoSecondLook) {
            return Some(Side::at(tried));
        }
        // Acquire (O1): with the Release of `flip`.
        if self.side.load(Ordering::Acquire) != tried {
            return None;
        }
        if self.has(Defect::ForcedUnseen) {
            record.side.store(tried, Ordering::Relaxed);
        }
        // Relaxed: after the look, which acquired what came before the flip (T7).
        if record.side.load(Ordering::Relaxed) != tried && !self.has(Defect::SideFromBefore) {
            return None;
        }
        Some(Side::at(tried))
    }

    /// The end of a [`begin`](Self::begin) that has found another side, or fences.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_anew(&self, record: &Record) {
        // Relaxed: the owner's own. Whether it was forced in between does not matter: it has called nothing yet.
        let unit = unit_of(record.word.load(Ordering::Relaxed));
        let mut side = self.side();
        loop {
            self.put(record, unit, side.index());
            self.light(record); // O2: with the heavy one of `flip`.
            let now = self.side();
            if now == side {
                // Relaxed: the owner's own, but for who forces the unit: one of the two sees the other, by the fences (T7).
                record.side.store(side.index(), Ordering::Relaxed);
                if !self.has(Defect::ForcedUnseen) {
                    fence(Ordering::SeqCst);
                }
                let word = record.word.load(Ordering::Relaxed);
                if word & FORCED == 0 || self.has(Defect::ForcedUnseen) {
                    return;
                }
            }
            side = now;
        }
    }

    /// Puts a unit inside on this side.
    #[inline(always)]
    fn put(&self, record: &Record, unit: u64, side: usize) {
        let release = self.unless(Defect::RelaxedBegin, Ordering::Release);
        // Release (O3): with the Acquire of the scan.
        self.store(record, unit + side as u64, release);
    }

    /// The owner of `record`, which is outside, begins a unit inside that of `outer`, which is the caller's (T5).
    pub(crate) fn begin_inside(&self, record: &Record, outer: &Record) {
        let _no_scan = (!self.has(Defect::InsideUnlocked)).then(|| lock(&self.scan));
        let word = record.word.load(Ordering::Relaxed);
        debug_assert_eq!(word, outside(word));
        let unit = next_unit(word);
        // Relaxed: the caller's own; forcing takes the lock. Whom it has forced may still be in a call of before, whose
        // side the caller has taken for its own: what is inside it is as it is.
        let like = outer.word.load(Ordering::Relaxed) & (SIDE | FORCED);
        // Relaxed: the owner's own (T7).
        record.side.store(Side::of(like).index(), Ordering::Relaxed);
        // Release: as in `put`.
        record.word.store(unit | like, Ordering::Release);
    }

    /// The owner of `record`, which is inside, leaves.
    #[inline]
    pub(crate) fn leave(&self, record: &Record) {
        // Relaxed: the owner's own; if it is forced just now, it has left anyway.
        let word = record.word.load(Ordering::Relaxed);
        // Release (O3): with the Acquire of the scan.
        self.store(
            record,
            outside(word),
            self.unless(Defect::RelaxedLeave, Ordering::Release),
        );
    }

    /// The owner stores its word.
    #[inline(always)]
    fn store(&self, record: &Record, word: u64, order: Ordering) {
        #[cfg(shadow_loom)]
        if self.exact {
            record.word.swap(word, order);
            return;
        }
        record.word.store(word, order);
    }

    /// The side on which units begin.
    pub(crate) fn side(&self) -> Side {
        // Acquire (O1): with the Release of `flip`, where a unit begins.
        Side::at(self.side.load(Ordering::Acquire) & !FENCES)
    }

    /// Units begin on the other side from now on. Whether the barrier was there: if not, ask [`settle`](Self::settle), which
    /// is refused for as long as a task that has begun units by compiler fences has not come to another barrier.
    #[must_use]
    pub(crate) fn flip(&self) -> bool {
        let release = self.unless(Defect::RelaxedFlip, Ordering::Release);
        if self.has(Defect::FlipForgetsFences) {
            self.side.store(self.side().other().index(), release);
        } else {
            // Release (O1): with the Acquire of `begin`. An exchange, so that FENCES stays (O5).
            self.side.fetch_xor(1, release);
        }
        self.settle()
    }

    /// The heavy barrier of a flip. Again, if it was refused: by readers that are not settled, which are this thread's never.
    #[must_use]
    pub(crate) fn settle(&self) -> bool {
        #[cfg(shadow_loom)]
        if let Some(refusal) = &self.refusal {
            return refusal.heavy(|| self.on_fence(None), self.records());
        }
        self.has(Defect::NoHeavyBarrier) || barrier::heavy() // O2: with the light one of `begin`.
    }

    /// The light barrier of a record's owner.
    fn light(&self, record: &Record) {
        if self.has(Defect::NoLightBarrier) {
            return;
        }
        #[cfg(shadow_loom)]
        if let Some(refusal) = &self.refusal {
            return refusal.light(record, |record| self.on_fence(Some(record)));
        }
        record.reader.light();
    }

    /// A model's system that refuses its barrier.
    #[cfg(shadow_loom)]
    fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// None but in models: elsewhere the system answers.
    #[cfg(not(shadow_loom))]
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "as the other")]
    fn refusal(&self) -> Option<()> {
        None
    }

    /// The calling thread fences, in place of a light barrier, or asks for a heavy one: so does the task that it runs (O5).
    pub(super) fn on_fence(&self, task: Option<&Record>) {
        if !self.has(Defect::FencesUnseen) {
            self.fence_from_now_on();
        }
        if let Some(record) = task {
            record.settle();
        }
    }

    /// In a model: a task's thread comes to a light barrier that is not of a unit.
    #[cfg(all(test, shadow_loom))]
    pub(crate) fn fence_elsewhere(&self, record: &Record) {
        if self.refusal.as_ref().is_some_and(Refusal::is_fences) {
            self.on_fence(Some(record));
        }
    }

    /// Light barriers are fences from now on (O5).
    fn fence_from_now_on(&self) {
        // Relaxed, both: coherence is what counts.
        if self.side.load(Ordering::Relaxed) & FENCES == 0 {
            self.side.fetch_or(FENCES, Ordering::Relaxed);
        }
    }

    /// Whether no unit is inside on `side`, and none that was forced and whose call may still go by the side that it was
    /// on (T6), unless `forced` ones are to be left alone. After a flip away from the side, that stays so (T4).
    pub(crate) fn is_empty(&self, side: Side, forced: bool) -> bool {
        let _whole = lock(&self.scan);
        // Acquire (O3): with the Release of `leave` and `begin`.
        !self.records().any(|record| {
            let word = record.word.load(Ordering::Acquire);
            let counts = Side::of(word) == side || word & FORCED != 0 && !forced && !self.has(Defect::ForcedForgotten);
            let stays = word & INSIDE != 0 && counts && !self.has(Defect::NoScan);
            if stays {
                record.met(word);
                record.note(Note::HoldsUp);
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
                    forced: word & FORCED != 0,
                    entered_at: place.map(|(at, _)| at.to_string()).unwrap_or_default(),
                    by_call: place.is_some_and(|(_, by_call)| by_call),
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
        now & INSIDE == 0 || unit_of(now) != unit_of(word)
    }

    /// Takes every unit that is inside on `side` over to the other, in the middle of its work. How many. To be called between
    /// two flips, and after the heavy barrier of the first: no unit begins on `side` (T7).
    pub(crate) fn force(&self, side: Side) -> usize {
        let _whole = lock(&self.scan);
        self.records()
            .filter(|record| {
                let word = record.word.load(Ordering::Acquire);
                if word & INSIDE == 0 || Side::of(word) != side {
                    return false;
                }
                let forced = (word ^ SIDE) | FORCED;
                if self.has(Defect::ForceByStore) {
                    record.word.store(forced, Ordering::Release);
                    return true;
                }
                // Release (O3): as in `put`. If it fails, the unit has left.
                let found = record
                    .word
                    .compare_exchange(word, forced, Ordering::AcqRel, Ordering::Relaxed);
                if found.is_ok() && !self.has(Defect::ForcedKeepsSide) {
                    // SeqCst: pairs with that of `begin_anew`.
                    fence(Ordering::SeqCst);
                    // Release (O4): with the Acquire of `Record::side`. The unit may have left by now (T7).
                    record.side.store(side.other().index(), Ordering::Release);
                }
                found.is_ok()
            })
            .count()
    }

    /// A record for a new task, outside every unit.
    pub(crate) fn register(&self, name: Cow<'static, str>, kind: TaskKind) -> &'static Record {
        // One for all the locks below.
        #[cfg(not(shadow_loom))]
        let section = crate::fork::Section::enter();
        if let Some(record) = self.take_free() {
            record.owned_here();
            record.taken_by(name, kind);
            self.activated();
            return record;
        }
        #[cfg(not(shadow_loom))]
        drop(section);
        // Before the first record is anybody's.
        #[cfg(not(shadow_loom))]
        crate::fork::watch(crate::fork::Part::Tasks, &super::FORK);
        barrier::on_fence(super::unit::on_fence);
        let record: &'static Record = Box::leak(Box::new(Record::new(name, kind)));
        record.owned_here();
        // Relaxed: the exchange below checks it. Release: with the Acquire of `records`.
        let mut head = self.records.load(Ordering::Relaxed);
        loop {
            record.next.set(head);
            let new = ptr::from_ref(record).cast_mut();
            match self
                .records
                .compare_exchange(head, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        // On the list by now: a fork's child finds it, and lets go of it.
        record.reader.activate();
        self.activated();
        record
    }

    /// The caller has activated a reader.
    fn activated(&self) {
        // A model says itself which it is.
        if !cfg!(shadow_loom) && !barrier::is_asymmetric() {
            self.fence_from_now_on(); // The reader counts as settled (O5).
        }
    }

    fn take_free(&self) -> Option<&'static Record> {
        let mut first = lock(&self.free);
        let record = (*first)?;
        *first = record.next_free.take();
        Some(record)
    }

    /// The owner of `record`, which is outside, is at its end: a later task may have it.
    pub(crate) fn give_back(&self, record: &'static Record) {
        record.let_go();
        let mut first = lock(&self.free);
        record.next_free.set(first.replace(record));
    }

    /// In a fork's child: tasks that are not there any more are in no unit, and others may have their records.
    #[cfg(not(shadow_loom))]
    pub(super) fn after_fork(&self) {
        let mut free = None;
        for record in self.records().filter(|record| !record.outlives_fork()) {
            record.next_free.set(free.replace(record));
        }
        *lock(&self.free) = free;
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

    /// How many records there are, taken or not.
    #[cfg(test)]
    pub(crate) fn record_count(&self) -> usize {
        self.records().count()
    }
}

/// A model's world goes with its execution, and its records with it.
#[cfg(shadow_loom)]
impl Drop for World {
    fn drop(&mut self) {
        let records: Vec<_> = self.records().collect();
        for record in records {
            // SAFETY: leaked in `register`; the model's threads are joined, and nobody has the world.
            drop(unsafe { Box::from_raw(ptr::from_ref(record).cast_mut()) });
        }
    }
}
