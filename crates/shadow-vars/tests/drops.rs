//! Destructors and drops: each value is dropped exactly once, never while a reader may use it.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use shadow_vars::{Reclaim, ShadowId, ShadowStore, SyncError};
use support::configs::Config;
use support::{Counted, Ledger, on_every_store, within};

on_every_store!(
    every_way_out_drops_once,
    store_drop_takes_all_with_it,
    store_drop_takes_all_with_it_in_the_middle_of_growth,
    a_reader_keeps_its_value,
    a_guard_on_another_store_is_no_obstacle_to_store_drop,
    repin_lets_go,
    synchronize_leaves_nothing,
    synchronize_waits_for_a_running_drop,
    synchronize_waits_for_guards,
    the_garbage_of_an_idle_thread_goes,
    others_take_what_threads_are_freeing,
    synchronize_says_why_not,
);

const VALUE: ShadowId<Counted> = ShadowId::new(0x21);
const OTHER: ShadowId<Counted> = ShadowId::new(0x22);

fn every_way_out_drops_once<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(200);
    let store = config.build::<R>();
    let fill = || (0..10_usize).for_each(|obj| store.pin().alloc(obj * 8, VALUE, ledger.value()).map(drop).unwrap());
    let settled = |made: usize| {
        store.synchronize().unwrap();
        assert_eq!((ledger.made(), ledger.alive().len(), store.len()), (made, 0, 0));
    };
    fill();
    (0..10).for_each(|obj| assert!(store.pin().free(obj * 8, VALUE)));
    settled(10);
    fill();
    (0..10).for_each(|obj| {
        assert_eq!(
            store.pin().free_with(obj * 8, VALUE, |_, value| value.serial()),
            Some(10 + obj)
        )
    });
    settled(20);
    fill();
    assert_eq!(store.pin().free_all(VALUE), 10);
    settled(30);
    fill();
    let mut sum = 0;
    assert_eq!(store.pin().free_all_with(VALUE, |_, value| sum += value.serial()), 10);
    assert_eq!(sum, (30..40).sum());
    settled(40);
    fill();
    (0..10).for_each(|obj| assert_eq!(store.pin().free_object(obj * 8), 1));
    settled(50);

    store.pin().alloc(8, VALUE, ledger.value()).unwrap();
    // Values that are not stored: returned by `alloc`, dropped by `get_or_alloc`.
    let back = store.pin().alloc(8, VALUE, ledger.value()).map(drop).unwrap_err().value;
    assert_eq!(back.serial(), 51);
    store
        .pin()
        .get_or_alloc(8, VALUE, ledger.value())
        .map(|value| assert_eq!(value.serial(), 50))
        .unwrap();
    assert_eq!(ledger.alive(), [50, 51]);
    drop(back);
    drop(store);
    ledger.assert_balanced();
}

fn store_drop_takes_all_with_it<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(1000);
    let store = config.build::<R>();
    (0..300_usize).for_each(|n| store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
    // Keys that do not fit into a word: odd, and beyond 48 bits.
    (0..50_usize).for_each(|n| store.pin().alloc(n * 8 + 1, OTHER, ledger.value()).map(drop).unwrap());
    (0..50_usize).for_each(|n| store.pin().alloc(n << 50 | 8, OTHER, ledger.value()).map(drop).unwrap());
    (0..300_usize)
        .step_by(3)
        .for_each(|n| assert!(store.pin().free(n * 8, VALUE)));
    (0..50_usize)
        .step_by(2)
        .for_each(|n| assert!(store.pin().free(n * 8 + 1, OTHER)));
    drop(store);
    ledger.assert_balanced();
}

/// At that time, some of the live variables are in the successor, and some are not.
fn store_drop_takes_all_with_it_in_the_middle_of_growth<R: Reclaim>(config: &Config) {
    for count in (1..200).step_by(3) {
        let ledger = Ledger::new(2 * count);
        let store = config.build::<R>();
        for n in 0..count {
            store.pin().alloc(n * 8, VALUE, ledger.value()).unwrap();
            store.pin().alloc(n * 8 + 1, OTHER, ledger.value()).unwrap();
            if n % 5 == 0 {
                assert!(store.pin().free(n / 5 * 8, VALUE) && store.pin().free(n / 5 * 8 + 1, OTHER));
            }
        }
        drop(store);
        ledger.assert_balanced();
    }
}

