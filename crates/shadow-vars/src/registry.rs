//! The ids of one store: what type each holds, its small index, and its counts.
//!
//! Look-ups are wait-free (but for the probe) and never write. The first use of an id takes a short lock. Entries
//! are never removed while the store lives, so references to them are good for as long as the store is.

use std::alloc::Layout;
use std::any::TypeId;
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::error::{StoreError, TypeMismatch};
use crate::mem::{try_box, try_slice};
use crate::sync::lock_stat;
use crate::sync::stat::{AtomicPtr, AtomicU64, Mutex, Ordering};
use crate::table::node::Shape;

/// What a store knows of one id.
pub(crate) struct IdEntry {
    pub(crate) id: u64,
    /// Position in order of first use; the low 16 bits go into the tags.
    pub(crate) index: u32,
    /// The type, or nothing for raw variables.
    type_id: Option<TypeId>,
    /// The type's name, copied: the library that it lives in may be unloaded.
    pub(crate) type_name: String,
    pub(crate) shape: Shape,
    /// One pair per shard of threads; only sums mean something.
    counts: Box<[CachePadded<Counts>]>,
}

#[derive(Default)]
struct Counts {
    created: AtomicU64,
    freed: AtomicU64,
}

impl IdEntry {
    #[inline]
    pub(crate) fn holds<T: 'static>(&self) -> bool {
        self.type_id == Some(TypeId::of::<T>())
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.type_id.is_none()
    }

    /// Whether `index` can be read back from a tag.
    #[inline]
    pub(crate) fn index_fits(&self) -> bool {
        self.index <= u32::from(u16::MAX)
    }

    // Relaxed, here and below: statistics. Their only reader sums them, and promises no instant.
    pub(crate) fn count_created(&self, shard: usize) {
        self.counts[shard].created.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_freed(&self, shard: usize) {
        self.counts[shard].freed.fetch_add(1, Ordering::Relaxed);
    }

    /// Variables created and freed so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let freed = self
            .counts
            .iter()
            .map(|counts| counts.freed.load(Ordering::Relaxed))
            .sum();
        let created = self
            .counts
            .iter()
            .map(|counts| counts.created.load(Ordering::Relaxed))
            .sum();
        (created, freed)
    }

    /// Variables that live now.
    pub(crate) fn live(&self) -> u64 {
        let (created, freed) = self.counts();
        created.saturating_sub(freed)
    }

    pub(crate) fn mismatch(&self, asked: &str) -> TypeMismatch {
        TypeMismatch {
            id: self.id,
            bound: self.type_name.clone(),
            asked: asked.to_owned(),
        }
    }
}

/// All ids of a store: an open-addressing index that only grows.
pub(crate) struct Registry {
    index: AtomicPtr<Index>,
    inner: Mutex<Inner>,
    shards: usize,
}

struct Inner {
    entries: Vec<NonNull<IdEntry>>,
    /// Every index there ever was; a look-up may still be in an older one. Each is twice the one before.
    indexes: Vec<*mut Index>,
}

struct Index {
    mask: usize,
    slots: Box<[AtomicPtr<IdEntry>]>,
}

// SAFETY: the pointers lead to entries and indexes that are only shared for reading and only freed by
// `Registry::drop`; both are `Send` and `Sync` themselves.
unsafe impl Send for Inner {}

