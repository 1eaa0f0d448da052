//! One table: an array of slots in buckets of one cache line, its successor, and the state of its migration.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use super::count::ShardedCount;
use super::group::Lane;
use super::hash::{KeyHash, Walk};
use super::node::{Node, is_near};
use super::sieve::{Sieve, Sieved};
use super::word::Word;
use crate::mapping;
use crate::mem::{Stride, try_box, try_slice};
use crate::reclaim::object::Interval;
use crate::shard::Shard;
use crate::sync::stat::{self, AtomicU8};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Slots per bucket: a cache line of them. Two under loom, where every load is a scheduling point.
pub(crate) const BUCKET: usize = if cfg!(shadow_loom) { 2 } else { 8 };

/// Buckets that share a mark: those that a walk comes to one after the other.
const MARKED: usize = 64;

/// Marks of the smallest table that has any. Models have none: they are of tables that are soon walked through.
const FEWEST_MARKS: usize = if cfg!(shadow_loom) { 1 << 16 } else { 8 };

const BUCKET_BYTES: usize = BUCKET * size_of::<u64>();

/// The largest table: 2^40 buckets of 64 bytes are more than any address space holds.
pub(crate) const MAX_LOG2: u32 = 40;

/// Frees between two looks at whether a table has become too large, at least: a look reads the counts of all shards.
const FEWEST_FREES: usize = 64;

/// Tables of fewer buckets (of this logarithm) count what is claimed in one place for all threads.
const SHARED_LOG2: u32 = 6;

/// A table. Chained old to new through `next`; see the drawing in [`super`]. What every operation reads is in one line.
#[repr(C, align(64))]
pub(crate) struct Table {
    /// First, so that a retired table is a `Node` to the retire lists.
    pub(crate) header: Node,
    // Read by every operation.
    pub(crate) log2: u32,
    /// The slots' bytes.
    span: usize,
    /// The same for finds; or 0 where they are to ask the sieve first, and so look at one bucket for all keys, which says
    /// nothing of most.
    find_span: stat::AtomicUsize,
    slots: Slots,
    // Read after a scan that found no answer, and by every insert.
    next: AtomicPtr<Table>,
    /// Position in the chain: one more than the table before.
    pub(crate) generation: u64,
    // Touched when a slot is claimed.
    /// Not 0 where something was claimed (L6): a mark for [`MARKED`] buckets each, or none at all.
    marks: Box<[AtomicU8]>,
    /// For whom something was claimed (L7), if the table has one.
    sieve: Option<Sieve>,
    /// The order in which walks take the buckets.
    pub(crate) walk: Walk,
    /// Slots that were claimed so far.
    pub(crate) claimed: ShardedCount,
    /// Claims of new keys while an older table lived, and how many of them there may be (P4).
    tickets: AtomicUsize,
    room: usize,
    /// Claims at which there should be a successor, and how many of one shard lie between two looks at the sum of all.
    limit: usize,
    claim_stride: Stride,
    /// Retirements of one shard between two looks at whether the table has become too large.
    pub(crate) free_stride: Stride,
    /// What had been retired when the table was made.
    pub(crate) retired: u64,
    // Touched by migration.
    block: usize,
    /// The next block that nobody took yet.
    cursor: AtomicUsize,
    /// One bit per finished block, and how many are set.
    done: Box<[AtomicU64]>,
    finished: AtomicUsize,
}

/// What a table is made with.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) log2: u32,
    pub(crate) generation: u64,
    pub(crate) room: usize,
    /// Buckets per migration block.
    pub(crate) block: usize,
    pub(crate) shards: usize,
    pub(crate) retired: u64,
    /// With intervals: the era.
    pub(crate) born: Option<u64>,
    pub(crate) sieved: Sieved,
}

/// A slot of a table, by number: in bounds by construction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotIndex(usize);

