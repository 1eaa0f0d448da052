//! The stores that have retired values with destructors: for whoever looks after what other threads have left there.
//!
//! - **V1** A store is enlisted before [`pace`] says that something waits because of it, and delisted before its
//!   retire lists go. Who visits one says so first, under the lock: so it stays for the visit. When nothing waits there, it is
//!   taken off the list: who retires something meanwhile enlists it again, or is seen behind a barrier, as in V3.
//! - **V2** Who delists a store waits until nobody visits it: for the `Drop` of a value of that store, maybe. Not in the middle
//!   of a visit of its own, of this store or another: then the store goes when that is over.
//! - **V3** A visitor takes the note of what waits away before it looks, behind a heavy barrier; who retires a value looks for
//!   the note after it, behind a light one. So the visitor sees the value, or it is noted again.

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

/// What a visit has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Nothing waits there.
    Nothing,
    /// What waits is not for operations to look after.
    Background,
    /// Something that may be dropped later.
    Something,
}

/// Drops what can be dropped of these lists, which are of this backend. What is left then. Given by who visits, and kept
/// nowhere: code of a library may be gone when the next one comes.
///
/// # Safety
///
/// The address is of lists whose objects are of the kind that the function was made for, which are there.
pub(super) type Tidy = unsafe fn(Named, usize, Visitor) -> Left;

/// Who visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Visitor {
    /// An operation, which is to end well without memory: it passes by what may take some for granted.
    Operation,
    /// The background reclaimer.
    #[cfg_attr(shadow_loom, expect(dead_code, reason = "models have none"))]
    Background,
}

/// In the order of the addresses.
static STORES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

thread_local! {
    /// Stores that were dropped in the middle of this thread's visit.
    static LEFT_OVER: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    /// Whether this thread is in a visit. Has no destructor.
    static VISITING: Cell<bool> = const { Cell::new(false) };
}

fn with<T>(work: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
    let _section = fork::section();
    work(&mut lock_stat(&STORES))
}

fn find(stores: &[Entry], lists: usize) -> Result<usize, usize> {
    stores.binary_search_by_key(&lists, |entry| entry.lists)
}

/// Makes lists known. Whether there was memory for it.
///
/// # Safety
///
/// They stay until [`delist`] says that they may go, and are of this backend.
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

/// Whether these lists may go: nobody visits them, or will. If not, this thread is in a visit, and [`leave_over`] comes next.
/// Waits for other threads' visits, if it is in none.
pub(super) fn delist(lists: usize) -> bool {
    loop {
        let gone = with(|stores| {
            let Ok(at) = find(stores, lists) else { return true };
            let free = stores[at].is_free();
            if free {
                stores.remove(at);
            }
            free
        });
        if gone || VISITING.get() {
            return gone;
        }
        thread::sleep(Duration::from_micros(50));
    }
}

/// A store that was dropped in the middle of this thread's visit is dropped when that is over.
pub(crate) fn leave_over(store: Box<dyn Any>) {
    let mut store = Some(store);
    let _ = LEFT_OVER.try_with(|stores| stores.borrow_mut().extend(store.take()));
    // At the thread's end, when there is nowhere to keep it, it stays for good.
    std::mem::forget(store);
}

/// Drops what can be dropped in all stores that are enlisted. Runs the `Drop` of their values.
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
        // SAFETY: the caller's.
        left |= unsafe { visit(lists, by, tidy) } == Left::Something;
    }
    if left {
        pace::note_waiting();
    }
    VISITING.set(false);
    // V2. Taken out first: their own values may let go of further stores.
    while let Some(store) = LEFT_OVER.try_with(|stores| stores.borrow_mut().pop()).ok().flatten() {
        drop(store);
    }
}

/// What is left there; something, if somebody else is at it.
///
/// # Safety
///
/// As [`visit_all`].
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
    // SAFETY: enlisted as of this backend, and there until the visit is over (V1); the caller's otherwise.
    let left = unsafe { tidy(backend, lists, by) };
    with(|stores| {
        // Nobody else takes it off the list.
        let Ok(at) = find(stores, lists) else { return left };
        stores[at].visitor = 0;
        if left != Left::Nothing {
            return left;
        }
        if stores[at].again {
            return Left::Something;
        }
        stores.remove(at);
        Left::Nothing
    })
}
