//! Free against get and free: a value outlives every guard that can reach it, and one caller takes it away.

use super::{A, B, DROPPED, Ordering, Small, Usual, Value, explore, join, small, spawn, tiny};

#[test]
fn a_value_is_there_for_as_long_as_its_reader() {
    explore(Small, || {
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
    explore(Small, || {
        let store = small();
        assert!(store.alloc(A, 7));
        let other = spawn(&store, |store| assert_eq!(store.free(A), Some(7)));
        store.pinned(|core, shield| {
            if let Some(node) = core.find(shield, A, store.entry()) {
                // SAFETY: the entry holds `Value`, and the node was live.
                let value = unsafe { node.value::<Value>() };
                assert_eq!(value.read(), 7);
                // Long after: the variable may be gone, the value is not.
                let _ = core.find(shield, B, store.entry());
                assert_eq!(DROPPED.load(Ordering::Relaxed), 0, "values dropped under a guard");
                assert_eq!(value.read(), 7);
            }
        });
        join(other);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 1, "values dropped with no guard left");
        store.end(&[]);
    });
}

#[test]
fn of_two_frees_one_takes_the_value() {
    explore(Small, || {
        let store = small();
        assert!(store.alloc(A, 7));
        let other = spawn(&store, |store| store.free(A));
        let mine = store.free(A);
        let freed = [mine, join(other)];
        assert!(freed == [Some(7), None] || freed == [None, Some(7)], "{freed:?}");
        store.end(&[]);
    });
}

#[test]
fn of_three_frees_one_takes_the_value() {
    explore(Usual, || {
        let store = small();
        assert!(store.alloc(A, 7));
        let others = [(); 2].map(|()| spawn(&store, |store| store.free(A)));
        let mine = store.free(A);
        let freed = others.map(join).into_iter().chain([mine]).flatten();
        assert!(freed.eq([7]), "exactly one free succeeds");
        store.end(&[]);
    });
}

#[test]
fn a_free_and_an_insert_of_one_key_agree() {
    explore(Usual, || {
        let store = tiny();
        assert!(store.alloc(A, 1));
        let other = spawn(&store, |store| store.free(A));
        let created = store.insert(A, 2);
        // Only the first value is there at first, and the second only if the first has gone.
        assert_eq!(join(other), Some(1));
        store.end(if created { &[A] } else { &[] });
    });
}

/// The key lives twice: a reader sees the old value, nothing, or the new one, and never goes back.
#[test]
fn a_reader_sees_a_key_freed_and_made_again_in_that_order() {
    explore(Small, || {
        let store = small();
        assert!(store.alloc(A, 1));
        let other = spawn(&store, |store| {
            assert_eq!(store.free(A), Some(1));
            assert!(store.insert(A, 2));
        });
        let order = |found| match found {
            Some(1) => 0,
            None => 1,
            _ => 2,
        };
        let (first, second) = (store.get(A), store.get(A));
        assert!(order(first) <= order(second), "{first:?}, then {second:?}");
        join(other);
        store.end(&[A]);
    });
}
