//! The seize backend (Hyaline-1). The only file that names that crate.
//!
//! seize collects what a thread retires in that thread's batch, and retires a batch only when it has an entry for every
//! active thread. An idle thread would keep its batch for ever. So all our grace periods go through one owned guard,
//! the *retirer*, which any thread may drive, and each drive adds entries until there are enough.
//!
//! seize gives a thread's place among the readers to another thread as soon as a thread-local of its own is destroyed,
//! even if the thread still has a guard. So a thread has one guard of seize's at a time, which we leave just before
//! that; the rest of the thread's life is protected by a hold, which all periods wait for.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::OnceLock;

use seize::{Collector, Guard, LocalGuard, OwnedGuard};

use super::sealed::Backend;
use super::{Named, Stuck};
use crate::fork;
use crate::sync::stat::{AtomicU64, AtomicUsize, Mutex};
use crate::sync::{Ordering, fence};

/// Reclamation by seize: cheaper guards on machines with a process-wide barrier; callbacks run on the last thread to
/// leave.
#[derive(Debug)]
pub enum Seize {}

/// Entries that each drive adds to the batch, besides the periods.
const FILL: usize = 8;

/// The newest period that has begun, and the newest that is over: all earlier ones are over too.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicU64 = AtomicU64::new(0);

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    // Larger than most numbers of threads; `drive` does not wait until it is full.
    COLLECTOR.get_or_init(|| Collector::new().batch_size(64))
}

/// Retires all periods, under one lock.
struct Retirer {
    /// Always active; refreshed after each use, so it holds nothing up.
    guard: OwnedGuard<'static>,
    /// The newest period that was retired.
    retired: u64,
}

fn retirer() -> &'static Mutex<Retirer> {
    static RETIRER: OnceLock<Mutex<Retirer>> = OnceLock::new();
    RETIRER.get_or_init(|| {
        Mutex::new(Retirer {
            guard: collector().enter_owned(),
            retired: 0,
        })
    })
}

thread_local! {
    /// The number of guards that this thread holds. None of these three has a destructor: they are usable to the
    /// thread's very end.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
    /// The one guard of seize's that represents them all, if there is one.
    static ENTERED: Cell<Option<Entered>> = const { Cell::new(None) };
    static PHASE: Cell<Phase> = const { Cell::new(Phase::New) };
    /// Made after seize's thread-local, so destroyed before it.
    static WITNESS: Witness = const { Witness };
}

type Entered = ManuallyDrop<LocalGuard<'static>>;

/// The phases of a thread's life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has not pinned yet.
    New,
    Usual,
    /// seize's thread-local is about to be destroyed or has been, and with it the thread's place among the readers,
    /// which another thread may get. All guards of the thread, new or still held, are [holds](hold) from now on.
    Late,
}

/// The number of threads with late guards in the process. While there is one, no period that seize has ended is over.
static HOLDS: AtomicUsize = AtomicUsize::new(0);

/// The newest period that seize has ended.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Protects everything that has not been unlinked by now.
fn hold() {
    // SeqCst: pairs with the fence in `settle`. Either `settle` sees the hold, or the loads that follow here see what
    // had been unlinked.
    HOLDS.fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

fn release() {
    // Release: the reads under the hold come before; pairs with the Acquire in `settle` (G3).
    if HOLDS.fetch_sub(1, Ordering::Release) == 1 {
        settle();
    }
}

/// Ends a period that seize has ended: now, or when there are no holds any more.
fn end(period: u64) {
    // AcqRel: passes on what seize has acquired to the thread that settles.
    ENDED.fetch_max(period, Ordering::AcqRel);
    settle();
}

/// Ends the periods that seize has ended, if there are no holds: then those that existed when the periods began have
/// gone.
fn settle() {
    let ended = ENDED.load(Ordering::Acquire);
    // SeqCst: pairs with `hold`.
    fence(Ordering::SeqCst);
    // Acquire: pairs with `release` (G3).
    if HOLDS.load(Ordering::Acquire) == 0 {
        // AcqRel: pairs with `is_over` (G3).
        OVER.fetch_max(ended, Ordering::AcqRel);
    }
}

/// Makes a thread's first guard.
#[cold]
fn enter_first() {
    let guard = collector().enter();
    if WITNESS.try_with(|_| ()).is_ok() {
        PHASE.set(Phase::Usual);
        ENTERED.set(Some(ManuallyDrop::new(guard)));
    } else {
        PHASE.set(Phase::Late);
        hold();
    }
}

/// Slow path of the first of this thread's guards.
#[cold]
fn enter_slow() {
    match PHASE.get() {
        Phase::New => enter_first(),
        _ => hold(),
    }
}

/// One of this thread's guards.
pub struct SeizeGuard(PhantomData<*const ()>);

struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        PHASE.set(Phase::Late);
        if let Some(guard) = ENTERED.take() {
            hold();
            drop(ManuallyDrop::into_inner(guard));
        }
    }
}

