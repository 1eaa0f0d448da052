//! Freed values with destructors are dropped soon: while a service is busy, and when it has become idle.
//!
//! The tests count what is dropped in a process that other tests use too, so they run one after the other.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use shadow_vars::{Asymmetric, Epoch, Reclaim, ShadowId, ShadowStore};

/// The values of a test that exist: created, and not dropped.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

struct Value(Alive);

impl Alive {
    fn value(&self) -> Value {
        self.0.fetch_add(1, Ordering::Relaxed);
        Value(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const VALUE: ShadowId<Value> = ShadowId::new(1);
const LARGE: ShadowId<(Vec<u8>, Value)> = ShadowId::new(2);

/// How long the tests wait for what is due after ten milliseconds.
const LATER: Duration = Duration::from_millis(15);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fill<R: Reclaim>(store: &ShadowStore<R>, alive: &Alive, count: usize) {
    (0..count).for_each(|n| store.alloc(n * 8, VALUE, alive.value()).unwrap());
}

fn free<R: Reclaim>(store: &ShadowStore<R>, count: usize) {
    (0..count).for_each(|n| assert!(store.free(n * 8, VALUE)));
}

/// 3,000 values of 1 MiB, one alive at a time: of memory that the store cannot see.
#[test]
fn large_values_do_not_pile_up() {
    const MOST: usize = 64;
    let _alone = alone();
    let (store, alive) = (ShadowStore::new(), Alive::default());
    let mut most = 0;
    for n in 0..3_000_usize {
        let large = vec![n as u8; 1 << 20];
        store.alloc(n * 8, LARGE, (large, alive.value())).unwrap();
        most = most.max(alive.count());
        assert!(store.free(n * 8, LARGE));
    }
    assert!(most <= MOST, "{most} values of 1 MiB at once");
}

/// A burst after a quiet time: each value is dropped by one of the next few dozen frees, though the pauses after barriers would
/// let most of them wait.
#[test]
fn a_burst_is_dropped_while_it_lasts() {
    const BURST: usize = 2_000;
    /// Those since the last barrier, and those that are being dropped, a few with each free.
    const MOST: usize = 100;
    /// In which enough is saved for a barrier for each few dozen values.
    const QUIET: Duration = Duration::from_millis(200);
    let _alone = alone();
    let (store, alive) = (ShadowStore::new(), Alive::default());
    fill(&store, &alive, BURST);
    thread::sleep(QUIET);
    let waiting = (0..BURST).map(|n| {
        assert!(store.free(n * 8, VALUE));
        alive.count() - (BURST - 1 - n)
    });
    let most = waiting.max().unwrap();
    assert!(most <= MOST, "{most} wait");
}

/// Values that own nothing wait for four batches at most, even where batches fill faster than barriers are due.
#[test]
fn plain_values_wait_for_four_batches_at_most() {
    const BATCH: usize = 64;
    const PLAIN: ShadowId<u64> = ShadowId::new(3);
    let _alone = alone();
    let store = ShadowStore::<Asymmetric>::builder().batch(BATCH).build().unwrap();
    let (mut most, mut batches) = (0, 0);
    for round in 0..500 {
        // Rounds end anywhere between a batch and the ninth after it: reading the statistics takes time, in which barriers
        // become due.
        for n in 0..BATCH + 7 * round % (8 * BATCH) {
            store.alloc(n * 8, PLAIN, 1).unwrap();
            assert!(store.free(n * 8, PLAIN));
        }
        let waiting = store.stats().retired_objects;
        most = most.max(waiting);
        batches += waiting / BATCH;
    }
    assert!(most <= 4 * BATCH, "{most} wait");
    assert!(batches > 0, "they are not given back one at a time");
}

/// Values are freed; then nothing happens except one operation, of any kind and on any store.
#[track_caller]
fn goes_with<R: Reclaim>(later: impl FnOnce(&ShadowStore<R>, &ShadowStore)) {
    let (store, other, alive) = (
        ShadowStore::<R>::builder().build().unwrap(),
        ShadowStore::new(),
        Alive::default(),
    );
    other.alloc(8_usize, VALUE, alive.value()).unwrap();
    fill(&store, &alive, 2_000);
    free(&store, 2_000);
    for _ in 0..1_000 {
        assert!(!store.contains(8_usize, VALUE));
    }
    thread::sleep(LATER);
    later(&store, &other);
    assert!(alive.count() <= 2, "{} values are left", alive.count());
}

#[test]
fn what_is_left_behind_goes_with_a_later_operation_of_any_store() {
    let _alone = alone();
    goes_with::<shadow_vars::Asymmetric>(|store, _| store.flush());
    goes_with::<shadow_vars::Asymmetric>(|store, _| {
        drop(store.alloc(8_usize, LARGE, (Vec::new(), Alive::default().value())))
    });
    goes_with::<shadow_vars::Asymmetric>(|_, other| assert!(other.free(8_usize, VALUE)));
    goes_with::<shadow_vars::Asymmetric>(|_, other| assert!(!other.free(16_usize, VALUE)));
    goes_with::<shadow_vars::Asymmetric>(|_, other| other.flush());
    goes_with::<shadow_vars::Asymmetric>(|_, other| {
        let variable = shadow_vars::Variable::new(other, ShadowId::<u32>::new(3)).unwrap();
        variable.alloc(8_usize, 1).unwrap();
    });
}

/// With another backend, whose grace periods may take a few steps more.
#[test]
fn what_is_left_behind_goes_with_flushes_whatever_the_backend() {
    let _alone = alone();
    goes_with::<Epoch>(|store, _| {
        for _ in 0..10 {
            store.flush();
        }
    });
}

/// A thread frees and sleeps; other threads, which free too, drop what it has left.
#[test]
fn what_a_silent_thread_has_freed_goes_with_others_frees() {
    let _alone = alone();
    let (store, alive) = (ShadowStore::new(), Alive::default());
    fill(&store, &alive, 2_000);
    let (freed, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            free(&store, 2_000);
            freed.wait();
            done.wait();
        });
        freed.wait();
        let others = Alive::default();
        for n in 0..48 {
            store.alloc(n * 8, VALUE, others.value()).unwrap();
            assert!(store.free(n * 8, VALUE));
            thread::sleep(Duration::from_micros(100));
        }
        let left = alive.count();
        done.wait();
        assert_eq!(left, 0, "values of the silent thread are left");
    });
}

