//! Retire lists: unlinked objects, until their values are dropped and their memory is freed.
//!
//! Each shard has a state and two sets of chains, open and waiting. A chain links objects through a word of theirs;
//! each set is a few chains side by side, which are moved as one:
//!
//! ```text
//!   retire ──▶ open ──close──▶ waiting ──(grace period)──▶ drained: values dropped, memory freed
//!
//!   IDLE ──close──▶ PENDING(period) ──period over, drain──▶ IDLE        (TAKEN while a thread moves the chains)
//! ```
//!
//! - **R1** An object is in at most one chain, and its remover pushed it after no slot led to it any more (I5).
//! - **R2** `waiting` changes only under TAKEN, which one thread holds at a time. TAKEN is left by that thread or, in
//!   the child of a fork, by a thread that finds its holder gone. `open` is emptied only under TAKEN.
//! - **R3** The grace period begins after the chains were closed, so G1 and G2 cover every node in them.
//! - **R4** Values are dropped by threads that drain or by the store's drop, never by readers and never in the middle
//!   of an insert or a migration: a backend only reports that a period is over, and `retire` runs no foreign code. One
//!   exception: where a value with a destructor is freed, the function of its id may be called to weigh it, after the
//!   value was pushed and the thread has left the inside of the shard. Whatever that function does (panic, free other
//!   values), it finds the lists consistent. The guard of the freeing thread still protects the value.
//! - **R5** Batches are numbered. A close is counted before it empties the first chain, and a batch is drained to its
//!   end, then counted as drained, before the next is closed. A push that finds a chain emptied by a close acquires
//!   that close's count. So what was retired before a mark is in a batch that was counted by then, or in the next one;
//!   if nothing is open at the mark, not in the next one. Counting nodes would not do: a close empties one chain after
//!   the other, so a later push may be in an earlier batch.
//! - **R6** A shard owned by one thread accepts plain stores where the backend has asymmetric barriers. The owner goes
//!   *inside*: it announces this, then checks whether the shard is TAKEN. A thread that moves the chains in its place
//!   takes the shard, then checks whether the owner is inside. Because of the barriers in between, at least one of the
//!   two sees the other: then the owner falls back to compare-exchange, or the other thread leaves the shard alone. So
//!   inside, the owner also has exclusive access to `waiting`.
//! - **R7** An owner that retires an object takes one or two ready objects out of `waiting` (*amortised freeing*: Kim,
//!   Brown and Singh, *Are Your Epochs Too Epic? Batch Free Can Be Harmful*, PPoPP 2024). Objects that own nothing are
//!   freed inside; objects with something to drop are *in hand* until they were dropped, outside. A batch counts as
//!   drained when none of it waits and none of it is in hand, whichever thread finds this.
//!
//! No part of a store is handed to a backend, so dropping a store leaves nothing behind.
//!
//! [`pace`] decides how soon batches are closed and periods advanced.
//!
//! Progress: `retire` is lock-free, except for objects with a destructor: the first such object of a store since
//! nothing of the store waited takes a lock briefly. A thread stopped under TAKEN, or inside, or in the `Drop` of a
//! value, delays the garbage of its shard and nothing else. In the child of a fork, objects that a vanished thread was
//! moving or dropping are lost, at most a batch for each such thread; everything else continues.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::held::Reached;
use super::limbo::{Limbo, Pending};
use super::list::{Heads, List};
use super::object::{Freed, Link, Objects};
use super::{Reclaim, pace};
use crate::mem::{Stride, prefetch, try_box};
use crate::shard::{MAX_SHARDS, PerShard, Shard};
use crate::sync::{Ordering, thread_local};

/// The most retirements of a shard between two checks of a pending period.
const POLL: usize = 64;

/// The retire lists of one store.
pub(crate) struct RetireLists<O: Objects> {
    /// The lists of shards owned by one thread, each made when the thread retires its first object. The list of the
    /// shared shard is `shared`.
    pub(super) own: PerShard<CachePadded<List<O>>>,
    pub(super) shared: Box<List<O>>,
    /// The number of objects in `open` at which it is closed.
    pub(super) batch: Stride,
    /// Retirements of a shard between two checks of a pending period: at least as often as a batch is full.
    pub(super) poll: Stride,
    /// Frees the objects.
    pub(super) objects: Arc<O>,
    /// The objects of an exact backend.
    pub(super) limbo: Limbo,
}

/// The result of retiring objects in a shard.
#[derive(Clone, Copy)]
pub(crate) struct Retired {
    /// Objects retired in the shard so far.
    pub(crate) count: u64,
    /// Objects retired by this call.
    pub(crate) added: u64,
    /// Whether [`RetireLists::follow_up`] has anything to do; usually it has not.
    pub(super) more: bool,
}

impl Retired {
    /// The result of retiring one object.
    pub(super) fn one(count: u64, more: bool) -> Self {
        Self { count, added: 1, more }
    }
}

