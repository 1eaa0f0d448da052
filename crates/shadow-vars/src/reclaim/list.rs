//! One shard's retire list: what is open and what waits, and who may move it. Cites the rules of
//! [`retired`](super::retired).

use std::ptr::{self, NonNull};

use super::{Reclaim, barrier};
use crate::fork;
use crate::shard::{self, Shard};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, stat, thread_token};
use crate::table::defect::{Defect, planted_everywhere};
use crate::table::node::Node;

/// The light barrier of a push by plain stores, where it is a fence.
#[cold]
#[inline(never)]
fn fence() {
    // SeqCst: what `settle` of a reader is, and all that a model's threads have.
    crate::sync::fence(Ordering::SeqCst);
    if let Some(reader) = shard::reader() {
        barrier::fence(reader);
    }
}

/// What a state word says, in its low bits: nothing, or one of the two.
const IDLE: u64 = 0;
/// Above: the grace period that `waiting` is for.
const PENDING: u64 = 1;
/// Above: the token of the thread that moves the chains.
const TAKEN: u64 = 2;
const KIND_BITS: u32 = 2;

/// Chains side by side, so that reclaiming them waits for the memory of several nodes at once. Models have two.
const CHAINS: usize = if cfg!(shadow_loom) { 2 } else { 4 };

/// The newest node of each chain, or null.
pub(super) type Heads = [*mut Node; CHAINS];

pub(super) struct List {
    open: [AtomicPtr<Node>; CHAINS],
    waiting: [AtomicPtr<Node>; CHAINS],
    state: AtomicU64,
    /// Whether the shard's owner is pushing by plain stores (R6): 0, or the process's generation in which it does.
    pushing: AtomicU64,
    /// Batches that were closed: counted before the first chain is taken (R5).
    closed: AtomicU64,
    /// Those of them whose nodes are all gone.
    drained: AtomicU64,
    // Statistics. `retired` is counted before the node can be seen in `open`, `reclaimed` after its value was dropped.
    pub(super) retired: stat::AtomicU64,
    pub(super) reclaimed: stat::AtomicU64,
    /// What `retired` was when another shard's thread looked.
    pub(super) looked_at: stat::AtomicU64,
    pub(super) retired_bytes: stat::AtomicU64,
    pub(super) reclaimed_bytes: stat::AtomicU64,
}

impl List {
    pub(super) fn new() -> Self {
        Self {
            open: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            waiting: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            state: AtomicU64::new(IDLE),
            pushing: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            retired: stat::AtomicU64::new(0),
            reclaimed: stat::AtomicU64::new(0),
            looked_at: stat::AtomicU64::new(0),
            retired_bytes: stat::AtomicU64::new(0),
            reclaimed_bytes: stat::AtomicU64::new(0),
        }
    }

