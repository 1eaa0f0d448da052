//! The slots of a table: one allocation, a bucket to a cache line.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::group::BUCKET;
use crate::mapping;
use crate::sync::AtomicU64;

/// The index of a slot in a table: in bounds by construction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotIndex(pub(super) usize);

impl SlotIndex {
    /// Returns the index of the slot's bucket.
    pub(super) fn bucket(self) -> usize {
        self.0 / BUCKET
    }
}

/// Zeroed slots, a bucket to a cache line. Their address is the first field, in the cache line of the table that every
/// operation reads.
#[repr(C)]
pub(super) struct Slots {
    pub(super) first: NonNull<AtomicU64>,
    /// The allocation, which begins up to 56 bytes before the first slot.
    allocation: NonNull<u8>,
    layout: Layout,
}

impl Slots {
    /// Allocates zeroed slots. Requests alignment 8 and aligns by hand: so large arrays may come as untouched zero pages,
    /// which the allocator would have to clear for a stricter alignment.
    pub(super) fn alloc(slots: usize) -> Option<Self> {
        const LINE: usize = 64;
        let array = Layout::array::<AtomicU64>(slots).ok()?;
        // A mapping is aligned already.
        let room = if mapping::is_mapped(array) { 0 } else { LINE };
        let layout = Layout::from_size_align(array.size().checked_add(room)?, array.align()).ok()?;
        // SAFETY: no array of slots is empty.
        let allocation = unsafe { mapping::alloc(layout, true) }?;
        let pad = allocation.align_offset(LINE).min(room);
        // SAFETY: the allocation has room for the padding.
        let first = unsafe { allocation.add(pad) }.cast::<AtomicU64>();
        #[cfg(shadow_loom)]
        for slot in 0..slots {
            // SAFETY: in bounds of the allocation (loom's atomics are laid out as in `array`).
            unsafe { first.add(slot).write(AtomicU64::new(0)) };
        }
        Some(Self {
            first,
            allocation,
            layout,
        })
    }

    #[inline]
    pub(super) fn get(&self, slot: SlotIndex) -> &AtomicU64 {
        // SAFETY: `Table::index` wraps into the bounds; zero bytes are a valid AtomicU64 (an EMPTY word).
        unsafe { self.first.add(slot.0).as_ref() }
    }
}

// SAFETY: owns an array of atomics.
unsafe impl Send for Slots {}
// SAFETY: an array of atomics.
unsafe impl Sync for Slots {}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the slots are not used any more.
        unsafe { mapping::dealloc(self.allocation, self.layout) };
    }
}
