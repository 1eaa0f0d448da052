//! Counting variables such that each reported sum was true at one instant.
//!
//! Each thread counts in a shard of its own. Reading the shards one after the other would include an operation in one and miss
//! the one before it in another: it could report thousands of variables where there were never more than a few, as many as
//! were created and freed during the reading. So every counter exists twice, and a *phase* says to which of the two sides
//! operations add. The other side *rests*.
//!
//! - **N1** An operation reads the phase and adds to that side, once for each variable that it creates or frees.
//! - **N2** A snapshot reads the side that rests, advances the phase by compare-and-swap, and reads the side that rests from then
//!   on. It is valid if no other thread advanced the phase meanwhile: then each side rested while it was read, and the sum is
//!   what had been counted when the phase advanced, up to N3. Otherwise it starts over. A thread that is stopped in a snapshot
//!   delays no other.
//! - **N3** A thread may have read the phase before it advanced and add afterwards: one operation on either side. For between
//!   two additions of a thread lies a compare-and-swap of its second operation, a full barrier on x86-64, with which the fence
//!   of the snapshot pairs: a thread that reads the old phase after that barrier has made the addition before it visible.
//!   (Elsewhere it depends on the processor's buffers, which hold a few operations at most.)
//! - **N4** A variable that is freed was created: the freeing thread reads the phase after the creating thread did, or the
//!   creation still runs; so it reads no older phase. A snapshot that counts a free counts the creation, unless that still runs.
//! - **N5** An operation adds to two sums, on one side: that of its id, and that of the store. N1 to N4 hold for each
//!   separately. A sum consists of a counter that all threads share, which exists from the start, and of one in each shard
//!   that has counted it more than a few times. That one exists, and is published, before its first addition, and stays: a
//!   snapshot that does not find it has not found its additions, which are then those of N3; counts for which there was no memory
//!   go to the shared one.

use std::ptr::{self, NonNull};
use std::{hint, thread};

use crate::defect::{Defect, planted_everywhere};
use crate::mem::{try_box, try_slice};
use crate::shard::{PerShard, Shard};
use crate::sync::{Ordering, stat};

/// The words that a phase and its counters are made of: the store's, or those of a model.
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn fetch_add(&self, by: u64, order: Ordering);
    /// Exchanges, with AcqRel. Returns whether it did.
    fn swap_if(&self, from: u64, to: u64) -> bool;
    fn fence(order: Ordering);
}

macro_rules! word {
    ($($of:ident)::*, $fence:path) => {
        impl Word for $($of)::* {
            #[inline]
            fn load(&self, order: Ordering) -> u64 {
                <$($of)::*>::load(self, order)
            }

            #[inline]
            fn store(&self, value: u64, order: Ordering) {
                <$($of)::*>::store(self, value, order);
            }

            #[inline]
            fn fetch_add(&self, by: u64, order: Ordering) {
                <$($of)::*>::fetch_add(self, by, order);
            }

            fn swap_if(&self, from: u64, to: u64) -> bool {
                <$($of)::*>::compare_exchange(self, from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            }

            fn fence(order: Ordering) {
                $fence(order);
            }
        }
    };
}
word!(stat::AtomicU64, stat::fence);

/// One of the two counters of each pair, as its offset from the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Side(usize);

impl Side {
    #[inline]
    fn of(phase: u64) -> Self {
        Self(phase as usize & STEP as usize)
    }

    /// Returns 0 or 1.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 / STEP as usize
    }
}

/// The increment of the phase: the distance between the sides, so that an operation finds its own in few instructions.
const STEP: u64 = size_of::<[Counts; CELLS]>() as u64;
const _: () = assert!(STEP.is_power_of_two());

/// The phase, which determines the side that operations add to. Wraps around after 2^57 snapshots, which does no harm: only its
/// parity and its changes matter.
#[derive(Default)]
pub(crate) struct Phase<W = stat::AtomicU64>(W);

impl<W: Word> Phase<W> {
    #[cfg(all(test, shadow_loom))]
    pub(crate) fn new(word: W) -> Self {
        Self(word)
    }

    /// Returns the side on which an operation that runs now counts.
    #[inline]
    pub(crate) fn side(&self) -> Side {
        if planted_everywhere(Defect::PhaseIgnored) {
            return Side(0);
        }
        // Relaxed: N4 needs coherence only, and for N3 the operation's compare-and-swap is enough.
        Side::of(self.0.load(Ordering::Relaxed))
    }

