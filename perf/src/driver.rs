//! Runs a workload: pinned threads that start together, a time to warm up, a time that counts, and a time in which
//! single steps are clocked.
//!
//! Throughput and latency come from separate passes over the same threads and data: a clock in the loop would keep
//! neighbouring operations from overlapping, which is what throughput is made of.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clock::{self, Clock};

/// What one thread does, over and over.
pub(crate) trait Worker {
    /// Operations that one step counts for.
    const OPS: u64;

    fn step(&mut self);

    /// Checks the answers, when all timing is over.
    fn finish(self);
}

/// How long each part takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm: Duration,
    pub(crate) timed: Duration,
    pub(crate) clocked: Duration,
}

impl Times {
    /// A fifth more to warm up, and a quarter more for latencies.
    pub(crate) fn of(seconds: f64) -> Self {
        Self {
            warm: Duration::from_secs_f64(seconds / 5.0),
            timed: Duration::from_secs_f64(seconds),
            clocked: Duration::from_secs_f64(seconds / 4.0),
        }
    }

    /// Throughput only.
    pub(crate) fn unclocked(self) -> Self {
        Self {
            clocked: Duration::ZERO,
            ..self
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    /// Operations in the time that counts, by all threads.
    pub(crate) ops: u64,
    /// Operations per second.
    pub(crate) rate: f64,
    /// Nanoseconds a step, from the clocked pass.
    pub(crate) steps: Histogram<u64>,
}

/// Steps between two looks at the time.
const CHUNK_OPS: u64 = 256;
/// Of so many steps, one is clocked: the others keep caches and predictors as they are without a clock.
const CLOCKED_EVERY: u32 = 8;

impl Timed {
    fn of(ops: u64, took: Duration, steps: Histogram<u64>) -> Self {
        let rate = ops as f64 / took.as_secs_f64();
        Self { ops, rate, steps }
    }

    /// Of all threads together.
    pub(crate) fn sum(threads: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self {
            ops: 0,
            rate: 0.0,
            steps: histogram(),
        };
        for thread in threads {
            all.ops += thread.ops;
            all.rate += thread.rate;
            all.steps.add(thread.steps).expect("both have the same bounds");
        }
        all
    }
}

/// Runs `threads` workers. `make` makes each on its own thread.
pub(crate) fn drive<W: Worker>(threads: usize, times: Times, make: impl Fn(usize) -> W + Sync) -> Timed {
    Timed::sum(drive_each(threads, times, make))
}

/// The same, of each thread apart.
pub(crate) fn drive_each<W: Worker>(threads: usize, times: Times, make: impl Fn(usize) -> W + Sync) -> Vec<Timed> {
    let barrier = Barrier::new(threads);
    let clock = Clock::get();
    // One window for all: nanoseconds since now at which the first thread came through the barrier.
    let zero = Instant::now();
    let started = AtomicU64::new(0);
    let run = |thread: usize| {
        pin_to_core(thread);
        let meetings = Meetings {
            barrier: &barrier,
            left: Cell::new(3),
        };
        let mut worker = make(thread);
        run_until(&mut worker, Instant::now() + times.warm);
        meetings.meet();
        let now = (zero.elapsed().as_nanos() as u64).max(1);
        // Relaxed: a number, and nothing else, is passed on.
        let start = match started.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(first) => first,
        };
        let start = zero + Duration::from_nanos(start);
        let steps = run_until(&mut worker, start + times.timed);
        let took = start.elapsed();
        meetings.meet();
        let mut histogram = histogram();
        if !times.clocked.is_zero() {
            let until = Instant::now() + times.clocked;
            run_clocked(&mut worker, until, clock, &mut histogram);
        }
        meetings.meet();
        worker.finish();
        (steps * W::OPS, took, histogram)
    };
    let results: Vec<(u64, Duration, Histogram<u64>)> = std::thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    // A thread that has no core of its own sees the end late, after the others' time slices: the window counts.
    let took = |took| if threads <= cores() { took } else { times.timed };
    results
        .into_iter()
        .map(|(ops, own, steps)| Timed::of(ops, took(own), steps))
        .collect()
}

/// What all threads come to, even those whose map gave a wrong answer on the way: or the others would wait for ever.
struct Meetings<'b> {
    barrier: &'b Barrier,
    left: Cell<usize>,
}

impl Meetings<'_> {
    fn meet(&self) {
        self.left.set(self.left.get() - 1);
        self.barrier.wait();
    }
}

impl Drop for Meetings<'_> {
    fn drop(&mut self) {
        for _ in 0..self.left.get() {
            self.barrier.wait();
        }
    }
}

/// Steps until then; how many.
#[inline]
fn run_until<W: Worker>(worker: &mut W, until: Instant) -> u64 {
    let chunk = (CHUNK_OPS / W::OPS).max(1);
    let mut steps = 0;
    loop {
        for _ in 0..chunk {
            worker.step();
        }
        steps += chunk;
        if Instant::now() >= until {
            return steps;
        }
    }
}

#[inline]
fn run_clocked<W: Worker>(worker: &mut W, until: Instant, clock: Clock, histogram: &mut Histogram<u64>) {
    loop {
        for _ in 0..16 {
            for _ in 1..CLOCKED_EVERY {
                worker.step();
            }
            let start = clock::start();
            worker.step();
            record(histogram, clock.nanos(start, clock::end()));
        }
        if Instant::now() >= until {
            return;
        }
    }
}

/// An empty histogram of nanoseconds, to three digits, up to an hour.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are legal")
}

/// Counts one time. What the clock cannot tell from nothing counts as a nanosecond.
#[inline]
pub(crate) fn record(histogram: &mut Histogram<u64>, nanos: u64) {
    histogram.saturating_record(nanos.max(1));
}

/// How many cores this thread may use; to be asked by a thread that is not pinned.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Keeps this thread on one core; threads beyond the cores share them in turn.
pub(crate) fn pin_to_core(thread: usize) {
    static CORES: OnceLock<Vec<core_affinity::CoreId>> = OnceLock::new();
    let cores = CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    if let Some(core) = cores.get(thread % cores.len().max(1)) {
        core_affinity::set_for_current(*core);
    }
}