/// Values that waited are dropped a few at a time, not all in one operation.
#[test]
fn a_free_drops_a_few_at_most() {
    const FEW: usize = 40;
    let _alone = alone();
    let (store, alive) = (ShadowStore::new(), Alive::default());
    fill(&store, &alive, 20_000);
    let pin = store.pin_owned();
    (0..10_000).for_each(|n| assert!(store.pin().free(n * 8_usize, VALUE)));
    assert_eq!(alive.count(), 20_000, "a guard holds them");
    drop(pin);
    let mut most = 0;
    for n in 10_000..20_000 {
        let before = alive.count();
        assert!(store.pin().free(n * 8_usize, VALUE));
        most = most.max(before - alive.count());
    }
    assert!(most > 0, "none was dropped");
    assert!(most <= FEW, "one free dropped {most}");
}

/// A value owns the last handle to the store in which it was freed, and is dropped by an operation of another store.
#[test]
fn a_store_may_go_while_it_is_looked_after() {
    struct Keeper(#[expect(dead_code, reason = "dropped with it")] Arc<ShadowStore>);
    const KEEPER: ShadowId<Keeper> = ShadowId::new(4);
    let _alone = alone();
    let (other, alive) = (ShadowStore::new(), Alive::default());
    for _ in 0..20 {
        let store = Arc::new(ShadowStore::new());
        fill(&store, &alive, 100);
        store.alloc(8_usize, KEEPER, Keeper(store.clone())).unwrap();
        {
            let pin = store.pin();
            (0..50).for_each(|n| assert!(pin.free(n * 8_usize, VALUE)));
            assert!(pin.free(8_usize, KEEPER));
        }
        let weak = Arc::downgrade(&store);
        drop(store);
        let start = Instant::now();
        while weak.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "the store is still there");
            thread::sleep(LATER);
            other.flush();
        }
        assert_eq!(alive.count(), 0);
    }
}

/// Threads drop stores that other threads are draining at that time.
#[test]
fn stores_come_and_go_beside_those_who_look_after_them() {
    let _alone = alone();
    let alive = Alive::default();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let kept = ShadowStore::new();
                for _ in 0..300 {
                    let store = ShadowStore::new();
                    fill(&store, &alive, 20);
                    free(&store, 10);
                    kept.flush();
                    drop(store);
                }
            });
        }
        scope.spawn(|| {
            let store = ShadowStore::new();
            for _ in 0..300 {
                store.flush();
                thread::sleep(Duration::from_micros(300));
            }
        });
    });
    assert_eq!(alive.count(), 0);
}