    /// Reads both sides with `read`, as they were when the phase advanced (N2). Never waits for an operation; starts over as
    /// long as other snapshots interfere.
    pub(crate) fn snapshot<T>(&self, mut read: impl FnMut(Side) -> T) -> [T; 2] {
        let mut tries = 0_u32;
        loop {
            // Acquire: the reads come after it.
            let phase = self.0.load(Ordering::Acquire);
            let next = phase.wrapping_add(STEP);
            let before = read(Side::of(next));
            let early = planted_everywhere(Defect::PhaseMovedLast).then(|| read(Side::of(phase)));
            // AcqRel: keeps the reads on their sides of it.
            if self.0.swap_if(phase, next) {
                // SeqCst: pairs with the operations' barriers (N3).
                if !planted_everywhere(Defect::LookWithoutFence) {
                    W::fence(Ordering::SeqCst);
                }
                let after = early.unwrap_or_else(|| read(Side::of(phase)));
                // Acquire: pairs with the Release in `add`: a thread that saw an addition of a later phase sees that phase.
                W::fence(Ordering::Acquire);
                if self.0.load(Ordering::Relaxed) == next || planted_everywhere(Defect::LookUnchecked) {
                    return [before, after];
                }
            }
            tries = tries.saturating_add(1);
            if tries < 8 {
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

/// Adds to a counter, which no other thread writes if it is the thread's own.
#[inline]
pub(crate) fn add<W: Word>(counter: &W, own: bool, by: u64) {
    // Release: pairs with the fence in `Phase::snapshot`.
    if own {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
    } else {
        counter.fetch_add(by, Ordering::Release);
    }
}

/// The counters of one sum, for one side and one shard.
#[derive(Default)]
pub(crate) struct Counts {
    created: stat::AtomicU64,
    freed: stat::AtomicU64,
}

/// The numbers of variables created and freed so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    pub(crate) created: u64,
    pub(crate) freed: u64,
}

impl Counted {
    fn plus(self, other: Self) -> Self {
        Self {
            created: self.created.wrapping_add(other.created),
            freed: self.freed.wrapping_add(other.freed),
        }
    }

    /// Returns the sum of the two sides of a snapshot. A creation that still runs counts if its variable was freed already.
    pub(crate) fn of_sides([before, after]: [Self; 2]) -> Self {
        let sum = before.plus(after);
        Self {
            created: sum.created.max(sum.freed),
            ..sum
        }
    }

    pub(crate) fn live(self) -> u64 {
        self.created - self.freed
    }
}

impl Counts {
    #[inline]
    fn add(&self, own: bool, counted: Counted) {
        if counted.created > 0 {
            add(&self.created, own, counted.created);
        }
        if counted.freed > 0 {
            add(&self.freed, own, counted.freed);
        }
    }

    fn get(&self) -> Counted {
        // Relaxed, both: a snapshot has the fences.
        Counted {
            created: self.created.load(Ordering::Relaxed),
            freed: self.freed.load(Ordering::Relaxed),
        }
    }
}

/// The counters of one sum that all threads share, by side. These always exist.
#[derive(Default)]
pub(crate) struct Common([Counts; 2]);

impl Common {
    fn at(&self, side: Side) -> &Counts {
        &self.0[side.index()]
    }

    /// Adds, and returns whether the shard should get a counter of its own.
    fn add(&self, side: Side, counted: Counted) -> bool {
        self.at(side).add(false, counted);
        // A heuristic.
        let so_far = self.0[0].get().plus(self.0[1].get());
        so_far.created.wrapping_add(so_far.freed) >= FEW
    }
}

/// Operations of a sum before shards count it separately: for a sum that rarely changes, the memory is not worth it.
const FEW: u64 = 16;

/// The counters of one id.
#[derive(Clone, Copy)]
pub(crate) struct Id<'e> {
    /// The id's index in the store.
    pub(crate) index: u32,
    pub(crate) common: &'e Common,
}

/// Counters of one shard that share cache lines.
const CELLS: usize = 8;

/// [`CELLS`] counters for each side, a cache line or two per side.
#[derive(Default)]
#[repr(align(128))]
struct Lines([[Counts; CELLS]; 2]);

impl Lines {
    #[inline]
    fn at(&self, cell: usize, side: Side) -> &Counts {
        assert!(cell < CELLS);
        // SAFETY: in bounds: a side is 0 or STEP, where the second side begins.
        unsafe {
            NonNull::from(&self.0)
                .cast::<Counts>()
                .add(cell)
                .byte_add(side.0)
                .as_ref()
        }
    }
}

/// The counters of one shard: first that of the store, then those of its ids.
struct Local {
    /// The counters of the store and of the first ids.
    first: Lines,
    /// The lines of the other ids, created when the shard counts one of them: in arrays of which each is twice as long as the
    /// one before.
    others: [stat::AtomicPtr<stat::AtomicPtr<Lines>>; ARRAYS],
}

/// Ids that are counted in the same lines as the store.
const FIRST: u32 = CELLS as u32 - 1;
/// Ids beyond the capacity of these arrays are counted by all threads in one place: from the 524,288th on.
const ARRAYS: usize = 16;

impl Local {
    fn new() -> Self {
        Self {
            first: Lines::default(),
            others: std::array::from_fn(|_| stat::AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Returns the counter of an id, if there is one yet.
    #[inline]
    fn of(&self, index: u32, side: Side) -> Option<&Counts> {
        if index < FIRST {
            return Some(self.first.at(1 + index as usize, side));
        }
        self.of_other(index, side)
    }

    fn of_other(&self, index: u32, side: Side) -> Option<&Counts> {
        let (array, at, cell) = Self::place(index)?;
        // Acquire, both: pairs with the exchanges in `make`.
        let lines = self.others[array].load(Ordering::Acquire);
        // SAFETY: null, or an array of 2^array pointers, each null or to lines; all live as long as `self`.
        let lines = unsafe { (!lines.is_null()).then(|| (*lines.add(at)).load(Ordering::Acquire).as_ref())?? };
        Some(lines.at(cell, side))
    }

    /// Returns where an id that is not among the first is counted: which array, which of its lines, which of their counters.
    #[inline]
    fn place(index: u32) -> Option<(usize, usize, usize)> {
        let other = (index - FIRST) as usize;
        let lines = other / CELLS + 1;
        let array = lines.ilog2() as usize;
        (array < ARRAYS).then_some((array, lines - (1 << array), other % CELLS))
    }

    /// Creates the counter of an id, if there is memory.
    #[cold]
    fn make(&self, index: u32) {
        let Some((array, at, _)) = (index >= FIRST).then(|| Self::place(index)).flatten() else {
            return;
        };
        let others = &self.others[array];
        if others.load(Ordering::Acquire).is_null() {
            let Some(fresh) = try_slice(1 << array, || stat::AtomicPtr::<Lines>::new(ptr::null_mut())) else {
                return;
            };
            let fresh = Box::into_raw(fresh);
            // AcqRel: Release publishes it to `of_other`; Acquire on failure, for the winner's.
            let made = others.compare_exchange(ptr::null_mut(), fresh.cast(), Ordering::AcqRel, Ordering::Acquire);
            if made.is_err() {
                // SAFETY: allocated above, and never shared.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        let Some(fresh) = try_box(Lines::default()).map(Box::into_raw) else {
            return;
        };
        // SAFETY: not null by now; otherwise as in `of_other`.
        let slot = unsafe { &*others.load(Ordering::Acquire).add(at) };
        // AcqRel: as for the array.
        let made = slot.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        if made.is_err() {
            // SAFETY: allocated above, and never shared.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for (array, others) in self.others.iter_mut().enumerate() {
            let others = *others.get_mut();
            if others.is_null() {
                continue;
            }
            // SAFETY: allocated by `make` as a boxed slice of this length, and published once; no thread counts any more.
            let others = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(others, 1 << array)) };
            for lines in others.into_iter().filter_map(|lines| NonNull::new(lines.into_inner())) {
                // SAFETY: allocated by `make`, and published once.
                drop(unsafe { Box::from_raw(lines.as_ptr()) });
            }
        }
    }
}

/// The counts of a store's variables, in total and per id.
pub(crate) struct Tally {
    phase: Phase,
    /// The store's shared counters.
    common: Common,
    shards: PerShard<Local>,
}

impl Tally {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            phase: Phase::default(),
            common: Common::default(),
            shards: PerShard::new(shards),
        }
    }

    /// Counts a variable that was created.
    #[inline(always)]
    pub(crate) fn count_created(&self, id: Id<'_>, shard: Shard) {
        match self.both(id, shard) {
            Some((store, of_id)) => {
                add(&store.created, shard.is_own(), 1);
                add(&of_id.created, shard.is_own(), 1);
            }
            None => self.count_created_slow(id, shard),
        }
    }

    /// Counts variables that were freed.
    #[inline(always)]
    pub(crate) fn count_freed(&self, id: Id<'_>, shard: Shard, freed: u64) {
        match self.both(id, shard) {
            Some((store, of_id)) => {
                add(&store.freed, shard.is_own(), freed);
                add(&of_id.freed, shard.is_own(), freed);
            }
            None => self.count_freed_slow(id, shard, freed),
        }
    }

    /// Returns the shard's counters of the store and of the id, on the side that operations add to now, if they share a line.
    #[inline(always)]
    fn both(&self, id: Id<'_>, shard: Shard) -> Option<(&Counts, &Counts)> {
        let side = self.phase.side();
        let local = self.shards.get(shard)?;
        (id.index < FIRST).then(|| (local.first.at(0, side), local.first.at(1 + id.index as usize, side)))
    }

    #[inline(never)]
    fn count_created_slow(&self, id: Id<'_>, shard: Shard) {
        self.count(id, shard, Counted { created: 1, freed: 0 });
    }

    #[inline(never)]
    fn count_freed_slow(&self, id: Id<'_>, shard: Shard, freed: u64) {
        self.count(id, shard, Counted { created: 0, freed });
    }

    /// Counts creations and frees, in any case.
    fn count(&self, id: Id<'_>, shard: Shard, counted: Counted) {
        let side = self.phase.side();
        let Some(local) = self.shards.get(shard) else {
            id.common.add(side, counted);
            if self.common.add(side, counted) {
                // If there is no memory, counting continues here.
                let _ = self.shards.make(shard, Local::new);
            }
            return;
        };
        local.first.at(0, side).add(shard.is_own(), counted);
        if let Some(counts) = local.of(id.index, side) {
            counts.add(shard.is_own(), counted);
        } else if id.common.add(side, counted) {
            local.make(id.index);
        }
    }

    /// Returns about how many variables exist: for decisions that any value is good enough for.
    pub(crate) fn sum(&self) -> usize {
        let counted = self.of_side(Side(0)).plus(self.of_side(Side(STEP as usize)));
        // Negative if additions of other threads are not seen yet.
        usize::try_from(counted.created.wrapping_sub(counted.freed).cast_signed()).unwrap_or(0)
    }

    /// Returns what was counted of the store on a side.
    fn of_side(&self, side: Side) -> Counted {
        let shards = self.shards.iter().map(|local| local.first.at(0, side).get());
        shards.fold(self.common.at(side).get(), Counted::plus)
    }

    /// Returns what was counted of an id on a side: for a [snapshot](Self::snapshot).
    pub(crate) fn of_id(&self, id: Id<'_>, side: Side) -> Counted {
        let shards = self.shards.iter().filter_map(|local| local.of(id.index, side));
        shards.map(Counts::get).fold(id.common.at(side).get(), Counted::plus)
    }

    /// See [`Phase::snapshot`].
    pub(crate) fn snapshot<T>(&self, read: impl FnMut(Side) -> T) -> [T; 2] {
        self.phase.snapshot(read)
    }

    /// Returns the number of variables that exist now. Takes time proportional to the number of shards.
    pub(crate) fn live(&self) -> u64 {
        Counted::of_sides(self.snapshot(|side| self.of_side(side))).live()
    }

    /// Returns the number of variables of an id that exist now.
    pub(crate) fn live_of(&self, id: Id<'_>) -> u64 {
        Counted::of_sides(self.snapshot(|side| self.of_id(id, side))).live()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard counts the store, the first ids and the others in different counters.
    #[test]
    fn every_id_has_a_place_of_its_own() {
        let mut places: Vec<_> = (FIRST..20_000).map(|index| Local::place(index).unwrap()).collect();
        for &(array, at, cell) in &places {
            assert!(array < ARRAYS && at < 1 << array && cell < CELLS);
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 20_000 - FIRST as usize);
        assert!(Local::place(524_286).is_some_and(|(array, at, _)| (array, at) == (15, (1 << 15) - 1)));
        assert!(Local::place(524_287).is_none() && Local::place(u32::MAX).is_none());
    }

    /// Shared counts are not lost when a shard begins to count by itself, nor are those of ids that shards never count.
    #[test]
    fn all_that_was_counted_is_in_the_sum() {
        const SHARDS: usize = 3;
        let tally = Tally::new(SHARDS);
        for index in [0, 1, 2, 3, 7, 4000, 524_286, 524_287, u32::MAX] {
            let common = Common::default();
            let id = Id { index, common: &common };
            let before = tally.live();
            for n in 1..=3 * FEW {
                tally.count_created(id, Shard::of(SHARDS));
                tally.count_created(id, Shard::shared(SHARDS));
                tally.count_freed(id, Shard::of(SHARDS), 1);
                assert_eq!((tally.live_of(id), tally.live()), (n, before + n), "id {index}");
            }
            let in_common = common.at(Side(0)).get().plus(common.at(Side(STEP as usize)).get());
            let all_in_common = in_common.created == 6 * FEW;
            assert_eq!(all_in_common, index >= 524_287, "id {index}: {in_common:?}");
        }
        assert_eq!(tally.sum() as u64, tally.live());
    }
}
