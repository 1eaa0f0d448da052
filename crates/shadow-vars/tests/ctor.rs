//! Constructors: exactly one per variable, no trace of one that failed, no wait that never ends.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use shadow_vars::{CtorError, Reclaim, ShadowId, ShadowStore, StoreError, Variable};
use support::configs::Config;
use support::{Counted, Ledger, caught, hush, on_every_store, panic_on_purpose, within};

on_every_store!(
    racing_threads_construct_once,
    one_retries_after_a_failure,
    one_retries_after_a_panic,
    a_panic_reaches_its_caller_only,
    own_key_is_recursion,
    nested_constructors,
    many_constructors_at_once,
    rings_are_broken,
    a_ring_through_two_stores,
    a_running_constructor_hides_its_variable,
    alloc_waits_then_finds_the_variable,
    the_table_grows_under_a_constructor,
);

const VALUE: ShadowId<Counted> = ShadowId::new(0x11);
const NUMBER: ShadowId<usize> = ShadowId::new(0x12);
const OBJ: usize = 0x7f00_1000;

/// More threads than cores, as a lost wake-up shows only on a sleeping thread.
const THREADS: usize = 4;

/// Runs `round` on all threads at once, `rounds` times; `check` runs alone after each.
fn race<O: Send>(rounds: usize, round: impl Fn(usize, usize) -> O + Sync, mut check: impl FnMut(usize, Vec<O>)) {
    let barrier = Barrier::new(THREADS + 1);
    let (send, results) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (barrier, round, send) = (&barrier, &round, send.clone());
            scope.spawn(move || {
                for turn in 0..rounds {
                    barrier.wait();
                    send.send(round(turn, number)).unwrap();
                    barrier.wait();
                }
            });
        }
        for turn in 0..rounds {
            barrier.wait();
            barrier.wait();
            check(turn, results.try_iter().collect());
        }
    });
}

fn racing_threads_construct_once<R: Reclaim>(config: &Config) {
    const ROUNDS: usize = 600;
    let ledger = Ledger::new(ROUNDS * THREADS);
    let store = config.build::<R>();
    let runs = AtomicUsize::new(0);
    race(
        ROUNDS,
        |turn, _| {
            let construct = || {
                runs.fetch_add(1, Ordering::Relaxed);
                ledger.value()
            };
            store
                .pin()
                .get_or_alloc_with(OBJ + turn % 7, VALUE, construct)
                .map(Counted::serial)
                .unwrap()
        },
        |turn, serials| {
            assert_eq!(runs.load(Ordering::Relaxed), turn + 1, "one constructor per round");
            assert!(
                serials.iter().all(|&serial| serial == turn),
                "all see the one value: {serials:?}"
            );
            assert!(store.pin().free(OBJ + turn % 7, VALUE));
        },
    );
    assert_eq!(
        (store.stats().created, store.stats().freed),
        (ROUNDS as u64, ROUNDS as u64)
    );
    drop(store);
    ledger.assert_balanced();
}

/// All but one of each round's attempts fail.
fn one_retries_after_a_failure<R: Reclaim>(config: &Config) {
    const ROUNDS: usize = 400;
    let ledger = Ledger::new(ROUNDS * THREADS);
    let store = config.build::<R>();
    let attempts = AtomicUsize::new(0);
    race(
        ROUNDS,
        |turn, number| {
            let construct = || {
                let attempt = attempts.fetch_add(1, Ordering::Relaxed) % THREADS;
                if attempt < THREADS - 1 {
                    Err(number)
                } else {
                    Ok(ledger.value())
                }
            };
            let result = store
                .pin()
                .get_or_try_alloc_with(OBJ + turn % 5, VALUE, construct)
                .map(Counted::serial);
            (number, result)
        },
        |turn, results| {
            let failed = results.iter().filter(|(number, result)| {
                // Each failure is returned to the thread whose constructor failed.
                *result == Err(CtorError::Ctor(*number))
            });
            assert_eq!(failed.count(), THREADS - 1, "{results:?}");
            assert_eq!(
                results.iter().filter(|(_, result)| *result == Ok(turn)).count(),
                1,
                "{results:?}"
            );
            assert!(store.pin().free(OBJ + turn % 5, VALUE));
        },
    );
    let stats = store.stats();
    assert_eq!(
        (stats.created, stats.ctor_failed),
        (ROUNDS as u64, (ROUNDS * (THREADS - 1)) as u64)
    );
    assert_eq!(ledger.made(), ROUNDS);
    drop(store);
    ledger.assert_balanced();
}

