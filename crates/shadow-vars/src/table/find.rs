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
use super::group::{Group, Tags};
use super::key::Key;
use super::node::State;
use super::scan::Scan;
use super::{Core, NodeRef, Shield};
use crate::defect::Defect;
use crate::entry::IdEntry;
use crate::reclaim::Reclaim;

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
    /// node, or no slot has the tag and the bucket ends the probe. It reads the bucket itself, not by a
    /// [`BucketScan`](super::scan::BucketScan), as it loads the slot with the ordering that the root's era allows, which saves
    /// backends with intervals a check.
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
            Scan::Absent(_) => None,
            Scan::Unclear => self.find_by_words(shield, self.root(shield), &key),
        };
        if checks == found.is_some() {
            root.adapt_finds(root.home_bucket(key.hash), !checks);
        }
        found
    }

    /// Looks up a key slot by slot, in `table`, which is or was the root, and in all its successors.
    pub(crate) fn find_by_words<'g>(
        &'g self,
        shield: Shield<'g, R>,
        table: &'g Table,
        key: &Key<'_>,
    ) -> Option<NodeRef<'g>> {
        self.probe_chain(shield, table, key, |node, life, _| match life.state() {
            State::Live => Some(node),
            State::Building if self.planted(Defect::BuildingIsFound) => Some(node),
            _ => None,
        })
    }
}
