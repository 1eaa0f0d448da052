//! A table: an array of slots in buckets of one cache line, the link to its successor, and the state of its migration.

use std::ptr::{self, NonNull};

use super::count::ShardedCount;
use super::group::{BUCKET, Lane};
use super::hash::{KeyHash, Walk};
use super::node::{Node, is_near};
use super::sieve::{Sieve, Sieved};
pub(crate) use super::slots::SlotIndex;
use super::slots::Slots;
use super::word::Word;
use crate::mem::{Stride, try_box, try_slice};
use crate::reclaim::object::Interval;
use crate::shard::Shard;
use crate::sync::stat::{self, AtomicU8};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Buckets that share a mark: they follow each other in a walk.
const BUCKETS_PER_MARK: usize = 64;

/// The fewest marks that a table has, if any. Models have none: a walk through their tables is short.
const FEWEST_MARKS: usize = if cfg!(shadow_loom) { 1 << 16 } else { 8 };

const BUCKET_BYTES: usize = BUCKET * size_of::<u64>();

/// The largest table: 2^40 buckets of 64 bytes are more than any address space holds.
pub(crate) const MAX_LOG2: u32 = 40;

/// The least number of frees between two checks whether a table has become too large: a check reads the counts of all shards.
const FEWEST_FREES: usize = 64;

/// Tables of fewer buckets than this (a logarithm) count claims in one cell for all threads.
const SHARED_LOG2: u32 = 6;

/// A table. Chained oldest first through `next`; see the drawing in [`super`]. The fields that every operation reads are in
/// one cache line.
#[repr(C, align(64))]
pub(crate) struct Table {
    /// First, so that a retired table is a `Node` to the retire lists.
    pub(crate) header: Node,
    // Read by every operation.
    pub(crate) log2: u32,
    /// The size of the slots, in bytes.
    slot_bytes: usize,
    /// The same for finds; or 0 while they check the sieve first: then the fast path reads one and the same bucket for all
    /// keys, and mostly goes on to the slow path.
    find_bytes: stat::AtomicUsize,
    slots: Slots,
    // Read after a scan that decided nothing, and by every insert.
    next: AtomicPtr<Table>,
    /// Position in the chain: one more than the table before.
    pub(crate) generation: u64,
    // Touched when a slot is claimed.
    /// Not 0 where a slot may have been claimed (L6): one mark for each [`BUCKETS_PER_MARK`] buckets, or none at all.
    marks: Box<[AtomicU8]>,
    /// The keys for which slots have been claimed (L7), if the table has a sieve.
    sieve: Option<Sieve>,
    /// The order in which walks visit the buckets.
    pub(crate) walk: Walk,
    pub(crate) claimed: ShardedCount,
    /// Claims of new keys while an older table exists, and how many of them there may be (P4).
    tickets: AtomicUsize,
    room: usize,
    /// Claims at which there should be a successor, and claims of one shard between two checks of the sum of all shards.
    limit: usize,
    claim_stride: Stride,
    /// Retirements of one shard between two checks whether the table has become too large.
    pub(crate) free_stride: Stride,
    /// Retirements in the store before the table was created.
    pub(crate) retired: u64,
    // Touched by migration.
    block: usize,
    /// The next block that no thread has taken.
    cursor: AtomicUsize,
    /// One bit per finished block, and the number of bits set.
    done: Box<[AtomicU64]>,
    finished: AtomicUsize,
}

/// The parameters of a new table.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) log2: u32,
    pub(crate) generation: u64,
    pub(crate) room: usize,
    /// Buckets per migration block.
    pub(crate) block: usize,
    pub(crate) shards: usize,
    pub(crate) retired: u64,
    /// The era of birth, with intervals.
    pub(crate) born: Option<u64>,
    pub(crate) sieved: Sieved,
}

