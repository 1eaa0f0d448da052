//! Creating variables: from a value, or by a constructor that runs exactly once per variable.
//!
//! A value is written into a node before the node claims its key. With a constructor, the key is claimed with a node under
//! construction, the constructor runs with no lock held, and then the node is published to all threads at once. Threads that
//! want to create the same variable wait, parked ([`crate::wait`]); `get` and `free` find nothing meanwhile and do not wait.
//!
//! - **C1** The constructor runs only after its node has claimed the key, and a key has at most one node that is LIVE or
//!   BUILDING (I1): so at most one constructor per variable runs at a time, and none while the variable exists.
//! - **C2** The value is written before LIVE is published; readers read LIVE before the value (O3).
//! - **C3** If the constructor fails or panics, the node becomes FAILED, waiters wake and start over, and the builder unlinks
//!   and retires the node as a remover would (I3, I5). Nothing is left behind.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::ObjAddr;
use crate::entry::IdEntry;
use crate::error::{AllocError, CtorError, StoreError};
use crate::fork;
use crate::reclaim::Reclaim;
use crate::shard::Shard;
use crate::sync::stat::Ordering;
use crate::sync::thread_token;
use crate::table::array::Table;
use crate::table::insert::Inserted;
use crate::table::key::Key;
use crate::table::node::{Life, Node, State};
use crate::table::{Core, NodeRef, Shield};
use crate::wait::{self, Refused};

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
struct Unclaimed<'c, R: Reclaim> {
    core: &'c Core<R>,
    node: NonNull<Node>,
}

impl<R: Reclaim> Drop for Unclaimed<'_, R> {
    fn drop(&mut self) {
        // SAFETY: the node was never shared.
        unsafe { Node::dealloc(self.core.memory(), self.node) };
    }
}

/// The result of an attempt to claim a key.
enum Claim<'g> {
    /// The key's slot in this table leads to the given node.
    New(&'g Table),
    Existing(NodeRef<'g>),
}

impl<R: Reclaim> Core<R> {
    /// Fast path: creates the variable of `key` from a value, if it does not exist and the first attempt succeeds. Does not
    /// look the key up first: callers mostly expect that it is absent.
    ///
    /// # Errors
    ///
    /// Returns the value, or the node it is in by now, for [`alloc_slow`](Self::alloc_slow).
    #[inline(always)]
    pub(crate) fn try_alloc_fast<'g, T>(
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
        let Some(node) = Node::alloc::<R>((&self.heap, shard), key.obj, key.entry, None, false, Life::LIVE) else {
            return Err(Unplaced::Value(value));
        };
        self.note_birth(shield, node);
        // SAFETY: the node is new; its entry holds `T` (the callers bound or looked up the id with `T`), and `T` is written
        // before any other thread reads it.
        unsafe { Node::value_ptr::<T>(node).write(value) };
        if self.try_claim_fast(shield, shard, home, key, node) {
            Ok(self.created(shield, shard, key, node))
        } else {
            Err(Unplaced::Node(node))
        }
    }

    /// Creates the variable of `key` from a value, unless it exists. Returns the value in the error if it was not stored.
    pub(crate) fn alloc_slow<'g, T>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
        if_exists: IfExists,
        left: Unplaced<T>,
    ) -> Result<NodeRef<'g>, AllocError<T>> {
        let node = match left {
            Unplaced::Node(node) => node,
            Unplaced::Value(value) => {
                let Some(node) = Node::alloc_slow(self.memory(), key.obj, key.entry, None, false, Life::LIVE) else {
                    return Err(AllocError {
                        value,
                        error: StoreError::OutOfMemory,
                    });
                };
                self.note_birth(shield, node);
                // SAFETY: as in `try_alloc_fast`.
                unsafe { Node::value_ptr::<T>(node).write(value) };
                node
            }
        };
        match self.claim(shield, key, node, if_exists) {
            Ok(Claim::New(..)) => Ok(self.created(shield, self.shard(), key, node)),
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

    /// Counts a variable that was created from a value.
    #[inline]
    fn created<'g>(&self, shield: Shield<'g, R>, shard: Shard, key: &Key<'_>, node: NonNull<Node>) -> NodeRef<'g> {
        self.nodes.count_created(key.entry.counts(), shard);
        NodeRef::new(shield, node)
    }

    /// Creates the variable of `key` by a constructor, unless it exists. `raw` is the layout of an untyped one. Looks the key
    /// up first if finding it is an error; in the other case the caller has done so.
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
        let home = self.prefetch_home(shield, key);
        let (shard, life) = (self.shard(), Life::building(thread_token()));
        let node = Node::alloc::<R>((&self.heap, shard), key.obj, key.entry, raw, zeroed, life);
        let node = node.ok_or(StoreError::OutOfMemory)?;
        self.note_birth(shield, node);
        let unclaimed = Unclaimed { core: self, node };
        let table = if self.try_claim_fast(shield, shard, home, key, node) {
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
}

/// Returns whether the node is under construction by a thread that does not exist in this process, the child of a fork.
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

/// A running constructor. If it is dropped unfinished (error or panic), it takes the node back (C3).
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
