//! Memory reclamation: decides when an unlinked object may be freed.
//!
//! The store keeps its own retire lists ([`retired`]). A backend answers a single question: *have all guards that
//! existed when this grace period began been dropped?* This keeps a backend small. It lets a store drop everything that
//! it retired without waiting for any thread and without leaving anything behind (except a few words per period with
//! `Epoch` and `Seize`, until they are driven). It keeps user code (`Drop`) out of readers, and it makes the statistics
//! exact.
//!
//! A backend guarantees:
//!
//! - **G1** A period begun by [`Backend::begin_period`] [is over](Backend::is_over) only when every guard made before
//!   it has been dropped; from then on it stays over. Periods are numbered, and a period that began before another is
//!   over before it.
//! - **G2** A guard made after the period began sees everything that happened before the period: an object unlinked
//!   before cannot be found under a guard that the period does not wait for.
//! - **G3** Everything a thread did under its guard, and everything before the period began, happens before `is_over`
//!   returns true.
//! - **G4** Words that lead to protected memory are loaded by [`Backend::load`], with at least [`Backend::LOAD`]; with
//!   intervals, the load is repeated until the loaded object is no younger than the guard has announced. A word in an
//!   object that may itself be retired says nothing about the object it leads to (B4).
//!
//! **Stores share one collector per backend and process.** A collector per store would need a look-up of the thread's
//! participant by store on every pin and a table that grows with stores × threads, and would keep garbage alive until
//! the last such thread ends. The price is that a guard on one store also delays reclamation in others; `benches`
//! measures the cost of a pin either way. A guard of one store cannot be used with another: in the API a guard is
//! always part of a [`Pinned`](crate::Pinned), which knows its store.

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
mod old_guards;
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
mod upkeep;
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

/// The policy by which a store decides that no thread can still be reading a freed variable.
///
/// [`Asymmetric`] (epochs whose readers only store) is the default. The alternatives are [`Eras`] (like `Asymmetric`,
/// with a bound on what a stalled reader holds back), [`Epoch`] (crossbeam-epoch) and `Seize` (feature `seize`,
/// Hyaline). The trait is sealed: the behaviour is guaranteed, not the interface.
pub trait Reclaim: Backend {}

impl<R: Backend> Reclaim for R {}

/// The backends, as values.
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
    /// The backend for tests and models.
    #[cfg(any(test, shadow_loom))]
    Checked {
        /// Whether each object has its own grace period (else one per batch).
        exact: bool,
    },
}

/// The reason why no grace period can end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// The system refuses the barrier, and not all readers are known to have fenced since.
    NoBarrier,
    /// Guards made before a fork may belong to threads that do not exist in this process.
    Forked,
}

/// Guards that are [too old](age): their number, and the period and age of the oldest.
#[derive(Clone, Copy, Default, Debug)]
pub struct Old {
    /// The number of such guards.
    pub count: usize,
    /// The epoch in which the oldest was made, and its age. Periods that began later wait for it.
    pub oldest: Option<(u64, Duration)>,
}

/// Releases the participants of other threads, in the child of a fork.
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

/// Checks the age of guards from time to time, also while nothing is retired, for the backends that can tell.
#[cfg(not(shadow_loom))]
fn beat() {
    old_guards::beat::<Asymmetric>();
    old_guards::beat::<Eras>();
}

pub(crate) mod sealed {
    #[cfg(any(test, shadow_loom))]
    use super::ExactPeriod;
    use super::held::Laggards;
    use super::{Named, Old, Stuck};
    use crate::sync::Ordering;

    /// The contract G1 to G4 of [`super`].
    pub trait Backend: Sized + 'static {
        /// Protects what its thread reads; not `Send`.
        type Guard;
        /// Protects what its holder reads; can be sent and shared between threads.
        type OwnedGuard: Send + Sync;

        /// What a protected load needs from its guard.
        type Place: Copy + Send + Sync;

        /// This backend, as a value.
        const NAMED: Named;

        /// The ordering with which protected words are loaded (G4).
        const LOAD: Ordering;