impl Table {
    /// A table of EMPTY slots. Nothing if there is no memory for it.
    pub(crate) fn alloc(plan: Plan) -> Option<NonNull<Self>> {
        let slots = Slots::alloc(BUCKET.checked_shl(plan.log2)?)?;
        let blocks = (1_usize << plan.log2).div_ceil(plan.block);
        let limit = (BUCKET << plan.log2) * 3 / 4;
        let marks = Some((1 << plan.log2) / MARKED).filter(|&marks| marks >= FEWEST_MARKS);
        // A slot is claimed once, so a small table is not for long a place where threads meet.
        let counters = if plan.log2 < SHARED_LOG2 { 0 } else { plan.shards };
        let (span, sieve) = (BUCKET_BYTES << plan.log2, Sieve::new(plan.log2, plan.sieved));
        let interval = match plan.born {
            Some(born) => Some(try_box(Interval::new(born))?),
            None => None,
        };
        let table = try_box(Self {
            header: Node::for_table(),
            log2: plan.log2,
            span,
            find_span: stat::AtomicUsize::new(match &sieve {
                Some(sieve) if sieve.asks_at_first() => 0,
                _ => span,
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
            // What all shards may add between two looks is a sixteenth of the limit.
            claim_stride: Stride::at_most(limit / (16 * plan.shards)),
            free_stride: Stride::at_most((limit / (16 * plan.shards)).max(FEWEST_FREES)),
            retired: plan.retired,
            block: plan.block,
            cursor: AtomicUsize::new(0),
            done: try_slice(blocks.div_ceil(64), || AtomicU64::new(0))?,
            finished: AtomicUsize::new(0),
        })?;
        let fresh = Box::into_raw(table);
        // It has to fit into a retire list's link.
        if !is_near(fresh) {
            // SAFETY: made just now.
            drop(unsafe { Box::from_raw(fresh) });
            return None;
        }
        if let Some(interval) = interval {
            // SAFETY: made just now, and nobody else's.
            unsafe { (*fresh).header.obj = Box::into_raw(interval).expose_provenance() };
        }
        NonNull::new(fresh)
    }

    /// # Safety
    ///
    /// Once per table, when nobody can reach it any more.
    pub(crate) unsafe fn dealloc(table: NonNull<Self>) {
        // The pointer may have been a shared reference on its way here; the one from `alloc` may write and free.
        let table: *mut Self = std::ptr::with_exposed_provenance_mut(table.addr().get());
        // SAFETY: made by `alloc`; the caller's otherwise. So was the interval, if there is one.
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

    /// As [`Node::let_go`], for every word of a table.
    #[cfg(shadow_loom)]
    pub(crate) fn let_go(&mut self) {
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

    /// Writes nodes where the slots were, and shows them to `with`.
    ///
    /// # Safety
    ///
    /// Nobody else has the table, whose slots nobody reads any more but the iterator; and that has read as many as it has
    /// given out nodes, in order from the first.
    pub(crate) unsafe fn in_place_of_slots(
        &self,
        nodes: impl Iterator<Item = NonNull<Node>>,
        with: impl FnOnce(&mut [NonNull<Node>]),
    ) {
        const { assert!(size_of::<NonNull<Node>>() <= size_of::<AtomicU64>()) };
        if cfg!(shadow_loom) {
            // There, a slot is more than its word.
            return with(&mut nodes.collect::<Vec<_>>());
        }
        let first = self.slots.first.cast::<NonNull<Node>>();
        let mut count = 0;
        for node in nodes {
            // SAFETY: there are no more than slots, each of which has room for a pointer; the caller's.
            unsafe { first.add(count).write(node) };
            count += 1;
        }
        // SAFETY: so many were written, and are nobody else's.
        with(unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), count) });
    }

    pub(crate) fn buckets(&self) -> usize {
        1 << self.log2
    }

    #[inline]
    pub(crate) fn mask(&self) -> usize {
        self.walk.mask as usize
    }

    /// The bucket where the probe for a key begins.
    #[inline]
    pub(crate) fn home(&self, hash: KeyHash) -> usize {
        super::hash::home(hash.point, self.log2)
    }

    /// The slots of the bucket where the probe for a key begins: `bucket(home(hash))`, in fewer steps.
    #[inline]
    pub(crate) fn home_bucket(&self, hash: KeyHash) -> &[AtomicU64; BUCKET] {
        if cfg!(shadow_loom) {
            return self.bucket(self.home(hash));
        }
        // SAFETY: the slots' bytes.
        unsafe { self.bucket_of(hash, self.span) }
    }

    /// The bucket that a find looks at first: the [home](Self::home_bucket), if it is not to ask the sieve before that.
    #[inline]
    pub(crate) fn find_bucket(&self, hash: KeyHash) -> &[AtomicU64; BUCKET] {
        if cfg!(shadow_loom) {
            return self.bucket(self.home(hash));
        }
        // SAFETY: the slots' bytes, or 0. Relaxed: whichever it is.
        unsafe { self.bucket_of(hash, self.find_span.load(Ordering::Relaxed)) }
    }

    /// The bucket at the part of so many bytes that the hash is of 2^64: without a variable shift, which is several operations.
    ///
    /// # Safety
    ///
    /// The slots have so many bytes, or there are none to choose from.
    #[inline(always)]
    unsafe fn bucket_of(&self, hash: KeyHash, span: usize) -> &[AtomicU64; BUCKET] {
        let byte = ((u128::from(hash.point) * span as u128) >> 64) as usize;
        // SAFETY: a multiple of a bucket's size, 0 or below the caller's bytes; zero bytes are valid.
        unsafe { self.slots.first.byte_add(byte & !(BUCKET_BYTES - 1)).cast().as_ref() }
    }

    pub(crate) fn capacity(&self) -> usize {
        BUCKET << self.log2
    }

    /// Bytes held by the table.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.capacity() * size_of::<AtomicU64>() + self.marks.len() + self.sieve_bytes()
    }

