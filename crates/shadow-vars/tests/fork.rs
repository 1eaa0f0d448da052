//! The child of a fork uses the stores of its parent.

#![cfg(all(target_os = "linux", not(miri)))]

#[path = "support/process.rs"]
mod process;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use process::{Counted, TEXT, VALUE, children, drops, fork, processes, store, use_all};
use shadow_vars::{Asymmetric, Epoch, Eras, Reclaim, ShadowId, ShadowStore, SyncError, start_reclaimer};

processes! {
    fork_of_an_idle_process => fork_idle::<Asymmetric>;
    fork_of_an_idle_process_with_eras => fork_idle::<Eras>;
    fork_while_others_are_busy => fork_busy::<Asymmetric>;
    fork_while_others_are_busy_with_eras => fork_busy::<Eras>;
    fork_while_others_give_back_what_they_freed => fork_giving_back::<Asymmetric>;
    fork_while_others_give_back_what_they_freed_with_eras => fork_giving_back::<Eras>;
    fork_while_another_is_pinned => fork_pinned::<Asymmetric>;
    fork_while_another_is_pinned_with_eras => fork_pinned::<Eras>;
    fork_while_others_construct => fork_constructing::<Asymmetric>;
    fork_while_others_construct_with_eras => fork_constructing::<Eras>;
    fork_while_another_drops => fork_dropping::<Asymmetric>;
    fork_while_another_drops_with_eras => fork_dropping::<Eras>;
    fork_while_more_threads_work_than_have_places => fork_shared::<Asymmetric>;
    fork_while_more_threads_work_than_have_places_with_eras => fork_shared::<Eras>;
    fork_beside_an_owned_guard => fork_owned;
    fork_by_the_thread_that_is_pinned => fork_by_pinned::<Asymmetric>;
    fork_by_the_thread_that_is_pinned_with_eras => fork_by_pinned::<Eras>;
    fork_again_in_the_child => fork_again::<Asymmetric>;
    fork_again_in_the_child_with_eras => fork_again::<Eras>;
    fork_from_a_constructor => fork_from_constructor::<Asymmetric>;
    fork_from_a_constructor_with_eras => fork_from_constructor::<Eras>;
    fork_with_crossbeam_hangs_nowhere => fork_epoch;
    fork_with_intervals_goes_on => fork_eras;
    fork_while_another_drops_what_was_held => fork_held;
    fork_keeps_what_the_parent_has => fork_parent_goes_on::<Asymmetric>;
    fork_keeps_what_the_parent_has_with_eras => fork_parent_goes_on::<Eras>;
    fork_of_a_process_with_a_reclaimer => fork_reclaimer::<Asymmetric>;
    fork_of_a_process_with_a_reclaimer_with_eras => fork_reclaimer::<Eras>;
}

fn fork_idle<R: Reclaim>() {
    children(3, store::<R>());
    // Also a store that was used before, by several threads that have ended.
    let store = store::<R>();
    thread::scope(|scope| {
        for n in 1..4_usize {
            scope.spawn(move || {
                store.pin().alloc(n * 8, VALUE, Counted::new()).unwrap();
                store.pin().free(n * 8, VALUE);
            });
        }
    });
    children(3, store);
}

/// Works until it is stopped.
fn busy<R: Reclaim>(store: &ShadowStore<R>, part: usize, stop: &AtomicBool) {
    let mut n = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let obj = 0x1000 + (part * 64 + n % 64) * 64;
        let _ = store.pin().alloc(obj, VALUE, Counted::new()).map(drop);
        let _ = store.pin().get_or_alloc_with(obj, TEXT, || "x".into()).map(|_| ());
        store.pin().free(obj, TEXT);
        store.pin().free(obj, VALUE);
        if n.is_multiple_of(512) {
            store.flush();
        }
        n += 1;
    }
}

