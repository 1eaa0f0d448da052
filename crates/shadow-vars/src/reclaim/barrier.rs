//! The barriers of [`asymmetric_barrier`], which a model can do without to show that they are needed.

use asymmetric_barrier::Reader;
pub(super) use asymmetric_barrier::unsettled;

use crate::shard;
use crate::table::defect::{Defect, planted_everywhere};

/// Whether a model's system refuses its barrier; then light ones are nothing.
#[cfg(all(test, shadow_loom))]
pub(crate) static REFUSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[cfg(all(test, shadow_loom))]
fn is_refused() -> bool {
    REFUSED.load(std::sync::atomic::Ordering::Relaxed)
}

/// Never, but in models.
#[inline(always)]
#[cfg(not(all(test, shadow_loom)))]
fn is_refused() -> bool {
    false
}

/// Pairs with [`heavy`]. The reader is the caller's, and active. Where it is a fence, the thread's shard has one, too.
#[inline(always)]
pub(super) fn light(reader: &Reader) {
    if planted_everywhere(Defect::NoLightBarrier) || is_refused() {
        return;
    }
    if reader.light() {
        shard::fence();
    }
}

/// Pairs with [`light`]. Whether there was one.
#[must_use]
pub(super) fn heavy() -> bool {
    if planted_everywhere(Defect::NoHeavyBarrier) {
        return true;
    }
    !is_refused() && asymmetric_barrier::heavy()
}
