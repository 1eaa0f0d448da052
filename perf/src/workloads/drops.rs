//! W14: a map of values with destructors is dropped, or emptied by a sweep. Processor time of all threads counts, because a map
//! may leave the work to a thread of its own.

use std::time::{Duration, Instant};

use crate::heap;
use crate::keys::{ID, KeySet};
use crate::store::{Store, Value};
use crate::workloads::{Job, Latency, Measured};

/// A simple value with a destructor, which frees a small allocation.
type Dropping = Box<Value>;

/// W14: the map is dropped with everything in it.
pub(crate) fn drop_all<S: Store>(job: &Job<'_>) -> Measured {
    let before = heap::in_use();
    let store = filled::<S::With<Dropping>>(job.keys);
    let spent = Spent::since_now();
    drop(store);
    spent.of(job.keys.present.len(), before)
}

/// W14F: all variables of the only id are freed; then the map frees what is pending; then it is dropped, with what is still
/// pending.
pub(crate) fn free_all<S: Store>(job: &Job<'_>) -> Measured {
    let before = heap::in_use();
    let store = filled::<S::With<Dropping>>(job.keys);
    let entries = job.keys.present.len();
    let spent = Spent::since_now();
    assert_eq!(store.clear_id(ID), entries, "all are of one id");
    let cleared = Spent::read(&spent);
    store.settle();
    let settled = Spent::read(&spent);
    drop(store);
    spent
        .of(entries, before)
        .with("free_all_cpu_s", cleared.as_secs_f64())
        .with("settle_cpu_s", (settled - cleared).as_secs_f64())
}

fn filled<S: Store>(keys: &KeySet) -> S {
    let store = S::new();
    for key in &keys.present {
        store.load(key.key());
    }
    store.settle();
    store
}

struct Spent {
    processor: Duration,
    start: Instant,
}

impl Spent {
    fn since_now() -> Self {
        Self {
            processor: heap::processor_time(),
            start: Instant::now(),
        }
    }

    fn read(&self) -> Duration {
        heap::processor_time() - self.processor
    }

    fn of(&self, entries: usize, bytes_before: u64) -> Measured {
        let (processor, wall) = (self.read(), self.start.elapsed());
        let seconds = processor.as_secs_f64().max(1e-9);
        Measured {
            ops: entries as u64,
            mops: entries as f64 / seconds / 1e6,
            latency: Some(Latency::one(processor)),
            ..Measured::default()
        }
        .with("cpu_s", seconds)
        .with("wall_s", wall.as_secs_f64())
        .with("bytes_left", heap::in_use().saturating_sub(bytes_before) as f64)
    }
}
