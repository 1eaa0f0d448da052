//! Promotion of the successor: a live key is found throughout, and nobody looks at a table after it was reclaimed.

use super::{A, B, explore, join, small, spawn, tiny};

#[test]
fn a_finder_sees_a_live_key_across_the_promotion() {
    explore(3, || {
        let store = tiny();
        assert!(store.alloc(A, 0));
        let other = spawn(&store, |store| store.finish());
        assert_eq!(store.get(A), Some(0));
        join(other);
        store.end(&[A]);
    });
}

/// The table that a finder begins in may be two migrations old when it ends.
#[test]
fn a_finder_sees_a_live_key_across_two_promotions() {
    explore(2, || {
        let store = tiny();
        assert!(store.alloc(A, 0));
        let other = spawn(&store, |store| {
            store.finish();
            store.grow();
            store.finish();
        });
        assert_eq!(store.get(A), Some(0));
        join(other);
        store.end(&[A]);
    });
}

/// The key's slot lies behind another's in its bucket.
#[test]
fn a_finder_sees_the_second_key_of_a_bucket_across_the_promotion() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 0));
        assert!(store.alloc(B, 1));
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        assert_eq!(store.get(B), Some(1));
        join(other);
        store.end(&[A, B]);
    });
}

#[test]
fn of_two_helpers_one_promotes_and_retires_the_table() {
    explore(3, || {
        let store = tiny();
        assert!(store.alloc(A, 0));
        let other = spawn(&store, |store| store.finish());
        store.finish();
        join(other);
        assert_eq!(store.get(A), Some(0));
        store.end(&[A]);
    });
}

#[test]
fn of_two_successors_one_is_installed() {
    explore(3, || {
        let store = small();
        assert!(store.alloc(A, 0));
        let other = spawn(&store, |store| {
            store.grow();
            store.get(A)
        });
        store.grow();
        assert_eq!(join(other), Some(0));
        store.finish();
        assert_eq!(
            store.core.rebuilds.load(super::Ordering::Relaxed),
            1,
            "successors that were installed"
        );
        store.end(&[A]);
    });
}
