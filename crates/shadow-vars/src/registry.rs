//! The ids of one store: what type each holds, its small index, and its counts.
//!
//! Look-ups are wait-free (but for the probe) and never write. The first use of an id takes a short lock. Entries
//! are never removed while the store lives, so references to them are good for as long as the store is.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::TypeId;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::error::{StoreError, TypeMismatch};
use crate::fork;
use crate::heap::{Heap, WIDE};
use crate::mem::{try_box, try_string};
use crate::shard::Shard;
use crate::sync::lock_stat;
use crate::sync::stat::{AtomicPtr, AtomicU64, Mutex, Ordering};
use crate::table::hash::Places;
use crate::table::layout::{DropValue, Shape};
use crate::table::node::Life;
use crate::tally::{Column, Counted, Lines, Phase};

/// What a store knows of one id. What every look-up reads comes first, in one cache line.
#[repr(C, align(64))]
pub(crate) struct IdEntry {
    pub(crate) id: u64,
    /// The type; [`Raw`] for raw variables.
    type_id: TypeId,
    /// What the id does to the hash of an address: see [`Places::salt`].
    pub(crate) salt: u64,
    /// Position in order of first use; the low 16 bits go into the tags.
    pub(crate) index: u32,
    /// The life word of a variable of this id that exists. See [`Life::live`].
    pub(crate) live: Life,
    pub(crate) shape: Shape,
    /// The type's name, copied: the library that it lives in may be unloaded.
    pub(crate) type_name: String,
    counts: Column,
    /// How values are dropped: a [`DropValue`], or null. By the code of whoever allocated last: that which first did may be
    /// in a library that was unloaded since.
    drop_with: AtomicPtr<()>,
}

/// Stands for the type of raw variables.
enum Raw {}

impl IdEntry {
    #[inline]
    pub(crate) fn holds<T: 'static>(&self) -> bool {
        self.type_id == TypeId::of::<T>()
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.holds::<Raw>()
    }

    /// How a value of this id is dropped.
    pub(crate) fn drop_value(&self) -> Option<DropValue> {
        // Relaxed: bound before the value was there, whose publication is acquired.
        let drop = self.drop_with.load(Ordering::Relaxed);
        // SAFETY: null, or stored as a `DropValue`.
        unsafe { std::mem::transmute::<*mut (), Option<DropValue>>(drop) }
    }

    /// Values are dropped by the caller's code for `T` from now on, which the id holds.
    #[inline]
    pub(crate) fn drop_as<T: Send + Sync + 'static>(&self) {
        if let Some(drop) = const { Shape::of::<T>() }.drop {
            self.drop_by(drop);
        }
    }

    #[inline]
    fn drop_by(&self, drop: DropValue) {
        let drop = drop as *mut ();
        // Relaxed: the value that is allocated next publishes it. Looked at first: it seldom changes.
        if self.drop_with.load(Ordering::Relaxed) != drop {
            self.drop_with.store(drop, Ordering::Relaxed);
        }
    }

    /// Whether `index` can be read back from a tag.
    #[inline]
    pub(crate) fn index_fits(&self) -> bool {
        self.index < WIDE
    }

    pub(crate) fn mismatch(&self, asked: &str) -> TypeMismatch {
        TypeMismatch {
            id: self.id,
            bound: try_string(&self.type_name).unwrap_or_default(),
            asked: try_string(asked).unwrap_or_default(),
        }
    }
}

/// All ids of a store: an open-addressing index that only grows.
pub(crate) struct Registry {
    /// The first entry of each home in a small index, or a vacancy: no pointer, no mask and no null to look at first.
    front: [AtomicPtr<IdEntry>; FRONT],
    index: AtomicPtr<Index>,
    inner: Mutex<Inner>,
    /// How many ids there are.
    known: AtomicU64,
    phase: Phase,
    pub(crate) places: Places,
    shards: usize,
    /// Where nodes find their entries.
    heap: Arc<Heap>,
}

const FRONT: usize = 32;

#[inline]
fn front_home(id: u64) -> usize {
    (id.wrapping_mul(GOLDEN) >> (u64::BITS - FRONT.ilog2())) as usize
}

/// 2^64 divided by the golden ratio: multiples of it keep apart in their high bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Stands in an empty slot of the front for an entry: an id that is never looked up there, as it has another home.
fn vacancy(home: usize) -> *mut IdEntry {
    static IDS: [u64; 2] = [0, 1];
    debug_assert!(front_home(IDS[0]) != front_home(IDS[1]));
    let id = IDS.iter().find(|&&id| front_home(id) != home);
    ptr::from_ref(id.unwrap_or(&IDS[0])).cast_mut().cast()
}

