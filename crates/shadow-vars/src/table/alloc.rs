//! Allocating and freeing nodes, and dropping and weighing their values.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use super::layout::{KeyRepr, Parts, RAW_LAYOUT, WeighValue, prefix_of};
use super::node::{Life, Node, State, addr_fits, is_near};
use crate::entry::IdEntry;
use crate::heap::Heap;
use crate::panics;
use crate::pool::{OwnedMagazine, Size};
use crate::reclaim::Reclaim;
use crate::reclaim::object::{Interval, Weighed};
use crate::shard::Shard;
use crate::sync::{AtomicPtr, Ordering};

/// The kind of the previously freed node, if it went into the thread's own magazine: consecutive nodes are usually of one
/// kind.
#[derive(Clone, Copy)]
pub(crate) struct LastFreed {
    /// Its life word without the link: the id's index, and the final state.
    life: Life,
    bytes: u64,
    to: OwnedMagazine,
}

impl Node {
    /// Allocates a node, payload uninitialised (or zero). Returns `None` if allocation fails, the size overflows, or the
    /// address does not fit into a word.
    #[inline(always)]
    pub(crate) fn alloc<R: Reclaim>(
        (heap, shard): (&Heap, Shard),
        obj: usize,
        entry: &IdEntry,
        raw: Option<Layout>,
        zeroed: bool,
        life: Life,
    ) -> Option<NonNull<Self>> {
        if let (Some(size), false) = (entry.plain(), zeroed)
            && entry.key_fits(obj)
        {
            let node = Self::checked((heap, shard), heap.pool.alloc(size, shard)?, size, Self::prefix::<R>())?;
            let life = match life {
                Life::LIVE => entry.live,
                life => life.of(entry.index),
            };
            // SAFETY: fresh memory of at least a header.
            unsafe { node.write(Self::header(obj, life)) };
            return Some(node);
        }
        Self::alloc_slow((heap, shard), obj, entry, raw, zeroed, life)
    }

