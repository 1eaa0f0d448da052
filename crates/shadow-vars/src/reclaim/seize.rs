//! The seize backend (Hyaline-1). The only file that names that crate.

use std::sync::OnceLock;

use seize::{Collector, Guard, LocalGuard, OwnedGuard};

use super::retired::GracePeriod;
use super::sealed::Backend;
use crate::sync::Ordering;

/// Reclamation by seize: cheaper guards on machines with a process-wide barrier, callbacks run by whoever leaves last.
#[derive(Debug)]
pub enum Seize {}

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(|| Collector::new().batch_size(1))
}

thread_local! {
    /// Guards that this thread holds.
    static GUARDS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A guard that counts itself.
pub struct SeizeGuard {
    guard: LocalGuard<'static>,
}

impl Drop for SeizeGuard {
    #[inline]
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get() - 1);
    }
}

/// What seize retires for us: a boxed callback, or nothing, to fill a batch up.
struct Ticket(Option<GracePeriod>);

/// Retires a ticket. seize can only let a batch go that has a ticket for every active thread, so `drive` adds more.
fn retire(guard: &LocalGuard<'_>, ticket: Ticket) {
    /// Frees the ticket and makes its call.
    unsafe fn reclaim(ticket: *mut Ticket, _: &Collector) {
        // SAFETY: made by `Box::into_raw` below, reclaimed once.
        if let Some(period) = unsafe { Box::from_raw(ticket) }.0 {
            period.elapsed();
        }
    }
    // SAFETY: no thread can reach the ticket, and `reclaim` fits its type.
    unsafe { guard.defer_retire(Box::into_raw(Box::new(ticket)), reclaim) };
}

impl Backend for Seize {
    type Guard = SeizeGuard;
    type OwnedGuard = OwnedGuard<'static>;

    /// SeqCst: seize protects loads that take part in its total order (`Guard::protect` strengthens every load to this).
    const LOAD: Ordering = Ordering::SeqCst;

    #[inline]
    fn pin() -> SeizeGuard {
        GUARDS.set(GUARDS.get() + 1);
        SeizeGuard {
            guard: collector().enter(),
        }
    }

    fn pin_owned() -> OwnedGuard<'static> {
        collector().enter_owned()
    }

    fn repin(guard: &mut SeizeGuard) {
        guard.guard.refresh();
    }

    fn repin_owned(guard: &mut OwnedGuard<'static>) {
        guard.refresh();
    }

    fn is_pinned() -> bool {
        GUARDS.get() > 0
    }

    fn after_grace_period(period: GracePeriod) {
        retire(&collector().enter(), Ticket(Some(period)));
    }

    fn drive() {
        let guard = collector().enter();
        retire(&guard, Ticket(None));
        guard.flush();
    }
}
