//! Every adapter has the properties that the workloads rely on.

use std::sync::Barrier;

use crate::keys::BATCH;
use crate::peers;
use crate::store::{About, Kind, Packed, Store};

/// Addresses as in a heap, enough for any map to grow a few times.
fn keys(ids: u64) -> Vec<Packed> {
    (1..=1000)
        .flat_map(|object| (1..=ids).map(move |id| Packed::new(0x5555_0000_0000 + object * 48, id)))
        .collect()
}

#[test]
fn every_adapter_conforms() {
    for contender in peers::all() {
        for variant in &contender.variants {
            println!("{} with {}", contender.about.name, variant.hasher);
            variant.bench.conform();
        }
    }
}

/// Checks one adapter.
pub(crate) fn check<S: Store>() {
    for store in [S::new(), S::with_capacity(3000)] {
        one_key(&store);
        many_keys(&store);
    }
    a_sweep_in_parallel::<S>();
    let About { kind, .. } = S::ABOUT;
    if kind != Kind::Limit {
        many_threads::<S>();
    }
}

fn one_key<S: Store>(store: &S) {
    let key = Packed::new(0x5555_1234_5670, 7);
    let near = [Packed::new(0x5555_1234_5670, 8), Packed::new(0x5555_1234_5680, 7)];
    assert_eq!(store.get(key.key()), 0);
    assert!(!store.remove(key.key()));
    assert!(store.insert(key.key()));
    assert!(!store.insert(key.key()), "a second insert changes nothing");
    assert_eq!(store.get(key.key()), key.value());
    assert_eq!(store.get_or_insert(key.key()), key.value());
    for near in near {
        assert_eq!(
            store.get(near.key()),
            0,
            "neither the address alone nor the id alone is a key"
        );
    }
    {
        let guard = store.guard();
        assert_eq!(store.get_in(&guard, key.key()), key.value());
        assert_eq!(store.get_in(&guard, near[0].key()), 0);
    }
    assert!(store.remove(key.key()));
    assert_eq!(store.get(key.key()), 0);
    assert!(!store.remove(key.key()));
    assert_eq!(store.get_or_insert(key.key()), key.value(), "created");
    assert_eq!(store.get(key.key()), key.value());
    assert!(store.remove(key.key()));
}

fn many_keys<S: Store>(store: &S) {
    let keys = keys(3);
    for key in &keys {
        store.load(key.key());
    }
    let (halves, whole) = (keys.len() / 2, BATCH.min(keys.len()));
    for id in 1..=3 {
        let keys: Vec<_> = keys.iter().copied().filter(|key| key.key().1 == id).collect();
        assert_eq!(keys.len(), 1000);
        for batch in keys.chunks(whole) {
            let mut found = vec![0; batch.len()];
            store.get_batch(id, batch, &mut found);
            for (found, key) in found.iter().zip(batch) {
                assert_eq!(*found, key.value());
            }
            let mut each = Vec::new();
            store.get_each(id, batch, |read, key| each.push((read, key)));
            assert!(each.iter().zip(batch).all(|(each, &key)| *each == (key.value(), key)));
            assert_eq!(each.len(), batch.len());
        }
    }
    assert_eq!(store.clear_id(2), 1000);
    assert_eq!(store.clear_id(2), 0);
    for key in &keys {
        let want = if key.key().1 == 2 { 0 } else { key.value() };
        assert_eq!(store.get(key.key()), want);
    }
    for key in &keys[..halves] {
        assert_eq!(store.remove(key.key()), key.key().1 != 2);
    }
    store.settle();
    store.shrink();
    for key in &keys[halves..] {
        let want = if key.key().1 == 2 { 0 } else { key.value() };
        assert_eq!(store.get(key.key()), want, "what stays survives shrinking");
    }
    assert!(store.clear_id(1) + store.clear_id(3) > 0);
    store.settle();
}

fn a_sweep_in_parallel<S: Store>() {
    let store = S::new();
    for key in keys(2) {
        store.load(key.key());
    }
    if let Some(count) = store.clear_id_parallel(1) {
        assert_eq!(count, 1000);
        assert_eq!(store.clear_id(1), 0);
        assert_eq!(store.clear_id(2), 1000);
    }
}

/// Threads that change keys of their own find them as they left them, while other threads change theirs and the map grows.
fn many_threads<S: Store>() {
    const THREADS: usize = 4;
    let store = S::new();
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                let own: Vec<Packed> = keys(1)
                    .into_iter()
                    .map(|key| Packed::new(key.key().0 + (thread << 32), 1))
                    .collect();
                barrier.wait();
                for round in 0..4 {
                    for key in &own {
                        assert!(store.insert(key.key()), "round {round}");
                        assert_eq!(store.get(key.key()), key.value());
                    }
                    for key in own.iter().rev() {
                        assert_eq!(store.get_or_insert(key.key()), key.value());
                        assert!(store.remove(key.key()));
                        assert_eq!(store.get(key.key()), 0);
                    }
                }
            });
        }
    });
    assert_eq!(store.clear_id(1), 0);
}
