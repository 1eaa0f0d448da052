//! Tests that need to look inside: models, planted defects, threads stopped in the middle of a step.

#[cfg(shadow_loom)]
mod loom;

#[cfg(not(shadow_loom))]
mod defects;
#[cfg(not(shadow_loom))]
mod far;
#[cfg(not(shadow_loom))]
mod interleave;
#[cfg(not(shadow_loom))]
mod lagging;
#[cfg(not(shadow_loom))]
mod places;
#[cfg(not(shadow_loom))]
mod pool;
#[cfg(not(shadow_loom))]
mod shape;
#[cfg(not(shadow_loom))]
mod sizes;
#[cfg(not(shadow_loom))]
mod stall;
#[cfg(not(shadow_loom))]
mod stalled;
#[cfg(not(shadow_loom))]
mod teardown;

/// For tests that ask what was reclaimed of a [`Checked`](crate::reclaim::checked::Checked) store, or that keep guards of one
/// for long: its guards are one book for the process, so they must not run beside each other.
#[cfg(not(shadow_loom))]
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
