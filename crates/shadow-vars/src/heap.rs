//! What nodes need beyond themselves: the entries of their ids, by index, and memory. One for each store.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::mem::{try_box, try_slice};
use crate::pool::Pool;
use crate::registry::IdEntry;
use crate::sync::stat::{AtomicPtr, Ordering};

/// The first index that a life word cannot hold. The nodes of such ids lead to their entries themselves.
pub(crate) const WIDE: u32 = 0xffff;

/// Indexes of the first array. The next has as many, and each after it twice as many as the one before.
const FIRST: u32 = 4;
const ARRAYS: usize = (WIDE.ilog2() - FIRST.ilog2() + 2) as usize;

/// Arrays of pointers to entries, made when first needed, each null before.
type Entries = [AtomicPtr<AtomicPtr<IdEntry>>; ARRAYS];

/// Shared by a store's registry, which adds to it, its core, and its retire lists. Small, as `Arc` takes its memory for
/// granted.
pub(crate) struct Heap {
    entries: Box<Entries>,
    pub(crate) pool: Box<Pool>,
}

/// Which array has an index, and where.
#[inline]
fn place(index: u32) -> (usize, usize) {
    let array = (index | (FIRST - 1)).ilog2() - (FIRST.ilog2() - 1);
    (array as usize, (index - first_of(array)) as usize)
}

/// The first index of an array.
#[inline]
fn first_of(array: u32) -> u32 {
    (FIRST / 2 << array) & !(FIRST - 1)
}

/// How many an array has.
fn len_of(array: u32) -> usize {
    (first_of(array + 1) - first_of(array)) as usize
}

impl Heap {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize, packed: bool) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            entries: try_box(std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())))?,
            pool: try_box(Pool::new(shards, packed))?,
        }))
    }

    /// Makes an id's entry known. Whether there was memory for it. Under the registry's lock, before the entry is used.
    #[must_use]
    pub(crate) fn add(&self, index: u32, entry: NonNull<IdEntry>) -> bool {
        if index >= WIDE {
            return true;
        }
        let (array, at) = place(index);
        let entries = &self.entries[array];
        // Relaxed, both: writers are under the registry's lock.
        if entries.load(Ordering::Relaxed).is_null() {
            let Some(fresh) = try_slice(len_of(array as u32), || AtomicPtr::<IdEntry>::new(ptr::null_mut())) else {
                return false;
            };
            // Release: pairs with `entry`.
            entries.store(Box::into_raw(fresh).cast(), Ordering::Release);
        }
        // SAFETY: not null, with room for this index, and freed by the drop only.
        let slot = unsafe { &*entries.load(Ordering::Relaxed).add(at) };
        // Release: as above.
        slot.store(entry.as_ptr(), Ordering::Release);
        true
    }

    /// The entry of an index below [`WIDE`].
    ///
    /// # Safety
    ///
    /// A node of this store has the index: then its entry was added, and lives.
    #[inline]
    pub(crate) unsafe fn entry(&self, index: u32) -> &IdEntry {
        let (array, at) = place(index);
        // Acquire, both: pairs with `add`; and whoever sees the node sees what came before it anyway.
        // SAFETY: the caller's: the array and the entry are there. Below WIDE there are as many arrays.
        unsafe {
            let entries = self.entries.get_unchecked(array).load(Ordering::Acquire);
            &*(*entries.add(at)).load(Ordering::Acquire)
        }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        for (array, entries) in self.entries.iter_mut().enumerate() {
            let entries = *entries.get_mut();
            if !entries.is_null() {
                let entries = ptr::slice_from_raw_parts_mut(entries, len_of(array as u32));
                // SAFETY: made by `add`, once, of this length; nobody looks anything up any more.
                drop(unsafe { Box::from_raw(entries) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place() {
        let mut expected = (0, 0);
        for index in 0..WIDE {
            assert_eq!(place(index), expected, "{index}");
            let (array, at) = expected;
            expected = if at + 1 == len_of(array as u32) {
                (array + 1, 0)
            } else {
                (array, at + 1)
            };
        }
        assert_eq!(place(WIDE - 1).0, ARRAYS - 1);
    }
}