fn one_retries_after_a_panic<R: Reclaim>(config: &Config) {
    const ROUNDS: usize = 100;
    let ledger = Ledger::new(ROUNDS * THREADS);
    let store = config.build::<R>();
    let attempts = AtomicUsize::new(0);
    hush();
    race(
        ROUNDS,
        |_, number| {
            let construct = || match attempts.fetch_add(1, Ordering::Relaxed) % THREADS {
                0 => panic_on_purpose(number),
                _ => ledger.value(),
            };
            let get = || {
                store
                    .pin()
                    .get_or_alloc_with(OBJ, VALUE, construct)
                    .map(Counted::serial)
                    .unwrap()
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(get)).map_err(|_| number)
        },
        |turn, results| {
            assert_eq!(
                results.iter().filter(|result| result.is_err()).count(),
                1,
                "{results:?}"
            );
            assert_eq!(
                results.iter().filter(|result| **result == Ok(turn)).count(),
                THREADS - 1,
                "{results:?}"
            );
            assert!(store.pin().free(OBJ, VALUE));
            // The next round begins with a panic again.
            attempts.store(0, Ordering::Relaxed);
        },
    );
    assert_eq!(store.stats().ctor_failed, ROUNDS as u64);
    drop(store);
    ledger.assert_balanced();
}

fn a_panic_reaches_its_caller_only<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    assert_eq!(
        caught(|| store.pin().alloc_with(OBJ, NUMBER, || panic_on_purpose(1)).map(drop)),
        1
    );
    assert_eq!(
        caught(|| store
            .pin()
            .get_or_alloc_with(OBJ, NUMBER, || panic_on_purpose(2))
            .map(|_| ())),
        2
    );
    assert_eq!(
        caught(|| store
            .pin()
            .try_alloc_with(OBJ, NUMBER, || -> Result<_, ()> { panic_on_purpose(3) })
            .map(drop)),
        3
    );
    assert!(!store.pin().contains(OBJ, NUMBER) && !store.pin().free(OBJ, NUMBER) && store.pin().ids_of(OBJ).is_empty());
    // A closure that reads is not a constructor: its panic does not remove the variable.
    assert_eq!(
        caught(|| store.pin().get_or_alloc(OBJ, NUMBER, 7).map(|_| panic_on_purpose(4))),
        4
    );
    assert_eq!(store.pin().get(OBJ, NUMBER).cloned(), Some(7));
    let stats = store.stats();
    assert_eq!(
        (stats.live, stats.created, stats.ctor_failed, stats.drop_panics),
        (1, 1, 3, 0)
    );
}

fn own_key_is_recursion<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let recursion = |error: &StoreError| matches!(error, StoreError::Recursion { obj, id: 0x12 } if obj.get() == OBJ);
    let made = store
        .pin()
        .alloc_with(OBJ, NUMBER, || {
            let obj = OBJ;
            let refused = store.pin().alloc(obj, NUMBER, 5).map(drop).unwrap_err();
            assert!(refused.value == 5 && recursion(&refused.error) && !refused.is_exists());
            let refused = store.pin().get_or_alloc(obj, NUMBER, 6).map(|_| ()).unwrap_err();
            assert!(refused.value == 6 && recursion(&refused.error));
            assert!(recursion(
                &store
                    .pin()
                    .alloc_with(obj, NUMBER, || unreachable!())
                    .map(drop)
                    .unwrap_err()
            ));
            assert!(recursion(
                &store
                    .pin()
                    .get_or_alloc_with(obj, NUMBER, || unreachable!())
                    .map(|_| ())
                    .unwrap_err()
            ));
            let never = || -> Result<usize, ()> { unreachable!() };
            let refused = store.pin().try_alloc_with(obj, NUMBER, never).map(drop).unwrap_err();
            assert!(matches!(refused, CtorError::Store(error) if recursion(&error)));
            let refused = store
                .pin()
                .get_or_try_alloc_with(obj, NUMBER, never)
                .map(|_| ())
                .unwrap_err();
            assert!(matches!(refused, CtorError::Store(error) if recursion(&error)));
            // The same indirectly, through another variable's constructor.
            store
                .pin()
                .alloc_with(obj, ShadowId::<u8>::new(1), || {
                    store.pin().alloc(obj, NUMBER, 8).map(drop).map_or(1, |()| 0)
                })
                .map(drop)
                .unwrap();
            assert_eq!(store.pin().get(obj, ShadowId::<u8>::new(1)).cloned(), Some(1));
            9
        })
        .map(drop);
    made.unwrap();
    assert_eq!(store.pin().get(OBJ, NUMBER).cloned(), Some(9));
}

