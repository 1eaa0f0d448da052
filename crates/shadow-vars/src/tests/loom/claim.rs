//! Models of two concurrent claims: a slot is claimed once, and a key has one slot.

use super::{A, B, Small, Usual, explore, join, small, spawn};

#[test]
fn of_two_inserts_of_a_key_one_wins() {
    explore(Small, || {
        let store = small(&[]);
        let other = spawn(&store, |store| store.insert(A, 1));
        let mine = store.insert(A, 2);
        assert!(mine != join(other), "exactly one insert succeeds");
        assert_eq!(store.get(A), Some(if mine { 2 } else { 1 }));
        store.end(&[A]);
    });
}

#[test]
fn of_three_inserts_of_a_key_one_wins() {
    explore(Usual, || {
        let store = small(&[]);
        let others = [1, 2].map(|number| spawn(&store, move |store| store.insert(A, number)));
        let mine = store.insert(A, 3);
        let won = others.map(join);
        assert_eq!(
            usize::from(mine) + won.into_iter().filter(|&won| won).count(),
            1,
            "exactly one insert succeeds"
        );
        store.end(&[A]);
    });
}

#[test]
fn two_keys_of_a_bucket_are_both_found() {
    explore(Small, || {
        let store = small(&[]);
        let other = spawn(&store, |store| store.insert(A, 1));
        assert!(store.insert(B, 2));
        assert!(join(other));
        assert_eq!((store.get(A), store.get(B)), (Some(1), Some(2)));
        store.end(&[A, B]);
    });
}

/// The finder looks twice in a row: a variable that was found is found again.
#[test]
fn what_was_found_stays_found() {
    explore(Small, || {
        let store = small(&[]);
        let other = spawn(&store, |store| {
            assert!(store.insert(B, 1));
            assert!(store.insert(A, 2));
        });
        let (first, second) = (store.get(A), store.get(A));
        assert!(first.is_none() || first == Some(2));
        assert!(first.is_none() || first == second, "found, then not found");
        assert!(
            first.is_none() || store.get(B) == Some(1),
            "the older variable is not found beside the newer"
        );
        join(other);
        store.end(&[A, B]);
    });
}
