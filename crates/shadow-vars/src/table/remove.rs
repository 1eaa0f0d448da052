//! Remove: kills a variable's node, makes sure that no slot leads to it, and retires it.
//!
//! ```text
//! kill     LIVE → DEAD by compare-and-swap; the winner removes the node           (I4)
//!          (the caller's destructor runs here)
//! unlink   from the root where the operation began, at least to the table where the node was found (I3):
//!            LINK(node)                  → the key's TOMB or RECORD
//!            FROZEN(node)                → MOVED, after the successors are done   (I6)
//!            EMPTY, no MOVED on the way  → the key's TOMB or RECORD, so that no slow helper can place the node
//!            EMPTY after MOVED           → SEALED
//! retire   the node, and the batch if it is full (I5)
//! ```
//!
//! A panic of the destructor does not keep the node from being unlinked and retired. If there is no memory for a table in
//! which the key has to be closed, the node is kept as an orphan until the store is dropped.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::array::{SlotIndex, Table};
use super::defect::{Defect, Stage};
use super::find::Scan;
use super::node::{Life, Node, State, key_fits};
use super::probe::{Found, Key, Probe};
use super::word::{Kind, Word};
use super::{Core, NoMemory, NodeRef, Shield};
use crate::fork;
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::reclaim::retired::Retired;
use crate::registry::IdEntry;
use crate::shard::Shard;
use crate::sync::Ordering;

/// A variable that this thread has killed. The destructor runs while this exists; then it is [finished](Self::finish), or
/// dropped if the destructor panics: both unlink and retire the node.
pub(crate) struct Removed<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    pub(crate) node: NodeRef<'g>,
    entry: &'g IdEntry,
    /// This thread's shard.
    pub(crate) shard: Shard,
    /// The root when the operation began, and the table in which the node was found.
    from: &'g Table,
    found: &'g Table,
    /// The LINK that led to the node, if it is in `from`.
    link: Option<(SlotIndex, Word)>,
}

impl<R: Reclaim> Drop for Removed<'_, R> {
    #[cold]
    fn drop(&mut self) {
        self.unlink_and_retire();
    }
}

impl<'g, R: Reclaim> Removed<'g, R> {
    #[inline(always)]
    fn unlink_and_retire(&self) {
        let (node, entry) = (self.node, self.entry);
        self.core
            .unlink_and_retire(self.shield, self.shard, (node, entry), self.from, self.found, self.link);
    }

    /// Calls the destructor with the node, then unlinks and retires it.
    #[inline(always)]
    fn finish<O>(self, dtor: impl FnOnce(NodeRef<'g>) -> O) -> O {
        let done = dtor(self.node);
        // Not by dropping, which would keep `self` in memory.
        ManuallyDrop::new(self).unlink_and_retire();
        done
    }
}

impl<R: Reclaim> Core<R> {
    /// Kills the variable of a key, if it exists, calls the destructor with it, and unlinks and retires it, even if the
    /// destructor panics. Lock-free, but for the destructor.
    #[inline(always)]
    pub(crate) fn remove<'g, O>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'g>,
        dtor: impl FnOnce(NodeRef<'g>) -> O,
    ) -> Option<O> {
        let from = self.root(shield);
        // A caller that frees a variable is mostly about to free its parent.
        prefetch(std::ptr::without_provenance::<u8>(key.obj));
        if let Some((node, slot, word)) = self.first_live(shield, from, key)
            && self.try_kill(node, key.entry.live)
        {
            let mut removed = self.removed(shield, (node, key.entry), from, from);
            removed.link = Some((slot, word));
            return Some(removed.finish(dtor));
        }
        self.remove_slow(shield, from, key, dtor)
    }

    /// Handles all other cases.
    #[cold]
    #[inline(never)]
    fn remove_slow<'g, O>(
        &'g self,
        shield: Shield<'g, R>,
        from: &'g Table,
        key: &Key<'g>,
        dtor: impl FnOnce(NodeRef<'g>) -> O,
    ) -> Option<O> {
        Some(self.kill_slow(shield, from, key)?.finish(dtor))
    }

