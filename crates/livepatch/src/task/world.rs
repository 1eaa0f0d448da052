//! The side on which units begin, and the records of all tasks.
//!
//! A unit begins with [`World::begin`]: [`try_begin`](World::try_begin) publishes the unit on the side of the task's
//! previous one and succeeds if that is still the world's; otherwise [`begin_slow`](World::begin_slow) retries until the
//! side that it published is. [`World::flip`] changes the side; a scan ([`World::is_empty`]) tells whether the units of
//! the old one have left; [`World::force`] moves them over. Relies on T3 to T7, O1 to O5.

use std::borrow::Cow;
use std::ptr;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::defect::Defect;
use super::model::Model;
use super::record::{Note, Record, TaskKind};
use super::side::{FORCED, INSIDE, SIDE, Side, next_unit, outside, unit_of};
use crate::fork::Section;
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering, const_unless_loom, fence, lock};

/// A bit of the world's word beside its side: light barriers are fences (O5). No record's side has it.
const FENCES: usize = 2;

/// The state shared by all tasks.
#[derive(Debug)]
pub(crate) struct World {
    /// The side on which units begin, and [`FENCES`].
    side: CachePadded<AtomicUsize>,
    records: AtomicPtr<Record>,
    /// The free records: the head of a linked list through [`Record::next_free`]. Held only briefly.
    free: Mutex<Option<&'static Record>>,
    /// Held by a scan, and by a task that begins inside another's unit (T5).
    pub(super) scan: Mutex<()>,
    pub(crate) model: Model,
}