fn nested_constructors<R: Reclaim>(config: &Config) {
    fn nest<R: Reclaim>(store: &ShadowStore<R>, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let read = |&value: &usize| value;
        store
            .pin()
            .get_or_alloc_with(OBJ + depth * 8, NUMBER, || nest(store, depth - 1) + 1)
            .map(read)
            .unwrap()
    }
    let store = config.build::<R>();
    assert_eq!(nest(&store, 50), 50);
    for depth in 1..=50 {
        assert_eq!(store.pin().get(OBJ + depth * 8, NUMBER).cloned(), Some(depth));
    }
}

/// Variables under construction occupy slots like live ones: however many there are, the table must grow.
fn many_constructors_at_once<R: Reclaim>(config: &Config) {
    const DEPTH: usize = 300;
    fn nest<R: Reclaim>(store: &ShadowStore<R>, depth: usize) {
        if depth > 0 {
            let construct = || {
                nest(store, depth - 1);
                depth
            };
            store.pin().alloc_with(OBJ + depth * 8, NUMBER, construct).unwrap();
        }
    }
    let store = config.build::<R>();
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(64 << 20)
            .spawn_scoped(scope, || nest(&store, DEPTH))
            .unwrap();
    });
    assert_eq!(store.len(), DEPTH);
    let stats = store.stats();
    assert!(stats.growths + stats.rebuilds + stats.shrinks < 100, "{stats:?}");
}

/// Threads that construct one variable each and, inside, request the variable of the next: as `links` says.
fn ring<R: Reclaim>(stores: &[&ShadowStore<R>], links: usize) {
    let inside = Barrier::new(links);
    let cycles = AtomicUsize::new(0);
    within(Duration::from_secs(30), "a ring of constructors", || {
        thread::scope(|scope| {
            for link in 0..links {
                let (inside, cycles) = (&inside, &cycles);
                scope.spawn(move || {
                    let store = |link: usize| stores[link % stores.len()];
                    let construct = || {
                        inside.wait();
                        let next = (link + 1) % links;
                        let asked = store(next)
                            .pin()
                            .get_or_alloc_with(OBJ + next * 8, NUMBER, || 100 + link)
                            .copied();
                        match asked {
                            Ok(value) => assert!(value == next || value == 100 + link),
                            Err(StoreError::Cycle { obj, id }) => {
                                assert_eq!((obj.get(), id), (OBJ + next * 8, NUMBER.get()));
                                cycles.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => panic!("{error}"),
                        }
                        link
                    };
                    let made = store(link)
                        .pin()
                        .get_or_alloc_with(OBJ + link * 8, NUMBER, construct)
                        .copied();
                    assert_eq!(made, Ok(link));
                });
            }
        });
    });
    // The thread that would close the cycle gets an error; then there is no cycle any more.
    assert_eq!(cycles.into_inner(), 1, "one refusal breaks a ring of {links}");
    for link in 0..links {
        assert_eq!(
            stores[link % stores.len()]
                .pin()
                .free_with(OBJ + link * 8, NUMBER, |_, &value| value),
            Some(link)
        );
    }
}

fn rings_are_broken<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    for _ in 0..60 {
        ring(&[&store], 2);
        ring(&[&store], 3);
    }
    ring(&[&store], 8);
}

fn a_ring_through_two_stores<R: Reclaim>(config: &Config) {
    let (first, second) = (config.build::<R>(), config.build::<R>());
    for _ in 0..30 {
        ring(&[&first, &second], 2);
        ring(&[&first, &second], 4);
    }
}

/// Keeps a constructor of `OBJ` running while `meanwhile` runs; it creates the value 1.
fn during_a_constructor<R: Reclaim, O>(store: &ShadowStore<R>, meanwhile: impl FnOnce() -> O) -> O {
    let (entered, enter) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let construct = || {
                entered.send(()).unwrap();
                // An error means that `meanwhile` panicked.
                let _ = left.recv();
                1
            };
            store.pin().alloc_with(OBJ, NUMBER, construct).unwrap();
        });
        enter.recv().unwrap();
        let result = meanwhile();
        drop(leave);
        result
    })
}

