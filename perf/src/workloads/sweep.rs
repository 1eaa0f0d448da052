//! W7: all entries of one id are freed, a quarter of all entries.

use std::time::Instant;

use crate::heap;
use crate::keys::ID;
use crate::store::Store;
use crate::workloads::{Job, Latency, Measured};

/// Frees all entries of one id by `clear`, in a pool of as many threads as the job has. Other workloads cannot use the map
/// afterwards.
pub(crate) fn free_all<S: Store>(store: &S, job: &Job<'_>, clear: impl Fn(&S, u64) -> usize + Sync) -> Measured {
    let expected = job.keys.present.iter().filter(|key| key.key().1 == ID).count();
    let before = heap::in_use();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(job.threads)
        .build()
        .expect("the system gives threads");
    // Wakes the pool's threads, which is not to be timed.
    pool.broadcast(|_| ());
    let (count, took) = pool.install(|| {
        let start = Instant::now();
        (clear(store, ID), start.elapsed())
    });
    assert_eq!(count, expected, "entries of one id");
    let settling = Instant::now();
    store.settle();
    let settled = settling.elapsed();
    for key in job.keys.present.iter().take(1000) {
        let want = if key.key().1 == ID { 0 } else { key.value() };
        assert_eq!(store.get(key.key()), want);
    }

    Measured {
        ops: count as u64,
        mops: count as f64 / took.as_secs_f64() / 1e6,
        latency: Some(Latency::one(took)),
        ..Measured::default()
    }
    .with("seconds_taken", took.as_secs_f64())
    .with("settle_s", settled.as_secs_f64())
    .with("bytes_given_back", before.saturating_sub(heap::in_use()) as f64)
}
