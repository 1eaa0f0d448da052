//! Log events: with the feature `tracing`, `tracing` events; otherwise nothing.

use std::time::Duration;

use crate::ObjAddr;
use crate::error::{StoreError, TypeMismatch};
#[cfg(feature = "tracing")]
use crate::fork;
#[cfg(feature = "tracing")]
use crate::panics::FirstPanic;
use crate::reclaim::owned::Place;
#[cfg(feature = "tracing")]
use crate::sync::stat::{AtomicU64, Ordering};

/// Logs the error of a creation, if it is one that should be logged.
pub(crate) fn refused(error: &StoreError) {
    if let StoreError::Exists { obj, id } = error {
        duplicate(*obj, *id);
    }
}

/// Logs an `alloc` of a variable that exists already: usually a mistake, as in the kernel.
#[cold]
fn duplicate(_obj: ObjAddr, _id: u64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(obj = %_obj, id = format_args!("{_id:#x}"), "duplicate shadow variable");
}

/// Logs that an id was used with two types, where the operation itself can only return `None`.
#[cold]
pub(crate) fn mismatch(_mismatch: &TypeMismatch) {
    #[cfg(feature = "tracing")]
    // A subscriber that panics must not end the operation.
    FirstPanic::default().catch(|| {
        tracing::error!(
            id = format_args!("{:#x}", _mismatch.id),
            bound = _mismatch.bound,
            asked = _mismatch.asked,
            "shadow id used with two types"
        );
    });
}

/// Logs that reclamation is stalled because the system denies the barrier it relies on. Once per process, for all
/// backends.
#[cold]
pub(crate) fn barrier_denied(_readers: usize) {
    #[cfg(feature = "tracing")]
    {
        /// The generation of the process for which this was logged: the child of a fork has another one.
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let generation = fork::generation();
        // Relaxed: guards nothing.
        if TOLD.swap(generation, Ordering::Relaxed) == generation {
            return;
        }
        // Reclamation logs this, inside an operation that frees: a subscriber that panics must not end that operation.
        FirstPanic::default().catch(|| {
            tracing::warn!(
                readers = _readers,
                "membarrier is denied: freed variables wait until every thread that uses stores has pinned again, begun a unit, or ended"
            );
        });
    }
}

/// The holder of a guard.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nothing is logged"))]
pub(crate) enum Holder<'n> {
    /// A thread, with its name as the kernel stores it, padded with zeros.
    Thread(&'n [u8]),
    /// The holder of `count` owned guards that were made at a place, if that is known.
    Owned {
        count: usize,
        place: Option<&'static Place>,
    },
}

/// What a guard holds back.
pub(crate) enum Holds {
    /// Everything that is freed while it exists.
    All,
    /// What existed at the last look-up under it.
    Found,
}

#[cfg(feature = "tracing")]
impl std::fmt::Display for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::All => "nothing that is freed meanwhile is dropped",
            Self::Found => "nothing that is freed meanwhile is dropped if it existed at the last look-up",
        })
    }
}

/// Logs that a guard is held for too long. Once per guard.
#[cold]
pub(crate) fn old_guard(_holder: Holder<'_>, _age: Duration, _holds: Holds) {
    // A subscriber that panics must not end the operation, as above.
    #[cfg(feature = "tracing")]
    FirstPanic::default().catch(|| match _holder {
        Holder::Thread(name) => {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            tracing::warn!(
                thread = %name.utf8_chunks().next().map_or("", |chunk| chunk.valid()),
                age = ?_age,
                "a thread has held a guard for a long time: {_holds}"
            );
        }
        Holder::Owned { count, place } => tracing::warn!(
            guards = count,
            made_at = place.map(tracing::field::display),
            age = ?_age,
            "owned guards have been held for a long time: {_holds}"
        ),
    });
}
