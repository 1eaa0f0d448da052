//! The slow path: a constructor that runs exactly once per variable that comes to exist.
//!
//! The key is claimed with a node under construction, the constructor runs with no lock held, then the node is published
//! at once to everybody. Who wants to create the same variable waits, parked ([`crate::wait`]); `get` and `free` find
//! nothing meanwhile and wait for nobody.
//!
//! - **C1** The constructor runs only after its node has claimed the key, and a key has at most one node that is LIVE or
//!   BUILDING (I1): so one constructor per variable at a time, and none beside a live one.
//! - **C2** The value is written before LIVE is published; readers read LIVE before the value (O3).
//! - **C3** If the constructor fails or panics, the node becomes FAILED, waiters wake and start over, and the builder
//!   unlinks and retires the node as a remover would (I3, I5). Nothing is left behind.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::ObjAddr;
use crate::error::{AllocError, CtorError, StoreError};
use crate::fork;
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::shard::Shard;
use crate::sync::stat::Ordering;
use crate::sync::thread_token;
use crate::table::array::Table;
use crate::table::insert::Inserted;
use crate::table::node::{Life, Node, State};
use crate::table::probe::Key;
use crate::table::{Core, NodeRef, Shield};
use crate::wait::{self, Refused};

/// What to do when the variable exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// `get_or_alloc`: it is the answer.
    Get,
    /// `alloc`: it is an error.
    Refuse,
}

/// A value on its way into the store.
pub(crate) enum Unplaced<T> {
    /// It has no node yet.
    Value(T),
    /// In a node of its key that has not claimed it.
    Node(NonNull<Node>),
}

/// A node that has not claimed its key: given back when dropped, its payload not.
struct Unclaimed<'c, R: Reclaim> {
    core: &'c Core<R>,
    node: NonNull<Node>,
}

impl<R: Reclaim> Drop for Unclaimed<'_, R> {
    fn drop(&mut self) {
        // SAFETY: nobody else knows the node.
        unsafe { Node::dealloc(self.core.memory(), self.node) };
    }
}

