//! Retire lists: what was unlinked, from there until it is dropped and its memory given back.
//!
//! Each shard of threads has chains of nodes, linked through their life words, and a state. The chains come in twos, open
//! and waiting, and a few of them side by side are moved as one:
//!
//! ```text
//!   retire ──▶ open ──close──▶ waiting ──(grace period)──▶ drained: values dropped, memory freed
//!
//!   IDLE ──close──▶ PENDING ──callback──▶ READY ──drain──▶ IDLE        (TAKEN while somebody moves the chains)
//! ```
//!
//! - **R1** A node is in at most one chain, and its remover put it there after no slot led to it any more (I5).
//! - **R2** `waiting` only changes under TAKEN, which one thread holds at a time; TAKEN is left by that thread. `open` is
//!   only emptied under TAKEN.
//! - **R3** The grace period is asked for after the chain was closed, so G1 and G2 cover every node in it.
//! - **R4** Values are dropped by threads inside `drain` or the store's drop, never by readers and never in the middle of
//!   an insert or a migration: the callback only sets READY.
//! - **R5** Within a shard, chains are drained in the order in which they were closed, each under TAKEN to its end, and
//!   counted when all of it is dropped. So once `reclaimed` has reached what `retired` was, all that had been retired
//!   then is gone.
//! - **R6** A shard that is one thread's own takes in by plain stores where the backend has asymmetric barriers. The owner
//!   says that it pushes, and looks whether the shard is TAKEN; who closes the shard for it takes it, and looks whether the
//!   owner pushes. One of the two sees the other, by the barriers between: then the owner exchanges, or the other passes by.
//!
//! Progress: `retire` is lock-free. A thread stopped under TAKEN (also by the `Drop` of a value), or in the middle of a plain
//! push (pinned, as it is then), keeps its shard's garbage waiting, and nothing else.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::Reclaim;
use super::chain::Chain;
use super::list::{Heads, List};
use crate::heap::Heap;
use crate::mem::{prefetch, try_slice};
use crate::shard::Shard;
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
    poisoned: Vec<usize>,
}

/// A callback for the end of a grace period.
pub struct GracePeriod {
    lists: Arc<RetireLists>,
    /// A shard, or with an exact backend a node's address.
    what: usize,
    exact: bool,
}

impl GracePeriod {
    /// Every guard that existed when the period began has gone. Never runs user code (R4), but with an exact backend.
    pub(crate) fn elapsed(self) {
        if self.exact {
            #[cfg(any(test, shadow_loom))]
            self.lists.reclaim_exactly(self.what);
        } else {
            self.lists.shards[self.what].elapsed();
        }
    }
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
        Some(Arc::new(Self {
            shards: try_slice(shards, || CachePadded::new(List::new()))?,
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
        // Whoever calls `synchronize` after this call returned sees the count by whatever told it so.
        let retired = shard.add(&list.retired, 1);

        if R::EXACT {
            #[cfg(any(test, shadow_loom))]
            crate::sync::lock_stat(&self.exact)
                .limbo
                .push(node.as_ptr().expose_provenance());
            R::after_grace_period(GracePeriod {
                lists: self.clone(),
                what: node.addr().get(),
                exact: true,
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
    fn batch_is_full<R: Reclaim>(self: &Arc<Self>, shard: Shard, retired: u64) {
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

    /// Asks for a grace period for what is open, or pushes on the one that was asked for.
    fn push_on<R: Reclaim>(self: &Arc<Self>, shard: usize) {
        if self.shards[shard].is_pending() {
            R::drive();
        } else {
            self.close::<R>(shard);
        }
    }

    /// Drops what is ready in one shard, if nobody else is at it.
    #[inline]
    pub(crate) fn drain<R: Reclaim>(self: &Arc<Self>, shard: usize) {
        if self.shards[shard].is_ready() {
            self.drain_ready::<R>(shard);
        }
    }

    #[cold]
    fn drain_ready<R: Reclaim>(self: &Arc<Self>, shard: usize) {
        let list = &self.shards[shard];
        // A `Drop` that frees other variables must not nest deeper: what is ready stays for the next call.
        if is_reclaiming() {
            return;
        }
        let Some(chains) = list.take_ready() else { return };
        // SAFETY: the grace period of these chains is over (R3, G1), and they were taken once (R2).
        unsafe { self.reclaim(list, chains) };
        list.drained();
        if list.retired.load(Ordering::Relaxed) - list.reclaimed.load(Ordering::Relaxed) >= self.batch.get() {
            self.close::<R>(shard);
        }
    }

    /// Asks for a grace period for what is open, if the shard is idle.
    fn close<R: Reclaim>(self: &Arc<Self>, shard: usize) {
        // The last shard is nobody's own.
        let shared = self.shards.len() - 1;
        let plain = R::PUSHES_PLAINLY && shard != shared && Shard::of(self.shards.len()).index != shard;
        if self.shards[shard].close(plain) {
            R::after_grace_period(GracePeriod {
                lists: self.clone(),
                what: shard,
                exact: false,
            });
        }
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
        // Release: pairs with the Acquire in `is_done`: all values were dropped (R5).
        list.reclaimed.fetch_add(objects, Ordering::Release);
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
    pub(crate) fn flush<R: Reclaim>(self: &Arc<Self>) {
        for shard in 0..self.shards.len() {
            self.drain::<R>(shard);
            self.close::<R>(shard);
        }
        R::drive();
        (0..self.shards.len()).for_each(|shard| self.drain::<R>(shard));
    }

    /// How much had been retired, per shard, when this was called: to ask [`is_done`](Self::is_done) later.
    pub(crate) fn mark(&self) -> Box<[u64]> {
        self.shards
            .iter()
            .map(|list| list.retired.load(Ordering::Relaxed))
            .collect()
    }

    /// Whether all that had been retired at the mark has been dropped (R5).
    pub(crate) fn is_done(&self, mark: &[u64]) -> bool {
        // Acquire: pairs with `reclaim`.
        self.shards
            .iter()
            .zip(mark)
            .all(|(list, &mark)| list.reclaimed.load(Ordering::Acquire) >= mark)
    }

    /// Objects retired so far.
    pub(crate) fn retired(&self) -> u64 {
        self.shards
            .iter()
            .map(|list| list.retired.load(Ordering::Relaxed))
            .sum()
    }

    /// Objects and bytes retired and not yet reclaimed.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let sum = |of: fn(&List) -> &AtomicU64| -> u64 {
            self.shards.iter().map(|list| of(list).load(Ordering::Relaxed)).sum()
        };
        // What is taken away is summed first, so it is never more.
        let (reclaimed, reclaimed_bytes) = (sum(|list| &list.reclaimed), sum(|list| &list.reclaimed_bytes));
        let (retired, retired_bytes) = (sum(|list| &list.retired), sum(|list| &list.retired_bytes));
        (
            retired.saturating_sub(reclaimed) as usize,
            retired_bytes.saturating_sub(reclaimed_bytes) as usize,
        )
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
        exact.poisoned.push(addr);
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
        list.reclaimed.fetch_add(1, Ordering::Release);
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
