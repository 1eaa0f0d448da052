//! Per-thread state of a store: each thread has a shard of its own, as long as there are enough.
//!
//! A locked instruction costs more than the look-up beside it, and a counter needs one only if two threads may write it at the
//! same time. So threads take *places*, the lowest that is free, and return them when they end; a store has a shard for each
//! of its first places, written by one thread at a time, and one more that all other threads share.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use asymmetric_barrier::Reader;

use crate::mem::{try_box, try_slice};
use crate::sync::stat::{AtomicPtr, AtomicU64, Ordering};

/// The most shards that a store has.
pub(crate) const MAX_SHARDS: usize = 129;

/// A thread's shard of one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    /// Whether no other thread writes it: 1, or 0. A whole word, as a struct with padding is copied byte by byte.
    own: usize,
}

impl Shard {
    /// Returns this thread's shard, in a store that has `shards`: the last one is shared.
    #[inline]
    pub(crate) fn of(shards: usize) -> Self {
        // All threads of a model share the thread-local below.
        if crate::sync::LOOM {
            return Self::shared(shards);
        }
        let place = PLACE.get() as usize;
        if place < shards {
            return Self {
                index: place - 1,
                own: 1,
            };
        }
        Self::other(shards)
    }

    #[cold]
    fn other(shards: usize) -> Self {
        if PLACE.get() == NONE {
            return match take_place() {
                place if (place as usize) < shards => Self::of(shards),
                _ => Self::shared(shards),
            };
        }
        Self::shared(shards)
    }

    /// Returns the shard with this index, for reading what it has.
    #[inline]
    pub(crate) fn at(index: usize) -> Self {
        Self { index, own: 0 }
    }

    /// Returns the shard that threads without a place share.
    pub(crate) fn shared(shards: usize) -> Self {
        Self {
            index: shards - 1,
            own: 0,
        }
    }

    /// Returns a shard that a model's thread uses as its own.
    #[cfg(shadow_loom)]
    pub(crate) fn owned(index: usize) -> Self {
        Self { index, own: 1 }
    }

    /// Returns whether no other thread uses what this shard has.
    #[inline]
    pub(crate) fn is_own(self) -> bool {
        self.own != 0
    }

    /// Adds to a counter of this shard, and returns its new value.
    #[inline]
    pub(crate) fn add(self, counter: &AtomicU64, by: u64) -> u64 {
        // Relaxed: the counters are summed without any promise of an instant. Where order matters, other accesses provide it.
        if self.is_own() {
            let sum = counter.load(Ordering::Relaxed).wrapping_add(by);
            counter.store(sum, Ordering::Relaxed);
            sum
        } else {
            counter.fetch_add(by, Ordering::Relaxed).wrapping_add(by)
        }
    }
}

/// A value for each shard of a store, created when the shard first needs it.
pub(crate) struct PerShard<T> {
    /// One slot for each shard, null or set by [`make`](Self::make); or [`NOTHING`], until the first is made.
    slots: AtomicPtr<AtomicPtr<T>>,
    shards: usize,
    _owned: PhantomData<T>,
}

/// The slots of a store none of whose shards has a value. Never written.
static NOTHING: [AtomicPtr<()>; MAX_SHARDS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_SHARDS];

impl<T> PerShard<T> {
    /// Creates the values of a store with this many shards. Allocates nothing.
    pub(crate) fn new(shards: usize) -> Self {
        assert!(shards <= MAX_SHARDS, "more shards than a store has");
        Self {
            slots: AtomicPtr::new(Self::nothing()),
            shards,
            _owned: PhantomData,
        }
    }

    fn nothing() -> *mut AtomicPtr<T> {
        NOTHING.as_ptr().cast_mut().cast()
    }

