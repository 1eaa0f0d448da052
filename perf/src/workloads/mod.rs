//! The workloads: what each one is, what it needs, and how it is run against one contender.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;

use crate::driver::{Timed, Times};
use crate::heap;
use crate::keys::{KeySet, Shape};
use crate::store::{About, Kind, Stall, Store};

mod churn;
mod get;
mod growth;
mod life;
mod replay;
mod sweep;

/// What is measured. The names are those of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Workload {
    W1,
    G64,
    B64,
    W2,
    W3,
    W4,
    W4N,
    W5,
    W6,
    W7,
    W7P,
    W9x1,
    W9x4,
    W9x64,
    W9wide,
    W9own,
    W10,
    W11,
}

/// Ids on the one parent of `W9wide`.
const WIDE: usize = 10_000;

impl Workload {
    pub(crate) const ALL: [Self; 18] = [
        Self::W1,
        Self::G64,
        Self::B64,
        Self::W2,
        Self::W3,
        Self::W4,
        Self::W4N,
        Self::W5,
        Self::W6,
        Self::W7,
        Self::W7P,
        Self::W9x1,
        Self::W9x4,
        Self::W9x64,
        Self::W9wide,
        Self::W9own,
        Self::W10,
        Self::W11,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::W1 => "W1",
            Self::G64 => "G64",
            Self::B64 => "B64",
            Self::W2 => "W2",
            Self::W3 => "W3",
            Self::W4 => "W4",
            Self::W4N => "W4N",
            Self::W5 => "W5",
            Self::W6 => "W6",
            Self::W7 => "W7",
            Self::W7P => "W7P",
            Self::W9x1 => "W9x1",
            Self::W9x4 => "W9x4",
            Self::W9x64 => "W9x64",
            Self::W9wide => "W9wide",
            Self::W9own => "W9own",
            Self::W10 => "W10",
            Self::W11 => "W11",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::W1 => "get hit, a guard per operation",
            Self::G64 => "get hit, one guard per 64",
            Self::B64 => "get hit in batches of 64",
            Self::W2 => "get miss",
            Self::W3 => "90 % get, 5 % alloc, 5 % free",
            Self::W4 => "life cycle: new object, attach, read 4 times, free; addresses reused as malloc does",
            Self::W4N => "life cycle: addresses never seen before",
            Self::W5 => "get-or-alloc, Zipf 0.99, 90 % existing",
            Self::W6 => "growth from empty, and shrinking back",
            Self::W7 => "free all of one id: a quarter",
            Self::W7P => "free all of one id by a rayon pool",
            Self::W9x1 => "get hit, 1 id per parent",
            Self::W9x4 => "get hit, 4 ids per parent",
            Self::W9x64 => "get hit, 64 ids per parent",
            Self::W9wide => "get hit on parents with 1 id, beside one with 10,000",
            Self::W9own => "get hit on the parent with 10,000 ids",
            Self::W10 => "churn as W3 beside a stalled reader",
            Self::W11 => "replayed trace of a program's objects: attach, read, read, free",
        }
    }

    /// Which keys it runs on.
    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::W7 | Self::W7P => Shape::Spread(4),
            Self::W9x4 => Shape::PerParent(4),
            Self::W9x64 => Shape::PerParent(64),
            Self::W9wide | Self::W9own => Shape::Wide(WIDE),
            _ => Shape::Plain,
        }
    }

    /// Whether its keys are its own, so that a key set is of no use to it.
    pub(crate) fn brings_keys(self) -> bool {
        matches!(self, Self::W4 | Self::W4N | Self::W11)
    }

    /// Whether it starts with a map that holds the key set.
    pub(crate) fn is_prebuilt(self) -> bool {
        !matches!(self, Self::W4 | Self::W4N | Self::W6 | Self::W11)
    }

    /// Whether it leaves the map as it was, so that others can use the same one.
    pub(crate) fn only_reads(self) -> bool {
        matches!(
            self,
            Self::W1
                | Self::G64
                | Self::B64
                | Self::W2
                | Self::W9x1
                | Self::W9x4
                | Self::W9x64
                | Self::W9wide
                | Self::W9own
        )
    }

    /// Whether it runs for as long as it takes, and not for a given time.
    pub(crate) fn is_one_shot(self) -> bool {
        matches!(self, Self::W6 | Self::W7 | Self::W7P)
    }

    /// The sizes to run it at, if the user names none.
    pub(crate) fn default_entries(self) -> Vec<usize> {
        const K1: usize = 1 << 10;
        const K64: usize = 1 << 16;
        const M1: usize = 1 << 20;
        const M8: usize = 1 << 23;
        match self {
            Self::W1 | Self::G64 | Self::B64 | Self::W2 => vec![K1, K64, M1, M8],
            Self::W3 => vec![K64, M1],
            Self::W4 | Self::W4N => vec![K1, K64],
            Self::W5 | Self::W10 => vec![K64],
            Self::W6 => vec![M8],
            Self::W7 | Self::W7P => vec![1 << 22],
            Self::W9x1 | Self::W9x4 | Self::W9x64 | Self::W9wide | Self::W9own => vec![K64, M1],
            Self::W11 => vec![replay::peak()],
        }
    }

    /// Whether this contender can run it with that many entries and threads.
    pub(crate) fn suits(self, about: &About, entries: usize, threads: usize) -> bool {
        let writes = !self.only_reads();
        entries <= about.max_entries
            && !(about.kind == Kind::Limit && writes && threads > 1)
            && (self != Self::W4N || about.stands_new_keys)
            && !(self == Self::W10 && about.stall == Stall::Blocks)
            && !(self == Self::W7P && about.kind != Kind::Ours)
            && !(self == Self::W7 && threads > 1)
    }

    /// What a latency is the time of.
    pub(crate) fn step(self) -> &'static str {
        match self {
            Self::G64 => "64 gets and their guard",
            Self::B64 => "batch of 64",
            Self::W4 | Self::W4N => "life cycle",
            Self::W7 | Self::W7P => "whole sweep",
            _ => "operation",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One measurement to be made.
#[derive(Clone, Copy)]
pub(crate) struct Job<'k> {
    pub(crate) workload: Workload,
    pub(crate) entries: usize,
    pub(crate) threads: usize,
    pub(crate) times: Times,
    pub(crate) keys: &'k KeySet,
}

