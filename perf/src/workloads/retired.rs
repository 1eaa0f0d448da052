//! W15: when the memory of freed values is reclaimed: in a service that becomes idle, if the values are large, and beside a
//! stalled reader.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clock::{self, Clock};
use crate::driver::{histogram, pin_to_core, record};
use crate::heap;
use crate::keys::{ID, KeySet};
use crate::store::{Kept, Key, Packed, Store, Value};
use crate::workloads::{Job, Latency, Measured};

/// Locks the statics to which values report, so that one run at a time uses them.
fn lock_statics() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The addresses of the objects of these workloads, which nothing else uses.
const BASE: usize = 0x5555_0000_0000;
const STRIDE: usize = 64;

fn key(object: usize) -> Packed {
    Packed::new(BASE + object * STRIDE, ID)
}

fn object(key: Key) -> usize {
    (key.0 - BASE) / STRIDE
}

/// W15idle: `entries` values with destructors are freed; then there are only reads, for twice the time of a measurement; then the
/// same without reads. Measures when the values are dropped.
pub(crate) fn idle<S: Store>(job: &Job<'_>) -> Measured {
    let _running = lock_statics();
    let window = (job.times.warm + job.times.timed) * 2;
    let (reads, mut waits) = waits_after_free::<S::With<Stamped>>(job, window, true);
    let (_, waits_without) = waits_after_free::<S::With<Stamped>>(job, window, false);
    let mut measured = Measured {
        ops: reads,
        mops: reads as f64 / window.as_secs_f64() / 1e6,
        ..Measured::default()
    };
    for (what, waits) in [("reads", &waits), ("nothing", &waits_without)] {
        for (name, within) in [("at_once", 0), ("10ms", 10), ("100ms", 100)] {
            let within = Duration::from_millis(within)
                .max(Duration::from_micros(100))
                .min(window);
            let dropped = waits.iter().flatten().filter(|&&wait| wait <= within.as_nanos() as u64);
            measured = measured.with(&format!("dropped_{name}_of_{what}"), dropped.count() as f64);
        }
        let never = waits.iter().filter(|wait| wait.is_none()).count();
        measured = measured.with(&format!("never_dropped_in_{what}"), never as f64);
    }
    let mut times = histogram();
    for wait in waits.drain(..) {
        // A value not dropped has waited at least for the whole window.
        record(&mut times, wait.unwrap_or(window.as_nanos() as u64));
    }
    Measured {
        latency: Latency::of(&times),
        ..measured
    }
    .with("window_s", window.as_secs_f64())
}

