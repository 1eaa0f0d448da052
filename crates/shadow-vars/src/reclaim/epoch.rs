//! The crossbeam-epoch backend. The only file that names that crate.
//!
//! Uses a collector of its own, not crossbeam's default one: a guard held by another library must not delay this one.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crossbeam_epoch::{Collector, Guard, LocalHandle};

use super::sealed::Backend;
use super::{Named, Stuck};
use crate::fork;
use crate::sync::Ordering;
use crate::sync::stat::AtomicU64;

/// Epoch-based reclamation by crossbeam-epoch: readers fence.
#[derive(Debug)]
pub enum Epoch {}

/// A guard of a participant that belongs to no thread.
pub struct EpochOwned {
    // Dropped in this order: the guard, then its participant.
    guard: Guard,
    _participant: LocalHandle,
}

// SAFETY: crossbeam's types are not `Send` because a thread's participant is shared by all guards of the thread,
// without synchronisation. This participant was registered for this guard alone, is reachable through it alone, and the
// guard is only renewed (by its only owner) and dropped. Both touch the participant and the collector's shared state,
// which is thread-safe, and no thread-local.
unsafe impl Send for EpochOwned {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for EpochOwned {}

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(Collector::new)
}

/// The newest period that has begun, and the newest that is over: all earlier ones are over too.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static PARTICIPANT: LocalHandle = collector().register();
    /// The number of guards that this thread holds. Has no destructor, so it is usable to the thread's very end, as
    /// guards are.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
}

/// A guard of this thread's participant or, while the thread's locals are destroyed, of a participant of its own.
#[derive(Debug)]
pub struct EpochGuard {
    // Dropped in this order.
    guard: Guard,
    _counted: Counted,
}

/// Counts a guard in [`GUARDS`].
#[derive(Debug)]
struct Counted(PhantomData<*const ()>);

impl Counted {
    #[inline(always)]
    fn new() -> Self {
        GUARDS.set(GUARDS.get().wrapping_add(1));
        Self(PhantomData)
    }
}

impl Drop for Counted {
    #[inline(always)]
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get().wrapping_sub(1));
    }
}

/// Makes a guard that is not counted.
#[inline(always)]
fn pin() -> Guard {
    PARTICIPANT
        .try_with(LocalHandle::pin)
        .unwrap_or_else(|_| collector().register().pin())
}

impl Backend for Epoch {
    type Guard = EpochGuard;
    type OwnedGuard = EpochOwned;
    type Place = ();

    const NAMED: Named = Named::Epoch;

    /// Acquire: the fence in `pin` does the rest (G2); the load itself only has to see the target of the word.
    const LOAD: Ordering = Ordering::Acquire;

    const PERIODS_TAKE_MEMORY: bool = true;

    #[inline(always)]
    fn pin() -> EpochGuard {
        let _counted = Counted::new();
        EpochGuard { guard: pin(), _counted }
    }

    fn pin_owned() -> EpochOwned {
        let participant = collector().register();
        EpochOwned {
            guard: participant.pin(),
            _participant: participant,
        }
    }

    #[inline(always)]
    fn place(_: &EpochGuard) {}

    #[inline(always)]
    fn place_owned(_: &EpochOwned) {}

    fn repin(guard: &mut EpochGuard) {
        guard.guard.repin();
    }

    fn repin_owned(owned: &mut EpochOwned) {
        owned.guard.repin();
    }

    fn is_pinned() -> bool {
        GUARDS.get() > 0
    }

    fn begin_period() -> u64 {
        // AcqRel: what was unlinked before an earlier period comes before this one's too.
        let period = BEGUN.fetch_add(1, Ordering::AcqRel) + 1;
        let guard = pin();
        guard.defer(move || {
            // AcqRel: pairs with `is_over` (G3).
            OVER.fetch_max(period, Ordering::AcqRel)
        });
        // The callback is on this thread's list, which may never fill, so it is handed over now.
        guard.flush();
        period
    }

    #[inline]
    fn is_over(period: u64) -> bool {
        // Acquire: pairs with the callback.
        OVER.load(Ordering::Acquire) >= period
    }

    /// crossbeam retains the places of threads that a fork left behind, pinned ones too.
    fn stuck() -> Option<Stuck> {
        fork::is_child().then_some(Stuck::Forked)
    }

    fn drive() {
        pin().flush();
    }
}
