//! What nodes need beyond themselves: the entries of their ids, by index, and memory. One for each store.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::mem::{try_box, try_slice};
use crate::pool::Pool;
use crate::registry::IdEntry;
use crate::sync::stat::{AtomicPtr, AtomicUsize, Ordering};

/// The first index that a life word cannot hold. The nodes of such ids lead to their entries themselves.
pub(crate) const WIDE: u32 = 0xffff;

/// Entries of a page.
const PAGE: usize = 16;

type Page = [AtomicPtr<IdEntry>; PAGE];

/// Shared by a store's registry, which adds to it, its core, and its retire lists. Small, as `Arc` takes its memory for
/// granted.
pub(crate) struct Heap {
    /// Where the pages are; null without ids. The first leads to the array that this took the place of, of half the length:
    /// a look-up may still be in that.
    pages: AtomicPtr<AtomicPtr<Page>>,
    /// How many there are, the first counted. Used under the registry's lock.
    len: AtomicUsize,
    pub(crate) pool: Box<Pool>,
}

impl Heap {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize, packed: bool) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            pages: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            pool: try_box(Pool::new(shards, packed))?,
        }))
    }

    /// Makes an id's entry known. Whether there was memory for it. Under the registry's lock, before the entry is used.
    #[must_use]
    pub(crate) fn add(&self, index: u32, entry: NonNull<IdEntry>) -> bool {
        index >= WIDE || self.try_add(index as usize, entry).is_some()
    }

    fn try_add(&self, index: usize, entry: NonNull<IdEntry>) -> Option<()> {
        let page = 1 + index / PAGE;
        // Relaxed, all: writers are under the registry's lock.
        while page >= self.len.load(Ordering::Relaxed) {
            self.grow()?;
        }
        // SAFETY: there are as many, and they are freed by the drop only.
        let slot = unsafe { &*self.pages.load(Ordering::Relaxed).add(page) };
        if slot.load(Ordering::Relaxed).is_null() {
            let fresh: Box<Page> = try_box(std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())))?;
            // Release: pairs with `entry`.
            slot.store(Box::into_raw(fresh), Ordering::Release);
        }
        // SAFETY: not null, and freed by the drop only.
        let page = unsafe { &*slot.load(Ordering::Relaxed) };
        // Release: as above.
        page[index % PAGE].store(entry.as_ptr(), Ordering::Release);
        Some(())
    }

    /// An array of twice the length, with the same pages.
    fn grow(&self) -> Option<()> {
        // Relaxed, all: as above.
        let (older, len) = (self.pages.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        let fresh = try_slice((2 * len).max(2), || AtomicPtr::<Page>::new(ptr::null_mut()))?;
        fresh[0].store(older.cast(), Ordering::Relaxed);
        for (at, page) in fresh.iter().enumerate().take(len).skip(1) {
            // SAFETY: below the length of the older.
            let same = unsafe { (*older.add(at)).load(Ordering::Relaxed) };
            page.store(same, Ordering::Relaxed);
        }
        self.len.store(fresh.len(), Ordering::Relaxed);
        // Release: pairs with `entry`.
        self.pages.store(Box::into_raw(fresh).cast(), Ordering::Release);
        Some(())
    }

    /// The entry of an index below [`WIDE`].
    ///
    /// # Safety
    ///
    /// A node of this store has the index: then its entry was added, and lives.
    #[inline]
    pub(crate) unsafe fn entry(&self, index: u32) -> &IdEntry {
        let (page, at) = (1 + index as usize / PAGE, index as usize % PAGE);
        // Acquire, all: pairs with `try_add`; and whoever sees the node sees what came before it anyway.
        // SAFETY: the caller's: the page and the entry are there.
        unsafe {
            let page = &*(*self.pages.load(Ordering::Acquire).add(page)).load(Ordering::Acquire);
            &*page[at].load(Ordering::Acquire)
        }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        let (mut pages, mut len) = (*self.pages.get_mut(), *self.len.get_mut());
        let mut newest = true;
        while !pages.is_null() {
            // SAFETY: made by `grow`, once, of this length; nobody looks anything up any more.
            let array = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(pages, len)) };
            let mut slots = array.into_iter().map(AtomicPtr::into_inner);
            pages = slots.next().unwrap_or(ptr::null_mut()).cast();
            for page in slots.filter_map(NonNull::new).filter(|_| newest) {
                // SAFETY: made by `try_add`, once; the older arrays lead to the same.
                drop(unsafe { Box::from_raw(page.as_ptr()) });
            }
            (newest, len) = (false, len / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_leads_to_its_entry() {
        let heap = Heap::new(1, true).unwrap();
        let entries: Vec<u8> = vec![0; WIDE as usize];
        let entry = |index: u32| NonNull::from(&entries[index as usize]).cast::<IdEntry>();
        for index in 0..WIDE {
            assert!(heap.add(index, entry(index)));
            for index in [0, index / 2, index] {
                let pages = heap.pages.load(Ordering::Relaxed);
                // SAFETY: as in `entry`, which would make a reference of what is none here.
                let found = unsafe { &*(*pages.add(1 + index as usize / PAGE)).load(Ordering::Relaxed) };
                assert_eq!(
                    found[index as usize % PAGE].load(Ordering::Relaxed),
                    entry(index).as_ptr()
                );
            }
        }
        assert!(heap.add(WIDE, entry(0)), "which is not kept");
        assert_eq!(heap.len.load(Ordering::Relaxed), 1 << 13);
    }
}