    /// Like [`alloc`](Self::alloc), for all nodes, and not inlined.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(
        (heap, shard): (&Heap, Shard),
        obj: usize,
        entry: &IdEntry,
        raw: Option<Layout>,
        zeroed: bool,
        life: Life,
    ) -> Option<NonNull<Self>> {
        let repr = KeyRepr::of(obj, entry.index);
        let payload = raw.unwrap_or(entry.shape.payload);
        let parts = entry.shape.parts_of(payload, repr)?;
        let node = Self::alloc_parts((heap, shard), &parts, zeroed)?;
        // SAFETY: fresh memory, laid out by these parts.
        unsafe { Self::begin(node, obj, entry, life, parts.prefix) };
        if let (true, Some(layout)) = (entry.shape.raw, raw) {
            // SAFETY: `Parts` has room for the layout after the header of a raw node.
            unsafe { node.byte_add(RAW_LAYOUT).cast::<Layout>().write(layout) };
        }
        if let Some(offset) = parts.record {
            let of_record = Parts::of_record(repr, entry.shape.intervals);
            let Some(record) = Self::alloc_parts((heap, shard), &of_record, false) else {
                // SAFETY: allocated above with these parts.
                unsafe { Self::dealloc_parts((heap, shard), node, &parts) };
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
    const fn prefix<R: Reclaim>() -> usize {
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

    fn alloc_parts((heap, shard): (&Heap, Shard), parts: &Parts, zeroed: bool) -> Option<NonNull<Self>> {
        // No layout here has size 0, as each begins with a header.
        let fresh = heap.pool.alloc(parts.size, shard)?;
        if zeroed {
            // SAFETY: fresh memory of this size.
            unsafe { fresh.write_bytes(0, parts.size.bytes()) };
        }
        Self::checked((heap, shard), fresh, parts.size, parts.prefix)
    }

    /// Returns the address of the header. Frees the memory and returns `None` if the address does not fit into a word.
    #[inline]
    fn checked((heap, shard): (&Heap, Shard), fresh: NonNull<u8>, size: Size, prefix: usize) -> Option<NonNull<Self>> {
        // SAFETY: the prefix is a part of the allocation.
        let node = unsafe { fresh.add(prefix) }.cast::<Self>();
        if is_near(node.as_ptr()) {
            return Some(node);
        }
        // SAFETY: allocated just now with this size.
        unsafe { heap.pool.dealloc(fresh, size, shard) };
        None
    }

    /// Frees a node's memory.
    ///
    /// # Safety
    ///
    /// Called once per node, allocated with these parts, when it cannot be reached any more.
    #[inline]
    unsafe fn dealloc_parts((heap, shard): (&Heap, Shard), node: NonNull<Self>, parts: &Parts) {
        // SAFETY: the caller guarantees that the node was allocated with these parts and is not used any more.
        unsafe { Self::dealloc_size((heap, shard), node, parts.size, parts.prefix) };
    }

    /// Frees a node's memory.
    ///
    /// # Safety
    ///
    /// Same as [`dealloc_parts`](Self::dealloc_parts), with a node of this size and prefix.
    #[inline(always)]
    unsafe fn dealloc_size((heap, shard): (&Heap, Shard), node: NonNull<Self>, size: Size, prefix: usize) {
        // SAFETY: the caller guarantees that the node was allocated with this size and is not used any more.
        unsafe { heap.pool.dealloc(Self::allocation(node, prefix), size, shard) };
    }

    /// Returns the allocation of a node, which begins `prefix` bytes before it.
    ///
    /// # Safety
    ///
    /// The node has a prefix of this size.
    #[inline(always)]
    unsafe fn allocation(node: NonNull<Self>, prefix: usize) -> NonNull<u8> {
        // The pointer may have been derived from a shared reference; the one exposed by `alloc` may write and free.
        let allocation = ptr::with_exposed_provenance_mut(node.addr().get() - prefix);
        // SAFETY: not null, as allocated.
        unsafe { NonNull::new_unchecked(allocation) }
    }

    /// Returns the bytes held by a variable or a record, not counting its key record.
    #[inline]
    pub(crate) unsafe fn bytes(node: NonNull<Self>, heap: &Heap) -> usize {
        // SAFETY: the caller guarantees that the node is allocated.
        let this = unsafe { node.as_ref() };
        match this.life().state() {
            State::Record => Parts::of_record(this.key_repr(), this.entry(heap).shape.intervals)
                .size
                .bytes(),
            // SAFETY: the caller guarantees that the node is allocated; a variable's entry.
            _ => unsafe { Self::bytes_as(node, this.entry(heap)) as usize },
        }
    }

    /// Returns the bytes held by a variable of this entry.
    #[inline]
    pub(crate) unsafe fn bytes_as(node: NonNull<Self>, entry: &IdEntry) -> u64 {
        // SAFETY: the caller guarantees that the node is allocated.
        let fits = entry.key_fits(unsafe { node.as_ref() }.obj);
        let bytes = match entry.plain() {
            Some(size) if fits => size.bytes(),
            // SAFETY: the caller guarantees that the node is allocated, and of this entry.
            _ => unsafe { Self::parts(node, entry) }.size.bytes(),
        };
        bytes as u64
    }

    /// Drops the value of a DEAD node. Returns false if its `Drop` panicked (the value counts as dropped).
    ///
    /// # Safety
    ///
    /// Called once per node, when it cannot be reached any more. Not for tables.
    pub(crate) unsafe fn drop_value(node: NonNull<Self>, heap: &Heap) -> bool {
        // SAFETY: the caller guarantees that nothing else can reach the node.
        let this = unsafe { node.as_ref() };
        if this.life().state() != State::Dead {
            return true;
        }
        let entry = this.entry(heap);
        let Some(drop) = entry.drop_value() else { return true };
        let dropped = std::panic::catch_unwind(|| {
            // SAFETY: a DEAD node holds a value of its entry's type, and this is its only drop.
            unsafe { drop(Self::payload(node, entry).as_ptr()) }
        });
        dropped.map_err(panics::discard).is_ok()
    }

    /// Returns what the value of a DEAD node owns beyond its bytes, by the id's function; 0 if that panics.
    ///
    /// # Safety
    ///
    /// The node was a variable, and a guard of the caller protects it.
    #[inline(always)]
    pub(crate) unsafe fn weigh_value(node: NonNull<Self>, heap: &Heap) -> Weighed {
        // SAFETY: a guard of the caller protects the node.
        let entry = unsafe { node.as_ref() }.entry(heap);
        match entry.weigh_value() {
            // SAFETY: the caller guarantees that the node is protected; this is its entry's function.
            Some(weigh) => unsafe { Self::weigh_by(node, entry, weigh) },
            None => Weighed::default(),
        }
    }

    /// Calls the id's function with the value of a DEAD node.
    ///
    /// # Safety
    ///
    /// Same as [`weigh_value`](Self::weigh_value); the function is one for values of this entry, which is the node's.
    #[cold]
    #[inline(never)]
    unsafe fn weigh_by(node: NonNull<Self>, entry: &IdEntry, weigh: WeighValue) -> Weighed {
        // A constructor that failed has left no value.
        // SAFETY: a guard of the caller protects the node.
        if unsafe { node.as_ref() }.life().state() != State::Dead {
            return Weighed::default();
        }
        let weighed = std::panic::catch_unwind(|| {
            // SAFETY: a function for references to the entry's type, which are passed as all pointers are. The value was
            // published, and exists for as long as the guard; a shared reference is what every thread that found it has.
            unsafe { weigh(Self::payload(node, entry).as_ptr()) }
        });
        let panicked = weighed.is_err();
        Weighed {
            bytes: weighed.map_err(panics::discard).unwrap_or(0) as u64,
            panicked,
        }
    }

    /// Frees a node on the fast path, if it is a variable that owns nothing: no value to drop, no key record. Returns its
    /// bytes if it did.
    ///
    /// # Safety
    ///
    /// Same as [`dealloc`](Self::dealloc). `last` is of the same store and shard.
    #[inline(always)]
    pub(crate) unsafe fn free_plain<R: Reclaim>(
        (heap, shard): (&Heap, Shard),
        node: NonNull<Self>,
        last: &mut Option<LastFreed>,
    ) -> Option<u64> {
        if cfg!(shadow_loom) {
            return None;
        }
        // SAFETY: the caller guarantees that nothing else can reach the node.
        let this = unsafe { node.as_ref() };
        let life = this.life().without_link();
        if let Some(last) = last
            && last.life == life
            && addr_fits(this.obj)
        {
            // SAFETY: the key is inline, and the variable is typed: of this size and prefix. This thread keeps its shard.
            unsafe { last.to.dealloc(Self::allocation(node, Self::prefix::<R>())) };
            return Some(last.bytes);
        }
        // SAFETY: the caller guarantees that nothing else can reach the node.
        unsafe { Self::free_plain_slow::<R>((heap, shard), node, last) }
    }

    /// Frees the first node of its kind, and remembers the kind if the thread has a magazine of its own.
    #[cold]
    unsafe fn free_plain_slow<R: Reclaim>(
        (heap, shard): (&Heap, Shard),
        node: NonNull<Self>,
        last: &mut Option<LastFreed>,
    ) -> Option<u64> {
        // SAFETY: the caller guarantees that nothing else can reach the node.
        let this = unsafe { node.as_ref() };
        let (life, size) = (this.life().without_link(), this.plain_size(heap)?);
        let bytes = size.bytes() as u64;
        *last = (heap.pool.own_magazine_for(size, shard)).map(|to| LastFreed { life, bytes, to });
        // SAFETY: of this size and prefix; the caller guarantees that nothing else can reach the node.
        unsafe { Self::dealloc_size((heap, shard), node, size, Self::prefix::<R>()) };
        Some(bytes)
    }

    /// Returns the size of a variable that owns nothing.
    fn plain_size(&self, heap: &Heap) -> Option<Size> {
        // Records and tables have other layouts.
        if !matches!(self.life().state(), State::Dead | State::Failed) || !self.key_fits() {
            return None;
        }
        let entry = self.entry(heap);
        (!entry.drops).then_some(entry.plain()?)
    }

    /// Frees the memory, and that of the key record if the node still has it. The value is not dropped.
    ///
    /// # Safety
    ///
    /// Called once per node, when it cannot be reached any more. Not for tables.
    pub(crate) unsafe fn dealloc((heap, shard): (&Heap, Shard), node: NonNull<Self>) {
        // SAFETY: the caller guarantees that nothing else can reach the node.
        let this = unsafe { node.as_ref() };
        let parts = if this.life().state() == State::Record {
            Parts::of_record(this.key_repr(), this.entry(heap).shape.intervals)
        } else {
            let entry = this.entry(heap);
            // SAFETY: the caller guarantees that nothing else can reach the node.
            let (record, parts) = unsafe { (Self::record(node, entry), Self::parts(node, entry)) };
            // Relaxed: the thread that reclaims a node has acquired all that its remover did.
            if let Some(record) = record.and_then(|record| NonNull::new(record.load(Ordering::Relaxed))) {
                // SAFETY: the record never became a tomb, so it belongs to this node alone.
                unsafe { Self::dealloc((heap, shard), record) };
            }
            parts
        };
        // SAFETY: allocated with these parts; the caller guarantees that the node is not used any more.
        unsafe { Self::dealloc_parts((heap, shard), node, &parts) };
    }
}
