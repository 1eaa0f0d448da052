//! What a log should tell: `tracing` events with the feature of that name, nothing without.

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

/// Reclamation stands still: the system refuses the barrier that it stands on. Told once a process, whatever the backends.
#[cold]
pub(crate) fn barrier_denied(_readers: usize) {
    #[cfg(feature = "tracing")]
    {
        /// The generation of the process that was told: the child of a fork is another.
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let generation = fork::generation();
        // Relaxed: guards nothing.
        if TOLD.swap(generation, Ordering::Relaxed) == generation {
            return;
        }
        // Reclamation tells it, in the middle of whatever frees: a subscriber that panics must not end that.
        FirstPanic::default().catch(|| {
            tracing::warn!(
                readers = _readers,
                "membarrier is denied: freed variables wait until every thread that uses stores has pinned once more, or begun a unit, or ended"
            );
        });
    }
}

/// Who holds a guard.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nobody is told"))]
pub(crate) enum Holder<'n> {
    /// The thread of this name, as far as the kernel keeps it, filled up with zeros.
    Thread(&'n [u8]),
    /// Whoever has so many owned guards that were made there.
    Owned {
        count: usize,
        place: Option<&'static Place>,
    },
}

/// What a guard holds back.
pub(crate) enum Holds {
    /// Whatever is freed while it exists.
    All,
    /// What existed when something was last looked up under it.
    Found,
}

#[cfg(feature = "tracing")]
impl std::fmt::Display for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::All => "nothing that was freed meanwhile is dropped",
            Self::Found => "nothing that was freed meanwhile is dropped, if it existed at the last look-up",
        })
    }
}

/// A guard is held for too long. Once a guard.
#[cold]
pub(crate) fn old_guard(_holder: Holder<'_>, _age: Duration, _holds: Holds) {
    // As above.
    #[cfg(feature = "tracing")]
    FirstPanic::default().catch(|| match _holder {
        Holder::Thread(name) => {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            tracing::warn!(
                thread = %name.utf8_chunks().next().map_or("", |chunk| chunk.valid()),
                age = ?_age,
                "a thread holds a guard for long: {_holds}"
            );
        }
        Holder::Owned { count, place } => tracing::warn!(
            guards = count,
            made_at = place.map(tracing::field::display),
            age = ?_age,
            "owned guards are held for long: {_holds}"
        ),
    });
}
