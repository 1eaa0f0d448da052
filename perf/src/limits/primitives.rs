//! The cost of guards, locked instructions, hashes and allocations alone.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::time::Duration;

use seize::Guard;
use shadow_vars::{Asymmetric, Epoch, Seize, ShadowStore};

use crate::heap::{allocate, deallocate};
use crate::limits::figure::{Figure, timed};
use crate::rng::Rng;
use crate::store::{AHash, FoldHash};

/// The operations between two checks of the time.
const ROUND: u64 = 1 << 12;
/// The bytes of a node: header and value.
const NODE: usize = 64;
/// The nodes that are alive while one is freed and another allocated.
const ALIVE: usize = 1 << 16;

/// Runs one repetition of all measurements.
pub(crate) fn measure(rep: usize, time: Duration) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut put = |name, ns| {
        figures.push(Figure {
            name,
            entries: 0,
            rep,
            ns,
        });
    };
    put(
        "guard: crossbeam-epoch",
        timed(time, || round(|_| drop(black_box(crossbeam_epoch::pin())))),
    );
    {
        let _outer = crossbeam_epoch::pin();
        put(
            "guard: crossbeam-epoch, inside another",
            timed(time, || round(|_| drop(black_box(crossbeam_epoch::pin())))),
        );
    }
    let collector = seize::Collector::new();
    put(
        "guard: seize",
        timed(time, || {
            round(|_| {
                let guard = collector.enter();
                black_box(guard.collector());
            })
        }),
    );
    put(
        "guard: thread-local store, compiler fence",
        timed(time, || round(|_| cheap_guard())),
    );
    let store = ShadowStore::<Asymmetric>::default();
    put("guard: shadow", timed(time, || round(|_| drop(black_box(store.pin())))));
    let store = ShadowStore::<Epoch>::default();
    put(
        "guard: shadow_epoch",
        timed(time, || round(|_| drop(black_box(store.pin())))),
    );
    let store = ShadowStore::<Seize>::default();
    put(
        "guard: shadow_seize",
        timed(time, || round(|_| drop(black_box(store.pin())))),
    );

    let counter = AtomicU64::new(0);
    put(
        "locked instruction, uncontended",
        timed(time, || {
            round(|_| {
                // Relaxed: only the cost matters.
                counter.fetch_add(1, Ordering::Relaxed);
            })
        }),
    );

    let (fold, ahash) = (FoldHash::default(), AHash::default());
    put("hash of a key: foldhash", timed(time, || round(|key| hash(&fold, key))));
    put("hash of a key: ahash", timed(time, || round(|key| hash(&ahash, key))));

    put(
        "malloc and free of a node",
        timed(time, || round(|_| free_node(allocate(NODE)))),
    );
    put("malloc and free of a node, at random among 64 k", at_random(time));
    figures
}

#[inline]
fn round(mut work: impl FnMut(u64)) -> u64 {
    for number in 0..ROUND {
        work(black_box(number));
    }
    ROUND
}

/// Marks the thread as a reader at the least cost: without a fence, which the threads that reclaim must make up for.
#[inline]
fn cheap_guard() {
    thread_local!(static ACTIVE: Cell<bool> = const { Cell::new(false) });
    ACTIVE.with(|active| {
        black_box(active).set(true);
        compiler_fence(Ordering::SeqCst);
        black_box(active).set(false);
    });
}

#[inline]
fn hash(hasher: &impl BuildHasher, key: u64) {
    black_box(hasher.hash_one((key as usize, key)));
}

fn free_node(node: usize) {
    // SAFETY: `node` came from `allocate` with this size, and each node is freed once.
    unsafe { deallocate(black_box(node), NODE) };
}

fn at_random(time: Duration) -> f64 {
    let mut rng = Rng::new(7);
    let mut alive: Vec<usize> = (0..ALIVE).map(|_| allocate(NODE)).collect();
    let ns = timed(time, || {
        round(|_| {
            let place = rng.below(ALIVE);
            free_node(alive[place]);
            alive[place] = allocate(NODE);
        })
    });
    alive.into_iter().for_each(free_node);
    ns
}
