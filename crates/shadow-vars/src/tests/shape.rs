//! Counts the cost of freeing most of a store, and what it leaves behind: accesses to tables and nodes, tables made,
//! buckets that a hit visits. In every order of freeing, and for any remainder: how full the parts of a table get must
//! not depend on it.

use std::cell::Cell;
use std::collections::HashSet;

use crate::defect::rig::ON_ACCESS;
use crate::sync::Ordering;
use crate::table::group::BUCKET;
use crate::table::hash::AddrHasher;
use crate::table::word::Kind;
use crate::{Asymmetric, ShadowId, ShadowStore};

const VARIABLES: usize = 1 << 15;

const ID: ShadowId<usize> = ShadowId::new(1);
const OTHER: ShadowId<usize> = ShadowId::new(2);

type Store = ShadowStore<Asymmetric>;

fn parent(n: usize) -> usize {
    0x7000_0000_0000 + n * 64
}

fn seeded(seed: u64) -> Store {
    ShadowStore::builder().hash_seed(seed).build().unwrap()
}

fn store() -> Store {
    seeded(1)
}

fn filled(id: impl Fn(usize) -> ShadowId<usize>) -> Store {
    let store = store();
    (0..VARIABLES).for_each(|n| store.pin().alloc(parent(n), id(n), n).map(drop).unwrap());
    store
}

/// Returns the parents in the order of a walk.
fn walk(store: &Store) -> Vec<usize> {
    store.pin().iter().map(|var| var.obj().get()).collect()
}

/// Counts the accesses of this thread to tables and nodes during `body`.
fn accesses<T>(body: impl FnOnce() -> T) -> (usize, T) {
    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }
    COUNT.set(0);
    ON_ACCESS.set(Some(|| COUNT.set(COUNT.get() + 1)));
    let result = body();
    ON_ACCESS.set(None);
    (COUNT.get(), result)
}

/// Returns the mean and the maximum number of buckets from the home of each of these keys to its slot.
fn buckets(store: &Store, objs: &[usize], id: ShadowId<usize>) -> (f64, usize) {
    if objs.is_empty() {
        return (0.0, 0);
    }
    let (core, pin) = (store.core(), store.pin());
    let (root, entry) = (core.root(pin.shield()), pin.find(id).unwrap().entry());
    assert!(!root.has_next(), "a migration that was not finished");
    let looked_at = objs.iter().map(|&obj| {
        let node = core.find(pin.shield(), obj, entry).unwrap().as_ptr();
        let home = root.home(core.key(obj, entry).hash);
        let is_in = |bucket| {
            (0..BUCKET).any(|at| root.load(root.index(bucket, at), Ordering::Acquire).kind() == Kind::Link(node))
        };
        1 + (0..root.buckets()).position(|passed| is_in(home + passed)).unwrap()
    });
    let looked_at: Vec<_> = looked_at.collect();
    let sum: usize = looked_at.iter().sum();
    (
        sum as f64 / objs.len().max(1) as f64,
        looked_at.into_iter().max().unwrap_or(0),
    )
}

/// Checks that the store is like one that never had other variables: no larger, and no slower to look up in.
fn check_like_fresh(store: &Store, stay: &[usize], id: ShadowId<usize>, what: &str) {
    // With another seed: keys that crowd in one order of the hash space do so in every store with that order.
    let fresh = seeded(2);
    stay.iter()
        .for_each(|&obj| fresh.pin().alloc(obj, id, 0).map(drop).unwrap());
    for one in [store, &fresh] {
        one.shrink_to_fit();
        assert_eq!(one.len(), stay.len(), "{what}");
    }
    assert!(
        store.capacity() <= fresh.capacity(),
        "{what}: {} slots, {} in a fresh store",
        store.capacity(),
        fresh.capacity()
    );
    let ((mean, most), (fresh_mean, fresh_most)) = (buckets(store, stay, id), buckets(&fresh, stay, id));
    println!("{what}: {mean:.3} buckets a hit, {most} at most; {fresh_mean:.3} and {fresh_most} in a fresh store");
    assert!(
        mean <= 1.2 * fresh_mean && most <= fresh_most + 4,
        "{what}: {mean} buckets a hit, {most} at most; {fresh_mean} and {fresh_most} in a fresh store"
    );
    let met: HashSet<_> = walk(store).into_iter().collect();
    assert!(
        met.len() == stay.len() && stay.iter().all(|obj| met.contains(obj)),
        "{what}"
    );
}