    /// Returns the number of shards, of which one is shared.
    #[inline]
    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    /// Returns the shard's value, if it has one yet.
    #[inline]
    pub(crate) fn get(&self, shard: Shard) -> Option<&T> {
        assert!(shard.index < self.shards, "a shard of another store");
        // SAFETY: there are as many slots as shards; null, or a value that lives as long as `self`.
        unsafe {
            (*self.slots.load(Ordering::Acquire).add(shard.index))
                .load(Ordering::Acquire)
                .as_ref()
        }
    }

    /// Returns the shard's value, created now if it has none. Returns `None` if allocation fails.
    #[cold]
    pub(crate) fn make(&self, shard: Shard, new: impl FnOnce() -> T) -> Option<&T> {
        if let Some(made) = self.get(shard) {
            return Some(made);
        }
        let mut slots = self.slots.load(Ordering::Acquire);
        if ptr::eq(slots, Self::nothing()) {
            let fresh = try_slice(self.shards, || AtomicPtr::<T>::new(ptr::null_mut()))?;
            let fresh = Box::into_raw(fresh);
            // AcqRel: Release publishes the slots to `get`; Acquire on failure, for the winner's.
            let ours = fresh.cast::<AtomicPtr<T>>();
            match (self.slots).compare_exchange(slots, ours, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => slots = ours,
                Err(theirs) => {
                    slots = theirs;
                    // SAFETY: allocated above, and never shared.
                    drop(unsafe { Box::from_raw(fresh) });
                }
            }
        }
        let fresh = Box::into_raw(try_box(new())?);
        // SAFETY: as in `get`, which has checked the shard; these slots are no longer those of `NOTHING`.
        let slot = unsafe { &*slots.add(shard.index) };
        // AcqRel: as for the slots.
        if slot
            .compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // SAFETY: allocated above, and never shared.
            drop(unsafe { Box::from_raw(fresh) });
        }
        self.get(shard)
    }

    /// Returns the values of the shards that have one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let shards = 0..self.shards;
        shards.filter_map(|index| self.get(Shard { index, own: 0 }))
    }
}

impl<T> Drop for PerShard<T> {
    fn drop(&mut self) {
        let slots = *self.slots.get_mut();
        if ptr::eq(slots, Self::nothing()) {
            return;
        }
        // SAFETY: allocated by `make` as a boxed slice of this length, and published once.
        let slots = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(slots, self.shards)) };
        for slot in slots {
            if let Some(made) = NonNull::new(slot.into_inner()) {
                // SAFETY: allocated by `make`, published once; `self` is owned.
                drop(unsafe { Box::from_raw(made.as_ptr()) });
            }
        }
    }
}

/// No place yet: not below any number of shards.
const NONE: u32 = u32::MAX;
/// No place any more, or none was free.
const SHARED: u32 = u32::MAX - 1;

/// The number of places in the process.
const PLACES: u32 = 256;

static TAKEN: [AtomicU64; PLACES as usize / 64] = [const { AtomicU64::new(0) }; PLACES as usize / 64];

/// The barrier readers of the threads that have places, for what these do in shards of their own. Active while the place is
/// taken.
static READERS: [Reader; PLACES as usize] = [const { Reader::new() }; PLACES as usize];

thread_local! {
    /// This thread's place, counted from 1. Has no destructor, so it is accessible until the very end of the thread.
    static PLACE: Cell<u32> = const { Cell::new(NONE) };
    static RELEASE: ReleaseOnExit = const { ReleaseOnExit };
}

struct ReleaseOnExit;

impl Drop for ReleaseOnExit {
    fn drop(&mut self) {
        // What the thread's other locals do when they are dropped later goes to the shared shard.
        let place = PLACE.replace(SHARED);
        if (1..=PLACES).contains(&place) {
            release_place(place);
        }
    }
}

/// Issues the fence of the reader of this thread's place, if it has one, where light barriers are fences.
pub(crate) fn settle() {
    if let Some(reader) = reader() {
        reader.settle();
    }
}

/// Returns the reader of this thread's place, for what it does in shards of its own.
pub(crate) fn reader() -> Option<&'static Reader> {
    let place = PLACE.get();
    (1..=PLACES).contains(&place).then(|| &READERS[place as usize - 1])
}

