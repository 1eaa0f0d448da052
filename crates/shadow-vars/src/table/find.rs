//! Finding a variable: never writes, never waits, helps nobody.

use super::array::{SlotIndex, Table};
use super::defect::Defect;
use super::group::{Group, Tags};
use super::node::State;
use super::probe::{Found, Key, Probe};
use super::word::{Kind, Word};
use super::{Core, NodeRef, Shield};
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::sync::{Ordering, fence};

/// What a look at whole buckets says.
pub(crate) enum Look<'g> {
    /// The key's live node, and the LINK that leads to it.
    Live(NodeRef<'g>, SlotIndex, Word),
    /// There is none.
    Absent,
    /// Something here has to be looked at word by word.
    Unclear,
}

impl<R: Reclaim> Core<R> {
    /// The live node of a key. Wait-free but for the length of the probe and of the chain of tables.
    #[inline(always)]
    pub(crate) fn find<'g>(&'g self, shield: Shield<'g, R>, obj: usize, entry: &IdEntry) -> Option<NodeRef<'g>> {
        self.find_as(shield, obj, entry, |node| node)
    }

    /// The same, but `value` of it: applied where a node is found, so that the usual case does not ask once more whether
    /// there is one.
    ///
    /// Here is the usual case, in registers: the first slot of the home bucket with the key's tag leads to it, or no slot
    /// has the tag and the bucket ends the probe.
    #[inline(always)]
    pub(crate) fn find_as<'g, V>(
        &'g self,
        shield: Shield<'g, R>,
        obj: usize,
        entry: &IdEntry,
        value: impl Fn(NodeRef<'g>) -> V,
    ) -> Option<V> {
        let key = self.key(obj, entry);
        // Before the bucket's place, which is multiplied in the register that the hash is in.
        let announced = shield.announced();
        let Some(root) = self.root_since(shield, announced) else {
            return self.find_on(shield, obj, entry).map(value);
        };
        let (tags, root) = Tags::new(key.wide_tag).before(root);
        // In the tables of models all keys have the one bucket as their home that finds look at otherwise.
        if cfg!(shadow_loom) && root.asks_sieve() {
            return self.find_on(shield, obj, entry).map(value);
        }
        let bucket = root.find_bucket(key.hash);
        let group = Group::load(bucket);
        match group.with(tags).first() {
            Some(lane) => {
                let word = root.load_lane(bucket, lane, R::LOAD);
                if !R::counts(announced) {
                    return self.find_on(shield, obj, entry).map(value);
                }
                if let Some(node) = word.linked() {
                    let node = NodeRef::new(shield, node);
                    if node.is_live_for(obj, entry) {
                        return Some(value(node)); // L1
                    }
                } else if key.tomb() == Some(word) {
                    return None; // L2
                }
            }
            None if group.empty().first().is_some() && self.is_last_without_sieve(root) => return None, // L3
            None => {}
        }
        self.find_on(shield, obj, entry).map(value)
    }

    /// Whether nothing in snapshots of this table, taken before, can have been MOVED or SEALED: it has no successor.
    #[inline(always)]
    pub(super) fn is_last(&self, table: &Table) -> bool {
        self.fence_after_snapshots();
        !table.has_next() || self.planted(Defect::AnyIsLast)
    }

    /// The same, and whether the table has no sieve: then what is said of a key's home was read in its home.
    #[inline(always)]
    fn is_last_without_sieve(&self, table: &Table) -> bool {
        self.fence_after_snapshots();
        table.is_last_without_sieve() || self.planted(Defect::AnyIsLast)
    }

    #[inline(always)]
    fn fence_after_snapshots(&self) {
        if !self.planted(Defect::LastWithoutFence) {
            // Acquire: makes of every relaxed load of the snapshots one that pairs with `Table::cas` (O1), so that who saw
            // MOVED or SEALED there sees the successor (O4).
            fence(Ordering::Acquire);
        }
    }

