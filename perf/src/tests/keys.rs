//! Key sets and streams.

use std::collections::BTreeSet;

use crate::keys::{BATCH, ID, KeyKind, KeySet, Shape};
use crate::store::Packed;

const KINDS: [KeyKind; 4] = [KeyKind::Heap, KeyKind::Sequential, KeyKind::Pages, KeyKind::Random];

#[test]
fn present_and_absent_keys_are_all_different() {
    for kind in KINDS {
        for shape in [Shape::Plain, Shape::PerParent(4), Shape::Spread(4), Shape::Wide(100)] {
            let keys = KeySet::new(kind, 1001, shape);
            assert_eq!(keys.present.len(), 1001);
            let all: BTreeSet<Packed> = keys
                .present
                .iter()
                .chain(&keys.wide)
                .chain(&keys.absent)
                .copied()
                .collect();
            assert_eq!(
                all.len(),
                1001 + keys.wide.len() + keys.absent.len(),
                "{kind} {shape:?}"
            );
            assert!(all.iter().all(|key| key.key().0 != 0));
        }
    }
}

#[test]
fn shapes_spread_ids_as_they_say() {
    let ids = |shape| {
        let keys = KeySet::new(KeyKind::Sequential, 1000, shape);
        let parents: BTreeSet<usize> = keys.present.iter().map(|key| key.key().0).collect();
        let first = keys.present.iter().filter(|key| key.key().1 == ID).count();
        (parents.len(), first, keys.wide.len())
    };
    assert_eq!(ids(Shape::Plain), (1000, 1000, 0));
    assert_eq!(ids(Shape::PerParent(4)), (250, 250, 0));
    assert_eq!(ids(Shape::Spread(4)), (1000, 250, 0));
    assert_eq!(ids(Shape::Wide(10_000)), (1000, 1000, 10_000));
}

#[test]
fn a_round_of_hits_meets_every_key_once() {
    let keys = KeySet::new(KeyKind::Random, 10 * BATCH, Shape::Plain);
    let present: BTreeSet<Packed> = keys.present.iter().copied().collect();
    for thread in 0..5 {
        let mut stream = keys.hits(thread);
        let round: BTreeSet<Packed> = (0..present.len()).map(|_| stream.next()).collect();
        assert_eq!(round, present);
        let mut stream = keys.hits(thread);
        let round: BTreeSet<Packed> = (0..10).flat_map(|_| stream.next_batch().to_vec()).collect();
        assert_eq!(round, present);
    }
    let mut stream = keys.misses(0);
    assert!((0..1000).all(|_| !present.contains(&stream.next())));
}

#[test]
fn zipf_is_skewed_and_one_in_ten_is_new() {
    let keys = KeySet::new(KeyKind::Sequential, 1000, Shape::Plain);
    let mut stream = keys.zipf(0);
    let drawn: Vec<Packed> = (0..100_000).map(|_| stream.next()).collect();
    let share = |key: Packed| drawn.iter().filter(|&&drawn| drawn == key).count() as f64 / drawn.len() as f64;
    assert!((0.09..0.11).contains(&share(Packed::NONE)));
    // With exponent 0.99 over 1000 keys, the first key gets 13 % of the accesses to existing keys, and the second half of that.
    assert!((0.10..0.14).contains(&share(keys.present[0])));
    assert!((0.05..0.07).contains(&share(keys.present[1])));
    assert!(share(keys.present[999]) < 0.001);
}

#[test]
fn shares_are_a_partition() {
    let keys = KeySet::new(KeyKind::Sequential, 1003, Shape::Plain);
    for threads in [1, 2, 7, 64] {
        let all: Vec<Packed> = (0..threads)
            .flat_map(|thread| KeySet::share(&keys.present, thread, threads).to_vec())
            .collect();
        assert_eq!(all, keys.present);
    }
}

#[test]
fn packing_keeps_address_and_id() {
    let key = Packed::new(0x7fff_ffff_fff8, 65_535);
    assert_eq!(key.key(), (0x7fff_ffff_fff8, 65_535));
    assert_ne!(key.value(), 0);
}
