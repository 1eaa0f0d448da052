//! Retire lists: what was unlinked, from there until it is dropped and its memory given back.
//!
//! Each shard of threads has chains of nodes, linked through their life words, and a state. The chains come in twos, open
//! and waiting, and a few of them side by side are moved as one:
//!
//! ```text
//!   retire ──▶ open ──close──▶ waiting ──(grace period)──▶ drained: values dropped, memory freed
//!
//!   IDLE ──close──▶ PENDING(period) ──period over, drain──▶ IDLE        (TAKEN while somebody moves the chains)
//! ```
//!
//! - **R1** A node is in at most one chain, and its remover put it there after no slot led to it any more (I5).
//! - **R2** `waiting` only changes under TAKEN, which one thread holds at a time; TAKEN is left by that thread, or in the
//!   child of a fork by whoever finds that thread gone. `open` is only emptied under TAKEN.
//! - **R3** The grace period begins after the chains were closed, so G1 and G2 cover every node in them.
//! - **R4** Values are dropped by threads inside `drain` or the store's drop, never by readers and never in the middle of
//!   an insert or a migration: a backend only says that a period is over.
//! - **R5** Batches have numbers. A close counts before it empties the first chain, and a batch is drained to its end, then
//!   counted as drained, before the next is closed. A push that finds a chain which a close has emptied acquires that
//!   close's count. So what was retired before a mark is in a batch that was counted by then, or in the next: if nothing is
//!   open at the mark, not in the next. Counts of nodes would not do: a close empties one chain after the other, so a
//!   later push may be in an earlier batch.
//! - **R6** A shard that is one thread's own takes in by plain stores where the backend has asymmetric barriers. The owner
//!   says that it pushes, and looks whether the shard is TAKEN; who closes the shard for it takes it, and looks whether the
//!   owner pushes. One of the two sees the other, by the barriers between: then the owner exchanges, or the other passes by.
//!
//! Nothing of a store is handed to a backend, so a store that goes leaves nothing behind.
//!
//! Progress: `retire` is lock-free. A thread stopped under TAKEN (also by the `Drop` of a value), or in the middle of a plain
//! push (pinned, as it is then), keeps its shard's garbage waiting, and nothing else. In the child of a fork, what a thread
//! that is gone was moving or dropping is lost, a batch for each such thread at most; all else goes on.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::Reclaim;
use super::chain::Chain;
use super::list::{Heads, List};
use crate::heap::Heap;
use crate::mem::{prefetch, try_slice};
use crate::shard::{MAX_SHARDS, Shard};
#[cfg(any(test, shadow_loom))]
use crate::sync::stat;
use crate::sync::stat::AtomicU64;
use crate::sync::{Ordering, thread_local};
use crate::table::array::{Stride, Table};
use crate::table::node::{Node, State};

/// Bytes of an object that do not wait for a batch to be full.
const LARGE: u64 = 1 << 16;

/// The retire lists of one store.
pub(crate) struct RetireLists {
    shards: Box<[CachePadded<List>]>,
    /// Objects in `open` that make it worth closing.
    batch: Stride,
    /// Where nodes come from.
    heap: Arc<Heap>,
    /// Values whose `Drop` panicked.
    drop_panics: AtomicU64,
    /// With an exact backend: what waits for a grace period of its own, and what was poisoned in place of freed.
    #[cfg(any(test, shadow_loom))]
    exact: stat::Mutex<Exact>,
}

#[cfg(any(test, shadow_loom))]
#[derive(Default)]
struct Exact {
    limbo: Vec<usize>,
    /// Those of `limbo` that are dropped just now.
    dropping: Vec<usize>,
    poisoned: Vec<usize>,
}

/// With an exact backend: a call for the end of a node's own grace period.
#[cfg(any(test, shadow_loom))]
pub struct ExactPeriod {
    lists: Arc<RetireLists>,
    node: usize,
}

#[cfg(any(test, shadow_loom))]
impl ExactPeriod {
    /// Every guard that existed when the period began has gone.
    pub(crate) fn elapsed(self) {
        self.lists.reclaim_exactly(self.node);
    }
}

/// How far a store's reclamation must come: see [`RetireLists::is_done`].
pub(crate) struct Mark {
    batches: [u64; MAX_SHARDS],
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

impl RetireLists {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize, batch: usize, heap: Arc<Heap>) -> Option<Arc<Self>> {
        debug_assert!(shards <= MAX_SHARDS);
        Some(Arc::new(Self {
            shards: try_slice(shards.min(MAX_SHARDS), || CachePadded::new(List::new()))?,
            batch: Stride::at_most(batch),
            heap,
            drop_panics: AtomicU64::new(0),
            #[cfg(any(test, shadow_loom))]
            exact: stat::Mutex::default(),
        }))
    }

