//! The nodes that a sweep frees in the order of their addresses.
//!
//! In a table of a few million nodes, each node is a cache miss in the order of the table, and so is what its value owns, when
//! the node is killed and again when it is reclaimed. In the order of their addresses, nodes are mostly adjacent, as they were
//! allocated, and so are the allocations that their values own. So a sweep of values with destructors collects what it finds,
//! sorts it, and frees it in this order; retire lists preserve it.
//!
//! Only the order differs: a node that was found is protected by the sweep's guard and killed by compare-and-swap, as in any
//! order, and what other threads do meanwhile is found out then. Needs 16 bytes for each node found, until the sweep has freed
//! it; where there is no memory for that, the sweep frees in the order of the table.

use super::NodeRef;
use super::array::{SlotIndex, Table};
use crate::mem::prefetch;
use crate::registry::IdEntry;

/// The most nodes that are sorted at once: 64 MiB.
const MOST: usize = 1 << 22;

/// The least buckets for which sorting is worthwhile: fewer nodes fit into a processor's cache.
const LEAST_BUCKETS: usize = 1 << 12;

/// Nodes between the prefetch of a node's bucket and its use.
const AHEAD: usize = 16;

/// The nodes that a sweep has found and not yet freed, with their slots.
pub(super) struct ByAddress<'g> {
    found: Vec<(NodeRef<'g>, SlotIndex)>,
    is_used: bool,
}

impl<'g> ByAddress<'g> {
    /// Returns an empty collection for a sweep of these buckets of a table; it is used only where it is worthwhile.
    pub(super) fn new(entry: &IdEntry, buckets: usize) -> Self {
        Self {
            found: Vec::new(),
            is_used: entry.drops && buckets >= LEAST_BUCKETS,
        }
    }

    /// Adds a node. Returns whether it was added: if not, the caller has to free it now.
    #[inline]
    pub(super) fn push(&mut self, node: NodeRef<'g>, slot: SlotIndex) -> bool {
        if !self.is_used || (self.found.len() == self.found.capacity() && !self.grow()) {
            return false;
        }
        self.found.push((node, slot));
        true
    }

    #[cold]
    fn grow(&mut self) -> bool {
        self.is_used = self.found.try_reserve(LEAST_BUCKETS).is_ok();
        self.is_used
    }

    /// Returns whether the nodes found so far have to be freed before there is room for more.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// Calls `free` with each node and its slot, in the order of the nodes' addresses, and empties the collection.
    pub(super) fn drain(&mut self, table: &Table, mut free: impl FnMut(NodeRef<'g>, SlotIndex)) {
        self.found.sort_unstable_by_key(|(node, _)| node.as_ptr());
        for (at, &(node, slot)) in self.found.iter().enumerate() {
            if let Some((later, slot)) = self.found.get(at + AHEAD) {
                prefetch(later.as_ptr().as_ptr());
                prefetch(table.bucket(slot.bucket()));
            }
            free(node, slot);
        }
        self.found.clear();
    }
}
