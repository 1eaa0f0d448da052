//! A figure of one limit, and how it is timed.

use std::time::{Duration, Instant};

/// The nanoseconds of one limit in one repetition.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) entries: usize,
    pub(crate) rep: usize,
    pub(crate) ns: f64,
}

/// Returns the nanoseconds per operation. `work` runs some operations and returns their number; it is warmed up first.
pub(crate) fn timed(time: Duration, mut work: impl FnMut() -> u64) -> f64 {
    let mut run = |time: Duration| {
        let start = Instant::now();
        let mut ops = 0;
        while start.elapsed() < time {
            ops += work();
        }
        start.elapsed().as_nanos() as f64 / ops as f64
    };
    run(time / 5);
    run(time)
}