struct Inner {
    entries: Vec<NonNull<IdEntry>>,
    /// The counts of the entries, [`Column::IDS`] of them each.
    lines: Vec<NonNull<[Lines]>>,
    /// Every index there ever was; a look-up may still be in an older one. Each is twice the one before.
    indexes: Vec<*mut Index>,
}

/// An array of pointers behind its mask, in one allocation: look-ups have one load less to wait for.
#[repr(C)]
struct Index {
    mask: usize,
    /// As many as the mask says.
    slots: [AtomicPtr<IdEntry>; 0],
}

// SAFETY: the pointers lead to entries and indexes that are only shared for reading and only freed by
// `Registry::drop`; both are `Send` and `Sync` themselves.
unsafe impl Send for Inner {}

impl Registry {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize, places: Places, heap: Arc<Heap>) -> Option<Self> {
        let mut indexes = Vec::new();
        indexes.try_reserve(1).ok()?;
        let index = Index::leaked(16)?;
        indexes.push(index);
        let inner = Mutex::new(Inner {
            entries: Vec::new(),
            lines: Vec::new(),
            indexes,
        });
        Some(Self {
            front: std::array::from_fn(|home| AtomicPtr::new(vacancy(home))),
            index: AtomicPtr::new(index),
            inner,
            known: AtomicU64::new(0),
            phase: Phase::default(),
            places,
            shards,
            heap,
        })
    }

    /// The entry of an id that has been used before.
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<&IdEntry> {
        // Acquire: pairs with the Release store in `insert`.
        let front = self.front[front_home(id)].load(Ordering::Acquire);
        // SAFETY: an entry, whose id comes first, or a vacancy, which is an id and nothing more.
        if unsafe { front.cast::<u64>().read() } == id {
            // SAFETY: a vacancy has an id of another home, so this is an entry, which lives as long as the registry.
            return Some(unsafe { &*front });
        }
        self.get_on(id)
    }

    #[cold]
    #[inline(never)]
    fn get_on(&self, id: u64) -> Option<&IdEntry> {
        // Acquire: pairs with the Release store in `insert`.
        // SAFETY: indexes live until the registry is dropped.
        let index = unsafe { &*self.index.load(Ordering::Acquire) };
        index.find(id)
    }

    /// The entry of `id`, bound to `T` now if it was not bound before.
    #[inline]
    pub(crate) fn bind<T: Send + Sync + 'static>(&self, id: u64) -> Result<&IdEntry, StoreError> {
        match self.get(id) {
            Some(entry) if entry.holds::<T>() => Ok(entry),
            _ => self.bind_on::<T>(id),
        }
    }

    #[cold]
    #[inline(never)]
    fn bind_on<T: Send + Sync + 'static>(&self, id: u64) -> Result<&IdEntry, StoreError> {
        let entry = self.get_or_insert(id, TypeId::of::<T>(), std::any::type_name::<T>(), Shape::of::<T>())?;
        if entry.holds::<T>() {
            Ok(entry)
        } else {
            Err(StoreError::TypeMismatch(entry.mismatch(std::any::type_name::<T>())))
        }
    }

    /// The entry of `id`, bound to raw variables now if it was not bound before.
    pub(crate) fn bind_raw(&self, id: u64) -> Result<&IdEntry, StoreError> {
        let entry = self.get_or_insert(id, TypeId::of::<Raw>(), "raw", Shape::RAW)?;
        if entry.is_raw() {
            Ok(entry)
        } else {
            Err(StoreError::TypeMismatch(entry.mismatch("raw")))
        }
    }

    /// Takes the lock only if the id is new.
    fn get_or_insert(&self, id: u64, type_id: TypeId, name: &str, shape: Shape) -> Result<&IdEntry, StoreError> {
        match self.get(id) {
            Some(entry) => Ok(entry),
            None => self.insert(id, type_id, name, shape),
        }
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &IdEntry> {
        // Acquire, twice: as in `get` and `Index::find`.
        // SAFETY: indexes live until the registry is dropped.
        let index = unsafe { &*self.index.load(Ordering::Acquire) };
        // SAFETY: null, or an entry that lives as long as the registry.
        index
            .slots()
            .iter()
            .filter_map(|slot| unsafe { slot.load(Ordering::Acquire).as_ref() })
    }

    /// How many ids there are, those of all variables among them that the caller has to know of.
    #[inline]
    pub(crate) fn known(&self) -> u64 {
        // Relaxed: counted before the id's entry is published, so before any variable of it was made (O7).
        self.known.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn count_created(&self, entry: &IdEntry, shard: Shard) {
        entry.counts.add_created(shard, self.phase.side());
    }

    #[inline]
    pub(crate) fn count_freed(&self, entry: &IdEntry, shard: Shard, count: u64) {
        entry.counts.add_freed(shard, self.phase.side(), count);
    }

    /// Variables that live now, over all ids. Takes no lock.
    pub(crate) fn live(&self) -> u64 {
        let sum = |side| {
            self.entries()
                .map(|entry| entry.counts.sum(side).balance())
                .sum::<i64>()
        };
        // Below 0 while creations run whose variables are freed already.
        u64::try_from(self.phase.look(sum).iter().sum::<i64>()).unwrap_or(0)
    }

    /// Variables of an id that live now.
    pub(crate) fn live_of(&self, entry: &IdEntry) -> u64 {
        Counted::of_sides(self.phase.look(|side| entry.counts.sum(side))).live()
    }

    /// All ids in order of first use, with what was created and freed of each, as it was when the phase moved.
    pub(crate) fn counted(&self) -> Vec<(&IdEntry, Counted)> {
        let [before, after] = self.phase.look(|side| {
            let mut counts: Vec<_> = self.entries().map(|entry| (entry, entry.counts.sum(side))).collect();
            counts.sort_unstable_by_key(|(entry, _)| entry.index);
            counts
        });
        // An id that came in between has counted nothing on the side that was read first.
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
        let mut inner = lock_stat(&self.inner);
        if let Some(entry) = self.get(id) {
            return Ok(entry);
        }
        let index = u32::try_from(inner.entries.len()).map_err(|_| StoreError::TooManyIds)?;
        inner.entries.try_reserve(1).map_err(|_| StoreError::OutOfMemory)?;
        // SAFETY: as in `get`.
        let mut current = unsafe { &*self.index.load(Ordering::Relaxed) };
        if (inner.entries.len() + 1) * 2 > current.slots().len() {
            inner.indexes.try_reserve(1).map_err(|_| StoreError::OutOfMemory)?;
            let grown = Index::leaked(current.slots().len() * 2).ok_or(StoreError::OutOfMemory)?;
            inner.indexes.push(grown);
            // SAFETY: made just now, and freed by `drop` only.
            current = unsafe { &*grown };
            inner.entries.iter().for_each(|&entry| current.add(entry));
            // Release: pairs with the Acquire load in `get`.
            self.index.store(grown, Ordering::Release);
        }
        let counts = self.column(&mut inner).ok_or(StoreError::OutOfMemory)?;
        let salt = self.places.salt(index);
        let entry = entry(id, (index, salt), type_id, name, shape, counts).ok_or(StoreError::OutOfMemory)?;
        let entry = NonNull::from(Box::leak(entry));
        if !self.heap.add(index, entry) {
            // SAFETY: leaked just now, and known to nobody.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
            return Err(StoreError::OutOfMemory);
        }
        inner.entries.push(entry);
        // Relaxed: the Release stores below publish it.
        self.known.store(inner.entries.len() as u64, Ordering::Relaxed);
        current.add(entry);
        let front = &self.front[front_home(id)];
        // Relaxed: writers are under the registry's lock.
        if ptr::eq(front.load(Ordering::Relaxed), vacancy(front_home(id))) {
            // Release: pairs with the Acquire load in `get`.
            front.store(entry.as_ptr(), Ordering::Release);
        }
        // SAFETY: freed by `Registry::drop` only.
        Ok(unsafe { entry.as_ref() })
    }

    /// The counts of the next entry.
    fn column(&self, inner: &mut Inner) -> Option<Column> {
        let (line, of) = (inner.entries.len() / Column::IDS, inner.entries.len() % Column::IDS);
        if line == inner.lines.len() {
            inner.lines.try_reserve(1).ok()?;
            inner.lines.push(Column::lines(self.shards)?);
        }
        // SAFETY: freed by `drop`, after the entries; a remainder is less.
        Some(unsafe { Column::new(inner.lines[line], of) })
    }
}

fn entry(
    id: u64,
    (index, salt): (u32, u64),
    type_id: TypeId,
    name: &str,
    shape: Shape,
    counts: Column,
) -> Option<Box<IdEntry>> {
    let type_name = try_string(name)?;
    try_box(IdEntry {
        id,
        type_id,
        salt,
        index,
        live: Life::live(index),
        shape,
        type_name,
        counts,
        drop_with: AtomicPtr::new(shape.drop.map_or(ptr::null_mut(), |drop| drop as *mut ())),
    })
}

impl Drop for Registry {
    fn drop(&mut self) {
        let inner = lock_stat(&self.inner);
        for &entry in &inner.entries {
            // SAFETY: leaked by `insert`, once each; whoever borrowed it borrowed the registry.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
        }
        for &lines in &inner.lines {
            // SAFETY: leaked by `column`, once each; the entries that led to it are gone.
            drop(unsafe { Box::from_raw(lines.as_ptr()) });
        }
        for &index in &inner.indexes {
            // SAFETY: made by `Index::leaked`, once each; nobody looks anything up any more.
            unsafe { Index::free(index) };
        }
    }
}

impl Index {
    /// An index of empty slots, a power of two of them.
    fn leaked(slots: usize) -> Option<*mut Self> {
        // SAFETY: the size is not 0. Zeros are null pointers.
        let fresh = unsafe { alloc_zeroed(Self::layout(slots)?) };
        let fresh = NonNull::new(fresh)?.cast::<Self>().as_ptr();
        // SAFETY: fresh memory.
        unsafe { (&raw mut (*fresh).mask).write(slots - 1) };
        fresh.expose_provenance();
        Some(fresh)
    }

    fn layout(slots: usize) -> Option<Layout> {
        let array = Layout::array::<AtomicPtr<IdEntry>>(slots).ok()?;
        let (layout, offset) = Layout::new::<Self>().extend(array).ok()?;
        debug_assert!(offset == size_of::<Self>());
        Some(layout)
    }

    /// # Safety
    ///
    /// Once per index, when nobody looks anything up in it any more.
    unsafe fn free(index: *mut Self) {
        // SAFETY: the caller's.
        let slots = unsafe { &*index }.slots().len();
        if let Some(layout) = Self::layout(slots) {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(index.cast(), layout) };
        }
    }

    #[inline]
    fn slots(&self) -> &[AtomicPtr<IdEntry>] {
        // SAFETY: `leaked` allocated as many behind the mask; the index was reached by the pointer from there.
        unsafe {
            let first = std::ptr::with_exposed_provenance::<Self>(ptr::from_ref(self).addr()).add(1);
            std::slice::from_raw_parts(first.cast(), self.mask + 1)
        }
    }

    #[inline]
    fn home(id: u64) -> usize {
        (id.wrapping_mul(GOLDEN) >> 32) as usize
    }

    /// From the id's home on. At most half of the slots are taken, so an empty one ends the search.
    #[inline]
    fn find(&self, id: u64) -> Option<&IdEntry> {
        for at in Self::home(id).. {
            let entry = self.at(at)?;
            if entry.id == id {
                return Some(entry);
            }
        }
        None
    }

    /// The entry in a slot; wraps around.
    #[inline]
    fn at(&self, at: usize) -> Option<&IdEntry> {
        // Acquire: pairs with the Release store in `add`.
        // SAFETY: the mask keeps it in bounds.
        let entry = unsafe { self.slots().get_unchecked(at & self.mask) }.load(Ordering::Acquire);
        // SAFETY: null, or an entry that lives as long as the registry.
        unsafe { entry.as_ref() }
    }

    fn add(&self, entry: NonNull<IdEntry>) {
        // SAFETY: entries live until the registry is dropped.
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

    fn registry(shards: usize) -> Registry {
        Registry::new(shards, Places::USUAL, Heap::new(shards, true).unwrap()).unwrap()
    }

    #[test]
    fn values_are_dropped_by_the_code_that_allocated_last() {
        unsafe fn of_an_unloaded_library(_: *mut u8) {}
        let registry = registry(1);
        let drop_of = |entry: &IdEntry| entry.drop_value().map(|drop| drop as usize);
        let entry = registry.bind::<String>(3).unwrap();
        let own = drop_of(entry);
        assert!(own.is_some());
        entry.drop_by(of_an_unloaded_library);
        assert_ne!(
            drop_of(registry.bind::<String>(3).unwrap()),
            own,
            "who binds may never allocate"
        );
        entry.drop_as::<String>();
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
