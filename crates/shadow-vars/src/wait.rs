//! Waiting for another thread's constructor: parked, and never in a deadlock.
//!
//! Waiting is rare, so one lock for the process is enough: it guards the list of waiters. A store's other operations never
//! touch it; the end of a constructor does only if a thread waits for it. The list links the waiters' own stack frames, so
//! waiting needs no memory.
//!
//! - **W1** A waiter is on the list, and the node's WAITERS bit set, before it parks; both under the lock.
//! - **W2** The builder ends the construction by one swap of the life word. If the swap finds the bit set, the builder takes
//!   the node's waiters off the list, under the lock, and wakes them. With W1: no wake-up is lost.
//! - **W3** A thread is on the list only while the builder that it waits for is building. So a chain of entries that leads
//!   back to the calling thread is a true deadlock, and each cycle is refused to the thread that would close it.
//! - **W4** A waiter keeps its guard, so the node is protected for as long as the waiter reads it.
//! - **W5** A waiter's frame stays until the waiter is off the list: taken off by the builder, or by itself.

use std::cell::Cell;
use std::ptr;

#[cfg(feature = "rayon")]
use crate::stealing;
use crate::sync::{Condvar, Mutex, MutexGuard, lock, thread_token};
use crate::table::NodeRef;
use crate::table::node::{Life, State};

/// The reason why a wait would never end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// This thread itself runs the constructor.
    Recursion,
    /// The builder waits, directly or through others, for this thread.
    Cycle,
}

/// A waiting thread, in its own stack frame. The cells are accessed under the lock only.
pub(crate) struct Waiter {
    pub(crate) thread: u64,
    pub(crate) builder: u64,
    pub(crate) node: usize,
    /// A thread of the same rayon pool, if one is known, or 0.
    #[cfg(feature = "rayon")]
    pub(crate) mate: Cell<u64>,
    waits: Cell<bool>,
    next: Cell<*const Self>,
}

impl Waiter {
    /// Returns whether it is still on the list, whose lock is held.
    pub(crate) fn waits(&self, _: &List) -> bool {
        self.waits.get()
    }
}

/// The list of waiters, newest first.
pub(crate) struct List(Cell<*const Waiter>);

// SAFETY: leads to waiters that stay while they are on it (W5), and are accessed under its lock only.
unsafe impl Send for List {}

impl List {
    const fn new() -> Self {
        Self(Cell::new(ptr::null()))
    }

    /// Adds a waiter.
    ///
    /// # Safety
    ///
    /// The waiter stays where it is until it is off the list.
    unsafe fn add(&mut self, waiter: &Waiter) {
        waiter.next.set(self.0.replace(waiter));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        let mut next = self.0.get();
        std::iter::from_fn(move || {
            // SAFETY: null, or on the list (W5).
            let waiter = unsafe { next.as_ref() }?;
            next = waiter.next.get();
            Some(waiter)
        })
    }

    /// Takes the waiters off the list for which `goes` returns true.
    pub(crate) fn take_off(&mut self, goes: impl Fn(&Waiter) -> bool) {
        let mut link = &self.0;
        // SAFETY: null, or on the list (W5).
        while let Some(waiter) = unsafe { link.get().as_ref() } {
            if goes(waiter) {
                link.set(waiter.next.get());
                // Its frame may end as soon as the lock is released.
                waiter.waits.set(false);
            } else {
                link = &waiter.next;
            }
        }
    }
}

struct Waiters {
    list: Mutex<List>,
    woken: Condvar,
}

#[cfg(not(shadow_loom))]
static WAITERS: Waiters = Waiters {
    list: Mutex::new(List::new()),
    woken: Condvar::new(),
};

#[cfg(shadow_loom)]
crate::sync::lazy_static! {
    static ref WAITERS: Waiters = Waiters { list: Mutex::new(List::new()), woken: Condvar::new() };
}

/// Waits until the node is no longer under construction. May wait for as long as the constructor runs.
pub(crate) fn wait(node: NodeRef<'_>) -> Result<(), Refused> {
    let me = thread_token();
    let mut list = lock(&WAITERS.list);
    loop {
        let life = node.life();
        if life.state() != State::Building {
            return Ok(());
        }
        if life.builder() == me {
            return Err(Refused::Recursion);
        }
        if waits_for(&list, life.builder(), me) {
            return Err(Refused::Cycle);
        }
        // W1. If the construction has just ended, check again.
        if node.add_waiter(life) {
            let waiter = Waiter {
                thread: me,
                builder: life.builder(),
                node: node.as_ptr().addr().get(),
                #[cfg(feature = "rayon")]
                mate: Cell::new(stealing::mate()),
                waits: Cell::new(true),
                next: Cell::new(ptr::null()),
            };
            // SAFETY: `park` returns when the waiter is off the list, and nothing in it unwinds.
            unsafe { list.add(&waiter) };
            list = park(list, &waiter)?;
        }
    }
}

