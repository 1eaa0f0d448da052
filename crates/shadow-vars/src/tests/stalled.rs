//! Stalled readers of the backend with intervals: what they hold back is bounded, however many variables are created
//! and freed.
//!
//! A reader of one store is a reader of all stores of the backend, so these tests do not run concurrently.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use super::stall::support::within;
use crate::defect::rig::ON_ACCESS;
use crate::{Asymmetric, Eras, ObjAddr, Reclaim, ShadowId, ShadowStore, Stats};

const ID: ShadowId<[usize; 4]> = ShadowId::new(1);
/// Variables that exist when the reader stalls.
const THERE: usize = 2_000;
const BATCH: usize = 128;
/// Replacements during the stall.
const CHURN: usize = 1_000_000;
/// The bound besides those: the open and the waiting batch of each shard in use, and births before the next era.
const MORE: usize = 4 * BATCH + 2 * 1024;

fn value(n: usize) -> [usize; 4] {
    [n, !n, n, !n]
}

fn obj(n: usize) -> ObjAddr {
    ObjAddr::new((n + 1) << 6)
}

fn store<R: Reclaim>() -> ShadowStore<R> {
    let store = ShadowStore::builder().batch(BATCH).build().unwrap();
    (0..THERE).for_each(|n| store.pin().alloc(obj(n), ID, value(n)).map(drop).unwrap());
    store
}

/// Replaces variables of `THERE` parents, one after the other. Returns the most that waits, and what waits at the end.
fn churn<R: Reclaim>(store: &ShadowStore<R>, replacements: usize) -> (usize, Stats) {
    let mut most = 0;
    for n in 0..replacements {
        let n = n % THERE;
        assert!(store.pin().free(obj(n), ID));
        store.pin().alloc(obj(n), ID, value(n)).unwrap();
        if n == 0 {
            most = most.max(store.stats().retired_objects);
        }
    }
    (most, store.stats())
}

/// Checks that nothing is left when the reader has continued.
fn check_gone<R: Reclaim>(store: &ShadowStore<R>) {
    store.synchronize().unwrap();
    assert_eq!(store.stats().retired_objects, 0);
}

/// A reader stalls after it found each of the variables: they are held, and nothing that is created later.
fn stall_after_look_ups<R: Reclaim>(replacements: usize) -> usize {
    let store = store::<R>();
    let (stalled, done) = (Barrier::new(2), Barrier::new(2));
    let most = thread::scope(|scope| {
        scope.spawn(|| {
            let pin = store.pin();
            let found: Vec<_> = (0..THERE).map(|n| pin.get(obj(n), ID).unwrap()).collect();
            stalled.wait();
            done.wait();
            (0..THERE).for_each(|n| assert_eq!(*found[n], value(n)));
            // It continues: what it finds now is protected too.
            assert!(pin.get(obj(0), ID).is_some_and(|found| *found == value(0)));
        });
        stalled.wait();
        let (most, stats) = churn(&store, replacements);
        assert!(stats.retired_objects >= THERE, "what the reader has found is held");
        done.wait();
        most
    });
    check_gone(&store);
    most
}

#[test]
fn a_stalled_reader_holds_back_what_was_there() {
    let _alone = super::alone();
    within(Duration::from_secs(300), "churn beside a stalled reader", || {
        let most = stall_after_look_ups::<Eras>(CHURN);
        assert!(most <= THERE + MORE, "{most} objects wait");
        // Without intervals the bound does not hold.
        let most = stall_after_look_ups::<Asymmetric>(10 * THERE);
        assert!(most > 8 * THERE, "{most} objects wait");
    });
}

/// A reader is stopped inside a look-up, at each access to a table or a node.
#[test]
fn a_reader_that_is_stopped_in_a_look_up_holds_back_what_was_there() {
    let _alone = super::alone();
    thread_local! {
        /// Accesses before the one at which the thread is stopped.
        static LEFT: Cell<usize> = const { Cell::new(0) };
        static STOP: Cell<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>> = const { Cell::new(None) };
    }
    let stopped = AtomicUsize::new(0);
    for accesses in 0..4 {
        let store = store::<Eras>();
        let (say, hear) = mpsc::channel();
        let (go_on, wait) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let pin = store.pin();
                LEFT.set(accesses);
                STOP.set(Some((say, wait)));
                ON_ACCESS.set(Some(|| match LEFT.get() {
                    0 => {
                        if let Some((say, wait)) = STOP.take() {
                            say.send(()).unwrap();
                            wait.recv().unwrap();
                        }
                    }
                    left => LEFT.set(left - 1),
                }));
                let found = pin.get(obj(7), ID);
                ON_ACCESS.set(None);
                // Continued: it has found what was there, or what is there by now.
                assert!(found.is_some_and(|found| *found == value(7)));
                if let Some((say, _)) = STOP.take() {
                    let _ = say.send(());
                } else {
                    stopped.fetch_add(1, Ordering::Relaxed);
                }
            });
            hear.recv().unwrap();
            let (most, _) = churn(&store, 20 * THERE);
            let _ = go_on.send(());
            assert!(
                most <= THERE + MORE,
                "{most} objects wait, stopped after {accesses} accesses"
            );
        });
        check_gone(&store);
    }
    assert!(stopped.into_inner() >= 2, "no look-up has so few accesses");
}

