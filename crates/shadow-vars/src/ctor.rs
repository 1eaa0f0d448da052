//! Constructors: creating a variable by a function that runs exactly once per variable.
//!
//! The key is claimed with a node under construction, the constructor runs with no lock held, and then the node is published
//! to all threads at once. Threads that want to create the same variable wait, parked ([`crate::wait`]); `get` and `free` find
//! nothing meanwhile and do not wait. From a value, variables are created by [`crate::table::insert`] alone.
//!
//! ```text
//! claim        the key with a BUILDING node, as an insert does     → the variable exists: it, or an error
//! construct    the caller's function writes the payload            → fails or panics: FAILED, wake, unlink, retire  (C3)
//! publish      BUILDING → LIVE, and wake                           (C2)
//! ```
//!
//! - **C1** The constructor runs only after its node has claimed the key, and a key has at most one node that is LIVE or
//!   BUILDING (I1): so at most one constructor per variable runs at a time, and none while the variable exists.
//! - **C2** The value is written before LIVE is published; readers read LIVE before the value (O3).
//! - **C3** If the constructor fails or panics, the node becomes FAILED, waiters wake and start over, and the builder unlinks
//!   and retires the node as a remover would (I3, I5). Nothing is left behind.

use std::ptr::NonNull;

use crate::entry::IdEntry;
use crate::error::{CtorError, StoreError};
use crate::reclaim::Reclaim;
use crate::shard::Shard;
use crate::sync::stat::Ordering;
use crate::sync::thread_token;
use crate::table::array::Table;
use crate::table::insert::{Claim, IfExists, Unclaimed, exists};
use crate::table::key::Key;
use crate::table::node::{Life, Node};
use crate::table::node_alloc::Payload;
use crate::table::remove::Trail;
use crate::table::{Core, NodeRef, Shield};
use crate::wait;

impl<R: Reclaim> Core<R> {
    /// Creates the variable of `key` by a constructor, unless it exists. Looks the key
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
        payload: Payload,
        construct: impl FnOnce(NonNull<Node>) -> Result<(), E>,
    ) -> Result<NodeRef<'g>, CtorError<E>> {
        if if_exists == IfExists::Refuse && self.find(shield, key.obj, key.entry).is_some() {
            return Err(exists(key).into());
        }
        let home = self.prefetch_home(shield, key);
        let (shard, life) = (self.shard(), Life::building(thread_token()));
        let node = Node::alloc::<R>(self.memory_of(shard), key.obj, key.entry, payload, life);
        let node = node.ok_or(StoreError::OutOfMemory)?;
        self.note_birth(shield, node);
        let unclaimed = Unclaimed { core: self, node };
        let table = if self.try_claim_fast(shield, shard, home, key, node) {
            home.root
        } else {
            match self.claim(shield, key, node, if_exists)? {
                Claim::New(table) => table,
                Claim::Existing(existing) => return Ok(existing),
            }
        };
        std::mem::forget(unclaimed);
        // SAFETY: published under the shield's guard, and retired after that at the earliest.
        let made = unsafe { NodeRef::new(node) };
        let mut construction = Construction {
            core: self,
            shield,
            shard,
            node: made,
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
            let trail = Trail::new(self.table, self.table);
            // SAFETY: this thread is the node's builder, and has just ended its life; the entry is the one it was made for.
            unsafe {
                self.core
                    .unlink_and_retire(self.shield, self.shard, self.node, self.entry, trail);
            }
        }
    }
}
