//! Times of live patching: calls without a patch, with a complete one and during a transition, inside a unit and outside; other
//! ways to call a replaceable function; and transitions.
//!
//! Run: `cargo bench -p shadow-benches --bench livepatch`. As a test, each benchmark runs once; the answers are checked in both
//! cases.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use livepatch::{UnitExt, registry, unit};
use shadow_benches::{Elsewhere, Other, Patched, answer, direct, pollster, settle};

/// Calls per iteration.
const N: u64 = 64;

fn time(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, version: u64, call: impl Fn(u64) -> u64) {
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let sum: u64 = (0..N).map(|n| call(black_box(n))).sum();
            assert_eq!(sum, N * (N - 1) / 2 + N * version);
        });
    });
}

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(N));
    let other = Other::new();
    time(&mut group, "direct", 0, direct);
    time(&mut group, "pointer", 0, |n| other.pointer(n));
    time(&mut group, "arc_swap", 0, |n| other.arc_swap(n));
    time(&mut group, "rw_lock", 0, |n| other.rw_lock(n));

    time(&mut group, "no_patch", 0, answer);
    {
        let _unit = unit();
        time(&mut group, "no_patch_inside", 0, answer);
    }
    {
        let _patched = Patched::on();
        time(&mut group, "settled", 1, answer);
        let _unit = unit();
        time(&mut group, "settled_inside", 1, answer);
    }
    settle();
    in_transition(&mut group);
    group.finish();
}

/// Measures while a unit on another thread delays the transition.
fn in_transition(group: &mut BenchmarkGroup<'_, WallTime>) {
    let held = Elsewhere::unit();
    let old = unit();
    let patched = Patched::begin();
    time(group, "transition_old_side_inside", 0, answer);
    drop(old);
    time(group, "transition_new_side", 1, answer);
    let new = unit();
    time(group, "transition_new_side_inside", 1, answer);
    drop(new);
    assert!(registry().status().transition.is_some());
    drop(held);
    drop(patched);
}

fn units(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unit");
    group.throughput(Throughput::Elements(N));
    time(&mut group, "begin_and_end", 0, |n| {
        drop(black_box(unit()));
        n
    });
    time(&mut group, "future", 0, |n| pollster(async move { n }.in_unit()));
    group.finish();
}

/// Measures enabling and disabling a patch, with tasks that run units meanwhile, and with tasks that sleep outside units.
fn transitions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transition_on_and_off");
    group.sample_size(10);
    for tasks in [1, 8, 64] {
        for busy in [false, true] {
            let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
            let begun = Arc::new(Barrier::new(tasks + 1));
            thread::scope(|scope| {
                let threads = (0..tasks).map(|_| {
                    let (stop, calls, begun) = (&stop, &calls, Arc::clone(&begun));
                    scope.spawn(move || {
                        drop(unit());
                        begun.wait();
                        while !stop.load(Ordering::Relaxed) {
                            if busy {
                                let _unit = unit();
                                assert_eq!(answer(1), answer(1));
                                calls.fetch_add(1, Ordering::Relaxed);
                            } else {
                                thread::park();
                            }
                        }
                    })
                });
                let threads: Vec<_> = threads.collect();
                begun.wait();
                let name = format!("{tasks}_{}", if busy { "busy" } else { "quiescent" });
                group.bench_function(name, |bencher| {
                    bencher.iter(|| {
                        let patched = Patched::on();
                        assert_eq!(answer(1), 2);
                        drop(patched);
                        assert_eq!(answer(1), 1);
                    });
                });
                stop.store(true, Ordering::Relaxed);
                threads.iter().for_each(|thread| thread.thread().unpark());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, calls, units, transitions);
criterion_main!(benches);
