//! User code in destructors and drops: whatever it does, the store stays whole and the rest is dropped.

mod support;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use shadow_vars::{Pinned, Reclaim, ShadowId, ShadowStore, SyncError};
use support::configs::Config;
use support::{Counted, Ledger, Spite, caught, hush, on_every_store, panic_on_purpose};

on_every_store!(
    panicking_drops_are_counted,
    a_drop_may_use_the_store,
    a_chain_of_drops_does_not_nest,
    a_panicking_destructor_frees_all_the_same,
    payloads_that_panic_when_dropped,
    a_destructor_may_use_the_store,
    guards_that_outlive_their_thread,
    the_store_at_thread_exit,
    a_guard_is_known_to_the_very_end,
    a_late_guard_protects_from_all_others,
);

const VALUE: ShadowId<Counted> = ShadowId::new(0x21);
const OTHER: ShadowId<Counted> = ShadowId::new(0x22);
const N: ShadowId<usize> = ShadowId::new(0x23);

fn panicking_drops_are_counted<R: Reclaim>(config: &Config) {
    struct Spiteful(#[expect(dead_code, reason = "only dropped")] Counted, usize);
    impl Drop for Spiteful {
        fn drop(&mut self) {
            if self.1.is_multiple_of(3) {
                std::panic::panic_any(Spite);
            }
        }
    }
    hush();
    let id = ShadowId::<Spiteful>::new(1);
    let ledger = Ledger::new(300);
    let store = config.build::<R>();
    (0..300).for_each(|n| {
        store
            .pin()
            .alloc(n * 8, id, Spiteful(ledger.value(), n))
            .map(drop)
            .unwrap()
    });
    (0..150).for_each(|n| assert!(store.pin().free(n * 8, id)));
    store.synchronize().unwrap();
    let stats = store.stats();
    assert_eq!(
        (stats.drop_panics, stats.freed, stats.live, stats.retired_objects),
        (50, 150, 150, 0)
    );
    assert_eq!(ledger.alive().len(), 150, "a field is dropped even so");
    // The rest is dropped with the store, while this thread itself is panicking.
    assert_eq!(
        caught(|| {
            let _store = store;
            panic_on_purpose(7)
        }),
        7
    );
    ledger.assert_balanced();
}

/// A drop that runs any code.
struct OnDrop(Option<Box<dyn FnOnce() + Send + Sync>>);

impl OnDrop {
    fn new(run: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(run)))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.take().unwrap()();
    }
}

const ON_DROP: ShadowId<OnDrop> = ShadowId::new(0x24);

fn a_drop_may_use_the_store<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(500);
    let store = Arc::new(config.build::<R>());
    let runs = Arc::new(AtomicUsize::new(0));
    for n in 0..100_usize {
        let (weak, ledger, runs) = (Arc::downgrade(&store), ledger.clone(), runs.clone());
        store.pin().alloc(n * 8, VALUE, ledger.value()).unwrap();
        let on_drop = OnDrop::new(move || {
            runs.fetch_add(1, Ordering::Relaxed);
            // Nothing if the store itself is being dropped.
            let Some(store) = weak.upgrade() else { return };
            assert!(store.pin().free(n * 8, VALUE));
            store
                .pin()
                .get_or_alloc(n * 8, OTHER, ledger.value())
                .map(|_| ())
                .unwrap();
            let in_ctor = store
                .pin()
                .get_or_alloc_with(n * 8 + 1, OTHER, || ledger.value())
                .map(Counted::serial)
                .unwrap();
            assert_eq!(store.pin().get(n * 8 + 1, OTHER).map(Counted::serial), Some(in_ctor));
            assert_eq!(store.pin().free_object(n * 8 + 1), 1);
            assert!(store.pin().ids_of(n * 8).contains(&OTHER.get()));
            store.flush();
        });
        store.pin().alloc(n * 8, ON_DROP, on_drop).unwrap();
    }
    (0..50).for_each(|n| assert!(store.pin().free(n * 8, ON_DROP)));
    store.synchronize().unwrap();
    // Values that the drops themselves freed came after the first mark.
    store.synchronize().unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 50);
    assert_eq!(
        (store.len_of(VALUE), store.len_of(OTHER), ledger.alive().len()),
        (50, 50, 100)
    );
    assert_eq!(store.stats().drop_panics, 0);
    drop(store);
    assert_eq!(runs.load(Ordering::Relaxed), 100);
    ledger.assert_balanced();
}

