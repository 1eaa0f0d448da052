//! Upkeep of retire lists: closing batches and advancing periods in time, and visiting what other threads have left
//! behind. [`pace`] decides how often.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::list::List;
use super::object::{Link, Objects};
use super::retired::{RetireLists, is_reclaiming};
use super::sift::Effort;
use super::stores::{Left, Visitor};
use super::{Asymmetric, Epoch, Eras, Named, Reclaim, pace, stores};
use crate::shard::Shard;
use crate::sync::{Ordering, stat};

/// Retirements of a thread after which it visits further shards of other threads.
const VISIT_EVERY: u64 = 16;

/// What a newly retired object fills.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fills {
    Nothing,
    /// A batch of objects that may wait.
    Batch,
    /// A batch by its size or its weight: closed at once.
    AtOnce,
}

/// Of objects with a destructor: retirements of a shard after which a barrier is paid out of [savings](pace::spend), and after
/// which a pending period is checked again.
const SPEND_EVERY: u8 = 32;
const POLL_EVERY: u8 = 8;

impl<O: Objects> RetireLists<O> {
    /// Closes the open batch, or advances the pending period, where an object fills a batch or the pace allows it.
    /// Returns whether there may be something to drop.
    ///
    /// A full batch of objects that own nothing is closed at once, but the freeing thread pays for its barrier only
    /// when one is due, or when the next batch is full: until then another thread's barrier may end its period, too.
    ///
    /// # Safety
    ///
    /// Same as [`Objects::weigh`], for the object in `to_drop`.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn advance_if_due<R: Reclaim>(
        self: &Arc<Self>,
        (list, shard): (&List<O>, Shard),
        to_drop: Option<NonNull<Link>>,
        fills: Fills,
    ) -> bool {
        // SAFETY: guaranteed by the caller.
        let heavy = to_drop.is_some_and(|object| list.add_weight(unsafe { self.weigh(object) }));
        // A full batch may wait for its barrier if its objects own nothing and the backend's periods take no memory.
        let full = fills == Fills::Batch;
        if heavy || fills == Fills::AtOnce || full && (to_drop.is_some() || R::PERIODS_TAKE_MEMORY) {
            self.advance_now::<R>((list, shard), to_drop.is_some());
            return true;
        }
        list.note_age();
        let lags = list.is_pending() && !list.is_ready::<R>();
        if to_drop.is_some() {
            self.note_waiting::<R>();
            // Relaxed, both: an estimate, exact in a shard of this thread.
            let count = list.retired_to_drop.load(Ordering::Relaxed).wrapping_add(1);
            list.retired_to_drop.store(count, Ordering::Relaxed);
            if count.is_multiple_of(SPEND_EVERY) {
                pace::spend();
            }
            // A barrier that came under a guard, or beside one, may have left no more to do than to look again.
            if lags && count.is_multiple_of(POLL_EVERY) {
                R::poll();
            }
            // Something is to be dropped soon, so no full batch is awaited. The caller's guard would hold up a period that
            // begins now, so the barrier is left to `upkeep`, unless that does not come.
            if !R::PERIODS_TAKE_MEMORY && pace::is_overdue() {
                self.advance::<R>(shard.index);
                return false;
            }
        }
        let cheap = !R::PERIODS_TAKE_MEMORY && pace::is_due();
        // A full batch is closed, if the one before is drained.
        let closed = full && !list.is_pending();
        if closed {
            self.close::<R>(shard.index);
        }
        // The barrier is paid when it is due, or when a second batch is full behind the pending one.
        if (lags && (cheap || full)) || (closed && cheap) {
            pace::paced(R::drive);
        }
        full
    }

    /// Closes the open batch, or advances the period that is pending.
    #[cold]
    pub(super) fn advance_now<R: Reclaim>(self: &Arc<Self>, (list, shard): (&List<O>, Shard), has_drop: bool) {
        if has_drop {
            self.note_waiting::<R>();
        }
        list.note_age();
        self.advance::<R>(shard.index);
    }

    /// Notes that an object waits that is to be dropped soon, and enlists the store (V1, V3).
    fn note_waiting<R: Reclaim>(self: &Arc<Self>) {
        if crate::sync::LOOM {
            return;
        }
        super::barrier::light_of_owner();
        // Acquire: pairs with the Release below and with that in `tidy_as`.
        if pace::is_waiting() && self.shared.is_enlisted.load(stat::Ordering::Acquire) {
            return;
        }
        if !self.shared.is_enlisted.swap(true, stat::Ordering::AcqRel) {
            // SAFETY: the store's drop delists it before the lists are dropped.
            let listed = unsafe { stores::enlist(Arc::as_ptr(self).expose_provenance(), R::NAMED) };
            self.shared.is_enlisted.store(listed, stat::Ordering::Release);
        }
        pace::note_waiting();
    }

    /// Checks `some` shards, and advances and drains those of other threads that have retired nothing since the last
    /// check: an idle thread does not drain its own shard.
    pub(super) fn visit_idle<R: Reclaim>(&self, shard: Shard, turn: u64, some: usize) {
        for step in 0..some.min(self.own.shards()) {
            let other = (turn as usize).wrapping_mul(some).wrapping_add(step) % self.own.shards();
            let Some(list) = self.get(other) else { continue };
            // Relaxed, all: an estimate.
            let now = list.retired.load(Ordering::Relaxed);
            let idle = list.visited_at.swap(now as u32, Ordering::Relaxed) == now as u32;
            if idle && other != shard.index && list.waiting() > 0 {
                self.advance::<R>(other);
                self.drain::<R>(other);
                self.sift::<R>(other, Effort::Few(2 * self.batch()));
            }
        }
    }

    /// Called after an operation, outside its guard: drops values that are to be dropped soon, in this store and from
    /// time to time in all stores. Runs the `Drop` of values.
    #[inline(always)]
    pub(crate) fn upkeep<R: Reclaim>(&self) {
        if pace::is_waiting() && pace::is_anything_due() {
            self.upkeep_slow::<R>();
        }
    }

    #[cold]
    #[inline(never)]
    fn upkeep_slow<R: Reclaim>(&self) {
        /// The most ready values that one operation drops.
        const FEW: usize = 16;
        // Not in the middle of another operation (a constructor, for example), and not while unwinding.
        if is_reclaiming() || R::is_pinned() || std::thread::panicking() {
            return;
        }
        if pace::is_due()
            && let shard = self.used(self.shard())
            && let Some(list) = self.get(shard.index)
        {
            if !R::PERIODS_TAKE_MEMORY {
                self.visit_idle::<R>(shard, list.retired.load(Ordering::Relaxed) / VISIT_EVERY, 8);
                if list.waiting() > 0 {
                    self.advance::<R>(shard.index);
                }
            }
            if list.waiting() > 0 {
                if R::PUSHES_PLAINLY && shard.is_own() {
                    // SAFETY: this thread's own shard.
                    let _ = (0..FEW).try_for_each(|_| unsafe { self.drop_few::<R>(shard) }.then_some(()));
                } else {
                    self.drain::<R>(shard.index);
                }
                self.sift::<R>(shard.index, Effort::Few(2 * FEW as u64));
            }
        }
        pace::visit(|| Self::visit_all(Visitor::Operation));
    }

    /// Visits all stores of the process.
    pub(super) fn visit_all(by: Visitor) {
        // SAFETY: all stores of the process have objects of one kind.
        unsafe { stores::visit_all(by, Self::tidy) }
    }

    /// Does the upkeep of one store. See [`stores::Tidy`].
    ///
    /// # Safety
    ///
    /// `lists` is the address of existing lists of this type and this backend.
    unsafe fn tidy(backend: Named, lists: usize, by: Visitor) -> Left {
        // SAFETY: guaranteed by the caller, in all arms.
        unsafe {
            match backend {
                Named::Asymmetric => Self::tidy_as::<Asymmetric>(lists, by),
                Named::Epoch => Self::tidy_as::<Epoch>(lists, by),
                Named::Eras => Self::tidy_as::<Eras>(lists, by),
                #[cfg(feature = "seize")]
                Named::Seize => Self::tidy_as::<super::Seize>(lists, by),
                #[cfg(any(test, shadow_loom))]
                Named::Checked { exact } => match exact {
                    true => Self::tidy_as::<super::checked::Checked>(lists, by),
                    false => Self::tidy_as::<super::checked::Checked<false>>(lists, by),
                },
            }
        }
    }

    /// # Safety
    ///
    /// `lists` is the address of existing lists of this type and this backend.
    unsafe fn tidy_as<R: Reclaim>(lists: usize, by: Visitor) -> Left {
        // SAFETY: guaranteed by the caller.
        let lists = unsafe { &*std::ptr::with_exposed_provenance::<Self>(lists) };
        if R::PERIODS_TAKE_MEMORY && by == Visitor::Operation {
            return Left::Background;
        }
        lists.flush_all_with::<R>(match by {
            Visitor::Operation => Effort::Few(2 * lists.batch()),
            Visitor::Background => Effort::Most(2 * lists.batch()),
        });
        if !lists.is_empty() {
            return Left::Something;
        }
        // As in V3, for enlisting: a thread that retires something now enlists the store again, or is seen here.
        lists.shared.is_enlisted.store(false, stat::Ordering::Release);
        if super::barrier::heavy() && lists.is_empty() {
            return Left::Nothing;
        }
        lists.shared.is_enlisted.store(true, stat::Ordering::Release);
        Left::Something
    }

    /// Closes open batches, drops ready objects, and advances the backend. Never waits.
    pub(crate) fn flush<R: Reclaim>(&self) {
        self.flush_with::<R>(Effort::All);
    }

    fn flush_with<R: Reclaim>(&self, effort: Effort) {
        for shard in 0..self.own.shards() {
            self.drain::<R>(shard);
            self.close::<R>(shard);
        }
        R::drive();
        for shard in 0..self.own.shards() {
            self.drain::<R>(shard);
            self.sift::<R>(shard, effort);
        }
    }

    /// Like [`flush`](Self::flush), repeated until nothing is left that no guard holds back, or other threads are busy
    /// with it: an open batch may have to wait for the pending one.
    pub(crate) fn flush_all<R: Reclaim>(&self) {
        self.flush_all_with::<R>(Effort::All);
    }

    fn flush_all_with<R: Reclaim>(&self, effort: Effort) {
        const ROUNDS: usize = 3;
        let _ = (0..ROUNDS).try_for_each(|_| {
            self.flush_with::<R>(effort);
            (!self.is_empty()).then_some(())
        });
    }

    /// Returns whether no retired object is pending.
    pub(super) fn is_empty(&self) -> bool {
        self.lists().all(|(_, list)| list.is_empty())
    }

    /// Returns approximately how long the oldest object that is retired and not yet reclaimed has waited.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let oldest = self.lists().filter_map(|(_, list)| list.oldest()).min()?;
        Some(Duration::from_nanos(pace::nanoseconds().saturating_sub(oldest)))
    }

    /// Returns whether no thread visits these lists from now on, so that the store can be dropped. If not, this thread
    /// is visiting them, and the store has to be [deferred](stores::defer_drop).
    pub(crate) fn delist(&self) -> bool {
        stores::delist(std::ptr::from_ref(self).addr())
    }
}
