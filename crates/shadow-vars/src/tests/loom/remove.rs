//! Models of removal against migration: a slow helper restores no variable, no slot leads to retired memory, and each
//! node is retired once.

use super::{A, B, Large, ODD, Small, Usual, explore, join, small, spawn, tiny};

fn one_helper(obj: usize) {
    let store = tiny(&[obj]);
    let other = spawn(&store, |store| store.finish());
    assert_eq!(store.free(obj), Some(0));
    assert_eq!(store.get(obj), None, "freed, then found");
    join(other);
    store.end(&[]);
}

#[test]
fn a_remove_meets_a_helper() {
    explore(Small, || one_helper(A));
}

#[test]
fn a_remove_of_a_key_with_a_record_meets_a_helper() {
    explore(Small, || one_helper(ODD));
}

/// The table stays the root until its second block is done, and so does what a remover leaves in the first.
#[test]
fn a_remove_meets_a_helper_of_two_blocks() {
    explore(Usual, || {
        let store = small(&[A]);
        store.grow();
        let other = spawn(&store, |store| store.finish());
        assert_eq!(store.free(A), Some(0));
        assert_eq!(store.get(A), None, "freed, then found");
        join(other);
        store.end(&[]);
    });
}

#[test]
fn a_remove_meets_two_helpers() {
    explore(Large, || {
        let store = tiny(&[A]);
        let others = [(); 2].map(|()| spawn(&store, |store| store.help()));
        assert_eq!(store.free(A), Some(0));
        assert_eq!(store.get(A), None, "freed, then found");
        others.into_iter().for_each(join);
        store.end(&[]);
    });
}

/// The helper may sleep from the first migration into the second.
#[test]
fn a_remove_meets_two_migrations() {
    explore(Usual, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| {
            store.finish();
            store.migrate();
        });
        assert_eq!(store.free(A), Some(0));
        assert_eq!(store.get(A), None, "freed, then found");
        join(other);
        store.end(&[]);
    });
}

/// The helper may have read the node in the first migration, and place it in the second.
#[test]
fn a_helper_sleeps_from_one_migration_into_the_next() {
    explore(Usual, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.help());
        assert_eq!(store.free(A), Some(0));
        store.finish();
        store.migrate();
        join(other);
        store.end(&[]);
    });
}

#[test]
fn a_remove_and_a_helper_meet_two_migrations() {
    explore(Large, || {
        let store = tiny(&[A]);
        let helper = spawn(&store, |store| store.help());
        let other = spawn(&store, |store| {
            store.finish();
            store.migrate();
        });
        assert_eq!(store.free(A), Some(0));
        join(helper);
        join(other);
        store.end(&[]);
    });
}

#[test]
fn a_remove_and_an_insert_meet_a_helper() {
    explore(Large, || {
        let store = tiny(&[A]);
        let helper = spawn(&store, |store| store.help());
        let other = spawn(&store, |store| store.insert(A, 1));
        assert!(store.free(A).is_some());
        join(helper);
        let created = join(other);
        let found = store.get(A);
        assert!(found.is_none() || (created && found == Some(1)));
        store.end(if found.is_some() { &[A] } else { &[] });
    });
}

/// The freed key retains its slots, whichever other keys move in the same bucket.
#[test]
fn a_remove_beside_another_key_meets_a_migration() {
    explore(Usual, || {
        let store = small(&[A, B]);
        let other = spawn(&store, |store| store.migrate());
        assert_eq!(store.free(B), Some(1));
        assert_eq!(store.get(A), Some(0));
        join(other);
        store.end(&[A]);
    });
}