/// In memory order: in the order of the table, each would be far from the previous one.
#[test]
fn store_drop_goes_by_address() {
    const VALUES: usize = 1 << 14;
    struct Noted(Arc<Mutex<Vec<usize>>>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(std::ptr::from_ref(self).addr());
        }
    }
    const NOTED: ShadowId<Noted> = ShadowId::new(0x23);
    let order = Arc::new(Mutex::new(Vec::new()));
    let store = ShadowStore::new();
    for n in 0..VALUES {
        assert!(store.pin().alloc(n * 64, NOTED, Noted(order.clone())).is_ok());
    }
    drop(store);
    let order = order.lock().unwrap();
    assert_eq!(order.len(), VALUES);
    assert!(order.is_sorted(), "not in the order of addresses");
}

fn a_reader_keeps_its_value<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(400);
    let store = config.build::<R>();
    for owned in [false, true] {
        let first = ledger.made();
        store.pin().alloc(8, VALUE, ledger.value()).unwrap();
        let read = |value: &Counted| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    assert!(store.pin().free(8, VALUE));
                    // More garbage, so that batches become full, and a new variable of the same key.
                    for _ in 0..70 {
                        store.pin().alloc(8, VALUE, ledger.value()).unwrap();
                        assert!(store.pin().free(8, VALUE));
                    }
                    (0..50).for_each(|_| store.flush());
                });
            });
            (0..50).for_each(|_| store.flush());
            assert_eq!(value.serial(), first, "still there, as the guard is");
        };
        if owned {
            let pin = store.pin_owned();
            read(pin.get(8, VALUE).unwrap());
        } else {
            let pin = store.pin();
            read(pin.get(8, VALUE).unwrap());
        }
        store.synchronize().unwrap();
        assert!(!ledger.is_alive(first), "gone, as the guard is");
    }
    drop(store);
    ledger.assert_balanced();
}

/// All stores of a backend share its guards; the drop of a store must nevertheless not wait for them all.
fn a_guard_on_another_store_is_no_obstacle_to_store_drop<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(200);
    let (first, second) = (config.build::<R>(), config.build::<R>());
    first.pin().alloc(8, VALUE, ledger.value()).unwrap();
    let (local, owned) = (first.pin(), first.pin_owned());
    let read = local.get(8, VALUE).unwrap();
    (0..150_usize).for_each(|n| second.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
    (0..100_usize).for_each(|n| assert!(second.pin().free(n * 8, VALUE)));
    second.flush();
    assert!(first.pin().free(8, VALUE));
    drop(second);
    assert_eq!(ledger.alive(), [0], "the other store's values go with it, at once");
    assert_eq!(read.serial(), 0);
    drop((local, owned));
    first.synchronize().unwrap();
    drop(first);
    ledger.assert_balanced();
}

/// After `repin`, a guard does not protect anything that was freed before, so garbage can be dropped while the guard is held.
fn repin_lets_go<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(4);
    let store = config.build::<R>();
    let gone = |serial: usize, mut repin: Box<dyn FnMut() + '_>| {
        let start = Instant::now();
        while ledger.is_alive(serial) {
            // Other tests of this process sometimes hold guards.
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "the guard still protects what was freed before `repin`"
            );
            repin();
            store.flush();
        }
    };
    let mut pin = store.pin();
    pin.alloc(8, VALUE, ledger.value()).map(drop).unwrap();
    assert!(pin.free(8, VALUE));
    gone(0, Box::new(|| pin.repin()));
    drop(pin);
    let mut pin = store.pin_owned();
    pin.alloc(8, VALUE, ledger.value()).map(drop).unwrap();
    assert!(pin.free(8, VALUE));
    gone(1, Box::new(|| pin.repin()));
}

fn synchronize_leaves_nothing<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(2000);
    let store = config.build::<R>();
    for _ in 0..5 {
        (0..200_usize).for_each(|n| store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
        assert_eq!(store.pin().free_all(VALUE), 200);
        store.synchronize().unwrap();
        assert_eq!(ledger.alive(), []);
        let stats = store.stats();
        assert_eq!(
            (stats.retired_objects, stats.retired_bytes, stats.drop_panics),
            (0, 0, 0)
        );
    }
    store.synchronize().unwrap();
}

