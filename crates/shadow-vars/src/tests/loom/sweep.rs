//! Operations over many variables: what is there throughout is met.

use super::{A, B, ODD, explore, join, small, spawn, tiny};

/// Frees all variables of the models' id; how many.
fn free_all(store: &super::Store) -> usize {
    store.pinned(|core, shield| {
        let from = core.root(shield);
        let mut count = 0;
        core.for_each_table(shield, |table| {
            core.sweep_id(shield, (from, table), 0..table.buckets(), store.entry(), |removed| {
                drop(removed);
                count += 1;
            });
        });
        count
    })
}

fn iterate(store: &super::Store) -> Vec<usize> {
    store.pinned(|core, shield| {
        let (mut all, mut region) = (Vec::new(), Vec::new());
        let mut next = Some(0);
        while let Some(from) = next {
            next = core.region(shield, from, None, &mut region);
            all.extend(region.iter().map(|node| node.obj));
        }
        all
    })
}

#[test]
fn a_sweep_meets_what_moves() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 1));
        store.grow();
        let other = spawn(&store, |store| store.finish());
        assert_eq!(free_all(&store), 1);
        join(other);
        store.end(&[]);
    });
}

#[test]
fn a_sweep_meets_what_moves_into_a_table_made_meanwhile() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 1));
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        assert_eq!(free_all(&store), 1);
        join(other);
        store.end(&[]);
    });
}

#[test]
fn two_sweeps_free_each_variable_once() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 1));
        assert!(store.alloc(ODD, 2));
        let other = spawn(&store, free_all);
        let mine = free_all(&store);
        assert_eq!(mine + join(other), 2);
        store.end(&[]);
    });
}

#[test]
fn an_iteration_yields_what_moves_once() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 1));
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        assert_eq!(iterate(&store), [A]);
        join(other);
        store.end(&[A]);
    });
}

#[test]
fn freeing_a_parent_meets_what_moves() {
    explore(2, || {
        let store = small();
        assert!(store.alloc(A, 1));
        assert!(store.alloc(B, 2));
        let other = spawn(&store, |store| {
            store.grow();
            store.finish();
        });
        let freed = store.pinned(|core, shield| {
            let from = core.root(shield);
            let mut count = 0;
            core.for_each_of(shield, A, |table, node| {
                count += usize::from(core.kill(shield, node, from, table).is_some());
            });
            count
        });
        assert_eq!(freed, 1);
        join(other);
        store.end(&[B]);
    });
}

#[test]
fn a_free_beside_a_sweep_is_not_counted_twice() {
    explore(2, || {
        let store = tiny();
        assert!(store.alloc(A, 1));
        let other = spawn(&store, |store| store.free(A));
        let swept = free_all(&store);
        assert_eq!(swept + usize::from(join(other).is_some()), 1);
        store.end(&[]);
    });
}