impl Registry {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize) -> Option<Self> {
        let mut indexes = Vec::new();
        indexes.try_reserve(1).ok()?;
        let index = Index::leaked(16)?;
        indexes.push(index);
        let inner = Mutex::new(Inner {
            entries: Vec::new(),
            indexes,
        });
        Some(Self {
            index: AtomicPtr::new(index),
            inner,
            shards,
        })
    }

    /// The entry of an id that has been used before.
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<&IdEntry> {
        // Acquire: pairs with the Release store in `insert`.
        // SAFETY: indexes live until the registry is dropped.
        let index = unsafe { &*self.index.load(Ordering::Acquire) };
        index.find(id)
    }

    /// The entry of `id`, bound to `T` now if it was not bound before.
    pub(crate) fn bind<T: Send + Sync + 'static>(&self, id: u64) -> Result<&IdEntry, StoreError> {
        let entry = match self.get(id) {
            Some(entry) => entry,
            None => self.insert(
                id,
                Some(TypeId::of::<T>()),
                std::any::type_name::<T>(),
                Shape::of::<T>(),
            )?,
        };
        if entry.holds::<T>() {
            Ok(entry)
        } else {
            Err(StoreError::TypeMismatch(entry.mismatch(std::any::type_name::<T>())))
        }
    }

    /// The entry of `id`, bound to raw variables now if it was not bound before.
    pub(crate) fn bind_raw(&self, id: u64) -> Result<&IdEntry, StoreError> {
        let entry = match self.get(id) {
            Some(entry) => entry,
            None => self.insert(id, None, "raw", Shape::RAW)?,
        };
        if entry.is_raw() {
            Ok(entry)
        } else {
            Err(StoreError::TypeMismatch(entry.mismatch("raw")))
        }
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &IdEntry> {
        // Acquire, twice: as in `get` and `Index::find`.
        // SAFETY: indexes live until the registry is dropped.
        let index = unsafe { &*self.index.load(Ordering::Acquire) };
        // SAFETY: null, or an entry that lives as long as the registry.
        index
            .slots
            .iter()
            .filter_map(|slot| unsafe { slot.load(Ordering::Acquire).as_ref() })
    }

    /// Variables that live now, over all ids. Takes no lock: operations that must not wait call it.
    pub(crate) fn live(&self) -> u64 {
        self.entries().map(IdEntry::live).sum()
    }

    #[cold]
    fn insert(&self, id: u64, type_id: Option<TypeId>, name: &str, shape: Shape) -> Result<&IdEntry, StoreError> {
        let mut inner = lock_stat(&self.inner);
        if let Some(entry) = self.get(id) {
            return Ok(entry);
        }
        let index = u32::try_from(inner.entries.len()).map_err(|_| StoreError::TooManyIds)?;
        inner.entries.try_reserve(1).map_err(|_| StoreError::OutOfMemory)?;
        // SAFETY: as in `get`.
        let mut current = unsafe { &*self.index.load(Ordering::Relaxed) };
        if (inner.entries.len() + 1) * 2 > current.slots.len() {
            inner.indexes.try_reserve(1).map_err(|_| StoreError::OutOfMemory)?;
            let grown = Index::leaked(current.slots.len() * 2).ok_or(StoreError::OutOfMemory)?;
            inner.indexes.push(grown);
            // SAFETY: made just now, and freed by `drop` only.
            current = unsafe { &*grown };
            inner.entries.iter().for_each(|&entry| current.add(entry));
            // Release: pairs with the Acquire load in `get`.
            self.index.store(grown, Ordering::Release);
        }
        let entry = NonNull::from(Box::leak(
            self.entry(id, index, type_id, name, shape)
                .ok_or(StoreError::OutOfMemory)?,
        ));
        inner.entries.push(entry);
        current.add(entry);
        // SAFETY: freed by `Registry::drop` only.
        Ok(unsafe { entry.as_ref() })
    }

    fn entry(&self, id: u64, index: u32, type_id: Option<TypeId>, name: &str, shape: Shape) -> Option<Box<IdEntry>> {
        let counts = try_slice(self.shards, CachePadded::default)?;
        let mut type_name = String::new();
        type_name.try_reserve_exact(name.len()).ok()?;
        type_name.push_str(name);
        try_box(IdEntry {
            id,
            index,
            type_id,
            type_name,
            shape,
            counts,
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let inner = lock_stat(&self.inner);
        for &entry in &inner.entries {
            // SAFETY: leaked by `insert`, once each; whoever borrowed it borrowed the registry.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
        }
        for &index in &inner.indexes {
            // SAFETY: made by `Index::leaked`, once each; nobody looks anything up any more.
            drop(unsafe { Box::from_raw(index) });
        }
    }
}

impl Index {
    fn leaked(slots: usize) -> Option<*mut Self> {
        let slots = try_slice(slots, || AtomicPtr::new(ptr::null_mut()))?;
        try_box(Self {
            mask: slots.len() - 1,
            slots,
        })
        .map(Box::into_raw)
    }

    /// Slots in order from the id's home. At most half of them are taken, so an empty one ends the search.
    fn probe(&self, id: u64) -> impl Iterator<Item = &AtomicPtr<IdEntry>> {
        let home = (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        (0..).map(move |step| &self.slots[home.wrapping_add(step) & self.mask])
    }

    #[inline]
    fn find(&self, id: u64) -> Option<&IdEntry> {
        for slot in self.probe(id) {
            // Acquire: pairs with the Release store in `add`.
            let entry = slot.load(Ordering::Acquire);
            // SAFETY: null, or an entry that lives as long as the registry.
            let entry = unsafe { entry.as_ref() }?;
            if entry.id == id {
                return Some(entry);
            }
        }
        None
    }

    fn add(&self, entry: NonNull<IdEntry>) {
        // SAFETY: entries live until the registry is dropped.
        let id = unsafe { entry.as_ref() }.id;
        // Relaxed: writers are under the registry's lock.
        if let Some(free) = self.probe(id).find(|slot| slot.load(Ordering::Relaxed).is_null()) {
            // Release: pairs with the Acquire load in `find`.
            free.store(entry.as_ptr(), Ordering::Release);
        }
    }
}

/// The layout of a raw variable's bytes, checked.
pub(crate) fn raw_layout(layout: Layout) -> Result<Layout, StoreError> {
    if layout.align() <= crate::MAX_ALIGN {
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

    #[test]
    fn ids_keep_their_entries_while_the_index_grows() {
        let registry = Registry::new(2).unwrap();
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
        let registry = Registry::new(1).unwrap();
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