/// Waits until the waiter is off the list: because the construction has ended, or because it never would.
fn park<'l>(mut list: MutexGuard<'l, List>, waiter: &Waiter) -> Result<MutexGuard<'l, List>, Refused> {
    #[cfg(feature = "rayon")]
    if let Some(mut watch) = stealing::Watch::of_this_thread() {
        while waiter.waits(&list) {
            let (guard, _) = WAITERS
                .woken
                .wait_timeout(list, watch.pause())
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            list = guard;
            if waiter.waits(&list) && watch.is_due(&list) {
                drop(list);
                let replies = watch.poll_workers();
                list = lock(&WAITERS.list);
                waiter.mate.set(stealing::mate());
                if waiter.waits(&list) && watch.is_stuck(&list, replies) {
                    list.take_off(|other| ptr::eq(other, waiter));
                    return Err(Refused::Cycle);
                }
            }
        }
        return Ok(list);
    }
    while waiter.waits(&list) {
        list = WAITERS
            .woken
            .wait(list)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
    }
    Ok(list)
}

/// Ends a construction as LIVE or FAILED, and wakes the threads that wait for it.
pub(crate) fn publish(node: NodeRef<'_>, life: Life) {
    if node.publish(life).has_waiters() {
        // W2.
        let address = node.as_ptr().addr().get();
        lock(&WAITERS.list).take_off(|waiter| waiter.node == address);
        WAITERS.woken.notify_all();
    }
}

/// The list, locked while the process forks (F2 of [`fork`](crate::fork)).
#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(crate) struct Frozen(MutexGuard<'static, List>);

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(crate) fn freeze() -> Frozen {
    Frozen(lock(&WAITERS.list))
}

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
impl Frozen {
    /// Empties the list in the child, in which none of the waiting threads exists.
    pub(crate) fn forget_all(&mut self) {
        self.0.0.set(ptr::null());
    }
}

/// Returns whether `builder` waits, directly or through others, for `thread`.
fn waits_for(list: &List, mut builder: u64, thread: u64) -> bool {
    // Each thread waits for at most one other; by W3 there is no cycle yet, so this ends.
    while let Some(waiter) = list.iter().find(|waiter| waiter.thread == builder) {
        if waiter.builder == thread {
            return true;
        }
        builder = waiter.builder;
    }
    false
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    fn waiter(thread: u64, builder: u64, node: usize) -> Waiter {
        Waiter {
            thread,
            builder,
            node,
            #[cfg(feature = "rayon")]
            mate: Cell::new(0),
            waits: Cell::new(true),
            next: Cell::new(ptr::null()),
        }
    }

    #[test]
    fn waiters_leave_the_list_from_any_place() {
        let threads = |list: &List| list.iter().map(|waiter| waiter.thread).collect::<Vec<_>>();
        for gone in 0..8_u64 {
            let waiters = [1, 2, 3].map(|thread| waiter(thread, thread + 1, 7));
            let mut list = List::new();
            // SAFETY: the waiters outlive the list.
            waiters.iter().for_each(|waiter| unsafe { list.add(waiter) });
            assert_eq!(threads(&list), [3, 2, 1]);
            assert!(waits_for(&list, 1, 4) && !waits_for(&list, 1, 5) && !waits_for(&list, 4, 1));
            let goes = |waiter: &Waiter| gone & (1 << (waiter.thread - 1)) != 0;
            list.take_off(goes);
            let left: Vec<_> = waiters
                .iter()
                .rev()
                .filter(|waiter| !goes(waiter))
                .map(|waiter| waiter.thread)
                .collect();
            assert_eq!(threads(&list), left);
            assert!(waiters.iter().all(|waiter| waiter.waits(&list) != goes(waiter)));
            // As the builder of their node does.
            list.take_off(|waiter| waiter.node == 7);
            assert_eq!(threads(&list), []);
            assert!(!waiters.iter().any(|waiter| waiter.waits(&list)));
        }
    }
}