    fn sieve_bytes(&self) -> usize {
        self.sieve.as_ref().map_or(0, Sieve::bytes)
    }

    /// The slot at this position of this bucket; both wrap around.
    #[inline]
    pub(crate) fn index(&self, bucket: usize, position: usize) -> SlotIndex {
        SlotIndex((bucket & self.mask()) * BUCKET + position % BUCKET)
    }

    /// The slots of a bucket; wraps around.
    #[inline]
    pub(crate) fn bucket(&self, bucket: usize) -> &[AtomicU64; BUCKET] {
        let first = self.index(bucket, 0);
        // SAFETY: a whole bucket begins there (`index`), and zero bytes are valid.
        unsafe { self.slots.first.add(first.0).cast().as_ref() }
    }

    /// The slot in this lane of a bucket of this table.
    #[inline]
    pub(crate) fn slot_in(&self, bucket: &[AtomicU64; BUCKET], lane: Lane) -> SlotIndex {
        // SAFETY: the bucket is a part of the slots, and a lane is the place of one of its.
        SlotIndex(unsafe {
            let slot = NonNull::from(bucket).cast::<AtomicU64>().byte_add(lane.bytes());
            slot.offset_from_unsigned(self.slots.first)
        })
    }

    /// The bucket where a probe goes on that found no end in this one.
    #[inline]
    pub(crate) fn bucket_after(&self, bucket: &[AtomicU64; BUCKET]) -> &[AtomicU64; BUCKET] {
        self.bucket(self.slot_in(bucket, Lane::FIRST).0 / BUCKET + 1)
    }

    #[inline]
    pub(crate) fn load(&self, slot: SlotIndex, order: Ordering) -> Word {
        self.header.check();
        Word::from_bits(self.slots.get(slot).load(order))
    }

    /// As [`load`](Self::load), of a slot by its bucket.
    #[inline]
    pub(crate) fn load_lane(&self, bucket: &[AtomicU64; BUCKET], lane: Lane, order: Ordering) -> Word {
        self.header.check();
        // SAFETY: a lane is the place of one of the bucket's slots.
        let slot: &AtomicU64 = unsafe { NonNull::from(bucket).cast().byte_add(lane.bytes()).as_ref() };
        Word::from_bits(slot.load(order))
    }