impl Drop for SeizeGuard {
    #[inline]
    fn drop(&mut self) {
        let guards = GUARDS.get() - 1;
        GUARDS.set(guards);
        if guards == 0 {
            match ENTERED.take() {
                Some(guard) => drop(ManuallyDrop::into_inner(guard)),
                None => release(),
            }
        }
    }
}

/// What seize retires for us: a period, with all that began before it, or nothing, to fill a batch.
struct Ticket(Option<u64>);

/// Adds a ticket to the retirer's batch.
fn retire(retirer: &OwnedGuard<'_>, ticket: Ticket) {
    /// Frees the ticket, whose period is over.
    unsafe fn reclaim(ticket: *mut Ticket, _: &Collector) {
        // SAFETY: made by `Box::into_raw` below, and reclaimed once.
        if let Some(period) = unsafe { Box::from_raw(ticket) }.0 {
            end(period);
        }
    }
    // SAFETY: no thread can reach the ticket, and `reclaim` fits its type.
    unsafe { retirer.defer_retire(Box::into_raw(Box::new(ticket)), reclaim) };
}

impl Backend for Seize {
    type Guard = SeizeGuard;
    type OwnedGuard = OwnedGuard<'static>;
    type Place = ();

    const NAMED: Named = Named::Seize;

    /// SeqCst: seize protects loads that take part in its total order (`Guard::protect` strengthens every load to
    /// this).
    const LOAD: Ordering = Ordering::SeqCst;

    const PERIODS_TAKE_MEMORY: bool = true;

    #[inline]
    fn pin() -> SeizeGuard {
        let guards = GUARDS.get();
        GUARDS.set(guards + 1);
        if guards == 0 {
            if PHASE.get() == Phase::Usual {
                ENTERED.set(Some(ManuallyDrop::new(collector().enter())));
            } else {
                enter_slow();
            }
        }
        SeizeGuard(PhantomData)
    }

    fn pin_owned() -> OwnedGuard<'static> {
        collector().enter_owned()
    }

    #[inline(always)]
    fn place(_: &SeizeGuard) {}

    #[inline(always)]
    fn place_owned(_: &OwnedGuard<'static>) {}

    fn repin(_: &mut SeizeGuard) {
        if GUARDS.get() != 1 {
            return;
        }
        match ENTERED.take() {
            Some(mut guard) => {
                guard.refresh();
                ENTERED.set(Some(guard));
            }
            None => {
                release();
                hold();
            }
        }
    }

    fn repin_owned(guard: &mut OwnedGuard<'static>) {
        guard.refresh();
    }

    fn is_pinned() -> bool {
        GUARDS.get() > 0
    }

    fn begin_period() -> u64 {
        // AcqRel: pairs with the Acquire in `drive`.
        let period = BEGUN.fetch_add(1, Ordering::AcqRel) + 1;
        Self::drive();
        period
    }

    #[inline]
    fn is_over(period: u64) -> bool {
        // Acquire: pairs with `settle`.
        OVER.load(Ordering::Acquire) >= period
    }

    fn drive() {
        settle();
        // If another thread is driving, it or a later drive does the rest.
        let Ok(mut retirer) = retirer().try_lock() else {
            return;
        };
        // Acquire: pairs with `begin_period`: all that was unlinked before comes before the ticket.
        let newest = BEGUN.load(Ordering::Acquire);
        if newest > retirer.retired {
            retirer.retired = newest;
            retire(&retirer.guard, Ticket(Some(newest)));
        }
        (0..FILL).for_each(|_| retire(&retirer.guard, Ticket(None)));
        retirer.guard.flush();
        retirer.guard.refresh();
    }

    /// seize retains the places of threads that a fork left behind, active ones too.
    fn stuck() -> Option<Stuck> {
        fork::is_child().then_some(Stuck::Forked)
    }
}
