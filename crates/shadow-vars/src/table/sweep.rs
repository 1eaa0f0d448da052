//! Operations over many variables: all of one id, all of one parent, and looking at all.
//!
//! None of them is an instant. Each visits every variable that is there for the whole of its run.

use std::ops::Range;
use std::ptr::NonNull;

use super::array::{BUCKET, SlotIndex, Table};
use super::defect::{Defect, Stage};
use super::group::Group;
use super::harvest::{Swept, UnderWay};
use super::hash::{Places, TagPart, Walk};
use super::node::{Node, State};
use super::word::{Kind, Word};
use super::{Core, NodeRef, Shield};
use crate::mem::prefetch;
use crate::panics::FirstPanic;
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::sync::{Ordering, fence};

/// Buckets that a sweep asks for before it comes to them.
const AHEAD: usize = 24;

/// Regions of an iteration whose nodes are asked for before it comes to them.
const NODES_AHEAD: usize = 8;

impl<R: Reclaim> Core<R> {
    /// Calls `visit` for the tables of the chain, old to new, but for those that are finished meanwhile. The successor is
    /// looked up after the visit (O4).
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

    /// Kills every variable of an id, calling `dtor` with each. How many there were. A panic of one call waits until the others
    /// are done.
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

    /// After so many variables were freed by a sweep: asks for a smaller table, if that is worth it now, and migrates as much
    /// as those who free one variable each would have done.
    pub(crate) fn after_sweep(&self, shield: Shield<'_, R>, freed: usize) {
        self.shrink_if_empty(shield, self.root(shield));
        let mut left = freed;
        while left > 0 && self.root(shield).has_next() && self.help(shield).is_ok() {
            left -= 1;
        }
    }

    /// Kills every variable of an id in the buckets of some steps of a walk through a table (P5). Calls `removed` with each; the
    /// variable is unlinked when `removed` returns.
    pub(crate) fn sweep_id<'g>(
        &'g self,
        shield: Shield<'g, R>,
        table: &'g Table,
        steps: Range<usize>,
        entry: &'g IdEntry,
        mut removed: impl FnMut(NodeRef<'g>),
    ) {
        // Where each of these removals begins (I3). If it is past the table already, nothing is left in that.
        let from = self.root(shield);
        let mut swept = Swept::new(self, shield, entry, from, table);
        let mut under_way = UnderWay::new();
        let mut left = steps;
        while let Some(step) = table.first_marked(left.clone()) {
            left.start = step + 1;
            prefetch(table.bucket(table.walk.region(step + AHEAD)));
            let bucket = table.walk.region(step);
            for lane in Group::load(table.bucket(bucket)).nodes_with(TagPart::of_id(entry.index)) {
                let slot = table.index(bucket, lane.get());
                let word = shield.load(|order| table.load(slot, order));
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

    /// Calls `visit` for every live node of a parent, with the table it was found in. Looks at a run of buckets for each
    /// place that ids have, and at few nodes but the parent's own.
    pub(crate) fn for_each_of<'g>(
        &'g self,
        shield: Shield<'g, R>,
        obj: usize,
        mut visit: impl FnMut(NodeRef<'g>, (&'g Table, SlotIndex, Word)),
    ) {
        let hash = self.hasher.hash(obj);
        let places = self.registry.places;
        // Before the first slot: ids that come later have no variable that is there throughout (O7).
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
                let tags = hash.tags_of(places, ids, (place, of));
                // All variables of one place probe from one bucket, so where their probes end, all have been passed.
                let more = self.run_of(shield, table, table.home(start(place)), tags, |slot, word, node| {
                    let node = NodeRef::new(shield, node);
                    if node.obj == obj && node.life().state() == State::Live {
                        visit(node, (table, slot, word));
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

    /// Visits the nodes with such tags in the run of buckets that starts at `home`, up to the first with an EMPTY or SEALED
    /// (L5). Whether the successor may have more.
    #[inline]
    fn run_of(
        &self,
        shield: Shield<'_, R>,
        table: &Table,
        home: usize,
        tags: TagPart,
        mut visit: impl FnMut(SlotIndex, Word, NonNull<Node>),
    ) -> bool {
        let mut open = false;
        for bucket in home..home + table.buckets() {
            let group = Group::load(table.bucket(bucket));
            for lane in group.nodes_with(tags) {
                let slot = table.index(bucket, lane.get());
                let word = shield.load(|order| table.load(slot, order));
                match word.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => visit(slot, word, node),
                    Kind::Moved => open = true,
                    // A tomb by now: nobody's.
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

    /// Whether a slot of the bucket is SEALED. Loads all slots before that one again: those that are MOVED say, other than in
    /// the snapshot, that what they led to is there to be seen in the successor (O1). No key has its slot behind a SEALED.
    #[cold]
    #[inline(never)]
    fn is_sealed(&self, shield: Shield<'_, R>, table: &Table, bucket: usize) -> bool {
        (0..BUCKET)
            .any(|position| shield.load(|order| table.load(table.index(bucket, position), order)) == Word::SEALED)
    }

    /// The first of these steps of a walk in whose [region](Self::region) there may be something.
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

    /// Asks for what a walk through the regions comes to a little later: a bucket, and the nodes of one before.
    #[inline]
    pub(crate) fn ask_ahead(&self, shield: Shield<'_, R>, walk: Walk, step: usize) {
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

    /// The variables in the region of the hash space that begins at the point `from` and is one of `2^log2`, each key once.
    /// Regions stay what they are while tables of other sizes take over (split order).
    pub(crate) fn region<'g>(&'g self, shield: Shield<'g, R>, from: u64, log2: u32, found: &mut Vec<NodeRef<'g>>) {
        found.clear();
        let last = from | u64::MAX >> log2;
        let mut table = self.root(shield);
        // In one table, a key owns one slot at most.
        let first = table.generation;
        loop {
            let homes = super::hash::home(from, table.log2)..=super::hash::home(last, table.log2);
            run(table, shield, *homes.start(), homes.end() - homes.start(), |_, word| {
                if let Kind::Link(node) | Kind::Frozen(node) = word.kind() {
                    let node = NodeRef::new(shield, node);
                    let point = self.key_of(&node).hash.point;
                    if (from..=last).contains(&point) && node.life().state() == State::Live {
                        found.push(node);
                    }
                }
            });
            // A variable that moved during the scan is in the successor by now, in the same region.
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

/// Visits the words of the run of buckets that starts at `home` and is at least `least` buckets longer than one, up to
/// the first EMPTY or SEALED after those.
fn run<R: Reclaim>(
    table: &Table,
    shield: Shield<'_, R>,
    home: usize,
    least: usize,
    mut visit: impl FnMut(SlotIndex, Word),
) {
    for passed in 0..table.buckets() {
        for position in 0..BUCKET {
            let slot = table.index(home + passed, position);
            let word = shield.load(|order| table.load(slot, order));
            if passed >= least && matches!(word.kind(), Kind::Empty | Kind::Sealed) {
                return;
            }
            visit(slot, word);
        }
    }
}