fn tables(store: &Store) -> u64 {
    let stats = store.stats();
    stats.growths + stats.shrinks + stats.rebuilds
}

/// Accesses for each variable that is freed by itself, including everything that moves meanwhile.
const MOST_BY_ITSELF: usize = 60;
/// Like [`MOST_BY_ITSELF`], for a sweep.
const MOST_IN_A_SWEEP: usize = 40;
/// Tables made while a full one shrinks to the smallest: each is at most a quarter of the last, and may be made again once, or
/// grow once where the remainder is just too large.
const MOST_TABLES: u64 = 16;

/// The factors by which the remainder is smaller than the whole; the first leaves nothing.
const REMAINDERS: [usize; 5] = [usize::MAX, 1000, 100, 32, 7];

#[test]
fn freeing_one_by_one_is_linear_and_leaves_no_crowd_in_any_order() {
    type Sort = fn(&mut Vec<usize>);
    let orders: [(&str, Sort); 5] = [
        ("in the order of the walk", |_| ()),
        ("in its reverse", |objs| objs.reverse()),
        ("from its middle on, around the end", |objs| {
            objs.rotate_left(VARIABLES / 2 + 77)
        }),
        ("by address", |objs| objs.sort_unstable()),
        ("at random", |objs| {
            let hasher = AddrHasher::new(99);
            objs.sort_by_key(|&obj| hasher.hash(obj).with(0).point);
        }),
    ];
    for (name, sort) in orders {
        for part in REMAINDERS {
            let store = filled(|_| ID);
            let mut objs = walk(&store);
            sort(&mut objs);
            let (go, stay) = objs.split_at(VARIABLES - VARIABLES / part);
            let before = tables(&store);
            let (count, ()) = accesses(|| go.iter().for_each(|&obj| assert!(store.pin().free(obj, ID))));
            let (each, made) = (count / go.len(), tables(&store) - before);
            let what = format!("freed {name}, {} left", stay.len());
            println!("{what}: {each} accesses each, {made} tables");
            assert!(each <= MOST_BY_ITSELF, "{what}: {each} accesses each");
            assert!(made <= MOST_TABLES, "{what}: {made} tables");
            check_like_fresh(&store, stay, ID, &what);
        }
    }
}

/// Iteration continues while the variables it met are freed, and the table with them.
#[test]
fn freeing_what_is_met_is_linear_and_leaves_no_crowd() {
    for part in REMAINDERS {
        let store = filled(|_| ID);
        let before = tables(&store);
        let goes = VARIABLES - VARIABLES / part;
        let mut gone = 0;
        let (count, ()) = accesses(|| {
            let pin = store.pin();
            for var in pin.iter().take(goes) {
                gone += usize::from(store.pin().free(var.obj().get(), ID));
            }
        });
        let what = format!("freed as met, {} left", VARIABLES - goes);
        let (each, made) = (count / goes, tables(&store) - before);
        println!("{what}: {each} accesses each, {made} tables");
        assert_eq!(gone, goes, "{what}");
        assert!(each <= 2 * MOST_BY_ITSELF, "{what}: {each} accesses each");
        assert!(made <= MOST_TABLES, "{what}: {made} tables");
        check_like_fresh(&store, &walk(&store), ID, &what);
    }
}

