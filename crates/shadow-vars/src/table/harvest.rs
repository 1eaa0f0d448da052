//! What a sweep takes: nodes on their way to the cache, and nodes that are dead but not yet handed over.
//!
//! Of a few million nodes each is a miss, and each handed over by itself a few locked instructions. So a sweep asks for a
//! node long before it looks at it, and counts and retires by the batch. Until then what it took is held back, as its
//! guard would hold it back anyway.

use std::mem::ManuallyDrop;

use super::array::{SlotIndex, Table};
use super::defect::{Defect, Stage};
use super::node::Node;
use super::word::{Kind, Word};
use super::{Core, NodeRef, Shield};
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::reclaim::chain::Chain;
use crate::registry::IdEntry;

/// More than a core has misses under way, so that none is waited for.
const NODES: usize = 32;

/// A node, and the word that led to it.
type Met<'g> = (SlotIndex, Word, NodeRef<'g>);

/// Nodes that were asked for and not yet looked at, oldest first.
pub(super) struct UnderWay<'g> {
    ring: [Option<Met<'g>>; NODES],
    next: usize,
}

impl<'g> UnderWay<'g> {
    pub(super) fn new() -> Self {
        Self {
            ring: [None; NODES],
            next: 0,
        }
    }

    /// Asks for a node, and gives out the one that was asked for longest ago.
    #[inline]
    pub(super) fn swap(&mut self, met: Met<'g>) -> Option<Met<'g>> {
        prefetch(met.2.as_ptr().as_ptr());
        let oldest = self.ring[self.next % NODES].replace(met);
        self.next = self.next.wrapping_add(1);
        oldest
    }

    /// The rest, oldest first.
    pub(super) fn take(&mut self) -> Option<Met<'g>> {
        let left = (0..NODES).map(|step| self.next.wrapping_add(step) % NODES);
        let oldest = left.into_iter().find(|&at| self.ring[at].is_some())?;
        self.ring[oldest].take()
    }
}

/// What one sweep of an id killed and unlinked in one table. Counted and retired by the batch, and on the way out.
pub(super) struct Swept<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    entry: &'g IdEntry,
    /// The root when the operation began, and the table that is swept.
    from: &'g Table,
    table: &'g Table,
    killed: u64,
    dead: Chain,
}

impl<'g, R: Reclaim> Swept<'g, R> {
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

    /// Kills the node if it is of the id, shows it to `removed`, and unlinks it, also if `removed` panics.
    #[inline(always)]
    pub(super) fn kill(
        &mut self,
        node: NodeRef<'g>,
        slot: SlotIndex,
        word: Word,
        removed: &mut impl FnMut(NodeRef<'g>),
    ) {
        let live = match node.life() {
            life if life == self.entry.live => life,
            _ if node.is_of(self.entry) => node.as_live(),
            _ => return,
        };
        if !self.core.end_life(node, live) {
            return;
        }
        self.killed += 1;
        self.core.at(Stage::Killed);
        if self.core.planted(Defect::RetireBeforeUnlink) {
            self.core.retire(self.shield, node.as_ptr());
        }
        let root = std::ptr::eq(self.from, self.table);
        let link = (root && matches!(word.kind(), Kind::Link(_))).then_some((slot, word));
        let unlink = Unlink {
            swept: self,
            node,
            link,
        };
        removed(node);
        // Not by its drop, which would have it in memory.
        ManuallyDrop::new(unlink).finish();
    }

    fn hand_over(&mut self) {
        let Self { core, shield, .. } = *self;
        let shard = core.shard();
        let killed = std::mem::take(&mut self.killed);
        core.nodes.count_freed(self.entry.counts(), shard, killed);
        let dead = std::mem::replace(&mut self.dead, Chain::new());
        // SAFETY: this sweep unlinked the nodes (I5), and is pinned, as the shield says.
        let retired = unsafe { core.lists.retire_chain::<R>(dead, self.entry.drops, shard) };
        core.drain_and_help(shield, shard, retired);
    }
}

impl<R: Reclaim> Drop for Swept<'_, R> {
    fn drop(&mut self) {
        if self.killed > 0 {
            self.hand_over();
        }
    }
}

/// A node that is dead and linked. [Finished](Self::finish), or dropped if what it is shown to panics.
struct Unlink<'s, 'g, R: Reclaim> {
    swept: &'s mut Swept<'g, R>,
    node: NodeRef<'g>,
    /// The LINK that led to the node, if that is in the root.
    link: Option<(SlotIndex, Word)>,
}

impl<R: Reclaim> Drop for Unlink<'_, '_, R> {
    #[cold]
    fn drop(&mut self) {
        self.finish();
    }
}

impl<R: Reclaim> Unlink<'_, '_, R> {
    #[inline(always)]
    fn finish(&mut self) {
        let (swept, node) = (&mut *self.swept, self.node);
        let core = swept.core;
        let from = if core.planted(Defect::UnlinkFromFound) {
            swept.table
        } else {
            swept.from
        };
        let retire = core.unlink_or_orphan(swept.shield, (node, swept.entry), from, swept.table, self.link);
        if retire && !core.planted(Defect::RetireBeforeUnlink) {
            let object = Node::link(node.as_ptr());
            let weight = match swept.entry.weigh_value() {
                // SAFETY: a variable, which the sweep's guard protects.
                Some(_) if swept.entry.drops => unsafe { core.lists.weigh(object) },
                _ => 0,
            };
            // SAFETY: dead and unlinked by this thread, and in no list.
            unsafe {
                let bytes = Node::bytes_as(node.as_ptr(), swept.entry);
                swept.dead.push(object, bytes, weight);
            }
        }
        if swept.killed >= core.lists.batch() {
            swept.hand_over();
        }
    }
}
