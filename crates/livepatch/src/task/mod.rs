//! Units, tasks and sides: how a whole set of functions changes at once for each unit of work.
//!
//! This page holds the argument; the code cites its numbers.
//!
//! # Words
//!
//! - **unit**: work that must not see two versions: a request, a message, one iteration of a loop. A call of a patchable
//!   function outside every unit is a unit of its own.
//! - **task**: a thread, or a future in [`in_unit`](crate::UnitExt::in_unit), which runs units one after another. Each
//!   has a [`Record`].
//! - **side**: 0 or 1. Every patch point has a function for each. The side of the [`World`] is the one on which units begin.
//! - **flip**: the world changes to the other side, because a transition starts or is reversed.
//!
//! ```text
//!    world.side = 0             flip              every unit of side 0 has left
//!   ───────────────────────┬─────────────────────────────┬───────────────────────────▶
//!    points: [old, new]    │   units that begin: new      │   points: [new, new]
//!    side 1 is not read    │   units inside:     old      │   at rest: both sides equal
//! ```
//!
//! | record's word | meaning |
//! |---|---|
//! | `n, outside` | the task is in no unit (quiescent), after its `n`th |
//! | `n, inside, s` | the task is in its `n`th unit, which runs on side `s` |
//! | `n, inside, s, forced` | as above, but the unit began on the other side |
//!
//! # Invariants
//!
//! - **T1** At rest (no transition) both functions of every point are equal.
//! - **T2** The functions of side `s` are only written while no unit is inside on `s` and the world's side is not `s`;
//!   and to make them
//!   equal as T1 requires, which changes nothing for a unit that reads them.
//! - **T3** A unit stays on its side from its beginning to its end, unless it is forced. So, by T2, it calls one version
//!   of everything.
//! - **T4** A transition is complete when no unit is inside on the side that was left. From then on no call runs a
//!   function that only that side had: its code may be unloaded.
//! - **T5** A unit that begins inside another task's unit (a future within a unit) takes that unit's side. This cannot
//!   repopulate a side that a scan has seen empty: both happen under one lock, and the outer unit is inside throughout.
//! - **T6** A forced unit may be in a call that has read its side but not yet its function. So it counts as inside on
//!   both sides, except for the transition that was forced: functions that are stored on the other side meanwhile stay
//!   until it has left.
//! - **T7** A record stores its side twice: in its word, for scans, and in `side`, for calls. A unit that begins tries
//!   the side of the task's previous unit and checks the world once. The thread that forces a unit changes the word
//!   first, then `side`, which may belong to a later unit by then. So forcing is done after the heavy barrier of a flip
//!   (O2) and before the next flip: a later unit that could still stay on the side that was left has seen that next flip,
//!   and checks `side` again after it; if `side` has changed, the unit begins anew. On that path it stores its side, then
//!   checks whether it was forced meanwhile. Both threads fence in between: either the unit sees that it was forced, or
//!   the forcing thread stores `side` later.
//!
//! # Orderings
//!
//! - **O1** A point's functions are stored before the flip (Release), which a unit acquires as it begins.
//! - **O2** A unit stores its word, then loads the world's side, with a light barrier in between; a flip stores the side,
//!   and the words are scanned after a heavy barrier. Either the unit sees the flip, and begins anew, or the scan sees it
//!   inside. `membarrier` makes the light barrier free: see [`asymmetric_barrier`]. Where the system starts to refuse
//!   `membarrier`, there is no heavy barrier until every task that has begun units has executed another barrier or ended:
//!   transitions wait for that, forced ones too, and [`TransitionStatus::unsettled`](crate::TransitionStatus::unsettled)
//!   says for how many.
//! - **O3** A unit leaves by a Release store, which the scan acquires: its effects happen before its side's functions are
//!   dropped. It begins by a Release store too: otherwise a scan that reads the next unit's word would not have acquired
//!   the end of this one.
//! - **O4** Another thread changes the side of a forced unit (Release); the unit's next call acquires it.
//! - **O5** Light barriers are fences where the world's word has FENCES beside the side. No record's side has it: so a
//!   unit that tries a side with a compiler fence alone learns from the same load that it has to begin anew, with a
//!   fence. FENCES is never cleared; and before a task begins a unit after [`asymmetric_barrier`] has counted it as
//!   settled, its thread has seen FENCES. So the task sees it in all later units: those of one task are ordered, whichever
//!   threads run it.
//!
//! # Progress
//!
//! Calls, and beginning and leaving units, are wait-free but for flips: a unit begins anew at most once, plus once for
//! each flip meanwhile. A thread's first unit, and the creation and end of a future's task, briefly take a lock to claim
//! or release a record. A transition waits for units; nothing else waits for a transition. Beginning inside another
//! task's unit takes the lock of the scan, and may wait for one scan.
//!
//! A call inside a unit increments the running task's depth and reads its side; its return decrements the depth. This is
//! inlined into the caller; beginning a unit is not. The depth is kept in a thread-local (`current`) while the thread
//! runs the task, and in the record otherwise. A scan marks the records that hold it up, so a unit that ends checks its
//! own record only.
//!
//! # Forks
//!
//! Only the forking thread exists in the child; of the other threads' tasks only the records' memory remains. In the
//! child, all records that belong neither to this thread nor to futures that it polled last are set to outside and
//! released for reuse: their units would never end. A future that another thread polled last may still be found and
//! polled in the child: it then begins a new unit, of the version in effect, and so may have seen two versions (T3 does
//! not hold for it). See [`fork`](crate::fork).
//!
//! # Counters
//!
//! Every counter that safe code can drive. None is checked in release builds, because none can reach its end.
//!
//! | counter | bits | is driven by | at its end |
//! |---|---|---|---|
//! | unit in a record's word | 61 | units of one task, one after another | wraps to 0 without touching a flag; 2^61 units of a nanosecond take 73 years, and the number matters only while a thread waits for the unit |
//! | `Record::depth` | 64 | guards of one thread, including forgotten ones | 2^64 of a nanosecond take 584 years |
//! | `Record::awaited` | 64 | frames of polls and of `quiescent`, which cannot be forgotten | the stack overflows first |
//! | `Record::generation` | 64 | forks, one after another | as above: a fork takes longer |
//! | numbers of threads, patches, observers, libraries | 64 | creating them | as above |
//! | sections of `fork` | 32, 64 | nested locks; threads | stack and memory run out first |
//! | records | memory | threads and futures at one time; forgotten futures keep theirs | the process runs out of memory |
//!
//! Other reference counts (patches, libraries) are those of `Arc`, which aborts on overflow.
//!
//! # Not promised
//!
//! - A unit that never ends holds up every transition. [`Status`](crate::Status) names it; the transition can be reversed
//!   or forced.
//! - Two consecutive units of one task may run different versions, even back and forth if a transition is reversed.
//! - A forgotten guard ([`std::mem::forget`]) is a unit that never ends: only force gets past it.
//! - Signal handlers must not call patchable functions or begin units: a signal may arrive between the update of a task's
//!   depth and that of its record.
//! - How long a task has been inside is measured from the first scan or status that found it there.

mod current;
pub(crate) mod defect;
mod future;
#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) mod left;
pub(crate) mod model;
pub(crate) mod record;
mod side;
pub(crate) mod unit;
pub(crate) mod waiter;
pub(crate) mod world;

pub use future::{InUnit, UnitExt};
pub use record::TaskKind;
pub use unit::{Outside, Unit, unit};

pub(crate) use record::Place;
pub(crate) use side::Side;
pub(crate) use unit::{WORLD, begin_slow, enter, enter_inside, fence, leave_call, try_begin};
pub(crate) use world::TaskSnapshot;