    /// Adds a chain that the first node leads along to the last, to one of ours, by turns.
    ///
    /// # Safety
    ///
    /// The nodes are the caller's, and in no other chain (R1); this is the list of the caller's shard.
    #[inline]
    pub(super) unsafe fn push<R: Reclaim>(&self, first: NonNull<Node>, last: NonNull<Node>, turn: u64, shard: Shard) {
        first.as_ptr().expose_provenance();
        // SAFETY: the caller's until the list has it.
        let last = unsafe { last.as_ref() };
        let open = &self.open[turn as usize % CHAINS];
        if R::PUSHES_PLAINLY && shard.is_own() && self.push_plainly(open, first, last) {
            return;
        }
        // Relaxed: the exchange below fails if it is stale.
        let mut head = open.load(Ordering::Relaxed);
        loop {
            last.set_next_retired(head);
            // Release: pairs with the swap in `close`; hands over the nodes, their links, and that they were unlinked. Acquire:
            // pairs with that swap too, so that whoever sees this push as one of an emptied chain sees the count of the close
            // that emptied it (R5).
            match open.compare_exchange_weak(head, first.as_ptr(), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }

    /// The same by the shard's owner, who is the only one to push: not while somebody else may be closing it (R6).
    #[inline]
    fn push_plainly(&self, open: &AtomicPtr<Node>, first: NonNull<Node>, last: &Node) -> bool {
        // Relaxed: the barriers, this one and that in `is_left_alone`, order it with the load of the state.
        self.pushing.store(fork::generation(), Ordering::Relaxed);
        if !barrier::light(asymmetric_barrier::is_asymmetric()) {
            fence();
        }
        // Acquire: pairs with the Release stores that end TAKEN; what `open` is after them is loaded below.
        let alone = self.state.load(Ordering::Acquire) & TAKEN == 0 || planted_everywhere(Defect::PushBesideClose);
        if alone {
            // Relaxed: this thread's own store, or that of a closer, by the Acquire above.
            last.set_next_retired(open.load(Ordering::Relaxed));
            // Release: as the exchange in `push`.
            open.store(first.as_ptr(), Ordering::Release);
        }
        // Release: pairs with the Acquire in `is_left_alone`.
        self.pushing.store(0, Ordering::Release);
        alone
    }

    /// IDLE → PENDING, if anything is open: asks for a grace period for it. If somebody else may push plainly, this costs a
    /// heavy barrier.
    pub(super) fn close<R: Reclaim>(&self, plain: bool) {
        if self.is_nothing_open(Ordering::Relaxed) || !self.take(IDLE) {
            return;
        }
        if plain && !self.is_left_alone() {
            // Release: pairs with the Acquire in `take`.
            self.state.store(IDLE, Ordering::Release);
            return;
        }
        if !planted_everywhere(Defect::CountAfterClose) {
            // Relaxed: the swaps below release it (R5).
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        for (open, waiting) in self.open.iter().zip(&self.waiting) {
            // AcqRel: Acquire pairs with the pushes, so that what they unlinked comes before the grace period. Release: with
            // the Acquire in `mark` and in `push`.
            let chain = open.swap(ptr::null_mut(), Ordering::AcqRel);
            // Relaxed: under TAKEN (R2).
            waiting.store(chain, Ordering::Relaxed);
        }
        if planted_everywhere(Defect::CountAfterClose) {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        self.wait_for::<R>();
    }

    /// TAKEN → PENDING, until a grace period is over that begins now (R3).
    fn wait_for<R: Reclaim>(&self) {
        let period = R::begin_period();
        // Release: pairs with the Acquire in `take`.
        self.state.store(period << KIND_BITS | PENDING, Ordering::Release);
    }

    fn is_nothing_open(&self, order: Ordering) -> bool {
        self.open.iter().all(|open| open.load(order).is_null())
    }

    /// Whether the owner is outside a plain push, and begins none as long as this thread holds TAKEN (R6).
    #[cold]
    fn is_left_alone(&self) -> bool {
        if !barrier::heavy() {
            return false;
        }
        // Acquire: pairs with the end of a plain push, which is seen whole then. One of before a fork does not go on.
        let pushing = self.pushing.load(Ordering::Acquire);
        pushing != fork::generation() || planted_everywhere(Defect::CloseBesidePush)
    }

    /// About how many objects are retired and not reclaimed.
    pub(super) fn waiting(&self) -> u64 {
        // Relaxed, both: a guess. In this order what is taken away is mostly the older; never below 0.
        let reclaimed = self.reclaimed.load(Ordering::Relaxed);
        self.retired.load(Ordering::Relaxed).saturating_sub(reclaimed)
    }

    pub(super) fn is_pending(&self) -> bool {
        // Relaxed: a guess.
        self.state.load(Ordering::Relaxed) & PENDING != 0
    }

    /// Whether what waits may be dropped.
    #[inline]
    pub(super) fn is_ready<R: Reclaim>(&self) -> bool {
        // Relaxed: `take_ready` looks again.
        let state = self.state.load(Ordering::Relaxed);
        state & PENDING != 0 && R::is_over(state >> KIND_BITS)
    }

    /// PENDING → TAKEN, and the chains that are ready. [`drained`](Self::drained) comes next.
    pub(super) fn take_ready<R: Reclaim>(&self) -> Option<Heads> {
        let state = self.state.load(Ordering::Relaxed);
        if state & PENDING == 0 || !R::is_over(state >> KIND_BITS) || !self.take(state) {
            return None;
        }
        // Relaxed: under TAKEN (R2).
        let take = |chain: &AtomicPtr<Node>| chain.swap(ptr::null_mut(), Ordering::Relaxed);
        Some(self.waiting.each_ref().map(take))
    }

    /// TAKEN → IDLE: what was ready is gone.
    pub(super) fn drained(&self) {
        // Relaxed: under TAKEN, as each close counts. Release: pairs with the Acquire in `is_done`.
        self.drained
            .store(self.closed.load(Ordering::Relaxed), Ordering::Release);
        // Release: pairs with the Acquire in `take`, and with that in `push_plainly`.
        self.state.store(IDLE, Ordering::Release);
    }

    /// From this state to TAKEN by this thread.
    fn take(&self, from: u64) -> bool {
        let taken = thread_token() << KIND_BITS | TAKEN;
        // Acquire: pairs with the Release store by which the last holder left TAKEN.
        self.state
            .compare_exchange(from, taken, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// In the child of a fork: goes on where a thread that is gone held TAKEN. What it had in its hands is lost: it may have
    /// been in the middle of dropping it.
    pub(super) fn recover<R: Reclaim>(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state & TAKEN == 0 || !fork::vanished(state >> KIND_BITS) || !self.take(state) {
            return;
        }
        // Relaxed: under TAKEN (R2).
        if self.waiting.iter().all(|chain| chain.load(Ordering::Relaxed).is_null()) {
            self.drained();
        } else {
            self.wait_for::<R>();
        }
    }

    /// A mark for [`is_done`](Self::is_done): the number of the batch with which all that was retired before will be gone.
    pub(super) fn mark(&self) -> u64 {
        // Acquire, here and in `is_done`: pairs with the swaps of `close`.
        let nothing = self.is_nothing_open(Ordering::Acquire);
        // Not a load, which could miss the newest close: one that emptied a chain before something was pushed that is
        // still there.
        let closed = self.closed.fetch_add(0, Ordering::Relaxed);
        if nothing || planted_everywhere(Defect::MarkForgetsOpen) {
            closed
        } else {
            closed + 1
        }
    }

    /// Whether all that had been retired at the mark has been dropped (R5).
    pub(super) fn is_done(&self, mark: u64) -> bool {
        // Acquire: pairs with `drained`.
        if self.drained.load(Ordering::Acquire) >= mark {
            return true;
        }
        // The close that the mark waits for may have been under way, and have taken it all.
        let nothing = self.is_nothing_open(Ordering::Acquire);
        let closed = self.closed.load(Ordering::Relaxed);
        nothing && self.drained.load(Ordering::Acquire) >= closed
    }

    /// What waits, and what is open, for the store's drop: no operation runs any more.
    pub(super) fn take_all(&self) -> [Heads; 2] {
        // Acquire: pairs with the pushes.
        let take = |chain: &AtomicPtr<Node>| chain.swap(ptr::null_mut(), Ordering::Acquire);
        [&self.waiting, &self.open].map(|chains| chains.each_ref().map(take))
    }
}
