//! Counts the buckets that a look-up visits: with one id on a parent and with many, and beside a parent with thousands.

use crate::sync::Ordering;
use crate::table::group::BUCKET;
use crate::table::word::Kind;
use crate::{Asymmetric, ShadowId, ShadowStore};

/// The number of variables, in a table half full of them.
const ENTRIES: usize = 1 << 13;

fn store() -> ShadowStore<Asymmetric> {
    ShadowStore::builder().hash_seed(1).capacity(ENTRIES).build().unwrap()
}

fn parent(n: usize) -> usize {
    0x7000_0000_0000 + n * 64
}

fn id(n: usize) -> ShadowId<usize> {
    ShadowId::new(n as u64)
}

/// Returns the number of buckets from the home of a key to the slot that leads to its node.
fn buckets(store: &ShadowStore<Asymmetric>, obj: usize, n: usize) -> usize {
    let (core, pin) = (store.core(), store.pin());
    let (root, entry) = (core.root(pin.shield()), pin.find(id(n)).unwrap().entry());
    let key = core.key(obj, entry);
    let node = core.find(pin.shield(), obj, entry).unwrap().as_ptr();
    let home = root.home(key.hash);
    let is_in =
        |bucket| (0..BUCKET).any(|at| root.load(root.index(bucket, at), Ordering::Acquire).kind() == Kind::Link(node));
    1 + (0..root.buckets()).position(|passed| is_in(home + passed)).unwrap()
}

/// Returns the mean over all keys of parents that have this many ids each.
fn mean(ids: usize) -> f64 {
    let store = store();
    let keys = || (0..ENTRIES).map(|n| (parent(n / ids), n % ids));
    keys().for_each(|(obj, n)| store.pin().alloc(obj, id(n), n).map(drop).unwrap());
    assert_eq!((store.stats().growths, store.capacity()), (0, 2 * ENTRIES));
    keys().map(|(obj, n)| buckets(&store, obj, n)).sum::<usize>() as f64 / ENTRIES as f64
}

#[test]
fn a_hit_looks_at_few_buckets_however_many_ids_a_parent_has() {
    for (ids, most) in [(1, 1.05), (4, 1.25), (16, 1.25), (64, 1.25), (128, 1.6)] {
        let mean = mean(ids);
        println!("{ids} ids on each parent: {mean:.3} buckets a hit");
        assert!(mean <= most, "{ids} ids on each parent: {mean} buckets a hit");
    }
}

#[test]
fn a_parent_with_thousands_of_ids_leaves_the_others_alone() {
    const WIDE: usize = 2000;
    let store = store();
    (0..ENTRIES).for_each(|n| store.pin().alloc(parent(n), id(0), n).map(drop).unwrap());
    (0..WIDE).for_each(|n| store.pin().alloc(8_usize, id(n), n).map(drop).unwrap());
    let others: usize = (0..ENTRIES).map(|n| buckets(&store, parent(n), 0)).sum();
    let own: usize = (0..WIDE).map(|n| buckets(&store, 8, n)).sum();
    let (others, own) = (others as f64 / ENTRIES as f64, own as f64 / WIDE as f64);
    println!("{others:.3} buckets a hit, {own:.1} on the parent with {WIDE} ids");
    assert!(
        others <= 1.05 && own <= 24.0,
        "{others} buckets a hit, {own} on the parent itself"
    );
}
