//! Held objects: with intervals (B1 to B6 of [`eras`](super::eras)), objects that a lagging reader cannot have found
//! are freed although its period is not over; the others are *held*.
//!
//! - **H1** A batch whose period is not over is *sifted* under TAKEN (R2) once its readers can be known (B3): objects
//!   that no reader may find are freed, and the others are held, with the period that they waited for. The batch then
//!   counts as drained, so the next can be closed.
//! - **H2** Held objects only change under TAKEN. They are in two chains: the *rest* of the current round, and those
//!   already examined in the round and *kept*. When the rest is empty, the next round begins. Each pass examines some
//!   of them, each by its own interval: so an object held only by a reader that has gone is not held because of another
//!   that came after the object was retired.
//! - **H3** `oldest` is no later than the period of any held object; it is published when the freed objects have been
//!   dropped. So what was retired before a mark has been dropped when R5 says so, and `oldest` is past the period of
//!   the batch that had been drained last when a thread first saw that.
//!
//! A fork may cut off a thread under TAKEN anywhere (F4). The objects in its hands are lost, a batch at most. The
//! chains are whole, or both the same at the end of a round; the thread that [takes over](Held::mend) handles that.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::list::{CHAINS, Heads, List, lagging_in};
use super::object::{End, Interval, Link, Objects};
use super::retired::{RetireLists, is_reclaiming};
use super::{Reclaim, pace};
use crate::mem::try_box;
use crate::sync::{AtomicPtr, Ordering, compiler_fence, stat};

/// How many held objects a pass examines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// At most this many objects.
    Few(u64),
    /// Until this many were kept: all, if no reader holds them any more.
    Most(u64),
    /// All, and also the batch that has begun to wait just now.
    All,
}

/// Lagging readers: the oldest and the newest era of what each may have found (B1).
pub struct Laggards {
    some: [(u64, u64); Self::MOST],
    count: usize,
}

impl Laggards {
    /// If there are more, the newest are merged into one that may have found what any of them has: never the oldest,
    /// which is the stalled one.
    const MOST: usize = 32;

    pub(super) fn new() -> Self {
        Self {
            some: [(0, 0); Self::MOST],
            count: 0,
        }
    }

    pub(super) fn add(&mut self, epoch: u64, upper: u64) {
        match self.some.get_mut(self.count) {
            Some(place) => {
                *place = (epoch, upper);
                self.count += 1;
            }
            None => {
                self.some.sort_unstable();
                let newest = self.some[Self::MOST - 1];
                let last = &mut self.some[Self::MOST - 2];
                *last = (last.0.min(newest.0), last.1.max(newest.1));
                self.some[Self::MOST - 1] = (epoch, upper);
            }
        }
    }

    /// Returns whether a lagging reader may find an object with this interval.
    fn may_find(&self, born: u64, retired: u64) -> bool {
        self.some[..self.count]
            .iter()
            .any(|&(epoch, upper)| epoch < retired && born <= upper)
    }
}

/// The held objects of one shard's list (H2).
pub(super) struct Held {
    rest: AtomicPtr<Link>,
    kept: AtomicPtr<Link>,
    /// The oldest period in each chain: only touched under TAKEN.
    oldest_of_rest: stat::AtomicU64,
    oldest_of_kept: stat::AtomicU64,
    /// H3: `u64::MAX` if nothing is held.
    oldest: stat::AtomicU64,
    /// The period of the batch last drained by sifting.
    drained: stat::AtomicU64,
    /// The period of the batch that was too young to be sifted.
    spared: stat::AtomicU64,
    pub(super) count: stat::AtomicU64,
    /// Bytes of the held objects, and approximately what they own besides these.
    bytes: stat::AtomicU64,
    weight: stat::AtomicU64,
    /// A time by which the oldest held object was held; or 0.
    pub(super) since: stat::AtomicU64,
}

/// A period that held objects have to be past: see [`Held::is_past`].
pub(super) struct Reached(Cell<u64>);

