//! Insert: creates the variable of a key from a value, or claims the key for a node that a constructor is to fill.
//!
//! The path from a value, top to bottom: prefetch the key's home bucket, write the value into a node, claim the key.
//!
//! ```text
//! try_alloc_fast   a node of the thread's own pool, and the fast claim below; else the value, or its node, goes on to
//! alloc_slow       claim, until it is decided:
//!                    Claimed    → created: counted, and returned
//!                    Exists     → returned, or an error; the value is dropped, or returned in the error
//!                    Building   → waits for the constructor, and starts over
//! ```
//!
//! A claim has the outcomes of [`Inserted`]. The fast claim reads the home bucket in the root, and succeeds only if there is
//! no successor and the key has a tomb or no slot (L2, L3). Otherwise whole buckets are read, and as a last resort the slots
//! one by one:
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
use super::group::{BUCKET, Tags};
use super::key::Key;
use super::node::{Life, Node, State};
use super::node_alloc::Payload;
use super::probe::{Found, Probe};
use super::scan::{BucketScan, Scan};
use super::word::{Kind, Word};
use super::{Core, NoMemory, NodeRef, Shield};
use crate::ObjAddr;
use crate::defect::{Defect, Stage};
use crate::entry::IdEntry;
use crate::error::{AllocError, StoreError};
use crate::fork;
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::shard::Shard;
use crate::sync::AtomicU64;
use crate::wait::{self, Refused};

/// The home bucket of a key in the root.
#[derive(Clone, Copy)]
pub(crate) struct Home<'g> {
    pub(crate) root: &'g Table,
    bucket: &'g [AtomicU64; BUCKET],
}

/// What to do if the variable exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// `get_or_alloc`: return it.
    Get,
    /// `alloc`: return an error.
    Refuse,
}

/// A value that is not in the store yet.
pub(crate) enum Unplaced<T> {
    /// It has no node.
    Value(T),
    /// It is in a node of its key, which has not claimed the key.
    Node(NonNull<Node>),
}

/// A node that has not claimed its key. Frees the node when dropped, but does not drop its payload.
pub(crate) struct Unclaimed<'c, R: Reclaim> {
    pub(crate) core: &'c Core<R>,
    pub(crate) node: NonNull<Node>,
}

impl<R: Reclaim> Drop for Unclaimed<'_, R> {
    fn drop(&mut self) {
        // SAFETY: the node was never shared.
        unsafe { Node::dealloc(self.core.memory(), self.node) };
    }
}

