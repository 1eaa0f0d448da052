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
use std::ptr::{self, NonNull};

use super::array::Table;
use super::group::Tags;
use super::key::Key;
use super::node::{Life, Node, State};
use super::probe::{Found, Probe};
use super::scan::{BucketScan, Scan};
use super::site::Site;
use super::word::{Kind, Word};
use super::{Core, NoMemory, NodeRef, Shield};
use crate::defect::{Defect, Stage};
use crate::entry::IdEntry;
use crate::fork;
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::reclaim::retired::Retired;
use crate::shard::Shard;
use crate::sync::Ordering;

/// The way to a node whose life has ended: where its unlinking begins, and where it may end (I3).
#[derive(Clone, Copy)]
pub(crate) struct Trail<'g> {
    /// The root when the operation began.
    from: &'g Table,
    /// The table in which the node was found.
    found: &'g Table,
    /// The LINK that led to the node, if that is in `from`: it saves the unlinking a probe.
    link: Option<Site<'g>>,
}

impl<'g> Trail<'g> {
    /// The trail of an operation that began at the root `from`, and found the node in `found`.
    pub(crate) fn new(from: &'g Table, found: &'g Table) -> Self {
        Self {
            from,
            found,
            link: None,
        }
    }

    /// The trail of an operation that found the node by a LINK in the root with which it began.
    #[inline(always)]
    fn linked(link: Site<'g>) -> Self {
        Self {
            link: Some(link),
            ..Self::new(link.table(), link.table())
        }
    }

    /// The trail of an operation that began at the root `from`, and met the node at a slot.
    #[inline(always)]
    pub(super) fn met(from: &'g Table, site: Site<'g>) -> Self {
        let is_link = ptr::eq(from, site.table()) && matches!(site.kind(), Kind::Link(_));
        Self {
            link: is_link.then_some(site),
            ..Self::new(from, site.table())
        }
    }
}

/// A variable that this thread has killed. The destructor runs while this exists; then it is [finished](Self::finish), or
/// dropped if the destructor panics: both unlink and retire the node.
pub(crate) struct Removed<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    node: NodeRef<'g>,
    entry: &'g IdEntry,
    /// This thread's shard.
    pub(crate) shard: Shard,
    trail: Trail<'g>,
}

impl<R: Reclaim> Drop for Removed<'_, R> {
    #[cold]
    fn drop(&mut self) {
        self.unlink_and_retire();
    }
}

impl<'g, R: Reclaim> Removed<'g, R> {
    /// Counts a node that this thread has just killed.
    ///
    /// # Safety
    ///
    /// [`Core::kill`] has returned true for the node, once, and this is made of it once. The entry is the node's; it was found
    /// on this trail.
    #[inline(always)]
    unsafe fn new(
        core: &'g Core<R>,
        shield: Shield<'g, R>,
        node: NodeRef<'g>,
        entry: &'g IdEntry,
        trail: Trail<'g>,
    ) -> Self {
        let shard = core.shard();
        core.nodes.count_freed(entry.counts(), shard, 1);
        core.at(Stage::Killed);
        if core.planted(Defect::RetireBeforeUnlink) {
            // SAFETY: none: this is what the defect breaks.
            unsafe { core.retire(shield, node.as_ptr()) };
        }
        Self {
            core,
            shield,
            node,
            entry,
            shard,
            trail,
        }
    }

    #[inline(always)]
    fn unlink_and_retire(&self) {
        // SAFETY: killed by this thread (`new`); called once, as `self` is dropped, or forgotten, after it.
        unsafe {
            self.core
                .unlink_and_retire(self.shield, self.shard, self.node, self.entry, self.trail);
        }
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
        prefetch(ptr::without_provenance::<u8>(key.obj));
        if let Some((node, link)) = self.first_live(shield, from, key)
            && self.kill(node, key.entry.live)
        {
            // SAFETY: just killed; a node of the key, and so of its entry.
            let removed = unsafe { Removed::new(self, shield, node, key.entry, Trail::linked(link)) };
            return Some(removed.finish(dtor));
        }
        self.remove_slow(shield, from, key, dtor)
    }

