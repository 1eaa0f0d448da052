//! Retire lists: what was unlinked, from there until it is dropped and its memory given back.
//!
//! Each shard of threads has chains of objects, linked through a word of theirs, and a state. The chains come in twos, open
//! and waiting, and a few of them side by side are moved as one:
//!
//! ```text
//!   retire ──▶ open ──close──▶ waiting ──(grace period)──▶ drained: values dropped, memory freed
//!
//!   IDLE ──close──▶ PENDING(period) ──period over, drain──▶ IDLE        (TAKEN while somebody moves the chains)
//! ```
//!
//! - **R1** An object is in at most one chain, and its remover put it there after no slot led to it any more (I5).
//! - **R2** `waiting` only changes under TAKEN, which one thread holds at a time; TAKEN is left by that thread, or in the
//!   child of a fork by whoever finds that thread gone. `open` is only emptied under TAKEN.
//! - **R3** The grace period begins after the chains were closed, so G1 and G2 cover every node in them.
//! - **R4** Values are dropped by threads that drain or by the store's drop, never by readers and never in the middle of an
//!   insert or a migration: a backend only says that a period is over, and `retire` runs no code of others. But where a value
//!   with a destructor is freed, its id's function may be asked what it weighs, when it is on its list, and the thread no longer
//!   inside: so whatever that function does, panics or frees other values, finds the lists whole. The guard of who frees
//!   still protects the value.
//! - **R5** Batches have numbers. A close counts before it empties the first chain, and a batch is drained to its end, then
//!   counted as drained, before the next is closed. A push that finds a chain which a close has emptied acquires that
//!   close's count. So what was retired before a mark is in a batch that was counted by then, or in the next: if nothing is
//!   open at the mark, not in the next. Counts of nodes would not do: a close empties one chain after the other, so a
//!   later push may be in an earlier batch.
//! - **R6** A shard that is one thread's own takes in by plain stores where the backend has asymmetric barriers. The owner
//!   goes *inside*: it says so, and looks whether the shard is TAKEN. Who moves the chains for it takes the shard, and looks
//!   whether the owner is inside. One of the two sees the other, by the barriers between: then the owner exchanges, or the
//!   other passes by. So inside, the owner has `waiting` to itself too.
//! - **R7** An owner that retires an object takes one or two out of `waiting` that are ready (*amortised freeing*: Kim, Brown
//!   and Singh, *Are Your Epochs Too Epic? Batch Free Can Be Harmful*, PPoPP 2024). What owns nothing it gives back inside;
//!   what is to be dropped is *in hand* until it was, outside. A batch counts as drained when nothing of it waits and nothing
//!   is in hand, whoever finds that.
//!
//! Nothing of a store is handed to a backend, so a store that goes leaves nothing behind.
//!
//! How soon batches are closed and periods pushed on is a matter of [`pace`].
//!
//! Progress: `retire` is lock-free, but for what has a destructor: the first such of a store, since nothing of it waited, takes a
//! lock for a moment. A thread stopped under TAKEN or inside, or by the `Drop` of a value, keeps its shard's
//! garbage waiting, and nothing else. In the child of a fork, what a thread
//! that is gone was moving or dropping is lost, a batch for each such thread at most; all else goes on.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::chain::Chain;
#[cfg(any(test, shadow_loom))]
use super::exact::Exact;
use super::held::{Effort, Reached};
use super::list::{Heads, List};
use super::object::{Freed, Link, Objects};
use super::{Reclaim, pace};
use crate::mem::{Stride, prefetch, try_box};
use crate::shard::{MAX_SHARDS, PerShard, Shard};
#[cfg(any(test, shadow_loom))]
use crate::sync::stat;
use crate::sync::{Ordering, thread_local};

/// Bytes that do not wait for a batch to be full: of one object, or what open objects own beside their own.
pub(super) const LARGE: u64 = 1 << 16;

/// The most retirements of a shard between two looks at a period that has begun.
const POLL: usize = 64;

/// The retire lists of one store.
pub(crate) struct RetireLists<O: Objects> {
    /// The lists of shards that threads have for themselves, made when they retire their first object; and of that which the
    /// others share.
    pub(super) own: PerShard<CachePadded<List<O>>>,
    pub(super) shared: Box<List<O>>,
    /// Objects in `open` that make it worth closing.
    pub(super) batch: Stride,
    /// Retirements of a shard between two looks at a period that has begun: at least as often as a batch is full.
    poll: Stride,
    /// Who takes the objects back.
    pub(super) objects: Arc<O>,
    /// With an exact backend: what waits for a grace period of its own, and what was poisoned in place of freed.
    #[cfg(any(test, shadow_loom))]
    pub(super) exact: stat::Mutex<Exact>,
}