    /// Kills the variable of a key, if it exists, by whole buckets, then slot by slot.
    #[cold]
    pub(crate) fn kill_slow<'g>(
        &'g self,
        shield: Shield<'g, R>,
        from: &'g Table,
        key: &Key<'g>,
    ) -> Option<Removed<'g, R>> {
        match self.scan_buckets(shield, from, key) {
            Scan::Live(node, slot, word) => {
                if let Some(mut removed) = self.kill(shield, (node, key.entry), from, from) {
                    removed.link = Some((slot, word));
                    return Some(removed);
                }
            }
            Scan::Absent => return None,
            Scan::Unclear => {}
        }
        self.probe_chain(shield, from, key, |node, table| {
            self.kill(shield, (node, key.entry), from, table)
        })
    }

    /// In the child of a fork: ends a construction whose builder does not exist any more, in the way that the builder would
    /// have if its constructor had failed (C3). The value was never complete, and is not dropped.
    #[cold]
    pub(crate) fn fail_vanished<'g>(&'g self, shield: Shield<'g, R>, key: &Key<'g>) {
        let from = self.root(shield);
        let failed = self.probe_chain(shield, from, key, |node, table| {
            let life = node.life();
            let gone = life.state() == State::Building && fork::vanished(life.builder());
            (gone && node.fail(life)).then_some((node, table))
        });
        if let Some((node, found)) = failed {
            let shard = self.shard();
            self.ctor_failed.fetch_add(1, Ordering::Relaxed);
            self.unlink_and_retire(shield, shard, (node, key.entry), from, found, None);
        }
    }

    /// Probes for the key in the chain of tables from the root `from`, and calls `meet` with each node that the key's slots
    /// lead to, and its table, until `meet` returns `Some` or the key cannot have a variable further on.
    fn probe_chain<'g, O>(
        &'g self,
        shield: Shield<'g, R>,
        from: &'g Table,
        key: &Key<'g>,
        mut meet: impl FnMut(NodeRef<'g>, &'g Table) -> Option<O>,
    ) -> Option<O> {
        let mut table = from;
        loop {
            let mut probe = Probe::new(self, shield, table, key);
            match probe.next() {
                Found::Own(_, word) => match word.kind() {
                    Kind::Link(node) | Kind::Frozen(node) => {
                        let node = NodeRef::new(shield, node);
                        if let Some(answer) = meet(node, table) {
                            return Some(answer);
                        }
                        // The node is under construction, or dead (it may have died just now). As in `find_by_words`.
                        if node.life().state() == State::Building || matches!(word.kind(), Kind::Link(_)) {
                            return None;
                        }
                    }
                    // A tomb.
                    _ => return None,
                },
                Found::Empty(_) if !probe.seen => return None,
                Found::Empty(_) | Found::Sealed | Found::Full => {}
            }
            table = self.next(shield, table)?;
        }
    }

    /// Kills this node, of this entry, found in `found` by an operation that began at the root `from`.
    #[inline(always)]
    fn kill<'g>(
        &'g self,
        shield: Shield<'g, R>,
        (node, entry): (NodeRef<'g>, &'g IdEntry),
        from: &'g Table,
        found: &'g Table,
    ) -> Option<Removed<'g, R>> {
        self.try_kill(node, node.as_live())
            .then(|| self.removed(shield, (node, entry), from, found))
    }

    /// Turns LIVE into DEAD (I4). Returns whether this call did it: then the caller counts, unlinks and retires the node.
    #[must_use]
    pub(crate) fn try_kill(&self, node: NodeRef<'_>, live: Life) -> bool {
        #[cfg(any(test, shadow_loom))]
        if self.planted(Defect::KillByStore) {
            return node.kill_by_store();
        }
        node.kill(live)
    }

    /// Kills, unlinks and retires a node that was met in a slot, which saves its unlinking a probe. Returns whether this call
    /// killed it.
    #[inline]
    pub(crate) fn remove_at<'g>(
        &'g self,
        shield: Shield<'g, R>,
        node: NodeRef<'g>,
        from: &'g Table,
        (table, slot, word): (&'g Table, SlotIndex, Word),
    ) -> bool {
        let Some(mut removed) = self.kill(shield, (node, node.entry(&self.heap)), from, table) else {
            return false;
        };
        if std::ptr::eq(from, table) && matches!(word.kind(), Kind::Link(_)) {
            removed.link = Some((slot, word));
        }
        removed.finish(|_| ());
        true
    }

    /// Counts a node that was just killed, and returns the handle that unlinks it.
    #[inline(always)]
    fn removed<'g>(
        &'g self,
        shield: Shield<'g, R>,
        (node, entry): (NodeRef<'g>, &'g IdEntry),
        from: &'g Table,
        found: &'g Table,
    ) -> Removed<'g, R> {
        let shard = self.shard();
        self.nodes.count_freed(entry.counts(), shard, 1);
        self.at(Stage::Killed);
        let from = if self.planted(Defect::UnlinkFromFound) {
            found
        } else {
            from
        };
        if self.planted(Defect::RetireBeforeUnlink) {
            self.retire(shield, node.as_ptr());
        }
        Removed {
            core: self,
            shield,
            node,
            entry,
            shard,
            from,
            found,
            link: None,
        }
    }

    /// Unlinks and retires a node whose life this thread has ended: by killing it, or by a constructor that failed.
    #[inline(always)]
    pub(crate) fn unlink_and_retire<'g>(
        &'g self,
        shield: Shield<'g, R>,
        shard: Shard,
        (node, entry): (NodeRef<'g>, &IdEntry),
        from: &'g Table,
        found: &'g Table,
        link: Option<(SlotIndex, Word)>,
    ) {
        if self.unlink_or_orphan(shield, (node, entry), from, found, link) && !self.planted(Defect::RetireBeforeUnlink)
        {
            // SAFETY: the guard protects the node, whose entry this is.
            let bytes = unsafe { Node::bytes_as(node.as_ptr(), entry) };
            self.retire_variable(shield, shard, node.as_ptr(), bytes, entry.drops);
        }
    }

    /// Retires a node of this size, and does the maintenance that is due after that. `soon` says that it has a destructor.
    #[inline(never)]
    fn retire_variable(&self, shield: Shield<'_, R>, shard: Shard, node: NonNull<Node>, bytes: u64, soon: bool) {
        // SAFETY: each caller has unlinked the node itself (I5); it is pinned, as the shield proves.
        let retired = unsafe { self.lists.retire::<R>(Node::link(node), bytes, soon, shard) };
        self.after_retire(shield, shard, retired);
    }

    /// Takes the node out of all slots. Returns whether it is to be retired now.
    #[inline(always)]
    pub(crate) fn unlink_or_orphan<'g>(
        &'g self,
        shield: Shield<'g, R>,
        (node, entry): (NodeRef<'g>, &IdEntry),
        from: &'g Table,
        found: &'g Table,
        link: Option<(SlotIndex, Word)>,
    ) -> bool {
        let skip = self.planted(Defect::FailedNotUnlinked) && node.life().state() == State::Failed;
        if skip || self.unlink(shield, (node, entry), from, found, link).is_ok() {
            self.at(Stage::Unlinked);
            return true;
        }
        // There is no memory for the table in which to close the key, so a slow helper may still place the node. So it is not
        // reclaimed until the store is dropped; operations that find it treat it as dead.
        self.orphan(node.as_ptr());
        false
    }

    /// Makes sure that no slot leads to the dead `node`, and that none will: in every table from `from` to at least `found`,
    /// its key owns a slot or can never claim one (I3). Lock-free.
    #[inline(always)]
    fn unlink<'g>(
        &'g self,
        shield: Shield<'g, R>,
        (node, entry): (NodeRef<'g>, &IdEntry),
        from: &'g Table,
        found: &'g Table,
        link: Option<(SlotIndex, Word)>,
    ) -> Result<(), NoMemory> {
        // What `unlink_from` does if it meets the LINK in the first table, without another probe.
        if let Some((slot, word)) = link
            && self.leave_tomb(
                found,
                slot,
                word,
                node,
                key_fits(node.obj, entry).then(|| Word::tomb(node.obj, word.tag())),
            )
        {
            return Ok(());
        }
        self.unlink_from(shield, node, from, found)
    }

    /// Probes from table to table: the slow path of [`unlink`](Self::unlink).
    #[cold]
    fn unlink_from<'g>(
        &'g self,
        shield: Shield<'g, R>,
        node: NodeRef<'g>,
        from: &'g Table,
        found: &'g Table,
    ) -> Result<(), NoMemory> {
        let key = self.key_of(&node);
        let mut table = from;
        // The newest FROZEN slot that leads to the node. Older ones are MOVED by now: a table is frozen only as the root, and
        // becomes the root when every slot of the one before is finished (I8).
        let mut frozen: Option<(&Table, SlotIndex, Word)> = None;
        'table: loop {
            let older = table.generation < found.generation;
            let mut probe = Probe::new(self, shield, table, &key);
            let advance = loop {
                match probe.next() {
                    Found::Own(slot, word) => match word.kind() {
                        // The node's LINK.
                        Kind::Link(owner) if owner == node.as_ptr() => {
                            if self.leave_tomb(table, slot, word, node, key.tomb()) {
                                break older;
                            }
                        }
                        // The node's FROZEN: changed last, when the key is closed in all successors.
                        Kind::Frozen(owner) if owner == node.as_ptr() => {
                            frozen = Some((table, slot, word));
                            if self.planted(Defect::RemoverStopsAtFrozen) {
                                break 'table;
                            }
                            break true;
                        }
                        // The key's slot has another node or a tomb: no helper can place the node here.
                        _ => break older,
                    },
                    // The node may have been moved on from here: close the key, and continue in the successor.
                    Found::Empty(slot) if probe.seen && !self.planted(Defect::TombAfterMoved) => {
                        if table.cas(slot, Word::EMPTY, Word::SEALED) {
                            break true;
                        }
                    }
                    Found::Empty(slot) => {
                        if self.planted(Defect::RemoverNeverClaims) {
                            break older;
                        }
                        // Claimed for the key, so that no slow helper can place the node here.
                        table.mark(table.home(key.hash));
                        table.mark_slot(slot);
                        if !self.planted(Defect::TombNotNoted) {
                            table.note(key.hash);
                        }
                        if self.leave_tomb(table, slot, Word::EMPTY, node, key.tomb()) {
                            self.count_claim(shield, self.shard(), table);
                            break older;
                        }
                    }
                    // The key can never claim a slot here.
                    Found::Sealed => break probe.seen || older,
                    // Every slot is another key's or MOVED.
                    Found::Full => {
                        if !probe.seen {
                            self.larger_successor(shield, table)?;
                        }
                        break true;
                    }
                }
            };
            if !advance {
                break;
            }
            self.at(Stage::UnlinkNext);
            // There is a successor: `table` is older than `found`, or had MOVED, SEALED or FROZEN (O4), or one was just made.
            let Some(next) = self.next(shield, table) else { break };
            table = next;
        }
        if let Some((table, slot, word)) = frozen
            && !self.planted(Defect::FrozenLeft)
        {
            let to = match key.tomb() {
                Some(tomb) if self.planted(Defect::FrozenToTomb) => tomb,
                _ => Word::MOVED,
            };
            // If the exchange is lost, another thread has finished the slot.
            let _ = table.cas(slot, word, to);
        }
        Ok(())
    }

    /// Puts the key's tomb into a slot: a TOMB word, or the node's key record, which the slot owns from then on (I7). Returns
    /// whether the exchange succeeded.
    #[inline]
    fn leave_tomb(&self, table: &Table, slot: SlotIndex, from: Word, node: NodeRef<'_>, tomb: Option<Word>) -> bool {
        #[cfg(any(test, shadow_loom))]
        if let (true, Some(tomb)) = (self.planted(Defect::UnlinkByStore) && from != Word::EMPTY, tomb) {
            table.store(slot, tomb);
            return true;
        }
        if self.planted(Defect::UnlinkToEmpty) && from != Word::EMPTY {
            return table.cas(slot, from, Word::EMPTY);
        }
        if let Some(tomb) = tomb {
            return table.cas(slot, from, tomb);
        }
        self.leave_record(table, slot, from, node)
    }

    #[cold]
    fn leave_record(&self, table: &Table, slot: SlotIndex, from: Word, node: NodeRef<'_>) -> bool {
        let key = self.key_of(&node);
        let Some(record) = node.take_record(key.entry) else {
            unreachable!("a node leaves its key record in one slot at most, and this is its only remover");
        };
        let won = table.cas(slot, from, Word::record(record, key.tag));
        if !won {
            node.put_record_back(key.entry, record);
        }
        won
    }

    /// Puts a dead node that cannot be unlinked aside, until the store is dropped.
    fn orphan(&self, node: NonNull<Node>) {
        let orphan = Node::link(node);
        // Relaxed: the list is read by the store's drop only, which owns the store.
        let mut head = self.orphans.load(Ordering::Relaxed);
        loop {
            // SAFETY: dead, and in no other list.
            unsafe { orphan.as_ref() }.set_next(head);
            match self
                .orphans
                .compare_exchange_weak(head, orphan.as_ptr(), Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }

    /// Does the maintenance due after a retirement: drains ready batches, makes a smaller successor if the table has become
    /// mostly empty, and helps a running migration, which would otherwise not progress where variables are only freed.
    #[inline]
    pub(crate) fn after_retire(&self, shield: Shield<'_, R>, shard: Shard, retired: Retired) {
        let root = self.drain_and_help(shield, shard, retired);
        if root.log2 > self.min_log2 && root.free_stride.is_passed(retired.count, retired.added) {
            self.shrink_if_empty(shield, root);
        }
    }

    /// Like [`after_retire`](Self::after_retire), but makes no smaller successor: a sweep does that at its end, so that
    /// entries it is about to free are not moved. Returns the root, as it was after the drain.
    #[inline]
    pub(crate) fn drain_and_help<'g>(&'g self, shield: Shield<'g, R>, shard: Shard, retired: Retired) -> &'g Table {
        self.lists.follow_up::<R>(shard, retired);
        let root = self.root(shield);
        if root.has_next() {
            let _ = (0..retired.added).try_for_each(|_| self.help(shield));
        }
        root
    }
}
