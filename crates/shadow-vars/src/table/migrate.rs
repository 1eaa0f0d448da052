//! Migrate: moves the slots of the root into its successor, block by block, by any number of threads.
//!
//! ```text
//! freeze   LINK → FROZEN, TOMB and RECORD → MOVED, the first EMPTY of a bucket → SEALED
//! place    a FROZEN live or building node claims its key's slot in the successor, unless the key owns or has closed one (I2, I3)
//! finish   FROZEN → MOVED, a plain store (I8)
//! promote  when every slot is finished: swing the root to the successor, retire the table (I5, O5)
//! ```
//!
//! Every step may be repeated by any thread, at any pace (I8). Only the root is migrated (P3). Inserts and frees help, a block
//! at a time (P1).

use super::array::{SlotIndex, Table};
use super::group::{BUCKET, Tags};
use super::node::State;
use super::probe::{Found, Probe};
use super::scan::BucketScan;
use super::site::Site;
use super::word::{Kind, Word};
use super::{Core, NoMemory, NodeRef, Shield};
use crate::defect::{Defect, Stage};
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::shard::Shard;
use crate::sync::Ordering;

impl<R: Reclaim> Core<R> {
    /// Migrates one block of the root, if the root has a successor; swings the root if that was the last block.
    pub(crate) fn help(&self, shield: Shield<'_, R>) -> Result<(), NoMemory> {
        let root = self.root(shield);
        let Some(next) = self.next(shield, root) else {
            return Ok(());
        };
        match root.next_block() {
            Some(block) => self.migrate_block(shield, root, next, block),
            None => {
                self.promote(shield, root, next);
                Ok(())
            }
        }
    }

    /// Migrates all that is left of `table`, and swings the root to its successor. Does nothing if there is none, or if
    /// `table` is not the root any more: only the root is ever migrated (P3).
    pub(crate) fn finish(&self, shield: Shield<'_, R>, table: &Table) -> Result<(), NoMemory> {
        let Some(next) = self.next(shield, table) else {
            return Ok(());
        };
        while self.root(shield).generation == table.generation {
            match table.next_block() {
                Some(block) => self.migrate_block(shield, table, next, block)?,
                None => self.promote(shield, table, next),
            }
        }
        Ok(())
    }

    /// Finishes every slot of a block. Idempotent: any number of threads may do it, at any pace (I8).
    ///
    /// The whole block is frozen first, so that its nodes have been prefetched when the first of them is placed.
    fn migrate_block(&self, shield: Shield<'_, R>, table: &Table, next: &Table, block: usize) -> Result<(), NoMemory> {
        self.at(Stage::BlockTaken);
        let buckets = table.block(block);
        for bucket in buckets.clone() {
            self.freeze_bucket(shield, table, next, bucket)?;
        }
        let shard = self.shard();
        for bucket in buckets {
            self.move_bucket(shield, shard, table, next, bucket)?;
        }
        self.at(Stage::BlockDone);
        if table.finish_block(block) || self.planted(Defect::PromoteEarly) {
            self.promote(shield, table, next);
        }
        Ok(())
    }

    /// Makes each slot of the bucket FROZEN or finished, and prefetches the nodes.
    fn freeze_bucket(&self, shield: Shield<'_, R>, table: &Table, next: &Table, bucket: usize) -> Result<(), NoMemory> {
        if self.planted(Defect::SealLast) {
            let _ = table.cas(table.index(bucket, BUCKET - 1), Word::EMPTY, Word::SEALED);
        }
        for position in 0..BUCKET {
            if self.freeze_slot(shield, table, next, table.index(bucket, position))? == Word::SEALED {
                // The slots behind it are finished, too (I9).
                break;
            }
        }
        Ok(())
    }

    /// Brings a slot to FROZEN, MOVED or SEALED, and returns that word.
    #[inline]
    fn freeze_slot(
        &self,
        shield: Shield<'_, R>,
        table: &Table,
        next: &Table,
        slot: SlotIndex,
    ) -> Result<Word, NoMemory> {
        loop {
            let site = Site::load(shield, table, slot);
            let to = match site.kind() {
                // Frozen or finished already.
                Kind::Frozen(_) | Kind::Moved | Kind::Sealed => return Ok(site.word()),
                Kind::Empty if self.planted(Defect::SealLast) => return Ok(site.word()),
                // The first EMPTY of the bucket: never claimed, and now never will be.
                Kind::Empty => Word::SEALED,
                // Tombs are not moved.
                Kind::Tomb | Kind::Record(_) => Word::MOVED,
                Kind::Link(node) if self.planted(Defect::PlaceBeforeFreeze) => {
                    self.place(shield, self.shard(), node, next)?;
                    Word::MOVED
                }
                // Frozen first; `place` follows when the whole block is frozen (I2).
                Kind::Link(node) => {
                    prefetch(node.as_ptr().as_ptr());
                    site.word().frozen()
                }
            };
            #[cfg(any(test, shadow_loom))]
            if self.planted(Defect::SealByStore) && to == Word::SEALED
                || self.planted(Defect::FreezeByStore) && matches!(to.kind(), Kind::Frozen(_))
            {
                table.store(slot, to);
                return Ok(to);
            }
            // If the exchange is lost, the slot is loaded again (P2).
            if site.replace(to) {
                if let Kind::Record(record) = site.kind() {
                    // SAFETY: this thread has taken the record out of the one slot that led to it (I7).
                    unsafe { self.retire(shield, record.as_ptr()) };
                }
                self.at(Stage::Frozen);
                return Ok(to);
            }
        }
    }

