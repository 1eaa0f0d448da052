//! Operations over many variables: sweeping those of an id, visiting those of a parent, and iterating over all.
//!
//! ```text
//! sweep of an id     all tables, oldest first, each in the order of a walk (P5); marks select the buckets (L6), snapshots
//!                    the slots with the id's bits (L4); nodes are killed, unlinked, and retired in batches, those of large
//!                    tables with destructors in the order of their addresses
//! pass of a parent   in each table, one run of buckets for each place that ids use (L5, O7)
//! iteration          region by region of the hash space, in the order of a walk (P5, L6)
//! ```
//!
//! None of them is atomic. Each visits every variable that exists for the whole of its run.

use std::ops::Range;

use super::array::Table;
use super::by_address::ByAddress;
use super::group::{BUCKET, Group};
use super::hash::{Places, TagPart, Walk};
use super::node::State;
use super::site::Site;
use super::sweep_batch::{Candidate, PrefetchRing, SweepBatch};
use super::word::{Kind, Word};
use super::{Core, NodeRef, Shield};
use crate::defect::{Defect, Stage};
use crate::entry::IdEntry;
use crate::mem::prefetch;
use crate::panics::FirstPanic;
use crate::reclaim::Reclaim;
use crate::sync::{Ordering, fence};

/// How many buckets ahead a sweep prefetches.
const AHEAD: usize = 24;

/// How many regions ahead an iteration prefetches nodes.
const NODES_AHEAD: usize = 8;

