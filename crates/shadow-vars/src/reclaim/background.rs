//! The background reclaimer: a thread that drops what no other thread does, in services that become idle.

use std::io;
use std::thread;
use std::time::Duration;

use super::object::Objects;
use super::retired::RetireLists;
use super::stores::Visitor;
use super::watch;
use crate::fork;
use crate::sync::stat::{AtomicU64, Ordering};

/// The time between two visits. A value waits at most twice this, as a period that begins now may end with the next
/// visit.
const SLEEP: Duration = Duration::from_millis(40);

/// The process generation that has started the thread, or 0.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// See [`start_reclaimer`](crate::start_reclaimer); for stores with objects of type `O`.
pub(crate) fn start<O: Objects>() -> io::Result<()> {
    let generation = fork::generation();
    // Relaxed, both: guards no other data.
    let before = STARTED.swap(generation, Ordering::Relaxed);
    if before == generation {
        return Ok(());
    }
    let thread = thread::Builder::new().name("shadow-reclaimer".to_owned());
    let started = thread.spawn(|| {
        loop {
            thread::sleep(SLEEP);
            RetireLists::<O>::visit_all(Visitor::Background);
            watch::beat();
        }
    });
    started
        .map(drop)
        .inspect_err(|_| STARTED.store(before, Ordering::Relaxed))
}
