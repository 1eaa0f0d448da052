//! Look-ups and changes: W3, W5, and W10, which is W3 beside a stalled reader.
//!
//! The number of entries stays constant: each thread has a ring of keys that it alone creates and frees, of which a stretch is
//! always absent. An address is used again once that stretch has moved around the ring.

use std::sync::Barrier;

use crate::driver::{Worker, drive};
use crate::heap;
use crate::keys::{ID, KeySet, Stream};
use crate::rng::Rng;
use crate::store::{Packed, Store};
use crate::workloads::get::Sums;
use crate::workloads::{Job, Measured};

/// W3: 90 % get, 5 % alloc, 5 % free. After the first round of the ring, one in 17 gets misses.
pub(crate) fn mixed<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    Measured::of(&drive(job.threads, job.times, |thread| Mixed::new(store, job, thread)))
}

/// W10: throughput and memory while one more thread holds a guard and sleeps.
pub(crate) fn stalled<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    let drive = |times| drive(job.threads, times, |thread| Mixed::new(store, job, thread));
    let free = drive(job.times.unclocked());
    store.settle();
    let before = heap::in_use();
    let barrier = Barrier::new(2);
    let (timed, held) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let guard = store.guard();
            let key = job.keys.present[0].key();
            std::hint::black_box(store.get_in(&guard, key));
            barrier.wait(); // the churn begins
            barrier.wait(); // it has ended
            drop(guard);
        });
        barrier.wait();
        let timed = drive(job.times);
        let held = heap::in_use().saturating_sub(before);
        barrier.wait();
        (timed, held)
    });
    // Some reclaimers free only during later operations.
    let after = drive(job.times.unclocked());
    store.settle();
    let left = heap::in_use().saturating_sub(before);
    let measured = Measured::of(&timed)
        .with("mops_without_stall", free.rate / 1e6)
        .with("mops_after_stall", after.rate / 1e6);
    measured
        .with("bytes_held_by_stall", held as f64)
        .with("bytes_held_per_op", held as f64 / timed.ops as f64)
        .with("bytes_left_after_stall", left as f64)
}

/// W5: get-or-alloc. Nine in ten are of existing keys, by Zipf's law; the tenth is of an absent key, and then the key that was
/// created half a ring earlier is freed. Get-or-allocs are counted, frees are not.
pub(crate) fn get_or_alloc<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    let make = |thread| {
        let fresh = KeySet::share(spares(job, 4), thread, job.threads);
        GetOrAlloc {
            store,
            stream: job.keys.zipf(thread),
            fresh,
            made: 0,
            sums: Sums::default(),
            failures: 0,
        }
    };
    Measured::of(&drive(job.threads, job.times, make))
}

/// Returns keys to create in addition to the existing ones: one for every 16, and `per_thread` for each thread.
fn spares<'a>(job: &Job<'a>, per_thread: usize) -> &'a [Packed] {
    let spares = (job.entries / 16).max(per_thread * job.threads);
    &job.keys.absent[..spares.min(job.keys.absent.len())]
}

struct Mixed<'a, S> {
    store: &'a S,
    reads: Stream<'a>,
    /// The keys that this thread creates and frees.
    ring: Vec<Packed>,
    /// The start of the absent stretch, and its length.
    head: usize,
    absent: usize,
    /// Whether the next change frees; otherwise it creates.
    frees: bool,
    dice: u64,
    sums: Sums,
    failures: u64,
}

impl<'a, S: Store> Mixed<'a, S> {
    fn new(store: &'a S, job: &Job<'a>, thread: usize) -> Self {
        let mut ring = KeySet::share(spares(job, 2), thread, job.threads).to_vec();
        let absent = ring.len();
        let mut own = KeySet::share(&job.keys.present, thread, job.threads).to_vec();
        Rng::new(thread as u64).shuffle(&mut own);
        ring.extend(own);
        Self {
            store,
            reads: job.keys.hits(thread),
            ring,
            head: 0,
            absent,
            frees: false,
            dice: thread as u64,
            sums: Sums::default(),
            failures: 0,
        }
    }

    fn change(&mut self) {
        let at = if self.frees { self.head + self.absent } else { self.head };
        let key = self.ring[at % self.ring.len()].with_id(ID);
        if self.frees {
            self.failures += u64::from(!self.store.remove(key));
            self.head = (self.head + 1) % self.ring.len();
        } else {
            self.failures += u64::from(!self.store.insert(key));
        }
        self.frees = !self.frees;
    }
}

impl<S: Store> Worker for Mixed<'_, S> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        // Knuth's MMIX generator: its high bits are random enough to choose one in ten.
        self.dice = self
            .dice
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        if ((self.dice >> 32) * 10) >> 32 == 0 {
            self.change();
        } else {
            let key = self.reads.next();
            let read = self.store.get(key.with_id(ID));
            if read != 0 {
                self.sums.add(read, key);
            }
        }
    }

    /// Turns the ring back to its start, for the next run on the same map.
    fn finish(mut self) {
        if self.frees {
            self.change();
        }
        for at in 0..self.absent {
            let key = self.ring[(self.head + at) % self.ring.len()].with_id(ID);
            self.failures += u64::from(!self.store.insert(key));
        }
        for key in &self.ring[..self.absent] {
            self.failures += u64::from(!self.store.remove(key.with_id(ID)));
        }
        self.sums.check();
        assert_eq!(self.failures, 0, "an alloc or a free of a thread's own key failed");
    }
}

struct GetOrAlloc<'a, S> {
    store: &'a S,
    stream: Stream<'a>,
    fresh: &'a [Packed],
    /// The number of fresh keys used.
    made: usize,
    sums: Sums,
    failures: u64,
}

impl<S: Store> GetOrAlloc<'_, S> {
    fn fresh(&mut self) -> Packed {
        let half = self.fresh.len() / 2;
        if self.made >= half {
            let old = self.fresh[(self.made - half) % self.fresh.len()];
            self.failures += u64::from(!self.store.remove(old.with_id(ID)));
        }
        let key = self.fresh[self.made % self.fresh.len()];
        self.made += 1;
        key
    }
}

impl<S: Store> Worker for GetOrAlloc<'_, S> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        let key = match self.stream.next() {
            Packed::NONE => self.fresh(),
            key => key,
        };
        self.sums.add(self.store.get_or_insert(key.with_id(ID)), key);
    }

    fn finish(self) {
        self.sums.check();
        assert_eq!(self.failures, 0, "a thread's own key was gone");
    }
}
