//! The retire list of one shard: its open and waiting chains, and the state that says which thread may move them. Cites
//! the rules of [`retired`](super::retired).

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};

use super::counters::ahead;
use super::held::Held;
use super::object::{Freed, Link, Objects};
use super::weights::{LARGE, Weights};
use super::{Reclaim, barrier};
use crate::defect::{Defect, planted_everywhere};
use crate::fork;
use crate::mem::{OnceBox, prefetch};
use crate::shard::Shard;
use crate::sync::{AtomicPtr, AtomicU64, Ordering, compiler_fence, stat, thread_token};

/// The low bits of a state word: IDLE, PENDING or TAKEN.
const IDLE: u64 = 0;
/// The upper bits are the grace period that `waiting` waits for.
const PENDING: u64 = 1;
/// The upper bits are the token of the thread that moves the chains.
const TAKEN: u64 = 2;
const KIND_BITS: u32 = 2;

/// Returns whether the waiting objects may be dropped in this state.
#[inline(always)]
fn is_ready_in<R: Reclaim>(state: u64) -> bool {
    state & PENDING != 0 && R::is_over(state >> KIND_BITS)
}

/// The number of chains side by side: reclaiming overlaps the cache misses of this many objects. Also the most objects
/// that an owner reclaims when it retires one.
pub(super) const CHAINS: usize = 2;

/// The newest object of each chain, or null.
pub(super) type Heads = [*mut Link; CHAINS];

/// Returns the period that the waiting objects wait for in this state, if it is not over.
fn lagging_in<R: Reclaim>(state: u64) -> Option<u64> {
    (state & PENDING != 0 && !R::is_over(state >> KIND_BITS)).then_some(state >> KIND_BITS)
}

/// The state of a shard before it was TAKEN.
#[must_use]
pub(super) struct Taken(u64);

impl Taken {
    /// Returns the period that the waiting objects wait for, if it is not over.
    pub(super) fn lagging<R: Reclaim>(&self) -> Option<u64> {
        lagging_in::<R>(self.0)
    }
}

/// The fields that every free touches come first, in two cache lines.
#[repr(C)]
pub(super) struct List<O: Objects> {
    open: [AtomicPtr<Link>; CHAINS],
    waiting: [AtomicPtr<Link>; CHAINS],
    pub(super) state: AtomicU64,
    /// Whether the shard's owner is [inside](List::enter) (R6): 0, or the process generation in which it is.
    inside: AtomicU64,
    // Statistics. `retired` is counted before the object can be seen in `open`, `reclaimed` after its value was dropped.
    pub(super) retired: stat::AtomicU64,
    pub(super) retired_bytes: stat::AtomicU64,
    pub(super) reclaimed: stat::AtomicU64,
    pub(super) reclaimed_bytes: stat::AtomicU64,
    /// The kind of the last object that the owner reclaimed from each chain: where the variables of one parent
    /// alternate between as many ids, each chain holds one kind. Only touched inside (R6).
    kinds: [UnsafeCell<Option<O::Kind>>; CHAINS],
    /// The token of the owner that is dropping objects taken out of `waiting` (R7), or 0.
    in_hand: AtomicU64,
    /// Batches closed: counted before the first chain is emptied (R5).
    closed: AtomicU64,
    /// Closed batches whose objects have all been dropped.
    drained: AtomicU64,
    /// The low half of `retired` at the last visit by another shard's thread.
    pub(super) visited_at: stat::AtomicU32,
    /// Objects with a destructor that were retired one at a time, modulo 256.
    pub(super) retired_to_drop: stat::AtomicU8,
    /// Of the shared list: whether its store is [enlisted](super::stores).
    pub(super) is_enlisted: stat::AtomicBool,
    /// Values whose `Drop` panicked.
    pub(super) drop_panics: stat::AtomicU64,
    /// Of the shared list: objects whose weighing panicked.
    pub(super) weigh_panics: stat::AtomicU64,
    /// When the first open object was retired, and the first waiting one, among those whose retirement read the clock;
    /// or 0.
    pub(super) opened: stat::AtomicU64,
    pub(super) waiting_since: stat::AtomicU64,
    /// With intervals: drained objects that some reader holds back. Made when a reader first lags behind.
    pub(super) held: OnceBox<Held>,
    /// Made when an object is first weighed; null before, or if allocation fails.
    pub(super) weights: OnceBox<Weights>,
}

