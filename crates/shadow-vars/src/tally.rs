//! Counting variables so that the sum was true once.
//!
//! Each thread counts in a shard of its own. Who reads the shards one after the other would see an operation in one and miss
//! the one before it in another: thousands of variables where there were never more than a few, as many as came and went
//! while it read. So every counter is there twice, and a *phase* says which of the two operations add to. The other one
//! *rests*.
//!
//! - **N1** An operation reads the phase and adds to that side, once for each variable that it creates or frees.
//! - **N2** A look reads the side that rests, moves the phase on by compare-and-swap, and reads the side that rests from then
//!   on. It counts if nobody else moved the phase meanwhile: then each side rested while it was read, and the sum is what had
//!   been counted when the phase moved, but for N3. Else it starts over. Who is stopped in a look delays nobody.
//! - **N3** A thread may have read the phase before it moved and add afterwards: one operation on either side. For between
//!   two additions of a thread lies a compare-and-swap of its second operation, a full barrier on x86-64, with which the
//!   fence of the look pairs: who reads the old phase after that barrier has made the addition before it visible. (Elsewhere
//!   it is a matter of the processor's buffers, which hold a few operations at most.)
//! - **N4** What is freed was created: who frees reads the phase after who created did, or the creation still runs; so it
//!   reads no older phase. A look that counts a free counts the creation, unless that still runs.
//! - **N5** An operation adds to two sums, on one side: that of its id, and that of the store. N1 to N4 hold for each by
//!   itself. A sum is made of a counter that all threads share, which is there from the start, and of one of each shard that
//!   has counted it more than a few times. That is there, and published, before its first addition, and stays: a look that
//!   does not find it has not found its additions, which are those of N3 then; and what could not be made for lack of memory
//!   is counted in the shared one.

use std::ptr::{self, NonNull};
use std::{hint, thread};

use crate::mem::{try_box, try_slice};
use crate::shard::{PerShard, Shard};
use crate::sync::{Ordering, stat};
use crate::table::defect::{Defect, planted_everywhere};

/// What a phase and counters are made of: as the store has them, or as a model does.
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn fetch_add(&self, by: u64, order: Ordering);
    /// AcqRel. Whether it did.
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

/// One of the two counters of each pair, as its distance from the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Side(usize);

impl Side {
    #[inline]
    fn of(phase: u64) -> Self {
        Self(phase as usize & STEP as usize)
    }

    /// 0 or 1.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 / STEP as usize
    }
}

/// What a phase grows by: the distance of the sides, so that an operation finds its own in few steps.
const STEP: u64 = size_of::<[Counts; CELLS]>() as u64;
const _: () = assert!(STEP.is_power_of_two());

/// The side that operations add to. Goes around after 2^57 looks, which does no harm: only its parity and changes are asked.
#[derive(Default)]
pub(crate) struct Phase<W = stat::AtomicU64>(W);

impl<W: Word> Phase<W> {
    #[cfg(all(test, shadow_loom))]
    pub(crate) fn new(word: W) -> Self {
        Self(word)
    }

    /// Where an operation counts that runs now.
    #[inline]
    pub(crate) fn side(&self) -> Side {
        if planted_everywhere(Defect::PhaseIgnored) {
            return Side(0);
        }
        // Relaxed: coherence is all that N4 needs, the operation's compare-and-swap what N3 does.
        Side::of(self.0.load(Ordering::Relaxed))
    }