    /// Places the FROZEN nodes of a bucket; after this, each of its slots is finished.
    fn move_bucket(
        &self,
        shield: Shield<'_, R>,
        shard: Shard,
        table: &Table,
        next: &Table,
        bucket: usize,
    ) -> Result<(), NoMemory> {
        for position in 0..BUCKET {
            let slot = table.index(bucket, position);
            let Kind::Frozen(node) = Site::load(shield, table, slot).kind() else {
                continue;
            };
            if self.planted(Defect::MovedBeforePlace) {
                table.set_moved(slot);
                self.place(shield, shard, node, next)?;
                continue;
            }
            match node.life().state() {
                // A node under construction owns its key: it is moved like a live one.
                State::Building if self.planted(Defect::BuildingNotPlaced) => {}
                State::Live | State::Building => self.place(shield, shard, node, next)?,
                // SAFETY: none: this is what the defect breaks.
                _ if self.planted(Defect::HelperRetires) => unsafe { self.retire(shield, node.as_ptr()) },
                // Its remover closes the key in the successor itself (I3).
                _ => {}
            }
            self.at(Stage::Placed);
            // Freeze → place → MOVED (I2).
            table.set_moved(slot);
            self.at(Stage::SlotDone);
        }
        Ok(())
    }

    /// Makes sure that the node's key owns a slot in `table` or beyond, or has been closed there; claims a slot for the node
    /// if the key never had one.
    ///
    /// No node is placed twice, or after its death: a slot is claimed once, and the thread that ends a node's life claims the
    /// key's slot in the successor before the node is retired (I3). A helper that was delayed past all this finds the key's
    /// slot taken.
    fn place<'g>(
        &'g self,
        shield: Shield<'g, R>,
        shard: Shard,
        node: NodeRef<'_>,
        mut table: &'g Table,
    ) -> Result<(), NoMemory> {
        let key = self.key_of(&node);
        let link = Word::link(node.as_ptr(), key.tag);
        let scan = BucketScan::new(table, table.home_bucket(key.hash), Tags::new(key.wide_tag));
        // Fast path: the key has no slot, by its home bucket alone (L3).
        if scan.is_done()
            && self.is_last(table)
            && let Some(site) = scan.empty()
            && self.claim_slot(shield, shard, site, &key, link)
        {
            return Ok(());
        }
        loop {
            let mut probe = Probe::new(self, shield, table, &key);
            loop {
                match probe.next() {
                    Found::Own(site) if self.planted(Defect::PlaceOverTomb) && site.word().kind() == Kind::Tomb => {
                        if site.replace(link) {
                            return Ok(());
                        }
                    }
                    // The key owns a slot here or was closed: the node is placed, or dead (I3).
                    Found::Own(..) | Found::Sealed => return Ok(()),
                    // MOVED: this table is the root by now, so every slot of the older one is finished.
                    Found::Empty(_) | Found::Full if probe.seen && !self.planted(Defect::PlaceAfterMoved) => {
                        return Ok(());
                    }
                    // The key never owned a slot here: claim it for the node.
                    Found::Empty(site) => {
                        table.mark(table.home(key.hash));
                        if self.claim_slot(shield, shard, site, &key, link) {
                            return Ok(());
                        }
                    }
                    Found::Full => {
                        // Almost impossible (P4), but must not fail if it happens.
                        let next = self.larger_successor(shield, table)?;
                        if next.generation > table.generation + 1 {
                            // The table is finished, and so is the one before it: another thread has placed the node (B4).
                            return Ok(());
                        }
                        table = next;
                        break;
                    }
                }
            }
        }
    }

    /// Swings the root from a table whose every slot is finished to its successor. The winner retires the table.
    fn promote(&self, shield: Shield<'_, R>, table: &Table, next: &Table) {
        debug_assert!(self.planted(Defect::PromoteEarly) || table.next_unfinished().is_none());
        // Not in models, where each load is one more point at which threads can switch.
        debug_assert!(cfg!(shadow_loom) || self.planted(Defect::PromoteEarly) || is_finished(table));
        self.at(Stage::Finished);
        if self.planted(Defect::RetireTableFirst) && self.root(shield).generation == table.generation {
            // SAFETY: none: this is what the defect breaks.
            unsafe { self.retire(shield, std::ptr::NonNull::from(&table.header)) };
        }
        if self.swing_root(table, next) {
            self.at(Stage::Swung);
            if !self.planted(Defect::RetireTableFirst) {
                // SAFETY: nothing leads to it: the root did, which only one thread swings from it, and the table before it has been
                // retired (I5).
                unsafe { self.retire(shield, std::ptr::NonNull::from(table).cast()) };
            }
        }
    }

    /// Moves into the smallest table that the present number of variables needs, and finishes all migration on the way.
    pub(crate) fn shrink(&self, shield: Shield<'_, R>) -> Result<(), NoMemory> {
        self.finish(shield, self.root(shield))?;
        let root = self.root(shield);
        let log2 = self.log2_for(self.nodes.sum(), false);
        if log2 < root.log2 {
            self.successor_of(shield, root, |_| log2)?;
            self.finish(shield, root)?;
        }
        Ok(())
    }
}

/// Returns whether every slot is finished: in each bucket some that are MOVED, then perhaps one that is SEALED, with EMPTY
/// ones behind it (I9).
fn is_finished(table: &Table) -> bool {
    (0..table.buckets()).all(|bucket| {
        // Relaxed: nothing is reached through it, and the thread that promotes has seen that all blocks are finished (O5).
        let word = |position| table.load(table.index(bucket, position), Ordering::Relaxed);
        let moved = (0..BUCKET).take_while(|&at| word(at) == Word::MOVED).count();
        moved == BUCKET || word(moved) == Word::SEALED && (moved + 1..BUCKET).all(|at| word(at) == Word::EMPTY)
    })
}