// SAFETY: `kinds` is only touched by the shard's owner, inside, which is one thread at a time; all else is atomic, or
// leads to objects that the lists own.
unsafe impl<O: Objects> Sync for List<O> {}
// SAFETY: as above.
unsafe impl<O: Objects> Send for List<O> {}

impl<O: Objects> List<O> {
    pub(super) fn new() -> Self {
        let list = Self {
            open: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            waiting: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            state: AtomicU64::new(IDLE),
            inside: AtomicU64::new(0),
            retired: stat::AtomicU64::new(0),
            retired_bytes: stat::AtomicU64::new(0),
            reclaimed: stat::AtomicU64::new(0),
            reclaimed_bytes: stat::AtomicU64::new(0),
            kinds: std::array::from_fn(|_| UnsafeCell::new(None)),
            in_hand: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            visited_at: stat::AtomicU32::new(0),
            retired_to_drop: stat::AtomicU8::new(0),
            drop_panics: stat::AtomicU64::new(0),
            weigh_panics: stat::AtomicU64::new(0),
            is_enlisted: stat::AtomicBool::new(false),
            opened: stat::AtomicU64::new(0),
            waiting_since: stat::AtomicU64::new(0),
            held: OnceBox::empty(),
            weights: OnceBox::empty(),
        };
        if crate::sync::LOOM {
            // It does not see how they are published.
            let _ = list.held.get_or_make(Held::new);
        }
        list
    }

    /// Pushes the chain `first..=last` onto one of the open chains, round-robin by `turn`.
    ///
    /// # Safety
    ///
    /// The caller owns the objects, and they are in no other chain (R1).
    #[inline]
    pub(super) unsafe fn push(&self, first: NonNull<Link>, last: NonNull<Link>, turn: u64) {
        // SAFETY: the caller owns the objects until they are pushed.
        let last = unsafe { last.as_ref() };
        let open = &self.open[turn as usize % CHAINS];
        // Relaxed: the exchange below fails if it is stale.
        let mut head = open.load(Ordering::Relaxed);
        loop {
            last.set_next(head);
            // Release: pairs with the swap in `close`; publishes the objects, their links, and that they were unlinked.
            // Acquire: pairs with that swap too, so that a thread that sees this push onto an emptied chain also sees
            // the count of the close that emptied it (R5).
            match open.compare_exchange_weak(head, first.as_ptr(), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                // Another thread pushed, or a close emptied the chain.
                Err(found) => head = found,
            }
        }
    }

    /// Enters the shard as its owner: until it [leaves](Self::leave), no other thread moves the chains, and no foreign
    /// code runs. Returns the state, or `None` if another thread may be moving the chains: then the owner is not
    /// inside.
    ///
    /// # Safety
    ///
    /// The caller is the shard's owner, and not inside.
    #[inline(always)]
    pub(super) unsafe fn enter(&self) -> Option<u64> {
        // Relaxed: two barriers, this one and that in `excludes_owner`, order it with the load of the state.
        self.inside.store(fork::generation(), Ordering::Relaxed);
        barrier::light_of_owner();
        // Acquire: pairs with the Release stores that end TAKEN; inside, the chains are loaded as those left them.
        let state = self.state.load(Ordering::Acquire);
        if state & TAKEN == 0 || planted_everywhere(Defect::PushBesideClose) {
            return Some(state);
        }
        self.leave();
        None
    }

    /// Ends what [`enter`](Self::enter) began.
    #[inline(always)]
    pub(super) fn leave(&self) {
        // Release: pairs with the Acquire in `excludes_owner`.
        self.inside.store(0, Ordering::Release);
    }

