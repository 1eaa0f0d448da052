//! Free against get: a value stays while somebody reads it, and is taken away once.

use super::{A, B, Value, explore, join, spawn, tiny};
use crate::reclaim::checked::Checked;

#[test]
fn a_value_is_there_for_as_long_as_its_reader() {
    explore(3, || {
        let store = tiny();
        assert!(store.alloc(A, 7));
        let other = spawn(&store, |store| store.free(A));
        // `Value` itself reports a read that is not ordered with its drop.
        assert!(matches!(store.get(A), None | Some(7)));
        assert_eq!(join(other), Some(7));
        store.end(&[]);
    });
}

#[test]
fn a_reader_keeps_what_it_found_through_a_free() {
    explore(2, || {
        let store = tiny();
        assert!(store.alloc(A, 7));
        let other = spawn(&store, |store| store.free(A));
        store.pinned(|core, shield| {
            if let Some(node) = core.find(shield, &store.key(A)) {
                // SAFETY: the entry holds `Value`, and the node was live.
                let value = unsafe { node.value::<Value>() };
                assert_eq!(value.read(), 7);
                // Long after: the variable may be gone, the value is not.
                let _ = core.find(shield, &store.key(A));
                assert_eq!(value.read(), 7);
            }
        });
        join(other);
        store.end(&[]);
    });
}

#[test]
fn two_frees_take_a_value_once() {
    explore(3, || {
        let store = tiny();
        assert!(store.alloc(A, 7));
        let other = spawn(&store, |store| store.free(A));
        let mine = store.free(A);
        let other = join(other);
        assert!(mine.is_some() != other.is_some(), "exactly one of them");
        store.end(&[]);
    });
}

#[test]
fn a_free_and_an_insert_of_one_key_agree() {
    explore(2, || {
        let store = tiny();
        assert!(store.alloc(A, 1));
        let other = spawn(&store, |store| store.free(A));
        let created = store.alloc(A, 2);
        assert_eq!(
            join(other),
            Some(1),
            "only the second value could be missed, and only the first is there at first"
        );
        store.end(if created { &[A] } else { &[] });
    });
}

/// The retire lists as the real backends use them: batches, a callback, a drain.
mod lists {
    use super::super::Store;
    use super::*;
    use crate::table::hash::AddrHasher;

    #[test]
    fn what_two_threads_retire_is_dropped_once_and_not_under_a_reader() {
        explore(2, || {
            let store = Store::<Checked<false>>::of(1, AddrHasher::constant());
            assert!(store.alloc(A, 1));
            assert!(store.alloc(B, 2));
            let other = spawn(&store, |store| {
                assert_eq!(store.free(A), Some(1));
                store.core.lists.flush::<Checked<false>>();
            });
            assert!(matches!(store.get(A), None | Some(1)));
            assert_eq!(store.free(B), Some(2));
            join(other);
            store.end(&[]);
        });
    }

    #[test]
    fn a_flush_and_a_drain_share_the_work() {
        explore(2, || {
            let store = Store::<Checked<false>>::of(1, AddrHasher::constant());
            assert!(store.alloc(A, 1));
            assert_eq!(store.free(A), Some(1));
            let lists = store.core.lists.clone();
            let mark = lists.mark();
            let other = spawn(&store, |store| store.core.lists.flush::<Checked<false>>());
            store.core.lists.flush::<Checked<false>>();
            join(other);
            // No guard is left, so two flushes more end it: one asks if nobody has, one drops.
            (0..2).for_each(|_| lists.flush::<Checked<false>>());
            assert!(lists.is_done(&mark), "all that was retired before is dropped");
            store.end(&[]);
        });
    }

    #[test]
    fn when_all_is_said_to_be_dropped_it_is() {
        explore(2, || {
            let store = Store::<Checked<false>>::of(1, AddrHasher::constant());
            assert!(store.alloc(A, 1));
            assert_eq!(store.free(A), Some(1));
            let mark = store.core.lists.mark();
            let other = spawn(&store, |store| {
                store.core.lists.flush::<Checked<false>>();
                store.core.lists.flush::<Checked<false>>();
            });
            if store.core.lists.is_done(&mark) {
                assert_eq!(super::super::DROPPED.load(crate::sync::stat::Ordering::Relaxed), 1);
            }
            join(other);
            store.end(&[]);
        });
    }
}