        /// Whether each retired object gets a grace period of its own, not a batch of objects (to find bugs).
        const EXACT: bool = false;

        /// Whether a thread pushes to its own shard by plain stores. Only worthwhile with asymmetric barriers, which
        /// pinning has initialised by then.
        const PUSHES_PLAINLY: bool = false;

        /// Whether beginning a period may allocate infallibly: if so, only operations that free begin periods.
        const PERIODS_TAKE_MEMORY: bool = false;

        /// Whether objects record their birth and retirement eras, by which objects that a reader cannot have found are
        /// reclaimed before its guard is dropped (B1 to B6 of `eras`).
        const INTERVALS: bool = false;

        /// Pins this thread. Wait-free except for a thread's first guard; nested guards are cheap.
        fn pin() -> Self::Guard;

        /// Creates a guard that is not bound to a thread.
        #[track_caller]
        fn pin_owned() -> Self::OwnedGuard;

        /// Returns the place of a guard.
        fn place(guard: &Self::Guard) -> Self::Place;

        /// Returns the place of an owned guard.
        fn place_owned(guard: &Self::OwnedGuard) -> Self::Place;

        /// Loads a word that leads to protected memory (G4) under the guard of this place. `load` performs the load
        /// with the given ordering, and is called again if necessary.
        #[inline(always)]
        fn load<W>(_place: Self::Place, load: impl Fn(Ordering) -> W) -> W {
            load(Self::LOAD)
        }

        /// Begins a series of loads for a fast path whose caller starts over if one of them does not count: called
        /// before the first. Each load uses [`LOAD`](Self::LOAD) and is checked with [`counts`](Self::counts) before
        /// the loaded pointer is followed.
        #[inline(always)]
        fn announced(_place: Self::Place) -> u64 {
            0
        }

        /// Returns whether a load made just now counts, given the result of [`announced`](Self::announced).
        #[inline(always)]
        fn counts(_announced: u64) -> bool {
            true
        }

        /// With intervals: returns the birth era of an object that is made under the guard of this place and may be
        /// found from now on (B2).
        fn birth(_place: Self::Place) -> u64 {
            0
        }

        /// With intervals: returns the readers that may still find objects of this period, or `None` if this is not
        /// known yet (B3).
        fn laggards(_period: u64) -> Option<Laggards> {
            None
        }

        /// Ends the protection of the guard and begins a new one in its place. Does nothing while the thread has other
        /// guards.
        fn repin(guard: &mut Self::Guard);

        /// Like [`repin`](Self::repin), for an owned guard.
        fn repin_owned(guard: &mut Self::OwnedGuard);

        /// Returns whether this thread holds a [`Guard`](Self::Guard).
        fn is_pinned() -> bool;

        /// Begins a grace period for all guards that exist now. The number is below 2^62.
        fn begin_period() -> u64;

        /// Returns whether every guard that existed when the period began has been dropped. Wait-free.
        fn is_over(period: u64) -> bool;

        /// Returns why no period can end for now, regardless of how long one waits, if that is the case.
        fn stuck() -> Option<Stuck> {
            None
        }

        /// Returns the number of readers that keep all periods from ending because they have not fenced since the
        /// barrier was refused.
        fn unsettled() -> usize {
            0
        }

        /// Returns the guards that have been held for too long, if the backend can tell.
        fn old_guards() -> Old {
            Old::default()
        }

        /// With an exact backend: calls `period.elapsed()` when the last of the guards that exist now is dropped.
        #[cfg(any(test, shadow_loom))]
        fn after_exact_period(_period: ExactPeriod) {
            unreachable!("not an exact backend")
        }

        /// Advances grace periods as far as possible without waiting.
        fn drive();

        /// Ends the newest period if all that is missing is a look at the readers. Costs no barrier.
        fn poll() {}
    }
}

/// The guard that keeps a reader's references valid: one of this thread, or one that can be sent.
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

/// Serialises tests that check what was reclaimed while no other test holds a guard, or that hold guards for long:
/// guards belong to the whole process.
#[cfg(all(test, not(shadow_loom)))]
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
