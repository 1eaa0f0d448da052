//! Stores in a process to which a sandbox denies the barrier.

#![cfg(all(target_os = "linux", not(miri)))]

#[path = "support/deny.rs"]
mod deny;
#[path = "support/process.rs"]
mod process;
#[cfg(feature = "tracing")]
#[path = "support/warnings.rs"]
mod warnings;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use deny::deny_membarrier;
#[cfg(feature = "tracing")]
use deny::is_there_membarrier;
use process::{Counted, TEXT, VALUE, children, drops, processes, store, use_all};
use shadow_vars::{Asymmetric, Eras, Reclaim, ShadowStore, SyncError};

processes! {
    denied_barrier_drops_nothing_unfenced => denied_unfenced::<Asymmetric>;
    denied_barrier_drops_nothing_unfenced_with_eras => denied_unfenced::<Eras>;
    denied_barrier_drops_nothing_unfenced_of_many => denied_unfenced_of_many::<Asymmetric>;
    denied_barrier_drops_nothing_unfenced_of_many_with_eras => denied_unfenced_of_many::<Eras>;
    denied_barrier_hangs_nowhere => denied_hang::<Asymmetric>;
    denied_barrier_hangs_nowhere_with_eras => denied_hang::<Eras>;
    denied_barrier_comes_back_as_fences => denied_comes_back::<Asymmetric>;
    denied_barrier_comes_back_as_fences_with_eras => denied_comes_back::<Eras>;
    denied_barrier_from_the_start => denied_from_the_start::<Asymmetric>;
    denied_barrier_from_the_start_with_eras => denied_from_the_start::<Eras>;
    denied_barrier_keeps_readers_safe => denied_readers::<Asymmetric>;
    denied_barrier_keeps_readers_safe_with_eras => denied_readers::<Eras>;
}

#[cfg(feature = "tracing")]
processes! {
    denied_barrier_is_told_once => denied_told::<Asymmetric>;
    denied_barrier_is_told_once_with_eras => denied_told::<Eras>;
    denied_barrier_is_told_once_for_both => denied_told_for_both;
    denied_barrier_is_not_told_if_there_never_was_one => denied_not_told;
    denied_barrier_told_to_who_panics => denied_told_to_who_panics;
}

/// A thread that has used the store, and then sleeps until the sender is dropped. Returns when it sleeps.
fn sleeper<R: Reclaim>(store: &'static ShadowStore<R>, work: impl FnOnce(&ShadowStore<R>) + Send + 'static) -> Sleeper {
    let (wake, sleep) = mpsc::channel::<()>();
    let (ready, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        work(store);
        ready.send(()).unwrap();
        let _ = sleep.recv();
    });
    wait.recv().unwrap();
    Sleeper {
        wake: Some(wake),
        thread: Some(thread),
    }
}

struct Sleeper {
    wake: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sleeper {
    fn end(mut self) {
        self.wake = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A thread has used light barriers and sleeps, so there can be no heavy one: nothing is dropped, and that is reported.
fn denied_unfenced<R: Reclaim>() {
    let store = store::<R>();
    store.pin().alloc(8_usize, VALUE, Counted::new()).unwrap();
    let other = sleeper(store, |store| assert!(store.pin().contains(8_usize, VALUE)));
    let was_there = deny_membarrier();
    store.pin().free(8_usize, VALUE);
    (0..100).for_each(|_| store.flush());
    if was_there {
        assert_eq!(drops(), 0, "dropped without a barrier");
        assert_eq!(store.synchronize(), Err(SyncError::NoBarrier));
        assert_eq!(store.stats().unsettled_readers, 1, "the sleeper");
    }
    other.end();
    store.synchronize().unwrap();
    assert_eq!((drops(), store.stats().unsettled_readers), (1, 0));
}

/// As above, while several threads retire batch after batch: nothing of that is dropped, not even values that were created
/// after the denial, as it is not known what the sleeping thread has found.
fn denied_unfenced_of_many<R: Reclaim>() {
    const MANY: usize = 2_000;
    let store = store::<R>();
    store.pin().alloc(8_usize, VALUE, Counted::new()).unwrap();
    let other = sleeper(store, |store| assert!(store.pin().contains(8_usize, VALUE)));
    let was_there = deny_membarrier();
    store.pin().free(8_usize, VALUE);
    let churn = |part: usize| {
        for n in 1..=MANY {
            let obj = (part << 32) + n * 8;
            store.pin().alloc(obj, VALUE, Counted::new()).unwrap();
            assert!(store.pin().free(obj, VALUE));
            if n.is_multiple_of(100) {
                store.flush();
            }
        }
    };
    thread::scope(|scope| (1..3).for_each(|part| drop(scope.spawn(move || churn(part)))));
    churn(3);
    if was_there {
        assert_eq!(drops(), 0, "dropped without a barrier");
        let asked = [(); 2].map(|()| thread::spawn(|| store.synchronize()).join().unwrap());
        assert_eq!(asked, [Err(SyncError::NoBarrier); 2]);
        assert_eq!((drops(), store.stats().unsettled_readers), (0, 1));
    }
    other.end();
    store.synchronize().unwrap();
    assert_eq!((drops(), store.stats().unsettled_readers), (1 + 3 * MANY as u64, 0));
}

/// What an idle thread left in its own shard cannot be closed by other threads without a barrier: no hang, and no loss.
fn denied_hang<R: Reclaim>() {
    let store: &'static ShadowStore<R> = Box::leak(Box::default());
    store.pin().alloc(8_usize, VALUE, Counted::new()).unwrap();
    store.pin().alloc(16_usize, VALUE, Counted::new()).unwrap();
    // Under its guard, one thread waits for a grace period, and the other waits for that one's batch to be closed.
    let other = sleeper(store, |store| {
        // The guard that ends last has changed nothing, so it leaves the values to others.
        let _outer = store.pin();
        let pin = store.pin();
        assert!(pin.free(8_usize, VALUE) && pin.free(16_usize, VALUE));
    });
    let was_there = deny_membarrier();
    let start = Instant::now();
    let asked = thread::spawn(|| store.synchronize()).join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    if was_there {
        assert_eq!((asked, drops()), (Err(SyncError::NoBarrier), 0));
    } else {
        assert_eq!((asked, drops()), (Ok(()), 2));
    }
    other.end();
    store.synchronize().unwrap();
    assert_eq!(drops(), 2);
}

/// When every reader has pinned again, everything continues as with fences.
fn denied_comes_back<R: Reclaim>() {
    let store = store::<R>();
    let (again, wait) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let other = thread::spawn(move || {
        let _ = store.pin().contains(8_usize, VALUE);
        ready.send(()).unwrap();
        for () in wait {
            let _ = store.pin().contains(8_usize, VALUE);
            ready.send(()).unwrap();
        }
    });
    is_ready.recv().unwrap();
    deny_membarrier();
    store.pin().alloc(8_usize, VALUE, Counted::new()).unwrap();
    store.pin().free(8_usize, VALUE);
    (0..10).for_each(|_| store.flush());
    again.send(()).unwrap();
    is_ready.recv().unwrap();
    store.synchronize().unwrap();
    assert_eq!((drops(), store.stats().unsettled_readers), (1, 0));
    use_all(store);
    drop(again);
    other.join().unwrap();
    children(2, store);
}

fn denied_from_the_start<R: Reclaim>() {
    deny_membarrier();
    let store = store::<R>();
    let other = sleeper(store, |store| assert!(!store.pin().contains(8_usize, VALUE)));
    use_all(store);
    assert_eq!(store.stats().unsettled_readers, 0);
    other.end();
}

/// Readers read what they found while other threads free it and create it again, across the denial.
fn denied_readers<R: Reclaim>() {
    let store = store::<R>();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let pin = store.pin();
                    if let Some(text) = pin.get(8_usize, TEXT) {
                        assert_eq!(text, "sixteen letters.");
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = store
                    .pin()
                    .alloc(8_usize, TEXT, "sixteen letters.".to_owned())
                    .map(drop);
                store.pin().free(8_usize, TEXT);
                store.flush();
            }
        });
        thread::sleep(Duration::from_millis(200));
        deny_membarrier();
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
    });
    store.synchronize().unwrap();
    use_all(store);
}

