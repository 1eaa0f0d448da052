//! Scan: looks for a key's slot by whole buckets of the root, each of which is read as a snapshot.
//!
//! ```text
//! for each bucket from the key's home on: take a snapshot; for each lane with the key's tag, load the slot again:
//!   LINK(live) of the key                      → Live                         (L1)
//!   LINK of the key, not live                  → Unclear
//!   the key's TOMB                             → Absent                       (L2)
//!   LINK or TOMB of another key                  next lane
//!   anything else                              → Unclear
//! then, by the snapshot:
//!   a lane is MOVED or SEALED                  → Unclear
//!   a lane is EMPTY                            → Absent                       (L3)
//!   neither                                      next bucket; after the last  → Unclear
//! ```
//!
//! What is unclear is looked up again slot by slot and in order, by a [probe](super::probe).

use super::array::Table;
use super::group::{BUCKET, Group, Lanes, Tags};
use super::key::Key;
use super::site::Site;
use super::word::Kind;
use super::{Core, NodeRef, Shield};
use crate::defect::Defect;
use crate::reclaim::Reclaim;
use crate::sync::{AtomicU64, Ordering, fence};

/// The scan of one bucket for the slots that have a tag. What it says about the other slots is as old as the snapshot.
pub(super) struct BucketScan<'t> {
    table: &'t Table,
    bucket: &'t [AtomicU64; BUCKET],
    group: Group,
    /// The lanes with the tag that have not been returned yet.
    hits: Lanes,
}

/// How a bucket ends a scan, if none of its slots with the tag does.
pub(super) enum End<'t> {
    /// A slot is MOVED or SEALED: the key may have been closed in this table.
    Closed,
    /// The first EMPTY slot.
    Empty(Site<'t>),
    /// Each slot belongs to a key: the next bucket may have this one's.
    Full,
}

impl<'t> BucketScan<'t> {
    /// Takes a snapshot of a bucket of this table.
    #[inline(always)]
    pub(super) fn new(table: &'t Table, bucket: &'t [AtomicU64; BUCKET], tags: Tags) -> Self {
        let group = Group::load(bucket);
        Self {
            table,
            bucket,
            hits: group.with(tags),
            group,
        }
    }

    /// Returns the next slot that the snapshot has with the tag, loaded again.
    #[inline(always)]
    pub(super) fn next<R: Reclaim>(&mut self, shield: Shield<'t, R>) -> Option<Site<'t>> {
        let lane = self.hits.next()?;
        Some(Site::load_lane(shield, self.table, self.bucket, lane))
    }

    /// Returns whether [`next`](Self::next) has no slot to return.
    #[inline(always)]
    pub(super) fn is_done(&self) -> bool {
        self.hits.first().is_none()
    }

    /// Returns the first slot that the snapshot has as EMPTY.
    #[inline(always)]
    pub(super) fn empty(&self) -> Option<Site<'t>> {
        let lane = self.group.empty().first()?;
        Some(Site::empty(self.table, self.table.slot_in(self.bucket, lane)))
    }

    /// Returns what follows when no slot with the tag is the key's.
    #[inline(always)]
    pub(super) fn end(&self) -> End<'t> {
        let ends = self.group.ends();
        match ends.empty() {
            _ if ends.closed() => End::Closed,
            Some(lane) => End::Empty(Site::empty(self.table, self.table.slot_in(self.bucket, lane))),
            None => End::Full,
        }
    }
}

/// The outcome of a scan of whole buckets.
pub(crate) enum Scan<'g> {
    /// The key's live node, and the LINK that leads to it.
    Live(NodeRef<'g>, Site<'g>),
    /// The key has no live node. Its slot: its own TOMB, or the EMPTY one that it may claim.
    Absent(Site<'g>),
    /// The slots have to be read again, one by one and in order.
    Unclear,
}

impl<R: Reclaim> Core<R> {
    /// Looks up a key in the root by whole buckets, up to the first slot that tells of a migration or of a node that is not
    /// live. The words of one bucket are read in no order, which is enough (L1 to L3).
    #[inline]
    pub(crate) fn scan_buckets<'g>(&'g self, shield: Shield<'g, R>, root: &'g Table, key: &Key<'_>) -> Scan<'g> {
        let home = root.home_bucket(key.hash);
        let mut bucket = home;
        loop {
            let mut scan = BucketScan::new(root, bucket, Tags::new(key.wide_tag));
            while let Some(site) = scan.next(shield) {
                match site.kind() {
                    // L1.
                    Kind::Link(node) if node.is_for(key.obj, key.entry) => {
                        return if node.is_live() {
                            Scan::Live(node, site)
                        } else {
                            Scan::Unclear
                        };
                    }
                    // L2.
                    Kind::Tomb if key.tomb() == Some(site.word()) => return Scan::Absent(site),
                    // Another key's with the same tag.
                    Kind::Link(_) | Kind::Tomb => {}
                    // FROZEN, RECORD, MOVED, or a word that changed since the snapshot.
                    _ => return Scan::Unclear,
                }
            }
            match scan.end() {
                End::Closed => return Scan::Unclear,
                // L3.
                End::Empty(site) => return Scan::Absent(site),
                End::Full => bucket = root.bucket_after(bucket),
            }
            if std::ptr::eq(bucket, home) {
                return Scan::Unclear;
            }
        }
    }

    /// Returns whether the table has no successor: then none of its slots was MOVED or SEALED in snapshots taken before (L3).
    #[inline(always)]
    pub(super) fn is_last(&self, table: &Table) -> bool {
        self.fence_after_snapshots();
        !table.has_next() || self.planted(Defect::AnyIsLast)
    }

    /// Like [`is_last`](Self::is_last), but also requires that the table has no sieve: only then is the bucket of a find's fast
    /// path certainly the key's home.
    #[inline(always)]
    pub(super) fn is_last_without_sieve(&self, table: &Table) -> bool {
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
}
