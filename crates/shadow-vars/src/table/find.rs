//! Find: looks up the live node of a key. Never writes to a slot, never waits, never helps a migration.
//!
//! ```text
//! fast path   snapshot of the home bucket in the root; the first slot with the key's tag
//!               LINK(live) of the key                  → found                      (L1)
//!               the key's TOMB                         → absent                     (L2)
//!               no tag, an EMPTY, no successor         → absent                     (L3)
//! slow path   a bit of the key is not in the sieve     → absent                     (L7)
//!             bucket by bucket in the root             → found, absent or unclear   (L1 to L3)
//!             if unclear: slot by slot, through all tables
//!               LINK(live), FROZEN(live)               → found                      (I4)
//!               LINK(dead), TOMB, RECORD, BUILDING     → absent                     (I1, I4)
//!               EMPTY, no MOVED on the way             → absent                     (I1, I9)
//!               anything else                          → the successor              (I2, I6, O4)
//! ```

use super::array::Table;
use super::defect::Defect;
use super::group::{Group, Tags};
use super::key::Key;
use super::node::State;
use super::probe::{Found, Probe};
use super::site::Site;
use super::word::Kind;
use super::{Core, NodeRef, Shield};
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::sync::{Ordering, fence};

/// The outcome of reading whole buckets.
pub(crate) enum Scan<'g> {
    /// The key's live node, and the LINK that leads to it.
    Live(NodeRef<'g>, Site<'g>),
    /// The key has no live node.
    Absent,
    /// The slots have to be read again, one by one and in order.
    Unclear,
}

impl<R: Reclaim> Core<R> {
    /// Returns the live node of a key. Wait-free but for the length of the probe and of the chain of tables.
    #[inline(always)]
    pub(crate) fn find<'g>(&'g self, shield: Shield<'g, R>, obj: usize, entry: &IdEntry) -> Option<NodeRef<'g>> {
        self.find_as(shield, obj, entry, |node| node)
    }

