//! The stores that have retired values with destructors, for threads that visit what other threads have left there.
//!
//! - **V1** A store is enlisted before [`pace`] says that something waits because of it, and delisted before its retire
//!   lists are dropped. A visitor registers itself first, under the lock: so the store stays for the visit. When
//!   nothing waits there, the store is delisted; a thread that retires something meanwhile enlists it again, or is seen
//!   behind a barrier, as in V3.
//! - **V2** A thread that delists a store waits until no thread visits it, possibly for the `Drop` of a value of that
//!   store. It does not wait in the middle of a visit of its own, to this store or another: then the store is dropped
//!   when that visit is over.
//! - **V3** A visitor clears the flag that something waits before it looks, behind a heavy barrier; a thread that
//!   retires a value checks the flag after it, behind a light one. So the visitor sees the value, or the flag is set
//!   again.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::thread;
use std::time::Duration;

use super::{Named, barrier, pace};
use crate::fork;
use crate::sync::{lock_stat, stat::Mutex, thread_token};

struct Entry {
    /// The address of the retire lists.
    lists: usize,
    backend: Named,
    /// The token of the thread that visits it, or 0.
    visitor: u64,
    /// Whether it was enlisted again since the visit began.
    again: bool,
}

impl Entry {
    fn is_free(&self) -> bool {
        self.visitor == 0 || fork::vanished(self.visitor)
    }
}

/// The result of a visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Nothing waits there.
    Nothing,
    /// Operations cannot visit this store.
    Background,
    /// Something that may become ready later.
    Something,
}

/// Does the upkeep of these lists, which are of this backend, and returns what is left. Passed by each visitor, and
/// never stored: the code of a library may have been unloaded by the next visit.
///
/// # Safety
///
/// The address is of existing lists, whose objects are of the type that the function was made for.
pub(super) type Tidy = unsafe fn(Named, usize, Visitor) -> Left;

/// The kind of visitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Visitor {
    /// An operation, which must not fail without memory: it skips stores whose upkeep may allocate infallibly.
    Operation,
    /// The background reclaimer.
    Background,
}

/// Ordered by address.
static STORES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

thread_local! {
    /// Stores that were dropped in the middle of a visit by this thread.
    static DEFERRED: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    /// Whether this thread is visiting. Has no destructor.
    static VISITING: Cell<bool> = const { Cell::new(false) };
}

fn with<T>(work: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
    let _section = fork::section();
    work(&mut lock_stat(&STORES))
}

fn find(stores: &[Entry], lists: usize) -> Result<usize, usize> {
    stores.binary_search_by_key(&lists, |entry| entry.lists)
}

/// Adds lists. Returns whether there was memory for it.
///
/// # Safety
///
/// The lists stay until [`delist`] returns true, and are of this backend.
pub(super) unsafe fn enlist(lists: usize, backend: Named) -> bool {
    with(|stores| {
        match find(stores, lists) {
            Ok(at) => stores[at].again = true,
            Err(_) if stores.try_reserve(1).is_err() => return false,
            Err(at) => stores.insert(
                at,
                Entry {
                    lists,
                    backend,
                    visitor: 0,
                    again: false,
                },
            ),
        }
        true
    })
}

/// Removes lists. Returns whether they can be dropped: no thread visits them, or will. If not, this thread is in a
/// visit, and has to [defer the drop](defer_drop). Waits for other threads' visits, if it is in none.
pub(super) fn delist(lists: usize) -> bool {
    loop {
        let removed = with(|stores| {
            let Ok(at) = find(stores, lists) else { return true };
            let free = stores[at].is_free();
            if free {
                stores.remove(at);
            }
            free
        });
        if removed || VISITING.get() {
            return removed;
        }
        thread::sleep(Duration::from_micros(50));
    }
}

/// Keeps a store that was dropped in the middle of a visit by this thread, and drops it when the visit is over.
pub(crate) fn defer_drop(store: Box<dyn Any>) {
    let mut store = Some(store);
    let _ = DEFERRED.try_with(|stores| stores.borrow_mut().extend(store.take()));
    // At the thread's end, when there is nowhere to keep it, the store is leaked.
    std::mem::forget(store);
}

/// Drops what can be dropped in all enlisted stores. Runs the `Drop` of their values.
///
/// # Safety
///
/// `tidy` is made for the objects of all stores of the process.
#[cold]
pub(super) unsafe fn visit_all(by: Visitor, tidy: Tidy) {
    if VISITING.replace(true) {
        return;
    }
    // V3.
    pace::forget_waiting();
    let fenced = barrier::heavy();
    let mut all = Vec::new();
    let listed = with(|stores| {
        let room = all.try_reserve(stores.len()).is_ok();
        if room {
            all.extend(stores.iter().map(|entry| entry.lists));
        }
        room
    });
    let mut left = !fenced || !listed;
    for lists in all {
        // SAFETY: guaranteed by the caller.
        left |= unsafe { visit(lists, by, tidy) } == Left::Something;
    }
    if left {
        pace::note_waiting();
    }
    VISITING.set(false);
    // V2. Taken out first: dropping values of these stores may defer further stores.
    while let Some(store) = DEFERRED.try_with(|stores| stores.borrow_mut().pop()).ok().flatten() {
        drop(store);
    }
}

/// Visits a store, and returns what is left there: something, if another thread is visiting it.
///
/// # Safety
///
/// Same as [`visit_all`].
unsafe fn visit(lists: usize, by: Visitor, tidy: Tidy) -> Left {
    let me = thread_token();
    let backend = with(|stores| {
        let entry = find(stores, lists).ok().map(|at| &mut stores[at])?;
        let free = entry.is_free();
        free.then(|| {
            (entry.visitor, entry.again) = (me, false);
            entry.backend
        })
    });
    let Some(backend) = backend else { return Left::Something };
    // SAFETY: enlisted for this backend, and not dropped before the visit is over (V1); the caller guarantees that
    // `tidy` fits.
    let left = unsafe { tidy(backend, lists, by) };
    with(|stores| {
        // No other thread removes the entry during the visit.
        let Ok(at) = find(stores, lists) else { return left };
        stores[at].visitor = 0;
        if left != Left::Nothing {
            return left;
        }
        // Something was retired during the visit.
        if stores[at].again {
            return Left::Something;
        }
        stores.remove(at);
        Left::Nothing
    })
}
