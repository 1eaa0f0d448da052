//! Looking up a batch of keys in stages, so that the memory of many is waited for at once.

use super::array::Table;
use super::group::Group;
use super::node::Node;
use super::probe::Key;
use super::{Core, NodeRef, Shield};
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;

/// Look-ups under way at once: enough to keep a core's line-fill buffers busy, few enough to stay in its first cache.
pub(crate) const BATCH: usize = 32;

impl<R: Reclaim> Core<R> {
    /// Finds the live nodes of up to [`BATCH`] keys, each as [`find`](Self::find) does. A key without an entry has none.
    #[inline]
    pub(crate) fn find_batch<'g>(
        &'g self,
        shield: Shield<'g>,
        keys: &[(usize, Option<&'g IdEntry>)],
        mut found: impl FnMut(usize, Option<NodeRef<'g>>),
    ) {
        let root = self.root(shield);
        let mut staged = [const { None }; BATCH];
        for (&(obj, entry), staged) in keys.iter().zip(&mut staged) {
            *staged = entry.map(|entry| (self.key(obj, entry), None));
            if let Some((key, _)) = staged {
                prefetch(root.home_bucket(key.hash));
            }
        }
        for (key, node) in staged.iter_mut().flatten() {
            *node = self.candidate(shield, root, key);
            if let Some(node) = *node {
                prefetch::<Node>(node.as_ptr().as_ptr());
            }
        }
        for (at, staged) in staged.iter().take(keys.len()).enumerate() {
            found(
                at,
                staged.as_ref().and_then(|(key, node)| match *node {
                    // What `look` says of the first slot with the key's tag.
                    Some(node) if node.is_for(key.obj, key.entry) && node.is_live() => Some(node),
                    _ => self.find(shield, key.obj, key.entry),
                }),
            );
        }
    }

    /// The node that a key most likely leads to: the first in its home bucket with the key's tag. Not looked at yet.
    #[inline]
    fn candidate<'g>(&'g self, shield: Shield<'g>, root: &'g Table, key: &Key<'_>) -> Option<NodeRef<'g>> {
        let bucket = root.home_bucket(key.hash);
        let lane = Group::load(bucket).with_tag(key.tag).next()?;
        let node = root.load_lane(bucket, lane, R::LOAD).link_with(key.tag)?;
        Some(NodeRef::new(shield, node))
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
