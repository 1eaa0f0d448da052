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

use std::ptr;

#[cfg(feature = "rayon")]
use crate::stealing;
use crate::sync::{MutexGuard, thread_token};
use crate::table::NodeRef;
use crate::table::node::{Life, State};
use crate::waiters::{self, List, Waiter};

/// The reason why a wait would never end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// This thread itself runs the constructor.
    Recursion,
    /// The builder waits, directly or through others, for this thread.
    Cycle,
}

/// Waits until the node is no longer under construction. May wait for as long as the constructor runs.
pub(crate) fn wait(node: NodeRef<'_>) -> Result<(), Refused> {
    let me = thread_token();
    let mut list = waiters::lock();
    loop {
        let life = node.life();
        if life.state() != State::Building {
            return Ok(());
        }
        if life.builder() == me {
            return Err(Refused::Recursion);
        }
        if list.waits_for(life.builder(), me) {
            return Err(Refused::Cycle);
        }
        // W1. If the construction has just ended, check again.
        if node.add_waiter(life) {
            let node = node.as_ptr().addr().get();
            let waiter = Waiter::new(me, life.builder(), node, stealing::mate());
            // SAFETY: `park` returns when the waiter is off the list, and nothing in it unwinds.
            unsafe { list.add(&waiter) };
            list = park(list, &waiter)?;
        }
    }
}

/// Waits until the waiter is off the list: because the construction has ended, or because it never would.
fn park(mut list: MutexGuard<'static, List>, waiter: &Waiter) -> Result<MutexGuard<'static, List>, Refused> {
    if let Some(mut watch) = stealing::Watch::of_this_thread() {
        while waiter.waits(&list) {
            list = waiters::park(list, Some(watch.pause()));
            if waiter.waits(&list) && watch.is_due(&list) {
                drop(list);
                let replies = watch.poll_workers();
                list = waiters::lock();
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
        list = waiters::park(list, None);
    }
    Ok(list)
}

/// Ends a construction as LIVE or FAILED, and wakes the threads that wait for it.
pub(crate) fn publish(node: NodeRef<'_>, life: Life) {
    if node.publish(life).has_waiters() {
        // W2.
        let address = node.as_ptr().addr().get();
        waiters::lock().take_off(|waiter| waiter.node == address);
        waiters::wake_all();
    }
}

/// Without thread pools, no wait depends on another thread's stack.
#[cfg(not(feature = "rayon"))]
mod stealing {
    use std::time::Duration;

    use crate::waiters::List;

    pub(super) enum Watch {}

    impl Watch {
        pub(super) fn of_this_thread() -> Option<Self> {
            None
        }

        pub(super) fn pause(&self) -> Duration {
            match *self {}
        }

        pub(super) fn is_due(&mut self, _: &List) -> bool {
            match *self {}
        }

        pub(super) fn poll_workers(&mut self) -> Vec<()> {
            match *self {}
        }

        pub(super) fn is_stuck(&mut self, _: &List, _replies: Vec<()>) -> bool {
            match *self {}
        }
    }

    pub(super) fn mate() -> u64 {
        0
    }
}
