//! Look-ups: W1, G64, B64, W2 and W9. The answers are added up and compared with the sum that the keys give.

use crate::driver::{Worker, drive};
use crate::keys::{BATCH, ID, Stream};
use crate::store::{Packed, Store};
use crate::workloads::{Job, Measured};

/// W1: each look-up has a guard of its own.
pub(crate) fn hit<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    hit_of::<S, false>(store, job)
}

/// W9: like W1, with several ids.
pub(crate) fn hit_ids<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    hit_of::<S, true>(store, job)
}

fn hit_of<S: Store, const IDS: bool>(store: &S, job: &Job<'_>) -> Measured {
    let make = |thread| Hit::<_, IDS> {
        store,
        stream: job.keys.hits(thread),
        sums: Sums::default(),
    };
    Measured::of(&drive(job.threads, job.times, make))
}

/// G64: one guard for 64 look-ups.
pub(crate) fn hit_guard_reused<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    let make = |thread| Reused {
        store,
        stream: job.keys.hits(thread),
        sums: Sums::default(),
    };
    Measured::of(&drive(job.threads, job.times, make))
}

/// B64: 64 look-ups in one call if the map has batches, otherwise as G64.
pub(crate) fn hit_batched<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    let make = |thread| Batched {
        store,
        stream: job.keys.hits(thread),
        sums: Sums::default(),
    };
    Measured::of(&drive(job.threads, job.times, make))
}

/// W2: look-ups of absent keys.
pub(crate) fn miss<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    let make = |thread| Miss {
        store,
        stream: job.keys.misses(thread),
        sum: 0,
    };
    Measured::of(&drive(job.threads, job.times, make))
}

/// W9: look-ups of the entries of the parent with thousands of ids.
pub(crate) fn hit_wide<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    let make = |thread: usize| Wide {
        store,
        keys: &job.keys.wide,
        // A step coprime to the number of ids visits all of them, out of order.
        at: thread * 17,
        sums: Sums::default(),
    };
    Measured::of(&drive(job.threads, job.times, make))
}

/// The sum of the values read, and the sum of the right answers.
#[derive(Default)]
pub(crate) struct Sums {
    read: u64,
    want: u64,
}

impl Sums {
    #[inline]
    pub(crate) fn add(&mut self, read: u64, key: Packed) {
        self.read = self.read.wrapping_add(read);
        self.want = self.want.wrapping_add(key.value());
    }

    pub(crate) fn check(&self) {
        assert_eq!(self.read, self.want, "a look-up gave a wrong answer");
    }
}

/// With several ids, or one that is a constant.
struct Hit<'a, S, const IDS: bool> {
    store: &'a S,
    stream: Stream<'a>,
    sums: Sums,
}

impl<S: Store, const IDS: bool> Worker for Hit<'_, S, IDS> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        let key = self.stream.next();
        let read = if IDS {
            self.store.get_any(key.key())
        } else {
            self.store.get(key.with_id(ID))
        };
        self.sums.add(read, key);
    }

    fn finish(self) {
        self.sums.check();
    }
}

struct Reused<'a, S> {
    store: &'a S,
    stream: Stream<'a>,
    sums: Sums,
}

impl<S: Store> Worker for Reused<'_, S> {
    const OPS: u64 = BATCH as u64;

    #[inline]
    fn step(&mut self) {
        let (keys, sums) = (self.stream.next_batch(), &mut self.sums);
        self.store.get_each(ID, keys, |read, key| sums.add(read, key));
    }

    fn finish(self) {
        self.sums.check();
    }
}

struct Batched<'a, S> {
    store: &'a S,
    stream: Stream<'a>,
    sums: Sums,
}

impl<S: Store> Worker for Batched<'_, S> {
    const OPS: u64 = BATCH as u64;

    #[inline]
    fn step(&mut self) {
        let keys = self.stream.next_batch();
        let mut found = [0; BATCH];
        self.store.get_batch(ID, keys, &mut found);
        for (&read, &key) in found.iter().zip(keys) {
            self.sums.add(read, key);
        }
    }

    fn finish(self) {
        self.sums.check();
    }
}

struct Miss<'a, S> {
    store: &'a S,
    stream: Stream<'a>,
    sum: u64,
}

impl<S: Store> Worker for Miss<'_, S> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        // Or, because a sum of wrong answers could be 0.
        self.sum |= self.store.get(self.stream.next().with_id(ID));
    }

    fn finish(self) {
        assert_eq!(self.sum, 0, "a look-up found what is not there");
    }
}

struct Wide<'a, S> {
    store: &'a S,
    keys: &'a [Packed],
    at: usize,
    sums: Sums,
}

impl<S: Store> Worker for Wide<'_, S> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        self.at = (self.at + 7919) % self.keys.len();
        let key = self.keys[self.at];
        self.sums.add(self.store.get(key.key()), key);
    }

    fn finish(self) {
        self.sums.check();
    }
}
