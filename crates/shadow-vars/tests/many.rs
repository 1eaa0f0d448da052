//! Operations on many variables, or on the store as a whole: batches, iteration, counters, capacity.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shadow_vars::{CtorError, ObjAddr, Reclaim, ShadowId, VarRef, Variable};
use support::configs::Config;
use support::{Random, on_every_store};

on_every_store!(
    batches_of_lookups,
    iteration_meets_each_once,
    ids_of_a_parent,
    many_ids_of_few_parents,
    a_parents_variables_while_ids_come,
    counters,
    capacity_and_shrinking,
);

const N: ShadowId<u32> = ShadowId::new(0x41);
const WORDS: ShadowId<[u64; 4]> = ShadowId::new(0x42);
const TEXT: ShadowId<String> = ShadowId::new(0x43);

fn batches_of_lookups<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    (0..200)
        .step_by(3)
        .for_each(|obj| store.pin().alloc(obj, N, obj as u32).map(drop).unwrap());
    let pin = store.pin();
    // Around the size of a group, and with one slice longer than the other.
    for (keys, places) in [
        (0, 0),
        (1, 1),
        (31, 31),
        (32, 32),
        (33, 33),
        (200, 200),
        (40, 10),
        (10, 40),
        (65, 64),
        (64, 65),
    ] {
        let objs: Vec<_> = (0..keys).map(ObjAddr::new).collect();
        let mut out = vec![Some(&u32::MAX); places];
        pin.get_many(&objs, N, &mut out);
        for (n, found) in out.iter().enumerate() {
            let value = (n % 3 == 0).then_some(n as u32);
            assert_eq!(found.copied(), if n < objs.len() { value } else { Some(u32::MAX) });
        }
        let variable = Variable::new_in(N, &store).unwrap();
        let mut found = vec![Some(&u32::MAX); places];
        pin.get_many(&objs, &variable, &mut found);
        assert_eq!(found, out);
        assert!(std::iter::zip(objs, out).all(|(obj, found)| pin.get(obj, &variable) == found));
    }
    let mut out = [Some(&3); 3];
    pin.get_many(&[3.into(), 3.into()], ShadowId::new(999), &mut out);
    assert_eq!(out, [None, None, Some(&3)], "of an id that was never used");
}

fn iteration_meets_each_once<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    assert!(store.pin().iter().next().is_none());
    let mut random = Random(7);
    let mut keys = std::collections::BTreeMap::new();
    for n in 0..400_usize {
        let (obj, id) = (random.below(60) * 8 + random.below(2), random.below(5) as u64);
        if random.below(3) > 0 {
            store.pin().get_or_alloc(obj, ShadowId::new(id), n).map(|_| ()).unwrap();
            keys.entry((obj, id)).or_insert(n);
        } else {
            assert_eq!(
                store.pin().free(obj, ShadowId::<usize>::new(id)),
                keys.remove(&(obj, id)).is_some()
            );
        }
        if n % 10 == 0 {
            let mut met = Vec::new();
            store
                .pin()
                .iter()
                .for_each(|var| met.push(((var.obj().get(), var.id()), *var.downcast_ref::<usize>().unwrap())));
            met.sort_unstable();
            assert_eq!(met, keys.clone().into_iter().collect::<Vec<_>>());
        }
    }
    let pin = store.pin();
    let mut iter = pin.iter();
    assert_eq!(iter.by_ref().count(), keys.len());
    assert!(iter.next().is_none() && iter.next().is_none());
    let of_two = |var: &VarRef<'_>| var.get(ShadowId::<usize>::new(2)).is_some();
    assert_eq!(
        pin.iter().filter(of_two).count(),
        keys.keys().filter(|(_, id)| *id == 2).count()
    );
    assert!(
        pin.iter()
            .all(|var| var.downcast_ref::<u32>().is_none() && var.type_name() == "usize")
    );
    let var = pin.iter().next().unwrap();
    assert_eq!(format!("{var:?}"), format!("<{}, {:#x}>: usize", var.obj(), var.id()));
    #[cfg(feature = "rayon")]
    {
        use rayon::iter::ParallelIterator;
        let owned = store.pin_owned();
        let mut met: Vec<_> = owned.par_iter().map(|var| (var.obj().get(), var.id())).collect();
        met.sort_unstable();
        assert!(met.into_iter().eq(keys.into_keys()));
    }
}

