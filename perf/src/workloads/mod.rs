//! The workloads: what each one measures, what it needs, and how it runs on one contender.

use crate::heap;
use crate::keys::KeySet;
use crate::store::Store;
pub(crate) use job::{Job, Latency, Measured, VALUE_BYTES};
pub(crate) use kind::Workload;

mod churn;
mod drops;
mod get;
mod growth;
mod hot;
mod job;
mod kind;
mod life;
mod longest;
mod replay;
mod retired;
mod small;
mod sweep;

impl Workload {
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
}

/// A map that holds a key set, and its memory.
pub(crate) struct Held<S> {
    store: S,
    bytes_per_entry: f64,
}

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
