//! Growing, shrinking, rebuilding: moves the slots of the root into its successor, block by block, by many hands.

use super::array::{BUCKET, MAX_LOG2, Plan, SlotIndex, Table};
use super::defect::{Defect, Stage};
use super::group::{Group, Tags};
use super::node::State;
use super::probe::{Found, Key, Probe};
use super::word::{Kind, Word};
use super::{Core, NoMemory, NodeRef, Shield};
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::reclaim::retired::Retired;
use crate::shard::Shard;
use crate::sync::Ordering;

/// Fewer variables than this have a small table anyway, which a core has at hand. Where keys come and go, it gets the room
/// of twice as many: new ones are made half as often, and fewer keys are not at home. Models are of the tightest tables.
const FEW: usize = if cfg!(shadow_loom) { 1 } else { 1 << 14 };

impl<R: Reclaim> Core<R> {
    /// Migrates one block of the root, if the root has a successor; swings the root if that was the last.
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
    /// First all of it is frozen, so that the nodes are under way when the first of them is placed.
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

    /// After this, each slot of the bucket is FROZEN or finished. Its nodes are asked for.
    fn freeze_bucket(&self, shield: Shield<'_, R>, table: &Table, next: &Table, bucket: usize) -> Result<(), NoMemory> {
        if self.planted(Defect::SealLast) {
            let _ = table.cas(table.index(bucket, BUCKET - 1), Word::EMPTY, Word::SEALED);
        }
        for position in 0..BUCKET {
            if self.freeze_slot(shield, table, next, table.index(bucket, position))? == Word::SEALED {
                // The slots behind it are finished with it (I9).
                break;
            }
        }
        Ok(())
    }

    /// Brings a slot to FROZEN, MOVED or SEALED: what it is then.
    #[inline]
    fn freeze_slot(
        &self,
        shield: Shield<'_, R>,
        table: &Table,
        next: &Table,
        slot: SlotIndex,
    ) -> Result<Word, NoMemory> {
        loop {
            let word = shield.load(|order| table.load(slot, order));
            let to = match word.kind() {
                Kind::Frozen(_) | Kind::Moved | Kind::Sealed => return Ok(word),
                Kind::Empty if self.planted(Defect::SealLast) => return Ok(word),
                Kind::Empty => Word::SEALED,
                Kind::Tomb | Kind::Record(_) => Word::MOVED,
                Kind::Link(node) if self.planted(Defect::PlaceBeforeFreeze) => {
                    self.place(shield, self.shard(), NodeRef::new(shield, node), next)?;
                    Word::MOVED
                }
                Kind::Link(node) => {
                    prefetch(node.as_ptr());
                    word.frozen()
                }
            };
            #[cfg(any(test, shadow_loom))]
            if self.planted(Defect::SealByStore) && to == Word::SEALED
                || self.planted(Defect::FreezeByStore) && matches!(to.kind(), Kind::Frozen(_))
            {
                table.store(slot, to);
                return Ok(to);
            }
            if table.cas(slot, word, to) {
                if let Kind::Record(record) = word.kind() {
                    // Whoever takes a record out of its slot retires it (I7).
                    self.retire(shield, record);
                }
                self.at(Stage::Frozen);
                return Ok(to);
            }
        }
    }