impl<R: Reclaim> Core<R> {
    /// Calls `visit` for the tables of the chain, oldest first, except those that are finished meanwhile. The successor is
    /// loaded after the visit (O4).
    pub(crate) fn for_each_table<'g>(&'g self, shield: Shield<'g, R>, mut visit: impl FnMut(&'g Table)) {
        let mut table = self.root(shield);
        loop {
            let early = self.next(shield, table);
            visit(table);
            let next = if self.planted(Defect::SweepNextFirst) {
                early
            } else {
                self.next(shield, table)
            };
            let Some(next) = next else { return };
            let root = self.root(shield);
            table = if root.generation > next.generation { root } else { next };
        }
    }

    /// Kills every variable of an id, calls `dtor` with each, and returns how many there were. A panic of `dtor` is resumed
    /// when all variables have been freed.
    pub(crate) fn free_all<'g>(
        &'g self,
        shield: Shield<'g, R>,
        entry: &'g IdEntry,
        mut dtor: impl FnMut(NodeRef<'g>),
    ) -> usize {
        let mut count = 0;
        let mut panic = FirstPanic::default();
        self.for_each_table(shield, |table| {
            self.sweep_id(shield, table, 0..table.buckets(), entry, |removed| {
                count += 1;
                panic.catch(|| dtor(removed));
            });
        });
        self.after_sweep(shield, count);
        panic.resume();
        count
    }

    /// Does the maintenance due after a sweep that freed `freed` variables: makes a smaller table, if that is worthwhile now,
    /// and migrates as much as this many single frees would have done.
    pub(crate) fn after_sweep(&self, shield: Shield<'_, R>, freed: usize) {
        self.shrink_if_empty(shield, self.root(shield));
        let mut left = freed;
        while left > 0 && self.root(shield).has_next() && self.help(shield).is_ok() {
            left -= 1;
        }
    }

    /// Kills every variable of an id in the buckets of some steps of a walk through a table (P5). Calls `removed` with each;
    /// the variable is unlinked when `removed` returns.
    pub(crate) fn sweep_id<'g>(
        &'g self,
        shield: Shield<'g, R>,
        table: &'g Table,
        steps: Range<usize>,
        entry: &'g IdEntry,
        mut removed: impl FnMut(NodeRef<'g>),
    ) {
        // Each of these removals begins at this root (I3). If it is newer than the table, the table is finished and nothing is
        // left in it.
        let from = self.root(shield);
        let mut batch = SweepBatch::new(self, shield, entry, from, table);
        let mut prefetched = PrefetchRing::new();
        let mut by_address = ByAddress::new(entry, steps.len());
        let mut left = steps;
        while let Some(step) = table.first_marked(left.clone()) {
            left.start = step + 1;
            prefetch(table.bucket(table.walk.region(step + AHEAD)));
            let bucket = table.walk.region(step);
            for lane in Group::load(table.bucket(bucket)).nodes_with(TagPart::of_id(entry.index)) {
                let slot = table.index(bucket, lane.get());
                let site = Site::load(shield, table, slot);
                let (Kind::Link(node) | Kind::Frozen(node)) = site.kind() else {
                    // A tomb has no node; an entry that moved since the snapshot is in the successor.
                    continue;
                };
                if by_address.push(node, slot) {
                    continue;
                }
                let word = site.word();
                if let Some(oldest) = prefetched.swap(Candidate { node, slot, word }) {
                    batch.remove(oldest, &mut removed);
                }
            }
            self.at(Stage::Swept);
            if by_address.is_full() {
                self.sweep_found(shield, table, &mut by_address, &mut batch, &mut removed);
            }
        }
        self.sweep_found(shield, table, &mut by_address, &mut batch, &mut removed);
        while let Some(oldest) = prefetched.take() {
            batch.remove(oldest, &mut removed);
        }
        if !self.planted(Defect::SweepWithoutFence) {
            // Acquire: turns every relaxed load of the snapshots into one that pairs with `Table::cas` (O1), so that a thread
            // that saw MOVED or SEALED there sees the successor, and what was placed in it, next (O4).
            fence(Ordering::Acquire);
        }
    }

    /// Frees the nodes that a sweep has collected.
    fn sweep_found<'g>(
        &self,
        shield: Shield<'g, R>,
        table: &'g Table,
        found: &mut ByAddress<'g>,
        batch: &mut SweepBatch<'g, R>,
        removed: &mut impl FnMut(NodeRef<'g>),
    ) {
        found.drain(table, |node, slot| {
            // Loaded again: the node may have moved meanwhile, or be dead.
            let word = Site::load(shield, table, slot).word();
            batch.remove(Candidate { node, slot, word }, removed);
        });
    }

    /// Calls `visit` for every live node of a parent, with the slot at which it was met. Reads a run of buckets for each place
    /// that ids use, and few nodes but the parent's own.
    pub(crate) fn for_each_of_parent<'g>(
        &'g self,
        shield: Shield<'g, R>,
        obj: usize,
        mut visit: impl FnMut(NodeRef<'g>, Site<'g>),
    ) {
        let hash = self.hasher.hash(obj);
        let places = self.registry.places;
        // Before the first slot: ids that are added later have no variable that exists throughout (O7).
        let ids = self.registry.known();
        let mut table = self.root(shield);
        loop {
            let of = Places::MOST.min(table.buckets());
            let used = if self.planted(Defect::FirstPlaceOnly) {
                1
            } else {
                places.used(ids).min(of)
            };
            let start = |place| hash.with(Places::start(place));
            (1..used).for_each(|place| prefetch(table.home_bucket(start(place))));
            let mut open = false;
            for place in 0..used {
                let tags = hash.shared_tag_bits(places, ids, (place, of));
                // All variables of one place have the same home bucket, so the bucket where their probes end comes after all
                // of them.
                let more = self.visit_run(shield, table, table.home(start(place)), tags, |node, site| {
                    if node.obj == obj && node.life().state() == State::Live {
                        visit(node, site);
                    }
                });
                open = more || (open && !self.planted(Defect::LastPlaceDecides));
            }
            match self.next(shield, table) {
                Some(next) if open => table = next,
                _ => return,
            }
        }
    }

    /// Visits the nodes with these tag bits in the run of buckets that starts at `home`, up to the first bucket with an EMPTY
    /// or SEALED (L5). Returns whether the successor may have more.
    #[inline]
    fn visit_run<'g>(
        &'g self,
        shield: Shield<'g, R>,
        table: &'g Table,
        home: usize,
        tags: TagPart,
        mut visit: impl FnMut(NodeRef<'g>, Site<'g>),
    ) -> bool {
        let mut open = false;
        for bucket in home..home + table.buckets() {
            let group = Group::load(table.bucket(bucket));
            for lane in group.nodes_with(tags) {
                let site = Site::load(shield, table, table.index(bucket, lane.get()));
                match site.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => visit(node, site),
                    Kind::Moved => open = true,
                    // A tomb by now.
                    _ => {}
                }
            }
            let ends = group.ends();
            if ends.closed() {
                open = true;
                if self.is_sealed(shield, table, bucket) {
                    return true;
                }
            }
            if ends.empty().is_some() {
                return open;
            }
        }
        true
    }

    /// Returns whether a slot of the bucket is SEALED. Loads all slots before that one again: unlike the snapshot, these loads
    /// make the entries of MOVED slots visible in the successor (O1). No key has its slot behind a SEALED.
    #[cold]
    #[inline(never)]
    fn is_sealed(&self, shield: Shield<'_, R>, table: &Table, bucket: usize) -> bool {
        (0..BUCKET)
            .any(|position| shield.load(|order| table.load(table.index(bucket, position), order)) == Word::SEALED)
    }

    /// Returns the first of these steps of a walk whose [region](Self::region) may have a variable.
    pub(crate) fn first_claimed(&self, shield: Shield<'_, R>, walk: Walk, steps: Range<usize>) -> Option<usize> {
        let root = self.root(shield);
        if root.log2 == walk.log2 {
            let first = root.first_marked(steps.clone());
            // Read after the marks (L6).
            if !root.has_next() {
                return first;
            }
        }
        Some(steps.start).filter(|start| *start < steps.end)
    }

    /// Prefetches what a walk through the regions needs a few steps later: a bucket, and the nodes of an earlier one.
    #[inline]
    pub(crate) fn prefetch_ahead(&self, shield: Shield<'_, R>, walk: Walk, step: usize) {
        let root = self.root(shield);
        if root.log2 != walk.log2 || cfg!(shadow_loom) {
            return;
        }
        prefetch(root.bucket(walk.region(step + AHEAD)));
        let bucket = root.bucket(walk.region(step + NODES_AHEAD));
        for lane in Group::load(bucket).nodes_with(TagPart::ANY) {
            if let Some(node) = shield.load(|order| root.load_lane(bucket, lane, order)).linked() {
                prefetch(node.as_ptr());
            }
        }
    }

    /// Collects the live nodes in the region of the hash space that begins at the point `from` and is one of `2^log2`, each
    /// key once. Regions do not change when tables of other sizes replace the root (split order).
    pub(crate) fn region<'g>(&'g self, shield: Shield<'g, R>, from: u64, log2: u32, found: &mut Vec<NodeRef<'g>>) {
        found.clear();
        let last = from | u64::MAX >> log2;
        let mut table = self.root(shield);
        // Within one table, a key owns one slot at most.
        let first = table.generation;
        loop {
            let homes = super::hash::home(from, table.log2)..=super::hash::home(last, table.log2);
            run(table, shield, *homes.start(), homes.end() - homes.start(), |site| {
                if let Kind::Link(node) | Kind::Frozen(node) = site.kind() {
                    let point = self.key_of(&node).hash.point;
                    if (from..=last).contains(&point) && node.life().state() == State::Live {
                        found.push(node);
                    }
                }
            });
            // A variable that was moved during the scan is in the successor by now, in the same region.
            match self.next(shield, table) {
                Some(next) => table = next,
                None => break,
            }
        }
        if table.generation > first {
            let key = |node: &NodeRef<'_>| (node.obj, node.entry(&self.heap).id);
            found.sort_unstable_by_key(key);
            found.dedup_by_key(|node| key(node));
        }
    }
}

/// Visits the slots of the run of buckets that starts at `home`: of `least` buckets, and of those that follow up to the first
/// EMPTY or SEALED.
fn run<'g, R: Reclaim>(
    table: &'g Table,
    shield: Shield<'g, R>,
    home: usize,
    least: usize,
    mut visit: impl FnMut(Site<'g>),
) {
    for passed in 0..table.buckets() {
        for position in 0..BUCKET {
            let site = Site::load(shield, table, table.index(home + passed, position));
            if passed >= least && matches!(site.kind(), Kind::Empty | Kind::Sealed) {
                return;
            }
            visit(site);
        }
    }
}
