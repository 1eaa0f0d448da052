//! Batches of a sweep: nodes that have been prefetched, and nodes that are dead but not yet retired.
//!
//! In a table of a few million nodes, each node is a cache miss, and each one retired by itself takes a few locked
//! instructions. So a sweep prefetches a node long before it reads it, and counts and retires nodes by the batch. Until a
//! batch is retired its nodes are held back, as the sweep's guard would hold them back anyway.

use std::mem::ManuallyDrop;

use super::array::{SlotIndex, Table};
use super::node::Node;
use super::remove::Trail;
use super::site::Site;
use super::word::Word;
use super::{Core, NodeRef, Shield};
use crate::defect::{Defect, Stage};
use crate::entry::IdEntry;
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::reclaim::chain::Chain;

/// More than a core has outstanding misses, so that none is waited for.
const NODES: usize = 32;

/// A node that a sweep has met, and the slot and word that led to it, in the table that it sweeps.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'g> {
    pub(super) node: NodeRef<'g>,
    pub(super) slot: SlotIndex,
    pub(super) word: Word,
}

/// Nodes that have been prefetched and not yet read, oldest first.
pub(super) struct PrefetchRing<'g> {
    ring: [Option<Candidate<'g>>; NODES],
    next: usize,
}

impl<'g> PrefetchRing<'g> {
    pub(super) fn new() -> Self {
        Self {
            ring: [None; NODES],
            next: 0,
        }
    }

    /// Prefetches a node, and returns the one that was prefetched longest ago.
    #[inline]
    pub(super) fn swap(&mut self, candidate: Candidate<'g>) -> Option<Candidate<'g>> {
        prefetch(candidate.node.as_ptr().as_ptr());
        let oldest = self.ring[self.next % NODES].replace(candidate);
        self.next = self.next.wrapping_add(1);
        oldest
    }

    /// Removes the oldest of the remaining nodes.
    pub(super) fn take(&mut self) -> Option<Candidate<'g>> {
        let left = (0..NODES).map(|step| self.next.wrapping_add(step) % NODES);
        let oldest = left.into_iter().find(|&at| self.ring[at].is_some())?;
        self.ring[oldest].take()
    }
}

/// The nodes that one sweep of an id has killed and unlinked in one table and not yet retired. Retired when the batch is full,
/// and on drop.
pub(super) struct SweepBatch<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    entry: &'g IdEntry,
    /// The root when the operation began.
    from: &'g Table,
    /// The table that is swept.
    table: &'g Table,
    killed: u64,
    dead: Chain,
}

impl<'g, R: Reclaim> SweepBatch<'g, R> {
    pub(super) fn new(
        core: &'g Core<R>,
        shield: Shield<'g, R>,
        entry: &'g IdEntry,
        from: &'g Table,
        table: &'g Table,
    ) -> Self {
        Self {
            core,
            shield,
            entry,
            from,
            table,
            killed: 0,
            dead: Chain::new(),
        }
    }

    /// Kills the node if it is of the id, calls `removed` with it, and unlinks it, even if `removed` panics.
    #[inline(always)]
    pub(super) fn remove(&mut self, met: Candidate<'g>, removed: &mut impl FnMut(NodeRef<'g>)) {
        let node = met.node;
        let live = match node.life() {
            life if life == self.entry.live => life,
            _ if node.is_of(self.entry) => node.as_live(),
            _ => return,
        };
        if !self.core.kill(node, live) {
            return;
        }
        self.killed += 1;
        self.core.at(Stage::Killed);
        if self.core.planted(Defect::RetireBeforeUnlink) {
            // SAFETY: none: this is what the defect breaks.
            unsafe { self.core.retire(self.shield, node.as_ptr()) };
        }
        let unlink = Unlink { batch: self, met };
        removed(node);
        // Not by dropping, which would keep it in memory.
        ManuallyDrop::new(unlink).finish();
    }

    /// Counts and retires the nodes of the batch, drains ready batches, and helps a running migration.
    fn retire_batch(&mut self) {
        let Self { core, shield, .. } = *self;
        let shard = core.shard();
        let killed = std::mem::take(&mut self.killed);
        core.nodes.count_freed(self.entry.counts(), shard, killed);
        let dead = std::mem::replace(&mut self.dead, Chain::new());
        // SAFETY: this sweep unlinked the nodes (I5), and is pinned, as the shield proves.
        let retired = unsafe { core.lists.retire_chain::<R>(dead, self.entry.drops, shard) };
        core.drain_and_help(shield, shard, retired);
    }
}

impl<R: Reclaim> Drop for SweepBatch<'_, R> {
    fn drop(&mut self) {
        if self.killed > 0 {
            self.retire_batch();
        }
    }
}

/// A node that is dead and still linked. It is [finished](Self::finish), or dropped if the caller's `removed` panics: both
/// unlink it.
struct Unlink<'s, 'g, R: Reclaim> {
    batch: &'s mut SweepBatch<'g, R>,
    met: Candidate<'g>,
}

impl<R: Reclaim> Drop for Unlink<'_, '_, R> {
    #[cold]
    fn drop(&mut self) {
        self.finish();
    }
}

impl<R: Reclaim> Unlink<'_, '_, R> {
    /// Unlinks the node and adds it to the batch.
    #[inline(always)]
    fn finish(&mut self) {
        let (batch, Candidate { node, slot, word }) = (&mut *self.batch, self.met);
        let core = batch.core;
        // SAFETY: the sweep has loaded the word from this slot of its table, under its guard.
        let site = unsafe { Site::new(batch.table, slot, word) };
        let trail = Trail::met(batch.from, site);
        // SAFETY: killed by this thread (`remove`), and of this entry; called once, as `self` is dropped, or forgotten, after it.
        let retire = unsafe { core.unlink(batch.shield, node, batch.entry, trail) };
        if retire && !core.planted(Defect::RetireBeforeUnlink) {
            let object = Node::link(node.as_ptr());
            let weight = match batch.entry.weigh_value() {
                // SAFETY: a variable, which the sweep's guard protects.
                Some(_) if batch.entry.drops => unsafe { core.lists.weigh(object) },
                _ => 0,
            };
            // SAFETY: dead and unlinked by this thread, and in no other list.
            unsafe {
                let bytes = Node::bytes_as(node.as_ptr(), batch.entry);
                batch.dead.push(object, bytes, weight);
            }
        }
        if batch.killed >= core.lists.batch() {
            batch.retire_batch();
        }
    }
}