/// Reclamation is stalled, and is requested repeatedly by concurrent threads: one warning.
#[cfg(feature = "tracing")]
fn denied_told<R: Reclaim>() {
    warnings::listen();
    let (was_there, others) = stand_still(&[stand::<R>]);
    assert_told(was_there);
    others.into_iter().for_each(Sleeper::end);
    store::<R>().synchronize().unwrap();
    assert_eq!(warnings::take(), [""; 0]);
}

/// Each backend has readers of its own, but the process is denied one barrier.
#[cfg(feature = "tracing")]
fn denied_told_for_both() {
    warnings::listen();
    let (was_there, others) = stand_still(&[stand::<Asymmetric>, stand::<Eras>]);
    assert_told(was_there);
    others.into_iter().for_each(Sleeper::end);
}

#[cfg(feature = "tracing")]
fn assert_told(was_there: bool) {
    let told = warnings::take();
    assert_eq!(told.len(), usize::from(was_there), "{told:?}");
    let is_it = |told: &String| told.contains("membarrier is denied") && told.ends_with(" readers");
    assert!(told.iter().all(is_it), "{told:?}");
}

/// A sleeping thread, and an operation that needs the barrier which that thread prevents.
#[cfg(feature = "tracing")]
type Stand = (Sleeper, fn());

#[cfg(feature = "tracing")]
fn stand<R: Reclaim>() -> Stand {
    fn push<R: Reclaim>() {
        let store = store::<R>();
        for n in 1..200_usize {
            store.pin().alloc(n * 8, VALUE, Counted::new()).unwrap();
            store.pin().free(n * 8, VALUE);
            store.flush();
        }
        let _ = store.synchronize();
    }
    push::<R>();
    (
        sleeper(store::<R>(), |store| {
            assert!(store.is_empty() && !store.pin().contains(8_usize, VALUE))
        }),
        push::<R>,
    )
}

/// Stalls reclamation. Returns whether there was a barrier, and the threads that sleep.
#[cfg(feature = "tracing")]
fn stand_still(stands: &[fn() -> Stand]) -> (bool, Vec<Sleeper>) {
    let (others, pushes): (Vec<_>, Vec<_>) = stands.iter().map(|stand| stand()).unzip();
    assert_eq!(warnings::take(), [""; 0], "nothing is denied yet");
    let was_there = deny_membarrier();
    thread::scope(|scope| (0..3).for_each(|_| pushes.iter().for_each(|push| drop(scope.spawn(push)))));
    (was_there, others)
}

/// A process that was denied the barrier from the start has no disadvantage.
#[cfg(feature = "tracing")]
fn denied_not_told() {
    warnings::listen();
    denied_from_the_start::<Asymmetric>();
    denied_from_the_start::<Eras>();
    assert_eq!(warnings::take(), [""; 0]);
}

#[cfg(feature = "tracing")]
fn denied_told_to_who_panics() {
    warnings::listen();
    warnings::panic();
    let was_there = is_there_membarrier();
    denied_unfenced::<Asymmetric>();
    assert_told(was_there);
}
