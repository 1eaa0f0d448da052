//! A magazine: the free memory of one class that a shard has cached.

use std::ptr::{self, NonNull};

use crate::sync::{Ordering, compiler_fence};

/// Sizes are rounded up to a multiple of this; stricter alignments are not packed.
pub(super) const STEP: usize = 16;

/// A free node, linked to the next.
pub(super) struct FreeNode {
    pub(super) next: *mut FreeNode,
}

/// Cached free memory of one class.
pub(super) struct Magazine {
    pub(super) first: *mut FreeNode,
    /// The length of `first`, or about that (M4).
    pub(super) count: usize,
    /// The length of a full list.
    pub(super) full: usize,
    /// A full list, or null.
    pub(super) spare: *mut FreeNode,
    /// Memory that was never used, and its end.
    pub(super) fresh: *mut u8,
    pub(super) end: *mut u8,
}

/// Orders the stores before it before those after it, within this thread (M4).
#[inline(always)]
fn keep_order() {
    compiler_fence(Ordering::SeqCst);
}

impl Magazine {
    pub(super) fn new(full: usize) -> Self {
        Self {
            first: ptr::null_mut(),
            count: 0,
            full,
            spare: ptr::null_mut(),
            fresh: ptr::null_mut(),
            end: ptr::null_mut(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null() && self.spare.is_null() && self.fresh == self.end
    }

    /// Pops from the list.
    #[inline]
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: in a magazine's list, so it is free and linked (M1).
        self.first = unsafe { first.as_ref() }.next;
        // The count may be wrong (M4).
        self.count = self.count.wrapping_sub(1);
        Some(first.cast())
    }

    /// Pops from the list, the spare list, or the memory that was never used.
    ///
    /// # Safety
    ///
    /// All memory in the magazine is of this class.
    #[inline]
    pub(super) unsafe fn pop_any(&mut self, class: usize) -> Option<NonNull<u8>> {
        if let Some(memory) = self.pop() {
            return Some(memory);
        }
        if let Some(spare) = NonNull::new(std::mem::replace(&mut self.spare, ptr::null_mut())) {
            keep_order();
            // SAFETY: as in `pop`.
            self.first = unsafe { spare.as_ref() }.next;
            self.count = self.full - 1;
            return Some(spare.cast());
        }
        if self.fresh == self.end {
            return None;
        }
        let fresh = NonNull::new(self.fresh);
        // SAFETY: a whole number of nodes lies between the two, which are of this class, as the caller guarantees.
        self.fresh = unsafe { self.fresh.add((class + 1) * STEP) };
        fresh
    }

    /// Pushes onto the list. If that was full, it becomes the spare one, and the previous spare list is returned.
    ///
    /// # Safety
    ///
    /// The memory is free, and of the magazine's class.
    #[inline]
    pub(super) unsafe fn push(&mut self, free: NonNull<FreeNode>) -> Option<NonNull<FreeNode>> {
        let full = if self.count >= self.full {
            self.count = 0;
            let first = std::mem::replace(&mut self.first, ptr::null_mut());
            keep_order();
            NonNull::new(std::mem::replace(&mut self.spare, first))
        } else {
            None
        };
        // SAFETY: the caller guarantees that the memory is free; memory of any class has room for a link, and its alignment.
        unsafe { free.write(FreeNode { next: self.first }) };
        keep_order();
        self.first = free.as_ptr();
        self.count += 1;
        full
    }
}