impl Table {
    /// Allocates a table of EMPTY slots. Returns `None` if allocation fails.
    pub(crate) fn alloc(plan: Plan) -> Option<NonNull<Self>> {
        let slots = Slots::alloc(BUCKET.checked_shl(plan.log2)?)?;
        let blocks = (1_usize << plan.log2).div_ceil(plan.block);
        let limit = (BUCKET << plan.log2) * 3 / 4;
        let marks = Some((1 << plan.log2) / BUCKETS_PER_MARK).filter(|&marks| marks >= FEWEST_MARKS);
        // A slot is claimed once: the counter of a small table is contended for a short time.
        let counters = if plan.log2 < SHARED_LOG2 { 0 } else { plan.shards };
        let (slot_bytes, sieve) = (BUCKET_BYTES << plan.log2, Sieve::new(plan.log2, plan.sieved));
        let interval = match plan.born {
            Some(born) => Some(try_box(Interval::new(born))?),
            None => None,
        };
        let table = try_box(Self {
            header: Node::for_table(),
            log2: plan.log2,
            slot_bytes,
            find_bytes: stat::AtomicUsize::new(match &sieve {
                Some(sieve) if sieve.starts_with_sieve() => 0,
                _ => slot_bytes,
            }),
            slots,
            next: AtomicPtr::new(Self::no_successor(sieve.is_some())),
            generation: plan.generation,
            marks: try_slice(marks.unwrap_or(0), || AtomicU8::new(0))?,
            sieve,
            walk: Walk::new(plan.log2),
            claimed: ShardedCount::new(counters)?,
            tickets: AtomicUsize::new(0),
            room: plan.room,
            limit,
            // Between two checks, all shards together may add a sixteenth of the limit.
            claim_stride: Stride::at_most(limit / (16 * plan.shards)),
            free_stride: Stride::at_most((limit / (16 * plan.shards)).max(FEWEST_FREES)),
            retired: plan.retired,
            block: plan.block,
            cursor: AtomicUsize::new(0),
            done: try_slice(blocks.div_ceil(64), || AtomicU64::new(0))?,
            finished: AtomicUsize::new(0),
        })?;
        let fresh = Box::into_raw(table);
        // The address has to fit into the link of a retire list.
        if !is_near(fresh) {
            // SAFETY: allocated above, and never shared.
            drop(unsafe { Box::from_raw(fresh) });
            return None;
        }
        if let Some(interval) = interval {
            // SAFETY: allocated above, and not shared yet.
            unsafe { (*fresh).header.obj = Box::into_raw(interval).expose_provenance() };
        }
        NonNull::new(fresh)
    }

    /// Frees a table.
    ///
    /// # Safety
    ///
    /// Called once per table, when it cannot be reached any more.
    pub(crate) unsafe fn dealloc(table: NonNull<Self>) {
        // The pointer may have been derived from a shared reference; the one exposed by `alloc` may write and free.
        let table: *mut Self = std::ptr::with_exposed_provenance_mut(table.addr().get());
        // SAFETY: allocated by `alloc`, and so was the interval, if there is one; the caller guarantees that nothing uses them
        // any more.
        unsafe {
            let interval = (*table).header.obj;
            if interval != 0 {
                drop(Box::from_raw(std::ptr::with_exposed_provenance_mut::<Interval>(
                    interval,
                )));
            }
            drop(Box::from_raw(table));
        }
    }

    /// Like [`Node::loom_free`], for every word of a table.
    #[cfg(shadow_loom)]
    pub(crate) fn loom_free(&mut self) {
        for slot in 0..self.capacity() {
            // SAFETY: in bounds; loom runs one thread at a time, and none is inside an access to the slot.
            unsafe { self.slots.first.add(slot).as_mut() }.with_mut(|_| ());
        }
        self.next.with_mut(|_| ());
        self.done.iter_mut().for_each(|word| word.with_mut(|_| ()));
        for counter in [&mut self.tickets, &mut self.cursor, &mut self.finished] {
            counter.with_mut(|_| ());
        }
    }

