//! Look-ups of a batch of keys, in pipelined stages, so that the cache misses of many keys overlap.

use std::ptr::{self, NonNull};

use super::group::{BUCKET, Tags};
use super::node::Node;
use super::scan::BucketScan;
use super::{Core, NodeRef, Shield};
use crate::entry::IdEntry;
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::sync::AtomicU64;

/// The most look-ups in one batch: few enough that what they load stays in a core's first-level cache.
pub(crate) const BATCH: usize = 64;

/// Look-ups between the prefetch of a bucket and its use, and between that and the use of the node: enough to keep a core's
/// line-fill buffers busy throughout.
const AHEAD: usize = 24;

/// A look-up in progress.
#[derive(Clone, Copy)]
struct Staged<'g> {
    bucket: &'g [AtomicU64; BUCKET],
    /// [`Key`](super::key::Key)'s `wide_tag`.
    tag: u32,
    /// The node that the first slot with the tag leads to. Null if there is none, or the slot is not a LINK.
    node: *const Node,
}

impl<R: Reclaim> Core<R> {
    /// Finds the live nodes of up to [`BATCH`] keys, each as [`find`](Self::find) does, and calls `found` with each. A key
    /// without an entry has none. Calls `key` twice for each.
    #[inline]
    pub(crate) fn find_batch<'g>(
        &'g self,
        shield: Shield<'g, R>,
        count: usize,
        key: impl Fn(usize) -> (usize, Option<&'g IdEntry>),
        mut found: impl FnMut(usize, Option<NodeRef<'g>>),
    ) {
        let root = self.root(shield);
        let mut staged = [Staged {
            bucket: root.bucket(0),
            tag: 0,
            node: ptr::null(),
        }; BATCH];
        let count = count.min(BATCH);
        let ahead = AHEAD.min(count);
        for step in 0..count + 2 * ahead {
            // Stage 1: prefetch the home bucket.
            if step < count {
                let (obj, entry) = key(step);
                let hash = self.hasher.hash(obj).with(entry.map_or(0, |entry| entry.salt));
                let staged = &mut staged[step];
                staged.bucket = root.home_bucket(hash);
                prefetch(staged.bucket);
                staged.tag = hash.point as u32;
            }
            // Stage 2: prefetch the node.
            let at = step.wrapping_sub(ahead);
            if at < count {
                let staged = &mut staged[at];
                let mut scan = BucketScan::new(root, staged.bucket, Tags::new(staged.tag));
                if let Some(site) = scan.next(shield)
                    && let Some(node) = site.linked()
                {
                    staged.node = node.as_ptr().as_ptr();
                    prefetch(staged.node);
                }
            }
            // Stage 3: check the node (L1), or look the key up by itself.
            let at = step.wrapping_sub(2 * ahead);
            if at < count {
                let (obj, entry) = key(at);
                let node = NonNull::new(staged[at].node.cast_mut());
                // SAFETY: read from a slot under the shield's guard, in stage 2.
                let node = node.map(|node| unsafe { NodeRef::new(node) });
                found(
                    at,
                    match (node, entry) {
                        (Some(node), Some(entry)) if node.is_live_for(obj, entry) => Some(node),
                        (_, Some(entry)) => self.find(shield, obj, entry),
                        _ => None,
                    },
                );
            }
        }
    }
}
