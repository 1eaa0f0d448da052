//! Reclamation: when may memory that nobody can find any more be given back?
//!
//! The store keeps its own retire lists ([`retired`]); a backend only answers one question: *has every guard that
//! existed at this moment gone?* That keeps a backend small, lets a store drop all that it retired without waiting for
//! anyone and leave nothing behind (but a few words a period with `Epoch` and `Seize`, until they are driven), keeps user code (`Drop`) out of readers, and lets the statistics be exact.
//!
//! What a backend promises:
//!
//! - **G1** A period that [`Backend::begin_period`] began [is over](Backend::is_over) only when every guard that was made
//!   before has gone; then it stays so. Periods have numbers, and one that began before another is over before it.
//! - **G2** A guard that is made after the period began sees everything that happened before it: what was unlinked before
//!   cannot be found by a guard that the period does not wait for.
//! - **G3** What a thread did under its guard, and what came before the period began, happens before `is_over` says yes.
//! - **G4** Words that lead to protected memory are loaded by [`Backend::load`]: with [`Backend::LOAD`] at least, and with
//!   intervals again, until what is loaded is no younger than the guard has announced. A word of an object that may be
//!   retired itself says nothing of what it leads to (B4).
//!
//! **Stores share a backend's collector** (one per process and backend). A collector per store would need a look-up of
//! the thread's participant by store on every pin, a table that grows with stores × threads, and would keep garbage
//! alive until the last such thread ends. The price: a guard on one store also holds up the reclamation of others.
//! `benches` measures what a pin costs either way. A guard of one store is harmless to another by construction: a guard
//! never stands alone in the API, it is part of a [`Pinned`](crate::Pinned), which knows its store.

mod age;
mod asymmetric;
#[cfg(not(shadow_loom))]
pub(crate) mod background;
pub(crate) mod barrier;
pub(crate) mod chain;
#[cfg(any(test, shadow_loom))]
pub(crate) mod checked;
mod epoch;
mod eras;
#[cfg(any(test, shadow_loom))]
mod exact;
mod figures;
pub(crate) mod held;
mod list;
pub(crate) mod object;
mod old;
pub(crate) mod owned;
pub(crate) mod pace;
mod participants;
pub(crate) mod retired;
mod scan;
#[cfg(feature = "seize")]
mod seize;
#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(miri), not(shadow_loom)))]
mod steps;
pub(crate) mod stores;
mod tend;
mod weights;

use std::time::Duration;

pub use asymmetric::Asymmetric;
pub use epoch::Epoch;
pub use eras::Eras;
#[cfg(feature = "seize")]
pub use seize::Seize;

#[cfg(any(test, shadow_loom))]
use exact::ExactPeriod;
use participants::Site;
use private::Hold;
use sealed::Backend;

/// How a store knows when nobody can be reading a freed variable any more.
///
/// [`Asymmetric`] (epochs whose readers only store) is the default; [`Eras`] (the same, with a bound to what a stalled reader
/// holds back), [`Epoch`] (crossbeam-epoch) and `Seize` (feature `seize`, Hyaline) are the alternatives. The trait is sealed: what is promised is the behaviour, not the interface.
pub trait Reclaim: Backend {}

impl<R: Backend> Reclaim for R {}

/// A backend by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// [`Asymmetric`].
    Asymmetric,
    /// [`Epoch`].
    Epoch,
    /// [`Eras`].
    Eras,
    /// `Seize`.
    #[cfg(feature = "seize")]
    Seize,
    /// One that is exact, or counts by the batch, for tests and models.
    #[cfg(any(test, shadow_loom))]
    Checked {
        /// Which of the two.
        exact: bool,
    },
}

/// Why grace periods do not end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// The system refuses its barrier, and not all readers are known to have fenced since.
    NoBarrier,
    /// Guards of before a fork may be nobody's.
    Forked,
}

/// Guards that are [too old](age): how many, and of the oldest the period with which it was made, and its age.
#[derive(Clone, Copy, Default, Debug)]
pub struct Old {
    /// How many.
    pub count: usize,
    /// Periods that began later than this wait for the oldest.
    pub oldest: Option<(u64, Duration)>,
}

/// In the child of a fork: lets go of other threads' places among the readers.
#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(crate) fn let_go_of_others() {
    participants::let_go_of_others::<Asymmetric>();
    participants::let_go_of_others::<Eras>();
}

/// See [`report_old_guards`](crate::report_old_guards).
pub(crate) fn report_after(age: Option<Duration>) {
    age::set(age);
    Asymmetric::ages().beat_at_once();
    Eras::ages().beat_at_once();
}

/// Sees from time to time who holds a guard of any backend that tells, also while nothing is retired.
#[cfg(not(shadow_loom))]
fn beat() {
    old::beat::<Asymmetric>();
    old::beat::<Eras>();
}

pub(crate) mod sealed {
    #[cfg(any(test, shadow_loom))]
    use super::ExactPeriod;
    use super::held::Laggards;
    use super::{Named, Old, Stuck};
    use crate::sync::Ordering;

    /// The contract G1 to G4 of [`super`].
    pub trait Backend: Sized + 'static {
        /// Protects what its thread reads; stays on its thread.
        type Guard;
        /// Protects what its holder reads; may move between threads and be shared.
        type OwnedGuard: Send + Sync;

        /// What loads under a guard have to know of it.
        type Place: Copy + Send + Sync;

