//! Models of the reuse of a freed key's slot: a TOMB or a dead node is replaced by one inserter, and a key record is
//! retired by the thread that takes it out of its slot.

use std::sync::Arc;

use super::{A, B, ODD, Small, Store, explore, join, small, spawn};

/// Frees a key's variable: its slot holds a TOMB, or a RECORD if the key does not fit into one.
fn buried(obj: usize) -> Arc<Store> {
    let store = small(&[obj]);
    assert_eq!(store.free(obj), Some(0));
    store
}

/// Returns how many slots of the root were ever claimed.
fn claimed(store: &Store) -> usize {
    store.pinned(|core, shield| core.root(shield).claimed.sum())
}

fn two_inserters(obj: usize) {
    let store = buried(obj);
    let other = spawn(&store, move |store| store.insert(obj, 1));
    let mine = store.insert(obj, 2);
    assert!(mine != join(other), "exactly one insert succeeds");
    assert_eq!(claimed(&store), 1, "the key's slot is used again");
    assert_eq!(store.free(obj), Some(if mine { 2 } else { 1 }));
    store.end(&[]);
}

#[test]
fn of_two_inserts_over_a_tomb_one_wins() {
    explore(Small, || two_inserters(A));
}

#[test]
fn of_two_inserts_over_a_record_one_wins_and_retires_it() {
    explore(Small, || two_inserters(ODD));
}

#[test]
fn a_tomb_is_not_taken_by_another_key() {
    explore(Small, || {
        let store = buried(A);
        let other = spawn(&store, |store| store.insert(A, 1));
        assert!(store.insert(B, 2));
        assert!(join(other));
        assert_eq!((store.get(A), store.get(B)), (Some(1), Some(2)));
        store.end(&[A, B]);
    });
}

/// The live key's slot is behind the tomb of the other key.
#[test]
fn a_tomb_is_not_taken_by_a_key_that_has_a_slot() {
    explore(Small, || {
        let store = small(&[A, B]);
        assert_eq!(store.free(A), Some(0));
        let other = spawn(&store, |store| store.insert(A, 1));
        assert!(!store.insert(B, 2), "the variable exists");
        assert!(join(other));
        store.end(&[A, B]);
    });
}

/// The inserter may find the node LIVE, dead but linked, or unlinked.
fn insert_against_remove(obj: usize) {
    let store = small(&[obj]);
    let other = spawn(&store, move |store| store.free(obj));
    let mine = store.insert(obj, 1);
    assert_eq!(join(other), Some(0));
    assert_eq!(claimed(&store), 1, "the key's slot is used again");
    store.end(if mine { std::slice::from_ref(&obj) } else { &[] });
}

#[test]
fn a_dead_node_is_replaced_and_retired_by_its_remover() {
    explore(Small, || insert_against_remove(A));
}

#[test]
fn a_dead_node_with_a_record_is_replaced_and_retired_by_its_remover() {
    explore(Small, || insert_against_remove(ODD));
}
