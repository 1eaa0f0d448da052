//! Looking up a batch of keys in stages, one behind the other, so that the memory of many is waited for at once.

use std::ptr::{self, NonNull};

use super::array::{BUCKET, Table};
use super::group::{Group, Tags};
use super::node::Node;
use super::probe::Key;
use super::{Core, NodeRef, Shield};
use crate::mem::prefetch;
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::sync::AtomicU64;

/// Look-ups of one batch: so few that what they load stays in a core's first cache.
pub(crate) const BATCH: usize = 64;

/// Look-ups between asking for a bucket and looking at it, and between that and looking at the node: enough to keep a
/// core's line-fill buffers busy all the while.
const AHEAD: usize = 24;

/// A look-up on its way.
#[derive(Clone, Copy)]
struct Staged<'g> {
    bucket: &'g [AtomicU64; BUCKET],
    /// As [`Key`]'s `wide_tag`.
    tag: u32,
    /// Where the first slot with the tag leads to. Null if there is none, or no LINK.
    node: *const Node,
}

impl<R: Reclaim> Core<R> {
    /// Finds the live nodes of up to [`BATCH`] keys, each as [`find`](Self::find) does. A key without an entry has none.
    /// Asks for each key twice.
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
            if step < count {
                let (obj, entry) = key(step);
                let hash = self.hasher.hash(obj).with(entry.map_or(0, |entry| entry.salt));
                let staged = &mut staged[step];
                staged.bucket = root.home_bucket(hash);
                prefetch(staged.bucket);
                staged.tag = hash.point as u32;
            }
            let at = step.wrapping_sub(ahead);
            if at < count {
                let staged = &mut staged[at];
                if let Some(lane) = Group::load(staged.bucket).with(Tags::new(staged.tag)).first()
                    && let Some(node) = shield.load(|order| root.load_lane(staged.bucket, lane, order)).linked()
                {
                    staged.node = node.as_ptr();
                    prefetch(staged.node);
                }
            }
            let at = step.wrapping_sub(2 * ahead);
            if at < count {
                let (obj, entry) = key(at);
                let node = NonNull::new(staged[at].node.cast_mut()).map(|node| NodeRef::new(shield, node));
                found(
                    at,
                    match (node, entry) {
                        // L1.
                        (Some(node), Some(entry)) if node.is_live_for(obj, entry) => Some(node),
                        (_, Some(entry)) => self.find(shield, obj, entry),
                        _ => None,
                    },
                );
            }
        }
    }

    /// The home bucket of a key in the root, asked for: for an insert that has something else to do first.
    #[inline]
    pub(crate) fn home_ahead<'g>(
        &'g self,
        shield: Shield<'g, R>,
        key: &Key<'_>,
    ) -> (&'g Table, &'g [AtomicU64; BUCKET]) {
        let root = self.root(shield);
        let bucket = root.home_bucket(key.hash);
        prefetch(bucket);
        (root, bucket)
    }
}
