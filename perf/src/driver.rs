//! Runs a workload on pinned threads that start together: a warm-up, a timed pass, and a pass in which single steps are clocked.
//!
//! Throughput and latency come from separate passes over the same threads and data: a clock in the loop would keep neighbouring
//! operations from overlapping, and throughput depends on that overlap.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clock::{self, Clock};

/// The work of one thread, which is repeated.
pub(crate) trait Worker {
    /// The number of operations in one step.
    const OPS: u64;

    fn step(&mut self);

    /// Checks the answers, after all timing.
    fn finish(self);
}

/// The duration of each pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm: Duration,
    pub(crate) timed: Duration,
    pub(crate) clocked: Duration,
}

impl Times {
    /// Returns the durations for a timed pass of `seconds`: a fifth of it for the warm-up, a quarter for latencies.
    pub(crate) fn of(seconds: f64) -> Self {
        Self {
            warm: Duration::from_secs_f64(seconds / 5.0),
            timed: Duration::from_secs_f64(seconds),
            clocked: Duration::from_secs_f64(seconds / 4.0),
        }
    }

    /// Removes the clocked pass.
    pub(crate) fn unclocked(self) -> Self {
        Self {
            clocked: Duration::ZERO,
            ..self
        }
    }
}

/// The result of a run.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    /// The operations of all threads in the timed pass.
    pub(crate) ops: u64,
    /// Operations per second.
    pub(crate) rate: f64,
    /// Nanoseconds per step, from the clocked pass.
    pub(crate) steps: Histogram<u64>,
}

/// The operations between two checks of the time.
const CHUNK_OPS: u64 = 256;
/// One step in this number is clocked; the steps between leave caches and predictors as they are without a clock.
const CLOCKED_EVERY: u32 = 8;

impl Timed {
    fn of(ops: u64, took: Duration, steps: Histogram<u64>) -> Self {
        let rate = ops as f64 / took.as_secs_f64();
        Self { ops, rate, steps }
    }

    /// Adds up the results of all threads.
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

/// Runs `threads` workers, each made by `make` on its own thread.
pub(crate) fn drive<W: Worker>(threads: usize, times: Times, make: impl Fn(usize) -> W + Sync) -> Timed {
    Timed::sum(drive_each(threads, times, make))
}

/// Like [`drive`], with the result of each thread.
pub(crate) fn drive_each<W: Worker>(threads: usize, times: Times, make: impl Fn(usize) -> W + Sync) -> Vec<Timed> {
    let barrier = Barrier::new(threads);
    let clock = Clock::get();
    // All threads share one timed window. This is its start, in nanoseconds since `zero`, set by the first thread past the
    // barrier.
    let zero = Instant::now();
    let started = AtomicU64::new(0);
    let run = |thread: usize| {
        pin_to_core(thread);
        let barriers = PhaseBarriers {
            barrier: &barrier,
            left: Cell::new(3),
        };
        let mut worker = make(thread);
        run_until(&mut worker, Instant::now() + times.warm);
        barriers.wait();
        let now = (zero.elapsed().as_nanos() as u64).max(1);
        // Relaxed: only the number itself is shared.
        let start = match started.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(first) => first,
        };
        let start = zero + Duration::from_nanos(start);
        let steps = run_until(&mut worker, start + times.timed);
        let took = start.elapsed();
        barriers.wait();
        let mut histogram = histogram();
        if !times.clocked.is_zero() {
            let until = Instant::now() + times.clocked;
            run_clocked(&mut worker, until, clock, &mut histogram);
        }
        barriers.wait();
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
    // With more threads than cores, a thread sees the end of the window late, after the time slices of others: then the window's
    // length is used.
    let took = |took| if threads <= cores() { took } else { times.timed };
    results
        .into_iter()
        .map(|(ops, own, steps)| Timed::of(ops, took(own), steps))
        .collect()
}

/// The barriers that all threads must reach. A thread whose map gave a wrong answer reaches the rest in `drop`, so that the
/// others do not wait for ever.
struct PhaseBarriers<'b> {
    barrier: &'b Barrier,
    left: Cell<usize>,
}

impl PhaseBarriers<'_> {
    fn wait(&self) {
        self.left.set(self.left.get() - 1);
        self.barrier.wait();
    }
}

impl Drop for PhaseBarriers<'_> {
    fn drop(&mut self) {
        for _ in 0..self.left.get() {
            self.barrier.wait();
        }
    }
}

/// Repeats steps until that time, and returns their number.
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

/// Returns an empty histogram of nanoseconds, with three significant digits, up to an hour.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are legal")
}

/// Records one time. Times too short for the clock count as one nanosecond.
#[inline]
pub(crate) fn record(histogram: &mut Histogram<u64>, nanos: u64) {
    histogram.saturating_record(nanos.max(1));
}

/// Returns the number of cores that this thread may use. Must be called by a thread that is not pinned.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Pins this thread to one core; threads beyond the number of cores share them.
pub(crate) fn pin_to_core(thread: usize) {
    static CORES: OnceLock<Vec<core_affinity::CoreId>> = OnceLock::new();
    let cores = CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    if let Some(core) = cores.get(thread % cores.len().max(1)) {
        core_affinity::set_for_current(*core);
    }
}

/// Reads the clock until it is told to stop, and returns the longest time between two readings, in nanoseconds. The first
/// interval begins at `since`, so a thread that starts late has paused.
pub(crate) fn longest_until(since: Instant, stop: &AtomicBool) -> f64 {
    let (mut last, mut longest) = (since, Duration::ZERO);
    loop {
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
        // Relaxed: only the flag itself is shared.
        if stop.load(Ordering::Relaxed) {
            return longest.as_nanos() as f64;
        }
    }
}