fn beside<R: Reclaim>(threads: usize, store: &'static ShadowStore<R>, rounds: usize) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for part in 0..threads {
            let stop = &stop;
            scope.spawn(move || busy(store, part, stop));
        }
        thread::sleep(Duration::from_millis(50));
        let caught = std::panic::catch_unwind(move || children(rounds, store));
        stop.store(true, Ordering::Relaxed);
        caught.unwrap();
    });
}

fn fork_busy<R: Reclaim>() {
    beside(4, store::<R>(), 40);
}

/// If the fork cuts a thread off between two store instructions, memory is leaked at most: no memory is in two places, so
/// nothing is overwritten when the child uses it again.
fn fork_giving_back<R: Reclaim>() {
    const PLAIN: ShadowId<[usize; 5]> = ShadowId::new(77);
    const MANY: usize = 1_000;
    let store: &'static ShadowStore<R> = Box::leak(Box::default());
    let stop = AtomicBool::new(false);
    let churn = |part: usize| {
        let obj = |n: usize| (part << 32) + n * 8;
        for round in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let some = round * 64..(round + 1) * 64;
            some.clone()
                .for_each(|n| store.pin().alloc(obj(n), PLAIN, [7; 5]).map(drop).unwrap());
            some.for_each(|n| assert!(store.pin().free(obj(n), PLAIN)));
        }
    };
    let child = move || {
        (0..20).for_each(|_| store.flush());
        let obj = |part: usize, n: usize| ((100 + part) << 32) + n * 8;
        // In each shard that the other threads had.
        thread::scope(|scope| {
            let places: Vec<_> = (0..6)
                .map(|part| {
                    scope.spawn(move || {
                        (0..MANY).for_each(|n| {
                            store
                                .pin()
                                .alloc(obj(part, n), PLAIN, [obj(part, n); 5])
                                .map(drop)
                                .unwrap()
                        });
                        thread::sleep(Duration::from_millis(10));
                    })
                })
                .collect();
            places.into_iter().for_each(|place| place.join().unwrap());
        });
        for (part, n) in (0..6).flat_map(|part| (0..MANY).map(move |n| (part, n))) {
            assert_eq!(store.pin().get(obj(part, n), PLAIN).cloned(), Some([obj(part, n); 5]));
        }
    };
    thread::scope(|scope| {
        for part in 1..5 {
            let churn = &churn;
            scope.spawn(move || churn(part));
        }
        thread::sleep(Duration::from_millis(50));
        let caught = std::panic::catch_unwind(|| (0..60).for_each(|_| assert_eq!(fork(child), 0)));
        stop.store(true, Ordering::Relaxed);
        caught.unwrap();
    });
}

/// More threads than there are separate shards: the excess threads share one, under a lock.
fn fork_shared<R: Reclaim>() {
    let cores = thread::available_parallelism().map_or(4, usize::from);
    beside((cores.max(4) * 4 + 3).min(40), store::<R>(), 4);
}

fn fork_pinned<R: Reclaim>() {
    let store = store::<R>();
    store.pin().alloc(8_usize, VALUE, Counted::new()).unwrap();
    let (ready, wait) = mpsc::channel();
    thread::spawn(move || {
        let pin = store.pin();
        let value = pin.get(8_usize, VALUE).unwrap();
        std::hint::black_box(value);
        ready.send(()).unwrap();
        loop {
            thread::park();
        }
    });
    wait.recv().unwrap();
    children(3, store);
}

fn fork_constructing<R: Reclaim>() {
    let store = store::<R>();
    let (ready, wait) = mpsc::channel();
    for n in 1..4_usize {
        let ready = ready.clone();
        thread::spawn(move || {
            let stuck = || {
                ready.send(()).unwrap();
                loop {
                    thread::park();
                }
            };
            let _ = store.pin().get_or_alloc_with(n * 8, VALUE, stuck).map(|_| ());
        });
        wait.recv().unwrap();
    }
    // One waits for the first.
    thread::spawn(move || store.pin().get_or_alloc_with(8_usize, VALUE, Counted::new).map(|_| ()));
    thread::sleep(Duration::from_millis(50));
    let status = fork(|| {
        assert!(!store.pin().contains(8_usize, VALUE));
        store
            .pin()
            .get_or_alloc_with(8_usize, VALUE, Counted::new)
            .map(|_| ())
            .unwrap();
        store.pin().alloc(16_usize, VALUE, Counted::new()).unwrap();
        assert!(store.pin().contains(8_usize, VALUE) && store.pin().free(16_usize, VALUE));
        assert!(!store.pin().free(24_usize, VALUE), "not constructed");
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    store
                        .pin()
                        .get_or_alloc_with(24_usize, VALUE, Counted::new)
                        .map(|_| ())
                        .unwrap()
                });
            }
        });
        assert_eq!(store.len(), 2);
        use_all(store);
    });
    assert_eq!(status, 0);
}

