//! What one thread has unlinked and not yet retired: a sweep retires by the batch.

use std::ptr::{self, NonNull};

use crate::table::node::Node;

/// Dead nodes, linked through their life words, newest first.
pub(crate) struct Chain {
    pub(super) first: *mut Node,
    pub(super) last: Option<NonNull<Node>>,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: None,
            count: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// # Safety
    ///
    /// The node is dead, unlinked by this thread, in no chain, and has so many bytes.
    #[inline]
    pub(crate) unsafe fn push(&mut self, node: NonNull<Node>, bytes: u64) {
        self.bytes += bytes;
        // SAFETY: the caller's.
        unsafe { node.as_ref().set_next_retired(self.first) };
        node.as_ptr().expose_provenance();
        self.first = node.as_ptr();
        self.last.get_or_insert(node);
        self.count += 1;
    }
}
