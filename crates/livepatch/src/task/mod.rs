//! Units, tasks and sides: how a whole set of functions changes at once for each unit of work.
//!
//! This page is the argument; the code cites its numbers.
//!
//! # Words
//!
//! - **unit**: what must not see two versions: a request, a message, one turn of a loop. A call of a patchable function
//!   outside every unit is one of its own.
//! - **task**: who runs units, one after the other: a thread, or a future in [`in_unit`](crate::UnitExt::in_unit). Each
//!   has a [`Record`].
//! - **side**: 0 or 1. Every patch point has a function for each. The [`World`] has a side, that of units which begin.
//! - **flip**: the world goes to the other side: a transition starts, or is reversed.
//!
//! ```text
//!    world.side = 0             flip              every unit of side 0 has left
//!   ───────────────────────┬─────────────────────────────┬───────────────────────────▶
//!    points: [old, new]    │   units that begin: new      │   points: [new, new]
//!    nobody reads the 1    │   units inside:     old      │   at rest: both sides equal
//! ```
//!
//! | record's word | meaning |
//! |---|---|
//! | `n, outside` | the task is in no unit (quiescent); it has been in `n` |
//! | `n, inside, s` | the task is in its `n`th unit, which runs on side `s` |
//! | `n, inside, s, forced` | the same, but it began on the other side |
//!
//! # Invariants
//!
//! - **T1** At rest (no transition) both functions of every point are equal.
//! - **T2** The functions of side `s` are only written while no unit is inside on `s` and the world's side is not `s`; and
//!   by what T1 makes of them, which changes nothing for whoever reads.
//! - **T3** A unit stays on its side from its beginning to its end, unless it is forced. So, by T2, it calls one version of
//!   everything.
//! - **T4** A transition is complete when no unit is inside on the side that was left. No call then runs a function that
//!   only that side had: its code may go.
//! - **T5** Who begins inside another's unit (a future within a unit) takes that unit's side. That cannot bring a side back
//!   that was seen empty: both are done under one lock, and the other unit is inside all the while.
//! - **T6** A unit that was forced may be in a call that has taken its side and not yet its function. So it counts as inside
//!   on both sides, but for the transition that was forced: what is put on the other side meanwhile stays until it left.
//! - **T7** A record has its side twice: in its word, for scans, and in `side`, for calls. A unit that begins tries the side
//!   of the one before, by one look at the world. Who forces a unit changes the word first, then the side, which may be that
//!   of a later unit by then. So it is done after the heavy barrier of a flip (O2) and before the next flip: a later unit that
//!   may still stay on the side that was left has seen that next flip, and looks at its side again after that; if it has
//!   changed, the unit begins anew. There it stores its side, and looks whether it was forced meanwhile: it sees that, or who
//!   forces it stores the side later, by a fence of each in between.
//!
//! # Orderings
//!
//! - **O1** A point's functions are stored before the flip (Release), which a unit acquires as it begins.
//! - **O2** A unit stores its word, then looks at the world's side, with a light barrier between; who flips looks at
//!   the words after a heavy barrier. Either the unit sees the flip, and begins anew; or it is seen inside.
//!   `membarrier` makes the light one free: see [`asymmetric_barrier`]. Where the system comes to refuse it, there is no heavy
//!   one until every task that has begun units has come to another barrier, or ended: transitions wait for that, forced ones
//!   too, and [`TransitionStatus::unsettled`](crate::TransitionStatus::unsettled) says for how many.
//! - **O3** A unit leaves by a Release store, which the scan acquires: what it did is over when its side's functions go. It
//!   begins by a Release store too: else a scan that meets the next unit's word would not have acquired the end of this.
//! - **O4** A forced unit's side changes by another's hand (Release); its next call acquires it.
//! - **O5** Light barriers are fences where the world's word has FENCES beside the side. No record's side has it: so a unit
//!   that tries one by a compiler fence alone sees in the same look that it has to begin anew, by a fence. It is never taken
//!   away; and a thread has seen it before one of its tasks begins a unit after that which [`asymmetric_barrier`] counts as
//!   settled. So it sees it at all later ones: those of a task are in order, whatever threads run it.
//!
//! # Progress
//!
//! Calls, and units that begin and leave, are wait-free but for flips: a unit begins anew at most once, and once more for each
//! flip meanwhile. A thread's first, and the beginning and end of a future's, take a lock for moments, to take a record or give it back. A
//! transition waits for units; nothing else waits for a transition. Beginning
//! inside another's unit takes the lock of the scan, and may wait for one scan.
//!
//! A call inside a unit counts the running task one deeper, and reads its side; the other way it counts back. It is inlined where the function is called, and what begins a unit is not. The count is kept with the thread
//! (`current`) while it runs the task, and in the record else. A scan notes in the records of those that hold it up that
//! somebody waits: so a unit that ends looks at its own record only.
//!
//! # Forks
//!
//! The child has the thread that forked, and of the others' records only the memory. All that are not this thread's, nor
//! those of futures that it polled last, are outside in the child, and free: they would never leave. A future that another
//! thread polled last may still be found and polled there: then it begins a unit anew, of the version that is in effect, and
//! may so have seen two (T3 does not hold for it). [`fork`](crate::fork) says how.
//!
//! # Counters
//!
//! All that safe code can drive, with what becomes of them. None is checked in release builds: none comes to its end.
//!
//! | counter | bits | is driven by | at its end |
//! |---|---|---|---|
//! | unit in a record's word | 61 | units of one task, one after the other | begins anew at 0, and no flag changes; 2^61 units of a nanosecond take 73 years, and it means something only to who waits meanwhile |
//! | `Record::depth` | 64 | guards, forgotten ones too, of one thread | 2^64 of a nanosecond take 584 years |
//! | `Record::awaited` | 64 | frames of polls and of `quiescent`, which nobody can forget | the stack is too small |
//! | `Record::era` | 64 | forks, one after the other | as above: a fork takes longer |
//! | numbers of threads, patches, observers, libraries | 64 | making them | as above |
//! | sections of `fork` | 32, 64 | nested locks; threads | the stack, and memory, are too small |
//! | records | memory | threads and futures at one time; forgotten futures keep theirs | the process has no memory |
//!
//! What others count by references (patches, libraries) are `Arc`s, which abort.
//!
//! # Not promised
//!
//! - A unit that never ends holds every transition up. [`Status`](crate::Status) names it; one can reverse or force.
//! - Two units of one task chain, one after the other, may be of different versions, even back and forth if a transition
//!   is reversed.
//! - A guard that is forgotten ([`std::mem::forget`]) is a unit that never ends: only force gets past it.
//! - Signal handlers may not call patchable functions, nor begin units: one may come between a task's count and its record.
//! - How long a task has been inside is counted from the first scan or status that met it there.

mod current;
mod defect;
mod future;
pub(crate) mod leaving;
mod record;
#[cfg(shadow_loom)]
mod refusal;
mod unit;
mod world;

pub use future::{InUnit, UnitExt};
pub use record::TaskKind;
pub use unit::{Outside, Unit, unit};

pub(crate) use record::Place;
#[cfg(any(test, all(feature = "library", target_os = "linux")))]
pub(crate) use record::Record;
#[cfg(all(feature = "library", target_os = "linux"))]
pub(crate) use unit::is_inside;
pub(crate) use unit::{begin, begin_seldom, enter, enter_inside, fence, leave_call};
pub(crate) use world::{Seen, Side};

/// In a fork's child: see the page.
#[cfg(not(shadow_loom))]
static FORK: crate::fork::Hook = crate::fork::Hook {
    prepare: || {},
    parent: || {},
    child: || {
        WORLD.after_fork();
        leaving::after_fork();
    },
};

pub(crate) use unit::WORLD;
#[cfg(all(test, not(shadow_loom)))]
pub(crate) use unit::known;
#[cfg(all(test, shadow_loom))]
pub(crate) use {defect::Defect, refusal::Refusal, world::World};
