//! One shard's retire list: what is open and what waits, and who may move it. Cites the rules of
//! [`retired`](super::retired).

use std::ptr::{self, NonNull};

use super::{Reclaim, barrier};
use crate::shard::Shard;
use crate::sync::stat::AtomicU64;
use crate::sync::{AtomicPtr, AtomicU8, Ordering};
use crate::table::defect::{Defect, planted_everywhere};
use crate::table::node::Node;

const IDLE: u8 = 0;
const TAKEN: u8 = 1;
const PENDING: u8 = 2;
const READY: u8 = 3;

/// Chains side by side, so that reclaiming them waits for the memory of several nodes at once. Models have two.
const CHAINS: usize = if cfg!(shadow_loom) { 2 } else { 4 };

/// The newest node of each chain, or null.
pub(super) type Heads = [*mut Node; CHAINS];

pub(super) struct List {
    open: [AtomicPtr<Node>; CHAINS],
    waiting: [AtomicPtr<Node>; CHAINS],
    state: AtomicU8,
    /// Whether the shard's owner is pushing by plain stores (R6).
    pushing: AtomicU8,
    // Statistics. `retired` is counted before the node can be seen in `open`, `reclaimed` after its value was dropped.
    pub(super) retired: AtomicU64,
    pub(super) reclaimed: AtomicU64,
    /// What `retired` was when another shard's thread looked.
    pub(super) looked_at: AtomicU64,
    pub(super) retired_bytes: AtomicU64,
    pub(super) reclaimed_bytes: AtomicU64,
}

impl List {
    pub(super) fn new() -> Self {
        Self {
            open: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            waiting: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            state: AtomicU8::new(IDLE),
            pushing: AtomicU8::new(0),
            retired: AtomicU64::new(0),
            reclaimed: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            retired_bytes: AtomicU64::new(0),
            reclaimed_bytes: AtomicU64::new(0),
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
            // Release: pairs with the swap in `close`; hands over the nodes, their links, and that they were unlinked.
            match open.compare_exchange_weak(head, first.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }

    /// The same by the shard's owner, who is the only one to push: not while somebody else may be closing it (R6).
    #[inline]
    fn push_plainly(&self, open: &AtomicPtr<Node>, first: NonNull<Node>, last: &Node) -> bool {
        // Relaxed: the barriers, this one and that in `is_left_alone`, order it with the load of the state.
        self.pushing.store(1, Ordering::Relaxed);
        barrier::light();
        // Acquire: pairs with the Release stores that end TAKEN; what `open` is after them is loaded below.
        let alone = self.state.load(Ordering::Acquire) != TAKEN || planted_everywhere(Defect::PushBesideClose);
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

    /// IDLE → PENDING, if anything is open. Whether it did: then the caller asks for a grace period. If somebody else may
    /// push plainly, this costs a heavy barrier.
    pub(super) fn close(&self, plain: bool) -> bool {
        // Relaxed: only to spare the work; what is missed now is closed by a later call.
        let nothing = self.open.iter().all(|open| open.load(Ordering::Relaxed).is_null());
        if nothing || !self.take(IDLE) {
            return false;
        }
        if plain && !self.is_left_alone() {
            // Release: pairs with the Acquire in `take`.
            self.state.store(IDLE, Ordering::Release);
            return false;
        }
        for (open, waiting) in self.open.iter().zip(&self.waiting) {
            // AcqRel: Acquire pairs with the pushes, so that what they unlinked comes before the grace period.
            let chain = open.swap(ptr::null_mut(), Ordering::AcqRel);
            // Relaxed: under TAKEN (R2).
            waiting.store(chain, Ordering::Relaxed);
        }
        // Release: before the callback is asked for, as it may come at once. Pairs with the Acquire in `take`.
        self.state.store(PENDING, Ordering::Release);
        true
    }

    /// Whether the owner is outside a plain push, and begins none as long as this thread holds TAKEN (R6).
    #[cold]
    fn is_left_alone(&self) -> bool {
        // Acquire: pairs with the end of a plain push, which is seen whole then.
        barrier::heavy() && (self.pushing.load(Ordering::Acquire) == 0 || planted_everywhere(Defect::CloseBesidePush))
    }

    /// PENDING → READY: the grace period is over.
    pub(super) fn elapsed(&self) {
        // Release: pairs with the Acquire in `take`, which hands on what the last readers did (G3).
        self.state.store(READY, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        // Relaxed: `take` looks again.
        self.state.load(Ordering::Relaxed) == READY
    }

    pub(super) fn is_pending(&self) -> bool {
        // Relaxed: a guess.
        self.state.load(Ordering::Relaxed) == PENDING
    }

    /// READY → TAKEN, and the chains that are ready. [`drained`](Self::drained) comes next.
    pub(super) fn take_ready(&self) -> Option<Heads> {
        // Relaxed: under TAKEN (R2).
        self.take(READY).then(|| {
            self.waiting
                .each_ref()
                .map(|chain| chain.swap(ptr::null_mut(), Ordering::Relaxed))
        })
    }

    /// TAKEN → IDLE: what was ready is gone.
    pub(super) fn drained(&self) {
        // Release: pairs with the Acquire in `take`, and with that in `push_plainly`.
        self.state.store(IDLE, Ordering::Release);
    }

    fn take(&self, from: u8) -> bool {
        // Acquire: pairs with the Release store by which the last holder left TAKEN, and with `elapsed`.
        self.state
            .compare_exchange(from, TAKEN, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// What waits, and what is open, for the store's drop: no operation runs any more.
    pub(super) fn take_all(&self) -> [Heads; 2] {
        // Acquire: pairs with the pushes.
        let take = |chain: &AtomicPtr<Node>| chain.swap(ptr::null_mut(), Ordering::Acquire);
        [&self.waiting, &self.open].map(|chains| chains.each_ref().map(take))
    }
}
