//! Shared by tests of one process: there is one registry, so a test that changes patches takes a lock.

#![allow(dead_code, reason = "each test has its own part")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use livepatch::registry;

/// Locks out other tests that change patches.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the end of the transition.
pub(crate) fn settle() {
    registry().wait(Duration::from_secs(20)).unwrap();
}

/// Returns how long stress tests run: `SHADOW_STRESS_SECONDS`, or by default as given.
pub(crate) fn seconds(usual: f64) -> Duration {
    let given = std::env::var("SHADOW_STRESS_SECONDS").ok();
    Duration::from_secs_f64(given.map_or(usual, |seconds| seconds.parse().unwrap()))
}
