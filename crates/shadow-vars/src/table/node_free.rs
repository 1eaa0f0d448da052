//! The end of nodes: how much a retired one holds, dropping and weighing its value, and freeing its memory.

use std::ptr::NonNull;

use super::layout::{Parts, WeighValue};
use super::node::{Life, Node, State, addr_fits};
use super::node_alloc::Memory;
use crate::entry::IdEntry;
use crate::heap::Heap;
use crate::panics;
use crate::pool::{OwnedMagazine, Size};
use crate::reclaim::Reclaim;
use crate::reclaim::object::Weighed;
use crate::sync::Ordering;

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
        memory: Memory<'_>,
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
        unsafe { Self::free_plain_slow::<R>(memory, node, last) }
    }

    /// Frees the first node of its kind, and remembers the kind if the thread has a magazine of its own.
    #[cold]
    unsafe fn free_plain_slow<R: Reclaim>(
        memory: Memory<'_>,
        node: NonNull<Self>,
        last: &mut Option<LastFreed>,
    ) -> Option<u64> {
        // SAFETY: the caller guarantees that nothing else can reach the node.
        let this = unsafe { node.as_ref() };
        let (life, size) = (this.life().without_link(), this.plain_size(memory.heap)?);
        let bytes = size.bytes() as u64;
        *last = (memory.heap.pool.own_magazine_for(size, memory.shard)).map(|to| LastFreed { life, bytes, to });
        // SAFETY: of this size and prefix; the caller guarantees that nothing else can reach the node.
        unsafe { Self::dealloc_size(memory, node, size, Self::prefix::<R>()) };
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
    pub(crate) unsafe fn dealloc(memory: Memory<'_>, node: NonNull<Self>) {
        // SAFETY: the caller guarantees that nothing else can reach the node.
        let this = unsafe { node.as_ref() };
        let parts = if this.life().state() == State::Record {
            Parts::of_record(this.key_repr(), this.entry(memory.heap).shape.intervals)
        } else {
            let entry = this.entry(memory.heap);
            // SAFETY: the caller guarantees that nothing else can reach the node.
            let (record, parts) = unsafe { (Self::record(node, entry), Self::parts(node, entry)) };
            // Relaxed: the thread that reclaims a node has acquired all that its remover did.
            if let Some(record) = record.and_then(|record| NonNull::new(record.load(Ordering::Relaxed))) {
                // SAFETY: the record never became a tomb, so it belongs to this node alone.
                unsafe { Self::dealloc(memory, record) };
            }
            parts
        };
        // SAFETY: allocated with these parts; the caller guarantees that the node is not used any more.
        unsafe { Self::dealloc_parts(memory, node, &parts) };
    }
}
