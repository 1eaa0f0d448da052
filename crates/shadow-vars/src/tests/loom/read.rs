//! Models of frees against reads and frees: a value outlives every guard that can reach it, and one caller takes it.

use super::{A, Small, Usual, dropped, explore, join, small, spawn, tiny};

#[test]
fn a_value_is_there_for_as_long_as_its_reader() {
    explore(Small, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.free(A));
        // `Value` itself reports a read that is not ordered with its drop.
        assert!(matches!(store.get(A), None | Some(0)));
        assert_eq!(join(other), Some(0));
        store.end(&[]);
    });
}

#[test]
fn a_reader_keeps_what_it_found_through_a_free() {
    explore(Small, || {
        let store = small(&[A]);
        let other = spawn(&store, |store| assert_eq!(store.free(A), Some(0)));
        store.get_and_hold(A, 0);
        join(other);
        assert_eq!(dropped(), 1, "values dropped with no guard left");
        store.end(&[]);
    });
}

#[test]
fn of_two_frees_one_takes_the_value() {
    explore(Small, || {
        let store = small(&[A]);
        let other = spawn(&store, |store| store.free(A));
        let mine = store.free(A);
        let freed = [mine, join(other)];
        assert!(freed == [Some(0), None] || freed == [None, Some(0)], "{freed:?}");
        store.end(&[]);
    });
}

#[test]
fn of_three_frees_one_takes_the_value() {
    explore(Usual, || {
        let store = small(&[A]);
        let others = [(); 2].map(|()| spawn(&store, |store| store.free(A)));
        let mine = store.free(A);
        let freed = others.map(join).into_iter().chain([mine]).flatten();
        assert!(freed.eq([0]), "exactly one free succeeds");
        store.end(&[]);
    });
}

#[test]
fn a_free_and_an_insert_of_one_key_agree() {
    explore(Usual, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.free(A));
        let created = store.insert(A, 1);
        // Initially only the first value exists, and the second only if the first was freed.
        assert_eq!(join(other), Some(0));
        store.end(if created { &[A] } else { &[] });
    });
}

/// The key is created twice: a reader sees the old value, nothing, or the new one, and never goes back.
#[test]
fn a_reader_sees_a_key_freed_and_made_again_in_that_order() {
    explore(Small, || {
        let store = small(&[A]);
        let other = spawn(&store, |store| {
            assert_eq!(store.free(A), Some(0));
            assert!(store.insert(A, 1));
        });
        let order = |found| match found {
            Some(0) => 0,
            None => 1,
            _ => 2,
        };
        let (first, second) = (store.get(A), store.get(A));
        assert!(order(first) <= order(second), "{first:?}, then {second:?}");
        join(other);
        store.end(&[A]);
    });
}
