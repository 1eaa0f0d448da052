//! Models of sweeps and iteration during migration: a variable that exists throughout is met, and a sweep takes each
//! variable once.

use std::sync::{Arc, Weak};

use super::{A, B, ID, ODD, SECOND, Small, Store, Usual, explore, join, small, spawn, tiny};
use crate::defect::Stage;
use crate::iter::Iter;
use crate::sync::{lock_stat, stat::Mutex};

/// Frees all variables, as `free_all` does. Returns their number.
fn free_all(store: &Store) -> usize {
    store.pinned(|core, shield| {
        let mut count = 0;
        core.for_each_table(shield, |table| {
            core.sweep_id(shield, table, 0..table.buckets(), store.entry(), |_| count += 1);
        });
        count
    })
}

/// Frees all variables in the root's successor, as a sweep does that has come so far. Returns their number.
fn free_in_successor(store: &Store) -> usize {
    store.pinned(|core, shield| {
        let mut count = 0;
        if let Some(next) = core.next(shield, core.root(shield)) {
            core.sweep_id(shield, next, 0..next.buckets(), store.entry(), |_| count += 1);
        }
        count
    })
}

/// Returns the parents that iteration meets, as often as it meets them.
fn parents(store: &Store) -> Vec<usize> {
    store.pinned(|core, shield| {
        let mut met: Vec<_> = Iter::new(core, shield).map(|var| var.obj().get()).collect();
        met.sort_unstable();
        met
    })
}

/// Returns how many variables of a parent are met. One that moves meanwhile may be met twice.
fn met_of(store: &Store, obj: usize) -> usize {
    store.pinned(|core, shield| {
        let mut met = 0;
        core.for_each_of_parent(shield, obj, |_, _| met += 1);
        met
    })
}

/// Returns the ids that are met on a parent, each once.
fn ids_of(store: &Store, obj: usize) -> Vec<u64> {
    store.pinned(|core, shield| {
        let mut ids = Vec::new();
        core.for_each_of_parent(shield, obj, |node, _| ids.push(node.entry(&core.heap).id));
        ids.sort_unstable();
        ids.dedup();
        ids
    })
}

/// Frees all variables of a parent, as `free_object` does. Returns their number.
fn free_object(store: &Store, obj: usize) -> usize {
    store.pinned(|core, shield| {
        let from = core.root(shield);
        let mut count = 0;
        core.for_each_of_parent(shield, obj, |node, at| {
            count += usize::from(core.remove_at(shield, node, from, at));
        });
        count
    })
}

#[test]
fn a_sweep_takes_a_variable_that_moves() {
    explore(Small, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.finish());
        assert_eq!(free_all(&store), 1, "variables that were there throughout");
        join(other);
        store.end(&[]);
    });
}

/// A helper has placed a node in the successor, and not yet released it in the root, when a sweep frees it in the
/// successor. A reader that begins then may be at the root's slot when the helper's guard is dropped, which was the
/// last that protected the node.
#[test]
fn a_sweep_lets_go_in_the_root_of_what_it_frees_in_the_successor() {
    explore(Small, || {
        let swept = Arc::new(Mutex::new(Weak::<Store>::new()));
        let mut store = tiny(&[A]);
        let watched = swept.clone();
        let Some(mine) = Arc::get_mut(&mut store) else {
            unreachable!("no thread has it yet")
        };
        mine.core.rigging.watch = Some(Box::new(move |stage| {
            if stage != Stage::Placed {
                return;
            }
            // Only once: the sweep may help, too.
            let store = std::mem::take(&mut *lock_stat(&watched));
            if let Some(store) = store.upgrade() {
                assert_eq!(free_in_successor(&store), 1);
            }
        }));
        *lock_stat(&swept) = Arc::downgrade(&store);
        let reader = spawn(&store, |store| store.get(A));
        store.help();
        assert!(matches!(join(reader), None | Some(0)));
        assert_eq!(store.get(A), None, "freed, then found");
        store.end(&[]);
    });
}

#[test]
fn a_sweep_takes_variables_across_a_whole_migration() {
    explore(Usual, || {
        let store = small(&[A, B]);
        let other = spawn(&store, |store| store.migrate());
        assert_eq!(free_all(&store), 2, "variables that were there throughout");
        join(other);
        store.end(&[]);
    });
}

#[test]
fn a_sweep_and_a_free_take_a_variable_once() {
    explore(Usual, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.free(A));
        let swept = free_all(&store);
        assert_eq!(swept + usize::from(join(other).is_some()), 1);
        store.end(&[]);
    });
}

#[test]
fn two_sweeps_take_each_variable_once() {
    explore(Usual, || {
        let store = small(&[A, ODD]);
        let other = spawn(&store, free_all);
        let mine = free_all(&store);
        assert_eq!(mine + join(other), 2, "variables that were there throughout");
        store.end(&[]);
    });
}

#[test]
fn iteration_meets_a_variable_that_moves_once() {
    explore(Small, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| store.finish());
        assert_eq!(parents(&store), [A]);
        join(other);
        store.end(&[A]);
    });
}

#[test]
fn iteration_meets_variables_across_a_whole_migration() {
    explore(Usual, || {
        let store = small(&[A, B]);
        let other = spawn(&store, |store| store.migrate());
        assert_eq!(parents(&store), [A, B]);
        join(other);
        store.end(&[A, B]);
    });
}

#[test]
fn a_parents_variable_is_met_while_it_moves() {
    explore(Small, || {
        let store = tiny(&[A]);
        let other = spawn(&store, |store| {
            store.finish();
            store.migrate();
        });
        assert!(met_of(&store, A) >= 1);
        join(other);
        store.end(&[A]);
    });
}

#[test]
fn freeing_a_parent_takes_its_variable_that_moves() {
    explore(Usual, || {
        let store = small(&[A, B]);
        let other = spawn(&store, |store| store.migrate());
        assert_eq!(free_object(&store, A), 1, "variables that were there throughout");
        join(other);
        store.end(&[B]);
    });
}

/// Each is in a bucket of its own, which is a block of its own.
#[test]
fn a_parents_variables_in_two_places_are_met_while_they_move() {
    explore(Usual, || {
        let store = small(&[A]);
        store.alloc_second(A, 1);
        let other = spawn(&store, |store| store.migrate());
        assert_eq!(ids_of(&store, A), [ID, SECOND], "variables that were there throughout");
        join(other);
        assert_eq!(free_object(&store, A), 2);
        store.end(&[]);
    });
}

#[test]
fn freeing_a_parent_takes_its_variables_in_two_places_while_they_move() {
    explore(Usual, || {
        let store = small(&[A]);
        store.alloc_second(A, 1);
        let other = spawn(&store, |store| store.migrate());
        assert_eq!(free_object(&store, A), 2, "variables that were there throughout");
        join(other);
        store.end(&[]);
    });
}

/// The second id is used for the first time meanwhile.
#[test]
fn freeing_a_parent_meets_the_first_use_of_an_id() {
    explore(Usual, || {
        let store = small(&[A]);
        let other = spawn(&store, |store| store.alloc_second(A, 1));
        let freed = free_object(&store, A);
        join(other);
        assert!(freed >= 1, "variables that were there throughout");
        assert_eq!(freed + free_object(&store, A), 2);
        store.end(&[]);
    });
}