/// By id: all variables of one are freed, whichever place they have, and those that the sweep takes last do not crowd.
#[test]
fn freeing_all_of_an_id_is_linear_and_leaves_no_crowd() {
    for part in REMAINDERS {
        let id = |n: usize| if n % part == part - 1 { OTHER } else { ID };
        let store = filled(id);
        let stay: Vec<_> = (0..VARIABLES).filter(|&n| n % part == part - 1).map(parent).collect();
        let before = tables(&store);
        let (count, freed) = accesses(|| store.pin().free_all(ID));
        let what = format!("freed by id, {} left", stay.len());
        let (each, made) = (count / freed, tables(&store) - before);
        println!("{what}: {each} accesses each, {made} tables");
        assert_eq!(freed, VARIABLES - stay.len(), "{what}");
        assert!(each <= MOST_IN_A_SWEEP, "{what}: {each} accesses each");
        // One, as the sweep knows at its end how much is left; and it has moved there.
        assert!(made <= 1, "{what}: {made} tables");
        store.pin().alloc(8_usize, OTHER, 0).unwrap();
        assert!(store.pin().free(8_usize, OTHER));
        check_like_fresh(&store, &stay, OTHER, &what);
    }
}

/// What an interrupted sweep leaves, at any share of its work, as when many threads share one.
#[test]
fn a_part_of_a_sweep_leaves_no_crowd() {
    for part in [2, 7, 32] {
        let store = filled(|_| ID);
        {
            let pin = store.pin();
            let (core, shield, entry) = (store.core(), pin.shield(), pin.find(ID).unwrap().entry());
            let table = core.root(shield);
            let buckets = table.buckets();
            core.sweep_id(shield, table, 0..buckets - buckets / part, entry, |_| ());
        }
        let stay = walk(&store);
        assert!(stay.len() > VARIABLES / part / 2 && stay.len() < VARIABLES * 3 / part / 2);
        check_like_fresh(&store, &stay, ID, &format!("{} of {part} parts swept", part - 1));
    }
}

/// A walk skips slots that were never claimed, so one variable in a large table is found quickly; and all are found,
/// however many.
#[test]
fn a_walk_looks_at_little_but_what_was_claimed() {
    const BUCKETS: usize = 1 << 15;
    for variables in [0, 1, 2, 10, 100] {
        let store: Store = ShadowStore::builder()
            .hash_seed(1)
            .capacity(4 * BUCKETS)
            .build()
            .unwrap();
        assert_eq!(store.capacity(), BUCKETS * BUCKET);
        (0..variables).for_each(|n| store.pin().alloc(parent(n), ID, n).map(drop).unwrap());
        for _ in 0..2 {
            let (count, met) = accesses(|| walk(&store).len());
            assert_eq!(met, variables);
            // Those that share a mark with one, of which 8 slots and the successor are checked.
            let most = (variables + 1) * 64 * 16 + BUCKETS / 16;
            println!("{variables} variables: {count} accesses in a walk");
            assert!(count <= most, "{variables} variables: {count} accesses in a walk");
        }
        let (count, freed) = accesses(|| store.pin().free_all(ID));
        assert_eq!(freed, variables);
        let most = (variables + 1) * 64 * 4 + BUCKETS / 16;
        assert!(count <= most, "{variables} variables: {count} accesses in a sweep");
    }
}

/// Variables that are not in their home bucket, on parents with many ids in a table as full as it gets, are met by
/// every walk, while the table grows and shrinks under it.
#[test]
fn a_walk_meets_what_is_not_at_home() {
    let store = store();
    let id = |n: usize| ShadowId::<usize>::new(n as u64);
    let mut there = HashSet::new();
    for n in 0..20_000 {
        store.pin().alloc(parent(n / 64), id(n % 64), n).unwrap();
        there.insert((parent(n / 64), (n % 64) as u64));
        if n % 1999 == 0 {
            let met: Vec<_> = store.pin().iter().map(|var| (var.obj().get(), var.id())).collect();
            assert_eq!(met.len(), there.len());
            assert!(met.iter().all(|key| there.contains(key)));
        }
    }
    // Some are created during the walk, and what was there before is still met once.
    let pin = store.pin();
    let mut met = Vec::new();
    for (step, var) in pin.iter().enumerate() {
        met.push((var.obj().get(), var.id()));
        if step % 2 == 0 {
            store.pin().alloc(parent(1_000_000 + step), ID, 0).unwrap();
        }
    }
    let old: Vec<_> = met.iter().filter(|key| there.contains(key)).collect();
    assert_eq!(old.len(), there.len());
    assert_eq!(met.iter().collect::<HashSet<_>>().len(), met.len(), "met twice");
}
