//! Claim against migration: a key keeps one live node, and is found, wherever its claim meets the migration.

use super::{A, B, C, ODD, explore, join, small, spawn, tiny};

/// The successor is there before the threads start.
#[test]
fn an_insert_meets_the_migration_of_its_key() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 0));
        store.grow();
        let other = spawn(&store, |store| store.finish());
        assert!(!store.alloc(A, 1), "the variable exists throughout");
        join(other);
        assert_eq!(store.get(A), Some(0));
        store.end(&[A]);
    });
}

/// The successor appears while the insert runs, which may believe that there is none.
#[test]
fn an_insert_meets_a_whole_migration_of_its_key() {
    explore(2, || {
        let store = tiny();
        assert!(store.alloc(A, 0));
        store.finish();
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        assert!(!store.alloc(A, 1), "the variable exists throughout");
        join(other);
        assert_eq!(store.get(A), Some(0));
        store.end(&[A]);
    });
}

#[test]
fn an_insert_of_another_key_meets_the_migration() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 0));
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        assert!(store.alloc(B, 1));
        join(other);
        assert_eq!((store.get(A), store.get(B)), (Some(0), Some(1)));
        store.end(&[A, B]);
    });
}

fn tomb(obj: usize) {
    let store = small();
    assert!(store.alloc(obj, 0));
    assert_eq!(store.free(obj), Some(0));
    let other = spawn(&store, |store| {
        store.grow();
        store.finish();
    });
    assert!(store.alloc(obj, 1));
    join(other);
    assert_eq!(store.get(obj), Some(1));
    store.end(&[obj]);
}

#[test]
fn an_insert_over_a_tomb_meets_the_migration() {
    explore(2, || tomb(A));
}

#[test]
fn an_insert_over_a_record_meets_the_migration() {
    explore(2, || tomb(ODD));
}

/// Two inserts of one key that may claim it in different tables.
#[test]
#[ignore = "three threads through a migration: more schedules than an hour has"]
fn two_inserts_of_a_key_meet_the_migration() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(B, 0));
        store.grow();
        let threads = [1, 2].map(|number| spawn(&store, move |store| store.alloc(A, number)));
        store.help();
        let [one, two] = threads.map(join);
        assert!(one != two, "exactly one insert succeeds");
        assert_eq!(store.get(A), Some(if one { 1 } else { 2 }));
        store.end(&[A, B]);
    });
}

/// Nothing but inserts: each claim in the root asks for a successor, each insert helps to migrate.
#[test]
fn inserts_grow_the_table_under_each_other() {
    explore(2, || {
        let store = tiny();
        let other = spawn(&store, |store| {
            assert!(store.alloc(A, 1));
            assert!(store.alloc(B, 2));
        });
        assert!(store.alloc(C, 3));
        assert!(store.get(C) == Some(3));
        join(other);
        assert_eq!((store.get(A), store.get(B), store.get(C)), (Some(1), Some(2), Some(3)));
        store.end(&[A, B, C]);
    });
}
