//! Dropping a store: its values, and its tables.
//!
//! Nobody else has the store, so there is nothing to wait for but memory: of a few million nodes each is a miss in the order
//! of the table, and so is what each value owns. In the order of their addresses they are mostly side by side, as they were
//! made, and the allocator takes back what they own in the order in which it gave it out. The slots make room for that order.

use std::ptr::NonNull;

use super::Core;
use super::array::{BUCKET, Table};
use super::node::{Node, State};
use super::word::Kind;
use crate::mem::prefetch_owned;
use crate::reclaim::Reclaim;
use crate::sync::Ordering;

/// Nodes between asking for what one's value owns and dropping it.
const AHEAD: usize = 16;

impl<R: Reclaim> Drop for Core<R> {
    /// Drops every value: what is retired, what lives, what was orphaned.
    fn drop(&mut self) {
        // SAFETY: nobody else has the core, so no guard protects anything of it and no operation runs.
        unsafe { self.lists.drain_all::<R>() };
        // Values that need no drop go with the pool's chunks: nobody has to look for them.
        if !(self.heap.pool.packs() && self.registry.entries().all(|entry| entry.shape.is_packed())) {
            // SAFETY: as above; null if there was no memory for the first table.
            if let Some(root) = unsafe { self.root.load(Ordering::Acquire).as_ref() } {
                // SAFETY: as above.
                unsafe { self.drop_all(root) };
            }
            let mut orphan = self.orphans.load(Ordering::Acquire);
            while let Some(node) = NonNull::new(orphan) {
                // SAFETY: as above; chained once, and no slot is read any more.
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
    /// Drops all that lives in a table and those after it.
    ///
    /// A live node can be found twice (FROZEN in a table, LINK in its successor): the first time it is killed. Only when all
    /// tables have been looked through are the nodes dropped that were killed here.
    ///
    /// # Safety
    ///
    /// Nobody else has the core, whose slots are not read again.
    unsafe fn drop_all(&self, table: &Table) {
        let drop_nodes = |nodes: &mut [NonNull<Node>]| {
            // The order of their addresses.
            nodes.sort_unstable();
            let mut killed = 0;
            for at in 0..nodes.len() {
                // SAFETY: no slot leads to a freed node, and what is dead is an orphan, or was killed here.
                let node = unsafe { nodes[at].as_ref() };
                if node.life().state() == State::Live && node.kill(node.as_live()) {
                    nodes.swap(killed, at);
                    killed += 1;
                }
            }
            if let Some(next) = table.load_next(Ordering::Acquire) {
                // SAFETY: a table of the chain; the caller's.
                unsafe { self.drop_all(next.as_ref()) };
            }
            let nodes = &nodes[..killed];
            for (at, &node) in nodes.iter().enumerate() {
                // SAFETY: killed above, so it is in no other list, and its value whole; dropped once.
                unsafe {
                    if let Some(&later) = nodes.get(at + AHEAD) {
                        self.ask_for_owned(later);
                    }
                    self.lists.reclaim_now(Node::link(node));
                }
            }
        };
        // SAFETY: the caller's; a slot is loaded before what it leads to is written.
        unsafe { table.in_place_of_slots(self.led_to(table), drop_nodes) };
    }

    /// The nodes that a table leads to, in the order of its slots. Frees its records.
    ///
    /// # Safety
    ///
    /// Nobody else has the core; once.
    unsafe fn led_to<'t>(&'t self, table: &'t Table) -> impl Iterator<Item = NonNull<Node>> {
        let buckets = (0..table.buckets()).filter(move |&bucket| table.is_marked(bucket));
        let slots = buckets.flat_map(move |bucket| (0..BUCKET).map(move |position| table.index(bucket, position)));
        slots.filter_map(move |slot| match table.load(slot, Ordering::Acquire).kind() {
            Kind::Link(node) | Kind::Frozen(node) => Some(node),
            Kind::Record(record) => {
                // SAFETY: a slot owns its record alone.
                unsafe { Node::dealloc(self.memory(), record) };
                None
            }
            _ => None,
        })
    }

    /// Starts to load what a node's value owns.
    ///
    /// # Safety
    ///
    /// The node is allocated, and its value whole.
    unsafe fn ask_for_owned(&self, node: NonNull<Node>) {
        // SAFETY: the caller's; a typed node has a payload of this size.
        unsafe {
            let entry = node.as_ref().entry(&self.heap);
            if entry.drop_value().is_some() {
                prefetch_owned(Node::payload(node, entry), entry.shape.payload.size());
            }
        }
    }
}
