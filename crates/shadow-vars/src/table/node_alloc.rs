//! Allocating nodes, and giving their memory back. [`node_free`](super::node_free) drops what they hold before that.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use super::layout::{KeyRepr, Parts, RAW_LAYOUT, prefix_of};
use super::node::{Life, Node, is_near};
use crate::entry::IdEntry;
use crate::heap::Heap;
use crate::pool::Size;
use crate::reclaim::Reclaim;
use crate::reclaim::object::Interval;
use crate::shard::Shard;
use crate::sync::{AtomicPtr, Ordering};

/// Where a thread's nodes come from and go to.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'h> {
    pub(crate) heap: &'h Heap,
    /// The thread's.
    pub(crate) shard: Shard,
}

/// What the payload of a new node is.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    /// The layout, of an untyped variable.
    raw: Option<Layout>,
    zeroed: bool,
}

impl Payload {
    /// Of the entry's type, not initialised.
    pub(crate) const TYPED: Self = Self {
        raw: None,
        zeroed: false,
    };

    /// Untyped, all bytes 0.
    pub(crate) fn raw(layout: Layout) -> Self {
        Self {
            raw: Some(layout),
            zeroed: true,
        }
    }
}

impl Node {
    /// Allocates a node, payload uninitialised (or zero). Returns `None` if allocation fails, the size overflows, or the
    /// address does not fit into a word.
    #[inline(always)]
    pub(crate) fn alloc<R: Reclaim>(
        memory: Memory<'_>,
        obj: usize,
        entry: &IdEntry,
        payload: Payload,
        life: Life,
    ) -> Option<NonNull<Self>> {
        if let (Some(size), false) = (entry.plain(), payload.zeroed)
            && entry.key_fits(obj)
        {
            let node = Self::checked(
                memory,
                memory.heap.pool.alloc(size, memory.shard)?,
                size,
                Self::prefix::<R>(),
            )?;
            let life = match life {
                Life::LIVE => entry.live,
                life => life.of(entry.index),
            };
            // SAFETY: fresh memory of at least a header.
            unsafe { node.write(Self::header(obj, life)) };
            return Some(node);
        }
        Self::alloc_slow(memory, obj, entry, payload, life)
    }