        /// Which backend this is.
        const NAMED: Named;

        /// The ordering with which protected words are loaded (G4).
        const LOAD: Ordering;

        /// Whether each retired object gets a grace period of its own (to find bugs), not a batch.
        const EXACT: bool = false;

        /// Whether a thread's own shard takes in what it retires by plain stores: only worth it with asymmetric barriers, which
        /// whoever pins has made ready then.
        const PUSHES_PLAINLY: bool = false;

        /// Whether beginning a period may take memory for granted: then no operation does that but those that free.
        const PERIODS_TAKE_MEMORY: bool = false;

        /// Whether objects carry the eras of their birth and their end, by which what a reader cannot have found is reclaimed
        /// before its guard goes (B1 to B6 of `eras`).
        const INTERVALS: bool = false;

        /// A guard of this thread. Wait-free but for a thread's first; nests cheaply.
        fn pin() -> Self::Guard;

        /// A guard that belongs to no thread.
        #[track_caller]
        fn pin_owned() -> Self::OwnedGuard;

        /// Of a guard.
        fn place(guard: &Self::Guard) -> Self::Place;

        /// Of an owned guard.
        fn place_owned(guard: &Self::OwnedGuard) -> Self::Place;

        /// Loads a word that leads to protected memory (G4), under the guard of this place: `load` does it, by the ordering that
        /// it is given, again if it has to be.
        #[inline(always)]
        fn load<W>(_place: Self::Place, load: impl Fn(Ordering) -> W) -> W {
            load(Self::LOAD)
        }

        /// For loads in the usual case, by who begins anew in any other: before the first of them. They are done with
        /// [`LOAD`](Self::LOAD), and each asks whether it [counts](Self::counts) before what it leads to is touched.
        #[inline(always)]
        fn announced(_place: Self::Place) -> u64 {
            0
        }

        /// Whether what was loaded just now counts, since that was announced.
        #[inline(always)]
        fn counts(_announced: u64) -> bool {
            true
        }

        /// With intervals: the era of an object that is made under the guard of this place, and may be found from now on (B2).
        fn birth(_place: Self::Place) -> u64 {
            0
        }

        /// With intervals: who may still find what this period is for. Nothing if that cannot be said yet (B3).
        fn laggards(_period: u64) -> Option<Laggards> {
            None
        }

        /// Lets go of what a guard protects, and protects what there is now. Does nothing while the thread has other guards.
        fn repin(guard: &mut Self::Guard);

        /// As `repin`.
        fn repin_owned(guard: &mut Self::OwnedGuard);

        /// Whether this thread holds a [`Guard`](Self::Guard).
        fn is_pinned() -> bool;

        /// Begins a grace period, for every guard that exists now. Below 2^62.
        fn begin_period() -> u64;

        /// Whether every guard that existed when the period began has gone. Wait-free.
        fn is_over(period: u64) -> bool;

        /// Why no period may end for now, however long one waits, if that is so.
        fn stuck() -> Option<Stuck> {
            None
        }

        /// Readers that keep all periods from ending, as they have not fenced since the barrier was refused.
        fn unsettled() -> usize {
            0
        }

        /// Guards that are held for too long, if the backend can tell.
        fn old_guards() -> Old {
            Old::default()
        }

        /// With an exact backend: calls `period.elapsed()` at the moment when the last guard goes that exists now.
        #[cfg(any(test, shadow_loom))]
        fn after_exact_period(_period: ExactPeriod) {
            unreachable!("not an exact backend")
        }

        /// Pushes grace periods on, as far as that goes without waiting.
        fn drive();
    }
}

/// What keeps a reader's references good: a guard of this thread, or one that may travel.
pub trait GuardKind<R: Reclaim>: private::Hold<R> {}

impl<R: Reclaim, G: private::Hold<R>> GuardKind<R> for G {}

mod private {
    use super::Reclaim;

    pub trait Hold<R: Reclaim>: Sized {
        fn place(&self) -> R::Place;
        fn renew(&mut self);
    }
}

/// The guard inside a [`Pinned`](crate::Pinned) of one thread.
pub struct LocalGuard<R: Reclaim>(R::Guard);

/// The guard inside an [`OwnedPinned`](crate::OwnedPinned).
pub struct OwnedGuard<R: Reclaim>(R::OwnedGuard);

impl<R: Reclaim> LocalGuard<R> {
    #[inline]
    pub(crate) fn hold() -> Self {
        Self(R::pin())
    }
}

impl<R: Reclaim> OwnedGuard<R> {
    #[track_caller]
    pub(crate) fn hold() -> Self {
        Self(R::pin_owned())
    }
}

impl<R: Reclaim> Hold<R> for LocalGuard<R> {
    #[inline(always)]
    fn place(&self) -> R::Place {
        R::place(&self.0)
    }

    fn renew(&mut self) {
        R::repin(&mut self.0);
    }
}

impl<R: Reclaim> Hold<R> for OwnedGuard<R> {
    #[inline(always)]
    fn place(&self) -> R::Place {
        R::place_owned(&self.0)
    }

    fn renew(&mut self) {
        R::repin_owned(&mut self.0);
    }
}

/// For tests that ask what was reclaimed while nobody else holds a guard of theirs, or that keep guards for long: guards are the
/// process's, so these must not run beside each other.
#[cfg(all(test, not(shadow_loom)))]
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