fn a_running_constructor_hides_its_variable<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    let other = ShadowId::<u8>::new(0x13);
    store.pin().alloc(OBJ, other, 3).unwrap();
    let start = Instant::now();
    during_a_constructor(&store, || {
        let pin = store.pin();
        assert_eq!(pin.get(OBJ, NUMBER), None);
        let numbers = Variable::new_in(NUMBER, &store).unwrap();
        assert_eq!(pin.get(OBJ, &numbers), None);
        assert!(!pin.contains(OBJ, NUMBER) && !store.pin().free(OBJ, NUMBER));
        assert_eq!(store.pin().free_with(OBJ, NUMBER, |_, _| unreachable!()), None::<()>);
        assert_eq!(store.pin().free_all(NUMBER), 0);
        assert_eq!(store.pin().free_all_with(NUMBER, |_, _| unreachable!()), 0);
        assert_eq!(pin.ids_of(OBJ), [other.get()]);
        assert_eq!(pin.iter().map(|var| var.id()).collect::<Vec<_>>(), [other.get()]);
        let mut found = [Some(&0)];
        pin.get_many(&[OBJ.into()], NUMBER, &mut found);
        assert_eq!(found, [None]);
        assert_eq!((store.len(), store.len_of(NUMBER)), (1, 0));
        assert_eq!(store.pin().free_object(OBJ), 1, "the one that is finished");
        store.shrink_to_fit();
        store.flush();
        drop(pin);
    });
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "nobody waited for the constructor"
    );
    assert_eq!(
        store.pin().get(OBJ, NUMBER).cloned(),
        Some(1),
        "freeing the parent meanwhile did not touch it"
    );
    assert_eq!(store.pin().ids_of(OBJ), [NUMBER.get()]);
}

fn alloc_waits_then_finds_the_variable<R: Reclaim>(config: &Config) {
    let store = Arc::new(config.build::<R>());
    let (asked, asks) = mpsc::channel();
    let waiters = during_a_constructor(&store, || {
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let (store, asked) = (store.clone(), asked.clone());
                thread::spawn(move || {
                    asked.send(()).unwrap();
                    match number {
                        0 => store
                            .pin()
                            .alloc(OBJ, NUMBER, 20)
                            .map(drop)
                            .map_err(|refused| (refused.value, refused.error)),
                        1 => store
                            .pin()
                            .alloc_with(OBJ, NUMBER, || unreachable!())
                            .map(drop)
                            .map_err(|error| (20, error)),
                        _ => match store.pin().get_or_alloc(OBJ, NUMBER, 20).copied() {
                            // Reported as `alloc` would report it.
                            Ok(1) => Err((
                                20,
                                StoreError::Exists {
                                    obj: OBJ.into(),
                                    id: NUMBER.get(),
                                },
                            )),
                            other => panic!("{other:?}"),
                        },
                    }
                })
            })
            .collect();
        (0..3).for_each(|_| asks.recv().unwrap());
        thread::sleep(Duration::from_millis(20));
        assert!(
            waiters.iter().all(|waiter| !waiter.is_finished()),
            "the constructor still runs"
        );
        waiters
    });
    for waiter in waiters {
        assert_eq!(
            waiter.join().unwrap(),
            Err((
                20,
                StoreError::Exists {
                    obj: OBJ.into(),
                    id: NUMBER.get()
                }
            ))
        );
    }
    assert_eq!(store.len(), 1);
}

fn the_table_grows_under_a_constructor<R: Reclaim>(config: &Config) {
    let others = if config.provoke.equal_hashes { 600 } else { 10_000 };
    let store = config.build::<R>();
    let id = ShadowId::<usize>::new(0x14);
    during_a_constructor(&store, || {
        (0..others).for_each(|n| store.pin().alloc(n * 16, id, n).map(drop).unwrap());
        assert!(store.stats().growths > 0);
        assert_eq!(store.pin().free_all(id), others);
        (0..others).for_each(|n| store.pin().alloc(n * 16, id, n).map(drop).unwrap());
    });
    assert_eq!(store.pin().get(OBJ, NUMBER).cloned(), Some(1));
    assert_eq!(store.len(), others + 1);
    (0..others).for_each(|n| assert_eq!(store.pin().get(n * 16, id).cloned(), Some(n)));
}
