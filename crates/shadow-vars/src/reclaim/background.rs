//! A thread of the process that drops what nobody else does, in services that fall idle.

use std::io;
use std::thread;
use std::time::Duration;

use super::object::Objects;
use super::retired::RetireLists;
use super::stores::Visitor;
use crate::fork;
use crate::sync::stat::{AtomicU64, Ordering};

/// How long it sleeps: what a value waits at most, twice, as a period that begins now may end with the next look.
const SLEEP: Duration = Duration::from_millis(40);

/// The generation of the process that has the thread, or 0.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// See [`start_reclaimer`](crate::start_reclaimer): for stores whose objects are such.
pub(crate) fn start<O: Objects>() -> io::Result<()> {
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
            RetireLists::<O>::visit_all(Visitor::Background);
            super::beat();
        }
    });
    started
        .map(drop)
        .inspect_err(|_| STARTED.store(before, Ordering::Relaxed))
}