    /// Like [`find`](Self::find), but returns `value` of the node: applied where the node is found, so that the fast path does
    /// not check twice whether there is one.
    ///
    /// The fast path keeps everything in registers: the first slot of the home bucket with the key's tag leads to the key's
    /// node, or no slot has the tag and the bucket ends the probe.
    #[inline(always)]
    pub(crate) fn find_as<'g, V>(
        &'g self,
        shield: Shield<'g, R>,
        obj: usize,
        entry: &IdEntry,
        value: impl Fn(NodeRef<'g>) -> V,
    ) -> Option<V> {
        let key = self.key(obj, entry);
        // Before the bucket is located: the multiplication for that needs the register that holds the hash.
        let announced = shield.announced();
        let Some(root) = self.root_since(shield, announced) else {
            return self.find_slow(shield, obj, entry).map(value);
        };
        let (tags, root) = Tags::new(key.wide_tag).ordered_before(root);
        // In models, all keys have the one home bucket, which finds would otherwise read instead of the sieve.
        if cfg!(shadow_loom) && root.checks_sieve() {
            return self.find_slow(shield, obj, entry).map(value);
        }
        let bucket = root.find_bucket(key.hash);
        let group = Group::load(bucket);
        match group.with(tags).first() {
            Some(lane) => {
                let word = root.load_lane(bucket, lane, R::LOAD);
                if !R::counts(announced) {
                    return self.find_slow(shield, obj, entry).map(value);
                }
                if let Some(node) = word.linked() {
                    // SAFETY: read from a slot under the shield's guard: the load counts as protected (`R::counts`).
                    let node = unsafe { NodeRef::new(node) };
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
        self.find_slow(shield, obj, entry).map(value)
    }

    /// Returns whether the table has no successor: then none of its slots was MOVED or SEALED in snapshots taken before (L3).
    #[inline(always)]
    pub(super) fn is_last(&self, table: &Table) -> bool {
        self.fence_after_snapshots();
        !table.has_next() || self.planted(Defect::AnyIsLast)
    }

    /// Like [`is_last`](Self::is_last), but also requires that the table has no sieve: only then is the bucket of the fast
    /// path certainly the key's home.
    #[inline(always)]
    fn is_last_without_sieve(&self, table: &Table) -> bool {
        self.fence_after_snapshots();
        table.is_last_without_sieve() || self.planted(Defect::AnyIsLast)
    }

    #[inline(always)]
    fn fence_after_snapshots(&self) {
        if !self.planted(Defect::LastWithoutFence) {
            // Acquire: turns every relaxed load of the snapshots into one that pairs with `Table::cas` (O1), so that a thread
            // that saw MOVED or SEALED there sees the successor (O4).
            fence(Ordering::Acquire);
        }
    }

    /// Handles all other cases, and most look-ups that find nothing.
    #[cold]
    #[inline(never)]
    fn find_slow<'g>(&'g self, shield: Shield<'g, R>, obj: usize, entry: &IdEntry) -> Option<NodeRef<'g>> {
        let (key, root) = (self.key(obj, entry), self.root(shield));
        let checks = root.checks_sieve();
        if checks && !root.may_contain(key.hash) && (self.is_last(root) || self.planted(Defect::SieveIsLast)) {
            return None; // L7
        }
        let found = match self.scan_buckets(shield, root, &key) {
            Scan::Live(node, ..) => Some(node),
            Scan::Absent => None,
            Scan::Unclear => self.find_by_words(shield, self.root(shield), &key),
        };
        if checks == found.is_some() {
            root.adapt_finds(root.home_bucket(key.hash), !checks);
        }
        found
    }

    /// Returns the live node of a key and its LINK on the fast path, like [`find`](Self::find): from the first slot of its
    /// home bucket with its tag.
    #[inline]
    pub(crate) fn first_live<'g>(
        &'g self,
        shield: Shield<'g, R>,
        root: &'g Table,
        key: &Key<'_>,
    ) -> Option<(NodeRef<'g>, Site<'g>)> {
        // As in `find`.
        let (tags, root) = Tags::new(key.wide_tag).ordered_before(root);
        let bucket = root.home_bucket(key.hash);
        let lane = Group::load(bucket).with(tags).first()?;
        let site = Site::load_lane(shield, root, bucket, lane);
        let node = site.linked()?;
        node.is_live_for(key.obj, key.entry).then_some((node, site))
    }

    /// Looks up a key in the root by whole buckets, up to the first slot that tells of a migration or of a node that is not
    /// live. The words of one bucket are read in no order, which is enough (L1 to L3).
    #[inline]
    pub(crate) fn scan_buckets<'g>(&'g self, shield: Shield<'g, R>, root: &'g Table, key: &Key<'_>) -> Scan<'g> {
        let home = root.home_bucket(key.hash);
        let mut bucket = home;
        loop {
            let group = Group::load(bucket);
            for lane in group.with(Tags::new(key.wide_tag)) {
                let site = Site::load_lane(shield, root, bucket, lane);
                let Some(node) = site.linked() else {
                    match site.kind() {
                        // L2.
                        Kind::Tomb if key.tomb() == Some(site.word()) => return Scan::Absent,
                        // Another key's tomb.
                        Kind::Tomb => continue,
                        // FROZEN, RECORD, MOVED, or a word that changed since the snapshot.
                        _ => return Scan::Unclear,
                    }
                };
                // Another key's node with the same tag is passed.
                if node.is_for(key.obj, key.entry) {
                    // L1.
                    return if node.is_live() {
                        Scan::Live(node, site)
                    } else {
                        Scan::Unclear
                    };
                }
            }
            let ends = group.ends();
            if ends.closed() {
                return Scan::Unclear;
            }
            if ends.empty().is_some() {
                // L3.
                return Scan::Absent;
            }
            bucket = root.bucket_after(bucket);
            if std::ptr::eq(bucket, home) {
                return Scan::Unclear;
            }
        }
    }

    /// Looks up a key slot by slot, in `table`, which is or was the root, and in all its successors.
    pub(crate) fn find_by_words<'g>(
        &'g self,
        shield: Shield<'g, R>,
        mut table: &'g Table,
        key: &Key<'_>,
    ) -> Option<NodeRef<'g>> {
        loop {
            let mut probe = Probe::new(self, shield, table, key);
            match probe.next() {
                Found::Own(site) => match site.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => {
                        match node.life().state() {
                            State::Live => return Some(node),
                            State::Building if self.planted(Defect::BuildingIsFound) => return Some(node),
                            State::Building => return None,
                            // A dead node: LINK leads to the newest node of the key, so the key is absent; after FROZEN it may
                            // live again in the successor (I6).
                            _ if matches!(site.kind(), Kind::Link(_)) => return None,
                            _ if self.planted(Defect::FrozenDeadIsAbsent) => return None,
                            _ => {}
                        }
                    }
                    // A tomb.
                    _ => return None,
                },
                Found::Empty(_) if !probe.seen || self.planted(Defect::EmptyAfterMovedIsAbsent) => return None,
                Found::Sealed if self.planted(Defect::SealedIsAbsent) => return None,
                Found::Full if !probe.seen && self.planted(Defect::FullIsAbsent) => return None,
                Found::Empty(_) | Found::Sealed | Found::Full => {}
            }
            // Read after the scan (O4). There is a successor after MOVED, SEALED or FROZEN; otherwise this is the last table.
            table = self.next(shield, table)?;
        }
    }
}