    /// Like [`push`](Self::push), by plain stores.
    ///
    /// # Safety
    ///
    /// Same as [`push`](Self::push); the caller is the shard's owner, inside.
    #[inline(always)]
    pub(super) unsafe fn push_inside(&self, first: NonNull<Link>, last: NonNull<Link>, turn: u64) {
        let open = &self.open[turn as usize % CHAINS];
        // Relaxed: stored by this thread, or by a closer and acquired in `enter`.
        let head = open.load(Ordering::Relaxed);
        // SAFETY: the caller owns the objects until they are pushed.
        unsafe { last.as_ref() }.set_next(head);
        // Release: as the exchange in `push`.
        open.store(first.as_ptr(), Ordering::Release);
    }

    /// Frees the first ready object of each chain, if it owns nothing. Returns whether a ready object remains that must
    /// be [taken](Self::take_inside).
    ///
    /// # Safety
    ///
    /// The caller is the shard's owner, inside, and `state` is the result of [`enter`](Self::enter).
    #[inline(always)]
    pub(super) unsafe fn free_inside<R: Reclaim>(&self, objects: &O, shard: Shard, state: u64) -> bool {
        if !is_ready_in::<R>(state) {
            return false;
        }
        let (mut freed, mut bytes, mut left, mut more) = (0, 0, false, false);
        for (chain, kind) in self.waiting.iter().zip(&self.kinds) {
            // Relaxed, here and below: inside, as in `push_inside`.
            let Some(first) = NonNull::new(chain.load(Ordering::Relaxed)) else {
                continue;
            };
            left = true;
            // SAFETY: the period is over (R3, G1), so no thread reads the chain's objects, and inside they belong to
            // this thread, as `kind` does.
            unsafe {
                let kind = &mut *kind.get();
                let next = first.as_ref().next();
                prefetch(next);
                // Unlinked first, because a fork may come in between (F4): then the object is lost, not in two places.
                chain.store(next, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
                match objects.free_plain::<R>(first, shard, kind) {
                    Some(of) => (freed, bytes) = (freed + 1, bytes + of),
                    None => {
                        chain.store(first.as_ptr(), Ordering::Relaxed);
                        more = true;
                    }
                }
            }
        }
        if freed > 0 {
            shard.add(&self.reclaimed_bytes, bytes);
            shard.add(&self.reclaimed, freed);
        }
        if !left {
            self.finish_inside(state);
        }
        more
    }

    /// Takes the first ready object of each chain, to be [dropped](Self::drop_in_hand).
    ///
    /// # Safety
    ///
    /// Same as [`free_inside`](Self::free_inside).
    pub(super) unsafe fn take_inside<R: Reclaim>(&self, state: u64) -> Option<Heads> {
        if !is_ready_in::<R>(state) || !self.is_nothing_in_hand() {
            return None;
        }
        let taken = self.waiting.each_ref().map(|chain| {
            // Relaxed, both: inside, as in `push_inside`.
            let first = chain.load(Ordering::Relaxed);
            // SAFETY: null, or as in `free_inside`.
            if let Some(object) = unsafe { first.as_ref() } {
                prefetch(object.next());
                chain.store(object.next(), Ordering::Relaxed);
            }
            first
        });
        if taken.iter().all(|first| first.is_null()) {
            self.finish_inside(state);
            return None;
        }
        // Relaxed: released by `leave` (R7).
        self.in_hand.store(thread_token(), Ordering::Relaxed);
        Some(taken)
    }

    /// PENDING → IDLE, by the owner, inside: the batch is drained. If another thread takes the shard at this time, it
    /// sees that the owner is inside and leaves the state PENDING: the next thread to drain does this again.
    #[cold]
    fn finish_inside(&self, state: u64) {
        if !self.is_nothing_in_hand() {
            return;
        }
        self.count_drained();
        // Release: pairs with the Acquire in `take`.
        let _ = self
            .state
            .compare_exchange(state, IDLE, Ordering::Release, Ordering::Relaxed);
    }

    /// Drops objects taken by the owner, outside.
    ///
    /// # Safety
    ///
    /// [`take_inside`](Self::take_inside) returned `taken` to this thread, which owns the shard.
    pub(super) unsafe fn drop_in_hand(&self, objects: &O, shard: Shard, taken: Heads) -> u64 {
        /// Runs even if a `Drop` does not return normally.
        struct Done<'l>(&'l AtomicU64);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                // Release: pairs with `is_nothing_in_hand`: the values are dropped.
                self.0.store(0, Ordering::Release);
            }
        }
        let done = Done(&self.in_hand);
        let mut panics = 0;
        for object in taken.into_iter().filter_map(NonNull::new) {
            // SAFETY: the caller guarantees that they are from `take_inside`: no thread reads them, and they are in no
            // chain.
            let Freed { bytes, panicked } = unsafe { objects.reclaim(object, shard) };
            panics += u64::from(panicked);
            // Atomic additions: threads that reclaim in the owner's place write these counters too.
            self.reclaimed_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.reclaimed.fetch_add(1, Ordering::Relaxed);
        }
        drop(done);
        panics
    }

    /// Returns whether no owner is dropping objects that it took out of `waiting` (R7). Objects in the hands of an
    /// owner that vanished in a fork are lost.
    fn is_nothing_in_hand(&self) -> bool {
        // Acquire: pairs with `drop_in_hand`.
        let token = self.in_hand.load(Ordering::Acquire);
        token == 0 || fork::vanished(token) || planted_everywhere(Defect::HandForgotten)
    }

    /// IDLE → PENDING, if anything is open: closes the batch and begins its grace period. If the shard is another
    /// thread's own, this costs a heavy barrier.
    pub(super) fn close<R: Reclaim>(&self, foreign: bool) {
        if self.is_nothing_open(Ordering::Relaxed) || !self.take(IDLE) {
            return;
        }
        if foreign && !self.excludes_owner() {
            // Release: pairs with the Acquire in `take`.
            self.state.store(IDLE, Ordering::Release);
            return;
        }
        if !planted_everywhere(Defect::CountAfterClose) {
            // Relaxed: released by the swaps below (R5).
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        for (open, waiting) in self.open.iter().zip(&self.waiting) {
            // AcqRel: Acquire pairs with the pushes, so that their unlinking comes before the grace period. Release
            // pairs with the Acquire in `mark` and in `push`.
            let chain = open.swap(ptr::null_mut(), Ordering::AcqRel);
            // Relaxed: under TAKEN (R2).
            waiting.store(chain, Ordering::Relaxed);
        }
        if planted_everywhere(Defect::CountAfterClose) {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        let opened = self.opened.swap(0, Ordering::Relaxed);
        self.waiting_since.store(opened, Ordering::Relaxed);
        self.close_weight();
        self.wait_for::<R>();
    }

    /// TAKEN → PENDING, for a grace period that begins now (R3).
    fn wait_for<R: Reclaim>(&self) {
        let period = R::begin_period();
        // Release: pairs with the Acquire in `take`.
        self.state.store(period << KIND_BITS | PENDING, Ordering::Release);
    }

    fn is_nothing_open(&self, order: Ordering) -> bool {
        self.open.iter().all(|open| open.load(order).is_null())
    }

    /// Returns whether the owner is not inside, and cannot enter while this thread holds TAKEN (R6).
    #[cold]
    fn excludes_owner(&self) -> bool {
        if !barrier::heavy() {
            return false;
        }
        // Acquire: pairs with `leave`: then everything the owner did inside is visible. An owner that entered before a
        // fork does not continue.
        let inside = self.inside.load(Ordering::Acquire);
        inside != fork::generation() || planted_everywhere(Defect::CloseBesidePush)
    }

    /// Returns whether nothing is pending in this list, as far as the caller has acquired.
    pub(super) fn is_empty(&self) -> bool {
        // Acquire, both: the caller passes on what it learns here.
        self.is_nothing_open(Ordering::Acquire)
            && self.state.load(Ordering::Acquire) == IDLE
            && self.held.get().is_none_or(Held::is_empty)
    }

    /// Returns the approximate number of objects retired and not reclaimed.
    pub(super) fn waiting(&self) -> u64 {
        // Relaxed, both: an estimate. In this order the subtracted count is mostly the older, so the result is hardly
        // ever too low, and never below 0.
        let reclaimed = self.reclaimed.load(Ordering::Relaxed);
        ahead(self.retired.load(Ordering::Relaxed), reclaimed)
    }

    /// Returns like [`waiting`](Self::waiting), without the [held](super::held) objects.
    pub(super) fn unheld(&self) -> u64 {
        let held = self.held.get().map_or(0, |held| held.count.load(Ordering::Relaxed));
        self.waiting().saturating_sub(held)
    }

    /// Adds to the weight of the open objects. Returns whether that fills a batch.
    #[inline]
    pub(super) fn add_weight(&self, weight: u64) -> bool {
        if weight == 0 {
            return false;
        }
        match self
            .weights
            .get()
            .or_else(|| self.weights.get_or_make(Weights::default))
        {
            Some(weights) => weights.add(weight),
            None => weight >= LARGE,
        }
    }

    /// Turns the weight of the open objects into that of the waiting ones.
    pub(super) fn close_weight(&self) {
        if let Some(weights) = self.weights.get() {
            weights.close(self.unheld(), self.retired.load(Ordering::Relaxed));
        }
    }

    /// Returns the period that the waiting objects wait for, if it is not over.
    pub(super) fn lagging<R: Reclaim>(&self) -> Option<u64> {
        // Relaxed: `take_any` checks again.
        lagging_in::<R>(self.state.load(Ordering::Relaxed))
    }

    /// Returns whether the objects here wait, or will wait, for a period that began after this one.
    pub(super) fn waits_for_later(&self, period: u64) -> bool {
        // Relaxed: an estimate.
        let state = self.state.load(Ordering::Relaxed);
        state & PENDING == 0 || state >> KIND_BITS > period
    }

    pub(super) fn is_pending(&self) -> bool {
        // Relaxed: an estimate.
        self.state.load(Ordering::Relaxed) & PENDING != 0
    }

    /// Returns whether the waiting objects may be dropped.
    #[inline]
    pub(super) fn is_ready<R: Reclaim>(&self) -> bool {
        // Relaxed: `take_ready` checks again.
        is_ready_in::<R>(self.state.load(Ordering::Relaxed))
    }

    /// IDLE or PENDING → TAKEN, to examine held and waiting objects. The caller ends it with [`drained`](Self::drained)
    /// or [`put_back`](Self::put_back). Like [`close`](Self::close), if the shard is another thread's own.
    pub(super) fn take_any(&self, foreign: bool) -> Option<Taken> {
        let state = self.state.load(Ordering::Relaxed);
        if state & TAKEN != 0 || !self.take(state) {
            return None;
        }
        if foreign && !self.excludes_owner() {
            self.put_back(Taken(state));
            return None;
        }
        Some(Taken(state))
    }

    /// Ends TAKEN, and restores the former state: waiting objects still wait.
    pub(super) fn put_back(&self, Taken(state): Taken) {
        // Release: pairs with the Acquire in `take`.
        self.state.store(state, Ordering::Release);
    }

    /// Takes all waiting objects.
    ///
    /// # Safety
    ///
    /// The caller holds the list TAKEN, and owns the objects from now on.
    pub(super) unsafe fn take_waiting(&self) -> Heads {
        // Relaxed: under TAKEN (R2).
        let take = |chain: &AtomicPtr<Link>| chain.swap(ptr::null_mut(), Ordering::Relaxed);
        self.waiting.each_ref().map(take)
    }

    /// Returns whether no object waits. Under TAKEN.
    pub(super) fn is_nothing_waiting(&self) -> bool {
        // Relaxed: under TAKEN (R2).
        self.waiting.iter().all(|chain| chain.load(Ordering::Relaxed).is_null())
    }

    /// PENDING → TAKEN: takes the chains if they are ready. The caller ends it with [`drained`](Self::drained). Like
    /// [`close`](Self::close), if the shard is another thread's own.
    pub(super) fn take_ready<R: Reclaim>(&self, foreign: bool) -> Option<(Heads, Taken)> {
        let state = self.state.load(Ordering::Relaxed);
        if !is_ready_in::<R>(state) || !self.take(state) {
            return None;
        }
        if foreign && !planted_everywhere(Defect::TakeBesideOwner) && !self.excludes_owner() {
            self.put_back(Taken(state));
            return None;
        }
        // SAFETY: TAKEN just now; the caller of this function owns what it returns.
        Some((unsafe { self.take_waiting() }, Taken(state)))
    }

    /// TAKEN → IDLE: the ready objects have been dropped. Or back to PENDING, if the owner still has some of them in
    /// hand (R7): the next thread to drain finds that nothing waits.
    pub(super) fn drained(&self, Taken(state): Taken) {
        if !self.is_nothing_in_hand() {
            // Release: as below.
            return self.state.store(state, Ordering::Release);
        }
        self.count_drained();
        // Release: pairs with the Acquire in `take` and in `enter`.
        self.state.store(IDLE, Ordering::Release);
    }

    /// Counts the batch closed last as drained. No thread closes another meanwhile: the state is PENDING or TAKEN.
    fn count_drained(&self) {
        // Relaxed: no thread closes. Release: pairs with the Acquire in `is_done`.
        self.drained
            .store(self.closed.load(Ordering::Relaxed), Ordering::Release);
        self.waiting_since.store(0, Ordering::Relaxed);
        if let Some(weights) = self.weights.get() {
            weights.waiting.store(0, Ordering::Relaxed);
        }
    }

    /// Exchanges the state `from` for TAKEN by this thread.
    fn take(&self, from: u64) -> bool {
        let taken = thread_token() << KIND_BITS | TAKEN;
        // Acquire: pairs with the Release store by which the last holder left TAKEN.
        self.state
            .compare_exchange(from, taken, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// In the child of a fork: takes over TAKEN from a thread that does not exist here. The objects in that thread's
    /// hands are lost, because it may have been in the middle of dropping them.
    pub(super) fn recover<R: Reclaim>(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state & TAKEN == 0 || !fork::vanished(state >> KIND_BITS) || !self.take(state) {
            return;
        }
        if let Some(held) = self.held.get() {
            held.mend();
        }
        // The rest of the batch waits for a new period, as the state does not tell the old one.
        if self.is_nothing_waiting() && self.is_nothing_in_hand() {
            self.drained(Taken(IDLE));
        } else {
            self.wait_for::<R>();
        }
    }

    /// Returns a mark for [`is_done`](Self::is_done): the number of the batch by which all objects retired before will
    /// have been dropped.
    pub(super) fn mark(&self) -> u64 {
        // Acquire, here and in `is_done`: pairs with the swaps of `close`.
        let nothing = self.is_nothing_open(Ordering::Acquire);
        // A read-modify-write, because a load could miss the newest close: one that emptied a chain before a push that
        // is still there.
        let closed = self.closed.fetch_add(0, Ordering::Relaxed);
        if nothing || planted_everywhere(Defect::MarkForgetsOpen) {
            closed
        } else {
            closed + 1
        }
    }

    /// Returns whether all objects retired before the mark have been dropped (R5).
    pub(super) fn is_done(&self, mark: u64) -> bool {
        // Acquire: pairs with `drained`.
        if self.drained.load(Ordering::Acquire) >= mark {
            return true;
        }
        // The close that the mark waits for may have been under way, and have taken everything.
        let nothing = self.is_nothing_open(Ordering::Acquire);
        let closed = self.closed.load(Ordering::Relaxed);
        nothing && self.drained.load(Ordering::Acquire) >= closed
    }

    /// Takes all waiting, open and held objects for the store's drop.
    ///
    /// # Safety
    ///
    /// No operation runs any more, and the caller owns the objects from now on.
    pub(super) unsafe fn take_all(&self) -> [Heads; 3] {
        // Acquire: pairs with the pushes.
        let take = |chain: &AtomicPtr<Link>| chain.swap(ptr::null_mut(), Ordering::Acquire);
        let [waiting, open] = [&self.waiting, &self.open].map(|chains| chains.each_ref().map(take));
        let held = self.held.get().map_or([ptr::null_mut(); CHAINS], Held::take_all);
        [waiting, open, held]
    }
}
