//! Asking for memory ahead of time, for batches.

use super::array::{BUCKET, Table};
use super::node::Node;
use super::probe::Key;
use super::word::Kind;
use super::{Core, Shield};
use crate::reclaim::Reclaim;

impl<R: Reclaim> Core<R> {
    /// Asks for the home bucket of a parent.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, shield: Shield<'_>, obj: usize) {
        let root = self.root(shield);
        prefetch(root.line(self.hasher.hash(obj).home(root.log2)));
    }

    /// Asks for the node that a key most likely leads to: the first in its home bucket with the key's tag.
    #[inline]
    pub(crate) fn prefetch_node(&self, shield: Shield<'_>, key: &Key<'_>) {
        let root: &Table = self.root(shield);
        let home = key.hash.home(root.log2);
        for position in 0..BUCKET {
            let word = root.load(root.index(home, position), R::LOAD);
            if let Kind::Link(node) | Kind::Frozen(node) = word.kind()
                && word.tag() == key.tag
            {
                return prefetch::<Node>(node.as_ptr());
            }
        }
    }
}

/// Starts to load the cache line at this address, if the platform has a way to say so. Never faults.
#[inline]
fn prefetch<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
