//! Looking after what is retired: closing and pushing on in time, and what others have left behind. How often is a matter of
//! [`pace`].

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "seize")]
use super::Seize;
#[cfg(any(test, shadow_loom))]
use super::checked::Checked;
use super::held::Effort;
use super::list::List;
use super::object::{Link, Objects};
use super::retired::{Fills, RetireLists, is_reclaiming};
use super::stores::{Left, Visitor};
use super::{Asymmetric, Epoch, Eras, Named, Reclaim, pace, stores};
use crate::shard::Shard;
use crate::sync::{Ordering, stat};

/// Retirements after which a thread looks after the next ones' shards.
const LOOK_AFTER: u64 = 16;

impl<O: Objects> RetireLists<O> {
    /// Closes what is open, or pushes a period on that has begun, where an object fills a batch or it is time for that. Whether
    /// there may be something to drop.
    ///
    /// A full batch of what owns nothing is closed at once, but who frees pays for its barrier only when one is due, or when
    /// the next batch is full: until then another thread's barrier may have ended its period, too.
    ///
    /// # Safety
    ///
    /// As [`Objects::weigh`], of that object.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn push_on_in_time<R: Reclaim>(
        self: &Arc<Self>,
        (list, shard): (&List<O>, Shard),
        soon: Option<NonNull<Link>>,
        mut fills: Fills,
    ) -> bool {
        if let Some(object) = soon {
            // SAFETY: the caller's.
            let heavy = list.add_weight(unsafe { self.weigh(object) });
            if heavy || fills == Fills::Batch {
                fills = Fills::AtOnce;
            }
        }
        if fills == Fills::AtOnce || fills == Fills::Batch && R::PERIODS_TAKE_MEMORY {
            self.push_on_now::<R>((list, shard), soon.is_some());
            return true;
        }
        if soon.is_some() {
            self.note_waiting::<R>();
        }
        list.note_age();
        let cheap = !R::PERIODS_TAKE_MEMORY && pace::is_due();
        let lags = list.is_pending() && !list.is_ready::<R>();
        if soon.is_some() && cheap {
            self.push_on::<R>(shard.index);
            return false;
        }
        let full = fills == Fills::Batch;
        let closed = full && !list.is_pending();
        if closed {
            self.close::<R>(shard.index);
        }
        if (lags && (cheap || full)) || (closed && cheap) {
            pace::paid(R::drive);
        }
        full
    }

    /// Closes what is open, or pushes a period on that has begun.
    #[cold]
    pub(super) fn push_on_now<R: Reclaim>(self: &Arc<Self>, (list, shard): (&List<O>, Shard), soon: bool) {
        if soon {
            self.note_waiting::<R>();
        }
        list.note_age();
        self.push_on::<R>(shard.index);
    }

    /// Says that something waits that is to be dropped soon (V1, V3).
    fn note_waiting<R: Reclaim>(self: &Arc<Self>) {
        if cfg!(shadow_loom) {
            return;
        }
        super::list::barrier_of_owner();
        // Acquire: pairs with the Release below, and with that in `tidy_as`.
        if pace::is_waiting() && self.shared.is_enlisted.load(stat::Ordering::Acquire) {
            return;
        }
        if !self.shared.is_enlisted.swap(true, stat::Ordering::AcqRel) {
            // SAFETY: the store's drop delists it before the lists go.
            let listed = unsafe { stores::enlist(Arc::as_ptr(self).expose_provenance(), R::NAMED) };
            self.shared.is_enlisted.store(listed, stat::Ordering::Release);
        }
        pace::note_waiting();
    }

    /// A thread that has fallen silent leaves its shard to the others, who look after some at a time: after those that have
    /// retired nothing since somebody looked last.
    pub(super) fn look_after<R: Reclaim>(&self, shard: Shard, turn: u64, some: usize) {
        for step in 0..some.min(self.own.shards()) {
            let other = (turn as usize).wrapping_mul(some).wrapping_add(step) % self.own.shards();
            let Some(list) = self.get(other) else { continue };
            // Relaxed, all: a guess.
            let now = list.retired.load(Ordering::Relaxed);
            let silent = list.looked_at.swap(now as u32, Ordering::Relaxed) == now as u32;
            if silent && other != shard.index && list.waiting() > 0 {
                self.push_on::<R>(other);
                self.drain::<R>(other);
                self.sift::<R>(other, Effort::Few(2 * self.batch()));
            }
        }
    }

    /// After an operation, outside its guard: drops soon what is to be dropped soon, here, and from time to time what was left
    /// in any store. Runs the `Drop` of values.
    #[inline(always)]
    pub(crate) fn look<R: Reclaim>(&self) {
        if pace::is_waiting() && pace::is_time() {
            self.look_now::<R>();
        }
    }

    #[cold]
    #[inline(never)]
    fn look_now<R: Reclaim>(&self) {
        /// Values that one operation drops of those that are ready.
        const FEW: usize = 16;
        // Not in the middle of another operation, either: in a constructor, say. Nor when one panics.
        if is_reclaiming() || R::is_pinned() || std::thread::panicking() {
            return;
        }
        if pace::is_due()
            && let shard = self.used(self.shard())
            && let Some(list) = self.get(shard.index)
        {
            if !R::PERIODS_TAKE_MEMORY {
                self.look_after::<R>(shard, list.retired.load(Ordering::Relaxed) / LOOK_AFTER, 8);
                if list.waiting() > 0 {
                    self.push_on::<R>(shard.index);
                }
            }
            if list.waiting() > 0 {
                if R::PUSHES_PLAINLY && shard.is_own() {
                    let _ = (0..FEW).try_for_each(|_| self.drop_few::<R>(shard).then_some(()));
                } else {
                    self.drain::<R>(shard.index);
                }
                self.sift::<R>(shard.index, Effort::Few(2 * FEW as u64));
            }
        }
        pace::look(|| Self::visit_all(Visitor::Operation));
    }

    /// Looks after all stores of the process.
    pub(super) fn visit_all(by: Visitor) {
        // SAFETY: all stores of the process have objects of one kind.
        unsafe { stores::visit_all(by, Self::tidy) }
    }

    /// See [`stores::Tidy`].
    ///
    /// # Safety
    ///
    /// The address of such lists, of this backend, which are there.
    unsafe fn tidy(backend: Named, lists: usize, by: Visitor) -> Left {
        // SAFETY: the caller's, in all arms.
        unsafe {
            match backend {
                Named::Asymmetric => Self::tidy_as::<Asymmetric>(lists, by),
                Named::Epoch => Self::tidy_as::<Epoch>(lists, by),
                Named::Eras => Self::tidy_as::<Eras>(lists, by),
                #[cfg(feature = "seize")]
                Named::Seize => Self::tidy_as::<Seize>(lists, by),
                #[cfg(any(test, shadow_loom))]
                Named::Checked { exact: true } => Self::tidy_as::<Checked>(lists, by),
                #[cfg(any(test, shadow_loom))]
                Named::Checked { exact: false } => Self::tidy_as::<Checked<false>>(lists, by),
            }
        }
    }

    /// # Safety
    ///
    /// The address of such lists, of this backend, which are there.
    unsafe fn tidy_as<R: Reclaim>(lists: usize, by: Visitor) -> Left {
        // SAFETY: the caller's.
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
        // As V3, of what is enlisted: whoever retires something now enlists the store again, or is seen here.
        lists.shared.is_enlisted.store(false, stat::Ordering::Release);
        if super::barrier::heavy() && lists.is_empty() {
            return Left::Nothing;
        }
        lists.shared.is_enlisted.store(true, stat::Ordering::Release);
        Left::Something
    }

    /// Closes what is open, drops what is ready, pushes the backend on. Never waits.
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

    /// The same until nothing is left that no guard holds back, or others are at it: what is open may have to wait for what
    /// waits already.
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

    /// Whether nothing that was retired is still there.
    pub(super) fn is_empty(&self) -> bool {
        self.lists().all(|(_, list)| list.is_empty())
    }

    /// For how long the oldest has waited that is retired and not yet reclaimed; about.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let oldest = self.lists().filter_map(|(_, list)| list.oldest()).min()?;
        Some(Duration::from_nanos(pace::nanoseconds().saturating_sub(oldest)))
    }

    /// Whether nobody looks after these lists from now on, and the store may go; if not, this thread is at it, and the store
    /// is to be [left over](stores::leave_over).
    pub(crate) fn delist(&self) -> bool {
        stores::delist(std::ptr::from_ref(self).addr())
    }
}
