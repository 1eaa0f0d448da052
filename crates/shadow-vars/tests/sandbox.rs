//! Stores in a process that a sandbox denies the barrier.

#![cfg(all(target_os = "linux", not(miri)))]

#[path = "support/deny.rs"]
mod deny;
#[path = "support/process.rs"]
mod process;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use deny::deny_membarrier;
use process::{Counted, TEXT, VALUE, children, drops, processes, store, use_all};
use shadow_vars::{ShadowStore, SyncError};

processes! {
    denied_barrier_drops_nothing_unfenced => denied_unfenced;
    denied_barrier_hangs_nowhere => denied_hang;
    denied_barrier_comes_back_as_fences => denied_comes_back;
    denied_barrier_from_the_start => denied_from_the_start;
    denied_barrier_keeps_readers_safe => denied_readers;
}

/// A thread that has used the store, and sleeps from then on until the sender goes. Returns when it sleeps.
fn sleeper(store: &'static ShadowStore, work: impl FnOnce(&ShadowStore) + Send + 'static) -> Sleeper {
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

/// A thread has used light barriers and sleeps, so no heavy one is to be had: nothing is dropped, and it is said.
fn denied_unfenced() {
    let store = store();
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    let other = sleeper(store, |store| assert!(store.contains(8_usize, VALUE)));
    let was_there = deny_membarrier();
    store.free(8_usize, VALUE);
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

/// What an idle thread left in its own shard is not closed by others without a barrier: no hang, and no loss.
fn denied_hang() {
    let store: &'static ShadowStore = Box::leak(Box::new(ShadowStore::new()));
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    store.alloc(16_usize, VALUE, Counted::new()).unwrap();
    // Under its guard one waits for a period, and the other for that one to be closed.
    let other = sleeper(store, |store| {
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

/// When every reader has pinned again, all goes on as with fences.
fn denied_comes_back() {
    let store = store();
    let (again, wait) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let other = thread::spawn(move || {
        let _ = store.contains(8_usize, VALUE);
        ready.send(()).unwrap();
        for () in wait {
            let _ = store.contains(8_usize, VALUE);
            ready.send(()).unwrap();
        }
    });
    is_ready.recv().unwrap();
    deny_membarrier();
    store.alloc(8_usize, VALUE, Counted::new()).unwrap();
    store.free(8_usize, VALUE);
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

fn denied_from_the_start() {
    deny_membarrier();
    let store = store();
    let other = sleeper(store, |store| assert!(!store.contains(8_usize, VALUE)));
    use_all(store);
    assert_eq!(store.stats().unsettled_readers, 0);
    other.end();
}

/// Readers look at what they found while others free it and make it anew, across the denial.
fn denied_readers() {
    let store = store();
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
                let _ = store.alloc(8_usize, TEXT, "sixteen letters.".to_owned());
                store.free(8_usize, TEXT);
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
