//! Times of every operation: one thread, 64 k variables, each backend. The peers are in `perf/`.
//!
//! Run: `cargo bench -p shadow-benches --bench ops`. As a test, each benchmark runs once; the answers are checked in both cases.

use std::hint::black_box;

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use shadow_vars::{Asymmetric, Epoch, Eras, ObjAddr, Reclaim, Seize, ShadowId, ShadowStore};

/// The number of variables.
const LIVE: usize = 1 << 16;
/// Operations per iteration.
const N: usize = 64;
const ID: ShadowId<[u64; 2]> = ShadowId::new(1);

fn parent(n: usize) -> usize {
    0x7000_0000_0000 + n * 96
}

/// Returns the n-th number of an order that neither caches nor prefetchers can follow.
fn shuffled(n: usize) -> usize {
    parent(n.wrapping_mul(0x9e37_79b9) % LIVE)
}

fn full<R: Reclaim>() -> ShadowStore<R> {
    let store = ShadowStore::<R>::builder().hash_seed(1).build().expect("a small table");
    for n in 0..LIVE {
        store.pin().alloc(parent(n), ID, [n as u64; 2]).expect("the key is new");
    }
    store
}

fn reads<R: Reclaim>(group: &mut BenchmarkGroup<'_, WallTime>, store: &ShadowStore<R>) {
    let mut turn = 0;
    group.bench_function("get_hit", |bencher| {
        bencher.iter(|| {
            for n in turn..turn + N {
                assert!(
                    store
                        .pin()
                        .get(black_box(shuffled(n)), ID)
                        .map(|value| value[0])
                        .is_some()
                );
            }
            turn += N;
        });
    });
    group.bench_function("get_hit_one_guard", |bencher| {
        bencher.iter(|| {
            let pin = store.pin();
            for n in turn..turn + N {
                assert!(pin.get(black_box(shuffled(n)), ID).is_some());
            }
            turn += N;
        });
    });
    group.bench_function("get_miss", |bencher| {
        bencher.iter(|| {
            for n in turn..turn + N {
                assert!(!store.pin().contains(black_box(shuffled(n) + 8), ID));
            }
            turn += N;
        });
    });
    group.bench_function("get_many", |bencher| {
        bencher.iter(|| {
            let pin = store.pin();
            let objs: [_; N] = std::array::from_fn(|n| ObjAddr::new(shuffled(turn + n)));
            let mut found = [None; N];
            pin.get_many(black_box(&objs), ID, &mut found);
            assert!(found.iter().all(Option::is_some));
            turn += N;
        });
    });
    group.bench_function("get_or_alloc_existing", |bencher| {
        bencher.iter(|| {
            for n in turn..turn + N {
                let first = store
                    .pin()
                    .get_or_alloc_with(black_box(shuffled(n)), ID, || [0; 2])
                    .map(|value| value[0]);
                assert!(first.is_ok());
            }
            turn += N;
        });
    });
}

fn changes<R: Reclaim>(group: &mut BenchmarkGroup<'_, WallTime>, store: &ShadowStore<R>) {
    group.bench_function("alloc_and_free", |bencher| {
        bencher.iter(|| {
            for n in LIVE..LIVE + N {
                assert!(store.pin().alloc(black_box(parent(n)), ID, [1; 2]).is_ok());
                assert!(store.pin().free(parent(n), ID));
            }
        });
    });
    group.bench_function("construct_and_free_object", |bencher| {
        bencher.iter(|| {
            for n in LIVE..LIVE + N {
                assert!(store.pin().alloc_with(black_box(parent(n)), ID, || [1; 2]).is_ok());
                assert_eq!(store.pin().free_object(parent(n)), 1);
            }
        });
    });
    assert_eq!(store.len(), LIVE);
}

fn whole<R: Reclaim>(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.throughput(Throughput::Elements(LIVE as u64));
    group.sample_size(10);
    group.bench_function("grow_from_empty", |bencher| {
        bencher.iter_batched(|| (), |()| full::<R>(), BatchSize::PerIteration);
    });
    group.bench_function("free_all", |bencher| {
        bencher.iter_batched(
            full::<R>,
            |store| {
                assert_eq!(store.pin().free_all(ID), LIVE);
                store
            },
            BatchSize::PerIteration,
        );
    });
}

fn of_backend<R: Reclaim>(criterion: &mut Criterion, name: &str) {
    let store = full::<R>();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(N as u64));
    reads(&mut group, &store);
    changes(&mut group, &store);
    whole::<R>(&mut group);
    group.finish();
}

fn ops(criterion: &mut Criterion) {
    of_backend::<Asymmetric>(criterion, "asymmetric");
    of_backend::<Epoch>(criterion, "epoch");
    of_backend::<Seize>(criterion, "seize");
    of_backend::<Eras>(criterion, "eras");
}

criterion_group!(benches, ops);
criterion_main!(benches);