    /// Places what is FROZEN in a bucket; after this, each of its slots is finished.
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
            let Kind::Frozen(node) = shield.load(|order| table.load(slot, order)).kind() else {
                continue;
            };
            let node = NodeRef::new(shield, node);
            if self.planted(Defect::MovedBeforePlace) {
                table.set_moved(slot);
                self.place(shield, shard, node, next)?;
                continue;
            }
            match node.life().state() {
                // A node under construction owns its key: it moves like a live one.
                State::Building if self.planted(Defect::BuildingNotPlaced) => {}
                State::Live | State::Building => self.place(shield, shard, node, next)?,
                _ if self.planted(Defect::HelperRetires) => self.retire(shield, node.as_ptr()),
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

    /// Makes sure that the node's key owns a slot in `table` or beyond, claiming one for the node if the key never did.
    ///
    /// Here is why no node is placed twice, or after its death: a slot is claimed once, and whoever ends a node's life
    /// claims the key's slot in the successor before the node is retired (I3). A helper that slept through all that
    /// finds the key's slot taken.
    fn place<'g>(
        &'g self,
        shield: Shield<'g, R>,
        shard: Shard,
        node: NodeRef<'_>,
        mut table: &'g Table,
    ) -> Result<(), NoMemory> {
        let key = self.key_of(&node);
        let link = Word::link(node.as_ptr(), key.tag);
        let home = table.home_bucket(key.hash);
        let group = Group::load(home);
        // L3.
        if group.with(Tags::new(key.wide_tag)).first().is_none()
            && self.is_last(table)
            && let Some(lane) = group.empty().first()
            && self.claim_slot(shield, shard, table, (table.slot_in(home, lane), &key), link)
        {
            return Ok(());
        }
        loop {
            let mut probe = Probe::new(self, shield, table, &key);
            loop {
                match probe.next() {
                    Found::Own(slot, word) if self.planted(Defect::PlaceOverTomb) && word.kind() == Kind::Tomb => {
                        if table.cas(slot, word, link) {
                            return Ok(());
                        }
                    }
                    Found::Own(..) | Found::Sealed => return Ok(()),
                    Found::Empty(_) | Found::Full if probe.seen && !self.planted(Defect::PlaceAfterMoved) => {
                        return Ok(());
                    }
                    Found::Empty(slot) => {
                        table.mark(table.home(key.hash));
                        if self.claim_slot(shield, shard, table, (slot, &key), link) {
                            return Ok(());
                        }
                    }
                    Found::Full => {
                        // Cannot nearly ever be (P4), and must not be the end if it is.
                        let next = self.larger_successor(shield, table)?;
                        if next.generation > table.generation + 1 {
                            // The table is finished, and so is the one before it: somebody else has placed the node (B4).
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
        // Not in models, to which each load is one more place to switch threads at.
        debug_assert!(cfg!(shadow_loom) || self.planted(Defect::PromoteEarly) || is_finished(table));
        self.at(Stage::Finished);
        if self.planted(Defect::RetireTableFirst) && self.root(shield).generation == table.generation {
            self.retire(shield, std::ptr::NonNull::from(&table.header));
        }
        if self.swing_root(table, next) {
            self.at(Stage::Swung);
            if !self.planted(Defect::RetireTableFirst) {
                // Nothing leads to it: the root did, and the table before it is gone (I5).
                self.retire(shield, std::ptr::NonNull::from(table).cast());
            }
        }
    }

    /// The successor of a table, made now if there is none: as large as what lives needs.
    pub(crate) fn successor<'g>(&'g self, shield: Shield<'g, R>, table: &'g Table) -> Result<&'g Table, NoMemory> {
        self.successor_of(shield, table, |needed| needed)
    }

    /// The successor of a full table, made now if there is none: larger, whatever the counters say. They lag behind by
    /// what other threads have claimed and not yet counted, and those threads may be stopped.
    pub(crate) fn larger_successor<'g>(
        &'g self,
        shield: Shield<'g, R>,
        table: &'g Table,
    ) -> Result<&'g Table, NoMemory> {
        self.successor_of(shield, table, |needed| needed.max(table.log2 + 1))
    }

    /// `size` makes of the size that what lives needs the one that there is to be.
    fn successor_of<'g>(
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
        if table.install(fresh) {
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
        // SAFETY: ours, and never shared.
        unsafe { Table::dealloc(fresh) };
        // There is one: or the exchange had succeeded.
        Ok(self.next(shield, table).unwrap_or(table))
    }

    /// About how many nodes a table leads to that are live or under construction: what a successor needs room for. What is under
    /// construction is counted nowhere, so the slots are asked too: each was claimed for a node, and of those that are gone all
    /// were retired.
    fn nodes_in(&self, table: &Table) -> usize {
        let gone = self.lists.retired().saturating_sub(table.retired);
        let claimed = table
            .claimed
            .sum()
            .saturating_sub(usize::try_from(gone).unwrap_or(usize::MAX));
        // There are no more nodes than slots, whatever counters say that were read one after the other.
        self.nodes.sum().max(claimed).min(table.capacity())
    }

    /// Whether keys come that were never here before while others go: then the table fills with tombs, and a larger one
    /// has to be left less often. Where keys come back, their tombs do.
    fn is_churning(&self, table: &Table) -> bool {
        let retired = self.lists.retired().saturating_sub(table.retired);
        retired > 0 && table.claimed.sum() as u64 > retired / 2
    }

    /// The size of a table for this many variables: at most half full; two fifths if keys come and go.
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

    /// EMPTY → LINK, counted. Whether this call did it. The slot is the first EMPTY of the key's probe, or of a bucket as in
    /// L3: then nobody else can have claimed another for the key. If it is not at home, that is marked already (L6).
    #[inline(always)]
    pub(super) fn claim_slot(
        &self,
        shield: Shield<'_, R>,
        shard: Shard,
        table: &Table,
        (slot, key): (SlotIndex, &Key<'_>),
        link: Word,
    ) -> bool {
        table.mark_slot(slot);
        let late = self.planted(Defect::SieveAfterClaim);
        if !late {
            table.note(key.hash);
        }
        let won = table.cas(slot, Word::EMPTY, link);
        if late {
            table.note(key.hash);
        }
        if won {
            self.count_claim(shield, shard, table);
        }
        won
    }

    /// Counts a claim, and asks for a successor when the table has passed its load limit.
    #[inline]
    pub(crate) fn count_claim(&self, shield: Shield<'_, R>, shard: Shard, table: &Table) {
        if table.count_claim(shard) && self.is_root(shield, table) {
            // Without memory the table goes on filling; a full one is an error to who needs it.
            let _ = self.successor(shield, table);
        }
    }

    /// After a retirement: drops what is ready, asks for a smaller successor when the table has become mostly empty, and helps
    /// a running migration, which would rest where only frees happen.
    #[inline]
    pub(crate) fn after_retire(&self, shield: Shield<'_, R>, shard: Shard, retired: Retired) {
        let root = self.drain_and_help(shield, shard, retired);
        if root.log2 > self.min_log2 && root.free_stride.is_passed(retired.count, retired.added) {
            self.shrink_if_empty(shield, root);
        }
    }

    /// The same but for the smaller successor: a sweep asks for that at its end, as what it takes need not move before. The
    /// root, as it was after the drain.
    #[inline]
    pub(crate) fn drain_and_help<'g>(&'g self, shield: Shield<'g, R>, shard: Shard, retired: Retired) -> &'g Table {
        self.lists.follow_up::<R>(shard, retired);
        let root = self.root(shield);
        if root.has_next() {
            let _ = (0..retired.added).try_for_each(|_| self.help(shield));
        }
        root
    }

    /// Asks for a smaller successor if the table has become mostly empty.
    #[cold]
    pub(crate) fn shrink_if_empty(&self, shield: Shield<'_, R>, root: &Table) {
        if root.log2 <= self.min_log2 || root.has_next() {
            return;
        }
        if self.log2_for(self.nodes_in(root), true) + 1 < root.log2 {
            let _ = self.successor(shield, root);
        }
    }

    /// Moves into the smallest table that does for what lives now, and finishes all migration on the way.
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

/// Whether every slot is: in each bucket some that are MOVED, then perhaps one that is SEALED, and EMPTY ones behind it (I9).
fn is_finished(table: &Table) -> bool {
    (0..table.buckets()).all(|bucket| {
        // Relaxed: nothing is reached through it, and whoever promotes has seen that all blocks are (O5).
        let word = |position| table.load(table.index(bucket, position), Ordering::Relaxed);
        let moved = (0..BUCKET).take_while(|&at| word(at) == Word::MOVED).count();
        moved == BUCKET || word(moved) == Word::SEALED && (moved + 1..BUCKET).all(|at| word(at) == Word::EMPTY)
    })
}