    /// Reads both sides with `read`, as they were when the phase moved (N2). Never waits for an operation; starts over as
    /// long as other looks come in between.
    pub(crate) fn look<T>(&self, mut read: impl FnMut(Side) -> T) -> [T; 2] {
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
                // Acquire: pairs with the Release in `add`: who saw an addition of a later phase sees that phase.
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

/// Adds to a counter, which nobody else writes if it is the thread's own.
#[inline]
pub(crate) fn add<W: Word>(counter: &W, own: bool, by: u64) {
    // Release: pairs with the fence in `Phase::look`.
    if own {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
    } else {
        counter.fetch_add(by, Ordering::Release);
    }
}

/// Of one sum, one side and one shard of threads.
#[derive(Default)]
pub(crate) struct Counts {
    created: stat::AtomicU64,
    freed: stat::AtomicU64,
}

/// What is counted: variables of an id that were created and freed so far.
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

    /// Of the two sides of a look. A creation that still runs and whose variable was freed already counts.
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
        // Relaxed, both: a look has the fences.
        Counted {
            created: self.created.load(Ordering::Relaxed),
            freed: self.freed.load(Ordering::Relaxed),
        }
    }
}

/// The counters of one sum that all threads share, by side: always there.
#[derive(Default)]
pub(crate) struct Common([Counts; 2]);

impl Common {
    fn at(&self, side: Side) -> &Counts {
        &self.0[side.index()]
    }

    /// Adds; whether that is what a shard has better a counter of its own for.
    fn add(&self, side: Side, counted: Counted) -> bool {
        self.at(side).add(false, counted);
        // A guess.
        let so_far = self.0[0].get().plus(self.0[1].get());
        so_far.created.wrapping_add(so_far.freed) >= FEW
    }
}

/// Operations of a sum before shards count it apart: what is seldom used is not worth the memory.
const FEW: u64 = 16;

/// Where an id is counted.
#[derive(Clone, Copy)]
pub(crate) struct Id<'e> {
    /// Its number among the store's ids.
    pub(crate) index: u32,
    pub(crate) common: &'e Common,
}

/// Counters of one shard that share their lines.
const CELLS: usize = 8;

/// As many counters, a cache line or two a side.
#[derive(Default)]
#[repr(align(128))]
struct Lines([[Counts; CELLS]; 2]);

impl Lines {
    #[inline]
    fn at(&self, cell: usize, side: Side) -> &Counts {
        assert!(cell < CELLS);
        // SAFETY: in the lines: a side is 0 or STEP, where the second side begins.
        unsafe {
            NonNull::from(&self.0)
                .cast::<Counts>()
                .add(cell)
                .byte_add(side.0)
                .as_ref()
        }
    }
}

/// The counters of one shard: of the store first, then of its ids.
struct Local {
    /// Of the store, and the first ids.
    first: Lines,
    /// The lines of the others, made when the shard counts one of them: in arrays of which each is twice the one before.
    others: [stat::AtomicPtr<stat::AtomicPtr<Lines>>; ARRAYS],
}

/// Ids that are counted beside the store.
const FIRST: u32 = CELLS as u32 - 1;
/// Ids beyond what these have room for are counted by all threads in one place: from the 524,288th on.
const ARRAYS: usize = 16;

impl Local {
    fn new() -> Self {
        Self {
            first: Lines::default(),
            others: std::array::from_fn(|_| stat::AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// The counter of an id, if there is one yet.
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
        // SAFETY: null, or an array of 2^array pointers, each null or to lines; all live as long as this.
        let lines = unsafe { (!lines.is_null()).then(|| (*lines.add(at)).load(Ordering::Acquire).as_ref())?? };
        Some(lines.at(cell, side))
    }

    /// Where an id is counted that is not among the first: which array, which of its lines, which of their counters.
    #[inline]
    fn place(index: u32) -> Option<(usize, usize, usize)> {
        let other = (index - FIRST) as usize;
        let lines = other / CELLS + 1;
        let array = lines.ilog2() as usize;
        (array < ARRAYS).then_some((array, lines - (1 << array), other % CELLS))
    }

    /// Makes the counter of an id, if there is memory.
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
            // AcqRel: Release publishes it to `of_other`; Acquire on failure, for that of whoever was first.
            let made = others.compare_exchange(ptr::null_mut(), fresh.cast(), Ordering::AcqRel, Ordering::Acquire);
            if made.is_err() {
                // SAFETY: made above, and never shared.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        let Some(fresh) = try_box(Lines::default()).map(Box::into_raw) else {
            return;
        };
        // SAFETY: not null by now, and as in `of_other`.
        let slot = unsafe { &*others.load(Ordering::Acquire).add(at) };
        // AcqRel: as above.
        let made = slot.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        if made.is_err() {
            // SAFETY: made above, and never shared.
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
            // SAFETY: made by `make` as a boxed slice of this length, and published once; nobody counts any more.
            let others = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(others, 1 << array)) };
            for lines in others.into_iter().filter_map(|lines| NonNull::new(lines.into_inner())) {
                // SAFETY: made by `make`, and published once.
                drop(unsafe { Box::from_raw(lines.as_ptr()) });
            }
        }
    }
}

