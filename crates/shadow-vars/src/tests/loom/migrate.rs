//! Models of claims during migration: a key retains one live node, and is found, wherever its claim meets the
//! migration.

use super::{A, B, C, ODD, Small, Usual, explore, join, small, spawn, tiny};

/// The successor exists before the threads start.
#[test]
fn an_insert_meets_the_migration_of_its_key() {
    explore(Usual, || {
        let store = small(&[A]);
        store.grow();
        let other = spawn(&store, |store| store.finish());
        assert!(!store.insert(A, 1), "the variable exists throughout");
        join(other);
        assert_eq!(store.get(A), Some(0));
        store.end(&[A]);
    });
}

/// The successor appears while the insert runs, which may believe that there is none.
#[test]
fn an_insert_meets_a_whole_migration_of_its_key() {
    explore(Usual, || {
        let store = tiny(&[A]);
        store.finish();
        let other = spawn(&store, |store| store.migrate());
        assert!(!store.insert(A, 1), "the variable exists throughout");
        join(other);
        assert_eq!(store.get(A), Some(0));
        store.end(&[A]);
    });
}

/// The key's bucket is full, and the probe continues behind it in a block that is untouched when the key's block is
/// done.
#[test]
fn an_insert_meets_a_whole_migration_of_a_full_bucket() {
    explore(Usual, || {
        let store = small(&[A, B]);
        store.finish();
        let other = spawn(&store, |store| store.migrate());
        assert!(!store.insert(B, 2), "the variable exists throughout");
        join(other);
        assert_eq!(store.get(B), Some(1));
        store.end(&[A, B]);
    });
}

/// The insert may have read its bucket before all of it was sealed by its first slot.
#[test]
fn an_insert_into_an_empty_bucket_meets_the_migration() {
    explore(Small, || {
        let store = small(&[]);
        let other = spawn(&store, |store| store.migrate());
        assert!(store.insert(A, 0));
        join(other);
        assert_eq!(store.get(A), Some(0));
        store.end(&[A]);
    });
}

#[test]
fn an_insert_of_another_key_meets_the_migration() {
    explore(Usual, || {
        let store = small(&[A]);
        let other = spawn(&store, |store| store.migrate());
        assert!(store.insert(B, 1));
        join(other);
        assert_eq!((store.get(A), store.get(B)), (Some(0), Some(1)));
        store.end(&[A, B]);
    });
}

fn tomb(obj: usize) {
    let store = small(&[obj]);
    assert_eq!(store.free(obj), Some(0));
    let other = spawn(&store, |store| store.migrate());
    assert!(store.insert(obj, 1));
    join(other);
    assert_eq!(store.get(obj), Some(1));
    store.end(&[obj]);
}

#[test]
fn an_insert_over_a_tomb_meets_the_migration() {
    explore(Usual, || tomb(A));
}

#[test]
fn an_insert_over_a_record_meets_the_migration() {
    explore(Usual, || tomb(ODD));
}

/// Two inserts of one key, each of which helps to migrate first, and may claim in either table.
#[test]
fn two_inserts_of_a_key_meet_the_migration() {
    explore(Usual, || {
        let store = small(&[B]);
        store.grow();
        let other = spawn(&store, |store| store.insert(A, 1));
        let mine = store.insert(A, 2);
        assert!(mine != join(other), "exactly one insert succeeds");
        assert_eq!(store.get(A), Some(if mine { 2 } else { 1 }));
        store.end(&[A, B]);
    });
}

/// Only inserts: each claim in the root requires a successor, each insert helps to migrate.
#[test]
fn inserts_grow_the_table_under_each_other() {
    explore(Usual, || {
        let store = tiny(&[]);
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

/// One insert knows that the table is migrating, the other may not.
#[test]
fn two_inserts_of_a_key_meet_beside_a_sleeping_helper() {
    explore(Usual, || {
        let store = small(&[]);
        store.sleeping_helper();
        let other = spawn(&store, |store| {
            store.grow();
            store.insert(A, 1)
        });
        let mine = store.insert(A, 2);
        assert!(mine != join(other), "exactly one insert succeeds");
        assert_eq!(store.get(A), Some(if mine { 2 } else { 1 }));
        store.finish();
        store.end(&[A]);
    });
}

fn tomb_beside_a_sleeping_helper(obj: usize) {
    let store = small(&[obj]);
    assert_eq!(store.free(obj), Some(0));
    store.sleeping_helper();
    store.grow();
    let other = spawn(&store, |store| store.help());
    assert!(store.insert(obj, 1));
    assert_eq!(store.get(obj), Some(1), "created, then not found");
    join(other);
    store.finish();
    store.end(&[obj]);
}

#[test]
fn an_insert_moves_its_tomb_on_if_the_helper_sleeps() {
    explore(Usual, || tomb_beside_a_sleeping_helper(A));
}

#[test]
fn an_insert_moves_its_record_on_if_the_helper_sleeps() {
    explore(Usual, || tomb_beside_a_sleeping_helper(ODD));
}

#[test]
fn an_insert_moves_a_dead_node_on_if_the_helper_sleeps() {
    explore(Small, || {
        let store = small(&[A]);
        store.sleeping_helper();
        store.grow();
        let other = spawn(&store, |store| store.free(A));
        let created = store.insert(A, 1);
        if created {
            assert_eq!(store.get(A), Some(1), "created, then not found");
        }
        assert_eq!(join(other), Some(0));
        store.finish();
        store.end(if created { &[A] } else { &[] });
    });
}

/// Its remover has killed the node and not unlinked it yet.
#[test]
fn an_insert_leaves_a_frozen_dead_node_alone() {
    explore(Small, || {
        let store = small(&[A]);
        store.grow();
        let other = store.pinned(|core, shield| {
            core.remove(shield, &store.key(A), |_| {
                let other = spawn(&store, |store| store.help());
                assert!(store.insert(A, 1));
                other
            })
        });
        join(other.expect("it was there"));
        assert_eq!(store.get(A), Some(1));
        store.end(&[A]);
    });
}

#[test]
fn an_insert_meets_a_remove_and_a_migration() {
    explore(Usual, || {
        let store = small(&[A]);
        let insert = spawn(&store, |store| store.insert(A, 1));
        let helper = spawn(&store, |store| {
            store.grow();
            store.help();
        });
        assert_eq!(store.free(A), Some(0));
        join(helper);
        store.end(if join(insert) { &[A] } else { &[] });
    });
}