/// A value whose drop signals that it has begun, and waits until it may end.
struct Slow {
    begun: mpsc::SyncSender<()>,
    end: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.begun.try_send(());
        while !self.end.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Values that are freed and dropped later, on the same shard, must not compensate for a value that another thread still
/// drops.
fn synchronize_waits_for_a_running_drop<R: Reclaim>(config: &Config) {
    const SLOW: ShadowId<Slow> = ShadowId::new(0x23);
    const N: usize = 64;
    let ledger = Ledger::new(N);
    let store = config.build::<R>();
    let (begun, begins) = mpsc::sync_channel(1);
    let (end, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    store
        .pin()
        .alloc(
            8,
            SLOW,
            Slow {
                begun,
                end: end.clone(),
                ended: ended.clone(),
            },
        )
        .map(drop)
        .unwrap();
    (0..N).for_each(|n| store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
    assert!(store.pin().free(8, SLOW));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                store.flush();
            }
        });
        begins.recv().unwrap();
        let waiting = scope.spawn(|| {
            store.synchronize().unwrap();
            assert!(
                ended.load(Ordering::Relaxed),
                "synchronize returned while a value freed before it is being dropped"
            );
        });
        thread::sleep(Duration::from_millis(5));
        // One thread each, so that every shard is used.
        for n in 0..N {
            let store = &store;
            scope
                .spawn(move || assert!(store.pin().free(n * 8, VALUE)))
                .join()
                .unwrap();
        }
        thread::sleep(Duration::from_millis(25));
        end.store(true, Ordering::Relaxed);
        waiting.join().unwrap();
    });
}

fn synchronize_waits_for_guards<R: Reclaim>(config: &Config) {
    let ledger = Ledger::new(2);
    let (store, other) = (config.build::<R>(), config.build::<R>());
    for pin_owned in [false, true] {
        store.pin().alloc(8, VALUE, ledger.value()).unwrap();
        let (held, holds) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let waited = AtomicBool::new(false);
        thread::scope(|scope| {
            let (other, waited) = (&other, &waited);
            scope.spawn(move || {
                // A guard of any store of the backend counts.
                let local = (!pin_owned).then(|| other.pin());
                let owned = pin_owned.then(|| other.pin_owned());
                held.send(()).unwrap();
                let _ = released.recv();
                waited.store(true, Ordering::Relaxed);
                drop((local, owned));
            });
            holds.recv().unwrap();
            assert!(store.pin().free(8, VALUE));
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(10));
                drop(release);
            });
            store.synchronize().unwrap();
            assert!(waited.load(Ordering::Relaxed), "synchronize did not wait for the guard");
        });
        assert_eq!(ledger.alive(), []);
    }
}

/// Values that one thread freed are dropped when no guard exists any more, even if that thread never uses the store again.
fn the_garbage_of_an_idle_thread_goes<R: Reclaim>(config: &Config) {
    const HOLDERS: usize = 6;
    let ledger = Ledger::new(400);
    let store = config.build::<R>();
    let (all_held, freed) = (Barrier::new(HOLDERS + 1), Barrier::new(HOLDERS + 1));
    let (leave, left) = mpsc::channel::<()>();
    let (done, all_freed) = mpsc::channel();
    within(
        Duration::from_secs(20),
        "synchronize after another thread's frees",
        || {
            thread::scope(|scope| {
                for _ in 0..HOLDERS {
                    scope.spawn(|| {
                        let _pin = store.pin();
                        all_held.wait();
                        freed.wait();
                    });
                }
                let (store, ledger, all_held, freed) = (&store, &ledger, &all_held, &freed);
                scope.spawn(move || {
                    all_held.wait();
                    // More than a batch.
                    for n in 0..200_usize {
                        store.pin().alloc(n * 8, VALUE, ledger.value()).unwrap();
                        assert!(store.pin().free(n * 8, VALUE));
                    }
                    done.send(()).unwrap();
                    freed.wait();
                    let _ = left.recv();
                });
                all_freed.recv().unwrap();
                store.synchronize().unwrap();
                assert_eq!(ledger.alive(), []);
                drop(leave);
            });
        },
    );
}

