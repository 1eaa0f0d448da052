//! What nodes need beyond themselves: the entries of their ids, by index, and memory. One for each store.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::mem::{try_box, try_slice};
use crate::pool::Pool;
use crate::registry::IdEntry;
use crate::sync::stat::{AtomicPtr, Ordering};

/// The first index that a life word cannot hold. The nodes of such ids lead to their entries themselves.
pub(crate) const WIDE: u32 = 0xffff;

const PAGE: usize = 256;

type Page = [AtomicPtr<IdEntry>; PAGE];

/// Shared by a store's registry, which adds to it, its core, and its retire lists. Small, as `Arc` takes its memory for
/// granted.
pub(crate) struct Heap {
    pages: Box<[AtomicPtr<Page>]>,
    pub(crate) pool: Box<Pool>,
}

impl Heap {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize, packed: bool) -> Option<Arc<Self>> {
        let pages = (WIDE as usize).div_ceil(PAGE);
        Some(Arc::new(Self {
            pages: try_slice(pages, || AtomicPtr::new(ptr::null_mut()))?,
            pool: try_box(Pool::new(shards, packed)?)?,
        }))
    }

    /// Makes an id's entry known. Whether there was memory for it. Under the registry's lock, before the entry is used.
    #[must_use]
    pub(crate) fn add(&self, index: u32, entry: NonNull<IdEntry>) -> bool {
        if index >= WIDE {
            return true;
        }
        let page = &self.pages[index as usize / PAGE];
        // Relaxed, both: writers are under the registry's lock.
        if page.load(Ordering::Relaxed).is_null() {
            let Some(fresh) = try_box(std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()))) else {
                return false;
            };
            // Release: pairs with `entry`.
            page.store(Box::into_raw(fresh), Ordering::Release);
        }
        // SAFETY: not null, and freed by the drop only.
        let page = unsafe { &*page.load(Ordering::Relaxed) };
        // Release: as above.
        page[index as usize % PAGE].store(entry.as_ptr(), Ordering::Release);
        true
    }

    /// The entry of an index below [`WIDE`].
    ///
    /// # Safety
    ///
    /// A node of this store has the index: then its entry was added, and lives.
    #[inline]
    pub(crate) unsafe fn entry(&self, index: u32) -> &IdEntry {
        let (page, at) = (index as usize / PAGE, index as usize % PAGE);
        // Acquire, both: pairs with `add`; and whoever sees the node sees what came before it anyway.
        // SAFETY: the caller's: the page and the entry are there. Below WIDE there are as many pages.
        unsafe {
            let page = &*self.pages.get_unchecked(page).load(Ordering::Acquire);
            &*page[at].load(Ordering::Acquire)
        }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        for page in &self.pages {
            if let Some(page) = NonNull::new(page.load(Ordering::Relaxed)) {
                // SAFETY: made by `add`, once; nobody looks anything up any more.
                drop(unsafe { Box::from_raw(page.as_ptr()) });
            }
        }
    }
}
