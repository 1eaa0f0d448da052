//! The index from ids to entries: open addressing; it only grows.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::{self, NonNull};

use crate::entry::IdEntry;
use crate::sync::stat::{AtomicPtr, Ordering};

/// 2^64 divided by the golden ratio: its multiples differ in their high bits.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// An array of pointers after its mask, in one allocation, which saves look-ups a dependent load.
#[repr(C)]
pub(super) struct Index {
    mask: usize,
    /// The index that this one replaced; a look-up may still use it. Null if that was the empty one.
    older: *mut Self,
    /// The slots: one more than the mask.
    slots: [AtomicPtr<IdEntry>; 0],
}

/// The index of a store without ids: one slot, which is never taken.
#[repr(C)]
struct Empty(Index, AtomicPtr<IdEntry>);

// SAFETY: never written; contains no pointers.
unsafe impl Sync for Empty {}

static EMPTY: Empty = Empty(
    Index {
        mask: 0,
        older: ptr::null_mut(),
        slots: [],
    },
    AtomicPtr::new(ptr::null_mut()),
);

impl Index {
    pub(super) fn empty() -> *mut Self {
        let empty = &raw const EMPTY;
        empty.expose_provenance();
        empty.cast_mut().cast()
    }

    /// Returns whether there is no room for one more id: a quarter of the slots stays empty.
    pub(super) fn is_full(&self, ids: usize) -> bool {
        (ids + 1) * 4 > self.slots().len() * 3
    }

    /// Returns an index of twice the size, with the same entries, which keeps this one. Returns `None` if allocation fails.
    pub(super) fn grown(&self) -> Option<*mut Self> {
        const LEAST: usize = 4;
        let slots = (2 * self.slots().len()).max(LEAST);
        // SAFETY: the size is not 0. Zeros are null pointers.
        let fresh = unsafe { alloc_zeroed(Self::layout(slots)?) };
        let fresh = NonNull::new(fresh)?.cast::<Self>().as_ptr();
        let this = ptr::from_ref(self).cast_mut();
        let older = if ptr::eq(this, Self::empty()) {
            ptr::null_mut()
        } else {
            this
        };
        // SAFETY: fresh memory.
        unsafe {
            (&raw mut (*fresh).mask).write(slots - 1);
            (&raw mut (*fresh).older).write(older);
        }
        fresh.expose_provenance();
        // SAFETY: initialised above.
        let grown = unsafe { &*fresh };
        // SAFETY: not shared yet; the entries live as long as the index that has them now.
        self.entries()
            .for_each(|entry| unsafe { grown.add(NonNull::from(entry)) });
        Some(fresh)
    }

    fn layout(slots: usize) -> Option<Layout> {
        let array = Layout::array::<AtomicPtr<IdEntry>>(slots).ok()?;
        let (layout, offset) = Layout::new::<Self>().extend(array).ok()?;
        debug_assert!(offset == size_of::<Self>());
        Some(layout)
    }

    /// Frees an index and all that it replaced.
    ///
    /// # Safety
    ///
    /// Called once, for the newest index, when no look-up runs any more.
    pub(super) unsafe fn free(newest: *mut Self) {
        let mut next = newest;
        while !next.is_null() && !ptr::eq(next, Self::empty()) {
            // SAFETY: the caller guarantees that the indexes are not used any more; each is freed below, after this.
            let (slots, older) = unsafe { ((*next).mask + 1, (*next).older) };
            // The pointer may have been derived from a shared reference; the one exposed by `grown` may free.
            let index = ptr::with_exposed_provenance_mut::<u8>(next.addr());
            if let Some(layout) = Self::layout(slots) {
                // SAFETY: allocated with this layout.
                unsafe { dealloc(index, layout) };
            }
            next = older;
        }
    }

    #[inline]
    fn slots(&self) -> &[AtomicPtr<IdEntry>] {
        // SAFETY: `grown` allocated this many after the header, and `EMPTY` has one; both expose their pointers.
        unsafe {
            let first = ptr::with_exposed_provenance::<Self>(ptr::from_ref(self).addr()).add(1);
            std::slice::from_raw_parts(first.cast(), self.mask + 1)
        }
    }

    /// Returns all entries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &IdEntry> {
        // Acquire: pairs with the Release store in `add`.
        // SAFETY: null, or an entry that lives as long as the registry.
        self.slots()
            .iter()
            .filter_map(|slot| unsafe { slot.load(Ordering::Acquire).as_ref() })
    }

    #[inline]
    fn home(id: u64) -> usize {
        (id.wrapping_mul(GOLDEN) >> 32) as usize
    }

    /// Looks an id up, from its home on. Some slots are always empty, so an empty one ends the search.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<&IdEntry> {
        for at in Self::home(id).. {
            let entry = self.at(at)?;
            if entry.id == id {
                return Some(entry);
            }
        }
        None
    }

    /// Returns the entry in a slot; wraps around.
    #[inline]
    fn at(&self, at: usize) -> Option<&IdEntry> {
        // Acquire: pairs with the Release store in `add`.
        // SAFETY: the mask keeps it in bounds.
        let entry = unsafe { self.slots().get_unchecked(at & self.mask) }.load(Ordering::Acquire);
        // SAFETY: null, or an entry that lives as long as the registry.
        unsafe { entry.as_ref() }
    }

    /// Adds an entry, for which there is room.
    ///
    /// # Safety
    ///
    /// The entry lives as long as the index, and no other thread adds one now.
    pub(super) unsafe fn add(&self, entry: NonNull<IdEntry>) {
        // SAFETY: the caller guarantees that the entry lives.
        let home = Self::home(unsafe { entry.as_ref() }.id);
        let slots = self.slots();
        let mut probe = (0..slots.len()).map(|step| &slots[(home + step) & self.mask]);
        // Relaxed: writers are under the registry's lock.
        if let Some(free) = probe.find(|slot| slot.load(Ordering::Relaxed).is_null()) {
            // Release: pairs with the Acquire load in `find`.
            free.store(entry.as_ptr(), Ordering::Release);
        }
    }
}