impl Reached {
    pub(super) const fn new() -> Self {
        Self(Cell::new(0))
    }
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            rest: AtomicPtr::new(ptr::null_mut()),
            kept: AtomicPtr::new(ptr::null_mut()),
            oldest_of_rest: stat::AtomicU64::new(u64::MAX),
            oldest_of_kept: stat::AtomicU64::new(u64::MAX),
            oldest: stat::AtomicU64::new(u64::MAX),
            drained: stat::AtomicU64::new(0),
            spared: stat::AtomicU64::new(0),
            count: stat::AtomicU64::new(0),
            bytes: stat::AtomicU64::new(0),
            weight: stat::AtomicU64::new(0),
            since: stat::AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // Acquire: pairs with `publish_oldest`.
        self.oldest.load(Ordering::Acquire) == u64::MAX
    }

    /// Returns whether all objects retired before a mark have been dropped, given that its batch counts as drained
    /// (H3).
    pub(super) fn is_past(&self, reached: &Reached) -> bool {
        if self.is_empty() {
            return true;
        }
        if reached.0.get() == 0 {
            // Relaxed: acquired with the count of drained batches.
            reached.0.set(self.drained.load(Ordering::Relaxed));
        }
        // Acquire: pairs with `publish_oldest`.
        self.oldest.load(Ordering::Acquire) > reached.0.get()
    }

    /// Returns approximately the bytes that the guards of this period may hold, including what the objects own.
    pub(super) fn held_back(&self, period: u64) -> u64 {
        // Relaxed, all: an estimate.
        if self.drained.load(Ordering::Relaxed) <= period {
            return 0;
        }
        self.bytes.load(Ordering::Relaxed).saturating_add(self.weight())
    }

    /// Returns approximately how many bytes the held objects own besides their own.
    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Adds a held object of this size, which owns `weight` more. Under TAKEN.
    fn count_bytes(&self, bytes: u64, weight: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.weight.fetch_add(weight, Ordering::Relaxed);
    }

    /// Subtracts an object that is no longer held. Under TAKEN.
    fn forget_bytes(&self, bytes: u64, weight: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.weight.fetch_sub(weight, Ordering::Relaxed);
    }

    /// Returns whether a batch was already waiting for this period at the last call.
    fn has_waited(&self, period: u64) -> bool {
        // Relaxed: an estimate.
        self.spared.swap(period, Ordering::Relaxed) == period
    }

    /// Holds an object. Under TAKEN.
    ///
    /// # Safety
    ///
    /// The object is of this list, in no chain, and of a store with intervals; `self` is the list's.
    unsafe fn keep(&self, object: NonNull<Link>, retired: u64) {
        debug_assert!(retired <= self.drained.load(Ordering::Relaxed), "looked for by it");
        // Relaxed, here and below: under TAKEN (H2).
        // SAFETY: the caller guarantees that the object is in no chain.
        unsafe { object.as_ref() }.set_next(self.kept.load(Ordering::Relaxed));
        object.as_ptr().expose_provenance();
        // Counted first: a fork may come in between (F4), and an object that is not counted would never be examined.
        let oldest = self.oldest_of_kept.load(Ordering::Relaxed).min(retired);
        self.oldest_of_kept.store(oldest, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.kept.store(object.as_ptr(), Ordering::Relaxed);
    }

    /// Takes out the next object of this round, or begins the next round and returns `None`. Under TAKEN.
    fn next(&self) -> Option<NonNull<Link>> {
        let Some(object) = NonNull::new(self.rest.load(Ordering::Relaxed)) else {
            let oldest = self.oldest_of_kept.load(Ordering::Relaxed);
            self.oldest_of_rest.store(oldest, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            // A fork may come in between here, too: then both chains are the same, which is [mended](Self::mend).
            self.rest.store(self.kept.load(Ordering::Relaxed), Ordering::Relaxed);
            self.end_of_round();
            return None;
        };
        // SAFETY: the object is in a chain of this list (H2).
        self.rest.store(unsafe { object.as_ref() }.next(), Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(object)
    }

    /// Empties the kept chain, which the rest has taken over. Under TAKEN.
    fn end_of_round(&self) {
        compiler_fence(Ordering::SeqCst);
        self.kept.store(ptr::null_mut(), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.oldest_of_kept.store(u64::MAX, Ordering::Relaxed);
    }

    /// In the child of a fork: completes what a thread that does not exist here was doing under TAKEN, which the caller
    /// holds now.
    pub(super) fn mend(&self) {
        let rest = self.rest.load(Ordering::Relaxed);
        if !rest.is_null() && rest == self.kept.load(Ordering::Relaxed) {
            self.end_of_round();
        }
        self.publish_oldest();
        if !self.is_empty() && self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(pace::nanoseconds(), Ordering::Relaxed);
        }
    }

    /// Publishes the oldest period, once the freed objects have been dropped (H3). Under TAKEN.
    fn publish_oldest(&self) {
        for (chain, oldest) in [(&self.rest, &self.oldest_of_rest), (&self.kept, &self.oldest_of_kept)] {
            if chain.load(Ordering::Relaxed).is_null() {
                oldest.store(u64::MAX, Ordering::Relaxed);
            }
        }
        let [rest, kept] = [&self.oldest_of_rest, &self.oldest_of_kept].map(|oldest| oldest.load(Ordering::Relaxed));
        // Release: pairs with `is_past`.
        self.oldest.store(rest.min(kept), Ordering::Release);
        if rest.min(kept) == u64::MAX {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// Takes all held objects, for the store's drop.
    pub(super) fn take_all(&self) -> [*mut Link; 2] {
        self.mend();
        // Acquire: the last holder has left TAKEN.
        [&self.rest, &self.kept].map(|chain| chain.swap(ptr::null_mut(), Ordering::Acquire))
    }
}

impl<O: Objects> List<O> {
    /// Returns the held objects, if a reader ever lagged behind.
    #[inline]
    pub(super) fn held(&self) -> Option<&Held> {
        // Acquire: pairs with `make_held`.
        // SAFETY: null, or made there, and freed by the drop only.
        unsafe { self.held.load(Ordering::Acquire).as_ref() }
    }

    /// Like [`held`](Self::held), made if necessary. Returns `None` if allocation fails: then the batch goes on
    /// waiting.
    #[cold]
    pub(super) fn make_held(&self) -> Option<&Held> {
        if self.held().is_none() {
            let fresh = Box::into_raw(try_box(Held::new())?);
            // Release: pairs with `held`.
            let made = self
                .held
                .compare_exchange(ptr::null_mut(), fresh, Ordering::Release, Ordering::Relaxed);
            if made.is_err() {
                // SAFETY: made just now, and not published.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        self.held()
    }

    /// Returns like [`waiting`](Self::waiting), without the [held](super::held) objects.
    pub(super) fn unheld(&self) -> u64 {
        let held = self.held().map_or(0, |held| held.count.load(Ordering::Relaxed));
        self.waiting().saturating_sub(held)
    }

    /// Returns the period that the waiting objects wait for, if it is not over.
    pub(super) fn lagging<R: Reclaim>(&self) -> Option<u64> {
        // Relaxed: `take_any` checks again.
        lagging_in::<R>(self.state.load(Ordering::Relaxed))
    }
}

/// Objects to be freed, in chains side by side.
struct ToFree {
    chains: Heads,
    count: u64,
}

impl ToFree {
    const EMPTY: Self = Self {
        chains: [ptr::null_mut(); CHAINS],
        count: 0,
    };

    fn take(&mut self) -> Heads {
        std::mem::replace(self, Self::EMPTY).chains
    }

    /// # Safety
    ///
    /// The object is in no chain.
    unsafe fn add(&mut self, object: NonNull<Link>) {
        let chain = &mut self.chains[self.count as usize % CHAINS];
        self.count += 1;
        // SAFETY: the caller guarantees that the object is in no chain.
        unsafe { object.as_ref() }.set_next(*chain);
        *chain = object.as_ptr();
    }
}

impl<O: Objects> RetireLists<O> {
    /// Frees the objects that no reader may find any more: those of a shard whose period a reader holds up, and those
    /// held there. Does nothing where nothing is held up; nor, unless the effort is [`Effort::All`], where the period
    /// has begun since the last call: most are over by the next call, and the caller's own guard holds up those that it
    /// begins. Runs the `Drop` of values.
    #[inline]
    pub(crate) fn sift<R: Reclaim>(&self, shard: usize, effort: Effort) {
        let Some(list) = self.get(shard).filter(|_| R::INTERVALS) else {
            return;
        };
        let lagging = list.lagging::<R>();
        let held = match lagging {
            Some(_) => list.make_held(),
            None => list.held(),
        };
        if let Some(held) = held
            && (lagging.is_some_and(|period| effort == Effort::All || held.has_waited(period)) || !held.is_empty())
        {
            self.sift_list::<R>(shard, (list, held), effort);
        }
    }

    #[cold]
    #[inline(never)]
    fn sift_list<R: Reclaim>(&self, shard: usize, (list, held): (&List<O>, &Held), effort: Effort) {
        // As in `drop_few`.
        if is_reclaiming() {
            return;
        }
        let Some(taken) = list.take_any(self.is_foreign::<R>(shard)) else {
            return;
        };
        let mut to_free = ToFree::EMPTY;
        // For the waiting batch, if its readers can be known; else for the batch drained last, which is later than all
        // that is held.
        let waits_for = taken
            .lagging::<R>()
            .filter(|&period| effort == Effort::All || held.spared.load(Ordering::Relaxed) == period);
        let of_batch = waits_for.and_then(|period| Some((period, R::laggards(period)?)));
        if let Some((period, laggards)) = &of_batch {
            // The weight of each single object is not known.
            let each = list.weights().map_or(0, |weights| weights.each.load(Ordering::Relaxed));
            let end = End::new(*period, each);
            // First: a thread that takes over in the child of a fork looks for readers by it.
            held.drained.store(*period, Ordering::Relaxed);
            if held.since.load(Ordering::Relaxed) == 0 {
                held.since
                    .store(list.waiting_since.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            compiler_fence(Ordering::SeqCst);
            for mut next in list.take_waiting() {
                while let Some(object) = NonNull::new(next) {
                    // SAFETY: the waiting objects belong to this thread under TAKEN (R2), and are of a store with
                    // intervals.
                    unsafe {
                        next = object.as_ref().next();
                        crate::mem::prefetch(next);
                        let interval = self.objects.interval(object).as_mut();
                        interval.retired = end;
                        if laggards.may_find(interval.born, *period) {
                            held.count_bytes(self.objects.bytes(object), end.weight());
                            held.keep(object, *period);
                        } else {
                            to_free.add(object);
                        }
                    }
                }
            }
        }
        let laggards = match of_batch {
            Some((_, laggards)) => Some(laggards),
            None => R::laggards(held.drained.load(Ordering::Relaxed)),
        };
        if let Some(laggards) = laggards {
            let (mut looked, mut kept) = (0, 0);
            for _ in 0..held.count.load(Ordering::Relaxed) {
                match effort {
                    Effort::Few(most) if looked >= most => break,
                    Effort::Most(most) if kept >= most => break,
                    _ => looked += 1,
                }
                // At most a batch is in a thread's hands, where a fork may lose it.
                if to_free.count >= self.batch() {
                    // SAFETY: as below.
                    unsafe { self.reclaim::<R>(list, to_free.take()) };
                }
                let Some(object) = held.next().or_else(|| held.next()) else {
                    break;
                };
                // SAFETY: taken out just now (H2).
                unsafe {
                    let Interval { born, retired: end } = *self.objects.interval(object).as_ref();
                    crate::mem::prefetch(object.as_ref().next());
                    if laggards.may_find(born, end.period()) {
                        held.keep(object, end.period());
                        kept += 1;
                    } else {
                        held.forget_bytes(self.objects.bytes(object), end.weight());
                        to_free.add(object);
                    }
                }
            }
        }
        // SAFETY: no reader may find any of these (B3), and they were taken out of all chains.
        unsafe { self.reclaim::<R>(list, to_free.take()) };
        held.publish_oldest();
        if waits_for.is_some() && list.is_nothing_waiting() {
            list.drained(taken);
            if list.unheld() >= self.batch() {
                self.close::<R>(shard);
            }
        } else {
            list.put_back(taken);
        }
    }
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(miri), not(shadow_loom)))]
mod tests;
