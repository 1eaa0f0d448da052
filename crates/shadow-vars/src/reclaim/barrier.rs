//! The barriers of [`asymmetric_barrier`], which a model can do without to show that they are needed.

use asymmetric_barrier::Reader;
pub(super) use asymmetric_barrier::unsettled;

use crate::defect::{Defect, is_refused, planted_everywhere};
use crate::shard;
use crate::sync::{Ordering, compiler_fence};

/// A light barrier: a compiler fence, where that suffices. Returns whether it did: if not, the caller has to [`fence`].
#[inline(always)]
#[must_use]
pub(super) fn light(do_they: bool) -> bool {
    compiler_fence(Ordering::SeqCst);
    do_they || planted_everywhere(Defect::NoLightBarrier) || is_refused()
}

/// The light barrier of a reader, where it is a fence.
#[cold]
#[inline(never)]
pub(super) fn fence(reader: &Reader) {
    reader.light();
}

/// The heavy barrier, which pairs with [`light`]. Returns whether there was one.
#[must_use]
pub(super) fn heavy() -> bool {
    if planted_everywhere(Defect::NoHeavyBarrier) {
        return true;
    }
    !is_refused() && asymmetric_barrier::heavy()
}

/// The light barrier of this thread as the owner of a shard: between retiring an object and its next loads.
#[inline(always)]
pub(super) fn light_of_owner() {
    if !light(asymmetric_barrier::is_asymmetric()) {
        fence_of_owner();
    }
}

/// The light barrier of a shard's owner, where it is a fence.
#[cold]
#[inline(never)]
fn fence_of_owner() {
    // SeqCst: as the fence that lets a reader settle; and the only barrier that a model's threads have.
    crate::sync::fence(Ordering::SeqCst);
    if let Some(reader) = shard::reader() {
        fence(reader);
    }
}
