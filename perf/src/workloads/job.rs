//! A measurement to make, and its result.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::driver::{Timed, Times};
use crate::keys::KeySet;
use crate::workloads::kind::Workload;

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
    pub(crate) fn one(took: std::time::Duration) -> Self {
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
    pub(crate) fn of(timed: &Timed) -> Self {
        Self {
            ops: timed.ops,
            mops: timed.rate / 1e6,
            latency: Latency::of(&timed.steps),
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }
}

/// The bytes of a value itself.
pub(crate) const VALUE_BYTES: f64 = 16.0;
