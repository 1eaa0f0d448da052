//! The threads that wait for constructors. Cites the rules of [`wait`](crate::wait).

use std::cell::Cell;
use std::ptr;
use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{self, Condvar, Mutex, MutexGuard, const_unless_loom, static_global};

/// A waiting thread, in its own stack frame. The cells are accessed under the lock only.
pub(crate) struct Waiter {
    pub(crate) thread: u64,
    pub(crate) builder: u64,
    pub(crate) node: usize,
    /// A thread of the same rayon pool, if one is known, or 0.
    pub(crate) mate: Cell<u64>,
    waits: Cell<bool>,
    next: Cell<*const Self>,
}

impl Waiter {
    pub(crate) fn new(thread: u64, builder: u64, node: usize, mate: u64) -> Self {
        Self {
            thread,
            builder,
            node,
            mate: Cell::new(mate),
            waits: Cell::new(true),
            next: Cell::new(ptr::null()),
        }
    }

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
    pub(crate) const fn new() -> Self {
        Self(Cell::new(ptr::null()))
    }

    /// Adds a waiter.
    ///
    /// # Safety
    ///
    /// The waiter stays where it is until it is off the list.
    pub(crate) unsafe fn add(&mut self, waiter: &Waiter) {
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

    /// Returns whether `builder` waits, directly or through others, for `thread`.
    pub(crate) fn waits_for(&self, mut builder: u64, thread: u64) -> bool {
        // Each thread waits for at most one other; by W3 there is no cycle yet, so this ends.
        while let Some(waiter) = self.iter().find(|waiter| waiter.thread == builder) {
            if waiter.builder == thread {
                return true;
            }
            builder = waiter.builder;
        }
        false
    }

    /// Empties the list in the child of a fork, in which none of the waiting threads exists.
    pub(crate) fn forget_all(&mut self) {
        self.0.set(ptr::null());
    }
}

struct Waiters {
    list: Mutex<List>,
    woken: Condvar,
}

impl Waiters {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                list: Mutex::new(List::new()),
                woken: Condvar::new(),
            }
        }
    }
}

static_global! {
    static WAITERS: Waiters = Waiters::new();
}

/// Locks the list of the process.
pub(crate) fn lock() -> MutexGuard<'static, List> {
    sync::lock(&WAITERS.list)
}

/// Unlocks the list until threads are [woken](wake_all), or a `timeout` is over.
pub(crate) fn park(list: MutexGuard<'static, List>, timeout: Option<Duration>) -> MutexGuard<'static, List> {
    match timeout {
        Some(timeout) => {
            let woken = WAITERS.woken.wait_timeout(list, timeout);
            woken.unwrap_or_else(PoisonError::into_inner).0
        }
        None => WAITERS.woken.wait(list).unwrap_or_else(PoisonError::into_inner),
    }
}

/// Wakes all threads that are [parked](park).
pub(crate) fn wake_all() {
    WAITERS.woken.notify_all();
}

#[cfg(all(test, not(shadow_loom)))]
mod tests {
    use super::*;

    #[test]
    fn waiters_leave_the_list_from_any_place() {
        let threads = |list: &List| list.iter().map(|waiter| waiter.thread).collect::<Vec<_>>();
        for gone in 0..8_u64 {
            let waiters = [1, 2, 3].map(|thread| Waiter::new(thread, thread + 1, 7, 0));
            let mut list = List::new();
            // SAFETY: the waiters outlive the list.
            waiters.iter().for_each(|waiter| unsafe { list.add(waiter) });
            assert_eq!(threads(&list), [3, 2, 1]);
            assert!(list.waits_for(1, 4) && !list.waits_for(1, 5) && !list.waits_for(4, 1));
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
