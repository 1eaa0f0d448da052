//! The ids of one store: the type that each holds, its small index, and its counts.
//!
//! Look-ups are wait-free (but for the probe) and never write. The first use of an id takes a short lock. Entries are never
//! removed while the store exists, so references to them are valid for as long as the store is.

use std::alloc::Layout;
use std::any::TypeId;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use self::index::{GOLDEN, Index};
use crate::entry::{IdEntry, Kinds, Raw};
use crate::error::StoreError;
use crate::fork;
use crate::heap::Heap;
use crate::mem::try_box;
use crate::sync::lock_stat;
use crate::sync::stat::{AtomicPtr, AtomicU64, Mutex, Ordering};
use crate::table::hash::Places;
use crate::table::layout::{MAX_ALIGN, Shape};
use crate::tally::{Counted, Tally};

mod index;

/// All ids of a store: an open-addressing index that only grows.
pub(crate) struct Registry {
    /// A small direct-mapped index with the first entry of each home, or a vacancy: a look-up there needs no pointer, no mask
    /// and no null check.
    front: [AtomicPtr<IdEntry>; FRONT],
    index: AtomicPtr<Index>,
    kinds: Mutex<Kinds>,
    /// The number of ids.
    known: AtomicU64,
    pub(crate) places: Places,
    /// Whether nodes have intervals.
    intervals: bool,
    /// The heap, in which nodes find their entries.
    heap: Arc<Heap>,
}

const FRONT: usize = 32;

#[inline]
fn front_home(id: u64) -> usize {
    (id.wrapping_mul(GOLDEN) >> (u64::BITS - FRONT.ilog2())) as usize
}

/// Returns the entry that stands in an empty slot of `front`: its id has another home, so it is never looked up there.
fn vacancy(home: usize) -> *mut IdEntry {
    static IDS: [u64; 2] = [0, 1];
    debug_assert!(front_home(IDS[0]) != front_home(IDS[1]));
    let id = IDS.iter().find(|&&id| front_home(id) != home);
    ptr::from_ref(id.unwrap_or(&IDS[0])).cast_mut().cast()
}

impl Registry {
    /// Allocates nothing.
    pub(crate) fn new(places: Places, heap: Arc<Heap>, intervals: bool) -> Self {
        Self {
            front: std::array::from_fn(|home| AtomicPtr::new(vacancy(home))),
            index: AtomicPtr::new(Index::empty()),
            kinds: Mutex::default(),
            known: AtomicU64::new(0),
            places,
            intervals,
            heap,
        }
    }

    /// Returns the entry of an id that has been used before.
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<&IdEntry> {
        // Acquire: pairs with the Release store in `insert`.
        let front = self.front[front_home(id)].load(Ordering::Acquire);
        // SAFETY: an entry, whose first field is the id, or a vacancy, which is an id alone.
        if unsafe { front.cast::<u64>().read() } == id {
            // SAFETY: a vacancy has an id of another home, so this is an entry, which lives as long as the registry.
            return Some(unsafe { &*front });
        }
        self.get_slow(id)
    }

    /// Cannot unwind, as a C function: so a caller need not keep its guard in memory for a panic to drop it.
    #[cold]
    #[inline(never)]
    extern "C" fn get_slow(&self, id: u64) -> Option<&IdEntry> {
        // Acquire: pairs with the Release store in `insert`.
        // SAFETY: indexes live until the registry is dropped.
        let index = unsafe { &*self.index.load(Ordering::Acquire) };
        index.find(id)
    }

