//! The default backend under the store: a period ends when its readers have gone, and not before.
//!
//! Under loom its barriers are fences, as on platforms that have no others (`reclaim::barrier`).

use std::sync::Arc;

use super::{A, AddrHasher, B, DROPPED, Ordering, Small, Usual, Value, explore, join, spawn};
use crate::reclaim::Asymmetric;

type Store = super::Store<Asymmetric>;

fn store() -> Arc<Store> {
    let store = Store::of(1, AddrHasher::constant());
    assert!(store.alloc(A, 1));
    store
}

fn flush(store: &Store) {
    store.core.lists.flush::<Asymmetric>();
}

fn dropped() -> usize {
    DROPPED.load(Ordering::Relaxed)
}

/// One that frees and pushes on for as long as it may help, one that reads.
#[test]
fn nothing_is_dropped_before_a_readers_guard_goes() {
    explore(Small, || {
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
                core.find(shield, B, store.entry());
                assert_eq!(dropped(), 0, "values dropped under a guard");
                assert_eq!(value.read(), 1);
            }
        });
        join(other);
        (0..2).for_each(|_| flush(&store));
        assert_eq!(dropped(), 1, "values dropped with no guard left");
        store.end(&[]);
    });
}

/// The reader's guard nests, and is renewed: only what was found since the outermost began is protected.
#[test]
fn a_renewed_guard_protects_what_it_finds_then() {
    explore(Usual, || {
        let store = store();
        let other = spawn(&store, |store| {
            assert_eq!(store.free(A), Some(1));
            flush(store);
            flush(store);
        });
        {
            use crate::reclaim::sealed::Backend;
            let mut guard = Asymmetric::pin();
            assert!(matches!(store.get(A), None | Some(1)));
            Asymmetric::repin(&mut guard);
            assert!(matches!(store.get(A), None | Some(1)));
            assert!(Asymmetric::is_pinned());
        }
        join(other);
        store.end(&[]);
    });
}

#[test]
fn two_who_push_on_drop_a_value_once() {
    explore(Usual, || {
        let store = store();
        assert_eq!(store.free(A), Some(1));
        let other = spawn(&store, |store| {
            flush(store);
            flush(store);
        });
        flush(&store);
        flush(&store);
        join(other);
        (0..2).for_each(|_| flush(&store));
        assert_eq!((dropped(), store.core.lists.pending().0), (1, 0));
        store.end(&[]);
    });
}

/// A guard without a thread protects as one with a thread does.
#[test]
fn an_owned_guard_protects_on_another_thread() {
    explore(Usual, || {
        use crate::reclaim::sealed::Backend;
        let store = store();
        let guard = Asymmetric::pin_owned();
        let other = spawn(&store, move |store| {
            let found = store.pinned(|core, shield| core.find(shield, A, store.entry()).is_some());
            if found {
                // The guard that travels is older than the look.
                assert_eq!(dropped(), 0, "values dropped under a guard");
            }
            drop(guard);
        });
        assert_eq!(store.free(A), Some(1));
        flush(&store);
        flush(&store);
        join(other);
        (0..2).for_each(|_| flush(&store));
        assert_eq!(dropped(), 1, "values dropped with no guard left");
        store.end(&[]);
    });
}
