//! The workloads: what each one measures, what it needs, and how it runs on one contender.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::driver::{Timed, Times};
use crate::heap;
use crate::keys::{KeySet, Shape};
use crate::store::{About, Form, Kind, Stall, Store};

mod churn;
mod drops;
mod get;
mod growth;
mod hot;
mod life;
mod longest;
mod replay;
mod retired;
mod small;
mod sweep;

/// A workload. The names are those in the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Workload {
    W1,
    G64,
    B64,
    W2,
    W3,
    W4,
    W4N,
    L4,
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
    W12,
    W13,
    W14,
    W14F,
    W15idle,
    W15large,
    W15stall,
}

/// The number of ids on the one parent of `W9wide`.
const WIDE: usize = 10_000;

impl Workload {
    pub(crate) const ALL: [Self; 26] = [
        Self::W1,
        Self::G64,
        Self::B64,
        Self::W2,
        Self::W3,
        Self::W4,
        Self::W4N,
        Self::L4,
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
        Self::W12,
        Self::W13,
        Self::W14,
        Self::W14F,
        Self::W15idle,
        Self::W15large,
        Self::W15stall,
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
            Self::L4 => "L4",
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
            Self::W12 => "W12",
            Self::W13 => "W13",
            Self::W14 => "W14",
            Self::W14F => "W14F",
            Self::W15idle => "W15idle",
            Self::W15large => "W15large",
            Self::W15stall => "W15stall",
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
            Self::L4 => "the longest free or alloc of a run of life cycles, beside a thread that only reads the clock",
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
            Self::W12 => "free the hottest keys and make them again, while others read by Zipf's law",
            Self::W13 => "many small stores: make, fill with 16 entries, drop",
            Self::W14 => "drop a map of values with destructors, by processor time",
            Self::W14F => "free all of a map of values with destructors, by processor time",
            Self::W15idle => "values are freed, then there are only reads, or nothing at all: when are they dropped",
            Self::W15large => "values of 1 MiB, one alive at a time",
            Self::W15stall => "values are replaced beside a stalled reader: bytes that wait for it",
        }
    }

    /// Returns the shape of the keys it runs on.
    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::W7 | Self::W7P => Shape::Spread(4),
            Self::W9x4 => Shape::PerParent(4),
            Self::W9x64 => Shape::PerParent(64),
            Self::W9wide | Self::W9own => Shape::Wide(WIDE),
            _ => Shape::Plain,
        }
    }

    /// Returns whether it makes its own keys, and so needs no key set.
    pub(crate) fn brings_keys(self) -> bool {
        matches!(
            self,
            Self::W4 | Self::W4N | Self::L4 | Self::W11 | Self::W13 | Self::W15idle | Self::W15large | Self::W15stall
        )
    }

    /// Returns whether it starts with a map that holds the key set.
    pub(crate) fn is_prebuilt(self) -> bool {
        !(self.brings_keys() || matches!(self, Self::W6 | Self::W14 | Self::W14F))
    }

    /// Returns whether each map is measured in its own process, so that all begin with the same memory: where memory, or a cost
    /// that depends on it, is measured.
    pub(crate) fn runs_in_own_process(self) -> bool {
        matches!(
            self,
            Self::W6 | Self::W13 | Self::W14 | Self::W14F | Self::W15idle | Self::W15large | Self::W15stall
        )
    }

    /// Returns whether it does not change the map, so that other workloads can use the same one.
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

    /// Returns whether it runs until it is done, not for a given time.
    pub(crate) fn is_one_shot(self) -> bool {
        matches!(
            self,
            Self::L4 | Self::W6 | Self::W7 | Self::W7P | Self::W13 | Self::W14 | Self::W14F | Self::W15large
        )
    }

    /// Returns the default sizes.
    pub(crate) fn default_entries(self) -> Vec<usize> {
        const K1: usize = 1 << 10;
        const K64: usize = 1 << 16;
        const M1: usize = 1 << 20;
        const M8: usize = 1 << 23;
        match self {
            Self::W1 | Self::G64 | Self::B64 | Self::W2 => vec![K1, K64, M1, M8],
            Self::W3 => vec![K64, M1],
            Self::W4 | Self::W4N => vec![K1, K64],
            Self::L4 | Self::W5 | Self::W10 | Self::W12 | Self::W15stall => vec![K64],
            Self::W6 => vec![M8],
            Self::W7 | Self::W7P | Self::W14 | Self::W14F => vec![1 << 22],
            Self::W9x1 | Self::W9x4 | Self::W9x64 | Self::W9wide | Self::W9own => vec![K64, M1],
            Self::W11 => vec![replay::peak()],
            // The number of stores, or of values.
            Self::W13 => vec![10_000],
            Self::W15idle => vec![2000],
            Self::W15large => vec![3000],
        }
    }

    /// Returns the default numbers of entries and threads, if they belong together.
    pub(crate) fn default_points(self) -> Option<Vec<(usize, usize)>> {
        match self {
            Self::W12 => Some(vec![(1 << 16, 3)]),
            Self::W13 => Some(vec![(10_000, 1), (12_000, 12)]),
            _ => None,
        }
    }

    /// Returns whether this contender can run it with these numbers of entries and threads.
    pub(crate) fn suits(self, about: &About, entries: usize, threads: usize) -> bool {
        let writes = !self.only_reads();
        entries <= about.max_entries
            && !(about.kind == Kind::Limit && writes && threads > 1)
            && (self != Self::W4N || about.stands_new_keys)
            && !(self == Self::W10 && about.stall == Stall::Blocks)
            && !(self == Self::W7P && about.kind != Kind::Ours)
            && !(self == Self::W7 && threads > 1)
            && !(self == Self::W12 && threads < 2)
            && !(matches!(self, Self::W14 | Self::W14F | Self::W15large) && threads > 1)
            && (!self.has_own_values() || about.any_value && about.form != Form::Boxed)
            && !(self == Self::W15stall && about.stall == Stall::Blocks)
            && (!about.is_by_id() || self.is_of_one_id())
    }

    /// Returns whether it needs other values than the harness's own: then a map stores them as in a program, not in boxes.
    fn has_own_values(self) -> bool {
        matches!(
            self,
            Self::W14 | Self::W14F | Self::W15idle | Self::W15large | Self::W15stall
        )
    }

    /// Returns whether it measures single operations with an id that the program knows: those are measured by id, too.
    fn is_of_one_id(self) -> bool {
        matches!(
            self,
            Self::W1 | Self::G64 | Self::B64 | Self::W2 | Self::W3 | Self::W4 | Self::W4N | Self::W5
        )
    }

    /// Returns the name of the operation whose latency is measured.
    pub(crate) fn step(self) -> &'static str {
        match self {
            Self::G64 => "64 gets and their guard",
            Self::B64 => "batch of 64",
            Self::W4 | Self::W4N => "life cycle",
            Self::L4 => "alloc or free",
            Self::W7 | Self::W7P => "whole sweep",
            Self::W12 => "free and alloc of one key",
            Self::W13 => "making of a store",
            Self::W14 | Self::W14F => "whole map",
            Self::W15idle => "value from its free to its destructor",
            Self::W15large | Self::W15stall => "replacement",
            _ => "operation",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A measurement to make.
#[derive(Clone, Copy)]
pub(crate) struct Job<'k> {
    pub(crate) workload: Workload,
    pub(crate) entries: usize,
    pub(crate) threads: usize,
    pub(crate) times: Times,
    /// The life cycles of a run that counts them.
    pub(crate) cycles: u64,
    pub(crate) keys: &'k KeySet,
}