/// What an object makes full that was just retired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fills {
    Nothing,
    /// Of objects that may wait.
    Batch,
    /// By its size, or its weight.
    AtOnce,
}

/// What a shard has taken over.
#[derive(Clone, Copy)]
pub(crate) struct Retired {
    /// How many so far.
    pub(crate) count: u64,
    /// How many just now.
    pub(crate) added: u64,
    /// Whether [`RetireLists::after`] has something to do that is not usual.
    pub(super) more: bool,
}

/// How far a store's reclamation must come: see [`RetireLists::is_done`].
pub(crate) struct Mark {
    batches: [u64; MAX_SHARDS],
    /// Of what is held.
    held: [Reached; MAX_SHARDS],
    /// With an exact backend: what is retired and not yet reclaimed.
    #[cfg(any(test, shadow_loom))]
    limbo: Vec<usize>,
}

thread_local! {
    /// Whether this thread is dropping reclaimed values.
    #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro has no such form")]
    static RECLAIMING: Cell<bool> = Cell::new(false);
}

/// Whether this thread is inside a `Drop` that a store runs.
pub(crate) fn is_reclaiming() -> bool {
    RECLAIMING.with(Cell::get)
}

impl<O: Objects> RetireLists<O> {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize, batch: usize, objects: Arc<O>) -> Option<Arc<Self>> {
        let lists = Arc::new(Self {
            own: PerShard::new(shards),
            shared: try_box(List::new())?,
            batch: Stride::at_most(batch),
            poll: Stride::at_most(batch.min(POLL)),
            objects,
            #[cfg(any(test, shadow_loom))]
            exact: stat::Mutex::default(),
        });
        #[cfg(shadow_loom)] // It does not see how they are published.
        for shard in 0..shards - 1 {
            lists.list(Shard::owned(shard));
        }
        Some(lists)
    }

    /// This thread's.
    #[inline]
    pub(super) fn shard(&self) -> Shard {
        Shard::of(self.own.shards())
    }

    /// The list of a shard, if it is there.
    #[inline]
    pub(super) fn get(&self, shard: usize) -> Option<&List<O>> {
        if shard + 1 == self.own.shards() {
            return Some(&self.shared);
        }
        self.own.get(Shard::at(shard)).map(|list| &**list)
    }

    /// The list of the caller's shard; if there is no memory for it, that of the shared one.
    #[inline]
    pub(super) fn list(&self, shard: Shard) -> (&List<O>, Shard) {
        match self.get(shard.index) {
            Some(list) => (list, shard),
            None => self.make(shard),
        }
    }

    /// The shard whose list is used for this one: the shared one, if there was no memory for its own.
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

    /// All lists that are there, with their shards.
    pub(super) fn lists(&self) -> impl Iterator<Item = (usize, &List<O>)> {
        (0..self.own.shards()).filter_map(|shard| Some((shard, self.get(shard)?)))
    }

    /// Takes over an object that nothing leads to any more (R1). Runs no code of others; [`after`](Self::after) is to follow
    /// where it may. `soon` says that it has a destructor.
    ///
    /// # Safety
    ///
    /// Once per object, which has so many bytes, after it was unlinked for good; the caller is pinned.
    #[inline(always)]
    pub(crate) unsafe fn retire<R: Reclaim>(
        self: &Arc<Self>,
        object: NonNull<Link>,
        bytes: u64,
        soon: bool,
        shard: Shard,
    ) -> Retired {
        #[cfg(any(test, shadow_loom))]
        if R::EXACT {
            // SAFETY: the caller's.
            return unsafe { self.retire_exactly::<R>(object, bytes) };
        }
        // SAFETY: the caller's.
        unsafe {
            match if shard.is_own() { self.own.get(shard) } else { None } {
                Some(list) => self.retire_in::<R>((list, shard), object, bytes, soon),
                None => self.retire_on::<R>(object, bytes, soon, shard),
            }
        }
    }

    /// The same where the shard is not the thread's own, or has no list yet.
    ///
    /// # Safety
    ///
    /// As there.
    #[cold]
    #[inline(never)]
    unsafe fn retire_on<R: Reclaim>(
        self: &Arc<Self>,
        object: NonNull<Link>,
        bytes: u64,
        soon: bool,
        shard: Shard,
    ) -> Retired {
        // SAFETY: the caller's.
        unsafe { self.retire_in::<R>(self.list(shard), object, bytes, soon) }
    }

    /// The same, with the list.
    ///
    /// # Safety
    ///
    /// As there; the list is the shard's.
    #[inline(always)]
    unsafe fn retire_in<R: Reclaim>(
        self: &Arc<Self>,
        (list, shard): (&List<O>, Shard),
        object: NonNull<Link>,
        bytes: u64,
        soon: bool,
    ) -> Retired {
        shard.add(&list.retired_bytes, bytes);
        let count = shard.add(&list.retired, 1);
        let inside = if R::PUSHES_PLAINLY && shard.is_own() {
            list.enter()
        } else {
            None
        };
        let mut more = match inside {
            // SAFETY: the caller's; this thread is the owner, inside.
            Some(state) => unsafe {
                list.push_inside(object, object, count);
                let more = list.give_back_inside::<R>(&*self.objects, shard, state);
                list.leave();
                more
            },
            // SAFETY: the caller's.
            None => unsafe {
                list.push(object, object, count);
                list.is_ready::<R>()
            },
        };
        if self.poll.divides(count) || soon || bytes >= LARGE {
            let fills = match () {
                () if bytes >= LARGE => Fills::AtOnce,
                () if self.batch.divides(count) => Fills::Batch,
                () => Fills::Nothing,
            };
            let soon = soon.then_some(object);
            // SAFETY: the caller's guard protects the object, which is a variable if it has a destructor.
            more |= unsafe { self.push_on_in_time::<R>((list, shard), soon, fills) };
        }
        Retired { count, added: 1, more }
    }

    /// As [`retire`](Self::retire), for many at once.
    ///
    /// # Safety
    ///
    /// As there, for each.
    pub(crate) unsafe fn retire_chain<R: Reclaim>(self: &Arc<Self>, chain: Chain, soon: bool, shard: Shard) -> Retired {
        let (list, shard) = self.list(shard);
        let (Some(last), Some(first)) = (chain.last, NonNull::new(chain.first)) else {
            return Retired {
                count: list.retired.load(Ordering::Relaxed),
                added: 0,
                more: false,
            };
        };
        #[cfg(any(test, shadow_loom))]
        if R::EXACT {
            let (mut next, mut retired) = (chain.first, None);
            while let Some(object) = NonNull::new(next) {
                // SAFETY: the caller's; the chain is ours alone.
                unsafe {
                    next = object.as_ref().next();
                    retired = Some(self.retire_exactly::<R>(object, self.objects.bytes(object)));
                }
            }
            let added = chain.count;
            return retired.map_or_else(|| unreachable!("it has a first"), |last| Retired { added, ..last });
        }
        shard.add(&list.retired_bytes, chain.bytes);
        let count = shard.add(&list.retired, chain.count);
        let turn = count / self.batch.get();
        let inside = R::PUSHES_PLAINLY && shard.is_own() && list.enter().is_some();
        // SAFETY: the caller's; this thread is the owner, inside, if so.
        unsafe {
            if inside {
                list.push_inside(first, last, turn);
                list.leave();
            } else {
                list.push(first, last, turn);
            }
        }
        let full = self.batch.is_passed(count, chain.count) || chain.bytes >= LARGE;
        if list.add_weight(chain.weight) || full || soon {
            self.push_on_now::<R>((list, shard), soon);
        }
        Retired {
            count,
            added: chain.count,
            more: R::INTERVALS || list.is_ready::<R>(),
        }
    }

    /// Objects of one shard that make a batch.
    pub(crate) fn batch(&self) -> u64 {
        self.batch.get()
    }

    /// What `retire` could not do: drops what is ready, and looks after the shard of a thread that has fallen silent. Runs the
    /// `Drop` of values.
    #[inline]
    pub(crate) fn after<R: Reclaim>(&self, shard: Shard, retired: Retired) {
        if retired.more {
            self.drop_some::<R>(shard, retired);
        }
    }

    #[cold]
    #[inline(never)]
    fn drop_some<R: Reclaim>(&self, shard: Shard, retired: Retired) {
        let shard = self.used(shard);
        if R::PUSHES_PLAINLY && shard.is_own() && retired.added == 1 {
            self.drop_few::<R>(shard);
        } else {
            self.drain::<R>(shard.index);
        }
        if self.batch.is_passed(retired.count, retired.added) {
            self.look_after::<R>(shard, retired.count / self.batch.get(), 1);
            self.sift::<R>(shard.index, Effort::Few(2 * retired.added.max(self.batch.get())));
        } else {
            self.sift::<R>(shard.index, Effort::Few(2 * retired.added));
        }
    }

    /// Drops one or two of this thread's own shard that are ready. Whether there may be more.
    pub(super) fn drop_few<R: Reclaim>(&self, shard: Shard) -> bool {
        // A `Drop` that frees other variables must not nest deeper: what is ready stays for the next call.
        if is_reclaiming() {
            return false;
        }
        let Some(list) = self.get(shard.index) else {
            return false;
        };
        let Some(state) = list.enter() else { return false };
        // SAFETY: this thread is the owner, inside.
        let taken = unsafe { list.take_inside::<R>(state) };
        list.leave();
        let Some(taken) = taken else { return false };
        let _scope = ReclaimScope::enter();
        // SAFETY: taken just now, by this thread.
        let panics = unsafe { list.drop_in_hand(&*self.objects, shard, taken) };
        list.drop_panics.fetch_add(panics, Ordering::Relaxed);
        true
    }

    /// Begins a grace period for what is open, and pushes on the one that has begun.
    pub(super) fn push_on<R: Reclaim>(&self, shard: usize) {
        if self.get(shard).is_some_and(|list| !list.is_pending()) {
            self.close::<R>(shard);
        }
        pace::paid(R::drive);
    }

    /// Drops all that is ready in one shard, if nobody else is at it.
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
        if list.fresh() >= self.batch.get() {
            self.close::<R>(shard);
        }
    }

    /// Whether the shard may be another thread's own.
    pub(super) fn is_foreign<R: Reclaim>(&self, shard: usize) -> bool {
        // The last shard is nobody's own.
        R::PUSHES_PLAINLY && shard + 1 != self.own.shards() && self.shard().index != shard
    }

    /// Begins a grace period for what is open, if the shard is idle.
    pub(crate) fn close<R: Reclaim>(&self, shard: usize) {
        let Some(list) = self.get(shard) else { return };
        list.recover::<R>();
        list.close::<R>(self.is_foreign::<R>(shard));
    }

    /// Drops the objects of some chains and frees them: one of each by turns, and asks for the next.
    ///
    /// # Safety
    ///
    /// Nobody can reach the chains' objects any more.
    pub(super) unsafe fn reclaim<R: Reclaim>(&self, list: &List<O>, chains: Heads) {
        let _scope = ReclaimScope::enter();
        let shard = self.shard();
        let (mut objects, mut freed) = (0, 0);
        // What was last in each, as for the owner.
        let mut chains = chains.map(|first| (first, None));
        let mut left = true;
        while left {
            left = false;
            for (next, kind) in &mut chains {
                let Some(object) = NonNull::new(*next) else { continue };
                // SAFETY: the caller's; the chain is ours alone.
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

    /// Its bytes.
    ///
    /// # Safety
    ///
    /// Nobody can reach the object any more; once.
    pub(super) unsafe fn reclaim_one(&self, object: NonNull<Link>) -> u64 {
        // SAFETY: the caller's.
        let freed = unsafe { self.objects.reclaim(object, self.shard()) };
        self.count_panic(freed);
        freed.bytes
    }

    pub(super) fn count_panic(&self, freed: Freed) {
        if freed.panicked {
            self.shared.drop_panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Drops a value that never was on a list, as the store's drop does for those that live.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the object; once.
    pub(crate) unsafe fn reclaim_now(&self, object: NonNull<Link>) {
        let _scope = ReclaimScope::enter();
        // SAFETY: the caller's.
        unsafe { self.reclaim_one(object) };
    }

    /// What is retired now, to ask [`is_done`](Self::is_done) about it later.
    pub(crate) fn mark(&self) -> Mark {
        let mut batches = [0; MAX_SHARDS];
        // What is retired in a shard that is not there yet comes after the mark.
        for (shard, list) in self.lists() {
            batches[shard] = list.mark();
        }
        Mark {
            batches,
            held: [const { Reached::new() }; MAX_SHARDS],
            #[cfg(any(test, shadow_loom))]
            limbo: {
                let exact = crate::sync::lock_stat(&self.exact);
                [&exact.limbo[..], &exact.dropping].concat()
            },
        }
    }

    /// Whether all that had been retired at the mark has been dropped (R5).
    pub(crate) fn is_done(&self, mark: &Mark) -> bool {
        #[cfg(any(test, shadow_loom))]
        {
            let exact = crate::sync::lock_stat(&self.exact);
            let is_there = |object: &usize| exact.limbo.contains(object) || exact.dropping.contains(object);
            if mark.limbo.iter().any(is_there) {
                return false;
            }
        }
        // All are asked, each time: what one must have reached is settled when it is first asked after its mark.
        self.lists().fold(true, |done, (shard, list)| {
            let here =
                list.is_done(mark.batches[shard]) && list.held().is_none_or(|held| held.is_past(&mark.held[shard]));
            done & here
        })
    }

    /// Drops all that is retired. A callback that is still owed finds its shard empty.
    ///
    /// # Safety
    ///
    /// No guard protects anything of this store any more, and no operation runs.
    pub(crate) unsafe fn drain_all<R: Reclaim>(&self) {
        for (_, list) in self.lists() {
            // A `Drop` may free variables of other stores, never of this one.
            for chains in list.take_all() {
                // SAFETY: the caller's.
                unsafe { self.reclaim::<R>(list, chains) };
            }
        }
        #[cfg(any(test, shadow_loom))]
        // SAFETY: the caller's.
        unsafe {
            self.drain_exact();
        }
    }
}

/// Marks the thread as reclaiming, and restores what was on the way out.
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