/// The result of an attempt to claim a key.
pub(crate) enum Claim<'g> {
    /// The key's slot in this table leads to the given node.
    New(&'g Table),
    Existing(NodeRef<'g>),
}

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
    /// Fast path: creates the variable of `key` from a value, if it does not exist and the first attempt succeeds. Does not
    /// look the key up first: callers mostly expect that it is absent.
    ///
    /// # Errors
    ///
    /// Returns the value, or the node it is in by now, for [`alloc_slow`](Self::alloc_slow).
    ///
    /// # Safety
    ///
    /// The key's entry holds `T`.
    #[inline(always)]
    pub(crate) unsafe fn try_alloc_fast<'g, T>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        value: T,
    ) -> Result<NodeRef<'g>, Unplaced<T>> {
        let home = self.prefetch_home(shield, key);
        let shard = self.shard();
        // So that the rest need not check it. A model has one shard for all threads.
        if !shard.is_own() && !cfg!(shadow_loom) {
            return Err(Unplaced::Value(value));
        }
        let Some(node) = Node::alloc::<R>(self.memory_of(shard), key.obj, key.entry, Payload::TYPED, Life::LIVE) else {
            return Err(Unplaced::Value(value));
        };
        self.note_birth(shield, node);
        // SAFETY: the node is new, and has room for a `T`, which its entry holds.
        unsafe { Node::value_ptr::<T>(node).write(value) };
        if self.try_claim_fast(shield, shard, home, key, node) {
            // SAFETY: claimed under the shield's guard.
            Ok(unsafe { self.created(shard, key, node) })
        } else {
            Err(Unplaced::Node(node))
        }
    }

    /// Prefetches and returns the home bucket of a key in the root: for an insert that has other work to do first.
    #[inline]
    pub(crate) fn prefetch_home<'g>(&'g self, shield: Shield<'g, R>, key: &Key<'_>) -> Home<'g> {
        let root = self.root(shield);
        let bucket = root.home_bucket(key.hash);
        prefetch(bucket);
        Home { root, bucket }
    }

    /// Fast path: claims the key for a new node if, in the key's home bucket in the root, no slot tells of a migration, and
    /// the key has a tomb there or nothing. Returns whether it was claimed.
    #[inline(always)]
    pub(crate) fn try_claim_fast(
        &self,
        shield: Shield<'_, R>,
        shard: Shard,
        Home { root, bucket }: Home<'_>,
        key: &Key<'_>,
        new: NonNull<Node>,
    ) -> bool {
        let mut scan = BucketScan::new(root, bucket, Tags::new(key.wide_tag));
        // As in `insert`: a thread that sees no successor yet claims in the root.
        if self.is_slow_only() || !self.is_last(root) {
            return false;
        }
        let link = Word::link(new, key.tag);
        if let Some(site) = scan.next(shield) {
            // L2.
            return key.tomb() == Some(site.word()) && site.replace(link);
        }
        let Some(site) = scan.empty() else {
            return false;
        };
        // L3.
        let won = self.claim_slot(shield, shard, site, key, link);
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

    /// Counts a variable that was created from a value.
    ///
    /// # Safety
    ///
    /// The node has claimed its key under a guard for `'g`.
    #[inline]
    unsafe fn created<'g>(&self, shard: Shard, key: &Key<'_>, node: NonNull<Node>) -> NodeRef<'g> {
        self.nodes.count_created(key.entry.counts(), shard);
        // SAFETY: published under the guard, so it can only be retired after the guard was made.
        unsafe { NodeRef::new(node) }
    }

    /// Creates the variable of `key` from a value, unless it exists. Returns the value in the error if it was not stored.
    ///
    /// # Safety
    ///
    /// The key's entry holds `T`. If there is a node, it was returned by [`try_alloc_fast`](Self::try_alloc_fast) for this key.
    pub(crate) unsafe fn alloc_slow<'g, T>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        if_exists: IfExists,
        left: Unplaced<T>,
    ) -> Result<NodeRef<'g>, AllocError<T>> {
        let node = match left {
            Unplaced::Node(node) => node,
            Unplaced::Value(value) => {
                let Some(node) = Node::alloc_slow(self.memory(), key.obj, key.entry, Payload::TYPED, Life::LIVE) else {
                    return Err(AllocError {
                        value,
                        error: StoreError::OutOfMemory,
                    });
                };
                self.note_birth(shield, node);
                // SAFETY: the node is new, and has room for a `T`, which its entry holds.
                unsafe { Node::value_ptr::<T>(node).write(value) };
                node
            }
        };
        match self.claim(shield, key, node, if_exists) {
            // SAFETY: claimed under the shield's guard.
            Ok(Claim::New(..)) => Ok(unsafe { self.created(self.shard(), key, node) }),
            Ok(Claim::Existing(existing)) => {
                // SAFETY: written above or by `try_alloc_fast`, and not claimed.
                drop(unsafe { self.take_back::<T>(key.entry, node) });
                Ok(existing)
            }
            Err(error) => {
                // SAFETY: written above or by `try_alloc_fast`, and not claimed.
                let value = unsafe { self.take_back::<T>(key.entry, node) };
                Err(AllocError { value, error })
            }
        }
    }

    /// Moves the value out of an unclaimed node, and frees the node.
    ///
    /// # Safety
    ///
    /// The node was never claimed, is of this entry, and holds a `T`.
    unsafe fn take_back<T>(&self, entry: &IdEntry, node: NonNull<Node>) -> T {
        let unclaimed = Unclaimed { core: self, node };
        // SAFETY: the caller guarantees that the node holds a `T`, which is read once.
        unsafe { Node::payload(unclaimed.node, entry).cast::<T>().read() }
    }

    /// Claims the key for a node, which the caller keeps unless the result is `New`. Waits for a constructor of the same key,
    /// if one runs.
    #[inline(never)]
    pub(crate) fn claim<'g>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        node: NonNull<Node>,
        if_exists: IfExists,
    ) -> Result<Claim<'g>, StoreError> {
        loop {
            match self.insert(shield, key, node).map_err(|_| StoreError::OutOfMemory)? {
                Inserted::Claimed(table) => return Ok(Claim::New(table)),
                Inserted::Exists(node) if if_exists == IfExists::Get => return Ok(Claim::Existing(node)),
                Inserted::Exists(_) => return Err(exists(key)),
                Inserted::Building(other) if is_abandoned(other) => self.fail_vanished(shield, key),
                // When it is LIVE or FAILED, try again.
                Inserted::Building(other) => wait::wait(other).map_err(|refused| {
                    let (obj, id) = (ObjAddr::new(key.obj), key.entry.id);
                    match refused {
                        Refused::Recursion => StoreError::Recursion { obj, id },
                        Refused::Cycle => StoreError::Cycle { obj, id },
                    }
                })?,
            }
        }
    }

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

    /// Claims or finds the key by whole buckets: if no slot tells of a migration, and the key has a live node, a tomb, or
    /// nothing. Returns `None` in all other cases; then the key is not claimed.
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
        let won = match self.scan_buckets(shield, root, key) {
            // L1.
            Scan::Live(node, _) => return Some(Inserted::Exists(node)),
            // L3.
            Scan::Absent(site) if site.word() == Word::EMPTY => {
                root.mark(root.home(key.hash));
                let won = self.claim_slot(shield, self.shard(), site, key, link);
                if won {
                    self.at(Stage::Claimed);
                }
                won
            }
            // The key's tomb (L2).
            Scan::Absent(site) => site.replace(link),
            Scan::Unclear => false,
        };
        won.then_some(Inserted::Claimed(root))
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
            Found::Own(site) => match site.kind() {
                owner @ (Kind::Link(node) | Kind::Frozen(node)) => {
                    match node.life().state() {
                        // A live node has the key.
                        State::Live => return Ok(Next::Done(Inserted::Exists(node))),
                        State::Building if self.planted(Defect::BuildingExists) => {
                            return Ok(Next::Done(Inserted::Exists(node)));
                        }
                        // A constructor has the key: it runs, or it waits for another one.
                        State::Building => return Ok(Next::Done(Inserted::Building(node))),
                        _ if self.planted(Defect::DeadExists) => return Ok(Next::Done(Inserted::Exists(node))),
                        // A dead node has left the key's slot to the next one.
                        _ => {}
                    }
                    let frozen = matches!(owner, Kind::Frozen(_));
                    if frozen && self.planted(Defect::FrozenDeadReused) {
                        return then(site.replace(link), Next::Done(Inserted::Claimed(table)));
                    }
                    if frozen {
                        // The key is closed here by the dead node's slot; if the exchange is lost, another thread has done it.
                        return then(site.replace(Word::MOVED), Next::Successor);
                    }
                    if migrating && self.planted(Defect::DeadLinkLeft) {
                        return Ok(Next::Successor);
                    }
                    if migrating {
                        // LINK becomes MOVED by way of FROZEN only; the next step does that.
                        return then(site.replace(site.word().frozen()), Next::Reload);
                    }
                    // The dead node's remover finds the slot changed, and retires the node (I5).
                    let won = site.replace(link);
                    if won && self.planted(Defect::ReplacerRetires) {
                        // SAFETY: none: this is what the defect breaks.
                        unsafe { self.retire(shield, node.as_ptr()) };
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
                    let won = site.replace(to);
                    if let (true, Kind::Record(record)) = (won, tomb) {
                        // SAFETY: this thread has taken the record out of the one slot that led to it (I7).
                        unsafe { self.retire(shield, record.as_ptr()) };
                    }
                    then(won, next)
                }
            },
            Found::Empty(site) => {
                let closed = (migrating && !self.planted(Defect::NoSeal))
                    || (probe.seen && !self.planted(Defect::ClaimAfterMoved));
                // The key must not be claimed here any more: SEALED closes it.
                if closed {
                    return then(site.replace(Word::SEALED), Next::Successor);
                }
                let root = self.root(shield);
                if root.generation < table.generation && !table.take_ticket() {
                    // No room for new keys before those of the old table are placed (P4).
                    self.finish(shield, root)?;
                    return Ok(Next::Again);
                }
                // The key's first slot in this table.
                table.mark(table.home(key.hash));
                if !self.claim_slot(shield, self.shard(), site, key, link) {
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

/// Returns whether the node is under construction by a thread that does not exist in this process, the child of a fork.
fn is_abandoned(node: NodeRef<'_>) -> bool {
    let life = node.life();
    life.state() == State::Building && fork::vanished(life.builder())
}

pub(crate) fn exists(key: &Key<'_>) -> StoreError {
    StoreError::Exists {
        obj: ObjAddr::new(key.obj),
        id: key.entry.id,
    }
}
