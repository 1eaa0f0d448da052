//! A backend for tests and models: exact, and quick to expose a mistake.
//!
//! Every retired object gets a grace period of its own, which ends exactly when the last guard is dropped that existed
//! when the object was retired: the earliest that the contract allows. Reclaimed objects are poisoned, not freed, until
//! the store is dropped, so that a late access or a second retirement panics and is not undefined behaviour.
//!
//! Under loom the book-keeping itself is not modelled (a `std` mutex). Its effect on memory order is: the pair of
//! SeqCst fences in `pin` and `begin` (G2), Release when a guard is dropped and when a period begins, Acquire when a
//! period ends (G3).

use std::collections::BTreeSet;

use super::Named;
use super::sealed::Backend;
use crate::sync::stat::Mutex;
use crate::sync::{LOOM, Ordering, fence, lock_stat};

/// The checked backend: a grace period for each object or (`EXACT` false) for each batch, as in the other backends.
#[derive(Debug)]
pub(crate) struct Checked<const EXACT: bool = true>;

struct Book {
    next: u64,
    guards: BTreeSet<u64>,
    /// Pending periods, with the guards that each waits for.
    periods: Vec<(BTreeSet<u64>, Period)>,
    /// The newest period that has begun.
    begun: u64,
}

enum Period {
    Numbered(u64),
    Exact(Box<dyn FnOnce() + Send>),
}

static BOOK: Mutex<Book> = Mutex::new(Book {
    next: 0,
    guards: BTreeSet::new(),
    periods: Vec::new(),
    begun: 0,
});

/// Release when a guard is dropped or a period begins, Acquire when a period ends. Outside loom the mutex does this, too.
mod order {
    use crate::sync::{AtomicUsize, Ordering, static_global};

    static_global! {
        static CAME: AtomicUsize = AtomicUsize::new(0);
    }
    static_global! {
        static LEFT: AtomicUsize = AtomicUsize::new(0);
    }

    /// Called before a guard is entered in the book, and before a period copies the book's guards: so that loom, which
    /// knows nothing of the book, explores both orders. Relaxed: publishes nothing.
    pub(super) fn enter() {
        CAME.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn release() {
        LEFT.fetch_add(1, Ordering::Release);
    }

    pub(super) fn acquire() {
        // A read-modify-write, because a load could miss the last guard.
        LEFT.fetch_add(0, Ordering::Acquire);
    }
}

/// A guard, by number.
#[derive(Debug)]
pub(crate) struct CheckedGuard(u64);

impl CheckedGuard {
    fn new() -> Self {
        order::enter();
        let number = {
            let mut book = lock_stat(&BOOK);
            book.next += 1;
            let number = book.next;
            book.guards.insert(number);
            number
        };
        // SeqCst: pairs with the fence in `begin`. If that one came first, this guard may be missing in the period's
        // set, and sees what was unlinked before it; else the guard is in the set.
        fence(Ordering::SeqCst);
        Self(number)
    }
}

impl Drop for CheckedGuard {
    fn drop(&mut self) {
        order::release();
        let mut elapsed = Vec::new();
        {
            let mut book = lock_stat(&BOOK);
            book.guards.remove(&self.0);
            for (waits_for, _) in &mut book.periods {
                waits_for.remove(&self.0);
            }
            let (done, rest) = std::mem::take(&mut book.periods)
                .into_iter()
                .partition(|(waits_for, _)| waits_for.is_empty());
            book.periods = rest;
            elapsed.extend::<Vec<_>>(done);
        }
        if !elapsed.is_empty() {
            order::acquire();
        }
        for (_, period) in elapsed {
            if let Period::Exact(over) = period {
                over();
            }
        }
    }
}

/// Returns the guards that a period beginning now waits for.
fn waits_for(book: &Book) -> BTreeSet<u64> {
    book.guards.clone()
}

/// Called before a period is entered in the book.
fn begin() {
    order::enter();
    // SeqCst: pairs with the fence in `CheckedGuard::new`.
    fence(Ordering::SeqCst);
    order::release();
}

/// Calls `over` when the last of the guards that exist now is dropped.
pub(super) fn after_exact_period(over: Box<dyn FnOnce() + Send>) {
    begin();
    let mut book = lock_stat(&BOOK);
    let waits_for = waits_for(&book);
    book.periods.push((waits_for, Period::Exact(over)));
}

impl<const EXACT: bool> Backend for Checked<EXACT> {
    type Guard = CheckedGuard;
    type OwnedGuard = CheckedGuard;
    type Place = ();

    const NAMED: Named = Named::Checked { exact: EXACT };
    const LOAD: Ordering = Ordering::Acquire;
    // In models all barriers are fences.
    const PUSHES_PLAINLY: bool = LOOM && !EXACT;

    fn pin() -> CheckedGuard {
        CheckedGuard::new()
    }

    fn pin_owned() -> CheckedGuard {
        CheckedGuard::new()
    }

    #[inline(always)]
    fn place(_: &CheckedGuard) {}

    #[inline(always)]
    fn place_owned(_: &CheckedGuard) {}

    fn repin(guard: &mut CheckedGuard) {
        *guard = CheckedGuard::new();
    }

    fn repin_owned(guard: &mut CheckedGuard) {
        *guard = CheckedGuard::new();
    }

    fn is_pinned() -> bool {
        // The book does not record which thread holds a guard.
        false
    }

    fn begin_period() -> u64 {
        begin();
        let mut book = lock_stat(&BOOK);
        book.begun += 1;
        let number = book.begun;
        let waits_for = waits_for(&book);
        if !waits_for.is_empty() {
            book.periods.push((waits_for, Period::Numbered(number)));
        }
        number
    }

    fn is_over(period: u64) -> bool {
        order::acquire();
        let book = lock_stat(&BOOK);
        let waiting = |of: &Period| matches!(of, Period::Numbered(number) if *number <= period);
        !book.periods.iter().any(|(_, of)| waiting(of))
    }

    /// For an exact period that began while there were no guards: it ends with the next guard that is dropped.
    fn drive() {
        drop(CheckedGuard::new());
    }
}

/// Forgets everything: a panicked execution of a model leaves its guards behind.
#[cfg(shadow_loom)]
pub(crate) fn reset() {
    let mut book = lock_stat(&BOOK);
    book.guards.clear();
    book.periods.clear();
}
