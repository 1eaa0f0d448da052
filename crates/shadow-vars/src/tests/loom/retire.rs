//! The retire lists, with a backend that counts grace periods by the batch (of one here) as the real ones do: what is
//! retired is dropped once, by nobody's fault late, and never under a guard.

use std::sync::Arc;

use super::{A, AddrHasher, B, CREATED, Checked, DROPPED, Ordering, Small, Usual, Value, explore, join, spawn};

type Store = super::Store<Checked<false>>;

fn store() -> Arc<Store> {
    let store = Store::of(1, AddrHasher::constant());
    assert!(store.alloc(A, 1));
    assert!(store.alloc(B, 2));
    store
}

fn flush(store: &Store) {
    store.core.lists.flush::<Checked<false>>();
}

fn dropped() -> usize {
    DROPPED.load(Ordering::Relaxed)
}

#[test]
fn what_two_threads_retire_is_dropped_once() {
    explore(Small, || {
        let store = store();
        let other = spawn(&store, |store| store.free(A));
        assert_eq!(store.free(B), Some(2));
        assert_eq!(join(other), Some(1));
        // Each flush moves a shard on by a step: drops what is ready, closes what is open.
        (0..3).for_each(|_| flush(&store));
        assert_eq!((dropped(), store.core.lists.pending().0), (2, 0));
        store.end(&[]);
    });
}

#[test]
fn two_flushes_drop_what_is_ready_once() {
    explore(Small, || {
        let store = store();
        assert_eq!(store.free(A), Some(1));
        assert_eq!(store.free(B), Some(2));
        let other = spawn(&store, flush);
        flush(&store);
        join(other);
        (0..2).for_each(|_| flush(&store));
        assert_eq!((dropped(), store.core.lists.pending().0), (2, 0));
        store.end(&[]);
    });
}

#[test]
fn nothing_is_dropped_before_a_readers_guard_goes() {
    explore(Usual, || {
        let store = store();
        let other = spawn(&store, |store| {
            assert_eq!(store.free(A), Some(1));
            flush(store);
            flush(store);
        });
        store.pinned(|core, shield| {
            if let Some(node) = core.find(shield, A, store.entry()) {
                // SAFETY: the entry holds `Value`, and the node was live.
                let value = unsafe { node.value::<Value>() };
                assert_eq!(value.read(), 1);
                // Lets the other thread go on, if it has not.
                core.find(shield, B, store.entry());
                assert_eq!(dropped(), 0, "values dropped under a guard");
                assert_eq!(value.read(), 1);
            }
        });
        join(other);
        store.end(&[B]);
    });
}

#[test]
fn what_the_mark_saw_is_dropped_when_it_is_done() {
    explore(Usual, || {
        let store = store();
        assert_eq!(store.free(A), Some(1));
        let mark = store.core.lists.mark();
        let other = spawn(&store, |store| {
            assert_eq!(store.free(B), Some(2));
            flush(store);
        });
        flush(&store);
        if store.core.lists.is_done(&mark) {
            assert!(dropped() >= 1, "done, and not dropped");
        }
        join(other);
        (0..3).for_each(|_| flush(&store));
        assert!(store.core.lists.is_done(&mark));
        store.end(&[]);
    });
}

/// In the end nobody flushes: what waits goes with the store.
#[test]
fn the_stores_drop_drains_what_is_retired() {
    explore(Small, || {
        let store = store();
        let other = spawn(&store, |store| store.free(A));
        assert_eq!(store.free(B), Some(2));
        join(other);
        assert!(dropped() < CREATED.load(Ordering::Relaxed));
        store.end(&[]);
    });
}

/// A table goes the way of the nodes.
#[test]
fn a_finder_is_still_in_the_table_that_was_retired() {
    explore(Usual, || {
        let store = store();
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
            flush(store);
            flush(store);
        });
        assert_eq!((store.get(A), store.get(B)), (Some(1), Some(2)));
        join(other);
        store.end(&[A, B]);
    });
}
