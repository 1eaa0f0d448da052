//! What a store tells about itself.

use std::time::Duration;

/// A look at a store's counters.
///
/// `created` and `freed`, here and of all [`ids`](Self::ids), are of one instant during the call, but that operations which run
/// meanwhile may be counted or not; `live` is what is between them. Each of the others is of some instant during the call,
/// the bytes of packed memory of one; what is made of several of them (`tombs`, `load`) is near the truth.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stats {
    /// Variables that live now.
    pub live: u64,
    /// Variables created since the store was made.
    pub created: u64,
    /// Variables freed since the store was made.
    pub freed: u64,
    /// Constructors that returned an error or panicked.
    pub ctor_failed: u64,
    /// Values whose `Drop` panicked while the store dropped them.
    pub drop_panics: u64,
    /// Functions that were to [weigh](crate::ShadowStore::weigh) a value and panicked.
    pub weigh_panics: u64,
    /// Successor tables that were larger,
    pub growths: u64,
    /// smaller,
    pub shrinks: u64,
    /// or as large as the table before, made to get rid of tombs.
    pub rebuilds: u64,
    /// Slots of the current table.
    pub capacity: usize,
    /// Slots of the current table that have been claimed by a key.
    pub claimed: usize,
    /// Claimed slots whose key has no variable now (about).
    pub tombs: usize,
    /// `claimed / capacity`: the table is replaced when this passes 0.75.
    pub load: f64,
    /// Freed variables (and replaced tables) that are not yet dropped: a reader may still hold them.
    pub retired_objects: usize,
    /// Bytes of those; and what their values own beside, of ids that are [weighed](crate::ShadowStore::weigh) (of those that
    /// were freed together and are dropped by and by, on average).
    pub retired_bytes: usize,
    /// For how long the oldest of those has waited, about: of values with destructors exactly, of others to within some tens of
    /// retirements.
    pub oldest_retired: Option<Duration>,
    /// Readers that keep everything retired waiting, in a process that was denied the barrier which the backend stands on: each
    /// until its thread pins once more (or with `livepatch` begins a unit), or ends. See
    /// [`docs::processes`](crate::docs::processes).
    pub unsettled_readers: usize,
    /// Guards on stores of this backend that are older than the age at which guards are
    /// [reported](crate::report_old_guards); of those that one thread has at once, the first alone. Always 0 with
    /// [`Epoch`](crate::Epoch) and `Seize`, which do not tell who holds guards.
    pub old_guards: usize,
    /// The age of the oldest of them; at least, see there.
    pub oldest_guard: Option<Duration>,
    /// Of [`retired_bytes`](Self::retired_bytes), what cannot be dropped before the oldest of them goes; about. With
    /// [`Eras`](crate::Eras) that is what existed when something was last looked up under such a guard, and was freed since: of the
    /// batches that are complete, so what was freed last is not in it.
    pub held_back_bytes: usize,
    /// Bytes held for small variables, which are packed,
    pub packed_bytes: usize,
    /// and how many of those are free (but for what threads keep for what they create next).
    pub packed_free_bytes: usize,
    /// Per id, in order of first use.
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
    /// Variables that live now.
    pub live: u64,
    /// Variables created since the store was made.
    pub created: u64,
    /// Variables freed since the store was made.
    pub freed: u64,
}