    /// Writes nodes into the memory of the slots, and calls `with` on them.
    ///
    /// # Safety
    ///
    /// The table is owned by the caller, and its slots are read only by the iterator, which has read at least as many as it
    /// has returned nodes, in order from the first.
    pub(crate) unsafe fn in_place_of_slots(
        &self,
        nodes: impl Iterator<Item = NonNull<Node>>,
        with: impl FnOnce(&mut [NonNull<Node>]),
    ) {
        const { assert!(size_of::<NonNull<Node>>() <= size_of::<AtomicU64>()) };
        if cfg!(shadow_loom) {
            // Under loom, a slot is larger than its word.
            return with(&mut nodes.collect::<Vec<_>>());
        }
        let first = self.slots.first.cast::<NonNull<Node>>();
        let mut count = 0;
        for node in nodes {
            // SAFETY: there are no more nodes than slots, each of which has room for a pointer; the caller guarantees that
            // this slot is not read any more.
            unsafe { first.add(count).write(node) };
            count += 1;
        }
        // SAFETY: this many were written, and the caller owns the memory.
        with(unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), count) });
    }

    pub(crate) fn buckets(&self) -> usize {
        1 << self.log2
    }

    #[inline]
    pub(crate) fn mask(&self) -> usize {
        self.walk.mask as usize
    }

    /// Returns the bucket where the probe for a key begins.
    #[inline]
    pub(crate) fn home(&self, hash: KeyHash) -> usize {
        super::hash::home(hash.point, self.log2)
    }

    /// Returns the slots of the bucket where the probe for a key begins: `bucket(home(hash))`, in fewer instructions.
    #[inline]
    pub(crate) fn home_bucket(&self, hash: KeyHash) -> &[AtomicU64; BUCKET] {
        if cfg!(shadow_loom) {
            return self.bucket(self.home(hash));
        }
        // SAFETY: the size of the slots.
        unsafe { self.bucket_of(hash, self.slot_bytes) }
    }

    /// Returns the bucket that a find reads first: the [home](Self::home_bucket), unless finds are to check the sieve before
    /// that.
    #[inline]
    pub(crate) fn find_bucket(&self, hash: KeyHash) -> &[AtomicU64; BUCKET] {
        if cfg!(shadow_loom) {
            return self.bucket(self.home(hash));
        }
        // SAFETY: the size of the slots, or 0. Relaxed: either value is correct.
        unsafe { self.bucket_of(hash, self.find_bytes.load(Ordering::Relaxed)) }
    }

    /// Returns the bucket whose offset is to `slot_bytes` as the hash is to 2^64: without a variable shift, which is several
    /// operations.
    ///
    /// # Safety
    ///
    /// `slot_bytes` is the size of the slots, or 0.
    #[inline(always)]
    unsafe fn bucket_of(&self, hash: KeyHash, slot_bytes: usize) -> &[AtomicU64; BUCKET] {
        let byte = ((u128::from(hash.point) * slot_bytes as u128) >> 64) as usize;
        // SAFETY: a multiple of a bucket's size, 0 or below `slot_bytes`; zero bytes are valid.
        unsafe { self.slots.first.byte_add(byte & !(BUCKET_BYTES - 1)).cast().as_ref() }
    }

    pub(crate) fn capacity(&self) -> usize {
        BUCKET << self.log2
    }

    /// Returns the bytes held by the table.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.capacity() * size_of::<AtomicU64>() + self.marks.len() + self.sieve_bytes()
    }

    fn sieve_bytes(&self) -> usize {
        self.sieve.as_ref().map_or(0, Sieve::bytes)
    }

    /// Returns the slot at this position of this bucket; both wrap around.
    #[inline]
    pub(crate) fn index(&self, bucket: usize, position: usize) -> SlotIndex {
        SlotIndex((bucket & self.mask()) * BUCKET + position % BUCKET)
    }

    /// Returns the slots of a bucket; wraps around.
    #[inline]
    pub(crate) fn bucket(&self, bucket: usize) -> &[AtomicU64; BUCKET] {
        let first = self.index(bucket, 0);
        // SAFETY: a whole bucket begins there (`index`), and zero bytes are valid.
        unsafe { self.slots.first.add(first.0).cast().as_ref() }
    }

    /// Returns the slot in this lane of a bucket of this table.
    #[inline]
    pub(crate) fn slot_in(&self, bucket: &[AtomicU64; BUCKET], lane: Lane) -> SlotIndex {
        // SAFETY: the bucket is a part of the slots, and a lane is the offset of one of its slots.
        SlotIndex(unsafe {
            let slot = NonNull::from(bucket).cast::<AtomicU64>().byte_add(lane.bytes());
            slot.offset_from_unsigned(self.slots.first)
        })
    }

    /// Returns the bucket where a probe continues after this one.
    #[inline]
    pub(crate) fn bucket_after(&self, bucket: &[AtomicU64; BUCKET]) -> &[AtomicU64; BUCKET] {
        self.bucket(self.slot_in(bucket, Lane::FIRST).bucket() + 1)
    }

    #[inline]
    pub(crate) fn load(&self, slot: SlotIndex, order: Ordering) -> Word {
        self.header.check();
        Word::from_bits(self.slots.get(slot).load(order))
    }

    /// Like [`load`](Self::load), of a slot by its bucket.
    #[inline]
    pub(crate) fn load_lane(&self, bucket: &[AtomicU64; BUCKET], lane: Lane, order: Ordering) -> Word {
        self.header.check();
        // SAFETY: a lane is the offset of one of the bucket's slots.
        let slot: &AtomicU64 = unsafe { NonNull::from(bucket).cast().byte_add(lane.bytes()).as_ref() };
        Word::from_bits(slot.load(order))
    }

    /// Changes a slot by compare-and-swap, as all but [`set_moved`](Self::set_moved) do. Returns whether it did.
    ///
    /// AcqRel: Release publishes what the new word leads to (a node, or work done in the successor) to every `load`;
    /// Acquire, because what the old word led to is used next. Relaxed on failure: the caller loads again (O1).
    #[must_use]
    #[inline]
    pub(crate) fn cas(&self, slot: SlotIndex, from: Word, to: Word) -> bool {
        self.header.check();
        debug_assert!(
            from != Word::EMPTY || to == Word::SEALED || self.is_marked(slot.bucket()),
            "a claim without a mark (L6)"
        );
        let slot = self.slots.get(slot);
        slot.compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Turns FROZEN into MOVED, by any thread: FROZEN becomes nothing else, and MOVED never changes, so a plain store is enough,
    /// however late.
    ///
    /// Release, as in `cas`: a thread that loads MOVED sees what was done in the successor before (O1).
    #[inline]
    pub(crate) fn set_moved(&self, slot: SlotIndex) {
        self.header.check();
        self.slots.get(slot).store(Word::MOVED.bits(), Ordering::Release);
    }

    /// A deliberate defect: a plain store in place of a compare-and-swap.
    #[cfg(any(test, shadow_loom))]
    pub(crate) fn store(&self, slot: SlotIndex, to: Word) {
        self.header.check();
        self.slots.get(slot).store(to.bits(), Ordering::Release);
    }

    /// Returns the value of `next` before there is a successor: not null if there is a sieve, so that finds leave the fast
    /// path to check it.
    fn no_successor(sieved: bool) -> *mut Self {
        ptr::without_provenance_mut(usize::from(sieved))
    }

    /// Returns the successor, once there is one. `Core::next` ensures that it is protected.
    #[inline]
    pub(crate) fn load_next(&self, order: Ordering) -> Option<NonNull<Self>> {
        self.header.check();
        // At least Acquire: pairs with `install`, which publishes a table of EMPTY slots (O2).
        let next = self.next.load(order);
        NonNull::new(next).filter(|next| next.addr().get() > 1)
    }

    /// Returns whether there is neither a successor nor a sieve. Acquire, as in [`load_next`](Self::load_next).
    #[inline]
    pub(crate) fn is_last_without_sieve(&self) -> bool {
        self.header.check();
        self.next.load(Ordering::Acquire).is_null()
    }

    /// Returns whether there is a successor. Acquire, as in [`load_next`](Self::load_next).
    #[inline]
    pub(crate) fn has_next(&self) -> bool {
        self.load_next(Ordering::Acquire).is_some()
    }

    /// Makes `fresh` the successor unless there is one already. Returns whether it did; if so, the table owns it.
    ///
    /// # Safety
    ///
    /// `fresh` was made by [`alloc`](Self::alloc), of the next generation, and no other thread knows it.
    pub(crate) unsafe fn install(&self, fresh: NonNull<Self>) -> bool {
        self.header.check();
        // AcqRel: Release publishes the new table to `load_next`. Relaxed on failure: a caller that needs the winner's table
        // loads it.
        let nothing = Self::no_successor(self.sieve.is_some());
        self.next
            .compare_exchange(nothing, fresh.as_ptr(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Returns the mark of a bucket, if the table has marks.
    #[inline]
    fn mark_of(&self, bucket: usize) -> Option<&AtomicU8> {
        self.marks.get(self.walk.before(bucket) / BUCKETS_PER_MARK)
    }

    /// Returns whether a slot may have been claimed in a bucket, or by a key whose home it is.
    pub(crate) fn is_marked(&self, bucket: usize) -> bool {
        // Relaxed: as in `mark`.
        self.mark_of(bucket)
            .is_none_or(|mark| mark.load(Ordering::Relaxed) != 0)
    }

    /// Marks a bucket in which a slot is about to be claimed, or by a key whose home it is. Comes before the claim (L6).
    #[inline]
    pub(crate) fn mark(&self, bucket: usize) {
        // Relaxed, both: a thread that must see the mark is ordered after the claim, or after the one by which the claim was
        // seen (L6).
        if let Some(mark) = self.mark_of(bucket)
            && mark.load(Ordering::Relaxed) == 0
        {
            mark.store(1, Ordering::Relaxed);
        }
    }

    /// Marks the bucket of a slot.
    #[inline]
    pub(crate) fn mark_slot(&self, slot: SlotIndex) {
        self.mark(slot.0 / BUCKET);
    }

    /// Records in the sieve that a slot is about to be claimed for a key. Comes before the claim (L7).
    #[inline(always)]
    pub(crate) fn note(&self, hash: KeyHash) {
        if let Some(sieve) = &self.sieve {
            sieve.note(hash);
        }
    }

    /// Returns whether a find should check [`may_contain`](Self::may_contain) first.
    #[inline(always)]
    pub(crate) fn checks_sieve(&self) -> bool {
        // Relaxed, here and below: a heuristic.
        self.find_bytes.load(Ordering::Relaxed) == 0
    }

    /// Returns whether a slot may have been claimed for a key (L7).
    #[inline(always)]
    pub(crate) fn may_contain(&self, hash: KeyHash) -> bool {
        self.sieve.as_ref().is_none_or(|sieve| sieve.may_contain(hash))
    }

    /// Adapts later finds to the outcome of one that found nothing without the sieve, or something in spite of it: one in
    /// 1,024 of them decides whether finds check the sieve first. `check` says that they should.
    pub(crate) fn adapt_finds(&self, home: &[AtomicU64; BUCKET], check: bool) {
        if let Some(sieve) = &self.sieve
            && (Sieve::is_sample(home) || sieve.starts_with_sieve())
            // Models always check it.
            && !cfg!(shadow_loom)
        {
            self.find_bytes
                .store(if check { 0 } else { self.slot_bytes }, Ordering::Relaxed);
        }
    }

    /// Returns the first of these steps of a walk whose bucket is marked: where a slot may have been claimed, or by a key
    /// whose home it is.
    #[inline]
    pub(crate) fn first_marked(&self, steps: std::ops::Range<usize>) -> Option<usize> {
        let mut step = steps.start;
        while step < steps.end {
            // Relaxed: as in `mark`.
            match self.marks.get(step / BUCKETS_PER_MARK) {
                Some(mark) if mark.load(Ordering::Relaxed) == 0 => step = (step | (BUCKETS_PER_MARK - 1)) + 1,
                _ => return Some(step),
            }
        }
        None
    }

    /// Counts a claim. Returns whether the table may have passed its load limit of three quarters.
    #[inline]
    pub(crate) fn count_claim(&self, shard: Shard) -> bool {
        self.claim_stride.divides(self.claimed.add(shard)) && self.claimed.sum() >= self.limit
    }

    /// Takes a ticket to claim a new key's slot while an older table exists. Returns false if none are left.
    pub(crate) fn take_ticket(&self) -> bool {
        // Relaxed: the count bounds claims approximately; correctness does not depend on it.
        self.tickets.fetch_add(1, Ordering::Relaxed) < self.room
    }

    /// Returns the buckets of a block.
    pub(crate) fn block(&self, block: usize) -> std::ops::Range<usize> {
        let start = block * self.block;
        start..self.buckets().min(start + self.block)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.buckets().div_ceil(self.block)
    }

    /// Returns a block to migrate: one that no thread has taken, or else one that is not finished. Returns `None` if all are
    /// finished.
    pub(crate) fn next_block(&self) -> Option<usize> {
        // Relaxed: taking a block only spreads the work; finishing one twice is harmless (I8).
        if self.cursor.load(Ordering::Relaxed) < self.blocks() {
            let block = self.cursor.fetch_add(1, Ordering::Relaxed);
            if block < self.blocks() {
                return Some(block);
            }
        }
        self.next_unfinished()
    }

    /// Returns the first block that is not finished. `None` means that every slot of the table is finished.
    pub(crate) fn next_unfinished(&self) -> Option<usize> {
        (0..self.done.len()).find_map(|word| {
            // Acquire: pairs with `finish_block`, for the thread that swings the root because all blocks are finished (O5).
            let block = word * 64 + (!self.done[word].load(Ordering::Acquire)).trailing_zeros() as usize;
            (block < self.blocks() && block / 64 == word).then_some(block)
        })
    }

    /// Records that every slot of the block is finished. Returns whether this was the last block. If the thread that finishes
    /// the last is stopped before it swings the root, the next one that requests a block gets `None`, and swings it.
    #[must_use]
    pub(crate) fn finish_block(&self, block: usize) -> bool {
        let bit = 1 << (block % 64);
        // AcqRel, on both: the thread that finishes the last block sees all that was done for the others, and so does, through
        // the root, every later operation (O5).
        if self.done[block / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.finished.fetch_add(1, Ordering::AcqRel) + 1 == self.blocks()
        } else {
            false
        }
    }
}
