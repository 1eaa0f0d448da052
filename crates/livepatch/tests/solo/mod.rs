//! What tests of one process share: the registry is one, so who changes patches is alone.

#![allow(dead_code, reason = "each test has its own part")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use livepatch::registry;

/// Nobody else changes patches meanwhile.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the end of the transition.
pub(crate) fn settle() {
    registry().wait(Duration::from_secs(20)).unwrap();
}

/// How long stress tests run: `SHADOW_STRESS_SECONDS`, else as given.
pub(crate) fn seconds(usual: f64) -> Duration {
    let given = std::env::var("SHADOW_STRESS_SECONDS").ok();
    Duration::from_secs_f64(given.map_or(usual, |seconds| seconds.parse().unwrap()))
}
