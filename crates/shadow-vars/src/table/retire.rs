//! What is retired, as the retire lists know it: nodes, key records, and tables.

use std::mem::offset_of;
use std::ptr::NonNull;

use super::alloc::Plain;
use super::array::Table;
use super::node::{Node, State};
use crate::heap::Heap;
use crate::reclaim::Reclaim;
use crate::reclaim::object::{Freed, Interval, Link, Objects, Weighed};
use crate::shard::Shard;

impl Node {
    /// The node's part in a retire list. Exposed, as links are addresses.
    #[inline(always)]
    pub(crate) fn link(node: NonNull<Self>) -> NonNull<Link> {
        node.as_ptr().expose_provenance();
        // SAFETY: a field of the node.
        unsafe { node.byte_add(offset_of!(Self, life)).cast() }
    }

    /// The node that this is a part of.
    ///
    /// # Safety
    ///
    /// It is one of a node.
    #[inline(always)]
    pub(super) unsafe fn of_link(link: NonNull<Link>) -> NonNull<Self> {
        let node = std::ptr::with_exposed_provenance_mut(link.addr().get() - offset_of!(Self, life));
        // SAFETY: the caller's: an address in a node, less where that is in it.
        unsafe { NonNull::new_unchecked(node) }
    }
}

/// Bytes of a retired object.
///
/// # Safety
///
/// The object is allocated.
pub(super) unsafe fn bytes(node: NonNull<Node>, heap: &Heap) -> u64 {
    // SAFETY: the caller's; a TABLE header is the first field of a table.
    let bytes = unsafe {
        match node.as_ref().life().state() {
            State::Table => node.cast::<Table>().as_ref().bytes(),
            _ => Node::bytes(node, heap),
        }
    };
    bytes as u64
}

/// Drops an object's value, if it has one. Whether that panicked.
///
/// # Safety
///
/// Nobody can reach the object any more; once.
unsafe fn drop_object(node: NonNull<Node>, heap: &Heap) -> bool {
    // SAFETY: the caller's.
    unsafe { node.as_ref().life().state() != State::Table && !Node::drop_value(node, heap) }
}

/// Gives an object's memory back.
///
/// # Safety
///
/// Nobody can reach it any more; once; its value was dropped.
unsafe fn free(memory: (&Heap, Shard), node: NonNull<Node>) {
    #[cfg(shadow_loom)]
    // SAFETY: the caller's.
    unsafe {
        let_go(node, memory.0);
    }
    // SAFETY: the caller's; a TABLE header is the first field of a table.
    unsafe {
        match node.as_ref().life().state() {
            State::Table => Table::dealloc(node.cast()),
            _ => Node::dealloc(memory, node),
        }
    }
}

/// Tells loom that an object's memory goes.
///
/// # Safety
///
/// The object is allocated, and reclaimed now.
#[cfg(shadow_loom)]
unsafe fn let_go(node: NonNull<Node>, heap: &Heap) {
    // SAFETY: the caller's; a TABLE header is the first field of a table.
    unsafe {
        match node.as_ref().life().state() {
            State::Table => node.cast::<Table>().as_mut().let_go(),
            _ => Node::let_go(node, heap),
        }
    }
}

impl Objects for Heap {
    type Kind = Plain;

    #[inline(always)]
    unsafe fn free_plain<R: Reclaim>(
        &self,
        object: NonNull<Link>,
        shard: Shard,
        kind: &mut Option<Plain>,
    ) -> Option<u64> {
        // SAFETY: the caller's; all that is retired in a store are nodes, or begin with one.
        unsafe { Node::free_plain::<R>((self, shard), Node::of_link(object), kind) }
    }

    unsafe fn interval(&self, object: NonNull<Link>) -> NonNull<Interval> {
        // SAFETY: as above; tables of such stores have theirs in place of an object.
        unsafe {
            let node = Node::of_link(object);
            match node.as_ref().life().state() {
                State::Table => NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(node.as_ref().obj)),
                _ => Node::interval(node),
            }
        }
    }

    unsafe fn reclaim(&self, object: NonNull<Link>, shard: Shard) -> Freed {
        // SAFETY: as above.
        unsafe {
            let node = Node::of_link(object);
            let bytes = bytes(node, self);
            let panicked = drop_object(node, self);
            free((self, shard), node);
            Freed { bytes, panicked }
        }
    }

    #[inline(always)]
    unsafe fn weigh(&self, object: NonNull<Link>) -> Weighed {
        // SAFETY: as above; the caller's.
        unsafe { Node::weigh_value(Node::of_link(object), self) }
    }

    unsafe fn bytes(&self, object: NonNull<Link>) -> u64 {
        // SAFETY: as above.
        unsafe { bytes(Node::of_link(object), self) }
    }

    fn settle(&self, shard: Shard) {
        self.pool.settle(shard, false);
    }

    #[cfg(any(test, shadow_loom))]
    unsafe fn poison(&self, object: NonNull<Link>) -> Freed {
        // SAFETY: as above.
        unsafe {
            let node = Node::of_link(object);
            let bytes = bytes(node, self);
            let panicked = drop_object(node, self);
            #[cfg(shadow_loom)]
            let_go(node, self);
            node.as_ref().poison();
            Freed { bytes, panicked }
        }
    }

    #[cfg(any(test, shadow_loom))]
    unsafe fn free_poisoned(&self, object: NonNull<Link>, shard: Shard) {
        // SAFETY: as above.
        unsafe {
            let node = Node::of_link(object);
            node.as_ref().unpoison();
            free((self, shard), node);
        }
    }
}