/// What one measurement gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) ops: u64,
    pub(crate) mops: f64,
    pub(crate) latency: Option<Latency>,
    /// Beside the value itself; nothing if the workload holds no fixed number of entries.
    pub(crate) bytes_per_entry: f64,
    /// What only this workload has to say, by name.
    pub(crate) extra: BTreeMap<String, f64>,
}

/// Times of single steps, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) p9999: u64,
    pub(crate) max: u64,
}

impl Latency {
    pub(crate) fn of(steps: &Histogram<u64>) -> Option<Self> {
        (!steps.is_empty()).then(|| Self {
            p50: steps.value_at_quantile(0.5),
            p99: steps.value_at_quantile(0.99),
            p999: steps.value_at_quantile(0.999),
            p9999: steps.value_at_quantile(0.9999),
            max: steps.max(),
        })
    }
}

impl Measured {
    fn of(timed: &Timed) -> Self {
        Self {
            ops: timed.ops,
            mops: timed.rate / 1e6,
            latency: Latency::of(&timed.steps),
            ..Self::default()
        }
    }

    fn with(mut self, name: &str, value: f64) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }
}

/// A map that holds a key set, and what it takes.
pub(crate) struct Held<S> {
    store: S,
    bytes_per_entry: f64,
}

/// Bytes of a value itself.
pub(crate) const VALUE_BYTES: f64 = 16.0;

impl<S: Store> Held<S> {
    /// Grows a map from empty. Not timed.
    pub(crate) fn build(keys: &KeySet) -> Self {
        let before = heap::in_use();
        let store = S::new();
        for key in keys.present.iter().chain(&keys.wide) {
            store.load(key.key());
        }
        let bytes = heap::in_use().saturating_sub(before) as f64;
        let entries = keys.present.len() + keys.wide.len();
        Self {
            store,
            bytes_per_entry: bytes / entries as f64 - VALUE_BYTES,
        }
    }

    /// Runs a workload that needs a map with the key set.
    pub(crate) fn run(&self, job: &Job<'_>) -> Measured {
        let store = &self.store;
        let mut measured = match job.workload {
            Workload::W1 => get::hit(store, job),
            Workload::W9x1 | Workload::W9x4 | Workload::W9x64 | Workload::W9wide => get::hit_ids(store, job),
            Workload::W9own => get::hit_wide(store, job),
            Workload::G64 => get::hit_guard_reused(store, job),
            Workload::B64 => get::hit_batched(store, job),
            Workload::W2 => get::miss(store, job),
            Workload::W3 => churn::mixed(store, job),
            Workload::W5 => churn::get_or_alloc(store, job),
            Workload::W10 => churn::stalled(store, job),
            Workload::W7 => sweep::free_all(store, job, S::clear_id),
            Workload::W7P => sweep::free_all(store, job, |store, id| {
                store.clear_id_parallel(id).expect("`suits` asks for it")
            }),
            Workload::W4 | Workload::W4N | Workload::W6 | Workload::W11 => {
                unreachable!("{} begins with an empty map", job.workload)
            }
        };
        measured.bytes_per_entry = self.bytes_per_entry;
        measured
    }
}

/// Runs a workload that begins with an empty map.
pub(crate) fn run_from_empty<S: Store>(job: &Job<'_>) -> Measured {
    match job.workload {
        Workload::W4 => life::reused::<S>(job),
        Workload::W4N => life::never_seen::<S>(job),
        Workload::W6 => growth::grow_and_shrink::<S>(job),
        Workload::W11 => replay::replay::<S>(job),
        other => unreachable!("{other} begins with a full map"),
    }
}