/// The counts of a store's variables, and of those of each id.
pub(crate) struct Tally {
    phase: Phase,
    /// Of the store.
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
            None => self.count_created_on(id, shard),
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
            None => self.count_freed_on(id, shard, freed),
        }
    }

    /// The shard's counters of the store and of the id, on the side that operations add to now, where they share a line.
    #[inline(always)]
    fn both(&self, id: Id<'_>, shard: Shard) -> Option<(&Counts, &Counts)> {
        let side = self.phase.side();
        let local = self.shards.get(shard)?;
        (id.index < FIRST).then(|| (local.first.at(0, side), local.first.at(1 + id.index as usize, side)))
    }

    #[inline(never)]
    fn count_created_on(&self, id: Id<'_>, shard: Shard) {
        self.count(id, shard, Counted { created: 1, freed: 0 });
    }

    #[inline(never)]
    fn count_freed_on(&self, id: Id<'_>, shard: Shard, freed: u64) {
        self.count(id, shard, Counted { created: 0, freed });
    }

    /// The same in any case.
    fn count(&self, id: Id<'_>, shard: Shard, counted: Counted) {
        let side = self.phase.side();
        let Some(local) = self.shards.get(shard) else {
            id.common.add(side, counted);
            if self.common.add(side, counted) {
                // Without memory it goes on here.
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

    /// About how many variables live: for decisions that any value would do for.
    pub(crate) fn sum(&self) -> usize {
        let counted = self.of_side(Side(0)).plus(self.of_side(Side(STEP as usize)));
        // Below 0 if somebody's additions are not seen yet.
        usize::try_from(counted.created.wrapping_sub(counted.freed).cast_signed()).unwrap_or(0)
    }

    /// What was counted of the store on a side.
    fn of_side(&self, side: Side) -> Counted {
        let shards = self.shards.iter().map(|local| local.first.at(0, side).get());
        shards.fold(self.common.at(side).get(), Counted::plus)
    }

    /// What was counted of an id on a side: for a [look](Self::look).
    pub(crate) fn of_id(&self, id: Id<'_>, side: Side) -> Counted {
        let shards = self.shards.iter().filter_map(|local| local.of(id.index, side));
        shards.map(Counts::get).fold(id.common.at(side).get(), Counted::plus)
    }

    /// See [`Phase::look`].
    pub(crate) fn look<T>(&self, read: impl FnMut(Side) -> T) -> [T; 2] {
        self.phase.look(read)
    }

    /// Variables that live now. Takes time proportional to the number of shards.
    pub(crate) fn live(&self) -> u64 {
        Counted::of_sides(self.look(|side| self.of_side(side))).live()
    }

    /// Variables of an id that live now.
    pub(crate) fn live_of(&self, id: Id<'_>) -> u64 {
        Counted::of_sides(self.look(|side| self.of_id(id, side))).live()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard counts the store, the first ids and others in places that are all apart.
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

    /// What is counted in common is not lost when a shard begins to count by itself, nor are ids that it never can.
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