fn fork_dropping<R: Reclaim>() {
    struct Slow(mpsc::Sender<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.send(());
            loop {
                thread::park();
            }
        }
    }
    const SLOW: ShadowId<std::sync::Mutex<Slow>> = ShadowId::new(9);
    let store = store::<R>();
    let (ready, wait) = mpsc::channel();
    store
        .pin()
        .alloc(8_usize, SLOW, std::sync::Mutex::new(Slow(ready)))
        .unwrap();
    thread::spawn(move || {
        store.pin().free(8_usize, SLOW);
        let _ = store.synchronize();
    });
    wait.recv().unwrap();
    children(3, store);
}

fn fork_owned() {
    let store = store::<Asymmetric>();
    let guard = store.pin_owned();
    store.pin().alloc(8_usize, VALUE, Counted::new()).unwrap();
    let status = fork(move || {
        assert!(store.pin().free(8_usize, VALUE));
        // A thread may hold the guard: no value is dropped, and no call waits forever.
        assert_eq!(store.synchronize(), Err(SyncError::Forked));
        assert_eq!(drops(), 0);
        drop(guard);
        store.synchronize().unwrap();
        assert_eq!(drops(), 1);
        use_all(store);
    });
    assert_eq!(status, 0);
}

fn fork_by_pinned<R: Reclaim>() {
    let store = store::<R>();
    store.pin().alloc(8_usize, TEXT, "kept".to_owned()).unwrap();
    let pin = store.pin();
    let text = pin.get(8_usize, TEXT).unwrap();
    let status = fork(|| {
        // The guard belongs to this thread, and is still valid.
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(store.pin().free(8_usize, TEXT));
                (0..10).for_each(|_| store.flush());
                let _other = ["over".to_owned(), "over".to_owned()];
            });
        });
        assert_eq!(text, "kept");
        assert_eq!(store.synchronize(), Err(SyncError::Pinned));
    });
    assert_eq!(status, 0);
    assert_eq!(text, "kept");
}

fn fork_again<R: Reclaim>() {
    let store = store::<R>();
    let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    thread::spawn(move || busy(store, 0, stop));
    thread::sleep(Duration::from_millis(20));
    let status = fork(|| {
        thread::spawn(move || busy(store, 1, stop));
        thread::sleep(Duration::from_millis(20));
        for _ in 0..10 {
            assert_eq!(fork(|| use_all(store)), 0, "a grandchild");
        }
        stop.store(true, Ordering::Relaxed);
        use_all(store);
    });
    stop.store(true, Ordering::Relaxed);
    assert_eq!(status, 0);
}

/// The forking thread's own construction continues in both processes.
fn fork_from_constructor<R: Reclaim>() {
    let store = store::<R>();
    let mut status = -1;
    let forked = || {
        status = fork(|| {
            let again = store.pin().get_or_alloc_with(8_usize, VALUE, Counted::new).map(|_| ());
            assert!(again.is_err(), "this thread's own constructor runs");
            store.pin().alloc(16_usize, VALUE, Counted::new()).unwrap();
            store.pin().free(16_usize, VALUE);
            store.flush();
        });
        Counted::new()
    };
    store
        .pin()
        .get_or_alloc_with(8_usize, VALUE, forked)
        .map(|_| ())
        .unwrap();
    assert_eq!(status, 0);
    children(1, store);
}

