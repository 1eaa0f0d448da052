//! Tests that need access to the internals: models, planted defects, threads stopped in the middle of a step.

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

#[cfg(not(shadow_loom))]
use crate::reclaim::alone;
