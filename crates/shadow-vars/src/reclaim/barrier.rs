//! The barriers of [`asymmetric_barrier`], which a model can do without to show that they are needed.

use crate::table::defect::{Defect, planted_everywhere};

pub(super) use asymmetric_barrier::{compiler, init, is_compilers};

/// Pairs with [`heavy`].
#[inline]
pub(super) fn light() {
    if planted_everywhere(Defect::NoLightBarrier) {
        return;
    }
    asymmetric_barrier::light();
}

/// Pairs with [`light`]. Whether there was one.
#[must_use]
pub(super) fn heavy() -> bool {
    if planted_everywhere(Defect::NoHeavyBarrier) {
        return true;
    }
    asymmetric_barrier::heavy()
}