fn fork_epoch() {
    fork_without_reclamation::<Epoch>();
    #[cfg(feature = "seize")]
    fork_without_reclamation::<shadow_vars::Seize>();
}

/// The child works; values that it frees may wait for threads that no longer exist, but no call waits for that.
fn fork_without_reclamation<R: Reclaim>()
where
    ShadowStore<R>: Send + Sync,
{
    let store: &'static ShadowStore<R> = Box::leak(Box::new(ShadowStore::<R>::builder().batch(4).build().unwrap()));
    let (ready, wait) = mpsc::channel();
    thread::spawn(move || {
        let _pin = store.pin();
        ready.send(()).unwrap();
        loop {
            thread::park();
        }
    });
    wait.recv().unwrap();
    let status = fork(|| {
        for n in 0..1000_usize {
            store.pin().alloc(n * 8, VALUE, Counted::new()).unwrap();
            assert!(store.pin().contains(n * 8, VALUE) && store.pin().free(n * 8, VALUE));
        }
        assert_eq!(store.synchronize(), Err(SyncError::Forked));
    });
    assert_eq!(status, 0);
}

/// The child reclaims values that were held back by guards of threads that no longer exist, but none that an owned guard
/// protects.
fn fork_eras() {
    type Store = ShadowStore<Eras>;
    let store: &'static Store = Box::leak(Box::new(Store::builder().batch(4).build().unwrap()));
    let guard = store.pin_owned();
    let (ready, wait) = mpsc::channel();
    thread::spawn(move || {
        store.pin().alloc(8_usize, VALUE, Counted::new()).unwrap();
        let pin = store.pin();
        std::hint::black_box(pin.get(8_usize, VALUE));
        ready.send(()).unwrap();
        loop {
            thread::park();
        }
    });
    wait.recv().unwrap();
    let status = fork(move || {
        let churn = || {
            for n in 2..1000_usize {
                store.pin().alloc(n * 8, VALUE, Counted::new()).unwrap();
                assert!(store.pin().contains(n * 8, VALUE) && store.pin().free(n * 8, VALUE));
            }
        };
        assert!(store.pin().free(8_usize, VALUE));
        churn();
        store.flush();
        assert!(drops() > 900, "what came later goes beside the owned guard");
        assert_eq!(store.synchronize(), Err(SyncError::Forked));
        drop(guard);
        store.synchronize().unwrap();
        assert_eq!(drops(), 999);
        churn();
        drop(store.pin_owned());
        store.synchronize().unwrap();
        assert_eq!(drops(), 1997);
    });
    assert_eq!(status, 0);
}

/// Signals, if it is the tenth, that it is dropped, and waits until it may continue.
struct Tenth(usize);

static TENTH: Barrier = Barrier::new(2);

impl Drop for Tenth {
    fn drop(&mut self) {
        if HELD_DROPS.fetch_add(1, Ordering::SeqCst) == 9 {
            TENTH.wait();
            TENTH.wait();
        }
    }
}

static HELD_DROPS: AtomicUsize = AtomicUsize::new(0);

/// A thread drops everything that a reader held back, and the fork cuts it off in the middle: what it was processing is lost,
/// at most a batch.
fn fork_held() {
    const ID: ShadowId<Tenth> = ShadowId::new(3);
    const THERE: usize = 1000;
    const BATCH: usize = 16;
    let store: &'static ShadowStore<Eras> = Box::leak(Box::new(ShadowStore::builder().batch(BATCH).build().unwrap()));
    (0..THERE).for_each(|n| store.pin().alloc(n * 8, ID, Tenth(n)).map(drop).unwrap());
    let pin = store.pin();
    assert!((0..THERE).all(|n| pin.get(n * 8, ID).is_some_and(|found| found.0 == n)));
    thread::spawn(|| (0..THERE).for_each(|n| assert!(store.pin().free(n * 8, ID))))
        .join()
        .unwrap();
    store.flush();
    assert_eq!((HELD_DROPS.load(Ordering::SeqCst), store.len()), (0, 0));
    drop(pin);
    thread::scope(|scope| {
        scope.spawn(|| store.synchronize().unwrap());
        TENTH.wait();
        let status = fork(|| {
            store.synchronize().unwrap();
            let dropped = HELD_DROPS.load(Ordering::SeqCst);
            assert!((THERE - BATCH..THERE).contains(&dropped), "{dropped} dropped");
            store.pin().alloc(8_usize, ID, Tenth(0)).unwrap();
            assert!(store.pin().free(8_usize, ID));
            store.synchronize().unwrap();
            assert_eq!(HELD_DROPS.load(Ordering::SeqCst), dropped + 1);
        });
        TENTH.wait();
        assert_eq!(status, 0);
    });
    assert_eq!(HELD_DROPS.load(Ordering::SeqCst), THERE);
}