fn ids_of_a_parent<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    for obj in [0, 8, 9, 1 << 60] {
        for id in 0..40 {
            // Sorted, each once, and nothing of the neighbours.
            assert_eq!(store.pin().ids_of(obj), (0..id).collect::<Vec<_>>());
            store.pin().alloc(obj, ShadowId::new(id), id).unwrap();
        }
        assert!(
            (0..40)
                .step_by(2)
                .all(|id| store.pin().free(obj, ShadowId::<u64>::new(id)))
        );
        assert_eq!(store.pin().ids_of(obj), (0..20).map(|n| 2 * n + 1).collect::<Vec<_>>());
    }
    assert_eq!(
        (store.pin().free_object(8), store.pin().ids_of(8), store.len()),
        (20, vec![], 60)
    );
}

/// Ids in all places, and more than one in each, on few parents, while the table grows and shrinks.
fn many_ids_of_few_parents<R: Reclaim>(config: &Config) {
    const IDS: u64 = 90;
    let store = config.build::<R>();
    let (mut random, mut keys) = (Random(11), BTreeSet::new());
    let ids_of = |keys: &BTreeSet<(usize, u64)>, obj| -> Vec<u64> {
        keys.range((obj, 0)..=(obj, u64::MAX)).map(|&(_, id)| id).collect()
    };
    for n in 0..1500_usize {
        // One of them has keys that do not fit into a word.
        let (obj, id) = (random.below(4) * 8 + random.below(2), random.below(IDS as usize) as u64);
        match random.below(40) {
            0 => {
                assert_eq!(store.pin().free_object(obj), ids_of(&keys, obj).len());
                keys.retain(|&(of, _)| of != obj);
            }
            1 => store.shrink_to_fit(),
            2..12 => assert_eq!(store.pin().free(obj, ShadowId::<u64>::new(id)), keys.remove(&(obj, id))),
            _ => {
                store
                    .pin()
                    .get_or_alloc(obj, ShadowId::new(id), id)
                    .map(|_| ())
                    .unwrap();
                keys.insert((obj, id));
            }
        }
        assert_eq!(store.pin().ids_of(obj), ids_of(&keys, obj));
        if n % 50 == 0 {
            let mut met: Vec<_> = store.pin().iter().map(|var| (var.obj().get(), var.id())).collect();
            met.sort_unstable();
            assert!(met.into_iter().eq(keys.iter().copied()));
        }
    }
}

/// Variables that exist throughout are found, and freed, while ids are used for the first time and the table is replaced.
fn a_parents_variables_while_ids_come<R: Reclaim>(config: &Config) {
    const OWN: u64 = 24;
    const NEW: u64 = 100;
    let store = config.build::<R>();
    let parent = 0x1000_usize;
    // Relaxed, here and below: only counts and stop flags.
    let (done, new) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while new.load(Ordering::Relaxed) < NEW || round < 3 {
                round += 1;
                (0..OWN).for_each(|id| store.pin().alloc(parent, ShadowId::new(id), round).map(drop).unwrap());
                let own = |ids: Vec<u64>| ids.into_iter().filter(|&id| id < OWN).count() as u64;
                (0..20).for_each(|_| assert_eq!(own(store.pin().ids_of(parent)), OWN));
                assert!(store.pin().free_object(parent) as u64 >= OWN);
                assert_eq!(own(store.pin().ids_of(parent)), 0);
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            let mut random = Random(5);
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // New ids for a while, then the same ones again; and parents that make the table grow and shrink.
                let id = ShadowId::new(1000 + n % (2 * NEW));
                new.fetch_add(1, Ordering::Relaxed);
                store.pin().get_or_alloc(parent, id, n).map(|_| ()).unwrap();
                let others = (1..40_usize).map(|other| parent + other * 8);
                others
                    .clone()
                    .for_each(|other| store.pin().alloc(other, id, n).map(drop).unwrap());
                if random.below(2) == 0 {
                    store.pin().free(parent, id);
                }
                others.for_each(|other| assert!(store.pin().free(other, id)));
                store.shrink_to_fit();
            }
        });
    });
    store.pin().free_object(parent);
    assert_eq!((store.pin().ids_of(parent), store.len()), (vec![], 0));
}

