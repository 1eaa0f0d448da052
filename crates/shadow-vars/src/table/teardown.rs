//! Dropping a store: its values, and its tables.
//!
//! Nobody else has the store, so there is nothing to wait for but memory: of a few million nodes each is a miss, and so is
//! what a value owns. Nodes are asked for long before they are looked at, and what they seem to lead to a little later.

use std::ptr::{self, NonNull};

use super::Core;
use super::array::{BUCKET, Table};
use super::node::{Node, State};
use super::word::Kind;
use crate::heap::Heap;
use crate::mem::{prefetch, prefetch_owned};
use crate::reclaim::Reclaim;
use crate::sync::Ordering;

/// Nodes between asking for one and dropping its value. Halfway, what the value owns is asked for.
const AHEAD: usize = 32;

/// Buckets between asking for one and reading it: a table of which little was ever claimed is walked, not read through.
const BUCKETS_AHEAD: usize = 16;

/// Chains side by side, so that going along them waits for several nodes at once.
const CHAINS: usize = 16;

impl<R: Reclaim> Drop for Core<R> {
    /// Drops every value: what is retired, what lives, what was orphaned.
    fn drop(&mut self) {
        // SAFETY: nobody else has the core, so no guard protects anything of it and no operation runs.
        unsafe { self.lists.drain_all() };
        // Values that need no drop go with the pool's chunks: nobody has to look for them.
        let look = !(self.heap.pool.packs() && self.registry.entries().all(|entry| entry.shape.is_packed()));
        let mut dead = Dead::new();
        let mut next = NonNull::new(self.root.load(Ordering::Acquire));
        while let Some(pointer) = next {
            // SAFETY: a table of the chain, freed below only.
            let table = unsafe { pointer.as_ref() };
            let alone = ptr::eq(self.root.load(Ordering::Acquire), table) && table.next().is_none();
            if look {
                // SAFETY: nobody else has the core, and the table goes next.
                unsafe { self.kill_all(table, alone, &mut dead) };
            }
            next = table.next().map(NonNull::from);
            // SAFETY: nobody else has it.
            unsafe { Table::dealloc(pointer) };
        }
        // SAFETY: chained once, and nobody else has them.
        let drop_value = |node| unsafe { self.lists.reclaim_now(node) };
        dead.drain(drop_value);
        let mut orphan = if look {
            self.orphans.load(Ordering::Acquire)
        } else {
            ptr::null_mut()
        };
        while let Some(node) = NonNull::new(orphan) {
            // SAFETY: as above; no slot leads to it any more.
            orphan = unsafe { node.as_ref() }.next_retired();
            drop_value(node);
        }
        // SAFETY: no node is left.
        unsafe { self.heap.pool.release() };
    }
}

impl<R: Reclaim> Core<R> {
    /// Kills all that a table leads to, and frees its records.
    ///
    /// A live node can be found twice (FROZEN in a table, LINK in its successor): the first time it is killed and chained;
    /// only when all tables are gone are the chained nodes dropped. If the table is alone, they are at once.
    ///
    /// # Safety
    ///
    /// Nobody else has the core, and the table goes next.
    unsafe fn kill_all(&self, table: &Table, alone: bool, dead: &mut Dead) {
        let drop_value = |node| {
            // SAFETY: killed below, once, and no other slot leads to it.
            unsafe { self.lists.reclaim_now(node) };
        };
        let mut under_way = UnderWay::new();
        let mut take = |node: NonNull<Node>| {
            // SAFETY: slots lead to no freed node; what is dead is an orphan or chained.
            let this = unsafe { node.as_ref() };
            if this.life().state() == State::Live && this.kill(this.as_live()) {
                if alone {
                    drop_value(node);
                } else {
                    dead.push(node);
                }
            }
        };
        let mut steps = 0..table.buckets();
        while let Some(step) = table.first_marked(steps.clone()) {
            steps.start = step + 1;
            prefetch(table.bucket(table.walk.region(step + BUCKETS_AHEAD)));
            let bucket = table.walk.region(step);
            for position in 0..BUCKET {
                let word = table.load(table.index(bucket, position), Ordering::Acquire);
                match word.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => {
                        under_way.swap(Some(node), &self.heap).map(&mut take);
                    }
                    // SAFETY: a slot owns its record alone.
                    Kind::Record(record) => unsafe { Node::dealloc(self.memory(), record) },
                    _ => {}
                }
            }
        }
        for _ in 0..AHEAD {
            under_way.swap(None, &self.heap).map(&mut take);
        }
    }
}

/// Nodes that were asked for, oldest first.
struct UnderWay {
    ring: [Option<NonNull<Node>>; AHEAD],
    next: usize,
}

impl UnderWay {
    fn new() -> Self {
        Self {
            ring: [None; AHEAD],
            next: 0,
        }
    }

    /// Asks for a node, and for what the value of another one owns; gives out the one that was asked for longest ago.
    #[inline]
    fn swap(&mut self, node: Option<NonNull<Node>>, heap: &Heap) -> Option<NonNull<Node>> {
        if let Some(node) = node {
            prefetch(node.as_ptr());
        }
        if let Some(halfway) = self.ring[(self.next + AHEAD / 2) % AHEAD] {
            // SAFETY: slots lead to no freed node, and what is in the ring was not dropped yet.
            let entry = unsafe { halfway.as_ref() }.entry(heap);
            if entry.drop_value().is_some() {
                // SAFETY: a typed node has a payload of this size.
                unsafe { prefetch_owned(Node::payload(halfway, entry), entry.shape.payload.size()) };
            }
        }
        let oldest = std::mem::replace(&mut self.ring[self.next % AHEAD], node);
        self.next = (self.next + 1) % AHEAD;
        oldest
    }
}

/// Dead nodes, each in one of some chains.
struct Dead {
    first: [*mut Node; CHAINS],
    turn: usize,
}

impl Dead {
    fn new() -> Self {
        Self {
            first: [ptr::null_mut(); CHAINS],
            turn: 0,
        }
    }

    fn push(&mut self, node: NonNull<Node>) {
        let first = &mut self.first[self.turn % CHAINS];
        // SAFETY: dead, and in no other chain.
        unsafe { node.as_ref() }.set_next_retired(*first);
        *first = node.as_ptr();
        self.turn = self.turn.wrapping_add(1);
    }

    /// Takes a node of each chain by turns, and asks for the next.
    fn drain(mut self, mut take: impl FnMut(NonNull<Node>)) {
        let mut left = true;
        while left {
            left = false;
            for first in &mut self.first {
                let Some(node) = NonNull::new(*first) else { continue };
                // SAFETY: chained, and not taken before.
                *first = unsafe { node.as_ref() }.next_retired();
                prefetch(*first);
                take(node);
                left = true;
            }
        }
    }
}