    /// Returns the entry of `id`, bound to `T` now if it was not bound before.
    #[inline]
    pub(crate) fn bind<T: Send + Sync + 'static>(&self, id: u64) -> Result<&IdEntry, StoreError> {
        match self.get(id) {
            Some(entry) if entry.holds::<T>() => Ok(entry),
            _ => self.bind_slow::<T>(id),
        }
    }

    #[cold]
    #[inline(never)]
    fn bind_slow<T: Send + Sync + 'static>(&self, id: u64) -> Result<&IdEntry, StoreError> {
        let entry = self.get_or_insert(
            id,
            TypeId::of::<T>(),
            std::any::type_name::<T>(),
            self.shape(const { Shape::of::<T>() }),
        )?;
        if entry.holds::<T>() {
            Ok(entry)
        } else {
            Err(StoreError::TypeMismatch(entry.mismatch(std::any::type_name::<T>())))
        }
    }

    /// Returns the entry of `id`, bound to raw variables now if it was not bound before.
    pub(crate) fn bind_raw(&self, id: u64) -> Result<&IdEntry, StoreError> {
        let entry = self.get_or_insert(id, TypeId::of::<Raw>(), "raw", self.shape(Shape::RAW))?;
        if entry.is_raw() {
            Ok(entry)
        } else {
            Err(StoreError::TypeMismatch(entry.mismatch("raw")))
        }
    }

    fn shape(&self, shape: Shape) -> Shape {
        if self.intervals { shape.with_intervals() } else { shape }
    }

    /// Returns the entry of `id`, created now if there is none. Takes the lock only for that.
    fn get_or_insert(&self, id: u64, type_id: TypeId, name: &str, shape: Shape) -> Result<&IdEntry, StoreError> {
        match self.get(id) {
            Some(entry) => Ok(entry),
            None => self.insert(id, type_id, name, shape),
        }
    }

    /// Returns all entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &IdEntry> {
        // Acquire: as in `get`.
        // SAFETY: indexes live until the registry is dropped.
        unsafe { &*self.index.load(Ordering::Acquire) }.entries()
    }

    /// Returns the number of ids, including those of all variables that the caller must take into account.
    #[inline]
    pub(crate) fn known(&self) -> u64 {
        // Relaxed: counted before the id's entry is published, so before any variable of it was created (O7).
        self.known.load(Ordering::Relaxed)
    }

    /// Returns all ids in order of first use, each with the variables created and freed by the time the phase advanced.
    pub(crate) fn counted(&self, tally: &Tally) -> Vec<(&IdEntry, Counted)> {
        let [before, after] = tally.snapshot(|side| {
            let entries = self.entries();
            let mut counts: Vec<_> = entries
                .map(|entry| (entry, tally.of_id(entry.counts(), side)))
                .collect();
            counts.sort_unstable_by_key(|(entry, _)| entry.index);
            counts
        });
        // An id that was added in between has counted nothing on the side that was read first.
        let mut before = before.into_iter().peekable();
        let sides = after.into_iter().map(|(entry, after)| {
            let before = before.next_if(|(earlier, _)| ptr::eq(*earlier, entry));
            (
                entry,
                Counted::of_sides([before.map_or(Counted::default(), |(_, counted)| counted), after]),
            )
        });
        sides.collect()
    }

    #[cold]
    fn insert(&self, id: u64, type_id: TypeId, name: &str, shape: Shape) -> Result<&IdEntry, StoreError> {
        let _section = fork::section();
        let mut kinds = lock_stat(&self.kinds);
        if let Some(entry) = self.get(id) {
            return Ok(entry);
        }
        // Relaxed: written under the lock.
        let index = u32::try_from(self.known.load(Ordering::Relaxed)).map_err(|_| StoreError::TooManyIds)?;
        // SAFETY: as in `get`.
        let mut current = unsafe { &*self.index.load(Ordering::Relaxed) };
        if current.is_full(index as usize) {
            let grown = Index::grown(current).ok_or(StoreError::OutOfMemory)?;
            // SAFETY: created above, and freed on drop only.
            current = unsafe { &*grown };
            // Release: pairs with the Acquire load in `get`.
            self.index.store(grown, Ordering::Release);
        }
        let kind = kinds.get_or_add(type_id, name, shape).ok_or(StoreError::OutOfMemory)?;
        let entry = try_box(IdEntry::new(id, index, self.places.salt(index), kind));
        let entry = NonNull::from(Box::leak(entry.ok_or(StoreError::OutOfMemory)?));
        // SAFETY: under the lock of `kinds`; entries outlive the nodes of their store.
        if !unsafe { self.heap.add(index, entry) } {
            // SAFETY: leaked above, and never shared.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
            return Err(StoreError::OutOfMemory);
        }
        // Relaxed: the Release stores below publish it.
        self.known.store(u64::from(index) + 1, Ordering::Relaxed);
        // SAFETY: under the lock of `kinds`; freed on drop only.
        unsafe { current.add(entry) };
        let front = &self.front[front_home(id)];
        // Relaxed: writers are under the registry's lock.
        if ptr::eq(front.load(Ordering::Relaxed), vacancy(front_home(id))) {
            // Release: pairs with the Acquire load in `get`.
            front.store(entry.as_ptr(), Ordering::Release);
        }
        // SAFETY: freed on drop only.
        Ok(unsafe { entry.as_ref() })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for entry in self.entries() {
            // SAFETY: leaked by `insert`, once each; references to entries borrow the registry.
            drop(unsafe { Box::from_raw(ptr::from_ref(entry).cast_mut()) });
        }
        // SAFETY: the entries that led to the kinds have been freed.
        unsafe { lock_stat(&self.kinds).free_all() };
        // SAFETY: made by `Index::grown`, or the empty one; no look-up runs any more.
        unsafe { Index::free(*self.index.get_mut()) };
    }
}

