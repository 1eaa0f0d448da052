//! Objects that one thread has unlinked and not yet retired: a sweep retires in batches.

use std::ptr::{self, NonNull};

use super::object::Link;

/// A linked list of objects, newest first.
pub(crate) struct Chain {
    pub(super) first: *mut Link,
    pub(super) last: Option<NonNull<Link>>,
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// The sum of what they own besides their bytes.
    pub(super) weight: u64,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: None,
            count: 0,
            bytes: 0,
            weight: 0,
        }
    }

    /// Adds an object of this size that owns `weight` bytes more.
    ///
    /// # Safety
    ///
    /// The object was unlinked by this thread, is in no chain, and has this size.
    #[inline]
    pub(crate) unsafe fn push(&mut self, object: NonNull<Link>, bytes: u64, weight: u64) {
        self.bytes += bytes;
        self.weight = self.weight.saturating_add(weight);
        // SAFETY: the caller guarantees that the object is unlinked and in no chain.
        unsafe { object.as_ref().set_next(self.first) };
        object.as_ptr().expose_provenance();
        self.first = object.as_ptr();
        self.last.get_or_insert(object);
        self.count += 1;
    }
}