fn counters<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    (0..10).for_each(|obj| store.pin().alloc(obj, N, 0).map(drop).unwrap());
    (0..6).for_each(|obj| store.pin().alloc_with(obj, WORDS, Default::default).map(drop).unwrap());
    (0..4).for_each(|obj| assert!(store.pin().free(obj, N)));
    assert_eq!(store.pin().alloc_with(0, TEXT, String::new).map(drop), Ok(()));
    assert_eq!(
        store.pin().try_alloc_with(1, TEXT, || Err(1)).map(drop),
        Err(CtorError::Ctor(1))
    );
    let stats = store.stats();
    assert_eq!(
        (
            stats.live,
            stats.created,
            stats.freed,
            stats.ctor_failed,
            stats.drop_panics
        ),
        (13, 17, 4, 1, 0)
    );
    let ids: Vec<_> = stats
        .ids
        .iter()
        .map(|id| (id.id, id.type_name.as_str(), id.live, id.created, id.freed))
        .collect();
    assert_eq!(
        ids,
        [
            (0x41, "u32", 6, 10, 4),
            (0x42, "[u64; 4]", 6, 6, 0),
            (0x43, "alloc::string::String", 1, 1, 0)
        ]
    );
    assert_eq!(
        (store.len(), store.len_of(N), store.len_of(WORDS), store.len_of(TEXT)),
        (13, 6, 6, 1)
    );
    assert!(stats.capacity == store.capacity() && stats.claimed <= stats.capacity && stats.capacity >= 13);
    assert!((stats.load - stats.claimed as f64 / stats.capacity as f64).abs() < 1e-9);
    assert!(stats.tombs <= stats.claimed);
    // Freed but not dropped, as there is a guard; then dropped.
    let pin = store.pin();
    let freed = store.pin().free_all(WORDS);
    let stats = store.stats();
    assert!(
        stats.retired_objects >= freed && stats.retired_bytes >= freed * 32,
        "{stats:?}"
    );
    drop(pin);
    store.synchronize().unwrap();
    let stats = store.stats();
    assert_eq!((stats.retired_objects, stats.retired_bytes), (0, 0));
    assert_eq!(store.stats(), store.stats());
}

fn capacity_and_shrinking<R: Reclaim>(config: &Config) {
    let count = if config.provoke.equal_hashes { 300 } else { 5000 };
    let store = config.build::<R>();
    let small = store.capacity();
    (0..count).for_each(|obj| store.pin().alloc(obj * 8, N, obj as u32).map(drop).unwrap());
    assert!(store.capacity() >= count && store.stats().growths > 0);
    store.shrink_to_fit();
    assert!(store.capacity() >= count);
    assert!((0..count).all(|obj| store.pin().get(obj * 8, N).cloned() == Some(obj as u32)));
    (10..count).for_each(|obj| assert!(store.pin().free(obj * 8, N)));
    store.shrink_to_fit();
    let stats = store.stats();
    assert!(stats.shrinks > 0 && stats.capacity <= small.max(64), "{stats:?}");
    assert!((0..count).all(|obj| store.pin().contains(obj * 8, N) == (obj < 10)));
}