/// What an attempt to claim a key led to.
enum Claim<'g> {
    /// The node given is in this table.
    New(&'g Table),
    Existing(NodeRef<'g>),
}

impl<R: Reclaim> Core<R> {
    /// The variable of `key`, made from a value, in the most usual case: it does not exist, and nothing is in its way. Does
    /// not look before it inserts: who asks mostly knows.
    ///
    /// # Errors
    ///
    /// What there is by then, for [`alloc_on`](Self::alloc_on) to go on with.
    #[inline(always)]
    pub(crate) fn alloc_at_once<'g, T>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        value: T,
    ) -> Result<NodeRef<'g>, Unplaced<T>> {
        let home = self.home_ahead(shield, key);
        let shard = self.shard();
        // So that the rest need not ask. A model has one shard for all.
        if !shard.is_own() && !cfg!(shadow_loom) {
            return Err(Unplaced::Value(value));
        }
        let Some(node) = Node::alloc::<R>((&self.heap, shard), key.obj, key.entry, None, false, Life::LIVE) else {
            return Err(Unplaced::Value(value));
        };
        self.note_birth(shield, node);
        // SAFETY: the node is new; its entry holds `T` (the callers bound or looked up the id with `T`), and `T` is written
        // before anyone reads it.
        unsafe { Node::value_ptr::<T>(node).write(value) };
        if self.claim_at_once(shield, shard, home, key, node) {
            Ok(self.created(shield, shard, key, node))
        } else {
            Err(Unplaced::Node(node))
        }
    }

    /// The variable of `key`, made from a value if it does not exist, in any case. The value comes back if it was not
    /// stored.
    pub(crate) fn alloc_on<'g, T>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        if_exists: IfExists,
        left: Unplaced<T>,
    ) -> Result<NodeRef<'g>, AllocError<T>> {
        let node = match left {
            Unplaced::Node(node) => node,
            Unplaced::Value(value) => {
                let Some(node) = Node::alloc_on(self.memory(), key.obj, key.entry, None, false, Life::LIVE) else {
                    return Err(AllocError {
                        value,
                        error: StoreError::OutOfMemory,
                    });
                };
                self.note_birth(shield, node);
                // SAFETY: as in `alloc_at_once`.
                unsafe { Node::value_ptr::<T>(node).write(value) };
                node
            }
        };
        match self.claim(shield, key, node, if_exists) {
            Ok(Claim::New(..)) => Ok(self.created(shield, self.shard(), key, node)),
            Ok(Claim::Existing(existing)) => {
                // SAFETY: written above or before, and not claimed.
                drop(unsafe { self.take_back::<T>(key.entry, node) });
                Ok(existing)
            }
            Err(error) => {
                // SAFETY: as above.
                let value = unsafe { self.take_back::<T>(key.entry, node) };
                Err(AllocError { value, error })
            }
        }
    }

    /// Counts a variable that exists from the start.
    #[inline]
    fn created<'g>(&self, shield: Shield<'g, R>, shard: Shard, key: &Key<'_>, node: NonNull<Node>) -> NodeRef<'g> {
        self.nodes.count_created(key.entry.counts(), shard);
        NodeRef::new(shield, node)
    }

    /// The variable of `key`, made by a constructor if it does not exist. `raw` is the layout of an untyped one. Looks for
    /// it first where finding it is an error; who wants it has looked.
    ///
    /// # Safety
    ///
    /// When `construct` returns `Ok`, it has initialised the payload of the node it was given, of the entry's type.
    pub(crate) unsafe fn alloc_constructed<'g, E>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        if_exists: IfExists,
        (raw, zeroed): (Option<Layout>, bool),
        construct: impl FnOnce(NonNull<Node>) -> Result<(), E>,
    ) -> Result<NodeRef<'g>, CtorError<E>> {
        if if_exists == IfExists::Refuse && self.find(shield, key.obj, key.entry).is_some() {
            return Err(exists(key).into());
        }
        let home = self.home_ahead(shield, key);
        let (shard, life) = (self.shard(), Life::building(thread_token()));
        let node = Node::alloc::<R>((&self.heap, shard), key.obj, key.entry, raw, zeroed, life);
        let node = node.ok_or(StoreError::OutOfMemory)?;
        self.note_birth(shield, node);
        let unclaimed = Unclaimed { core: self, node };
        let table = if self.claim_at_once(shield, shard, home, key, node) {
            home.0
        } else {
            match self.claim(shield, key, node, if_exists)? {
                Claim::New(table) => table,
                Claim::Existing(existing) => return Ok(existing),
            }
        };
        std::mem::forget(unclaimed);
        let mut construction = Construction {
            core: self,
            shield,
            shard,
            node: NodeRef::new(shield, node),
            entry: key.entry,
            table,
            finished: false,
        };
        construct(node).map_err(CtorError::Ctor)?;
        construction.finished = true;
        let node = construction.node;
        // C2.
        wait::publish(node, Life::LIVE);
        self.nodes.count_created(key.entry.counts(), shard);
        drop(construction);
        Ok(node)
    }

    /// Reads the value back out of an unclaimed node, and gives the node's memory back.
    ///
    /// # Safety
    ///
    /// The node was never claimed, is of this entry, and holds a `T`.
    unsafe fn take_back<T>(&self, entry: &IdEntry, node: NonNull<Node>) -> T {
        let unclaimed = Unclaimed { core: self, node };
        // SAFETY: the caller's.
        unsafe { Node::payload(unclaimed.node, entry).cast::<T>().read() }
    }

    /// Claims the key for a node, which stays the caller's unless the answer is `New`. Waits for a constructor of the
    /// same key, if one runs.
    #[inline(never)]
    fn claim<'g>(
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
                // On LIVE or FAILED, look again.
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
}

/// Whether the node is under construction by a thread that a fork left behind.
fn is_abandoned(node: NodeRef<'_>) -> bool {
    let life = node.life();
    life.state() == State::Building && fork::vanished(life.builder())
}

fn exists(key: &Key<'_>) -> StoreError {
    StoreError::Exists {
        obj: ObjAddr::new(key.obj),
        id: key.entry.id,
    }
}

/// A running constructor. Dropped unfinished (error or panic), it takes the node back (C3).
struct Construction<'g, 'k, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    shard: Shard,
    node: NodeRef<'g>,
    entry: &'k IdEntry,
    table: &'g Table,
    finished: bool,
}

impl<R: Reclaim> Drop for Construction<'_, '_, R> {
    fn drop(&mut self) {
        if !self.finished {
            self.core.ctor_failed.fetch_add(1, Ordering::Relaxed);
            wait::publish(self.node, Life::FAILED);
            self.core.unlink_and_retire(
                self.shield,
                self.shard,
                (self.node, self.entry),
                self.table,
                self.table,
                None,
            );
        }
    }
}
