//! The heap of one store: the pool that its nodes are allocated from, and the entries of its ids, by the index that nodes
//! hold.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::entry::IdEntry;
use crate::mem::{try_box, try_slice};
use crate::pool::Pool;
use crate::sync::stat::{AtomicPtr, AtomicUsize, Ordering};
use crate::table::node::WIDE;

/// Entries per page.
const PAGE: usize = 16;

type Page = [AtomicPtr<IdEntry>; PAGE];

/// Shared by a store's core, its retire lists, and its registry, which adds entries. Small, as allocating an `Arc` cannot fail
/// gracefully.
pub(crate) struct Heap {
    /// The array of pages; null without ids. Its first element leads to the array that this one replaced, of half the length:
    /// a look-up may still use that.
    pages: AtomicPtr<AtomicPtr<Page>>,
    /// The length of the array, including its first element. Used under the registry's lock.
    len: AtomicUsize,
    pub(crate) pool: Box<Pool>,
}

impl Heap {
    /// Returns `None` if allocation fails.
    pub(crate) fn new(shards: usize, packed: bool) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            pages: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            pool: try_box(Pool::new(shards, packed))?,
        }))
    }

    /// Makes an id's entry known, and returns whether there was memory for it.
    ///
    /// # Safety
    ///
    /// Called under the registry's lock, before a node has the index. The entry lives as long as such nodes.
    #[must_use]
    pub(crate) unsafe fn add(&self, index: u32, entry: NonNull<IdEntry>) -> bool {
        index >= WIDE || self.try_add(index as usize, entry).is_some()
    }

    fn try_add(&self, index: usize, entry: NonNull<IdEntry>) -> Option<()> {
        let page = 1 + index / PAGE;
        // Relaxed, all: writers are under the registry's lock.
        while page >= self.len.load(Ordering::Relaxed) {
            self.grow()?;
        }
        // SAFETY: in bounds of the array, which is freed on drop only.
        let slot = unsafe { &*self.pages.load(Ordering::Relaxed).add(page) };
        if slot.load(Ordering::Relaxed).is_null() {
            let fresh: Box<Page> = try_box(std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())))?;
            // Release: pairs with `entry`.
            slot.store(Box::into_raw(fresh), Ordering::Release);
        }
        // SAFETY: not null, and freed on drop only.
        let page = unsafe { &*slot.load(Ordering::Relaxed) };
        // Release: pairs with `entry`.
        page[index % PAGE].store(entry.as_ptr(), Ordering::Release);
        Some(())
    }

    /// Replaces the array by one of twice the length, with the same pages.
    fn grow(&self) -> Option<()> {
        // Relaxed, all: writers are under the registry's lock.
        let (older, len) = (self.pages.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        let fresh = try_slice((2 * len).max(2), || AtomicPtr::<Page>::new(ptr::null_mut()))?;
        fresh[0].store(older.cast(), Ordering::Relaxed);
        for (at, page) in fresh.iter().enumerate().take(len).skip(1) {
            // SAFETY: in bounds of the older array.
            let same = unsafe { (*older.add(at)).load(Ordering::Relaxed) };
            page.store(same, Ordering::Relaxed);
        }
        self.len.store(fresh.len(), Ordering::Relaxed);
        // Release: pairs with `entry`.
        self.pages.store(Box::into_raw(fresh).cast(), Ordering::Release);
        Some(())
    }

    /// Returns the entry of an index below [`WIDE`].
    ///
    /// # Safety
    ///
    /// A node of this store has the index: then its entry was added, and exists.
    #[inline]
    pub(crate) unsafe fn entry(&self, index: u32) -> &IdEntry {
        let (page, at) = (1 + index as usize / PAGE, index as usize % PAGE);
        // Acquire, all: pairs with `try_add`; a thread that sees the node sees what came before it anyway.
        // SAFETY: the caller guarantees that the entry was added, so it and its page exist.
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
            // SAFETY: allocated by `grow`, once, with this length; no look-up runs any more.
            let array = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(pages, len)) };
            let mut slots = array.into_iter().map(AtomicPtr::into_inner);
            pages = slots.next().unwrap_or(ptr::null_mut()).cast();
            for page in slots.filter_map(NonNull::new).filter(|_| newest) {
                // SAFETY: allocated by `try_add`, once; the older arrays lead to the same pages.
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
            // SAFETY: one thread; there are no nodes.
            assert!(unsafe { heap.add(index, entry(index)) });
            for index in [0, index / 2, index] {
                let pages = heap.pages.load(Ordering::Relaxed);
                // SAFETY: as in `entry`, which would create a reference to something that is no entry here.
                let found = unsafe { &*(*pages.add(1 + index as usize / PAGE)).load(Ordering::Relaxed) };
                assert_eq!(
                    found[index as usize % PAGE].load(Ordering::Relaxed),
                    entry(index).as_ptr()
                );
            }
        }
        // SAFETY: as above.
        assert!(unsafe { heap.add(WIDE, entry(0)) }, "which is not kept");
        assert_eq!(heap.len.load(Ordering::Relaxed), 1 << 13);
    }
}
