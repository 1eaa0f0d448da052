//! Waiting for another thread's constructor: parked, and never in a ring.
//!
//! Waiting is rare, so one lock for the process is enough: it guards the list of who waits for whom. A store's other
//! operations never touch it; a constructor's end does only if somebody waits.
//!
//! - **W1** A waiter is on the list, and the node's WAITERS bit set, before it parks; both under the lock.
//! - **W2** The builder ends the construction by one swap of the life word. If the swap finds the bit set, the builder
//!   takes the node's waiters off the list, under the lock, and wakes them. With W1: no wake-up is lost.
//! - **W3** A thread is on the list only while the builder that it waits for is building. So a chain of entries that
//!   leads back to the asking thread is a true deadlock, and each ring is refused to the thread that would close it.
//! - **W4** A waiter keeps its guard, so the node stays good for as long as it looks at it.

use crate::sync::{Condvar, Mutex, lock, thread_token};
use crate::table::NodeRef;
use crate::table::node::{Life, State};

/// Why a wait would never end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// This thread itself runs the constructor.
    Recursion,
    /// The builder waits, directly or through others, for this thread.
    Cycle,
}

struct Waiter {
    thread: u64,
    builder: u64,
    node: usize,
}

struct Waiters {
    list: Mutex<Vec<Waiter>>,
    woken: Condvar,
}

#[cfg(not(shadow_loom))]
static WAITERS: Waiters = Waiters {
    list: Mutex::new(Vec::new()),
    woken: Condvar::new(),
};

#[cfg(shadow_loom)]
crate::sync::lazy_static! {
    static ref WAITERS: Waiters = Waiters { list: Mutex::new(Vec::new()), woken: Condvar::new() };
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
        if leads_to(&list, life.builder(), me) {
            return Err(Refused::Cycle);
        }
        // W1. If the construction has just ended, look again.
        if node.add_waiter(life) {
            let address = node.as_ptr().addr().get();
            list.push(Waiter {
                thread: me,
                builder: life.builder(),
                node: address,
            });
            while list.iter().any(|waiter| waiter.thread == me) {
                list = WAITERS
                    .woken
                    .wait(list)
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }
}

/// Ends a construction: LIVE or FAILED for everybody, and wakes who waited for it.
pub(crate) fn publish(node: NodeRef<'_>, life: Life) {
    if node.publish(life).has_waiters() {
        // W2.
        let address = node.as_ptr().addr().get();
        lock(&WAITERS.list).retain(|waiter| waiter.node != address);
        WAITERS.woken.notify_all();
    }
}

/// The list, locked while the process forks (F2 of [`fork`](crate::fork)).
#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(crate) struct Frozen(crate::sync::MutexGuard<'static, Vec<Waiter>>);

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
pub(crate) fn freeze() -> Frozen {
    Frozen(lock(&WAITERS.list))
}

#[cfg(all(target_os = "linux", not(miri), not(shadow_loom)))]
impl Frozen {
    /// In the child, in which none of those who waited is there any more.
    pub(crate) fn forget_all(&mut self) {
        self.0.clear();
    }
}

/// Whether `builder` waits, directly or through others, for `thread`.
fn leads_to(list: &[Waiter], mut builder: u64, thread: u64) -> bool {
    // Each thread waits for at most one; by W3 there is no ring yet, so this ends.
    while let Some(waiter) = list.iter().find(|waiter| waiter.thread == builder) {
        if waiter.builder == thread {
            return true;
        }
        builder = waiter.builder;
    }
    false
}
