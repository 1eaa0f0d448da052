//! Models of the retire lists: retired objects are dropped once, never delayed by a thread that does nothing wrong, and
//! never under a guard.
//!
//! They use a backend that counts grace periods by the batch (of one object here) as the real ones do; `grace` explores
//! with the default backend the models for which that is worthwhile.

use std::sync::Arc;

use loom::thread::JoinHandle;

use super::{
    A, B, C, CREATED, Checked, Ordering, Reclaim, Small, Usual, WATCHED, dropped, explore, is_dropped,
    is_dropped_by_now, join, spawn,
};
use crate::shard::Shard;

type Store = super::Store<Checked<false>>;

fn store() -> Arc<Store> {
    Store::small(&[A, B])
}

#[test]
fn what_two_threads_retire_is_dropped_once() {
    explore(Small, || {
        let store = store();
        let other = spawn(&store, |store| store.free(A));
        assert_eq!(store.free(B), Some(1));
        assert_eq!(join(other), Some(0));
        (0..3).for_each(|_| store.flush());
        assert_eq!((dropped(), store.core.lists.pending().0), (2, 0));
        store.end(&[]);
    });
}

/// A thread retires in a shard of its own, and another closes it.
#[test]
fn an_owner_retires_beside_one_who_closes_for_it() {
    explore(Small, || {
        let store = Store::owned(&[A, B]);
        let other = spawn(&store, |store| store.flush());
        store.free_in(Shard::owned(0), A);
        store.free_in(Shard::owned(0), B);
        join(other);
        (0..3).for_each(|_| store.flush());
        assert_eq!((dropped(), store.core.lists.pending().0), (2, 0));
        store.end(&[]);
    });
}

/// Makes a store with one value that waits in a thread's own shard, with its period over.
fn ready_in_an_owned_shard() -> Arc<Store> {
    let store = Store::owned(&[A, B]);
    store.free_in(Shard::owned(0), A);
    store.core.lists.close::<Checked<false>>(0);
    assert_eq!(dropped(), 0);
    store
}

/// A thread that retires drops ready objects of its own shard, while another drains it.
#[test]
fn an_owner_drops_beside_one_who_drains_for_it() {
    explore(Small, || {
        let store = ready_in_an_owned_shard();
        let other = spawn(&store, |store| store.flush());
        store.free_in(Shard::owned(0), B);
        join(other);
        (0..3).for_each(|_| store.flush());
        assert_eq!((dropped(), store.core.lists.pending().0), (2, 0));
        store.end(&[]);
    });
}

/// Objects in the hands of the thread that drops them do not count as dropped, although nothing waits any more.
#[test]
fn what_an_owner_has_in_hand_is_not_done() {
    WATCHED.store(true, Ordering::Relaxed);
    explore(Small, || {
        let store = ready_in_an_owned_shard();
        let mark = store.core.lists.mark();
        let other = spawn(&store, move |store| {
            store.flush();
            if store.core.lists.is_done(&mark) {
                assert!(is_dropped_by_now(0), "done, and not dropped");
            }
        });
        store.free_in(Shard::owned(0), B);
        join(other);
        let mark = store.core.lists.mark();
        (0..3).for_each(|_| store.flush());
        assert!(store.core.lists.is_done(&mark), "nobody holds it up");
        store.end(&[]);
    });
}

/// Two threads take this many steps each, then one of them takes more.
pub(super) fn flushes_drop_once<R: Reclaim>(keys: &[usize], steps: usize) {
    let store = super::Store::<R>::small(keys);
    for (place, &obj) in keys.iter().enumerate() {
        assert_eq!(store.free(obj), Some(place));
    }
    let other = spawn(&store, move |store| (0..steps).for_each(|_| store.flush()));
    (0..steps).for_each(|_| store.flush());
    join(other);
    (0..2).for_each(|_| store.flush());
    assert_eq!((dropped(), store.core.lists.pending().0), (keys.len(), 0));
    store.end(&[]);
}

#[test]
fn two_flushes_drop_what_is_ready_once() {
    explore(Small, || flushes_drop_once::<Checked<false>>(&[A, B], 1));
}

/// One thread frees and advances as often as that may help, another reads.
pub(super) fn free_beside_a_reader<R: Reclaim>(obj: usize) {
    let store = super::Store::<R>::small(&[obj]);
    let other = spawn(&store, move |store| {
        assert_eq!(store.free(obj), Some(0));
        store.flush();
        store.flush();
    });
    store.get_and_hold(obj, 0);
    end_with_one_dropped(store, other);
}

/// Called when the other thread is done and there are no guards: the value is dropped.
pub(super) fn end_with_one_dropped<R: Reclaim>(store: Arc<super::Store<R>>, other: JoinHandle<()>) {
    join(other);
    (0..2).for_each(|_| store.flush());
    assert_eq!(dropped(), 1, "values dropped with no guard left");
    store.end(&[]);
}

#[test]
fn nothing_is_dropped_before_a_readers_guard_goes() {
    explore(Usual, || free_beside_a_reader::<Checked<false>>(A));
}

/// Two objects are retired before the mark, in both chains, and one after; a closer runs at any time.
#[test]
fn what_was_retired_before_the_mark_is_gone_when_it_is_done() {
    explore(Usual, || {
        let config = super::Config {
            batch: 8,
            ..Store::config(4)
        };
        let store = Store::with(&config, &[A, B, C]);
        assert_eq!(store.free(C), Some(2)); // chain 1
        let closer = spawn(&store, |store| store.flush());
        assert_eq!(store.free(A), Some(0)); // chain 0
        let mark = store.core.lists.mark();
        assert_eq!(store.free(B), Some(1)); // chain 1
        // Checked at every point at which a thread may get that answer.
        let asked = || {
            if store.core.lists.is_done(&mark) {
                assert!(is_dropped(2) && is_dropped(0), "done, and not dropped");
            }
        };
        asked();
        for _ in 0..2 {
            store.flush();
            asked();
        }
        join(closer);
        (0..3).for_each(|_| store.flush());
        assert!(store.core.lists.is_done(&mark), "nobody holds it up");
        store.end(&[]);
    });
}

/// A mark of a list in which nothing is open, and one taken during a close, are done without another close.
#[test]
fn a_mark_needs_no_close_that_never_comes() {
    explore(Usual, || {
        let store = store();
        assert_eq!(store.free(A), Some(0));
        let closer = spawn(&store, |store| {
            store.flush();
            store.flush();
        });
        let mark = store.core.lists.mark();
        join(closer);
        (0..2).for_each(|_| store.flush());
        assert!(is_dropped(0));
        assert!(store.core.lists.is_done(&mark));
        assert!(store.core.lists.is_done(&store.core.lists.mark()));
        store.end(&[B]);
    });
}

/// At the end no thread flushes: waiting objects are dropped with the store. Their interleavings are explored above.
#[test]
fn the_stores_drop_drains_what_is_retired() {
    explore(Usual, || {
        let store = store();
        let other = spawn(&store, |store| store.free(A));
        assert_eq!(store.free(B), Some(1));
        join(other);
        assert!(dropped() < CREATED.load(Ordering::Relaxed));
        store.end(&[]);
    });
}

/// A table is retired as nodes are.
#[test]
fn a_finder_is_still_in_the_table_that_was_retired() {
    explore(Usual, || {
        let store = store();
        let other = spawn(&store, |store| {
            store.migrate();
            store.flush();
            store.flush();
        });
        assert_eq!((store.get(A), store.get(B)), (Some(0), Some(1)));
        join(other);
        store.end(&[A, B]);
    });
}