/// A task that holds a guard across an await point.
#[test]
fn an_owned_guard_holds_back_what_was_there() {
    let _alone = super::alone();
    let store = store::<Eras>();
    let mut pin = store.pin_owned();
    let found = pin.get(obj(0), ID).unwrap();
    let most = churn(&store, 50 * THERE).0;
    assert!(most <= THERE + MORE, "{most} objects wait");
    assert_eq!(*found, value(0));
    // Another thread continues the task, and stalls.
    thread::scope(|scope| scope.spawn(|| assert!(pin.get(obj(1), ID).is_some())).join().unwrap());
    let most = churn(&store, 50 * THERE).0;
    assert!(most <= 2 * (THERE + MORE), "{most} objects wait");
    // Renewed, it counts as another guard.
    pin.repin();
    store.flush();
    let waits = store.stats().retired_objects;
    assert!(waits <= MORE, "{waits} objects wait for a guard that was renewed");
    drop(pin);
    check_gone(&store);
}

/// A variable only created after the stall, and freed later still, was not there: eras advance by births, too.
#[test]
fn what_was_created_after_the_stall_is_not_held() {
    let _alone = super::alone();
    const MANY: usize = 50_000;
    let store = store::<Eras>();
    let pin = store.pin_owned();
    assert!(pin.get(obj(0), ID).is_some());
    let later = |n| obj(THERE + n);
    (0..MANY).for_each(|n| store.pin().alloc(later(n), ID, value(n)).map(drop).unwrap());
    (0..MANY).for_each(|n| assert!(store.pin().free(later(n), ID)));
    store.flush();
    let waits = store.stats().retired_objects;
    assert!(waits <= MORE, "{waits} objects wait");
    drop(pin);
    check_gone(&store);
}

/// Tables are created and freed like variables.
#[test]
fn tables_that_came_after_the_stall_are_not_held() {
    let _alone = super::alone();
    const MANY: usize = 20_000;
    let store = store::<Eras>();
    let pin = store.pin_owned();
    assert!(pin.get(obj(0), ID).is_some());
    let mut waits = Vec::new();
    for _ in 0..20 {
        (0..MANY).for_each(|n| store.pin().alloc(obj(THERE + n), ID, value(n)).map(drop).unwrap());
        (0..MANY).for_each(|n| assert!(store.pin().free(obj(THERE + n), ID)));
        store.shrink_to_fit();
        store.flush();
        waits.push(store.stats().retired_bytes);
    }
    assert!(store.stats().growths > 20, "the table hardly moved");
    assert!(waits.iter().max() <= Some(&(2 * waits[0])), "{waits:?} bytes wait");
    assert!(pin.get(obj(0), ID).is_some_and(|found| *found == value(0)));
    drop(pin);
    check_gone(&store);
}

/// Readers that stall one after the other, each before the previous one continues: none inherits what another has held.
#[test]
fn what_one_reader_held_is_not_held_by_the_next() {
    let _alone = super::alone();
    let store = store::<Eras>();
    let mut pin = store.pin_owned();
    let mut waits = Vec::new();
    for _ in 0..20 {
        let held: Vec<_> = (0..THERE).map(|n| pin.get(obj(n), ID).unwrap()).collect();
        churn(&store, 2 * THERE);
        let next = store.pin_owned();
        (0..THERE).for_each(|n| assert_eq!(*held[n], value(n)));
        pin = next;
        assert!(pin.get(obj(0), ID).is_some());
        churn(&store, 3 * THERE);
        waits.push(store.stats().retired_objects);
    }
    let most = *waits.iter().max().unwrap();
    assert!(most <= 2 * (THERE + MORE), "{waits:?} objects wait");
    drop(pin);
    check_gone(&store);
}

/// A thread that waits for what was freed before does not wait for a reader that came later, though that one holds
/// something back by now.
#[test]
fn a_wait_does_not_wait_for_what_came_later() {
    let _alone = super::alone();
    within(Duration::from_secs(60), "a wait beside a later reader", || {
        let store = store::<Eras>();
        let (older, stop) = (store.pin_owned(), AtomicUsize::new(0));
        assert!(older.get(obj(0), ID).is_some());
        churn(&store, THERE);
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let waited = store.synchronize();
                stop.store(1, Ordering::Relaxed);
                waited
            });
            thread::sleep(Duration::from_millis(50));
            let later = store.pin_owned();
            assert!(later.get(obj(1), ID).is_some());
            churn(&store, THERE);
            drop(older);
            while stop.load(Ordering::Relaxed) == 0 {
                churn(&store, THERE);
            }
            waits.join().unwrap().unwrap();
            drop(later);
        });
        check_gone(&store);
    });
}

/// Large values do not wait for a full batch.
#[test]
fn large_values_go_one_by_one() {
    let _alone = super::alone();
    const LARGE: ShadowId<[u8; 1 << 20]> = ShadowId::new(2);
    let store = store::<Eras>();
    let pin = store.pin_owned();
    assert!(pin.get(obj(0), ID).is_some());
    let mut most = 0;
    for _ in 0..300 {
        store
            .pin()
            .get_or_alloc_with(obj(0), LARGE, || [0; 1 << 20])
            .map(|_| ())
            .unwrap();
        assert!(store.pin().free(obj(0), LARGE));
        most = most.max(store.stats().retired_bytes);
    }
    assert!(most <= 16 << 20, "{most} bytes wait");
    drop(pin);
    check_gone(&store);
}
