//! Insert: claims the slot of a key for a new node, or returns the node that owns the key.
//!
//! The outcomes are [`Inserted`]. The fast path reads the home bucket in the root, and claims only if there is no successor
//! and the key has a tomb or no slot (L2, L3). Otherwise whole buckets are read, and as a last resort the slots one by one:
//!
//! ```text
//! LINK, FROZEN with a live or building node    → Exists, Building        (I1)
//! LINK(dead), TOMB, RECORD, not migrating      → LINK(new): Claimed      (I1, I7)
//!           ... and migrating                  → FROZEN or MOVED; on to the successor
//! FROZEN(dead)                                 → MOVED; on to the successor (I6)
//! EMPTY, not migrating, no MOVED on the way    → LINK(new): Claimed      (I1, P4)
//!           ... otherwise                      → SEALED; on to the successor
//! SEALED                                       → on to the successor
//! table full                                   → on to the successor, made larger if there was none (P4)
//! ```
//!
//! A lost compare-and-swap reads the same bucket again (P2). An insert that meets a migration migrates a block first (P1).

use std::ptr::NonNull;

use super::array::Table;
use super::group::BUCKET;
use super::group::{Group, Tags};
use super::key::Key;
use super::node::{Node, State};
use super::probe::{Found, Probe};
use super::word::{Kind, Word};
use super::{Core, NoMemory, NodeRef, Shield};
use crate::defect::{Defect, Stage};
use crate::reclaim::Reclaim;
use crate::shard::Shard;
use crate::sync::AtomicU64;

