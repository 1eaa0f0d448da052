//! L4: the longest free or alloc in a run of life cycles as in W4, each one clocked, beside the longest pause of a thread that
//! only reads the clock meanwhile: no operation's worst case is below that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::clock::Clock;
use crate::driver::{Worker, histogram, longest_until, pin_to_core, record};
use crate::store::Store;
use crate::workloads::{Job, Latency, Measured, life};

pub(crate) fn longest<S: Store>(job: &Job<'_>) -> Measured {
    let store = S::new();
    let clock = Clock::get();
    let alive = (job.entries / job.threads).max(1);
    let cycles = (job.cycles / job.threads as u64).max(1);
    let start = Barrier::new(job.threads + 1);
    let stop = AtomicBool::new(false);
    let first = OnceLock::new();
    let run = |thread: usize| {
        pin_to_core(thread);
        let mut life = life::cycles(&store, alive, thread);
        let mut times = [histogram(), histogram()];
        start.wait();
        let begun = Instant::now();
        first.get_or_init(|| begun);
        for _ in 0..cycles {
            for (times, took) in times.iter_mut().zip(life.clocked_cycle(clock)) {
                record(times, took);
            }
        }
        let took = begun.elapsed();
        life.finish();
        (times, took)
    };
    let (threads, pause) = std::thread::scope(|scope| {
        let (run, start, stop, first) = (&run, &start, &stop, &first);
        let handles: Vec<_> = (0..job.threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        // On the next core, which is unused if there is one more core than threads.
        let watch = scope.spawn(move || {
            pin_to_core(job.threads);
            start.wait();
            longest_until(*first.get_or_init(Instant::now), stop)
        });
        let threads: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
        // Relaxed: only the flag itself is shared.
        stop.store(true, Ordering::Relaxed);
        let pause = watch.join().expect("it only reads the clock");
        let threads = threads.into_iter();
        let threads = threads.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (threads.collect::<Vec<_>>(), pause)
    });

    let took = threads.iter().map(|(_, took)| took.as_secs_f64()).fold(0.0, f64::max);
    let (mut allocs, mut frees) = (histogram(), histogram());
    for ([of_allocs, of_frees], _) in threads {
        allocs.add(of_allocs).expect("both have the same bounds");
        frees.add(of_frees).expect("both have the same bounds");
    }
    let longest = |times: &Histogram<u64>| times.max() as f64;
    let (longest_alloc, longest_free) = (longest(&allocs), longest(&frees));
    allocs.add(&frees).expect("both have the same bounds");
    let cycles = cycles * job.threads as u64;
    Measured {
        ops: cycles,
        mops: cycles as f64 / took / 1e6,
        latency: Latency::of(&allocs),
        ..Measured::default()
    }
    .with("cycles", cycles as f64)
    .with("longest_alloc_ns", longest_alloc)
    .with("longest_free_ns", longest_free)
    .with("longest_pause_ns", pause)
    .with("longest_over_pause", longest_alloc.max(longest_free) / pause.max(1.0))
}
