//! The stores that have retired values with destructors: for whoever looks after what other threads have left there.
//!
//! - **V1** A store is enlisted before [`pace`](super::pace) says that something waits because of it, and delisted before its
//!   retire lists go. Who visits one says so first, under the lock: so it stays for the visit.
//! - **V2** Who delists a store waits until nobody visits it: for the `Drop` of a value of that store, maybe. If that is the
//!   caller's own visit (a `Drop` that it runs has let go of the store), the store goes when the visit is over.
//! - **V3** A visitor takes the note of what waits away before it looks, behind a heavy barrier; who retires a value looks for
//!   the note after it, behind a light one. So the visitor sees the value, or it is noted again.

use std::any::Any;
use std::cell::RefCell;
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
}

/// Drops what can be dropped of these lists, which are of this backend. Whether something is left. Given by who visits, and kept
/// nowhere: code of a library may be gone when the next one comes.
///
/// # Safety
///
/// The address is of lists whose objects are of the kind that the function was made for, which are there.
pub(super) type Tidy = unsafe fn(Named, usize, Visitor) -> bool;

/// Who visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Visitor {
    /// An operation, which is to end well without memory: it passes by what may take some for granted.
    Operation,
    /// The background reclaimer.
    Background,
}

static STORES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

thread_local! {
    /// Stores that were dropped in the middle of this thread's visit.
    static LEFT_OVER: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

fn with<T>(work: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
    let _section = fork::section();
    work(&mut lock_stat(&STORES))
}

/// Makes lists known. Whether there was memory for it.
///
/// # Safety
///
/// They stay until [`delist`] says that they may go, and are of this backend.
pub(super) unsafe fn enlist(lists: usize, backend: Named) -> bool {
    with(|stores| {
        if stores.try_reserve(1).is_err() {
            return false;
        }
        stores.push(Entry {
            lists,
            backend,
            visitor: 0,
        });
        true
    })
}

/// Whether these lists may go: nobody visits them, or will. If not, this thread does: [`leave_over`] comes next. Waits for
/// other threads' visits.
pub(super) fn delist(lists: usize) -> bool {
    loop {
        let done = with(|stores| {
            let Some(at) = stores.iter().position(|entry| entry.lists == lists) else {
                return Some(true);
            };
            let visitor = stores[at].visitor;
            let mine = visitor == thread_token();
            let goes = mine || visitor == 0 || fork::vanished(visitor);
            goes.then(|| {
                stores.swap_remove(at);
                !mine
            })
        });
        match done {
            Some(done) => return done,
            None => thread::sleep(Duration::from_micros(50)),
        }
    }
}

/// A store whose lists this thread visits goes when the visit is over.
pub(crate) fn leave_over(store: Box<dyn Any>) {
    let kept = LEFT_OVER.try_with(|stores| stores.borrow_mut().push(store));
    // At a thread's end a visit is over before its locals go.
    debug_assert!(kept.is_ok());
}

/// Drops what can be dropped in all stores that are enlisted. Runs the `Drop` of their values.
///
/// # Safety
///
/// `tidy` is made for the objects of all stores of the process.
#[cold]
pub(super) unsafe fn visit_all(by: Visitor, tidy: Tidy) {
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
        // SAFETY: the caller's.
        left |= unsafe { visit(lists, by, tidy) };
    }
    if left {
        pace::note_waiting();
    }
}

/// Whether something is left there, or somebody else is at it.
///
/// # Safety
///
/// As [`visit_all`].
unsafe fn visit(lists: usize, by: Visitor, tidy: Tidy) -> bool {
    let me = thread_token();
    let backend = with(|stores| {
        let entry = stores.iter_mut().find(|entry| entry.lists == lists)?;
        let free = entry.visitor == 0 || fork::vanished(entry.visitor);
        free.then(|| {
            entry.visitor = me;
            entry.backend
        })
    });
    let Some(backend) = backend else { return true };
    // SAFETY: enlisted as of this backend, and there until the visit is over (V1); the caller's otherwise.
    let left = unsafe { tidy(backend, lists, by) };
    with(|stores| {
        if let Some(entry) = stores.iter_mut().find(|entry| entry.lists == lists) {
            entry.visitor = 0;
        }
    });
    // V2. Taken out first: their own values may let go of further stores.
    while let Some(store) = LEFT_OVER.try_with(|stores| stores.borrow_mut().pop()).ok().flatten() {
        drop(store);
    }
    left
}
