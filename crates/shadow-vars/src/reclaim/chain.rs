//! What one thread has unlinked and not yet retired: a sweep retires by the batch.

use std::ptr::{self, NonNull};

use super::object::Link;

/// Objects that are linked, newest first.
pub(crate) struct Chain {
    pub(super) first: *mut Link,
    pub(super) last: Option<NonNull<Link>>,
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// What they own beside that.
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

    /// # Safety
    ///
    /// The object is unlinked by this thread, in no chain, and has so many bytes; it owns so much more.
    #[inline]
    pub(crate) unsafe fn push(&mut self, object: NonNull<Link>, bytes: u64, weight: u64) {
        self.bytes += bytes;
        self.weight = self.weight.saturating_add(weight);
        // SAFETY: the caller's.
        unsafe { object.as_ref().set_next(self.first) };
        object.as_ptr().expose_provenance();
        self.first = object.as_ptr();
        self.last.get_or_insert(object);
        self.count += 1;
    }
}