/// Returns the layout of a raw variable's bytes, if it is supported.
pub(crate) fn raw_layout(layout: Layout) -> Result<Layout, StoreError> {
    if layout.align() <= MAX_ALIGN {
        Ok(layout)
    } else {
        Err(StoreError::InvalidLayout {
            size: layout.size(),
            align: layout.align(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(shards: usize) -> Registry {
        Registry::new(Places::USUAL, Heap::new(shards, true).unwrap(), false)
    }

    #[test]
    fn values_are_dropped_by_the_code_that_allocated_last() {
        unsafe fn of_an_unloaded_library(_: *mut u8) {}
        let registry = registry(1);
        let drop_of = |entry: &IdEntry| entry.drop_value().map(|drop| drop as usize);
        let entry = registry.bind::<String>(3).unwrap();
        let own = drop_of(entry);
        assert!(own.is_some());
        // SAFETY: never called, as there is no value.
        unsafe { entry.drop_by(of_an_unloaded_library) };
        assert_ne!(
            drop_of(registry.bind::<String>(3).unwrap()),
            own,
            "who binds may never allocate"
        );
        // SAFETY: bound to `String`.
        unsafe { entry.drop_as::<String>() };
        assert_eq!(drop_of(entry), own);
        assert_eq!(drop_of(registry.bind::<u8>(4).unwrap()), None, "nothing to drop");
    }

    #[test]
    fn ids_keep_their_entries_while_the_index_grows() {
        let registry = registry(2);
        let first: *const IdEntry = registry.bind::<u32>(7).unwrap();
        for id in 100..3000 {
            registry.bind::<u64>(id).unwrap();
        }
        assert!(ptr::eq(registry.get(7).unwrap(), first));
        assert_eq!(registry.get(2999).unwrap().index, 2900);
        assert!(registry.get(8).is_none());
        assert_eq!(registry.entries().count(), 2901);
    }

    #[test]
    fn a_second_type_is_refused_by_name() {
        let registry = registry(1);
        registry.bind::<u32>(1).unwrap();
        let Err(StoreError::TypeMismatch(mismatch)) = registry.bind::<String>(1) else {
            panic!("accepted")
        };
        assert_eq!(
            (mismatch.bound.as_str(), mismatch.asked.as_str()),
            ("u32", "alloc::string::String")
        );
        assert!(matches!(registry.bind_raw(1), Err(StoreError::TypeMismatch(_))));
        registry.bind_raw(2).unwrap();
        assert!(matches!(registry.bind::<u8>(2), Err(StoreError::TypeMismatch(_))));
    }
}
