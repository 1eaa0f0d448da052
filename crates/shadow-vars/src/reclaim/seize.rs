//! The seize backend (Hyaline-1). The only file that names that crate.
//!
//! seize keeps what a thread retires in that thread's batch, and lets a batch go only when it has an entry for every active
//! thread. A thread that falls silent would keep its batch for ever; so all our grace periods go through one owned guard,
//! the *retirer*, which any thread may drive, and each drive adds entries until there are enough.

use std::cell::Cell;
use std::sync::OnceLock;

use seize::{Collector, Guard, LocalGuard, OwnedGuard};

use super::Stuck;
use super::sealed::Backend;
use crate::fork;
use crate::sync::Ordering;
use crate::sync::stat::{AtomicU64, Mutex};

/// Reclamation by seize: cheaper guards on machines with a process-wide barrier, callbacks run by whoever leaves last.
#[derive(Debug)]
pub enum Seize {}

/// Entries beside the periods that each drive adds to the batch.
const FILL: usize = 8;

/// The newest period that has begun, and the newest that is over: so are all before it.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicU64 = AtomicU64::new(0);

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    // Larger than most numbers of threads; `drive` does not wait for it to fill.
    COLLECTOR.get_or_init(|| Collector::new().batch_size(64))
}

/// All periods are retired by one hand.
struct Retirer {
    /// Always active; renewed after each use, so it holds nothing up.
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
    /// Guards that this thread holds.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
    /// Whether the witness was ever there.
    static WITNESSED: Cell<bool> = const { Cell::new(false) };
    static WITNESS: Witness = const { Witness };
}

/// A thread's first pin: after it, the witness is there, younger than seize's thread-local.
#[cold]
fn first_pin() -> Inner {
    let guard = collector().enter();
    WITNESSED.set(WITNESS.try_with(|_| ()).is_ok());
    Inner::Local(guard)
}

/// A guard that counts itself.
pub struct SeizeGuard {
    guard: Inner,
}

/// seize's own thread-local is gone late in a thread's end; then, a guard that needs none.
enum Inner {
    Local(LocalGuard<'static>),
    Owned(OwnedGuard<'static>),
}

/// Made after seize's thread-local, so gone before it.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {}
}

impl Drop for SeizeGuard {
    #[inline]
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get() - 1);
    }
}

/// What seize retires for us: a period, with all that began before it, or nothing, to fill a batch up.
struct Ticket(Option<u64>);

/// Puts a ticket into the retirer's batch.
fn retire(retirer: &OwnedGuard<'_>, ticket: Ticket) {
    /// Frees the ticket, whose period is over.
    unsafe fn reclaim(ticket: *mut Ticket, _: &Collector) {
        // SAFETY: made by `Box::into_raw` below, reclaimed once.
        if let Some(period) = unsafe { Box::from_raw(ticket) }.0 {
            // AcqRel: pairs with `is_over` (G3).
            OVER.fetch_max(period, Ordering::AcqRel);
        }
    }
    // SAFETY: no thread can reach the ticket, and `reclaim` fits its type.
    unsafe { retirer.defer_retire(Box::into_raw(Box::new(ticket)), reclaim) };
}

impl Backend for Seize {
    type Guard = SeizeGuard;
    type OwnedGuard = OwnedGuard<'static>;

    /// SeqCst: seize protects loads that take part in its total order (`Guard::protect` strengthens every load to this).
    const LOAD: Ordering = Ordering::SeqCst;

    #[inline]
    fn pin() -> SeizeGuard {
        GUARDS.set(GUARDS.get() + 1);
        let guard = if !WITNESSED.get() {
            first_pin()
        } else if WITNESS.try_with(|_| ()).is_ok() {
            Inner::Local(collector().enter())
        } else {
            Inner::Owned(collector().enter_owned())
        };
        SeizeGuard { guard }
    }

    fn pin_owned() -> OwnedGuard<'static> {
        collector().enter_owned()
    }

    fn repin(guard: &mut SeizeGuard) {
        match &mut guard.guard {
            Inner::Local(guard) => guard.refresh(),
            Inner::Owned(guard) => guard.refresh(),
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
        // Acquire: pairs with the ticket's end.
        OVER.load(Ordering::Acquire) >= period
    }

    fn drive() {
        // If another thread is at it, it or a later drive does the rest.
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

    /// seize keeps the places of threads that a fork left behind, active ones too.
    fn stuck() -> Option<Stuck> {
        fork::is_child().then_some(Stuck::Forked)
    }
}
