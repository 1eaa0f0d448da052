//! Log events: with the feature `tracing`, `tracing` events; otherwise nothing.

use crate::error::StoreError;
use crate::reclaim::owned::Place;

pub(crate) use self::imp::{barrier_denied, mismatch, old_guard};

/// Logs the error of a creation, if it is one that should be logged.
pub(crate) fn refused(error: &StoreError) {
    if let StoreError::Exists { obj, id } = error {
        imp::duplicate(*obj, *id);
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
mod imp {
    use std::fmt;
    use std::time::Duration;

    use super::{Holder, Holds};
    use crate::ObjAddr;
    use crate::error::TypeMismatch;
    use crate::fork;
    use crate::panics::FirstPanic;
    use crate::sync::stat::{AtomicU64, Ordering};

    /// The target of all events, by which programs filter them.
    const TARGET: &str = "shadow_vars::events";

    /// Logs an `alloc` of a variable that exists already: usually a mistake, as in the kernel.
    #[cold]
    pub(crate) fn duplicate(obj: ObjAddr, id: u64) {
        tracing::warn!(target: TARGET, obj = %obj, id = format_args!("{id:#x}"), "duplicate shadow variable");
    }

    /// Logs that an id was used with two types, where the operation itself can only return `None`.
    #[cold]
    pub(crate) fn mismatch(mismatch: &TypeMismatch) {
        // A subscriber that panics must not end the operation.
        FirstPanic::default().catch(|| {
            tracing::error!(
                target: TARGET,
                id = format_args!("{:#x}", mismatch.id),
                bound = mismatch.bound,
                asked = mismatch.asked,
                "shadow id used with two types"
            );
        });
    }

    /// Logs that reclamation is stalled because the system denies the barrier it relies on. Once per process, for all
    /// backends.
    #[cold]
    pub(crate) fn barrier_denied(readers: usize) {
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
                target: TARGET,
                readers,
                "membarrier is denied: freed variables wait until every thread that uses stores has pinned again, begun a unit, or ended"
            );
        });
    }

    /// Logs that a guard is held for too long. Once per guard.
    #[cold]
    pub(crate) fn old_guard(holder: Holder<'_>, age: Duration, holds: Holds) {
        // A subscriber that panics must not end the operation, as above.
        FirstPanic::default().catch(|| match holder {
            Holder::Thread(name) => {
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                tracing::warn!(
                    target: TARGET,
                    thread = %name.utf8_chunks().next().map_or("", |chunk| chunk.valid()),
                    age = ?age,
                    "a thread has held a guard for a long time: {holds}"
                );
            }
            Holder::Owned { count, place } => tracing::warn!(
                target: TARGET,
                guards = count,
                made_at = place.map(tracing::field::display),
                age = ?age,
                "owned guards have been held for a long time: {holds}"
            ),
        });
    }

    impl fmt::Display for Holds {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::All => "nothing that is freed meanwhile is dropped",
                Self::Found => "nothing that is freed meanwhile is dropped if it existed at the last look-up",
            })
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    use std::time::Duration;

    use super::{Holder, Holds};
    use crate::ObjAddr;
    use crate::error::TypeMismatch;

    pub(crate) fn duplicate(_: ObjAddr, _id: u64) {}

    pub(crate) fn mismatch(_: &TypeMismatch) {}

    pub(crate) fn barrier_denied(_readers: usize) {}

    pub(crate) fn old_guard(_: Holder<'_>, _age: Duration, _: Holds) {}
}