    /// Takes over a node, record or table that no slot and no root leads to any more (R1). How many this shard has taken
    /// over so far.
    ///
    /// # Safety
    ///
    /// Once per object, which has so many bytes, after it was unlinked for good; the caller is pinned.
    #[inline]
    pub(crate) unsafe fn retire<R: Reclaim>(self: &Arc<Self>, node: NonNull<Node>, bytes: u64, shard: Shard) -> u64 {
        let shard = if R::EXACT {
            Shard::shared(self.shards.len())
        } else {
            shard
        };
        let list = &self.shards[shard.index];
        shard.add(&list.retired_bytes, bytes);
        let retired = shard.add(&list.retired, 1);

        if R::EXACT {
            #[cfg(any(test, shadow_loom))]
            crate::sync::lock_stat(&self.exact)
                .limbo
                .push(node.as_ptr().expose_provenance());
            #[cfg(any(test, shadow_loom))]
            R::after_exact_period(ExactPeriod {
                lists: self.clone(),
                node: node.addr().get(),
            });
            return retired;
        }

        // SAFETY: the caller's.
        unsafe { list.push::<R>(node, node, retired, shard) };
        if self.batch.divides(retired) || bytes >= LARGE {
            self.batch_is_full::<R>(shard, retired);
        }
        retired
    }

    /// As [`retire`](Self::retire), for many at once.
    ///
    /// # Safety
    ///
    /// As there, for each.
    pub(crate) unsafe fn retire_chain<R: Reclaim>(self: &Arc<Self>, chain: Chain, shard: Shard) -> u64 {
        let list = &self.shards[shard.index];
        let (Some(last), Some(first)) = (chain.last, NonNull::new(chain.first)) else {
            return list.retired.load(Ordering::Relaxed);
        };
        if R::EXACT {
            let (mut next, mut retired) = (chain.first, 0);
            while let Some(node) = NonNull::new(next) {
                // SAFETY: the caller's; the chain is ours alone.
                unsafe {
                    next = node.as_ref().next_retired();
                    retired = self.retire::<R>(node, bytes(node, &self.heap), shard);
                }
            }
            return retired;
        }
        shard.add(&list.retired_bytes, chain.bytes);
        let retired = shard.add(&list.retired, chain.count);
        // SAFETY: the caller's.
        unsafe { list.push::<R>(first, last, retired / self.batch.get(), shard) };
        if self.batch.is_passed(retired, chain.count) || chain.bytes >= LARGE {
            self.batch_is_full::<R>(shard, retired);
        }
        retired
    }

    /// Objects of one shard that make a batch.
    pub(crate) fn batch(&self) -> u64 {
        self.batch.get()
    }

    #[cold]
    fn batch_is_full<R: Reclaim>(&self, shard: Shard, retired: u64) {
        self.push_on::<R>(shard.index);
        // A thread that has fallen silent leaves its shard to the others, who look after one at a time: after one that has
        // retired nothing since somebody looked last.
        let other = (retired / self.batch.get()) as usize % self.shards.len();
        let list = &self.shards[other];
        // Relaxed, all: a guess.
        let now = list.retired.load(Ordering::Relaxed);
        if list.looked_at.swap(now, Ordering::Relaxed) == now {
            self.push_on::<R>(other);
            self.drain::<R>(other);
        }
    }

    /// Begins a grace period for what is open, or pushes on the one that has begun.
    fn push_on<R: Reclaim>(&self, shard: usize) {
        if self.shards[shard].is_pending() {
            R::drive();
        } else {
            self.close::<R>(shard);
        }
    }

    /// Drops what is ready in one shard, if nobody else is at it.
    #[inline]
    pub(crate) fn drain<R: Reclaim>(&self, shard: usize) {
        if self.shards[shard].is_ready::<R>() {
            self.drain_ready::<R>(shard);
        }
    }

    #[cold]
    fn drain_ready<R: Reclaim>(&self, shard: usize) {
        let list = &self.shards[shard];
        // A `Drop` that frees other variables must not nest deeper: what is ready stays for the next call.
        if is_reclaiming() {
            return;
        }
        let Some(chains) = list.take_ready::<R>() else { return };
        // SAFETY: the grace period of these chains is over (R3, G1), and they were taken once (R2).
        unsafe { self.reclaim(list, chains) };
        list.drained();
        if list.waiting() >= self.batch.get() {
            self.close::<R>(shard);
        }
    }

    /// Begins a grace period for what is open, if the shard is idle.
    fn close<R: Reclaim>(&self, shard: usize) {
        // The last shard is nobody's own.
        let shared = self.shards.len() - 1;
        let plain = R::PUSHES_PLAINLY && shard != shared && Shard::of(self.shards.len()).index != shard;
        let list = &self.shards[shard];
        list.recover::<R>();
        list.close::<R>(plain);
    }