/// The result of a measurement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) ops: u64,
    pub(crate) mops: f64,
    pub(crate) latency: Option<Latency>,
    /// Without the value itself; 0 if the workload has no fixed number of entries.
    pub(crate) bytes_per_entry: f64,
    /// Figures that only this workload has, by name.
    pub(crate) extra: BTreeMap<String, f64>,
    /// A figure over time: seconds, and the figure.
    pub(crate) series: Vec<(f64, f64)>,
}

/// Times of single steps, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
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

    /// Returns the latency of a single step.
    fn one(took: std::time::Duration) -> Self {
        let nanos = (took.as_nanos() as u64).max(1);
        Self {
            p50: nanos,
            p99: nanos,
            p999: nanos,
            p9999: nanos,
            max: nanos,
        }
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

/// A map that holds a key set, and its memory.
pub(crate) struct Held<S> {
    store: S,
    bytes_per_entry: f64,
}

/// The bytes of a value itself.
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
            Workload::W12 => hot::remade(store, job),
            other => unreachable!("{other} begins with an empty map"),
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
        Workload::L4 => longest::longest::<S>(job),
        Workload::W13 => small::small_stores::<S>(job),
        Workload::W14 => drops::drop_all::<S>(job),
        Workload::W14F => drops::free_all::<S>(job),
        Workload::W15idle => retired::idle::<S>(job),
        Workload::W15large => retired::large::<S>(job),
        Workload::W15stall => retired::stalled::<S>(job),
        other => unreachable!("{other} begins with a full map"),
    }
}
