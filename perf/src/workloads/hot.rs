//! W12: one thread frees and recreates the hottest keys, while the others read by Zipf's law.
//!
//! The writer's operations are counted and clocked; the readers' rate is shown beside it.

use crate::driver::{Timed, Worker, drive_each};
use crate::keys::{ID, Stream};
use crate::store::{Packed, Store};
use crate::workloads::get::Sums;
use crate::workloads::{Job, Measured};

/// The number of hottest keys, which are freed and recreated in turn.
const HOTTEST: usize = 64;

/// Runs the workload. The first thread writes.
pub(crate) fn remade<S: Store>(store: &S, job: &Job<'_>) -> Measured {
    let make = |thread: usize| match thread.checked_sub(1) {
        None => Role::Writer(Writer {
            store,
            // Zipf's law ranks the keys in this order: the first are the hottest.
            keys: &job.keys.present[..HOTTEST.min(job.keys.present.len())],
            at: 0,
            failures: 0,
        }),
        Some(reader) => Role::Reader(Reader {
            store,
            stream: job.keys.zipf(reader),
            sums: Sums::default(),
        }),
    };
    let mut threads = drive_each(job.threads, job.times, make).into_iter();
    let writer = threads.next().expect("the first is the writer");
    let readers = Timed::sum(threads);
    Measured::of(&writer).with("readers_mops", readers.rate / 1e6)
}

enum Role<'a, S> {
    Writer(Writer<'a, S>),
    Reader(Reader<'a, S>),
}

struct Writer<'a, S> {
    store: &'a S,
    keys: &'a [Packed],
    at: usize,
    failures: u64,
}

struct Reader<'a, S> {
    store: &'a S,
    stream: Stream<'a>,
    sums: Sums,
}

impl<S: Store> Worker for Role<'_, S> {
    const OPS: u64 = 1;

    #[inline]
    fn step(&mut self) {
        match self {
            Self::Writer(writer) => writer.step(),
            Self::Reader(reader) => reader.step(),
        }
    }

    fn finish(self) {
        match self {
            Self::Writer(writer) => assert_eq!(writer.failures, 0, "a free or an alloc of the writer's own key failed"),
            Self::Reader(reader) => reader.sums.check(),
        }
    }
}

impl<S: Store> Writer<'_, S> {
    #[inline]
    fn step(&mut self) {
        let key = self.keys[self.at].with_id(ID);
        self.at += 1;
        if self.at == self.keys.len() {
            self.at = 0;
        }
        self.failures += u64::from(!self.store.remove(key)) + u64::from(!self.store.insert(key));
    }
}

impl<S: Store> Reader<'_, S> {
    /// A key that the writer has just freed may be absent; no key has a wrong value.
    #[inline]
    fn step(&mut self) {
        let key = loop {
            match self.stream.next() {
                Packed::NONE => {}
                key => break key,
            }
        };
        let read = self.store.get(key.with_id(ID));
        if read != 0 {
            self.sums.add(read, key);
        }
    }
}
