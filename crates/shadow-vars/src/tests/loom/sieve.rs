//! Models of finds that check a sieve first (L7): an existing key is found, in whichever table, and however its slot
//! was claimed.

use std::sync::Arc;

use super::{A, B, Config, Ordering, Sieved, Small, Store, Usual, explore, join, spawn};
use crate::sync::AtomicUsize;

/// Makes a store like [`small`](Store::small) or [`tiny`](Store::tiny), with a sieve that finds check each time.
fn sieved(capacity: usize, keys: &[usize]) -> Arc<Store> {
    let config = Config {
        sieved: Sieved::ALL,
        ..Store::<super::Checked>::config(capacity)
    };
    Store::with(&config, keys)
}

/// A find after an insert sees it, whichever thread inserted.
#[test]
fn what_was_inserted_is_found() {
    explore(Usual, || {
        let store = sieved(1, &[]);
        let other = spawn(&store, |store| store.insert(A, 0));
        let mine = store.insert(A, 1);
        assert!(store.get(A).is_some(), "inserted by somebody, then not found");
        assert_ne!(join(other), mine, "both inserted it, or neither");
        store.end(&[A]);
    });
}

/// A key that the root never had is looked up in the successor. The root has no other key either: all keys of a model
/// have one hash, and so the same bits.
#[test]
fn what_was_inserted_into_the_successor_is_found() {
    explore(Usual, || {
        let store = sieved(4, &[]);
        store.grow();
        let inserted = Arc::new(AtomicUsize::new(0));
        let other = spawn(&store, {
            let inserted = inserted.clone();
            move |store| {
                assert!(store.insert(B, 1));
                inserted.store(1, Ordering::Release);
            }
        });
        // Not by an insert, which would help the migration to its end.
        if inserted.load(Ordering::Acquire) == 1 {
            assert_eq!(store.get(B), Some(1), "inserted, then not found");
        }
        join(other);
        store.end(&[B]);
    });
}

#[test]
fn a_live_key_is_found_across_the_promotion() {
    explore(Small, || {
        let store = sieved(0, &[A]);
        let other = spawn(&store, |store| store.finish());
        assert_eq!(store.get(A), Some(0));
        join(other);
        store.end(&[A]);
    });
}

/// A remover may have claimed the slot, for a tomb.
#[test]
fn what_takes_the_place_of_a_removers_tomb_is_found() {
    explore(Usual, || {
        let store = sieved(0, &[A]);
        let other = spawn(&store, |store| store.help());
        assert_eq!(store.free(A), Some(0));
        assert!(store.insert(A, 1));
        assert_eq!(store.get(A), Some(1));
        join(other);
        store.end(&[A]);
    });
}