    fn memory(&self) -> (&Heap, Shard) {
        (&self.heap, Shard::of(self.shards.len()))
    }

    /// Drops the values of some chains and frees them: a node of each by turns, and asks for the next.
    ///
    /// # Safety
    ///
    /// Nobody can reach the chains' objects any more.
    unsafe fn reclaim(&self, list: &List, chains: Heads) {
        let _scope = ReclaimScope::enter();
        let memory = self.memory();
        let (mut objects, mut freed) = (0, 0);
        // What was last in each: where a parent's variables go by turns, each of its ids has chains of its own.
        let mut chains = chains.map(|first| (first, None));
        let mut left = true;
        while left {
            left = false;
            for (next, last) in &mut chains {
                let Some(node) = NonNull::new(*next) else { continue };
                // SAFETY: the caller's; the chain is ours alone.
                unsafe {
                    *next = node.as_ref().next_retired();
                    prefetch(*next);
                    if let Some(bytes) = Node::free_plain(memory, node, last) {
                        freed += bytes as u64;
                    } else {
                        freed += bytes(node, &self.heap);
                        self.drop_object(node);
                        free(self.memory(), node);
                    }
                }
                objects += 1;
                left = true;
            }
        }
        list.reclaimed_bytes.fetch_add(freed, Ordering::Relaxed);
        list.reclaimed.fetch_add(objects, Ordering::Relaxed);
        self.heap.pool.settle(memory.1, false);
    }

