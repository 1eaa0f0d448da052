//! W13: many stores with few entries, as in a library with one for each of its objects, or a test suite with one for each case.
//!
//! All are made, then all are filled, then all are dropped; each thread has its own. The cost of a single store is measured as
//! well.

use std::hint::black_box;
use std::panic::resume_unwind;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::clock::{self, Clock};
use crate::driver::{histogram, pin_to_core, record};
use crate::heap;
use crate::keys::ID;
use crate::spread::Spread;
use crate::store::{Packed, Store};
use crate::workloads::{Job, Latency, Measured};

/// The entries of each store.
const FILLED: usize = 16;
/// How often a single store is made and dropped; and the number of such stores whose memory is measured together, because the
/// memory of one alone would come from the allocator's cache of small pieces.
const SINGLE_STORES: usize = 256;

/// Runs the workload. `entries` is the number of all stores.
pub(crate) fn small_stores<S: Store>(job: &Job<'_>) -> Measured {
    let keys: Vec<Packed> = (0..FILLED)
        .map(|object| Packed::new(0x5555_0000_0000 + object * 48, ID))
        .collect();
    let each = (job.entries / job.threads).max(1);
    let stores = each * job.threads;
    let clock = Clock::get();
    let barrier = Barrier::new(job.threads + 1);
    let all = Mutex::new(histogram());
    // All threads wait at the end of each phase, and again after the main thread has measured memory.
    let end_phase = || {
        barrier.wait();
        barrier.wait();
    };
    // Each phase is timed by the threads that run it: a thread that only waits may see its end late.
    let run = |thread: usize| {
        pin_to_core(thread);
        let mut made = Vec::with_capacity(each);
        let mut times = histogram();
        end_phase();
        let make = Span::of(|| {
            for _ in 0..each {
                let start = clock::start();
                let store = S::new();
                record(&mut times, clock.nanos(start, clock::end()));
                made.push(store);
            }
        });
        end_phase();
        let mut failures = 0;
        let fill = Span::of(|| {
            for store in &made {
                for key in &keys {
                    failures += usize::from(!store.insert(key.with_id(ID)));
                }
            }
        });
        end_phase();
        let wrong = made
            .iter()
            .filter(|store| store.get(keys[0].with_id(ID)) != keys[0].value());
        failures += wrong.count();
        end_phase();
        let drop = Span::of(|| made.clear());
        end_phase();
        all.lock()
            .expect("nothing panics")
            .add(&times)
            .expect("both have the same bounds");
        assert_eq!(failures, 0, "an alloc in a new store failed, or was not found");
        [make, fill, drop]
    };
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..job.threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        for _ in 0..5 {
            barrier.wait();
            bytes.push(heap::in_use());
            barrier.wait();
        }
        let handles = handles.into_iter();
        spans.extend(handles.map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic))));
    });
    let [before, empty, full, _, left] = bytes[..] else {
        unreachable!("there are five phases")
    };
    let [make, fill, drop] = [0, 1, 2].map(|phase| Span::around(spans.iter().map(|spans| spans[phase])));
    let per_store = |took: Duration| took.as_nanos() as f64 / stores as f64;
    let bytes = |now: u64| now.saturating_sub(before) as f64 / stores as f64;
    let times = all.into_inner().expect("nothing panics");
    let mut measured = Measured {
        ops: stores as u64,
        mops: stores as f64 / (make + fill + drop).as_secs_f64() / 1e6,
        latency: Latency::of(&times),
        ..Measured::default()
    }
    .with("make_ns", per_store(make))
    .with("fill_ns", per_store(fill))
    .with("drop_ns", per_store(drop))
    .with("bytes_each_empty", bytes(empty))
    .with("bytes_each_filled", bytes(full))
    .with("bytes_each_left", bytes(left));
    let costs = [
        ("empty", SingleStore::of(S::bare)),
        ("of_one", SingleStore::of(|| one::<S>(keys[0]))),
    ];
    for (name, single) in costs {
        measured = measured
            .with(&format!("{name}_make_ns"), single.make_ns)
            .with(&format!("{name}_drop_ns"), single.drop_ns)
            .with(&format!("{name}_bytes"), single.bytes);
    }
    measured
}

/// The start and the end of a phase.
#[derive(Clone, Copy)]
struct Span {
    start: Instant,
    end: Instant,
}

impl Span {
    fn of(work: impl FnOnce()) -> Self {
        let start = Instant::now();
        work();
        Self {
            start,
            end: Instant::now(),
        }
    }

    /// Returns the time from the first start to the last end.
    fn around(spans: impl Iterator<Item = Self> + Clone) -> Duration {
        let start = spans.clone().map(|span| span.start).min();
        let end = spans.map(|span| span.end).max();
        start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start)
    }
}

/// Makes a store with one variable.
fn one<S: Store>(key: Packed) -> S {
    let store = S::new();
    assert!(store.insert(key.with_id(ID)), "a new store is empty");
    store
}

/// The cost of a single store: medians of the times while there is no other, and the mean of the bytes.
struct SingleStore {
    make_ns: f64,
    drop_ns: f64,
    bytes: f64,
}

impl SingleStore {
    fn of<T>(make: impl Fn() -> T) -> Self {
        let clock = Clock::get();
        let (mut makes, mut drops) = (Vec::new(), Vec::new());
        for _ in 0..SINGLE_STORES {
            let start = clock::start();
            let made = black_box(make());
            makes.push(clock.nanos(start, clock::end()) as f64);
            let start = clock::start();
            drop(made);
            drops.push(clock.nanos(start, clock::end()) as f64);
        }
        let mut all = Vec::with_capacity(SINGLE_STORES);
        let before = heap::in_use();
        all.extend((0..SINGLE_STORES).map(|_| make()));
        let bytes = heap::in_use().saturating_sub(before) as f64 / SINGLE_STORES as f64;
        let median = |figures: Vec<f64>| Spread::of(figures).map_or(0.0, |spread| spread.median);
        Self {
            make_ns: median(makes),
            drop_ns: median(drops),
            bytes,
        }
    }
}
