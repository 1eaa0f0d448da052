//! Models of promoting the successor: a live key is found throughout, and no thread accesses a table after it was
//! reclaimed.

use std::sync::Arc;

use super::{A, B, C, Ordering, Small, Usual, explore, join, small, spawn, tiny};
use crate::sync::AtomicUsize;

#[test]
fn a_finder_sees_a_live_key_across_the_promotion() {
    explore(Small, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.finish());
        assert_eq!(store.get(A), Some(0));
        join(other);
        store.end(&[A]);
    });
}

/// The table in which a finder begins may be two migrations old when it ends.
#[test]
fn a_finder_sees_a_live_key_across_two_promotions() {
    explore(Usual, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| {
            store.finish();
            store.migrate();
        });
        assert_eq!(store.get(A), Some(0));
        join(other);
        store.end(&[A]);
    });
}

/// A slot beside the key's is free until it is sealed: it must not indicate that the key is absent, which only the
/// successor can tell once the key's own slot is MOVED.
#[test]
fn a_finder_sees_the_key_beside_a_free_slot_across_a_migration() {
    explore(Small, || {
        let store = small(&[A]);
        let other = spawn(&store, |store| store.get(A));
        store.migrate();
        assert_eq!(join(other), Some(0));
        store.end(&[A]);
    });
}

/// The finder has its guard before the migration begins, and looks when it is over: at the old table, whose slots it
/// may see as they are and the successor as it was. Loom explores that order only for accesses that it remembers, and a
/// bucket's first load is not one, as the finder loads again; so both threads store to one word, which publishes
/// nothing.
#[test]
fn a_finder_that_is_older_than_a_migration_sees_the_key() {
    explore(Small, || {
        let store = small(&[A]);
        let order = Arc::new(AtomicUsize::new(0));
        let other = spawn(&store, {
            let order = order.clone();
            move |store| {
                store.pinned(|core, shield| {
                    order.store(1, Ordering::Relaxed);
                    core.find(shield, A, store.entry()).is_some()
                })
            }
        });
        store.migrate();
        order.store(2, Ordering::Relaxed);
        assert!(join(other), "the key is found");
        store.end(&[A]);
    });
}

/// The key's slot is behind another's in its bucket.
#[test]
fn a_finder_sees_the_second_key_of_a_bucket_across_the_promotion() {
    explore(Usual, || {
        let store = small(&[A, B]);
        let other = spawn(&store, |store| store.migrate());
        assert_eq!(store.get(B), Some(1));
        join(other);
        store.end(&[A, B]);
    });
}

/// The first bucket is full, so the key is in the second, which is a block of its own.
#[test]
fn a_finder_sees_the_key_of_the_last_block_across_the_promotion() {
    explore(Usual, || {
        let store = small(&[A, B, C]);
        let other = spawn(&store, |store| store.finish());
        assert_eq!(store.get(C), Some(2));
        join(other);
        store.end(&[A, B, C]);
    });
}

/// One block is done. The thread that swings the root publishes what the helper of the last one placed, even if it only
/// finds that the other has finished.
#[test]
fn a_finder_sees_what_either_of_two_helpers_moved() {
    explore(Usual, || {
        let store = small(&[A, B, C]);
        store.help();
        let others = [(); 2].map(|()| spawn(&store, |store| store.help()));
        assert_eq!(store.get(C), Some(2));
        others.into_iter().for_each(join);
        store.end(&[A, B, C]);
    });
}

#[test]
fn of_two_helpers_one_promotes_and_retires_the_table() {
    explore(Small, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.finish());
        store.finish();
        join(other);
        assert_eq!(store.get(A), Some(0));
        store.end(&[A]);
    });
}

#[test]
fn of_two_successors_one_is_installed() {
    explore(Small, || {
        let store = small(&[A]);
        let other = spawn(&store, |store| {
            store.grow();
            store.get(A)
        });
        store.grow();
        assert_eq!(join(other), Some(0));
        assert_eq!(
            store.core.rebuilds.load(Ordering::Relaxed),
            1,
            "successors that were installed"
        );
        store.finish();
        store.end(&[A]);
    });
}