/// A fork changes nothing in the parent, whose threads continue.
fn fork_parent_goes_on<R: Reclaim>() {
    let store = store::<R>();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for part in 0..2 {
            let stop = &stop;
            scope.spawn(move || busy(store, part, stop));
        }
        for _ in 0..50 {
            assert_eq!(fork(|| ()), 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
    use_all(store);
    assert_eq!(store.len(), 0);
    assert_eq!(store.stats().retired_objects, 0);
}

/// The parent's reclaimer does not exist in the child, which starts its own: that one drops values freed in the child, and
/// values that the parent had freed and no thread had begun to drop, while no operation runs.
fn fork_reclaimer<R: Reclaim>() {
    const SHARED: ShadowId<Arc<()>> = ShadowId::new(3);
    let store: &'static ShadowStore<R> = Box::leak(Box::default());
    // These values wait: no operation follows, and the guard that ends last has changed nothing.
    let free_many = |value: &Arc<()>| {
        (1..2_000_usize).for_each(|n| store.pin().alloc(n * 8, SHARED, value.clone()).map(drop).unwrap());
        let outer = store.pin();
        (1..2_000_usize).for_each(|n| assert!(store.pin().free(n * 8, SHARED)));
        drop(outer);
        assert!(Arc::strong_count(value) > 1, "something is left to do");
    };
    let await_drops = |value: &Arc<()>| {
        let start = Instant::now();
        while Arc::strong_count(value) > 1 {
            let left = Arc::strong_count(value) - 1;
            assert!(start.elapsed() < Duration::from_secs(15), "{left} values are left");
            thread::sleep(Duration::from_millis(5));
        }
    };
    let assert_reclaimers = |expected: usize| {
        let is_one = |task: std::io::Result<std::fs::DirEntry>| {
            let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
            name.is_ok_and(|name| name.starts_with("shadow-reclaime"))
        };
        let count = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            tasks.map(is_one).filter(|&is_one| is_one).count()
        };
        // A thread has its name a little later than it exists.
        let start = Instant::now();
        while count() < expected && start.elapsed() < Duration::from_secs(15) {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(count(), expected);
    };
    let start_one = || {
        start_reclaimer().unwrap();
        start_reclaimer().unwrap();
    };
    // In a child, which has none of its parent's threads.
    let start_and_use = || {
        assert_reclaimers(0);
        start_one();
        let childs = Arc::new(());
        free_many(&childs);
        await_drops(&childs);
    };
    let parents = Arc::new(());
    free_many(&parents);
    let status = fork(|| {
        start_one();
        await_drops(&parents);
        assert_reclaimers(1);
    });
    assert_eq!(status, 0, "without one in the parent");
    start_one();
    await_drops(&parents);
    for _ in 0..20 {
        free_many(&parents);
        let status = fork(|| {
            start_and_use();
            let childs = Arc::new(());
            free_many(&childs);
            let status = fork(start_and_use);
            assert_eq!(status, 0, "a grandchild");
            await_drops(&childs);
            assert_reclaimers(1);
        });
        assert_eq!(status, 0);
        await_drops(&parents);
        assert_reclaimers(1);
    }
}