/// Each value's drop frees the next variable: ten thousand of them must not need ten thousand stack frames.
fn a_chain_of_drops_does_not_nest<R: Reclaim>(config: &Config) {
    let links = if config.provoke.equal_hashes { 500 } else { 10_000 };
    let store = Arc::new(config.build::<R>());
    let (depth, deepest, dropped) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    for n in 0..links {
        let weak = Arc::downgrade(&store);
        let (depth, deepest, dropped) = (depth.clone(), deepest.clone(), dropped.clone());
        let on_drop = OnDrop::new(move || {
            deepest.fetch_max(depth.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(store) = weak.upgrade() {
                assert_eq!(store.pin().free((n + 1) * 8, ON_DROP), n + 1 < links);
            }
            depth.fetch_sub(1, Ordering::Relaxed);
        });
        store.pin().alloc(n * 8, ON_DROP, on_drop).unwrap();
    }
    thread::Builder::new()
        .stack_size(128 << 10)
        .spawn({
            let (store, dropped) = (store.clone(), dropped.clone());
            move || {
                assert!(store.pin().free(0, ON_DROP));
                while dropped.load(Ordering::Relaxed) < links {
                    store.synchronize().unwrap();
                }
            }
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(
        (store.len(), store.stats().drop_panics, deepest.load(Ordering::Relaxed)),
        (0, 0, 1)
    );
}

fn a_panicking_destructor_frees_all_the_same<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(100);
    let store = config.build::<R>();
    store.pin().alloc(8, VALUE, ledger.value()).unwrap();
    assert_eq!(
        caught(|| store.pin().free_with(8, VALUE, |_, _| panic_on_purpose(1))),
        1
    );
    assert!(!store.pin().contains(8, VALUE));
    store.synchronize().unwrap();
    assert_eq!(ledger.alive(), []);

    (0..40_usize).for_each(|n| store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
    store.pin().alloc(8, OTHER, ledger.value()).unwrap();
    let (mut calls, mut first) = (0, None);
    let panic = caught(|| {
        store.pin().free_all_with(VALUE, |obj, _| {
            calls += 1;
            if calls % 10 == 0 {
                first.get_or_insert(obj.get());
                panic_on_purpose(obj.get());
            }
        })
    });
    assert_eq!(
        (calls, Some(panic)),
        (40, first),
        "all were called, the first panic goes on"
    );
    assert_eq!((store.len_of(VALUE), store.len_of(OTHER)), (0, 1));
    store.synchronize().unwrap();
    assert_eq!(ledger.alive().len(), 1);
    assert_eq!(store.stats().drop_panics, 0, "a destructor is not a drop");
    drop(store);
    ledger.assert_balanced();
}

/// A payload whose drop panics with another such payload, several times over.
struct Bomb {
    number: usize,
    more: usize,
    drops: Arc<AtomicUsize>,
}

impl Bomb {
    fn explode(number: usize, drops: &Arc<AtomicUsize>) -> ! {
        let drops = drops.clone();
        resume_unwind(Box::new(Self { number, more: 2, drops }))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        if self.more > 0 {
            let (number, more, drops) = (self.number, self.more - 1, self.drops.clone());
            resume_unwind(Box::new(Self { number, more, drops }));
        }
    }
}

/// Runs `body`, which must panic with a bomb; returns its number.
fn caught_bomb<T>(body: impl FnOnce() -> T) -> usize {
    let panic = catch_unwind(AssertUnwindSafe(body)).err().expect("a panic");
    let mut bomb = panic.downcast::<Bomb>().expect("the panic's own payload");
    bomb.more = 0;
    bomb.number
}

/// Each destructor and each value's drop panics, with a payload whose drop panics, with one whose drop panics.
fn payloads_that_panic_when_dropped<R: Reclaim>(config: &Config) {
    const COUNT: usize = 60;
    struct Mined(#[expect(dead_code, reason = "only dropped")] Counted, Arc<AtomicUsize>);
    impl Drop for Mined {
        fn drop(&mut self) {
            Bomb::explode(0, &self.1);
        }
    }
    let id = ShadowId::<Mined>::new(1);
    let ledger = Ledger::new(3 * COUNT);
    let store = config.build::<R>();
    let drops = Arc::new(AtomicUsize::new(0));
    let fill = || (1..=COUNT).for_each(|n| store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
    let check = |calls: &AtomicUsize| {
        let drops = drops.swap(0, Ordering::Relaxed);
        assert_eq!(
            drops, COUNT,
            "each payload is dropped, and what that panics with leaked"
        );
        assert_eq!(
            (calls.load(Ordering::Relaxed), store.len()),
            (COUNT, 0),
            "all were called and freed"
        );
        store.synchronize().unwrap();
        assert_eq!(ledger.alive(), []);
    };

    fill();
    let (calls, first) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let number = caught_bomb(|| {
        store.pin().free_all_with(VALUE, |obj, _| {
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                first.store(obj.get(), Ordering::Relaxed);
            }
            Bomb::explode(obj.get(), &drops)
        })
    });
    assert_eq!(number, first.into_inner(), "the first panic goes on");
    check(&calls);

    #[cfg(feature = "rayon")]
    {
        fill();
        let calls = AtomicUsize::new(0);
        let number = caught_bomb(|| {
            store.pin().par_free_all_with(VALUE, |obj, _| {
                calls.fetch_add(1, Ordering::Relaxed);
                Bomb::explode(obj.get(), &drops)
            })
        });
        assert!((8..=COUNT * 8).contains(&number));
        check(&calls);
    }

    (0..COUNT).for_each(|n| {
        store
            .pin()
            .alloc(n * 8, id, Mined(ledger.value(), drops.clone()))
            .map(drop)
            .unwrap()
    });
    (0..COUNT / 2).for_each(|n| assert!(store.pin().free(n * 8, id)));
    store.synchronize().unwrap();
    assert_eq!(
        (store.stats().drop_panics, drops.load(Ordering::Relaxed)),
        (COUNT as u64 / 2, COUNT / 2),
        "each payload is dropped, and what that panics with leaked"
    );
    drop(store);
    ledger.assert_balanced();
}

fn a_destructor_may_use_the_store<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(1000);
    let store = config.build::<R>();
    for obj in [8, 9, 1_usize << 50] {
        for _ in 0..20 {
            let old = ledger.made();
            store.pin().alloc(obj, VALUE, ledger.value()).unwrap();
            let inner = store.pin().free_with(obj, VALUE, |addr, value| {
                assert_eq!((addr.get(), value.serial()), (obj, old));
                assert!(!store.pin().contains(obj, VALUE) && !store.pin().free(obj, VALUE));
                store.pin().alloc(obj, VALUE, ledger.value()).unwrap();
                store.pin().alloc(obj, OTHER, ledger.value()).unwrap();
                assert_eq!(store.pin().free_object(obj), 2);
                store.pin().alloc(obj, VALUE, ledger.value()).unwrap();
                store.shrink_to_fit();
                store.flush();
                value.serial()
            });
            assert_eq!(inner, Some(old));
            assert_eq!(
                store.pin().free_with(obj, VALUE, |_, value| value.serial()),
                Some(old + 3),
                "the new one"
            );
        }
    }
    // In a sweep: each destructor creates the variable again, under another id so that the sweep ends.
    (0..100_usize).for_each(|n| store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
    assert_eq!(
        store.pin().free_all_with(VALUE, |obj, _| store
            .pin()
            .alloc(obj, OTHER, ledger.value())
            .map(drop)
            .unwrap()),
        100
    );
    assert_eq!((store.len_of(VALUE), store.len_of(OTHER)), (0, 100));
    drop(store);
    ledger.assert_balanced();
}

/// Runs what it holds when its thread's locals are destroyed.
struct AtExit(Vec<Box<dyn FnOnce()>>);

impl Drop for AtExit {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|run| run());
    }
}

thread_local! {
    static FIRST: RefCell<AtExit> = const { RefCell::new(AtExit(Vec::new())) };
    static LAST: RefCell<AtExit> = const { RefCell::new(AtExit(Vec::new())) };
}

/// Runs `body` with a store of static lifetime, as far as `body` can tell: its threads are joined before this returns.
fn with_static<R: Reclaim>(config: &Config, body: impl FnOnce(&'static ShadowStore<R>)) {
    let store = Box::into_raw(Box::new(config.build::<R>()));
    // SAFETY: freed below only, when `body` and its threads have ended.
    body(unsafe { &*store });
    // SAFETY: made by `Box::into_raw`, and no reference to it is left.
    drop(unsafe { Box::from_raw(store) });
}

/// Guards in thread-locals, destroyed before and after those of the store's backend.
fn guards_that_outlive_their_thread<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(8);
    with_static::<R>(config, |store| {
        for turn in 0..4 {
            store.pin().alloc(8, VALUE, ledger.value()).unwrap();
            let body = move || {
                let hold = |pin: Pinned<'static, R>| {
                    Box::new(move || {
                        // Still protected.
                        assert_eq!(pin.get(8, VALUE).map(Counted::serial), Some(turn));
                    })
                };
                FIRST.with(|_| ());
                let pin = store.pin();
                LAST.with_borrow_mut(|at_exit| at_exit.0.push(hold(store.pin())));
                FIRST.with_borrow_mut(|at_exit| at_exit.0.push(hold(pin)));
            };
            thread::spawn(body).join().unwrap();
            assert!(store.pin().free(8, VALUE));
            store.synchronize().unwrap();
            assert_eq!(ledger.alive(), [], "the guards are gone");
        }
    });
    ledger.assert_balanced();
}

fn the_store_at_thread_exit<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(4000);
    with_static::<R>(config, |store| {
        for _ in 0..4 {
            let body = {
                let ledger = ledger.clone();
                move || {
                    let user = |obj: usize, ledger: Arc<Ledger>| {
                        Box::new(move || {
                            for n in 0..100 {
                                store.pin().alloc(obj, VALUE, ledger.value()).unwrap();
                                store
                                    .pin()
                                    .get_or_alloc_with(obj + 1, VALUE, || ledger.value())
                                    .map(|_| ())
                                    .unwrap();
                                let pin = store.pin();
                                assert!(pin.contains(obj, VALUE) && pin.free(obj, VALUE));
                                assert!(pin.free_with(obj + 1, VALUE, |_, _| ()).is_some());
                                drop(pin);
                                if n % 10 == 0 {
                                    store.flush();
                                    drop(store.pin_owned());
                                }
                            }
                            store.synchronize().unwrap();
                        })
                    };
                    // Destroyed last: created before the backend's own locals.
                    FIRST.with_borrow_mut(|at_exit| at_exit.0.push(user(16, ledger.clone())));
                    assert!(!store.pin().contains(8, VALUE));
                    drop(store.pin());
                    LAST.with_borrow_mut(|at_exit| at_exit.0.push(user(32, ledger)));
                }
            };
            thread::spawn(body).join().unwrap();
            assert_eq!(ledger.alive(), []);
        }
    });
    ledger.assert_balanced();
}

