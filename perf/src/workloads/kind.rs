//! The workloads by name, and what each one needs.

use std::fmt;

use crate::keys::Shape;
use crate::store::{About, Form, Kind, Stall};

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
