//! Instruction counts, which are the same on every run, so that small increases can be rejected (`ci/icount.sh`).
//!
//! Addresses are synthetic, the hash seed and the capacity are fixed, and there is one thread. Each benchmark runs its operation
//! [`N`] times, unless its name says otherwise; `harness` is the cost of the loop itself.

use std::hint::black_box;

use iai_callgrind::{library_benchmark, library_benchmark_group, main};
use shadow_vars::{Asymmetric, Epoch, Eras, ObjAddr, Reclaim, Seize, ShadowId, ShadowStore, Variable};

/// Operations of each benchmark.
const N: usize = 1024;
const ID: ShadowId<[u64; 2]> = ShadowId::new(7);
const OTHER: ShadowId<[u64; 2]> = ShadowId::new(8);
const VALUE: [u64; 2] = [3, 4];

/// A store, and the parents of its variables.
struct Set<R: Reclaim> {
    store: ShadowStore<R>,
    parents: Vec<usize>,
    objs: Vec<ObjAddr>,
}

/// Retirements per batch: half of the variables are reclaimed while the others are freed.
const BATCH: usize = N / 2;

/// Returns an empty store with room for four times as many variables as there will be, so that no table is replaced.
fn empty<R: Reclaim>() -> Set<R> {
    of_capacity(4 * N)
}

fn of_capacity<R: Reclaim>(capacity: usize) -> Set<R> {
    let builder = ShadowStore::<R>::builder().hash_seed(1).capacity(capacity);
    let store = builder.batch(BATCH).build().expect("there is memory for a small table");
    let parents: Vec<usize> = (1..=N).map(|n| 0x7000_0000_0000 + n * 64).collect();
    let objs: Vec<_> = parents.iter().map(|&parent| ObjAddr::new(parent)).collect();
    // Creates the thread's participant, its shard and both ids' entries here, so that they are not counted.
    for id in [ID, OTHER] {
        store.pin().alloc(8, id, VALUE).expect("the key is new");
        assert!(store.pin().free(8, id));
    }
    Set { store, parents, objs }
}

/// Returns a store in which every parent has a variable.
fn full<R: Reclaim>() -> Set<R> {
    let set = empty();
    for &parent in &set.parents {
        set.store.pin().alloc(parent, ID, VALUE).expect("the key is new");
    }
    set
}

/// Returns a store in which every parent has two variables.
fn two_each<R: Reclaim>() -> Set<R> {
    let set = full();
    for &parent in &set.parents {
        set.store.pin().alloc(parent, OTHER, VALUE).expect("the key is new");
    }
    set
}

/// Returns a store in which a migration has begun: the next insert moves a block, and nothing else happens.
fn growing<R: Reclaim>() -> Set<R> {
    let set = of_capacity(0);
    let mut parent = 0x6000_0000_0000;
    while set.store.stats().growths == 0 {
        parent += 64;
        set.store.pin().alloc(parent, ID, VALUE).expect("the key is new");
    }
    set
}

/// Reads the variable of each parent, and adds up the values.
#[inline(always)]
fn read_each(parents: &[usize], get: impl Fn(usize) -> Option<u64>) {
    let mut sum = 0;
    for &parent in parents {
        sum += get(black_box(parent)).unwrap_or(0);
    }
    assert_eq!(sum, 3 * N as u64);
}

/// Reads the variables of all parents, 64 at once.
#[inline(always)]
fn read_batches<'g>(objs: &[ObjAddr], get_many: impl Fn(&[ObjAddr], &mut [Option<&'g [u64; 2]>])) {
    for objs in objs.chunks(64) {
        let mut found = [None; 64];
        get_many(black_box(objs), &mut found);
        assert!(found.iter().all(|found| found.is_some_and(|value| value[0] == 3)));
    }
}

/// Defines a benchmark that runs its operation once for each parent, on the value that the first argument makes of the set.
macro_rules! each_by {
    ($name:ident, $init:expr, $set:ident => $make:expr, |$by:ident, $parent:ident| $operation:expr) => {
        #[library_benchmark]
        #[bench::n($init)]
        fn $name($set: S) -> S {
            {
                let $by = $make;
                for &$parent in &$set.parents {
                    $operation;
                }
            }
            $set
        }
    };
}

/// By the store, with a guard for each operation.
macro_rules! each {
    ($name:ident, $init:expr, |$store:ident, $parent:ident| $operation:expr) => {
        each_by!($name, $init, set => &set.store, |$store, $parent| $operation);
    };
}

/// By the variable, which knows its id.
macro_rules! each_variable {
    ($name:ident, $init:expr, |$variable:ident, $parent:ident| $operation:expr) => {
        each_by!($name, $init, set => Variable::new_in(black_box(ID), &set.store).expect("of this type"),
            |$variable, $parent| $operation);
    };
}

/// Under one guard for all.
macro_rules! each_pinned {
    ($name:ident, $init:expr, |$pin:ident, $parent:ident| $operation:expr) => {
        each_by!($name, $init, set => set.store.pin(), |$pin, $parent| $operation);
    };
}