    /// All other cases, and where most look-ups find nothing.
    #[cold]
    #[inline(never)]
    fn find_on<'g>(&'g self, shield: Shield<'g, R>, obj: usize, entry: &IdEntry) -> Option<NodeRef<'g>> {
        let (key, root) = (self.key(obj, entry), self.root(shield));
        let asks = root.asks_sieve();
        if asks && !root.may_have(key.hash) && (self.is_last(root) || self.planted(Defect::SieveIsLast)) {
            return None; // L7
        }
        let found = match self.look(shield, root, &key) {
            Look::Live(node, ..) => Some(node),
            Look::Absent => None,
            Look::Unclear => self.find_by_words(shield, self.root(shield), &key),
        };
        if asks == found.is_some() {
            root.choose_way(root.home_bucket(key.hash), !asks);
        }
        found
    }

    /// The live node of a key and its LINK in the usual case, as for [`find`](Self::find): that of the first slot of its
    /// home bucket with its tag.
    #[inline]
    pub(crate) fn first_live<'g>(
        &'g self,
        shield: Shield<'g, R>,
        root: &'g Table,
        key: &Key<'_>,
    ) -> Option<(NodeRef<'g>, SlotIndex, Word)> {
        // As in `find`.
        let (tags, root) = Tags::new(key.wide_tag).before(root);
        let bucket = root.home_bucket(key.hash);
        let lane = Group::load(bucket).with(tags).first()?;
        let word = shield.load(|order| root.load_lane(bucket, lane, order));
        let node = NodeRef::new(shield, word.linked()?);
        node.is_live_for(key.obj, key.entry)
            .then(|| (node, root.slot_in(bucket, lane), word))
    }

    /// Looks for a key in the root, at whole buckets, for as long as nothing in them speaks of migration or of a node that
    /// is not live. The words of one bucket are read in no order, which is enough (L1 to L3).
    #[inline]
    pub(crate) fn look<'g>(&'g self, shield: Shield<'g, R>, root: &'g Table, key: &Key<'_>) -> Look<'g> {
        let home = root.home_bucket(key.hash);
        let mut bucket = home;
        loop {
            let group = Group::load(bucket);
            for lane in group.with(Tags::new(key.wide_tag)) {
                let word = shield.load(|order| root.load_lane(bucket, lane, order));
                let Some(node) = word.linked() else {
                    match word.kind() {
                        // L2.
                        Kind::Tomb if key.tomb() == Some(word) => return Look::Absent,
                        Kind::Tomb => continue,
                        _ => return Look::Unclear,
                    }
                };
                let node = NodeRef::new(shield, node);
                if node.is_for(key.obj, key.entry) {
                    // L1.
                    return if node.is_live() {
                        Look::Live(node, root.slot_in(bucket, lane), word)
                    } else {
                        Look::Unclear
                    };
                }
            }
            let ends = group.ends();
            if ends.closed() {
                return Look::Unclear;
            }
            if ends.empty().is_some() {
                // L3.
                return Look::Absent;
            }
            bucket = root.bucket_after(bucket);
            if std::ptr::eq(bucket, home) {
                return Look::Unclear;
            }
        }
    }

    /// The same, word by word, through all tables from one on that was the root.
    pub(crate) fn find_by_words<'g>(
        &'g self,
        shield: Shield<'g, R>,
        mut table: &'g Table,
        key: &Key<'_>,
    ) -> Option<NodeRef<'g>> {
        loop {
            let mut probe = Probe::new(self, shield, table, key);
            match probe.next() {
                Found::Own(_, word) => match word.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => {
                        let node = NodeRef::new(shield, node);
                        match node.life().state() {
                            State::Live => return Some(node),
                            State::Building if self.planted(Defect::BuildingIsFound) => return Some(node),
                            State::Building => return None,
                            // The key may live again in the successor (I6): a LINK, though, is its newest node.
                            _ if matches!(word.kind(), Kind::Link(_)) => return None,
                            _ if self.planted(Defect::FrozenDeadIsAbsent) => return None,
                            _ => {}
                        }
                    }
                    _ => return None,
                },
                Found::Empty(_) if !probe.seen || self.planted(Defect::EmptyAfterMovedIsAbsent) => return None,
                Found::Sealed if self.planted(Defect::SealedIsAbsent) => return None,
                Found::Full if !probe.seen && self.planted(Defect::FullIsAbsent) => return None,
                Found::Empty(_) | Found::Sealed | Found::Full => {}
            }
            // Read after the scan (O4). Always there after MOVED, SEALED or FROZEN; else this is the last table.
            table = self.next(shield, table)?;
        }
    }
}
