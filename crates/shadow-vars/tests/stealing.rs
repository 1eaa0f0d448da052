//! Constructors that use rayon: cycles that work stealing closes are detected, and waits that end are not refused.

#![cfg(all(feature = "rayon", target_os = "linux"))]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use rayon::prelude::*;
use shadow_vars::{Asymmetric, Reclaim, ShadowId, ShadowStore, StoreError};
use support::configs::Config;
use support::{on_every_store, within};

on_every_store!(a_part_of_a_constructor_under_its_waiter, slow_parts_are_waited_for);

const N: ShadowId<u64> = ShadowId::new(0x81);
const OBJ: usize = 0x7f00_1000;

fn pool(threads: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The constructor runs on one worker. Another worker takes one half of it, waits there for a part that only the test
/// releases, and meanwhile runs work that requests the variable.
fn a_part_of_a_constructor_under_its_waiter<R: Reclaim>(config: &Config) {
    let (store, pool) = (config.build::<R>(), pool(2));
    let refused = AtomicUsize::new(0);
    // On two workers at once.
    let apart = |one: &(dyn Fn() + Sync), other: &(dyn Fn() + Sync)| {
        let met = AtomicUsize::new(0);
        let meet = || {
            met.fetch_add(1, Ordering::SeqCst);
            while met.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
        };
        rayon::join(|| (meet(), one()).1, || (meet(), other()).1);
    };
    let ask = || {
        let asked = store.pin().get_or_alloc_with(OBJ, N, || unreachable!()).map(|_| ());
        assert!(
            matches!(asked, Err(StoreError::Cycle { obj, id: 0x81 }) if obj.get() == OBJ),
            "{asked:?}"
        );
        refused.fetch_add(1, Ordering::SeqCst);
    };
    within(Duration::from_secs(60), "a ring through a pool", || {
        pool.install(|| {
            let made = store
                .pin()
                .get_or_alloc_with(OBJ, N, || {
                    // As if it were stolen there: the other worker requests the variable inside a part of the constructor.
                    apart(&|| (), &ask);
                    7
                })
                .copied();
            assert_eq!(made, Ok(7));
        });
    });
    assert_eq!((refused.into_inner(), store.pin().get(OBJ, N).cloned()), (1, Some(7)));
}

/// Parts that compute for long, that sleep, and that are many and small: all of them end, and so does each wait for them.
fn slow_parts_are_waited_for<R: Reclaim>(config: &Config) {
    let (store, pool) = (config.build::<R>(), pool(3));
    let parts: [&(dyn Fn() + Sync); 4] = [
        &|| compute(Duration::from_millis(150)),
        &|| thread::sleep(Duration::from_millis(150)),
        &|| {
            (0..2000_u32)
                .into_par_iter()
                .with_max_len(1)
                .for_each(|_| compute(Duration::from_micros(40)));
        },
        // Back and forth between workers.
        &|| {
            for _ in 0..100 {
                rayon::join(
                    || compute(Duration::from_micros(300)),
                    || compute(Duration::from_micros(900)),
                );
            }
        },
    ];
    for (n, part) in parts.iter().enumerate() {
        let inside = AtomicUsize::new(0);
        within(Duration::from_secs(60), "a slow constructor in a pool", || {
            pool.scope(|scope| {
                let (store, inside) = (&store, &inside);
                scope.spawn(move |_| {
                    let construct = || {
                        inside.store(1, Ordering::SeqCst);
                        rayon::join(part, part);
                        7
                    };
                    assert_eq!(store.pin().get_or_alloc_with(OBJ + n, N, construct).copied(), Ok(7));
                });
                while inside.load(Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
                // On the worker that runs this scope: it runs no part of the constructor.
                assert_eq!(
                    store.pin().get_or_alloc_with(OBJ + n, N, || unreachable!()).copied(),
                    Ok(7)
                );
            });
        });
    }
}

/// A case that once hung within a tenth of a second: a parallel loop over a few keys, whose constructors loop in parallel.
#[test]
fn loops_in_constructors_in_loops() {
    const ROUNDS: usize = 40;
    let (store, pool) = (ShadowStore::<Asymmetric>::default(), pool(4));
    let (mut made, mut refused) = (0, 0);
    within(Duration::from_secs(120), "loops in constructors in loops", || {
        for _ in 0..ROUNDS {
            let ask = |n: usize| {
                let obj = OBJ + n % 4 * 8;
                let construct = || {
                    let parts = (0..16_u32).into_par_iter().with_max_len(1);
                    parts
                        .map(|part| (compute(Duration::from_micros(5)), u64::from(part)).1)
                        .sum()
                };
                let asked = store.pin().get_or_alloc_with(obj, N, construct).copied();
                store.pin().free(obj, N);
                asked
            };
            let asked: Vec<_> = pool.install(|| (0..256_usize).into_par_iter().with_max_len(1).map(ask).collect());
            for result in asked {
                match result {
                    Ok(sum) => {
                        assert_eq!(sum, 120);
                        made += 1;
                    }
                    Err(StoreError::Cycle { .. } | StoreError::Recursion { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    println!("{made} found or made, {refused} refused");
    assert!(made > refused);
    assert!(store.is_empty());
}
