//! Resize: makes the successor of a table, in the size that the present number of variables needs.
//!
//! ```text
//! a claim passes the load limit of the root          → successor            (P4)
//! a table is full, whatever the counters say         → larger_successor     (P4)
//! a free leaves the root mostly empty, or a sweep    → shrink_if_empty      (P6)
//! ```
//!
//! Making a successor only installs it (O2): the root's slots are [migrated](super::migrate) after that, by the operations
//! that meet it. Without memory for one, the table keeps filling, and the operations that need room in a full table fail.
//!
//! All counts here are approximate. They decide the size of tables, never whether a variable exists.

use super::array::{MAX_LOG2, Plan, Table};
use super::group::BUCKET;
use super::{Core, NoMemory, Shield};
use crate::defect::Stage;
use crate::reclaim::Reclaim;
use crate::sync::Ordering;

/// Tables for fewer variables than this are small and stay in a core's cache. With changing keys, such a table gets the room
/// of twice as many: it is replaced half as often, and fewer keys lie outside their homes. Models use the tightest tables.
const FEW: usize = if cfg!(shadow_loom) { 1 } else { 1 << 14 };

impl<R: Reclaim> Core<R> {
    /// Returns the successor of a table, made now if there is none: as large as the present number of variables needs.
    pub(crate) fn successor<'g>(&'g self, shield: Shield<'g, R>, table: &'g Table) -> Result<&'g Table, NoMemory> {
        self.successor_of(shield, table, |needed| needed)
    }

    /// Returns the successor of a full table, made now if there is none: larger than the table, whatever the counters say.
    /// They do not include claims that other threads have not counted yet, and those threads may be stopped.
    pub(crate) fn larger_successor<'g>(
        &'g self,
        shield: Shield<'g, R>,
        table: &'g Table,
    ) -> Result<&'g Table, NoMemory> {
        self.successor_of(shield, table, |needed| needed.max(table.log2 + 1))
    }

    /// Returns the successor of a table, made now if there is none. `size` maps the size that the present number of variables
    /// needs to the size to use.
    pub(super) fn successor_of<'g>(
        &'g self,
        shield: Shield<'g, R>,
        table: &'g Table,
        size: impl FnOnce(u32) -> u32,
    ) -> Result<&'g Table, NoMemory> {
        if let Some(next) = self.next(shield, table) {
            return Ok(next);
        }
        let live = self.nodes_in(table);
        let churning = self.is_churning(table);
        let few = churning && live < FEW;
        let log2 = size(self.log2_for(if few { 2 * live } else { live }, churning));
        if log2 > MAX_LOG2 {
            return Err(NoMemory);
        }
        let room = ((BUCKET << log2) * 3 / 4).saturating_sub(live);
        let plan = Plan {
            log2,
            generation: table.generation + 1,
            room,
            block: self.block,
            shards: self.shards,
            retired: self.lists.retired(),
            born: self.birth(shield),
            sieved: self.sieved,
        };
        let fresh = Table::alloc(plan).ok_or(NoMemory)?;
        // SAFETY: allocated above, and not shared yet.
        if unsafe { table.install(fresh) } {
            let count = match log2.cmp(&table.log2) {
                std::cmp::Ordering::Greater => &self.growths,
                std::cmp::Ordering::Equal => &self.rebuilds,
                std::cmp::Ordering::Less => &self.shrinks,
            };
            count.fetch_add(1, Ordering::Relaxed);
            self.at(Stage::Installed);
            // SAFETY: just published, and protected from its birth on (B2); or retired after `table` (O6).
            return Ok(unsafe { fresh.as_ref() });
        }
        // SAFETY: allocated above, and never shared.
        unsafe { Table::dealloc(fresh) };
        // There is one, or the exchange would have succeeded.
        Ok(self.next(shield, table).unwrap_or(table))
    }

    /// Returns about how many nodes that are live or under construction a table leads to: what a successor needs room for.
    /// Nodes under construction are counted nowhere, so claimed slots are used as well: each was claimed for a node, and the
    /// nodes of those that are free again were all retired.
    fn nodes_in(&self, table: &Table) -> usize {
        let gone = self.lists.retired().saturating_sub(table.retired);
        let claimed = table
            .claimed
            .sum()
            .saturating_sub(usize::try_from(gone).unwrap_or(usize::MAX));
        // There are no more nodes than slots, whatever the counters say, which are not read at one instant.
        self.nodes.sum().max(claimed).min(table.capacity())
    }

    /// Returns whether new keys come while others go: then the table fills with tombs, and a larger one has to be replaced
    /// less often. Keys that come back reuse their tombs.
    fn is_churning(&self, table: &Table) -> bool {
        let retired = self.lists.retired().saturating_sub(table.retired);
        retired > 0 && table.claimed.sum() as u64 > retired / 2
    }

    /// Returns the size of a table for this many variables: at most half full; two fifths if keys come and go.
    pub(crate) fn log2_for(&self, live: usize, churning: bool) -> u32 {
        let slots = if churning {
            live.saturating_mul(5) / 2
        } else {
            live.saturating_mul(2)
        };
        let buckets = slots.div_ceil(BUCKET).max(1);
        buckets
            .checked_next_power_of_two()
            .map_or(MAX_LOG2, usize::trailing_zeros)
            .clamp(self.min_log2, MAX_LOG2)
    }

    /// Makes a smaller successor if the table has become mostly empty.
    #[cold]
    pub(crate) fn shrink_if_empty(&self, shield: Shield<'_, R>, root: &Table) {
        if root.log2 <= self.min_log2 || root.has_next() {
            return;
        }
        if self.log2_for(self.nodes_in(root), true) + 1 < root.log2 {
            let _ = self.successor(shield, root);
        }
    }
}
