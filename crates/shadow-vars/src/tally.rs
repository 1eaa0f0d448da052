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

use std::ptr::NonNull;
use std::{hint, thread};

use crossbeam_utils::CachePadded;

use crate::mem::try_slice;
use crate::shard::Shard;
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
    #[cfg(all(test, shadow_loom))]
    pub(crate) fn index(self) -> usize {
        self.0 / STEP as usize
    }
}

/// What a phase grows by: the distance of the sides, so that an operation finds its own in few steps.
const STEP: u64 = size_of::<[Counts; Column::IDS]>() as u64;
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

/// Of one id, one side and one shard of threads.
#[derive(Default)]
pub(crate) struct Counts {
    created: stat::AtomicU64,
    freed: stat::AtomicU64,
}

/// The counts of as many ids, of one shard: a cache line or two a side.
pub(crate) type Lines = CachePadded<[[Counts; Column::IDS]; 2]>;

/// Variables of an id that were created and freed so far.
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

    /// Creations less frees, which may seem to be fewer.
    pub(crate) fn balance(self) -> i64 {
        self.created.wrapping_sub(self.freed).cast_signed()
    }
}

/// The counts of one id, in the lines of each shard.
pub(crate) struct Column {
    /// Of the first shard and side.
    first: NonNull<Counts>,
    shards: usize,
}

// SAFETY: leads to atomics, which are freed by the registry, after the entries.
unsafe impl Send for Column {}
// SAFETY: as above.
unsafe impl Sync for Column {}

impl Column {
    /// Ids that share their lines.
    pub(crate) const IDS: usize = 8;

    /// Lines for as many ids. Nothing if there is no memory.
    pub(crate) fn lines(shards: usize) -> Option<NonNull<[Lines]>> {
        try_slice(shards, Lines::default).map(|lines| NonNull::from(Box::leak(lines)))
    }

    /// The counts of the id that is the `of`th in these lines.
    ///
    /// # Safety
    ///
    /// The lines, one for each shard, live as long as the column is used, and `of` is below [`IDS`](Self::IDS).
    pub(crate) unsafe fn new(lines: NonNull<[Lines]>, of: usize) -> Self {
        Self {
            // SAFETY: the caller's.
            first: unsafe { lines.cast::<Counts>().add(of) },
            shards: lines.len(),
        }
    }

    #[inline]
    fn at(&self, shard: usize, side: Side) -> &Counts {
        assert!(shard < self.shards, "a shard of another store");
        // SAFETY: so it is in the lines, which are there (`new`); a side is 0 or STEP, where the second side begins.
        unsafe { self.first.byte_add(shard * size_of::<Lines>() + side.0).as_ref() }
    }

    #[inline]
    pub(crate) fn add_created(&self, shard: Shard, side: Side) {
        add(&self.at(shard.index, side).created, shard.is_own(), 1);
    }

    #[inline]
    pub(crate) fn add_freed(&self, shard: Shard, side: Side, count: u64) {
        add(&self.at(shard.index, side).freed, shard.is_own(), count);
    }

    /// What all shards have counted on a side: for a [look](Phase::look).
    pub(crate) fn sum(&self, side: Side) -> Counted {
        let shards = (0..self.shards).map(|shard| {
            let counts = self.at(shard, side);
            // Relaxed, both: the look has the fences.
            Counted {
                created: counts.created.load(Ordering::Relaxed),
                freed: counts.freed.load(Ordering::Relaxed),
            }
        });
        shards.fold(Counted::default(), Counted::plus)
    }
}