/// A task as a scan found it.
#[derive(Clone, Debug)]
pub(crate) struct TaskSnapshot {
    pub(crate) record: &'static Record,
    /// If it is inside a unit: on which side, and for how long at least.
    pub(crate) inside: Option<(Side, Duration)>,
    /// Whether the unit was forced, and so counts as inside on both sides (T6).
    pub(crate) forced: bool,
    /// Where the unit was entered, if the task is inside. Copied: see [`World::forget_places`].
    pub(crate) entered_at: String,
    /// Whether a call of a patchable function entered it.
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
                model: Model::new(),
            }
        }
    }

    /// Begins a unit of the owner of `record`, which is outside.
    #[inline]
    pub(crate) fn begin(&self, record: &Record) {
        if self.try_begin(record).is_none() {
            self.begin_slow(record);
        }
    }

    /// Fast path: begins a unit of the owner of `record`, which is outside, and returns its side.
    ///
    /// Returns `None` if the world's side is not that of the task's previous unit, or if light barriers are fences (O5):
    /// the caller must then call [`begin_slow`](Self::begin_slow). Always returns `None` for
    /// [`PLACEHOLDER`](super::record::placeholder).
    #[inline(always)]
    pub(crate) fn try_begin(&self, record: &Record) -> Option<Side> {
        // Relaxed, both: written by the owner, or equivalent for this purpose (T7).
        let tried = record.side.load(Ordering::Relaxed);
        let word = record.word.load(Ordering::Relaxed);
        debug_assert!(word == outside(word) || tried > 1);
        let unit = next_unit(word);
        self.publish_inside(record, unit, tried);
        if !self.has(Defect::NoLightBarrier) {
            self.model.try_light(); // O2: pairs with the heavy barrier of `flip`; O5.
        }
        if self.has(Defect::NoSecondLook) {
            return Some(Side::at(tried));
        }
        // Acquire (O1): pairs with the Release of `flip`.
        if self.side.load(Ordering::Acquire) != tried {
            // The world has flipped, or light barriers are fences.
            return None;
        }
        if self.has(Defect::ForcedUnseen) {
            record.side.store(tried, Ordering::Relaxed);
        }
        // Relaxed: after the load above, which acquired everything before the flip (T7).
        if record.side.load(Ordering::Relaxed) != tried && !self.has(Defect::SideFromBefore) {
            // A thread that forces this unit, or an earlier one, has changed `side` (T7).
            return None;
        }
        Some(Side::at(tried))
    }

    /// Slow path of [`begin`](Self::begin), after [`try_begin`](Self::try_begin) has found another side, or fences.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_slow(&self, record: &Record) {
        // Relaxed: written by the owner. Being forced in between does not matter: the unit has called nothing yet.
        let unit = unit_of(record.word.load(Ordering::Relaxed));
        let mut side = self.side();
        loop {
            self.publish_inside(record, unit, side.index());
            self.light(record); // O2: pairs with the heavy one of `flip`.
            let now = self.side();
            if now == side {
                // The world's side has not changed since the unit was published on it.
                // Relaxed: written by the owner, or by a thread that forces the unit: one of the two sees the other, by
                // the fences (T7).
                record.side.store(side.index(), Ordering::Relaxed);
                if !self.has(Defect::ForcedUnseen) {
                    fence(Ordering::SeqCst);
                }
                let word = record.word.load(Ordering::Relaxed);
                if word & FORCED == 0 || self.has(Defect::ForcedUnseen) {
                    return;
                }
            }
            // Flipped or forced meanwhile: retry on the world's current side.
            side = now;
        }
    }

    /// Publishes that the unit is inside on this side.
    #[inline(always)]
    fn publish_inside(&self, record: &Record, unit: u64, side: usize) {
        let release = self.unless(Defect::RelaxedBegin, Ordering::Release);
        // Release (O3): pairs with the Acquire of the scan.
        self.store(record, unit + side as u64, release);
    }

    /// Begins a unit of the owner of `record`, which is outside, inside the unit of `outer`, which is the caller's (T5).
    pub(crate) fn begin_inside(&self, record: &Record, outer: &Record) {
        let _no_scan = (!self.has(Defect::InsideUnlocked)).then(|| lock(&self.scan));
        let word = record.word.load(Ordering::Relaxed);
        debug_assert_eq!(word, outside(word));
        let unit = next_unit(word);
        // Relaxed: written by the caller; forcing takes the lock. If the outer unit was forced, it may still be in an
        // earlier call, whose side the caller runs on: the inner unit inherits its flags.
        let like = outer.word.load(Ordering::Relaxed) & (SIDE | FORCED);
        // Relaxed: written by the owner (T7).
        record.side.store(Side::of(like).index(), Ordering::Relaxed);
        // Release: as in `publish_inside`.
        record.word.store(unit | like, Ordering::Release);
    }

    /// Ends the unit of the owner of `record`, which is inside.
    #[inline]
    pub(crate) fn leave(&self, record: &Record) {
        // Relaxed: written by the owner; if it is being forced right now, it has left anyway.
        let word = record.word.load(Ordering::Relaxed);
        // Release (O3): pairs with the Acquire of the scan.
        self.store(
            record,
            outside(word),
            self.unless(Defect::RelaxedLeave, Ordering::Release),
        );
    }

    /// Stores the owner's word.
    #[inline(always)]
    fn store(&self, record: &Record, word: u64, order: Ordering) {
        self.model.store(&record.word, word, order);
    }

    /// Returns whether this rule is broken on purpose.
    #[inline(always)]
    fn has(&self, defect: Defect) -> bool {
        self.model.breaks(defect)
    }

    /// Returns the ordering, or Relaxed if that rule is broken.
    #[inline(always)]
    fn unless(&self, defect: Defect, order: Ordering) -> Ordering {
        if self.has(defect) { Ordering::Relaxed } else { order }
    }

    /// Returns the side on which units begin.
    pub(crate) fn side(&self) -> Side {
        // Acquire (O1): pairs with the Release of `flip`, where a unit begins.
        Side::at(self.side.load(Ordering::Acquire) & !FENCES)
    }

    /// Makes units begin on the other side from now on. Returns whether the heavy barrier was executed: if not, retry
    /// with [`settle`](Self::settle), which fails for as long as a task that has begun units by compiler fences has not
    /// executed another barrier.
    #[must_use]
    pub(crate) fn flip(&self) -> bool {
        let release = self.unless(Defect::RelaxedFlip, Ordering::Release);
        if self.has(Defect::FlipForgetsFences) {
            self.side.store(self.side().other().index(), release);
        } else {
            // Release (O1): pairs with the Acquire of `begin`. An exchange, so that FENCES stays (O5).
            self.side.fetch_xor(1, release);
        }
        self.settle()
    }

    /// Executes the heavy barrier of a flip. Returns whether it was: it is refused while readers are not settled; a
    /// reader of the calling thread always is.
    #[must_use]
    pub(crate) fn settle(&self) -> bool {
        // O2: pairs with the light one of `begin`.
        self.has(Defect::NoHeavyBarrier)
            || self
                .model
                .heavy(|| self.on_fence(None), self.records().map(|record| &record.reader))
    }

    /// Executes the light barrier of a record's owner.
    fn light(&self, record: &Record) {
        if self.has(Defect::NoLightBarrier) {
            return;
        }
        self.model.light(&record.reader, || self.on_fence(Some(record)));
    }

    /// Notes that the calling thread fences in place of a light barrier, or executes a heavy one; and so does the task
    /// that it runs (O5).
    pub(crate) fn on_fence(&self, task: Option<&Record>) {
        if !self.has(Defect::FencesUnseen) {
            self.fence_from_now_on();
        }
        if let Some(record) = task {
            record.settle();
        }
    }

    /// Makes light barriers fences from now on (O5).
    fn fence_from_now_on(&self) {
        // Relaxed, both: coherence suffices.
        if self.side.load(Ordering::Relaxed) & FENCES == 0 {
            self.side.fetch_or(FENCES, Ordering::Relaxed);
        }
    }

    /// Returns whether no unit is inside on `side`, and no forced unit whose call may still use the side that it was on
    /// (T6). If `forced` is set, forced units are ignored. After a flip away from the side, an empty side stays empty
    /// (T4).
    pub(crate) fn is_empty(&self, side: Side, forced: bool) -> bool {
        let _whole = lock(&self.scan);
        // Acquire (O3): pairs with the Release of `leave` and `begin`.
        !self.records().any(|record| {
            let word = record.word.load(Ordering::Acquire);
            let counts = Side::of(word) == side || word & FORCED != 0 && !forced && !self.has(Defect::ForcedForgotten);
            let stays = word & INSIDE != 0 && counts && !self.has(Defect::NoScan);
            if stays {
                record.first_seen(word);
                record.note(Note::HoldsUp);
            }
            stays
        })
    }

    /// Returns all tasks, and for how long those in a unit have been there.
    pub(crate) fn tasks(&self) -> Vec<TaskSnapshot> {
        let _whole = lock(&self.scan);
        self.records()
            .filter(|record| record.is_taken())
            .map(|record| {
                let word = record.word.load(Ordering::Acquire);
                let inside = (word & INSIDE != 0)
                    .then(|| (Side::of(word), Instant::now().duration_since(record.first_seen(word))));
                let place = inside.and_then(|_| record.place());
                TaskSnapshot {
                    record,
                    inside,
                    forced: word & FORCED != 0,
                    entered_at: place.map(|(at, _)| at.to_string()).unwrap_or_default(),
                    by_call: place.is_some_and(|(_, by_call)| by_call),
                }
            })
            .collect()
    }

    /// Moves every unit that is inside on `side` to the other side, in the middle of its work, and returns how many. The
    /// caller guarantees that this happens between two flips, and after the heavy barrier of the first: no unit begins on
    /// `side` (T7).
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
                // Release (O3): as in `publish_inside`. If it fails, the unit has left.
                let found = record
                    .word
                    .compare_exchange(word, forced, Ordering::AcqRel, Ordering::Relaxed);
                if found.is_ok() && !self.has(Defect::ForcedKeepsSide) {
                    // SeqCst: pairs with the fence of `begin_slow`.
                    fence(Ordering::SeqCst);
                    // Release (O4): pairs with the Acquire of `Record::side`. The unit may have left by now (T7).
                    record.side.store(side.other().index(), Ordering::Release);
                }
                found.is_ok()
            })
            .count()
    }

    /// Returns a record for a new task, outside every unit: a free one, or else a new one, before which `before_new` is
    /// called.
    pub(crate) fn register(
        &self,
        name: Cow<'static, str>,
        kind: TaskKind,
        before_new: impl FnOnce(),
    ) -> &'static Record {
        // One section for all the locks below.
        let section = Section::enter();
        if let Some(record) = self.take_free() {
            record.set_owner();
            record.claim(name, kind);
            self.activated();
            return record;
        }
        drop(section);
        before_new();
        let record: &'static Record = Box::leak(Box::new(Record::new(name, kind)));
        record.set_owner();
        // Relaxed: the exchange below checks it. Release: pairs with the Acquire of `records`.
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
        // In the list by now: a fork's child finds it and releases it.
        record.reader.activate();
        self.activated();
        record
    }

    /// Checks the barrier's mode after the caller has activated a reader.
    fn activated(&self) {
        if !self.model.is_asymmetric() {
            self.fence_from_now_on(); // The reader counts as settled (O5).
        }
    }

    fn take_free(&self) -> Option<&'static Record> {
        let mut first = lock(&self.free);
        let record = (*first)?;
        *first = record.next_free.take();
        Some(record)
    }

    /// Releases `record` to a later task.
    ///
    /// # Safety
    ///
    /// The owner has ended, is outside every unit, and has no guard or frame left: nothing accesses the record's cells
    /// any more.
    pub(crate) unsafe fn release(&self, record: &'static Record) {
        record.release();
        let mut first = lock(&self.free);
        record.next_free.set(first.replace(record));
    }

    /// In a fork's child: ends the units of tasks that do not exist there, and frees their records.
    ///
    /// # Safety
    ///
    /// The calling thread is the only one of the process.
    pub(super) unsafe fn after_fork(&self) {
        let mut free = None;
        // SAFETY: the caller guarantees that there is no other thread.
        for record in self.records().filter(|record| unsafe { !record.survives_fork() }) {
            record.next_free.set(free.replace(record));
        }
        *lock(&self.free) = free;
    }

    /// Returns all records, taken or not.
    pub(crate) fn records(&self) -> impl Iterator<Item = &'static Record> {
        // Acquire: pairs with the Release of `register`.
        let mut next: *const Record = self.records.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null, or a record of this list; they are never freed.
            let record = unsafe { next.as_ref() }?;
            next = record.next.get();
            Some(record)
        })
    }
}
