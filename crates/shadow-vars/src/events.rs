//! What a log should tell: `tracing` events with the feature of that name, nothing without.

use crate::ObjAddr;
use crate::error::{StoreError, TypeMismatch};

/// What a creation was refused for, if a log should tell.
pub(crate) fn refused(error: &StoreError) {
    if let StoreError::Exists { obj, id } = error {
        duplicate(*obj, *id);
    }
}

/// `alloc` of a variable that exists: mostly a mistake, as in the kernel.
#[cold]
fn duplicate(_obj: ObjAddr, _id: u64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(obj = %_obj, id = format_args!("{_id:#x}"), "duplicate shadow variable");
}

/// One id used with two types, where the operation itself can only answer "nothing".
#[cold]
pub(crate) fn mismatch(_mismatch: &TypeMismatch) {
    #[cfg(feature = "tracing")]
    tracing::error!(
        id = format_args!("{:#x}", _mismatch.id),
        bound = _mismatch.bound,
        asked = _mismatch.asked,
        "shadow id used with two types"
    );
}

/// Reclamation stands still: the system refuses the barrier that it stands on. Once a process.
#[cold]
pub(crate) fn barrier_denied(_readers: usize) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        readers = _readers,
        "membarrier is denied: freed variables wait until every thread that uses stores has pinned once more, or begun a unit, or ended"
    );
}