    /// Like [`alloc`](Self::alloc), for all nodes, and not inlined.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(
        memory: Memory<'_>,
        obj: usize,
        entry: &IdEntry,
        payload: Payload,
        life: Life,
    ) -> Option<NonNull<Self>> {
        let repr = KeyRepr::of(obj, entry.index);
        let layout = payload.raw.unwrap_or(entry.shape.payload);
        let parts = entry.shape.parts_of(layout, repr)?;
        let node = Self::alloc_parts(memory, &parts, payload.zeroed)?;
        // SAFETY: fresh memory, laid out by these parts.
        unsafe { Self::begin(node, obj, entry, life, parts.prefix) };
        if let (true, Some(layout)) = (entry.shape.raw, payload.raw) {
            // SAFETY: `Parts` has room for the layout after the header of a raw node.
            unsafe { node.byte_add(RAW_LAYOUT).cast::<Layout>().write(layout) };
        }
        if let Some(offset) = parts.record {
            let of_record = Parts::of_record(repr, entry.shape.intervals);
            let Some(record) = Self::alloc_parts(memory, &of_record, false) else {
                // SAFETY: allocated above with these parts.
                unsafe { Self::dealloc_parts(memory, node, &parts) };
                return None;
            };
            // SAFETY: fresh memory for a record; `Parts` has room for the pointer.
            unsafe {
                Self::begin(record, obj, entry, Life::RECORD, of_record.prefix);
                node.byte_add(offset)
                    .cast::<AtomicPtr<Self>>()
                    .write(AtomicPtr::new(record.as_ptr()));
            }
        }
        Some(node)
    }

    /// Returns the bytes before the header of a typed variable whose key is inline, and whose size is [plain](IdEntry::plain).
    #[inline(always)]
    pub(super) const fn prefix<R: Reclaim>() -> usize {
        prefix_of(KeyRepr::Inline, R::INTERVALS)
    }

    /// Returns the address of the interval of a variable or a record.
    ///
    /// # Safety
    ///
    /// The node is allocated, and has an interval.
    pub(crate) unsafe fn interval(node: NonNull<Self>) -> NonNull<Interval> {
        // SAFETY: the caller guarantees that the node is allocated.
        let prefix = prefix_of(unsafe { node.as_ref() }.key_repr(), true);
        // The pointer may have been derived from a shared reference, as in `allocation`.
        let interval = ptr::with_exposed_provenance_mut(node.addr().get() - prefix);
        // SAFETY: not null, as allocated.
        unsafe { NonNull::new_unchecked(interval) }
    }

    /// Writes the birth of a variable and of its key record.
    ///
    /// # Safety
    ///
    /// The node is new, owned by the caller alone, and has an interval.
    pub(crate) unsafe fn set_birth(node: NonNull<Self>, heap: &Heap, born: u64) {
        let interval = Interval::new(born);
        // SAFETY: the caller guarantees that the node is new and has an interval; so has its record.
        unsafe {
            Self::interval(node).write(interval);
            if node.as_ref().key_repr() != KeyRepr::Inline
                && let Some(record) = Self::record(node, node.as_ref().entry(heap))
                && let Some(record) = NonNull::new(record.load(Ordering::Relaxed))
            {
                Self::interval(record).write(interval);
            }
        }
    }

    /// Writes the header, and the pointer before it.
    ///
    /// # Safety
    ///
    /// The memory is fresh, and `prefix` bytes of it lie before the header.
    unsafe fn begin(node: NonNull<Self>, obj: usize, entry: &IdEntry, life: Life, prefix: usize) {
        // SAFETY: the caller guarantees the room. A prefix has room for a pointer at its end.
        unsafe {
            if prefix > 0 {
                node.cast::<*const IdEntry>().sub(1).write(entry);
            }
            node.write(Self::header(obj, life.of(entry.index)));
        }
    }

    fn alloc_parts(memory: Memory<'_>, parts: &Parts, zeroed: bool) -> Option<NonNull<Self>> {
        // No layout here has size 0, as each begins with a header.
        let fresh = memory.heap.pool.alloc(parts.size, memory.shard)?;
        if zeroed {
            // SAFETY: fresh memory of this size.
            unsafe { fresh.write_bytes(0, parts.size.bytes()) };
        }
        Self::checked(memory, fresh, parts.size, parts.prefix)
    }

    /// Returns the address of the header. Frees the memory and returns `None` if the address does not fit into a word.
    #[inline]
    fn checked(memory: Memory<'_>, fresh: NonNull<u8>, size: Size, prefix: usize) -> Option<NonNull<Self>> {
        // SAFETY: the prefix is a part of the allocation.
        let node = unsafe { fresh.add(prefix) }.cast::<Self>();
        if is_near(node.as_ptr()) {
            return Some(node);
        }
        // SAFETY: allocated just now with this size.
        unsafe { memory.heap.pool.dealloc(fresh, size, memory.shard) };
        None
    }

    /// Frees a node's memory.
    ///
    /// # Safety
    ///
    /// Called once per node, allocated with these parts, when it cannot be reached any more.
    #[inline]
    pub(super) unsafe fn dealloc_parts(memory: Memory<'_>, node: NonNull<Self>, parts: &Parts) {
        // SAFETY: the caller guarantees that the node was allocated with these parts and is not used any more.
        unsafe { Self::dealloc_size(memory, node, parts.size, parts.prefix) };
    }

    /// Frees a node's memory.
    ///
    /// # Safety
    ///
    /// Same as [`dealloc_parts`](Self::dealloc_parts), with a node of this size and prefix.
    #[inline(always)]
    pub(super) unsafe fn dealloc_size(memory: Memory<'_>, node: NonNull<Self>, size: Size, prefix: usize) {
        // SAFETY: the caller guarantees that the node was allocated with this size and is not used any more.
        unsafe {
            memory
                .heap
                .pool
                .dealloc(Self::allocation(node, prefix), size, memory.shard)
        };
    }

    /// Returns the allocation of a node, which begins `prefix` bytes before it.
    ///
    /// # Safety
    ///
    /// The node has a prefix of this size.
    #[inline(always)]
    pub(super) unsafe fn allocation(node: NonNull<Self>, prefix: usize) -> NonNull<u8> {
        // The pointer may have been derived from a shared reference; the one exposed by `alloc` may write and free.
        let allocation = ptr::with_exposed_provenance_mut(node.addr().get() - prefix);
        // SAFETY: not null, as allocated.
        unsafe { NonNull::new_unchecked(allocation) }
    }
}