/// Returns the number of reads, and for each value the time until it was dropped, or `None` if it was not.
fn waits_after_free<S: Store>(job: &Job<'_>, window: Duration, reads: bool) -> (u64, Vec<Option<u64>>) {
    let store = S::new();
    let freed = job.entries.min(STAMPS.len());
    // As many values are retained as are freed.
    for object in 0..freed * 2 {
        store.load(key(object).key());
    }
    store.settle();
    // Counted here, and checked after the last barrier: a thread that panicked earlier would leave the others waiting.
    let (done, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let barrier = Barrier::new(job.threads);
    let at = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..job.threads {
            let (store, done, failures, barrier, at) = (&store, &done, &failures, &barrier, &at);
            scope.spawn(move || {
                pin_to_core(thread);
                if thread == 0 {
                    STAMPS.iter().for_each(|stamp| stamp.store(0, Ordering::Relaxed));
                    let mut freed_at = Vec::with_capacity(freed);
                    for object in 0..freed {
                        freed_at.push(now());
                        let absent = !store.remove(key(object).key());
                        failures.fetch_add(u64::from(absent), Ordering::Relaxed);
                    }
                    *at.lock().expect("nothing panics") = freed_at;
                }
                barrier.wait();
                let until = Instant::now() + window;
                let mut count = 0;
                while reads && Instant::now() < until {
                    for object in freed..freed * 2 {
                        let wrong = store.get(key(object).key()) != key(object).value();
                        failures.fetch_add(u64::from(wrong), Ordering::Relaxed);
                    }
                    count += freed as u64;
                }
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                // Before any thread ends: a thread that ends may free what it holds.
                barrier.wait();
                if thread == 0 {
                    let freed_at = std::mem::take(&mut *at.lock().expect("nothing panics"));
                    let wait = |(stamp, freed): (&AtomicU64, u64)| match stamp.load(Ordering::Relaxed) {
                        0 => u64::MAX,
                        dropped => dropped.saturating_sub(freed),
                    };
                    *at.lock().expect("nothing panics") = STAMPS.iter().zip(freed_at).map(wait).collect();
                }
                barrier.wait();
                done.fetch_add(count, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(
        failures.into_inner(),
        0,
        "a free failed, or a look-up gave a wrong answer"
    );
    let waits = at.into_inner().expect("nothing panics").into_iter();
    let waits = waits.map(|wait| (wait != u64::MAX).then_some(wait)).collect();
    (done.into_inner(), waits)
}

/// The time at which each freed value was dropped, in nanoseconds since the first look; 0 if it was not.
static STAMPS: [AtomicU64; 1 << 14] = [const { AtomicU64::new(0) }; 1 << 14];

fn now() -> u64 {
    static FIRST: Mutex<Option<Instant>> = Mutex::new(None);
    let first = *FIRST
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_with(Instant::now);
    (first.elapsed().as_nanos() as u64).max(1)
}

/// A value that records the time when it is dropped. Of several clones, the last counts.
#[derive(Clone)]
struct Stamped {
    value: Value,
    object: usize,
}

impl Kept for Stamped {
    fn of(key: Key) -> Self {
        Self {
            value: Value::of(key),
            object: object(key),
        }
    }

    fn first(&self) -> u64 {
        self.value.first
    }
}

impl Drop for Stamped {
    fn drop(&mut self) {
        if let Some(stamp) = STAMPS.get(self.object) {
            stamp.store(now(), Ordering::Relaxed);
        }
    }
}

/// W15large: `entries` values of 1 MiB, one after the other: each is freed after the next has been created.
pub(crate) fn large<S: Store>(job: &Job<'_>) -> Measured {
    let _running = lock_statics();
    let store = S::With::<Large>::new();
    heap::trim();
    heap::reset_peak();
    let resident = heap::resident();
    ALIVE.store(0, Ordering::Relaxed);
    MOST.store(0, Ordering::Relaxed);
    let clock = Clock::get();
    let mut times = histogram();
    let begun = Instant::now();
    for object in 0..job.entries {
        let start = clock::start();
        assert!(store.insert(key(object).key()), "it is new");
        let gone = object == 0 || store.remove(key(object - 1).key());
        record(&mut times, clock.nanos(start, clock::end()));
        assert!(gone, "the one before was there");
    }
    let took = begun.elapsed().as_secs_f64();
    let peak = heap::peak_resident().saturating_sub(resident);
    let (most, waiting) = (MOST.load(Ordering::Relaxed), ALIVE.load(Ordering::Relaxed));
    store.settle();
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    Measured {
        ops: job.entries as u64,
        mops: job.entries as f64 / took / 1e6,
        latency: Latency::of(&times),
        ..Measured::default()
    }
    .with("peak_resident_mib", mib(peak as f64))
    .with("peak_values_mib", mib((most * LARGE) as f64))
    .with("alive_at_the_end", waiting as f64)
}

const LARGE: usize = 1 << 20;
static ALIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// A value that owns 1 MiB, of which the map does not know.
struct Large {
    value: Value,
    owned: Vec<u8>,
}

impl Large {
    fn new(value: Value) -> Self {
        let alive = ALIVE.fetch_add(1, Ordering::Relaxed) + 1;
        MOST.fetch_max(alive, Ordering::Relaxed);
        // Written to, so that every page is resident.
        let owned = vec![1; LARGE];
        Self { value, owned }
    }
}

impl Clone for Large {
    fn clone(&self) -> Self {
        Self::new(self.value.clone())
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Kept for Large {
    fn of(key: Key) -> Self {
        Self::new(Value::of(key))
    }

    fn first(&self) -> u64 {
        debug_assert_eq!(self.owned.len(), LARGE);
        self.value.first
    }
}

/// W15stall: values of 64 bytes are replaced at full speed for the time of a measurement, beside a reader that holds a value. The
/// series is the growth of allocated bytes over time. It ends early if they exceed a quarter of the available memory.
pub(crate) fn stalled<S: Store>(job: &Job<'_>) -> Measured {
    const LOOKS: u32 = 24;
    let store = S::With::<Wide>::new();
    for object in 0..job.entries {
        store.load(key(object).key());
    }
    store.settle();
    let most = (heap::available() / 4).max(1 << 28);
    let keys: Vec<Packed> = (0..job.entries).map(key).collect();
    let (stop, begin) = (AtomicBool::new(false), Barrier::new(job.threads + 2));
    let (over, held) = (Barrier::new(2), Barrier::new(job.threads + 1));
    let before = heap::in_use();
    let mut series = vec![(0.0, 0.0)];
    let mut capped = None;
    let (times, ops, took) = std::thread::scope(|scope| {
        let (store, keys, stop, begin, over, held) = (&store, &keys, &stop, &begin, &over, &held);
        scope.spawn(move || {
            let guard = store.guard();
            std::hint::black_box(store.get_in(&guard, keys[0].key()));
            begin.wait(); // the churn begins
            over.wait(); // the last look was taken
            drop(guard);
        });
        let handles: Vec<_> = (0..job.threads)
            .map(|thread| {
                scope.spawn(move || {
                    pin_to_core(thread);
                    begin.wait();
                    let done = churn(store, KeySet::share(keys, thread, job.threads), stop);
                    // The threads stay alive until the last look, so that what they hold back counts.
                    held.wait();
                    done
                })
            })
            .collect();
        begin.wait();
        let start = Instant::now();
        for look in 1..=LOOKS {
            let at = job.times.timed * look / LOOKS;
            std::thread::sleep(at.saturating_sub(start.elapsed()));
            let more = heap::in_use().saturating_sub(before);
            series.push((start.elapsed().as_secs_f64(), more as f64));
            if more > most {
                capped = Some(start.elapsed().as_secs_f64());
                break;
            }
        }
        // Relaxed: only the flag itself is shared.
        stop.store(true, Ordering::Relaxed);
        let took = start.elapsed();
        over.wait();
        held.wait();
        let (mut times, mut ops) = (histogram(), 0);
        for handle in handles {
            let (own, done, good) = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            times.add(own).expect("both have the same bounds");
            ops += done;
            assert!(good, "a free or an alloc of a thread's own key failed");
        }
        (times, ops, took)
    });
    // Some reclaimers free only during later operations.
    replace_all(&store, &keys);
    store.settle();
    let left = heap::in_use().saturating_sub(before);
    let held = series.last().map_or(0.0, |&(_, bytes)| bytes);
    let measured = Measured {
        ops,
        mops: ops as f64 / took.as_secs_f64() / 1e6,
        latency: Latency::of(&times),
        series,
        ..Measured::default()
    };
    measured
        .with("bytes_held", held)
        .with("bytes_held_per_op", held / (ops as f64).max(1.0))
        .with("bytes_left_after", left as f64)
        .with("ended_at_s", capped.unwrap_or(took.as_secs_f64()))
        .with("ended_early", f64::from(u8::from(capped.is_some())))
}

/// Replaces values until it is told to stop. Returns the times of some, their number, and whether all succeeded.
fn churn<S: Store>(store: &S, keys: &[Packed], stop: &AtomicBool) -> (Histogram<u64>, u64, bool) {
    const CLOCKED_EVERY: usize = 8;
    let clock = Clock::get();
    let (mut times, mut ops, mut good) = (histogram(), 0, true);
    loop {
        for some in keys.chunks(256) {
            for (at, key) in some.iter().enumerate() {
                let start = (at % CLOCKED_EVERY == 0).then(clock::start);
                good &= replace(store, *key);
                if let Some(start) = start {
                    record(&mut times, clock.nanos(start, clock::end()));
                }
            }
            ops += some.len() as u64;
            if stop.load(Ordering::Relaxed) {
                return (times, ops, good);
            }
        }
        if keys.is_empty() {
            return (times, ops, good);
        }
    }
}

/// Frees a value and creates it again. Returns whether it was there, and could be created.
fn replace<S: Store>(store: &S, key: Packed) -> bool {
    store.remove(key.key()) && store.insert(key.key())
}

fn replace_all<S: Store>(store: &S, keys: &[Packed]) {
    for &key in keys {
        assert!(replace(store, key), "a thread's own key");
        assert_eq!(store.get(key.key()), key.value());
    }
}

/// A value of 64 bytes.
#[derive(Clone)]
struct Wide {
    value: Value,
    _rest: [u64; 6],
}

impl Kept for Wide {
    fn of(key: Key) -> Self {
        Self {
            value: Value::of(key),
            _rest: [0; 6],
        }
    }

    fn first(&self) -> u64 {
        self.value.first
    }
}