/// A point that the reclamation of a store has to reach: see [`RetireLists::is_done`].
pub(crate) struct Mark {
    batches: [u64; MAX_SHARDS],
    /// The periods that the held objects of each shard have to be past.
    held: [Reached; MAX_SHARDS],
    limbo: Pending,
}

thread_local! {
    /// Whether this thread is dropping reclaimed values.
    #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro has no such form")]
    static RECLAIMING: Cell<bool> = Cell::new(false);
}

/// Returns whether this thread is inside a `Drop` that a store runs.
pub(crate) fn is_reclaiming() -> bool {
    RECLAIMING.with(Cell::get)
}

impl<O: Objects> RetireLists<O> {
    /// Returns `None` if allocation fails.
    pub(crate) fn new(shards: usize, batch: usize, objects: Arc<O>) -> Option<Arc<Self>> {
        let lists = Arc::new(Self {
            own: PerShard::new(shards),
            shared: try_box(List::new())?,
            batch: Stride::at_most(batch),
            poll: Stride::at_most(batch.min(POLL)),
            objects,
            limbo: Limbo::default(),
        });
        if crate::sync::LOOM {
            // It does not see how they are published.
            for shard in 0..shards - 1 {
                lists.list(Shard::at(shard));
            }
        }
        Some(lists)
    }

    /// Returns this thread's shard.
    #[inline]
    pub(super) fn shard(&self) -> Shard {
        Shard::of(self.own.shards())
    }

    /// Returns the list of a shard, if it has been made.
    #[inline]
    pub(super) fn get(&self, shard: usize) -> Option<&List<O>> {
        if shard + 1 == self.own.shards() {
            return Some(&self.shared);
        }
        self.own.get(Shard::at(shard)).map(|list| &**list)
    }

    /// Returns the list of the caller's shard, made if necessary, or the shared one if allocation fails.
    #[inline]
    pub(super) fn list(&self, shard: Shard) -> (&List<O>, Shard) {
        match self.get(shard.index) {
            Some(list) => (list, shard),
            None => self.make(shard),
        }
    }

    /// Returns the shard whose list this one uses: the shared shard, if its own list could not be allocated.
    pub(super) fn used(&self, shard: Shard) -> Shard {
        match self.get(shard.index) {
            Some(_) => shard,
            None => Shard::shared(self.own.shards()),
        }
    }

    #[cold]
    fn make(&self, shard: Shard) -> (&List<O>, Shard) {
        match self.own.make(shard, || CachePadded::new(List::new())) {
            Some(list) => (list, shard),
            None => (&self.shared, Shard::shared(self.own.shards())),
        }
    }

    /// Returns all lists that have been made, with their shards.
    pub(super) fn lists(&self) -> impl Iterator<Item = (usize, &List<O>)> {
        (0..self.own.shards()).filter_map(|shard| Some((shard, self.get(shard)?)))
    }

    /// Returns the number of objects of one shard that make a batch.
    pub(crate) fn batch(&self) -> u64 {
        self.batch.get()
    }

    /// Drops one or two ready objects of a shard. Returns whether there may be more.
    ///
    /// # Safety
    ///
    /// The shard is this thread's own.
    pub(super) unsafe fn drop_few<R: Reclaim>(&self, shard: Shard) -> bool {
        // A `Drop` that frees other variables must not nest deeper: ready objects stay for the next call.
        if is_reclaiming() {
            return false;
        }
        let Some(list) = self.get(shard.index) else {
            return false;
        };
        // SAFETY: the caller guarantees that the shard is this thread's own, and it is not inside: nothing else is called there.
        let Some(state) = (unsafe { list.enter() }) else {
            return false;
        };
        // SAFETY: this thread is the owner, inside, and `state` is from `enter`.
        let taken = unsafe { list.take_inside::<R>(state) };
        list.leave();
        let Some(taken) = taken else { return false };
        let _scope = ReclaimScope::enter();
        // SAFETY: `taken` was taken just now, by this thread.
        let panics = unsafe { list.drop_in_hand(&*self.objects, shard, taken) };
        list.drop_panics.fetch_add(panics, Ordering::Relaxed);
        true
    }

    /// Begins a grace period for the open objects unless one is pending, and advances the backend.
    pub(super) fn advance<R: Reclaim>(&self, shard: usize) {
        if self.get(shard).is_some_and(|list| !list.is_pending()) {
            self.close::<R>(shard);
        }
        pace::paced(R::drive);
    }

    /// Drops all ready objects of one shard, unless another thread is doing so.
    #[inline]
    pub(crate) fn drain<R: Reclaim>(&self, shard: usize) {
        if let Some(list) = self.get(shard)
            && list.is_ready::<R>()
        {
            self.drain_ready::<R>(shard, list);
        }
    }

