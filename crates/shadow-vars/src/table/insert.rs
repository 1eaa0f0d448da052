//! Putting a node in: claims the key's slot, or says who has it.

use std::ptr::NonNull;

use super::array::{BUCKET, Table};
use super::defect::{Defect, Stage};
use super::group::{Group, Tags};
use super::node::{Node, State};
use super::probe::{Found, Key, Probe};
use super::word::{Kind, Word};
use super::{Core, NoMemory, NodeRef, Shield};
use crate::reclaim::Reclaim;
use crate::shard::Shard;
use crate::sync::AtomicU64;

/// How an insert ended.
#[must_use]
pub(crate) enum Inserted<'g> {
    /// The key's slot in this table leads to the new node.
    Claimed(&'g Table),
    /// The variable exists.
    Exists(NodeRef<'g>),
    /// Somebody runs a constructor for the variable.
    Building(NodeRef<'g>),
}

/// Where an insert goes after one look at a table.
enum Next<'g> {
    Done(Inserted<'g>),
    /// The key's turn in this table is over: on to the successor.
    Successor,
    /// A compare-and-swap was lost: look again.
    Reload,
    /// Something older had to be finished first: start over at this table.
    Again,
}

impl<R: Reclaim> Core<R> {
    /// Claims the key for `new`, whose life is LIVE or BUILDING. Lock-free. The node stays the caller's unless claimed.
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
                // No memory to place a node does not keep this insert from trying.
                let _ = self.help(shield);
            }
            let mut probe = Probe::new(self, shield, table, key);
            loop {
                match self.try_insert(shield, key, new, &mut probe, migrating)? {
                    Next::Done(inserted) => return Ok(inserted),
                    Next::Reload => {}
                    Next::Again => continue 'table,
                    Next::Successor => {
                        // There is one after MOVED, SEALED or FROZEN (O4), and where `try_insert` saw or made it.
                        table = self.next(shield, table).unwrap_or(table);
                        continue 'table;
                    }
                }
            }
        }
    }

    /// Claims the key for a new node in the most usual case: in its home bucket in the root, nothing speaks of migration, and
    /// the key has a tomb there or nothing. Whether it did; else nothing was done.
    #[inline(always)]
    pub(crate) fn claim_at_once(
        &self,
        shield: Shield<'_, R>,
        shard: Shard,
        (root, bucket): (&Table, &[AtomicU64; BUCKET]),
        key: &Key<'_>,
        new: NonNull<Node>,
    ) -> bool {
        let group = Group::load(bucket);
        // As in `insert`: whoever sees no successor yet claims in the root.
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

    /// Whether a defect is planted that breaks rules of the slow way, which is too rare behind the quick ones for a test to
    /// meet.
    #[inline]
    fn is_slow_only(&self) -> bool {
        self.planted(Defect::ClaimAfterMoved) || self.planted(Defect::DeadLinkLeft)
    }

    /// The usual case, at whole buckets as in [`look`](Self::look): nothing speaks of migration, and the key has a live node,
    /// a tomb, or nothing. Decides nothing else.
    #[inline]
    fn insert_by_buckets<'g>(
        &'g self,
        shield: Shield<'g, R>,
        root: &'g Table,
        key: &Key<'_>,
        new: NonNull<Node>,
    ) -> Option<Inserted<'g>> {
        // As in `insert`: whoever sees no successor yet claims in the root.
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
                        Kind::Tomb if key.tomb() == Some(word) => {
                            let won = root.cas(root.slot_in(bucket, lane), word, link);
                            return won.then_some(Inserted::Claimed(root));
                        }
                        Kind::Tomb => continue,
                        _ => return None,
                    }
                };
                let node = NodeRef::new(shield, node);
                if node.is_for(key.obj, key.entry) {
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
                        // The dead node's turn here is over; losing means that somebody else said so.
                        return then(table.cas(slot, word, Word::MOVED), Next::Successor);
                    }
                    if migrating && self.planted(Defect::DeadLinkLeft) {
                        return Ok(Next::Successor);
                    }
                    if migrating {
                        // Through FROZEN, as for every LINK; the next look moves it on.
                        return then(table.cas(slot, word, word.frozen()), Next::Reload);
                    }
                    // The dead node's remover will find the slot taken, and retires it (I5).
                    let won = table.cas(slot, word, link);
                    if won && self.planted(Defect::ReplacerRetires) {
                        self.retire(shield, node.as_ptr());
                    }
                    then(won, Next::Done(Inserted::Claimed(table)))
                }
                _ if migrating && self.planted(Defect::TombLeft) => Ok(Next::Successor),
                tomb => {
                    let (to, next) = if migrating {
                        (Word::MOVED, Next::Successor)
                    } else {
                        (link, Next::Done(Inserted::Claimed(table)))
                    };
                    let won = table.cas(slot, word, to);
                    if let (true, Kind::Record(record)) = (won, tomb) {
                        // Whoever takes a record out of its slot retires it (I7).
                        self.retire(shield, record);
                    }
                    then(won, next)
                }
            },
            Found::Empty(slot) => {
                let closed = (migrating && !self.planted(Defect::NoSeal))
                    || (probe.seen && !self.planted(Defect::ClaimAfterMoved));
                if closed {
                    return then(table.cas(slot, Word::EMPTY, Word::SEALED), Next::Successor);
                }
                let root = self.root(shield);
                if root.generation < table.generation && !table.take_ticket() {
                    // No room for new keys before the old table's are in (P4).
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
            Found::Sealed => Ok(Next::Successor),
            Found::Full if probe.seen || table.has_next() => Ok(Next::Successor),
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
