//! What waits for a reader that lags behind: with intervals (B1 to B6 of [`eras`](super::eras)), what it cannot have found goes
//! all the same, and the rest is *held*.
//!
//! - **H1** A batch whose period is not over is *sifted* under TAKEN (R2) when its readers can be known (B3): what nobody may
//!   find goes, and the rest is held, with the period that it waited for. The batch counts as drained then, so the next can be
//!   closed.
//! - **H2** What is held only changes under TAKEN. It is in two chains: the *rest* of the round, and those of the round that
//!   were looked at and *kept*. When the rest is empty, the next round begins. Each look takes some, by the interval of each:
//!   so what a reader held that is gone is not held because of another who came after it was retired.
//! - **H3** `oldest` is no later than the period of anything that is held: published when what has gone is dropped. So what was
//!   retired before a mark is dropped when R5 says so, and `oldest` is past the period of the batch that was drained last
//!   when somebody saw that first.
//!
//! A fork may cut off a thread under TAKEN anywhere (F4): what it has in hand is lost, a batch at most, and the chains are whole,
//! or both the same, at the end of a round; whoever [goes on](Held::mend) in its place sees that.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::list::{CHAINS, Heads, List, lagging_in};
use super::object::{End, Interval, Link, Objects};
use super::retired::{RetireLists, is_reclaiming};
use super::{Reclaim, pace};
use crate::mem::try_box;
use crate::sync::{AtomicPtr, Ordering, compiler_fence, stat};

/// How much of what is held is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// So many objects at most.
    Few(u64),
    /// Until so many were kept: all, when nobody holds them any more.
    Most(u64),
    /// All; and what has begun to wait just now, too.
    All,
}

/// Readers that lag behind: the older and the newer end of what each may have found (B1).
pub struct Laggards {
    some: [(u64, u64); Self::MOST],
    count: usize,
}

impl Laggards {
    /// Of more, the newest are taken together, as one who may have found what any of them has: never the oldest, which is the
    /// one that stalls.
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

    /// Whether one of them may find what was born and retired then.
    fn hold(&self, born: u64, retired: u64) -> bool {
        self.some[..self.count]
            .iter()
            .any(|&(epoch, upper)| epoch < retired && born <= upper)
    }
}

/// What one shard's list holds (H2).
pub(super) struct Held {
    rest: AtomicPtr<Link>,
    kept: AtomicPtr<Link>,
    /// The oldest periods of what is in them: only touched under TAKEN.
    oldest_of_rest: stat::AtomicU64,
    oldest_of_kept: stat::AtomicU64,
    /// H3: `u64::MAX` if nothing is held.
    oldest: stat::AtomicU64,
    /// The period of the batch that was drained last by sifting.
    drained: stat::AtomicU64,
    /// The period of the batch that was too young to be sifted.
    spared: stat::AtomicU64,
    pub(super) count: stat::AtomicU64,
    /// Bytes of what is held, and about what that owns beside.
    bytes: stat::AtomicU64,
    weight: stat::AtomicU64,
    /// Since when, at the latest, something is held; or 0.
    pub(super) since: stat::AtomicU64,
}