    /// # Safety
    ///
    /// Nobody can reach the object any more; once.
    unsafe fn drop_object(&self, node: NonNull<Node>) {
        // SAFETY: the caller's.
        unsafe {
            if node.as_ref().life().state() != State::Table && !Node::drop_value(node, &self.heap) {
                self.drop_panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Drops a value that never was on a list, as the store's drop does for those that live.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the node; once.
    pub(crate) unsafe fn reclaim_now(&self, node: NonNull<Node>) {
        let _scope = ReclaimScope::enter();
        // SAFETY: the caller's.
        unsafe {
            self.drop_object(node);
            free(self.memory(), node);
        }
    }

    /// Closes what is open, drops what is ready, pushes the backend on. Never waits.
    pub(crate) fn flush<R: Reclaim>(&self) {
        for shard in 0..self.shards.len() {
            self.drain::<R>(shard);
            self.close::<R>(shard);
        }
        R::drive();
        (0..self.shards.len()).for_each(|shard| self.drain::<R>(shard));
    }

    /// What is retired now, to ask [`is_done`](Self::is_done) about it later.
    pub(crate) fn mark(&self) -> Mark {
        let mut batches = [0; MAX_SHARDS];
        for (batch, list) in batches.iter_mut().zip(&self.shards) {
            *batch = list.mark();
        }
        Mark {
            batches,
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
            let is_there = |node: &usize| exact.limbo.contains(node) || exact.dropping.contains(node);
            if mark.limbo.iter().any(is_there) {
                return false;
            }
        }
        let mut shards = self.shards.iter().zip(&mark.batches);
        shards.all(|(list, &batch)| list.is_done(batch))
    }

    /// Objects retired so far.
    pub(crate) fn retired(&self) -> u64 {
        self.shards
            .iter()
            .map(|list| list.retired.load(Ordering::Relaxed))
            .sum()
    }

    /// Objects and bytes retired and not yet reclaimed: of each shard as it was at a moment of its own, as what is retired in
    /// one is reclaimed in the same.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let lists = self.shards.iter();
        let (objects, bytes) = lists.fold((0, 0), |sum, list| {
            let objects = difference(&list.retired, &list.reclaimed);
            let bytes = difference(&list.retired_bytes, &list.reclaimed_bytes);
            (sum.0 + objects, sum.1 + bytes)
        });
        (objects as usize, bytes as usize)
    }

    pub(crate) fn drop_panics(&self) -> u64 {
        self.drop_panics.load(Ordering::Relaxed)
    }

    /// Drops all that is retired. A callback that is still owed finds its shard empty.
    ///
    /// # Safety
    ///
    /// No guard protects anything of this store any more, and no operation runs.
    pub(crate) unsafe fn drain_all(&self) {
        for list in &self.shards {
            // A `Drop` may free variables of other stores, never of this one.
            for chains in list.take_all() {
                // SAFETY: the caller's.
                unsafe { self.reclaim(list, chains) };
            }
        }
        #[cfg(any(test, shadow_loom))]
        // SAFETY: the caller's.
        unsafe {
            self.drain_exact();
        }
    }
}

/// By how much the first counter was ahead of the second, at a moment of the call if a few tries find one.
fn difference(first: &AtomicU64, second: &AtomicU64) -> u64 {
    // Acquire: the look at the first comes after that at the second; and before the next.
    let mut before = second.load(Ordering::Acquire);
    for _ in 0..8 {
        let ahead = first.load(Ordering::Acquire);
        let after = second.load(Ordering::Acquire);
        if before == after {
            return ahead.saturating_sub(after);
        }
        before = after;
    }
    first.load(Ordering::Acquire).saturating_sub(before)
}

/// Bytes of a retired object.
///
/// # Safety
///
/// The object is allocated.
pub(crate) unsafe fn bytes(node: NonNull<Node>, heap: &Heap) -> u64 {
    // SAFETY: the caller's; a TABLE header is the first field of a table.
    let bytes = unsafe {
        match node.as_ref().life().state() {
            State::Table => node.cast::<Table>().as_ref().bytes(),
            _ => Node::bytes(node, heap),
        }
    };
    bytes as u64
}

/// Gives an object's memory back.
///
/// # Safety
///
/// Nobody can reach it any more; once; its value was dropped.
unsafe fn free(memory: (&Heap, Shard), node: NonNull<Node>) {
    #[cfg(shadow_loom)]
    // SAFETY: the caller's.
    unsafe {
        let_go(node, memory.0);
    }
    // SAFETY: the caller's; a TABLE header is the first field of a table.
    unsafe {
        match node.as_ref().life().state() {
            State::Table => Table::dealloc(node.cast()),
            _ => Node::dealloc(memory, node),
        }
    }
}

/// Tells loom that an object's memory goes.
///
/// # Safety
///
/// The object is allocated, and reclaimed now.
#[cfg(shadow_loom)]
unsafe fn let_go(node: NonNull<Node>, heap: &Heap) {
    // SAFETY: the caller's; a TABLE header is the first field of a table.
    unsafe {
        match node.as_ref().life().state() {
            State::Table => node.cast::<Table>().as_mut().let_go(),
            _ => Node::let_go(node, heap),
        }
    }
}

/// Marks the thread as reclaiming, and restores what was on the way out.
struct ReclaimScope(bool);

impl ReclaimScope {
    fn enter() -> Self {
        Self(RECLAIMING.with(|reclaiming| reclaiming.replace(true)))
    }
}

impl Drop for ReclaimScope {
    fn drop(&mut self) {
        RECLAIMING.with(|reclaiming| reclaiming.set(self.0));
    }
}

/// With an exact backend: poison at once what may be freed, free it when the store is dropped.
#[cfg(any(test, shadow_loom))]
impl RetireLists {
    fn reclaim_exactly(&self, addr: usize) {
        let list = &self.shards[self.shards.len() - 1];
        let mut exact = crate::sync::lock_stat(&self.exact);
        // Not there: the store was dropped in the meantime and has freed it.
        let Some(found) = exact.limbo.iter().position(|&node| node == addr) else {
            return;
        };
        exact.limbo.swap_remove(found);
        exact.dropping.push(addr);
        drop(exact);
        let Some(node) = NonNull::new(std::ptr::with_exposed_provenance_mut::<Node>(addr)) else {
            return;
        };
        let _scope = ReclaimScope::enter();
        // SAFETY: every guard that could reach it has gone; taken out of limbo once.
        unsafe {
            let bytes = bytes(node, &self.heap);
            self.drop_object(node);
            #[cfg(shadow_loom)]
            let_go(node, &self.heap);
            node.as_ref().poison();
            list.reclaimed_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        list.reclaimed.fetch_add(1, Ordering::Relaxed);
        let mut exact = crate::sync::lock_stat(&self.exact);
        exact.dropping.retain(|&node| node != addr);
        exact.poisoned.push(addr);
    }

    /// # Safety
    ///
    /// As [`drain_all`](Self::drain_all).
    unsafe fn drain_exact(&self) {
        let (limbo, poisoned) = {
            let mut exact = crate::sync::lock_stat(&self.exact);
            (std::mem::take(&mut exact.limbo), std::mem::take(&mut exact.poisoned))
        };
        let nodes = |list: Vec<usize>| {
            list.into_iter()
                .filter_map(|addr| NonNull::new(std::ptr::with_exposed_provenance_mut(addr)))
        };
        // SAFETY: the caller's; each address is in one of the lists, once. Only values in limbo are still to be dropped.
        unsafe {
            for node in nodes(limbo) {
                self.drop_object(node);
                free(self.memory(), node);
            }
            for node in nodes(poisoned) {
                node.as_ref().unpoison();
                free(self.memory(), node);
            }
        }
    }
}