/// Whether a thread holds a guard is known while its locals are destroyed, whenever the guard was taken: `synchronize` would
/// wait for it forever.
fn a_guard_is_known_to_the_very_end<R: Reclaim>(config: &Config) {
    with_static::<R>(config, |store| {
        let results = Arc::new(Mutex::new(Vec::new()));
        let body = {
            let results = results.clone();
            move || {
                let check = |held: Option<Pinned<'static, R>>, results: Arc<Mutex<Vec<_>>>| {
                    Box::new(move || {
                        store.pin().alloc(8, N, 1).unwrap();
                        assert!(store.pin().free(8, N));
                        let while_held = held.is_some().then(|| store.synchronize());
                        drop(held);
                        let after = store.synchronize();
                        let pin = store.pin();
                        let nested = store.pin();
                        let twice = store.synchronize();
                        drop(pin);
                        let once = store.synchronize();
                        drop(nested);
                        results
                            .lock()
                            .unwrap()
                            .push((while_held, after, twice, once, store.synchronize()));
                    })
                };
                // Destroyed last, with a guard taken now; destroyed first; and last again, with none.
                FIRST.with(|_| ());
                let held = store.pin();
                LAST.with_borrow_mut(|at_exit| at_exit.0.push(check(None, results.clone())));
                drop(held);
                FIRST.with_borrow_mut(|at_exit| {
                    at_exit.0.push(check(Some(store.pin()), results.clone()));
                    at_exit.0.push(check(None, results));
                });
            }
        };
        thread::spawn(body).join().unwrap();
        let (pinned, done) = (Err(SyncError::Pinned), Ok(()));
        // The guard that one of the locals still holds counts until it is dropped.
        let results = Arc::into_inner(results).unwrap().into_inner().unwrap();
        assert_eq!(
            results,
            [
                (None, pinned, pinned, pinned, pinned),
                (Some(pinned), done, pinned, pinned, done),
                (None, done, pinned, pinned, done),
            ]
        );
    });
}

/// A guard that outlives its thread's place among the readers, which other threads may have taken by then.
fn a_late_guard_protects_from_all_others<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(8);
    with_static::<R>(config, |store| {
        for turn in 0..4 {
            store.pin().alloc(8, VALUE, ledger.value()).unwrap();
            let body = move || {
                FIRST.with(|_| ());
                let pin = store.pin();
                FIRST.with_borrow_mut(|at_exit| {
                    at_exit.0.push(Box::new(move || {
                        let value = pin.get(8, VALUE).unwrap();
                        let others = || {
                            // As many as there may be places.
                            drop((0..64).map(|_| store.pin_owned()).collect::<Vec<_>>());
                            assert!(store.pin().free(8, VALUE));
                            for _ in 0..100 {
                                store.flush();
                                drop((store.pin_owned(), store.pin()));
                            }
                        };
                        thread::spawn(others).join().unwrap();
                        assert_eq!(value.serial(), turn);
                    }));
                });
            };
            thread::spawn(body).join().unwrap();
            store.synchronize().unwrap();
            assert_eq!(ledger.alive(), []);
        }
    });
    ledger.assert_balanced();
}
