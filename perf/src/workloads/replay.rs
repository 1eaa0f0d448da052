//! W11: the objects of a real program, replayed: attach and read when one is allocated, read and free when it is freed.
//!
//! The addresses are the recorded ones, and are reused as recorded. Only the map allocates.

use std::sync::OnceLock;

use crate::driver::{Worker, drive};
use crate::keys::ID;
use crate::store::{Packed, Store};
use crate::trace::{self, Event};
use crate::workloads::get::Sums;
use crate::workloads::{Job, Measured};

static RECORDED: &[u8] = include_bytes!("../../trace/parse.trace");

/// One event: the object, and whether it is allocated.
type Step = (usize, bool);

struct Trace {
    steps: Vec<Step>,
    peak: usize,
}

fn trace() -> &'static Trace {
    static TRACE: OnceLock<Trace> = OnceLock::new();
    TRACE.get_or_init(|| {
        let events = trace::decode(RECORDED).expect("the trace is whole");
        let step = |event: &Event| (event.address() as usize, matches!(event, Event::Allocated { .. }));
        Trace {
            steps: events.iter().map(step).collect(),
            peak: trace::peak(&events),
        }
    })
}

/// Returns the most objects of the trace that are alive at once.
pub(crate) fn peak() -> usize {
    trace().peak
}

/// Replays the whole trace on each thread, at addresses of its own.
pub(crate) fn replay<S: Store>(job: &Job<'_>) -> Measured {
    let store = S::new();
    let make = |thread: usize| Replay {
        store: &store,
        steps: &trace().steps,
        offset: thread << 38,
        at: 0,
        sums: Sums::default(),
        failures: 0,
    };
    Measured::of(&drive(job.threads, job.times, make)).with("events", trace().steps.len() as f64)
}

struct Replay<'a, S> {
    store: &'a S,
    steps: &'a [Step],
    offset: usize,
    at: usize,
    sums: Sums,
    failures: u64,
}

impl<S: Store> Worker for Replay<'_, S> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        let (object, comes) = self.steps[self.at];
        self.at += 1;
        if self.at == self.steps.len() {
            self.at = 0;
        }
        let key = Packed::new(object + self.offset, ID);
        if comes {
            self.failures += u64::from(!self.store.insert(key.key()));
            self.sums.add(self.store.get(key.key()), key);
        } else {
            self.sums.add(self.store.get(key.key()), key);
            self.failures += u64::from(!self.store.remove(key.key()));
        }
    }

    fn finish(self) {
        self.sums.check();
        assert_eq!(self.failures, 0, "an attach or a free of a thread's own object failed");
    }
}