    #[cold]
    fn drain_ready<R: Reclaim>(&self, shard: usize, list: &List<O>) {
        // As in `drop_few`.
        if is_reclaiming() {
            return;
        }
        let Some((chains, taken)) = list.take_ready::<R>(self.is_foreign::<R>(shard)) else {
            return;
        };
        // SAFETY: the grace period of these chains is over (R3, G1), and they were taken once (R2).
        unsafe { self.reclaim::<R>(list, chains) };
        list.drained(taken);
        if list.unheld() >= self.batch.get() {
            self.close::<R>(shard);
        }
    }

    /// Returns whether the shard may be another thread's own.
    pub(super) fn is_foreign<R: Reclaim>(&self, shard: usize) -> bool {
        // The last shard is shared: no thread owns it.
        R::PUSHES_PLAINLY && shard + 1 != self.own.shards() && self.shard().index != shard
    }

    /// Begins a grace period for the open objects, if the shard is idle.
    pub(crate) fn close<R: Reclaim>(&self, shard: usize) {
        let Some(list) = self.get(shard) else { return };
        list.recover::<R>();
        list.close::<R>(self.is_foreign::<R>(shard));
    }

    /// Drops the objects of some chains and frees them, round-robin, with a prefetch of each chain's next object.
    ///
    /// # Safety
    ///
    /// No thread can reach the objects of the chains any more, and the caller owns the chains.
    pub(super) unsafe fn reclaim<R: Reclaim>(&self, list: &List<O>, chains: Heads) {
        let _scope = ReclaimScope::enter();
        let shard = self.shard();
        let (mut objects, mut freed) = (0, 0);
        // With the kind of each chain's last object, as an owner has in `kinds`.
        let mut chains = chains.map(|first| (first, None));
        let mut left = true;
        while left {
            left = false;
            for (next, kind) in &mut chains {
                let Some(object) = NonNull::new(*next) else { continue };
                // SAFETY: the caller guarantees that the objects are unreachable, and no other thread has the chain.
                unsafe {
                    *next = object.as_ref().next();
                    prefetch(*next);
                    if let Some(bytes) = self.objects.free_plain::<R>(object, shard, kind) {
                        freed += bytes;
                    } else {
                        freed += self.reclaim_one(object);
                    }
                }
                objects += 1;
                left = true;
            }
        }
        list.reclaimed_bytes.fetch_add(freed, Ordering::Relaxed);
        list.reclaimed.fetch_add(objects, Ordering::Relaxed);
        self.objects.settle(shard);
    }

    /// Drops and frees one object, and returns its size in bytes.
    ///
    /// # Safety
    ///
    /// No thread can reach the object any more; at most once per object.
    pub(super) unsafe fn reclaim_one(&self, object: NonNull<Link>) -> u64 {
        // SAFETY: guaranteed by the caller.
        let freed = unsafe { self.objects.reclaim(object, self.shard()) };
        self.count_panic(freed);
        freed.bytes
    }

    pub(super) fn count_panic(&self, freed: Freed) {
        if freed.panicked {
            self.shared.drop_panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Drops an object that was never retired, as the store's drop does with live variables.
    ///
    /// # Safety
    ///
    /// No other thread can reach the object; at most once per object.
    pub(crate) unsafe fn reclaim_now(&self, object: NonNull<Link>) {
        let _scope = ReclaimScope::enter();
        // SAFETY: guaranteed by the caller.
        unsafe { self.reclaim_one(object) };
    }

    /// Returns a mark for the objects that are retired now, for [`is_done`](Self::is_done).
    pub(crate) fn mark(&self) -> Mark {
        let mut batches = [0; MAX_SHARDS];
        // Objects retired in a shard that has no list yet come after the mark.
        for (shard, list) in self.lists() {
            batches[shard] = list.mark();
        }
        Mark {
            batches,
            held: [const { Reached::new() }; MAX_SHARDS],
            limbo: self.limbo.pending(),
        }
    }

    /// Returns whether all objects retired before the mark have been dropped (R5).
    pub(crate) fn is_done(&self, mark: &Mark) -> bool {
        if !self.limbo.is_done(&mark.limbo) {
            return false;
        }
        // No short circuit: the first check after the mark settles which period a shard's held objects must have
        // reached.
        self.lists().fold(true, |done, (shard, list)| {
            let here =
                list.is_done(mark.batches[shard]) && list.held.get().is_none_or(|held| held.is_past(&mark.held[shard]));
            done & here
        })
    }
}

/// Marks the thread as reclaiming, and restores the former value when dropped.
pub(super) struct ReclaimScope(bool);

impl ReclaimScope {
    pub(super) fn enter() -> Self {
        Self(RECLAIMING.with(|reclaiming| reclaiming.replace(true)))
    }
}

impl Drop for ReclaimScope {
    fn drop(&mut self) {
        RECLAIMING.with(|reclaiming| reclaiming.set(self.0));
    }
}
