//! W6: from empty to full, and back.
//!
//! The map grows from empty twice: once without a clock, for the total time; once with every insert clocked, for the worst one.
//! Then all but one in 64 entries are freed, and the memory that the map still uses is compared with that of a map that never
//! held more. Without latencies, only the total is measured.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::clock::{self, Clock};
use crate::driver::{histogram, longest_until, pin_to_core, record};
use crate::heap;
use crate::keys::KeySet;
use crate::store::{Packed, Store};
use crate::workloads::{Job, Latency, Measured, VALUE_BYTES};

/// One entry in this number is retained.
const RETAINED_ONE_IN: usize = 64;

pub(crate) fn grow_and_shrink<S: Store>(job: &Job<'_>) -> Measured {
    let keys = &job.keys.present;
    let total = {
        // Otherwise the first large allocation would pay for consolidating the small pieces that other maps have left.
        heap::trim();
        let store = S::new();
        let start = Instant::now();
        on_each_thread(job, |part, _| {
            for key in part {
                assert!(store.insert(key.key()), "a key was there already");
            }
            histogram()
        });
        start.elapsed().as_secs_f64()
    };
    let measured = Measured {
        ops: keys.len() as u64,
        mops: keys.len() as f64 / total / 1e6,
        ..Measured::default()
    }
    .with("total_s", total);
    if job.times.clocked.is_zero() {
        return measured;
    }

    let small = small_bytes::<S>(keys);
    heap::trim();
    let (before, resident_before) = (heap::in_use(), heap::resident());
    let store = S::new();
    let clock = Clock::get();
    let stop = &AtomicBool::new(false);
    let (steps, pause) = std::thread::scope(|scope| {
        // The lower bound of the worst insert, on this machine at this time.
        let since = Instant::now();
        let watch = scope.spawn(move || {
            pin_to_core(job.threads);
            longest_until(since, stop)
        });
        let steps = catch_unwind(AssertUnwindSafe(|| {
            on_each_thread(job, |part, _| {
                let mut steps = histogram();
                for key in part {
                    let key = key.key();
                    let start = clock::start();
                    let absent = store.insert(key);
                    record(&mut steps, clock.nanos(start, clock::end()));
                    assert!(absent, "a key was there already");
                }
                steps
            })
        }));
        // Relaxed: only the flag itself is shared.
        stop.store(true, Ordering::Relaxed);
        let pause = watch.join().expect("it only reads the clock");
        (steps.unwrap_or_else(|panic| resume_unwind(panic)), pause)
    });
    // The histogram is dropped before memory is measured, because it is not the map's.
    let latency = Latency::of(&steps);
    drop(steps);
    let full = heap::in_use().saturating_sub(before) as f64;

    let start = Instant::now();
    on_each_thread(job, |part, first| {
        for (at, key) in part.iter().enumerate() {
            if (first + at) % RETAINED_ONE_IN != 0 {
                assert!(store.remove(key.key()), "a key was gone");
            }
        }
        histogram()
    });
    let freed = start.elapsed().as_secs_f64();
    store.settle();
    let taken = || (heap::in_use() - store.free_bytes()).saturating_sub(before) as f64;
    let shrunk = taken();
    let asked = store.shrink();
    store.settle();
    let shrunk_asked = taken();
    heap::trim();
    let resident = heap::resident().saturating_sub(resident_before) as f64;
    for key in keys.iter().step_by(RETAINED_ONE_IN) {
        assert_eq!(store.get(key.key()), key.value(), "what stays is there");
    }

    let mut measured = Measured {
        latency,
        bytes_per_entry: full / keys.len() as f64 - VALUE_BYTES,
        ..measured
    }
    .with("longest_pause_ns", pause)
    .with("free_s", freed)
    .with("shrunk_ratio", shrunk / small)
    .with("shrunk_resident_ratio", resident / small);
    if asked {
        measured = measured.with("shrunk_when_asked_ratio", shrunk_asked / small);
    }
    measured
}

/// Returns the memory of a map that never held more than the retained entries.
fn small_bytes<S: Store>(keys: &[Packed]) -> f64 {
    let before = heap::in_use();
    let store = S::new();
    for key in keys.iter().step_by(RETAINED_ONE_IN) {
        store.load(key.key());
    }
    store.settle();
    ((heap::in_use() - store.free_bytes()).saturating_sub(before) as f64).max(1.0)
}

/// Runs `work` on each thread, with its part of the keys and the index of the first of them.
fn on_each_thread(job: &Job<'_>, work: impl Fn(&[Packed], usize) -> Histogram<u64> + Sync) -> Histogram<u64> {
    let mut all = histogram();
    std::thread::scope(|scope| {
        let work = &work;
        let keys = &job.keys.present;
        let threads = job.threads;
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    pin_to_core(thread);
                    work(KeySet::share(keys, thread, threads), keys.len() * thread / threads)
                })
            })
            .collect();
        for handle in handles {
            let steps = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.add(steps).expect("both have the same bounds");
        }
    });
    all
}