#[test]
fn statistics_say_how_old_the_oldest_is() {
    let _alone = alone();
    let (store, alive) = (ShadowStore::new(), Alive::default());
    fill(&store, &alive, 10);
    assert_eq!(store.stats().oldest_retired, None);
    let pin = store.pin_owned();
    free(&store, 10);
    thread::sleep(LATER);
    let age = store.stats().oldest_retired.expect("ten are retired");
    assert!(age >= LATER, "{age:?}");
    drop(pin);
    store.synchronize().unwrap();
    assert_eq!((store.stats().oldest_retired, alive.count()), (None, 0));
}

/// The store of this test is dropped in a visit that begins while the thread's locals are being destroyed: it must not be
/// dropped in the middle of that visit.
#[test]
fn a_store_may_go_at_a_threads_end() {
    struct Keeper {
        _store: Option<Arc<ShadowStore>>,
        _memory: Vec<u64>,
    }
    const KEEPER: ShadowId<Keeper> = ShadowId::new(5);
    struct AtEnd(Arc<ShadowStore>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            thread::sleep(LATER);
            self.0.flush();
        }
    }
    thread_local! {
        static END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    let _alone = alone();
    let (other, alive) = (Arc::new(ShadowStore::new()), Alive::default());
    for _ in 0..10 {
        let (other, alive) = (other.clone(), alive.clone());
        let thread = thread::spawn(move || {
            END.set(Some(AtEnd(other.clone())));
            // The thread-locals that a visit needs exist before this one, so they are destroyed after it.
            for n in 0..3 {
                other.alloc(n * 8_usize, VALUE, alive.value()).unwrap();
                assert!(other.pin().free(n * 8_usize, VALUE));
                thread::sleep(LATER);
                other.flush();
            }
            let store = Arc::new(ShadowStore::new());
            for n in 0..100 {
                let keeper = Keeper {
                    _store: (n == 50).then(|| store.clone()),
                    _memory: vec![1, 2, 3],
                };
                store.alloc(n * 8_usize, KEEPER, keeper).unwrap();
            }
            let pin = store.pin();
            (0..100).for_each(|n| assert!(pin.free(n * 8_usize, KEEPER)));
        });
        thread.join().unwrap();
    }
}

/// Two threads drain stores whose values have the last handles to each other's store.
#[test]
fn visitors_do_not_wait_for_each_other() {
    struct Keeper(#[expect(dead_code, reason = "dropped with it")] Arc<ShadowStore>);
    const KEEPER: ShadowId<Keeper> = ShadowId::new(6);
    let _alone = alone();
    let alive = Alive::default();
    for _ in 0..20 {
        let (a, b) = (Arc::new(ShadowStore::new()), Arc::new(ShadowStore::new()));
        for (store, kept) in [(&a, &b), (&b, &a)] {
            fill(store, &alive, 50);
            store.alloc(8_000_usize, KEEPER, Keeper(kept.clone())).unwrap();
            let pin = store.pin();
            (0..25).for_each(|n| assert!(pin.free(n * 8_usize, VALUE)));
            assert!(pin.free(8_000_usize, KEEPER));
        }
        drop((a, b));
        let start = Instant::now();
        while alive.count() > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{} values are left",
                alive.count()
            );
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        thread::sleep(LATER);
                        ShadowStore::new().flush();
                        let own = ShadowStore::new();
                        assert!(!own.free(8_usize, VALUE));
                    });
                }
            });
        }
    }
}

/// Several stores have values that wait, and the flag was already set when the second store retired its own.
#[test]
fn every_store_that_has_something_is_looked_after() {
    let _alone = alone();
    let (stores, alive): ([ShadowStore; 5], _) = (std::array::from_fn(|_| ShadowStore::new()), Alive::default());
    stores.iter().for_each(|store| fill(store, &alive, 100));
    let pins = stores.each_ref().map(ShadowStore::pin);
    pins.iter()
        .for_each(|pin| (0..100).for_each(|n| assert!(pin.free(n * 8_usize, VALUE))));
    drop(pins);
    let other = ShadowStore::new();
    for _ in 0..3 {
        thread::sleep(LATER);
        other.flush();
    }
    assert_eq!(alive.count(), 0);
}
