//! W4: objects are created, get a value, are read, and are destroyed; thousands are alive at any time.
//!
//! A cycle: a new object, attach, read 4 times; then a random live object loses its value and is destroyed. With real objects the
//! allocator decides which addresses are reused, and how soon; otherwise none is.

use crate::clock::{self, Clock};
use crate::driver::{Worker, drive};
use crate::heap::{allocate, deallocate};
use crate::keys::ID;
use crate::rng::Rng;
use crate::store::{Packed, Store};
use crate::workloads::get::Sums;
use crate::workloads::{Job, Measured};

/// W4: real objects, whose addresses are reused as by `malloc`.
pub(crate) fn reused<S: Store>(job: &Job<'_>) -> Measured {
    run::<S, _>(job, |_| Malloc)
}

/// W4N: addresses that were never used before. No object is there.
pub(crate) fn never_seen<S: Store>(job: &Job<'_>) -> Measured {
    run::<S, _>(job, |thread| Unseen {
        next: 0x1000_0000_0000 + (thread << 38),
    })
}

/// Makes the work of a thread with objects as in [`reused`], some of them alive, for a run that counts its cycles.
pub(crate) fn cycles<S: Store>(store: &S, alive: usize, thread: usize) -> Life<'_, S, Malloc> {
    Life::new(store, Malloc, alive, thread)
}

fn run<S: Store, O: Objects>(job: &Job<'_>, objects: impl Fn(usize) -> O + Sync) -> Measured {
    let store = S::new();
    let alive = (job.entries / job.threads).max(1);
    let make = |thread| Life::new(&store, objects(thread), alive, thread);
    Measured::of(&drive(job.threads, job.times, make))
}

/// The source of objects.
pub(crate) trait Objects {
    fn create(&mut self) -> usize;

    /// # Safety
    ///
    /// The object came from `create`, and is destroyed once.
    unsafe fn destroy(&mut self, object: usize);
}

pub(crate) struct Malloc;

/// The size of the objects.
const OBJECT: usize = 64;

impl Objects for Malloc {
    #[inline]
    fn create(&mut self) -> usize {
        allocate(OBJECT)
    }

    #[inline]
    unsafe fn destroy(&mut self, object: usize) {
        // SAFETY: `create` allocated it with this size, and the caller guarantees that it is destroyed once.
        unsafe { deallocate(object, OBJECT) };
    }
}

struct Unseen {
    next: usize,
}

impl Objects for Unseen {
    #[inline]
    fn create(&mut self) -> usize {
        self.next += OBJECT;
        self.next
    }

    #[inline]
    unsafe fn destroy(&mut self, _object: usize) {}
}

pub(crate) struct Life<'a, S: Store, O: Objects> {
    store: &'a S,
    objects: O,
    alive: Vec<Packed>,
    rng: Rng,
    sums: Sums,
    failures: u64,
}

impl<'a, S: Store, O: Objects> Life<'a, S, O> {
    fn new(store: &'a S, objects: O, alive: usize, thread: usize) -> Self {
        let mut life = Self {
            store,
            objects,
            alive: Vec::with_capacity(alive),
            rng: Rng::new(thread as u64),
            sums: Sums::default(),
            failures: 0,
        };
        for _ in 0..alive {
            let key = life.attach();
            life.alive.push(key);
        }
        life
    }

    #[inline]
    fn attach(&mut self) -> Packed {
        let key = Packed::new(self.objects.create(), ID);
        self.failures += u64::from(!self.store.insert(key.with_id(ID)));
        key
    }

    #[inline]
    fn detach(&mut self, key: Packed) {
        self.failures += u64::from(!self.store.remove(key.with_id(ID)));
        // SAFETY: `create` made the object, and its key has been removed from `alive`, so it is destroyed once.
        unsafe { self.objects.destroy(key.key().0) };
    }
}

impl<S: Store, O: Objects> Life<'_, S, O> {
    /// Runs one cycle, and returns the nanoseconds of its attach and of its free.
    #[inline]
    pub(crate) fn clocked_cycle(&mut self, clock: Clock) -> [u64; 2] {
        let key = Packed::new(self.objects.create(), ID);
        let start = clock::start();
        let attached = self.store.insert(key.with_id(ID));
        let alloc = clock.nanos(start, clock::end());
        for _ in 0..4 {
            self.sums.add(self.store.get(key.with_id(ID)), key);
        }
        let place = self.rng.below(self.alive.len());
        let goes = std::mem::replace(&mut self.alive[place], key);
        let start = clock::start();
        let freed = self.store.remove(goes.with_id(ID));
        let free = clock.nanos(start, clock::end());
        self.failures += u64::from(!attached) + u64::from(!freed);
        // SAFETY: `create` made the object, and its key has been removed from `alive`, so it is destroyed once.
        unsafe { self.objects.destroy(goes.key().0) };
        [alloc, free]
    }
}

impl<S: Store, O: Objects> Worker for Life<'_, S, O> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        let key = self.attach();
        for _ in 0..4 {
            self.sums.add(self.store.get(key.with_id(ID)), key);
        }
        let place = self.rng.below(self.alive.len());
        let goes = std::mem::replace(&mut self.alive[place], key);
        self.detach(goes);
    }

    fn finish(mut self) {
        for key in std::mem::take(&mut self.alive) {
            self.detach(key);
        }
        self.sums.check();
        assert_eq!(self.failures, 0, "an attach or a free of a thread's own object failed");
    }
}