macro_rules! per_backend {
    ($backend:ident, $module:ident, $group:ident) => {
        mod $module {
            use super::*;

            type S = Set<$backend>;

            #[library_benchmark]
            #[bench::n(full())]
            fn harness(set: S) -> S {
                let mut sum = 0;
                for &parent in &set.parents {
                    sum += black_box(parent);
                }
                assert_ne!(sum, 0);
                set
            }

            each!(pin_and_unpin, full(), |store, _parent| black_box(store.pin().store()));

            #[library_benchmark]
            #[bench::n(full())]
            fn get_hit_guard_each(set: S) -> S {
                read_each(&set.parents, |parent| set.store.pin().get(parent, ID).map(|value| value[0]));
                set
            }

            #[library_benchmark]
            #[bench::n(full())]
            fn get_hit_guard_reused(set: S) -> S {
                let pin = set.store.pin();
                read_each(&set.parents, |parent| pin.get(parent, ID).map(|value| value[0]));
                drop(pin);
                set
            }

            #[library_benchmark]
            #[bench::n(full())]
            fn get_hit_typed(set: S) -> S {
                let pin = set.store.pin();
                let variable = Variable::new_in(black_box(ID), &set.store).expect("of this type");
                read_each(&set.parents, |parent| pin.get(parent, &variable).map(|value| value[0]));
                drop(pin);
                set
            }

            #[library_benchmark]
            #[bench::n(full())]
            fn get_hit_variable(set: S) -> S {
                let variable = Variable::new_in(black_box(ID), &set.store).expect("of this type");
                read_each(&set.parents, |parent| {
                    set.store.pin().get(parent, &variable).map(|value| value[0])
                });
                set
            }

            each_variable!(alloc_variable, empty(), |variable, parent| assert!(
                variable.store().pin().alloc(black_box(parent), &variable, VALUE).is_ok()
            ));
            each_variable!(free_variable, full(), |variable, parent| assert!(
                variable.store().pin().free(black_box(parent), &variable)
            ));

            #[library_benchmark]
            #[bench::n(full())]
            fn get_batch_typed(set: S) -> S {
                let pin = set.store.pin();
                let variable = Variable::new_in(black_box(ID), &set.store).expect("of this type");
                read_batches(&set.objs, |objs, found| pin.get_many(objs, &variable, found));
                drop(pin);
                set
            }

            #[library_benchmark]
            #[bench::n(full())]
            fn get_batch(set: S) -> S {
                let pin = set.store.pin();
                read_batches(&set.objs, |objs, found| pin.get_many(objs, ID, found));
                drop(pin);
                set
            }

            each!(get_miss_guard_each, full(), |store, parent| assert!(
                !store.pin().contains(black_box(parent + 8), ID)
            ));
            each_pinned!(get_miss_guard_reused, full(), |pin, parent| assert!(
                !pin.contains(black_box(parent + 8), ID)
            ));
            each!(alloc, empty(), |store, parent| assert!(
                store.pin().alloc(black_box(parent), ID, VALUE).is_ok()
            ));
            each_pinned!(get_or_alloc_existing, full(), |pin, parent| assert!(
                pin.get_or_alloc(black_box(parent), ID, VALUE).is_ok()
            ));
            each_pinned!(get_or_alloc_new, empty(), |pin, parent| assert!(
                pin.get_or_alloc(black_box(parent), ID, VALUE).is_ok()
            ));
            each_pinned!(get_or_alloc_with_existing, full(), |pin, parent| assert!(
                pin.get_or_alloc_with(black_box(parent), ID, || VALUE).is_ok()
            ));
            each_pinned!(get_or_alloc_with_new, empty(), |pin, parent| assert!(
                pin.get_or_alloc_with(black_box(parent), ID, || VALUE).is_ok()
            ));
            each!(free, full(), |store, parent| assert!(
                store.pin().free(black_box(parent), ID)
            ));
            // Parents with two variables each.
            each!(free_object, two_each(), |store, parent| assert_eq!(
                store.pin().free_object(black_box(parent)),
                2
            ));

            // One call, N variables.
            #[library_benchmark]
            #[bench::n(full())]
            fn free_all(set: S) -> S {
                assert_eq!(set.store.pin().free_all(black_box(ID)), N);
                set
            }

            // One call: an insert that moves a block of 64 slots first.
            #[library_benchmark]
            #[bench::once(growing())]
            fn migrate_block(set: S) -> S {
                assert!(set.store.pin().alloc(black_box(set.parents[0]), ID, VALUE).is_ok());
                set
            }

            library_benchmark_group!(
                name = $group;
                benchmarks =
                    harness, pin_and_unpin, get_hit_guard_each, get_hit_guard_reused, get_miss_guard_each,
                    get_miss_guard_reused, get_hit_typed, get_hit_variable, get_batch, get_batch_typed, alloc,
                    alloc_variable, get_or_alloc_existing, get_or_alloc_new, get_or_alloc_with_existing,
                    get_or_alloc_with_new, free, free_variable, free_object, free_all, migrate_block
            );
        }
        use $module::$group;
    };
}

per_backend!(Asymmetric, asymmetric, asymmetric_group);
per_backend!(Epoch, epoch, epoch_group);
per_backend!(Seize, seize, seize_group);
per_backend!(Eras, eras, eras_group);

main!(
    library_benchmark_groups = asymmetric_group,
    epoch_group,
    seize_group,
    eras_group
);
