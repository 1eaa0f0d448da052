//! A thread of the process that drops what nobody else does, in services that fall idle.

use std::io;
use std::thread;
use std::time::Duration;

use super::stores::Visitor;
use super::{pace, stores};
use crate::fork;
use crate::sync::stat::{AtomicU64, Ordering};

/// How long it sleeps: what a value waits at most, twice, as a period that begins now may end with the next look.
const SLEEP: Duration = Duration::from_millis(40);

/// The generation of the process that has the thread, or 0.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Starts the background reclaimer: a thread that drops freed values with destructors, of every store of the process, within
/// 100 ms of the moment when no guard holds them back any more, even if nothing happens in any store. Without it they are
/// dropped by later operations (see [`docs::limits`](crate::docs::limits)), which a service that falls idle does not make.
///
/// One thread for the process, to its end: does nothing if it runs already. It wakes 25 times a second, and costs readers nothing.
/// The child of a fork has none until it calls this.
///
/// # Errors
///
/// If the system gives no thread.
pub fn start_reclaimer() -> io::Result<()> {
    let generation = fork::generation();
    // Relaxed, both: guards nothing.
    let before = STARTED.swap(generation, Ordering::Relaxed);
    if before == generation {
        return Ok(());
    }
    let thread = thread::Builder::new().name("shadow-reclaimer".to_owned());
    let started = thread.spawn(|| {
        loop {
            thread::sleep(SLEEP);
            if pace::is_waiting() {
                stores::visit_all(Visitor::Background);
            }
        }
    });
    started
        .map(drop)
        .inspect_err(|_| STARTED.store(before, Ordering::Relaxed))
}
