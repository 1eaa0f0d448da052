//! The table's side of the retire lists: what is retired are nodes, key records and tables.

use std::mem::offset_of;
use std::ptr::NonNull;

use super::array::Table;
use super::node::{Node, State};
use super::node_alloc::Memory;
use super::node_free::LastFreed;
use super::{Core, Shield};
use crate::heap::Heap;
use crate::reclaim::Reclaim;
use crate::reclaim::object::{Freed, Interval, Link, Objects, Weighed};
use crate::shard::Shard;

impl Node {
    /// Returns the node's link in retire lists. Exposes its address, as links are stored as addresses.
    #[inline(always)]
    pub(crate) fn link(node: NonNull<Self>) -> NonNull<Link> {
        node.as_ptr().expose_provenance();
        // SAFETY: a field of the node.
        unsafe { node.byte_add(offset_of!(Self, life)).cast() }
    }

    /// Returns the node that this link is a part of.
    ///
    /// # Safety
    ///
    /// `link` is the link of a node.
    #[inline(always)]
    pub(super) unsafe fn of_link(link: NonNull<Link>) -> NonNull<Self> {
        let node = std::ptr::with_exposed_provenance_mut(link.addr().get() - offset_of!(Self, life));
        // SAFETY: the caller guarantees that the link lies in a node, at this offset.
        unsafe { NonNull::new_unchecked(node) }
    }
}

impl<R: Reclaim> Core<R> {
    /// Retires an object that nothing leads to any more (I5). What is due after that is left to the operation's end.
    ///
    /// # Safety
    ///
    /// The object is one of this store: a node, a record, or the header of a table. This thread took the last pointer to it
    /// out of the table, under the guard of the shield, and retires it once.
    pub(super) unsafe fn retire(&self, _: Shield<'_, R>, object: NonNull<Node>) {
        // SAFETY: the guard, which the shield stands for, protects the object, as it was reachable when that was made; the
        // caller has unlinked it.
        unsafe {
            let bytes = bytes(object, &self.heap);
            self.lists.retire::<R>(Node::link(object), bytes, false, self.shard());
        }
    }
}

/// Returns the bytes of a retired object.
///
/// # Safety
///
/// The object is allocated.
unsafe fn bytes(node: NonNull<Node>, heap: &Heap) -> u64 {
    // SAFETY: the caller guarantees that the object is allocated; a TABLE header is the first field of a table.
    let bytes = unsafe {
        match node.as_ref().life().state() {
            State::Table => node.cast::<Table>().as_ref().bytes(),
            _ => Node::bytes(node, heap),
        }
    };
    bytes as u64
}

/// Drops an object's value, if it has one. Returns whether that panicked.
///
/// # Safety
///
/// The object cannot be reached any more. Called once for each object.
unsafe fn drop_object(node: NonNull<Node>, heap: &Heap) -> bool {
    // SAFETY: the caller guarantees that the value is dropped once, and by then unreachable.
    unsafe { node.as_ref().life().state() != State::Table && !Node::drop_value(node, heap) }
}

/// Frees an object's memory.
///
/// # Safety
///
/// The object cannot be reached any more, and its value has been dropped. Called once for each object.
unsafe fn free(memory: Memory<'_>, node: NonNull<Node>) {
    #[cfg(shadow_loom)]
    // SAFETY: the caller guarantees that the object is allocated.
    unsafe {
        loom_free(node, memory.heap);
    }
    // SAFETY: the caller guarantees that nothing uses the object any more; a TABLE header is the first field of a table.
    unsafe {
        match node.as_ref().life().state() {
            State::Table => Table::dealloc(node.cast()),
            _ => Node::dealloc(memory, node),
        }
    }
}

/// Tells loom that an object's memory is freed.
///
/// # Safety
///
/// The object is allocated, and reclaimed now.
#[cfg(shadow_loom)]
unsafe fn loom_free(node: NonNull<Node>, heap: &Heap) {
    // SAFETY: the caller guarantees that the object is allocated; a TABLE header is the first field of a table.
    unsafe {
        match node.as_ref().life().state() {
            State::Table => node.cast::<Table>().as_mut().loom_free(),
            _ => Node::loom_free(node, heap),
        }
    }
}

impl Objects for Heap {
    type Kind = LastFreed;

    #[inline(always)]
    unsafe fn free_plain<R: Reclaim>(
        &self,
        object: NonNull<Link>,
        shard: Shard,
        kind: &mut Option<LastFreed>,
    ) -> Option<u64> {
        // SAFETY: the caller guarantees that the object is reclaimed now; every object retired in a store is a node, or begins
        // with one.
        unsafe { Node::free_plain::<R>(Memory { heap: self, shard }, Node::of_link(object), kind) }
    }

    unsafe fn interval(&self, object: NonNull<Link>) -> NonNull<Interval> {
        // SAFETY: as in `free_plain`; tables of stores with intervals have the address of theirs in place of `obj`.
        unsafe {
            let node = Node::of_link(object);
            match node.as_ref().life().state() {
                State::Table => NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(node.as_ref().obj)),
                _ => Node::interval(node),
            }
        }
    }

    unsafe fn reclaim(&self, object: NonNull<Link>, shard: Shard) -> Freed {
        // SAFETY: as in `free_plain`.
        unsafe {
            let node = Node::of_link(object);
            let bytes = bytes(node, self);
            let panicked = drop_object(node, self);
            free(Memory { heap: self, shard }, node);
            Freed { bytes, panicked }
        }
    }

    #[inline(always)]
    unsafe fn weigh(&self, object: NonNull<Link>) -> Weighed {
        // SAFETY: as in `free_plain`; the caller guarantees that the object still has its value.
        unsafe { Node::weigh_value(Node::of_link(object), self) }
    }

    unsafe fn bytes(&self, object: NonNull<Link>) -> u64 {
        // SAFETY: as in `free_plain`; the caller guarantees that the object is allocated.
        unsafe { bytes(Node::of_link(object), self) }
    }

    fn settle(&self, shard: Shard) {
        self.pool.flush(shard, false);
    }

    #[cfg(any(test, shadow_loom))]
    unsafe fn poison(&self, object: NonNull<Link>) -> Freed {
        // SAFETY: as in `reclaim`; the memory stays allocated.
        unsafe {
            let node = Node::of_link(object);
            let bytes = bytes(node, self);
            let panicked = drop_object(node, self);
            #[cfg(shadow_loom)]
            loom_free(node, self);
            node.as_ref().reclaimed.set();
            Freed { bytes, panicked }
        }
    }

    #[cfg(any(test, shadow_loom))]
    unsafe fn free_poisoned(&self, object: NonNull<Link>, shard: Shard) {
        // SAFETY: the caller guarantees that the object was poisoned, and that nothing uses it any more.
        unsafe {
            let node = Node::of_link(object);
            node.as_ref().reclaimed.clear();
            free(Memory { heap: self, shard }, node);
        }
    }
}