    /// Returns the live node of a key and its LINK on the fast path: from the first slot of its home bucket with its tag.
    #[inline]
    fn first_live<'g>(
        &'g self,
        shield: Shield<'g, R>,
        root: &'g Table,
        key: &Key<'_>,
    ) -> Option<(NodeRef<'g>, Site<'g>)> {
        // As in `find`.
        let (tags, root) = Tags::new(key.wide_tag).ordered_before(root);
        let site = BucketScan::new(root, root.home_bucket(key.hash), tags).next(shield)?;
        let node = site.linked()?;
        node.is_live_for(key.obj, key.entry).then_some((node, site))
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
        Some(self.begin_removal(shield, from, key)?.finish(dtor))
    }

    /// Kills the variable of a key, if it exists: looks for it by whole buckets, then slot by slot.
    #[cold]
    pub(crate) fn begin_removal<'g>(
        &'g self,
        shield: Shield<'g, R>,
        from: &'g Table,
        key: &Key<'g>,
    ) -> Option<Removed<'g, R>> {
        let kill = |node: NodeRef<'g>, trail| {
            // SAFETY: just killed; a node of the key, and so of its entry.
            (self.kill(node, node.as_live())).then(|| unsafe { Removed::new(self, shield, node, key.entry, trail) })
        };
        match self.scan_buckets(shield, from, key) {
            Scan::Live(node, link) => {
                // If another thread kills it first, the key may have a newer node by now.
                if let Some(removed) = kill(node, Trail::linked(link)) {
                    return Some(removed);
                }
            }
            Scan::Absent(_) => return None,
            Scan::Unclear => {}
        }
        self.probe_chain(shield, from, key, |node, _, table| kill(node, Trail::new(from, table)))
    }

    /// Kills, unlinks and retires a node that was met at a slot by an operation that began at the root `from`. Returns whether
    /// this call killed it.
    #[inline]
    pub(crate) fn remove_at<'g>(
        &'g self,
        shield: Shield<'g, R>,
        node: NodeRef<'g>,
        from: &'g Table,
        site: Site<'g>,
    ) -> bool {
        let killed = self.kill(node, node.as_live());
        if killed {
            // SAFETY: just killed.
            unsafe { Removed::new(self, shield, node, node.entry(&self.heap), Trail::met(from, site)) }.finish(|_| ());
        }
        killed
    }

    /// In the child of a fork: ends a construction whose builder does not exist any more, in the way that the builder would
    /// have if its constructor had failed (C3). The value was never complete, and is not dropped.
    #[cold]
    pub(crate) fn fail_vanished<'g>(&'g self, shield: Shield<'g, R>, key: &Key<'g>) {
        let from = self.root(shield);
        let failed = self.probe_chain(shield, from, key, |node, life, table| {
            let gone = life.state() == State::Building && fork::vanished(life.builder());
            (gone && node.fail(life)).then_some((node, table))
        });
        if let Some((node, found)) = failed {
            self.ctor_failed.fetch_add(1, Ordering::Relaxed);
            let trail = Trail::new(from, found);
            // SAFETY: `fail` has returned true to this thread alone; a node of the key, and so of its entry.
            unsafe { self.unlink_and_retire(shield, self.shard(), node, key.entry, trail) };
        }
    }

    /// Turns LIVE into DEAD (I4). Returns whether this call did it: then the caller counts, unlinks and retires the node.
    /// `live` is the node's life word [if it is LIVE](Node::as_live).
    #[must_use]
    pub(super) fn kill(&self, node: NodeRef<'_>, live: Life) -> bool {
        #[cfg(any(test, shadow_loom))]
        if self.planted(Defect::KillByStore) {
            return node.kill_by_store();
        }
        node.kill(live)
    }

    /// Unlinks and retires a node whose life this thread has ended: by killing it, or by a constructor that failed.
    ///
    /// # Safety
    ///
    /// Same as [`unlink`](Self::unlink).
    #[inline(always)]
    pub(crate) unsafe fn unlink_and_retire<'g>(
        &'g self,
        shield: Shield<'g, R>,
        shard: Shard,
        node: NodeRef<'g>,
        entry: &IdEntry,
        trail: Trail<'g>,
    ) {
        // SAFETY: guaranteed by the caller.
        let unlinked = unsafe { self.unlink(shield, node, entry, trail) };
        if unlinked && !self.planted(Defect::RetireBeforeUnlink) {
            // SAFETY: the guard protects the node, whose entry this is; it is unlinked now, and this thread has ended its life.
            unsafe {
                let bytes = Node::bytes_as(node.as_ptr(), entry);
                self.retire_variable(shield, shard, node.as_ptr(), bytes, entry.drops);
            }
        }
    }

    /// Makes sure that no slot leads to the dead node, of this entry, and that none will: in every table from the first of its
    /// trail to at least the one where it was found, its key owns a slot or can never claim one (I3). Lock-free.
    ///
    /// Returns whether the node is to be retired now. If there is no memory for a table in which to close the key, a slow
    /// helper may still place the node: then it is not reclaimed until the store is dropped, and operations that find it treat
    /// it as dead.
    ///
    /// # Safety
    ///
    /// This thread has ended the node's life, so no other one unlinks it, and calls this once. The entry is the node's; the
    /// operation that found it has come on this trail.
    #[inline(always)]
    pub(super) unsafe fn unlink<'g>(
        &'g self,
        shield: Shield<'g, R>,
        node: NodeRef<'g>,
        entry: &IdEntry,
        trail: Trail<'g>,
    ) -> bool {
        let skip = self.planted(Defect::FailedNotUnlinked) && node.life().state() == State::Failed;
        // Fast path: what `unlink_slow` does if it meets the LINK in the first table, without another probe.
        let at_link = |link: Site<'_>| {
            let tomb = entry
                .key_fits(node.obj)
                .then(|| Word::tomb(node.obj, link.word().tag()));
            self.leave_tomb(link, node, tomb)
        };
        if skip || trail.link.is_some_and(at_link) || self.unlink_slow(shield, node, trail.from, trail.found).is_ok() {
            self.at(Stage::Unlinked);
            return true;
        }
        // SAFETY: dead, and retired by no other thread; nor by this one, as false is returned.
        unsafe { self.orphan(node.as_ptr()) };
        false
    }

    /// The slow path of [`unlink`](Self::unlink): probes from table to table.
    #[cold]
    fn unlink_slow<'g>(
        &'g self,
        shield: Shield<'g, R>,
        node: NodeRef<'g>,
        from: &'g Table,
        found: &'g Table,
    ) -> Result<(), NoMemory> {
        let key = self.key_of(&node);
        let mut table = from;
        if self.planted(Defect::UnlinkFromFound) {
            table = found;
        }
        // The newest FROZEN slot that leads to the node. Older ones are MOVED by now: a table is frozen only as the root, and
        // becomes the root when every slot of the one before is finished (I8).
        let mut frozen: Option<Site<'_>> = None;
        'table: loop {
            let older = table.generation < found.generation;
            let mut probe = Probe::new(self, shield, table, &key);
            // Whether the key has to be closed in the successor, too.
            let advance = loop {
                match probe.next() {
                    Found::Own(site) => match site.kind() {
                        // The node's LINK. If the exchange is lost, the slot was frozen, or has another node: probe again.
                        Kind::Link(owner) if owner == node => {
                            if self.leave_tomb(site, node, key.tomb()) {
                                break older;
                            }
                        }
                        // The node's FROZEN: changed last, when the key is closed in all successors.
                        Kind::Frozen(owner) if owner == node => {
                            frozen = Some(site);
                            if self.planted(Defect::RemoverStopsAtFrozen) {
                                break 'table;
                            }
                            break true;
                        }
                        // The key's slot has another node or a tomb: no helper can place the node here.
                        _ => break older,
                    },
                    // The node may have been moved on from here: close the key, and continue in the successor.
                    Found::Empty(site) if probe.seen && !self.planted(Defect::TombAfterMoved) => {
                        if site.replace(Word::SEALED) {
                            break true;
                        }
                    }
                    // Never claimed for the key: claimed now, so that no slow helper can place the node here.
                    Found::Empty(site) => {
                        if self.planted(Defect::RemoverNeverClaims) {
                            break older;
                        }
                        table.mark(table.home(key.hash));
                        table.mark_slot(site.slot());
                        if !self.planted(Defect::TombNotNoted) {
                            table.note(key.hash);
                        }
                        if self.leave_tomb(site, node, key.tomb()) {
                            self.count_claim(shield, self.shard(), table);
                            break older;
                        }
                    }
                    // The key can never claim a slot here. Behind MOVED, its node may have been moved on.
                    Found::Sealed => break probe.seen || older,
                    // Every slot is another key's or MOVED: a helper could only place the node in the successor.
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
        if let Some(site) = frozen
            && !self.planted(Defect::FrozenLeft)
        {
            let to = match key.tomb() {
                Some(tomb) if self.planted(Defect::FrozenToTomb) => tomb,
                _ => Word::MOVED,
            };
            // If the exchange is lost, another thread has finished the slot.
            let _ = site.replace(to);
        }
        Ok(())
    }

    /// Puts the key's tomb into a slot: a TOMB word, or the node's key record, which the slot owns from then on (I7). Returns
    /// whether the exchange succeeded.
    #[inline]
    fn leave_tomb(&self, site: Site<'_>, node: NodeRef<'_>, tomb: Option<Word>) -> bool {
        #[cfg(any(test, shadow_loom))]
        if let (true, Some(tomb)) = (self.planted(Defect::UnlinkByStore) && site.word() != Word::EMPTY, tomb) {
            site.table().store(site.slot(), tomb);
            return true;
        }
        if self.planted(Defect::UnlinkToEmpty) && site.word() != Word::EMPTY {
            return site.replace(Word::EMPTY);
        }
        let word = tomb.unwrap_or_else(|| self.take_record(node));
        let won = site.replace(word);
        if !won && tomb.is_none() {
            self.put_record_back(node, word);
        }
        won
    }

    /// Takes the key record out of a node that this thread removes. Returns the RECORD word.
    #[cold]
    fn take_record(&self, node: NodeRef<'_>) -> Word {
        let key = self.key_of(&node);
        // SAFETY: the guard protects the node, whose entry this is.
        let record = unsafe { Node::record(node.as_ptr(), key.entry) };
        // Relaxed, here and below: only the node's remover uses it, and later the thread that reclaims the node.
        let record = record.and_then(|record| NonNull::new(record.swap(ptr::null_mut(), Ordering::Relaxed)));
        let Some(record) = record else {
            unreachable!("a node leaves its key record in one slot at most, and this is its only remover");
        };
        Word::record(record, key.tag)
    }

    /// Gives a node its key record back, whose word did not get into a slot.
    #[cold]
    fn put_record_back(&self, node: NodeRef<'_>, word: Word) {
        let entry = node.entry(&self.heap);
        // SAFETY: the guard protects the node, whose entry this is.
        let place = unsafe { Node::record(node.as_ptr(), entry) };
        if let (Some(place), Kind::Record(record)) = (place, word.kind()) {
            place.store(record.as_ptr(), Ordering::Relaxed);
        }
    }

    /// Keeps a dead node that cannot be unlinked until the store is dropped.
    ///
    /// # Safety
    ///
    /// This thread has ended the node's life; the node is in no list, and is never retired.
    unsafe fn orphan(&self, node: NonNull<Node>) {
        let orphan = Node::link(node);
        // Relaxed: the list is read by the store's drop only, which owns the store.
        let mut head = self.orphans.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller guarantees that the node is in no other list; it is allocated until the store is dropped.
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

    /// Retires a node of this size, and does the maintenance that is due after that. `soon` says that it has a destructor.
    ///
    /// # Safety
    ///
    /// This thread has ended the node's life and unlinked it (I5), and retires it once; it has this size.
    #[inline(never)]
    unsafe fn retire_variable(&self, shield: Shield<'_, R>, shard: Shard, node: NonNull<Node>, bytes: u64, soon: bool) {
        // SAFETY: the caller guarantees that it is unlinked and of this size; this thread is pinned, as the shield proves.
        let retired = unsafe { self.lists.retire::<R>(Node::link(node), bytes, soon, shard) };
        self.after_retire(shield, shard, retired);
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
