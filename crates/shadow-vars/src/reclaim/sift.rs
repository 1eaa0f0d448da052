//! Sifting: with intervals, frees the objects that no lagging reader can have found, and holds the others. Cites the rules of
//! [`held`](super::held).

use std::ptr::{self, NonNull};

use super::Reclaim;
use super::held::Held;
use super::list::{CHAINS, Heads, List};
use super::object::{End, Interval, Link, Objects};
use super::retired::{RetireLists, is_reclaiming};
use crate::sync::{Ordering, compiler_fence};

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
            Some(_) => list.held.get_or_make(Held::new),
            None => list.held.get(),
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
            let each = list
                .weights
                .get()
                .map_or(0, |weights| weights.each.load(Ordering::Relaxed));
            let end = End::new(*period, each);
            // First: a thread that takes over in the child of a fork looks for readers by it.
            held.drained.store(*period, Ordering::Relaxed);
            if held.since.load(Ordering::Relaxed) == 0 {
                held.since
                    .store(list.waiting_since.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            compiler_fence(Ordering::SeqCst);
            // SAFETY: this thread holds the list TAKEN, and frees or holds all of them.
            for mut next in unsafe { list.take_waiting() } {
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
                // SAFETY: this thread holds the list TAKEN.
                let Some(object) = (unsafe { held.next().or_else(|| held.next()) }) else {
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
