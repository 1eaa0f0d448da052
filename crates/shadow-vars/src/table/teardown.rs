//! Dropping a store: its values, and its tables.
//!
//! Nothing else uses the store any more, so the time goes into memory accesses: in a store of a few million nodes, each node
//! is a cache miss in the order of the table, and so is what each value owns. In the order of their addresses they are mostly
//! adjacent, as they were allocated, and the allocator takes back what they own in the order in which it was allocated. The
//! array of slots is reused to sort the nodes.

use std::ptr::NonNull;

use super::Core;
use super::array::Table;
use super::group::BUCKET;
use super::node::{Node, State};
use super::word::Kind;
use crate::mem::prefetch_owned;
use crate::reclaim::Reclaim;
use crate::sync::Ordering;

/// Nodes between the prefetch of what a value owns and its drop.
const AHEAD: usize = 16;

impl<R: Reclaim> Drop for Core<R> {
    /// Drops every value: of retired, live and orphaned nodes.
    fn drop(&mut self) {
        // SAFETY: the core is owned, so no guard protects anything in it and no operation runs.
        unsafe { self.lists.drain_all::<R>() };
        // Values that need no drop are freed with the pool's chunks, without visiting the nodes.
        if !(self.heap.pool.packs() && self.registry.entries().all(|entry| entry.shape.is_packed())) {
            // SAFETY: the core is owned; null if there was no memory for the first table.
            if let Some(root) = unsafe { self.root.load(Ordering::Acquire).as_ref() } {
                // SAFETY: the core is owned, and no slot is read after this.
                unsafe { self.drop_all(root) };
            }
            let mut orphan = self.orphans.load(Ordering::Acquire);
            while let Some(node) = NonNull::new(orphan) {
                // SAFETY: the core is owned; each orphan is in the list once, and no slot is read any more.
                unsafe {
                    orphan = node.as_ref().next();
                    self.lists.reclaim_now(node);
                }
            }
        }
        let mut next = NonNull::new(self.root.load(Ordering::Acquire));
        while let Some(table) = next {
            // SAFETY: a table of the chain, freed here only.
            unsafe {
                next = table.as_ref().load_next(Ordering::Acquire);
                Table::dealloc(table);
            }
        }
        // SAFETY: no node is left.
        unsafe { self.heap.pool.release() };
    }
}

impl<R: Reclaim> Core<R> {
    /// Drops the values of all live nodes in a table and its successors.
    ///
    /// A live node can be found twice (FROZEN in a table, LINK in its successor): it is killed the first time. The nodes
    /// killed here are dropped only after all tables have been searched.
    ///
    /// # Safety
    ///
    /// The core is owned by the caller, and its slots are not read again.
    unsafe fn drop_all(&self, table: &Table) {
        let drop_nodes = |nodes: &mut [NonNull<Node>]| {
            // In the order of their addresses.
            nodes.sort_unstable();
            let mut killed = 0;
            for at in 0..nodes.len() {
                // SAFETY: no slot leads to a freed node, and a dead node is an orphan, or was killed here.
                let node = unsafe { nodes[at].as_ref() };
                if node.life().state() == State::Live && node.kill(node.as_live()) {
                    nodes.swap(killed, at);
                    killed += 1;
                }
            }
            if let Some(next) = table.load_next(Ordering::Acquire) {
                // SAFETY: a table of the chain; the caller owns the core.
                unsafe { self.drop_all(next.as_ref()) };
            }
            let nodes = &nodes[..killed];
            for (at, &node) in nodes.iter().enumerate() {
                // SAFETY: killed above, so it is in no other list, and its value is complete; dropped once.
                unsafe {
                    if let Some(&later) = nodes.get(at + AHEAD) {
                        self.prefetch_value(later);
                    }
                    self.lists.reclaim_now(Node::link(node));
                }
            }
        };
        // SAFETY: the caller owns the core; a slot is loaded before its place is overwritten by the node.
        unsafe { table.in_place_of_slots(self.led_to(table), drop_nodes) };
    }

    /// Returns the nodes that a table leads to, in the order of its slots. Frees its records.
    ///
    /// # Safety
    ///
    /// The core is owned by the caller. Called once for each table.
    unsafe fn led_to<'t>(&'t self, table: &'t Table) -> impl Iterator<Item = NonNull<Node>> {
        let buckets = (0..table.buckets()).filter(move |&bucket| table.is_marked(bucket));
        let slots = buckets.flat_map(move |bucket| (0..BUCKET).map(move |position| table.index(bucket, position)));
        slots.filter_map(move |slot| match table.load(slot, Ordering::Acquire).kind() {
            Kind::Link(node) | Kind::Frozen(node) => Some(node),
            Kind::Record(record) => {
                // SAFETY: a record belongs to its slot alone.
                unsafe { Node::dealloc(self.memory(), record) };
                None
            }
            _ => None,
        })
    }

    /// Prefetches what a node's value owns.
    ///
    /// # Safety
    ///
    /// The node is allocated, and its value initialised.
    unsafe fn prefetch_value(&self, node: NonNull<Node>) {
        // SAFETY: the caller guarantees that the value is initialised; a typed node has a payload of this size.
        unsafe {
            let entry = node.as_ref().entry(&self.heap);
            if entry.drop_value().is_some() {
                prefetch_owned(Node::payload(node, entry), entry.shape.payload.size());
            }
        }
    }
}
