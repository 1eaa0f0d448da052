//! The statistics of a store.

use std::time::Duration;

/// A snapshot of a store's counters.
///
/// `created` and `freed`, here and in all [`ids`](Self::ids), are exact for one instant during the call, except that
/// concurrent operations may or may not be counted; `live` is their difference. Each of the others is exact for an
/// instant of its own during the call (the two of packed memory for the same one); values computed from several of them
/// (`tombs`, `load`) are approximate.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stats {
    /// The number of live variables.
    pub live: u64,
    /// The number of variables created since the store was built.
    pub created: u64,
    /// The number of variables freed since the store was built.
    pub freed: u64,
    /// The number of constructors that returned an error or panicked.
    pub ctor_failed: u64,
    /// The number of values whose `Drop` panicked while the store dropped them.
    pub drop_panics: u64,
    /// The number of panics of functions that [weigh](crate::ShadowStore::weigh) values.
    pub weigh_panics: u64,
    /// The number of times the table was replaced by a larger one.
    pub growths: u64,
    /// The number of times the table was replaced by a smaller one.
    pub shrinks: u64,
    /// The number of times the table was replaced by one of the same size, to remove tombs.
    pub rebuilds: u64,
    /// The number of slots of the current table.
    pub capacity: usize,
    /// The number of slots of the current table that have been claimed by a key.
    pub claimed: usize,
    /// The approximate number of tombs: claimed slots whose key has no variable now.
    pub tombs: usize,
    /// `claimed / capacity`; the table is replaced when this exceeds 0.75.
    pub load: f64,
    /// The number of freed variables (and replaced tables) that are not yet dropped, as a reader may still use them.
    pub retired_objects: usize,
    /// The size in bytes of the retired objects, plus the memory that their values own, for ids that are
    /// [weighed](crate::ShadowStore::weigh). (For values that were freed together and are being dropped one by one, an
    /// average weight is used.)
    pub retired_bytes: usize,
    /// How long the oldest retired object has waited, approximately: exact for values with destructors, otherwise to
    /// within some tens of retirements.
    pub oldest_retired: Option<Duration>,
    /// The number of readers that delay all reclamation, in a process that was denied the barrier which the backend
    /// relies on: each until its thread pins again (or with `livepatch` begins a unit), or ends. See
    /// [`docs::processes`](crate::docs::processes).
    pub unsettled_readers: usize,
    /// The number of guards on stores of this backend that are older than the age at which guards are
    /// [reported](crate::report_old_guards). Of the guards that one thread holds at the same time, only the first counts.
    /// Always 0 with [`Epoch`](crate::Epoch) and `Seize`, which do not tell which threads hold guards.
    pub old_guards: usize,
    /// The age of the oldest of these guards, which is a lower bound: see
    /// [`report_old_guards`](crate::report_old_guards).
    pub oldest_guard: Option<Duration>,
    /// The approximate part of [`retired_bytes`](Self::retired_bytes) that cannot be dropped before the oldest of these
    /// guards is. With [`Eras`](crate::Eras), these are the values that existed at the last look-up under such a guard
    /// and were freed since. Only complete batches are included, so the most recently freed values are not.
    pub held_back_bytes: usize,
    /// The number of bytes held for small variables, which are packed into chunks.
    pub packed_bytes: usize,
    /// How many of these bytes are free, not including those that threads keep for their next creations.
    pub packed_free_bytes: usize,
    /// The counters of each id, in the order of first use.
    pub ids: Vec<IdStats>,
}

/// The counters of one id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IdStats {
    /// The id.
    pub id: u64,
    /// The type that the id is bound to, `raw` for untyped variables.
    pub type_name: String,
    /// The number of live variables.
    pub live: u64,
    /// The number of variables created since the store was built.
    pub created: u64,
    /// The number of variables freed since the store was built.
    pub freed: u64,
}