    /// The only way in which a slot changes. Whether it did.
    ///
    /// AcqRel: Release publishes what the new word leads to (a node, or work done in the successor) to every `load`;
    /// Acquire, because what the old word led to is used next. Relaxed on failure: the caller loads again (O1).
    #[must_use]
    #[inline]
    pub(crate) fn cas(&self, slot: SlotIndex, from: Word, to: Word) -> bool {
        self.header.check();
        debug_assert!(
            from != Word::EMPTY || to == Word::SEALED || self.is_marked(slot.0 / BUCKET),
            "a claim without a mark (L6)"
        );
        let slot = self.slots.get(slot);
        slot.compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// FROZEN → MOVED, by whoever: nothing else comes of FROZEN, and nothing of MOVED, so a plain store does, however late.
    ///
    /// Release, as in `cas`: what was done in the successor before is seen by whoever loads MOVED (O1).
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

    /// What `next` is before there is a successor: not null if there is a sieve, which is to be asked then.
    fn no_successor(sieved: bool) -> *mut Self {
        ptr::without_provenance_mut(usize::from(sieved))
    }

    /// The successor, once there is one. `Core::next` says whether it is protected.
    #[inline]
    pub(crate) fn load_next(&self, order: Ordering) -> Option<NonNull<Self>> {
        self.header.check();
        // At least Acquire: pairs with `install`, which publishes a table of EMPTY slots (O2).
        let next = self.next.load(order);
        NonNull::new(next).filter(|next| next.addr().get() > 1)
    }

    /// Whether there is neither a successor nor a sieve. Acquire, as in [`load_next`](Self::load_next).
    #[inline]
    pub(crate) fn is_last_without_sieve(&self) -> bool {
        self.header.check();
        self.next.load(Ordering::Acquire).is_null()
    }

    /// Whether there is a successor. Acquire, as in [`load_next`](Self::load_next).
    #[inline]
    pub(crate) fn has_next(&self) -> bool {
        self.load_next(Ordering::Acquire).is_some()
    }

    /// Makes `fresh` the successor unless there is one already. Whether it did.
    pub(crate) fn install(&self, fresh: NonNull<Self>) -> bool {
        self.header.check();
        // AcqRel: Release publishes the fresh table to `load_next`. Relaxed on failure: who needs the one that won loads it.
        let nothing = Self::no_successor(self.sieve.is_some());
        self.next
            .compare_exchange(nothing, fresh.as_ptr(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The mark of a bucket, if the table has marks.
    #[inline]
    fn mark_of(&self, bucket: usize) -> Option<&AtomicU8> {
        self.marks.get(self.walk.before(bucket) / MARKED)
    }

    /// Whether something may have been claimed in a bucket, or by a key whose home it is.
    pub(crate) fn is_marked(&self, bucket: usize) -> bool {
        // Relaxed: as in `mark`.
        self.mark_of(bucket)
            .is_none_or(|mark| mark.load(Ordering::Relaxed) != 0)
    }

    /// Notes that something is claimed in a bucket, or by a key whose home it is. Comes before the claim (L6).
    #[inline]
    pub(crate) fn mark(&self, bucket: usize) {
        // Relaxed, both: who has to see it is ordered behind the claim, or the one by which the claim was seen (L6).
        if let Some(mark) = self.mark_of(bucket)
            && mark.load(Ordering::Relaxed) == 0
        {
            mark.store(1, Ordering::Relaxed);
        }
    }

    /// The same of the bucket of a slot.
    #[inline]
    pub(crate) fn mark_slot(&self, slot: SlotIndex) {
        self.mark(slot.0 / BUCKET);
    }

    /// Notes that a slot is about to be claimed for a key. Comes before the claim (L7).
    #[inline(always)]
    pub(crate) fn note(&self, hash: KeyHash) {
        if let Some(sieve) = &self.sieve {
            sieve.note(hash);
        }
    }

    /// Whether a find should ask [`may_have`](Self::may_have) first.
    #[inline(always)]
    pub(crate) fn asks_sieve(&self) -> bool {
        // Relaxed, here and below: a guess.
        self.find_span.load(Ordering::Relaxed) == 0
    }

    /// Whether a slot may have been claimed for a key (L7).
    #[inline(always)]
    pub(crate) fn may_have(&self, hash: KeyHash) -> bool {
        self.sieve.as_ref().is_none_or(|sieve| sieve.may_have(hash))
    }

    /// A find that did not ask the sieve found nothing, or one that did found something: sometimes that changes what others do.
    pub(crate) fn choose_way(&self, home: &[AtomicU64; BUCKET], asks: bool) {
        if let Some(sieve) = &self.sieve
            && (Sieve::is_sample(home) || sieve.asks_at_first())
            // Models ask always.
            && !cfg!(shadow_loom)
        {
            self.find_span
                .store(if asks { 0 } else { self.span }, Ordering::Relaxed);
        }
    }

    /// The first of these steps of a walk whose bucket something may have been claimed in, or by a key whose home it is.
    #[inline]
    pub(crate) fn first_marked(&self, steps: std::ops::Range<usize>) -> Option<usize> {
        let mut step = steps.start;
        while step < steps.end {
            // Relaxed: as in `mark`.
            match self.marks.get(step / MARKED) {
                Some(mark) if mark.load(Ordering::Relaxed) == 0 => step = (step | (MARKED - 1)) + 1,
                _ => return Some(step),
            }
        }
        None
    }

    /// Counts a claim. Whether the table may have passed its load limit of three quarters.
    #[inline]
    pub(crate) fn count_claim(&self, shard: Shard) -> bool {
        self.claim_stride.divides(self.claimed.add(shard)) && self.claimed.sum() >= self.limit
    }

    /// Takes a ticket to claim a new key's slot while an older table lives. False when there are no more.
    pub(crate) fn take_ticket(&self) -> bool {
        // Relaxed: a count that bounds claims approximately; correctness never rests on it.
        self.tickets.fetch_add(1, Ordering::Relaxed) < self.room
    }

    /// The buckets of a block.
    pub(crate) fn block(&self, block: usize) -> std::ops::Range<usize> {
        let start = block * self.block;
        start..self.buckets().min(start + self.block)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.buckets().div_ceil(self.block)
    }

    /// A block to migrate: one that nobody took, or else one that is not finished. Nothing if all are finished.
    pub(crate) fn next_block(&self) -> Option<usize> {
        // Relaxed: taking a block is only a hint to spread the work; finishing one twice is harmless (I8).
        if self.cursor.load(Ordering::Relaxed) < self.blocks() {
            let block = self.cursor.fetch_add(1, Ordering::Relaxed);
            if block < self.blocks() {
                return Some(block);
            }
        }
        self.next_unfinished()
    }

    /// The first block that is not finished. Nothing means that every slot of the table is.
    pub(crate) fn next_unfinished(&self) -> Option<usize> {
        (0..self.done.len()).find_map(|word| {
            // Acquire: pairs with `finish_block`, for who swings the root because all are finished (O5).
            let block = word * 64 + (!self.done[word].load(Ordering::Acquire)).trailing_zeros() as usize;
            (block < self.blocks() && block / 64 == word).then_some(block)
        })
    }

    /// Notes that every slot of the block is finished. Whether this was the last block. If the thread that finishes
    /// the last is stopped before it swings the root, the next one that asks for a block finds none, and does it.
    #[must_use]
    pub(crate) fn finish_block(&self, block: usize) -> bool {
        let bit = 1 << (block % 64);
        // AcqRel, on both: all that was done for the other blocks is seen by who finishes the last, and through the
        // root by everybody after (O5).
        if self.done[block / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.finished.fetch_add(1, Ordering::AcqRel) + 1 == self.blocks()
        } else {
            false
        }
    }
}

/// Zeroed slots, a bucket to a cache line. Where they begin comes first, in the line of the table's that every operation
/// reads.
#[repr(C)]
struct Slots {
    first: NonNull<AtomicU64>,
    /// What to give back: the allocation begins up to 56 bytes before the first slot.
    allocation: NonNull<u8>,
    layout: Layout,
}

impl Slots {
    /// Of the allocator it asks for alignment 8 and aligns by hand: so arrays may come as untouched zero pages, which a
    /// stricter alignment would make it clear by writing.
    fn alloc(slots: usize) -> Option<Self> {
        const LINE: usize = 64;
        let array = Layout::array::<AtomicU64>(slots).ok()?;
        // A mapping is aligned as it is.
        let room = if mapping::is_mapped(array) { 0 } else { LINE };
        let layout = Layout::from_size_align(array.size().checked_add(room)?, array.align()).ok()?;
        // SAFETY: no array of slots is empty.
        let allocation = unsafe { mapping::alloc(layout, true) }?;
        let pad = allocation.align_offset(LINE).min(room);
        // SAFETY: there is room for this.
        let first = unsafe { allocation.add(pad) }.cast::<AtomicU64>();
        #[cfg(shadow_loom)]
        for slot in 0..slots {
            // SAFETY: in bounds of the allocation (loom's atomics are laid out as `array` says).
            unsafe { first.add(slot).write(AtomicU64::new(0)) };
        }
        Some(Self {
            first,
            allocation,
            layout,
        })
    }

    #[inline]
    fn get(&self, slot: SlotIndex) -> &AtomicU64 {
        // SAFETY: `Table::index` wraps into the bounds; zero bytes are a valid AtomicU64 (an EMPTY word).
        unsafe { self.first.add(slot.0).as_ref() }
    }
}

// SAFETY: owns an array of atomics.
unsafe impl Send for Slots {}
// SAFETY: an array of atomics.
unsafe impl Sync for Slots {}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; nobody uses the slots any more.
        unsafe { mapping::dealloc(self.allocation, self.layout) };
    }
}
