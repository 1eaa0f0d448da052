//! Operations over many variables: all of one id, all of one parent, and looking at all.
//!
//! None of them is an instant. Each visits every variable that is there for the whole of its run.

use std::ops::Range;

use super::array::{BUCKET, SlotIndex, Table};
use super::defect::{Defect, Stage};
use super::group::Group;
use super::harvest::{Swept, UnderWay};
use super::node::State;
use super::word::{Kind, Word};
use super::{Core, NodeRef, Shield};
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::sync::{Ordering, fence};

impl<R: Reclaim> Core<R> {
    /// Calls `visit` for the tables of the chain, old to new. The successor is looked up after the visit (O4).
    pub(crate) fn for_each_table<'g>(&'g self, shield: Shield<'g>, mut visit: impl FnMut(&'g Table)) {
        let mut table = self.root(shield);
        loop {
            let early = table.next();
            visit(table);
            let next = if self.planted(Defect::SweepNextFirst) {
                early
            } else {
                table.next()
            };
            match next {
                Some(next) => table = next,
                None => return,
            }
        }
    }

    /// Kills every variable of an id in some buckets of a table, found by an operation that began at the root `from`.
    /// Calls `removed` with each; the variable is unlinked when `removed` returns.
    pub(crate) fn sweep_id<'g>(
        &'g self,
        shield: Shield<'g>,
        (from, table): (&'g Table, &'g Table),
        buckets: Range<usize>,
        entry: &'g IdEntry,
        mut removed: impl FnMut(NodeRef<'g>),
    ) {
        let mut swept = Swept::new(self, shield, entry, from, table);
        let mut under_way = UnderWay::new();
        for bucket in buckets {
            for lane in Group::load(table.bucket(bucket)).nodes_of(entry.index) {
                let slot = table.index(bucket, lane.get());
                let word = table.load(slot, R::LOAD);
                let (Kind::Link(node) | Kind::Frozen(node)) = word.kind() else {
                    // Tombs are nobody's; what moved since the snapshot is in the successor.
                    continue;
                };
                if let Some((slot, word, node)) = under_way.swap((slot, word, NodeRef::new(shield, node))) {
                    swept.kill(node, slot, word, &mut removed);
                }
            }
            self.at(Stage::Swept);
        }
        while let Some((slot, word, node)) = under_way.take() {
            swept.kill(node, slot, word, &mut removed);
        }
        if !self.planted(Defect::SweepWithoutFence) {
            // Acquire: makes of every relaxed load of the snapshots one that pairs with `Table::cas` (O1), so that who saw
            // MOVED or SEALED there sees the successor, and what was placed in it, next (O4).
            fence(Ordering::Acquire);
        }
    }

    /// Calls `visit` for every live node of a parent, with the table it was found in. In time proportional to the
    /// parent's variables and the neighbours that their run of buckets has grown together with.
    pub(crate) fn for_each_of<'g>(
        &'g self,
        shield: Shield<'g>,
        obj: usize,
        mut visit: impl FnMut(NodeRef<'g>, (&'g Table, SlotIndex, Word)),
    ) {
        let home = self.hasher.hash(obj);
        let mut table = self.root(shield);
        loop {
            // All variables of one parent probe from one bucket, so where their probes end, all have been passed.
            let open = run(table, R::LOAD, table.home(home), 0, |slot, word| {
                if let Kind::Link(node) | Kind::Frozen(node) = word.kind() {
                    let node = NodeRef::new(shield, node);
                    if node.obj == obj && node.life().state() == State::Live {
                        visit(node, (table, slot, word));
                    }
                }
            });
            match table.next() {
                Some(next) if open => table = next,
                _ => return,
            }
        }
    }

    /// The variables whose parents hash into the home bucket, in the root, of `from`, each key once, but none at `end` or
    /// after; and where the next such region begins, if there is one. Positions are points of the hash space, so they stay good while tables of
    /// other sizes take over (split order).
    pub(crate) fn region<'g>(
        &'g self,
        shield: Shield<'g>,
        from: u64,
        end: Option<u64>,
        found: &mut Vec<NodeRef<'g>>,
    ) -> Option<u64> {
        found.clear();
        let root = self.root(shield);
        // The last point of the region: all bits below the index set.
        let last = (from | (u64::MAX >> 1 >> root.log2 << 1 | 1)).min(end.map_or(u64::MAX, |end| end - 1));
        let mut table = root;
        loop {
            let homes = super::hash::home(from, table.log2)..=super::hash::home(last, table.log2);
            run(
                table,
                R::LOAD,
                *homes.start(),
                homes.end() - homes.start(),
                |_, word| {
                    if let Kind::Link(node) | Kind::Frozen(node) = word.kind() {
                        let node = NodeRef::new(shield, node);
                        let point = self.hasher.hash(node.obj).spread;
                        if (from..=last).contains(&point) && node.life().state() == State::Live {
                            found.push(node);
                        }
                    }
                },
            );
            // A variable that moved during the scan is in the successor by now, in the same region.
            match table.next() {
                Some(next) => table = next,
                None => break,
            }
        }
        let key = |node: &NodeRef<'_>| (node.obj, node.entry(&self.heap).id);
        found.sort_unstable_by_key(key);
        found.dedup_by_key(|node| key(node));
        last.checked_add(1)
    }
}

/// Visits the words of the run of buckets that starts at `home` and is at least `least` buckets longer than one, up to
/// the first EMPTY or SEALED after those. Whether the successor may have more: at SEALED, after MOVED or FROZEN, or when
/// the run goes round the whole table.
fn run(
    table: &Table,
    load: crate::sync::Ordering,
    home: usize,
    least: usize,
    mut visit: impl FnMut(SlotIndex, Word),
) -> bool {
    let mut open = false;
    for passed in 0..table.buckets() {
        for position in 0..BUCKET {
            let slot = table.index(home + passed, position);
            let word = table.load(slot, load);
            match word.kind() {
                Kind::Empty if passed >= least => return open,
                Kind::Sealed if passed >= least => return true,
                Kind::Sealed | Kind::Moved | Kind::Frozen(_) => open = true,
                _ => {}
            }
            visit(slot, word);
        }
    }
    true
}
