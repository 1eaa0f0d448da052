//! Claim against claim: a key's slot is claimed once.

use super::{A, B, Checked, Store, explore, join, spawn};

#[test]
fn of_two_inserts_of_a_key_one_wins() {
    explore(3, || {
        let store = Store::<Checked>::small();
        let other = spawn(&store, |store| store.alloc(A, 1));
        let mine = store.alloc(A, 2);
        assert!(mine != join(other), "exactly one insert succeeds");
        assert_eq!(store.get(A), Some(if mine { 2 } else { 1 }));
        store.end(&[A]);
    });
}

#[test]
fn two_keys_of_a_bucket_are_both_found() {
    explore(3, || {
        let store = Store::<Checked>::small();
        let other = spawn(&store, |store| store.alloc(A, 1));
        assert!(store.alloc(B, 2));
        assert!(join(other));
        assert_eq!((store.get(A), store.get(B)), (Some(1), Some(2)));
        store.end(&[A, B]);
    });
}