/// How far what is held must come: see [`Held::is_past`].
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
        // Acquire: pairs with `end`.
        self.oldest.load(Ordering::Acquire) == u64::MAX
    }

    /// Whether all is gone that was retired before a mark, whose batch counts as drained (H3).
    pub(super) fn is_past(&self, reached: &Reached) -> bool {
        if self.is_empty() {
            return true;
        }
        if reached.0.get() == 0 {
            // Relaxed: acquired with the count of drained batches.
            reached.0.set(self.drained.load(Ordering::Relaxed));
        }
        // Acquire: pairs with `end`.
        self.oldest.load(Ordering::Acquire) > reached.0.get()
    }

    /// Bytes of what the guards of this period may hold, with what that owns beside its bytes; about.
    pub(super) fn held_back(&self, period: u64) -> u64 {
        // Relaxed, all: a guess.
        if self.drained.load(Ordering::Relaxed) <= period {
            return 0;
        }
        self.bytes.load(Ordering::Relaxed).saturating_add(self.weight())
    }

    /// What is held owns so much beside its bytes; about.
    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// An object of so many bytes, that owns so much, is held. Under TAKEN.
    fn count_bytes(&self, bytes: u64, weight: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.weight.fetch_add(weight, Ordering::Relaxed);
    }

    /// It is not any more. Under TAKEN.
    fn forget_bytes(&self, bytes: u64, weight: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.weight.fetch_sub(weight, Ordering::Relaxed);
    }

    /// Whether this was asked before of a batch.
    fn is_patient(&self, period: u64) -> bool {
        // Relaxed: a guess.
        self.spared.swap(period, Ordering::Relaxed) == period
    }

    /// Takes an object in. Under TAKEN.
    ///
    /// # Safety
    ///
    /// It is of this list, in no chain, of a store with intervals, and this is its own.
    unsafe fn keep(&self, object: NonNull<Link>, retired: u64) {
        debug_assert!(retired <= self.drained.load(Ordering::Relaxed), "looked for by it");
        // Relaxed, here and below: under TAKEN (H2).
        // SAFETY: the caller's.
        unsafe { object.as_ref() }.set_next(self.kept.load(Ordering::Relaxed));
        object.as_ptr().expose_provenance();
        // Counted first: a fork may come in between (F4), and what is not counted would never be looked at.
        let oldest = self.oldest_of_kept.load(Ordering::Relaxed).min(retired);
        self.oldest_of_kept.store(oldest, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.kept.store(object.as_ptr(), Ordering::Relaxed);
    }

    /// The next of this round, taken out; nothing at its end, when the next begins. Under TAKEN.
    fn next(&self) -> Option<NonNull<Link>> {
        let Some(object) = NonNull::new(self.rest.load(Ordering::Relaxed)) else {
            let oldest = self.oldest_of_kept.load(Ordering::Relaxed);
            self.oldest_of_rest.store(oldest, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            // A fork may come in between, too: then both chains are the same, which is [mended](Self::mend).
            self.rest.store(self.kept.load(Ordering::Relaxed), Ordering::Relaxed);
            self.end_of_round();
            return None;
        };
        // SAFETY: in a chain of ours (H2).
        self.rest.store(unsafe { object.as_ref() }.next(), Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(object)
    }

    /// The rest is what was kept, and nothing is kept. Under TAKEN.
    fn end_of_round(&self) {
        compiler_fence(Ordering::SeqCst);
        self.kept.store(ptr::null_mut(), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.oldest_of_kept.store(u64::MAX, Ordering::Relaxed);
    }

    /// In the child of a fork: ends what a thread that is gone was doing under TAKEN, which the caller has now.
    pub(super) fn mend(&self) {
        let rest = self.rest.load(Ordering::Relaxed);
        if !rest.is_null() && rest == self.kept.load(Ordering::Relaxed) {
            self.end_of_round();
        }
        self.end();
        if !self.is_empty() && self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(pace::nanoseconds(), Ordering::Relaxed);
        }
    }

    /// What has gone is dropped (H3). Under TAKEN.
    fn end(&self) {
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

    /// All of it, for the store's drop.
    pub(super) fn take_all(&self) -> [*mut Link; 2] {
        self.mend();
        // Acquire: whoever held it last has left TAKEN.
        [&self.rest, &self.kept].map(|chain| chain.swap(ptr::null_mut(), Ordering::Acquire))
    }
}

impl<O: Objects> List<O> {
    /// What is held, if a reader ever lagged behind.
    #[inline]
    pub(super) fn held(&self) -> Option<&Held> {
        // Acquire: pairs with `make_held`.
        // SAFETY: null, or made there, and freed by the drop only.
        unsafe { self.held.load(Ordering::Acquire).as_ref() }
    }

    /// The same, made if it is not there. Nothing if there is no memory: then what waits goes on waiting.
    #[cold]
    pub(super) fn make_held(&self) -> Option<&Held> {
        if self.held().is_none() {
            let fresh = Box::into_raw(try_box(Held::new())?);
            // Release: pairs with `held`.
            let made = self
                .held
                .compare_exchange(ptr::null_mut(), fresh, Ordering::Release, Ordering::Relaxed);
            if made.is_err() {
                // SAFETY: made just now, and known to nobody.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        self.held()
    }

    /// The same but for what is [held](super::held).
    pub(super) fn fresh(&self) -> u64 {
        let held = self.held().map_or(0, |held| held.count.load(Ordering::Relaxed));
        self.waiting().saturating_sub(held)
    }

    /// The period that what waits does, if that is not over.
    pub(super) fn lagging<R: Reclaim>(&self) -> Option<u64> {
        // Relaxed: `take_any` looks again.
        lagging_in::<R>(self.state.load(Ordering::Relaxed))
    }
}

/// What is to go, side by side.
struct Gone {
    chains: Heads,
    count: u64,
}

impl Gone {
    const NOTHING: Self = Self {
        chains: [ptr::null_mut(); CHAINS],
        count: 0,
    };

    fn take(&mut self) -> Heads {
        std::mem::replace(self, Self::NOTHING).chains
    }

    /// # Safety
    ///
    /// The object is in no chain.
    unsafe fn add(&mut self, object: NonNull<Link>) {
        let chain = &mut self.chains[self.count as usize % CHAINS];
        self.count += 1;
        // SAFETY: the caller's.
        unsafe { object.as_ref() }.set_next(*chain);
        *chain = object.as_ptr();
    }
}

impl<O: Objects> RetireLists<O> {
    /// Drops what no reader may find any more of a shard whose period a reader holds up, and of what is held there. Does nothing where nothing is held up; nor, unless all is asked for, where the period has begun since it was
    /// called before: most are over by the next call, and the caller's own guard holds up those that it begins. Runs the `Drop`
    /// of values.
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
            && (lagging.is_some_and(|period| effort == Effort::All || held.is_patient(period)) || !held.is_empty())
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
        let mut gone = Gone::NOTHING;
        // Of what waits, if its readers can be known; else of what was drained last, which is later than all that is held.
        let waits_for = taken
            .lagging::<R>()
            .filter(|&period| effort == Effort::All || held.spared.load(Ordering::Relaxed) == period);
        let of_batch = waits_for.and_then(|period| Some((period, R::laggards(period)?)));
        if let Some((period, laggards)) = &of_batch {
            // Nobody knows which of them weighs what.
            let each = list.weights().map_or(0, |weights| weights.each.load(Ordering::Relaxed));
            let end = End::new(*period, each);
            // First: whoever goes on in the child of a fork that cuts this off looks for readers by it.
            held.drained.store(*period, Ordering::Relaxed);
            if held.since.load(Ordering::Relaxed) == 0 {
                held.since
                    .store(list.waiting_since.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            compiler_fence(Ordering::SeqCst);
            for mut next in list.take_waiting() {
                while let Some(object) = NonNull::new(next) {
                    // SAFETY: what waits is ours alone under TAKEN (R2), of a store with intervals.
                    unsafe {
                        next = object.as_ref().next();
                        crate::mem::prefetch(next);
                        let interval = self.objects.interval(object).as_mut();
                        interval.retired = end;
                        if laggards.hold(interval.born, *period) {
                            held.count_bytes(self.objects.bytes(object), end.weight());
                            held.keep(object, *period);
                        } else {
                            gone.add(object);
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
                // A batch at most is in the hands of a thread, which a fork may take away.
                if gone.count >= self.batch() {
                    // SAFETY: as below.
                    unsafe { self.reclaim::<R>(list, gone.take()) };
                }
                let Some(object) = held.next().or_else(|| held.next()) else {
                    break;
                };
                // SAFETY: taken out just now (H2).
                unsafe {
                    let Interval { born, retired: end } = *self.objects.interval(object).as_ref();
                    crate::mem::prefetch(object.as_ref().next());
                    if laggards.hold(born, end.period()) {
                        held.keep(object, end.period());
                        kept += 1;
                    } else {
                        held.forget_bytes(self.objects.bytes(object), end.weight());
                        gone.add(object);
                    }
                }
            }
        }
        // SAFETY: nobody may find any of it (B3), and it was taken out of all chains.
        unsafe { self.reclaim::<R>(list, gone.take()) };
        held.end();
        if waits_for.is_some() && list.is_nothing_waiting() {
            list.drained(taken);
            if list.fresh() >= self.batch() {
                self.close::<R>(shard);
            }
        } else {
            list.put_back(taken);
        }
    }
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(miri), not(shadow_loom)))]
mod tests;