/// The outcome of an insert.
#[must_use]
pub(crate) enum Inserted<'g> {
    /// The key's slot in this table leads to the new node.
    Claimed(&'g Table),
    /// The variable exists.
    Exists(NodeRef<'g>),
    /// Another thread runs a constructor for the variable, or this thread does, further up its stack.
    Building(NodeRef<'g>),
}

/// What an insert does after one step of its probe.
enum Next<'g> {
    Done(Inserted<'g>),
    /// The key is closed in this table: continue in the successor.
    Successor,
    /// A compare-and-swap was lost: read the bucket again.
    Reload,
    /// Something older had to be finished first: start over in this table.
    Again,
}

impl<R: Reclaim> Core<R> {
    /// Claims the key for `new`, whose life is LIVE or BUILDING. Lock-free. The caller keeps the node unless it is claimed.
    pub(crate) fn insert<'g>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        new: NonNull<Node>,
    ) -> Result<Inserted<'g>, NoMemory> {
        if !self.is_slow_only()
            && let Some(inserted) = self.insert_by_buckets(shield, self.root(shield), key, new)
        {
            return Ok(inserted);
        }
        let mut table = self.root(shield);
        let mut helped = false;
        'table: loop {
            let migrating = table.has_next() && self.root(shield).generation >= table.generation;
            if migrating && !helped {
                helped = true;
                // An insert may still succeed if there is no memory to place a node.
                let _ = self.help(shield);
            }
            let mut probe = Probe::new(self, shield, table, key);
            loop {
                match self.try_insert(shield, key, new, &mut probe, migrating)? {
                    Next::Done(inserted) => return Ok(inserted),
                    Next::Reload => {}
                    Next::Again => continue 'table,
                    Next::Successor => {
                        // There is a successor after MOVED, SEALED or FROZEN (O4), and where `try_insert` saw or made one.
                        table = self.next(shield, table).unwrap_or(table);
                        continue 'table;
                    }
                }
            }
        }
    }

    /// Fast path: claims the key for a new node if, in the key's home bucket in the root, no slot tells of a migration, and
    /// the key has a tomb there or nothing. Returns whether it was claimed.
    #[inline(always)]
    pub(crate) fn try_claim_fast(
        &self,
        shield: Shield<'_, R>,
        shard: Shard,
        (root, bucket): (&Table, &[AtomicU64; BUCKET]),
        key: &Key<'_>,
        new: NonNull<Node>,
    ) -> bool {
        let group = Group::load(bucket);
        // As in `insert`: a thread that sees no successor yet claims in the root.
        if self.is_slow_only() || !self.is_last(root) {
            return false;
        }
        let link = Word::link(new, key.tag);
        if let Some(lane) = group.with(Tags::new(key.wide_tag)).first() {
            let word = shield.load(|order| root.load_lane(bucket, lane, order));
            return key.tomb() == Some(word) && root.cas(root.slot_in(bucket, lane), word, link);
        }
        let Some(lane) = group.empty().first() else {
            return false;
        };
        // L3.
        let won = self.claim_slot(shield, shard, root, (root.slot_in(bucket, lane), key), link);
        if won {
            self.at(Stage::Claimed);
        }
        won
    }

    /// Returns whether a planted defect breaks a rule of the slow path, which tests would hardly ever reach behind the fast
    /// path.
    #[inline]
    fn is_slow_only(&self) -> bool {
        self.planted(Defect::ClaimAfterMoved) || self.planted(Defect::DeadLinkLeft)
    }

    /// Claims or finds the key by whole buckets, as in [`scan_buckets`](Self::scan_buckets): if no slot tells of a migration,
    /// and the key has a live node, a tomb, or nothing. Returns `None` in all other cases; then the key is not claimed.
    #[inline]
    fn insert_by_buckets<'g>(
        &'g self,
        shield: Shield<'g, R>,
        root: &'g Table,
        key: &Key<'_>,
        new: NonNull<Node>,
    ) -> Option<Inserted<'g>> {
        // As in `insert`: a thread that sees no successor yet claims in the root.
        if root.has_next() {
            return None;
        }
        let link = Word::link(new, key.tag);
        let home = root.home_bucket(key.hash);
        let mut bucket = home;
        loop {
            let group = Group::load(bucket);
            for lane in group.with(Tags::new(key.wide_tag)) {
                let word = shield.load(|order| root.load_lane(bucket, lane, order));
                let Some(node) = word.linked() else {
                    match word.kind() {
                        // The key's tomb (L2).
                        Kind::Tomb if key.tomb() == Some(word) => {
                            let won = root.cas(root.slot_in(bucket, lane), word, link);
                            return won.then_some(Inserted::Claimed(root));
                        }
                        // Another key's tomb.
                        Kind::Tomb => continue,
                        // A migration, a key record, or a word that changed since the snapshot.
                        _ => return None,
                    }
                };
                let node = NodeRef::new(shield, node);
                if node.is_for(key.obj, key.entry) {
                    // L1. A node that is not live is left to the slow path.
                    return node.is_live().then_some(Inserted::Exists(node));
                }
            }
            let ends = group.ends();
            if ends.closed() {
                return None;
            }
            if let Some(lane) = ends.empty() {
                if !std::ptr::eq(bucket, home) {
                    root.mark(root.home(key.hash));
                }
                // L3.
                if !self.claim_slot(shield, self.shard(), root, (root.slot_in(bucket, lane), key), link) {
                    return None;
                }
                self.at(Stage::Claimed);
                return Some(Inserted::Claimed(root));
            }
            bucket = root.bucket_after(bucket);
            if std::ptr::eq(bucket, home) {
                return None;
            }
        }
    }

    /// Performs one step of the probe. `migrating` says that the table is the root, or was, and has a successor.
    fn try_insert<'g>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        new: NonNull<Node>,
        probe: &mut Probe<'g, '_, R>,
        migrating: bool,
    ) -> Result<Next<'g>, NoMemory> {
        let table = probe.table;
        let link = Word::link(new, key.tag);
        let then = |won: bool, next: Next<'g>| Ok(if won { next } else { Next::Reload });
        match probe.next() {
            Found::Own(slot, word) => match word.kind() {
                Kind::Link(node) | Kind::Frozen(node) => {
                    let node = NodeRef::new(shield, node);
                    match node.life().state() {
                        // A live node has the key.
                        State::Live => return Ok(Next::Done(Inserted::Exists(node))),
                        State::Building if self.planted(Defect::BuildingExists) => {
                            return Ok(Next::Done(Inserted::Exists(node)));
                        }
                        State::Building => return Ok(Next::Done(Inserted::Building(node))),
                        _ if self.planted(Defect::DeadExists) => return Ok(Next::Done(Inserted::Exists(node))),
                        _ => {}
                    }
                    let frozen = matches!(word.kind(), Kind::Frozen(_));
                    if frozen && self.planted(Defect::FrozenDeadReused) {
                        return then(table.cas(slot, word, link), Next::Done(Inserted::Claimed(table)));
                    }
                    if frozen {
                        // The key is closed here by the dead node's slot; if the exchange is lost, another thread has done it.
                        return then(table.cas(slot, word, Word::MOVED), Next::Successor);
                    }
                    if migrating && self.planted(Defect::DeadLinkLeft) {
                        return Ok(Next::Successor);
                    }
                    if migrating {
                        // LINK becomes MOVED by way of FROZEN only; the next step does that.
                        return then(table.cas(slot, word, word.frozen()), Next::Reload);
                    }
                    // The dead node's remover finds the slot changed, and retires the node (I5).
                    let won = table.cas(slot, word, link);
                    if won && self.planted(Defect::ReplacerRetires) {
                        self.retire(shield, node.as_ptr());
                    }
                    then(won, Next::Done(Inserted::Claimed(table)))
                }
                _ if migrating && self.planted(Defect::TombLeft) => Ok(Next::Successor),
                // The key's own tomb: reused, or closed while the table migrates.
                tomb => {
                    let (to, next) = if migrating {
                        (Word::MOVED, Next::Successor)
                    } else {
                        (link, Next::Done(Inserted::Claimed(table)))
                    };
                    let won = table.cas(slot, word, to);
                    if let (true, Kind::Record(record)) = (won, tomb) {
                        // The thread that takes a record out of its slot retires it (I7).
                        self.retire(shield, record);
                    }
                    then(won, next)
                }
            },
            Found::Empty(slot) => {
                let closed = (migrating && !self.planted(Defect::NoSeal))
                    || (probe.seen && !self.planted(Defect::ClaimAfterMoved));
                // The key must not be claimed here any more: SEALED closes it.
                if closed {
                    return then(table.cas(slot, Word::EMPTY, Word::SEALED), Next::Successor);
                }
                let root = self.root(shield);
                if root.generation < table.generation && !table.take_ticket() {
                    // No room for new keys before those of the old table are placed (P4).
                    self.finish(shield, root)?;
                    return Ok(Next::Again);
                }
                table.mark(table.home(key.hash));
                if !self.claim_slot(shield, self.shard(), table, (slot, key), link) {
                    return Ok(Next::Reload);
                }
                self.at(Stage::Claimed);
                Ok(Next::Done(Inserted::Claimed(table)))
            }
            // A SEALED before any EMPTY closes the key here.
            Found::Sealed => Ok(Next::Successor),
            // All slots belong to other keys, and some are MOVED or there is a successor.
            Found::Full if probe.seen || table.has_next() => Ok(Next::Successor),
            // The table is full: finish the older one first, or make a larger successor.
            Found::Full => {
                let root = self.root(shield);
                if root.generation < table.generation {
                    self.finish(shield, root)?;
                } else {
                    self.larger_successor(shield, table)?;
                }
                Ok(Next::Again)
            }
        }
    }
}