/// Threads free without a pause, while others continuously request that the freed values be dropped.
fn others_take_what_threads_are_freeing<R: Reclaim>(config: &Config) {
    const N: usize = 1500;
    let ledger = Ledger::new(2 * N);
    let store = config.build::<R>();
    let freeing = AtomicUsize::new(2);
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for half in 0..2 {
            let (store, ledger, freeing, together) = (&store, &ledger, &freeing, &together);
            scope.spawn(move || {
                together.wait();
                for n in 0..N {
                    let obj = (n % 50 * 2 + half) * 8;
                    store.pin().alloc(obj, VALUE, ledger.value()).unwrap();
                    assert!(store.pin().free(obj, VALUE));
                }
                freeing.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for synchronize in [false, true] {
            let (store, freeing, together) = (&store, &freeing, &together);
            scope.spawn(move || {
                together.wait();
                loop {
                    if synchronize {
                        store.synchronize().unwrap();
                    } else {
                        store.flush();
                    }
                    if freeing.load(Ordering::Relaxed) == 0 {
                        break;
                    }
                }
            });
        }
    });
    store.synchronize().unwrap();
    assert_eq!((ledger.made(), ledger.alive().len()), (2 * N, 0));
    drop(store);
    ledger.assert_balanced();
}

fn synchronize_says_why_not<R: Reclaim>(config: &Config) {
    struct Asks<R: Reclaim>(Weak<ShadowStore<R>>, Arc<Mutex<Vec<Result<(), SyncError>>>>);
    impl<R: Reclaim> Drop for Asks<R> {
        fn drop(&mut self) {
            let answer = self.0.upgrade().map(|store| {
                store.flush();
                store.synchronize()
            });
            self.1.lock().unwrap().extend(answer);
        }
    }
    let id = ShadowId::<Asks<R>>::new(1);
    let (store, other) = (Arc::new(config.build::<R>()), config.build::<R>());
    {
        let _pin = other.pin();
        assert_eq!(store.synchronize(), Err(SyncError::Pinned), "a guard of any store");
    }
    assert_eq!(store.synchronize(), Ok(()));
    let answers: Arc<Mutex<Vec<_>>> = Arc::default();
    let in_ctor = store
        .pin()
        .get_or_alloc_with(8, id, || {
            answers.lock().unwrap().push(store.synchronize());
            Asks(Arc::downgrade(&store), answers.clone())
        })
        .map(|_| store.synchronize());
    assert_eq!(in_ctor, Ok(Err(SyncError::Pinned)));
    assert_eq!(
        store.pin().free_with(8, id, |_, _| store.synchronize()),
        Some(Err(SyncError::Pinned))
    );
    store.synchronize().unwrap();
    assert_eq!(
        *answers.lock().unwrap(),
        [Err(SyncError::Pinned), Err(SyncError::Reclaiming)]
    );
    assert_eq!(
        SyncError::Pinned.to_string(),
        "synchronize would wait for a guard that this thread holds"
    );
}

/// In a table of this size, a sweep first finds all nodes and then frees them, in the order of their addresses. Another thread
/// frees some of them meanwhile, and makes them anew.
fn a_large_sweep_drops_each_value_once<R: Reclaim>() {
    const MANY: usize = if cfg!(miri) { 300 } else { 40_000 };
    const BUSY: usize = MANY / 4;
    let ledger = Ledger::new(4 * MANY);
    let store = ShadowStore::<R>::builder().build().unwrap();
    (0..MANY).for_each(|n| store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop).unwrap());
    (0..MANY / 2).for_each(|n| store.pin().alloc(n * 8, OTHER, ledger.value()).map(drop).unwrap());
    let (swept, mut seen) = (AtomicBool::new(false), vec![0_usize; MANY]);
    let count = thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !swept.load(Ordering::Relaxed) && ledger.made() < 3 * MANY {
                n = (n + 7) % BUSY;
                store.pin().free(n * 8, VALUE);
                let _ = store.pin().alloc(n * 8, VALUE, ledger.value()).map(drop);
            }
        });
        let count = store.pin().free_all_with(VALUE, |obj, _| seen[obj.get() / 8] += 1);
        swept.store(true, Ordering::Relaxed);
        count
    });
    assert_eq!(count, seen.iter().sum(), "each call of the destructor is counted");
    assert!(
        seen[BUSY..].iter().all(|&calls| calls == 1),
        "those that no other thread frees, once each"
    );
    let left = store.pin().free_all(VALUE);
    assert!(left <= BUSY, "{left} variables came after the sweep");
    assert_eq!(store.len(), MANY / 2, "the other id is untouched");
    assert_eq!(store.pin().free_all(OTHER), MANY / 2);
    store.synchronize().unwrap();
    assert_eq!(ledger.alive(), []);
}

#[test]
fn large_sweeps_drop_each_value_once() {
    a_large_sweep_drops_each_value_once::<shadow_vars::Asymmetric>();
    a_large_sweep_drops_each_value_once::<shadow_vars::Eras>();
}