fn release_place(place: u32) {
    READERS[place as usize - 1].deactivate();
    let (word, bit) = ((place - 1) as usize / 64, 1 << ((place - 1) % 64));
    // Release: pairs with the Acquire in `claim_place`, so that the next owner continues from this thread's counts.
    TAKEN[word].fetch_and(!bit, Ordering::Release);
}

/// In the child of a fork: frees the places of all other threads. Their owners' changes are complete, or were not begun (F4 of
/// [`fork`](crate::fork)).
pub(crate) fn release_vanished() {
    let mine = PLACE.get();
    for place in (1..=PLACES).filter(|&place| place != mine) {
        let taken = TAKEN[(place - 1) as usize / 64].load(Ordering::Relaxed);
        if taken & 1 << ((place - 1) % 64) != 0 {
            release_place(place);
        }
    }
}

fn take_place() -> u32 {
    let place = if RELEASE.try_with(|_| ()).is_ok() {
        claim_place().unwrap_or(SHARED)
    } else {
        SHARED
    };
    if place != SHARED {
        READERS[place as usize - 1].activate();
    }
    PLACE.set(place);
    place
}

fn claim_place() -> Option<u32> {
    for (word, taken) in TAKEN.iter().enumerate() {
        // Relaxed: the exchange checks the value.
        let mut bits = taken.load(Ordering::Relaxed);
        while bits != u64::MAX {
            let free = (!bits).trailing_zeros();
            // Acquire: pairs with the Release in `release_place`.
            match taken.compare_exchange_weak(bits, bits | 1 << free, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(word as u32 * 64 + free + 1),
                Err(found) => bits = found,
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn threads_that_live_at_once_share_the_last_shard_only() {
        const SHARDS: usize = 4;
        let barrier = Barrier::new(12);
        let shards: Vec<Shard> = thread::scope(|scope| {
            let threads: Vec<_> = (0..12)
                .map(|_| {
                    scope.spawn(|| {
                        let shard = Shard::of(SHARDS);
                        barrier.wait();
                        shard
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for index in 0..SHARDS {
            let here: Vec<_> = shards.iter().filter(|shard| shard.index == index).collect();
            let last = index == SHARDS - 1;
            assert!(here.iter().all(|shard| shard.is_own() != last), "{shards:?}");
            assert!(last || here.len() <= 1, "{shards:?}");
        }
    }

    #[test]
    fn what_shards_have_is_made_once_and_dropped_once() {
        use std::sync::Arc;

        const SHARDS: usize = 3;
        for _ in 0..200 {
            let token = Arc::new(());
            let of_shards = PerShard::<Arc<()>>::new(SHARDS);
            let barrier = Barrier::new(4);
            assert!(of_shards.iter().next().is_none());
            let made: Vec<usize> = thread::scope(|scope| {
                // Two of them create the value of one shard.
                let threads = [0, 2, 2, 1].map(|index| {
                    let (of_shards, barrier, token) = (&of_shards, &barrier, &token);
                    scope.spawn(move || {
                        barrier.wait();
                        let shard = Shard { index, own: 0 };
                        ptr::from_ref(of_shards.make(shard, || token.clone()).unwrap()).addr()
                    })
                });
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(made[1], made[2]);
            assert_eq!((of_shards.iter().count(), Arc::strong_count(&token)), (3, 4));
            drop(of_shards);
            assert_eq!(Arc::strong_count(&token), 1);
        }
    }

    #[test]
    fn nothing_is_lost_when_places_change_hands() {
        const SHARDS: usize = 3;
        let counters = [const { AtomicU64::new(0) }; SHARDS];
        for _ in 0..50 {
            thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| {
                        for _ in 0..1000 {
                            let shard = Shard::of(SHARDS);
                            shard.add(&counters[shard.index], 1);
                        }
                    });
                }
            });
        }
        let sum: u64 = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 50 * 6 * 1000);
    }
}
