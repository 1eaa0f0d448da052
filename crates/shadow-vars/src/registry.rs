//! The ids of one store: the type that each holds, its small index, and its counts.
//!
//! Look-ups are wait-free (but for the probe) and never write. The first use of an id takes a short lock. Entries are never
//! removed while the store exists, so references to them are valid for as long as the store is.
//!
//! Look-ups are wait-free (but for the probe) and never write. The first use of an id takes a short lock. Entries
//! are never removed while the store lives, so references to them are good for as long as the store is.

use std::alloc::Layout;
use std::any::TypeId;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use self::index::Index;
use crate::error::{StoreError, TypeMismatch};
use crate::fork;
use crate::heap::{Heap, WIDE};
use crate::mem::{try_box, try_string};
use crate::pool::Size;
use crate::sync::lock_stat;
use crate::sync::stat::{AtomicPtr, AtomicU64, Mutex, Ordering};
use crate::table::hash::Places;
use crate::table::layout::{DropValue, Shape, WeighValue};
use crate::table::node::Life;
use crate::tally::{Common, Counted, Id, Tally};

mod index;

/// The store's record of one id. The fields that every look-up and every life cycle reads come first, in one cache line.
#[repr(C, align(64))]
pub(crate) struct IdEntry {
    pub(crate) id: u64,
    /// The type; [`Raw`] for raw variables.
    type_id: TypeId,
    /// The id's contribution to the hash of a key: see [`Places::salt`].
    pub(crate) salt: u64,
    /// The life word of a live variable of this id. See [`Life::live`].
    pub(crate) live: Life,
    /// The size of a typed variable whose key is inline.
    plain: Option<Size>,
    /// Position in order of first use; the low 16 bits are in the tags.
    pub(crate) index: u32,
    /// Whether values have a destructor.
    pub(crate) drops: bool,
    /// The layout and type, shared by ids of one type.
    pub(crate) shape: Shared,
    /// The function that drops values: a [`DropValue`], or null. That of the code that allocated last: the code that first did
    /// may be in a library that has been unloaded since.
    drop_with: AtomicPtr<()>,
    /// The function that weighs values: a [`WeighValue`], or null.
    weigh_with: AtomicPtr<()>,
    counts: Common,
}

const _: () = assert!(size_of::<IdEntry>() == 128);

/// What ids of one type have in common, copied: the library that defines the type may be unloaded.
struct Kind {
    type_id: TypeId,
    shape: Shape,
    name: String,
    /// The kind created before this one.
    older: Option<NonNull<Self>>,
}

/// A kind, which lives as long as the registry, and so as every entry.
pub(crate) struct Shared(NonNull<Kind>);

// SAFETY: the kind is only read, and freed by the registry, after the entries.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

impl Shared {
    fn kind(&self) -> &Kind {
        // SAFETY: a reference to the entry borrows the registry, which owns the kind.
        unsafe { self.0.as_ref() }
    }
}

impl Deref for Shared {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        &self.kind().shape
    }
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

    /// Returns the type's name.
    pub(crate) fn type_name(&self) -> &str {
        &self.shape.kind().name
    }

    /// Returns the size of a typed variable whose key is inline.
    #[inline]
    pub(crate) fn plain(&self) -> Option<Size> {
        self.plain
    }

    /// Returns the counters of the id.
    #[inline]
    pub(crate) fn counts(&self) -> Id<'_> {
        Id {
            index: self.index,
            common: &self.counts,
        }
    }

    /// Returns the function that drops values of this id.
    pub(crate) fn drop_value(&self) -> Option<DropValue> {
        // Relaxed: stored before the value was published, whose publication is acquired.
        let drop = self.drop_with.load(Ordering::Relaxed);
        // SAFETY: null, or stored as a `DropValue`.
        unsafe { std::mem::transmute::<*mut (), Option<DropValue>>(drop) }
    }

    /// Makes values be dropped by the caller's code for `T` from now on. The id holds `T`.
    #[inline]
    pub(crate) fn drop_as<T: Send + Sync + 'static>(&self) {
        if let Some(drop) = const { Shape::of::<T>() }.drop {
            self.drop_by(drop);
        }
    }

    #[inline]
    fn drop_by(&self, drop: DropValue) {
        let drop = drop as *mut ();
        // Relaxed: published by the value that is allocated next. Checked first, as it rarely changes.
        if self.drop_with.load(Ordering::Relaxed) != drop {
            self.drop_with.store(drop, Ordering::Relaxed);
        }
    }

    /// Returns the function that weighs values of this id.
    #[inline]
    pub(crate) fn weigh_value(&self) -> Option<WeighValue> {
        // Relaxed: the function is code, which existed before.
        let weigh = self.weigh_with.load(Ordering::Relaxed);
        // SAFETY: null, or stored as a `WeighValue`.
        unsafe { std::mem::transmute::<*mut (), Option<WeighValue>>(weigh) }
    }

    /// Makes values be weighed by this function from now on, or not at all. The id holds `T`.
    pub(crate) fn weigh_by<T: Send + Sync + 'static>(&self, bytes: Option<fn(&T) -> usize>) {
        debug_assert!(self.holds::<T>());
        let weigh = bytes.map_or(ptr::null_mut(), |bytes| bytes as *mut ());
        // Relaxed: the function is code, which existed before.
        self.weigh_with.store(weigh, Ordering::Relaxed);
    }

    /// Returns whether `index` can be read back from a tag.
    #[inline]
    pub(crate) fn index_fits(&self) -> bool {
        self.index < WIDE
    }

    pub(crate) fn mismatch(&self, asked: &str) -> TypeMismatch {
        TypeMismatch {
            id: self.id,
            bound: try_string(self.type_name()).unwrap_or_default(),
            asked: try_string(asked).unwrap_or_default(),
        }
    }
}

/// All ids of a store: an open-addressing index that only grows.
pub(crate) struct Registry {
    /// A small direct-mapped index with the first entry of each home, or a vacancy: a look-up there needs no pointer, no mask
    /// and no null check.
    front: [AtomicPtr<IdEntry>; FRONT],
    index: AtomicPtr<Index>,
    inner: Mutex<Inner>,
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

/// 2^64 divided by the golden ratio: its multiples differ in their high bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the entry that stands in an empty slot of `front`: its id has another home, so it is never looked up there.
fn vacancy(home: usize) -> *mut IdEntry {
    static IDS: [u64; 2] = [0, 1];
    debug_assert!(front_home(IDS[0]) != front_home(IDS[1]));
    let id = IDS.iter().find(|&&id| front_home(id) != home);
    ptr::from_ref(id.unwrap_or(&IDS[0])).cast_mut().cast()
}

#[derive(Default)]
struct Inner {
    /// The newest kind.
    kinds: Option<NonNull<Kind>>,
}

// SAFETY: the pointers lead to kinds that are only shared for reading and only freed by `Registry::drop`; they are `Send` and
// `Sync` themselves.
unsafe impl Send for Inner {}

impl Registry {
    /// Allocates nothing.
    pub(crate) fn new(places: Places, heap: Arc<Heap>, intervals: bool) -> Self {
        Self {
            front: std::array::from_fn(|home| AtomicPtr::new(vacancy(home))),
            index: AtomicPtr::new(Index::empty()),
            inner: Mutex::default(),
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
        let mut inner = lock_stat(&self.inner);
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
        let kind = inner.kind(type_id, name, shape).ok_or(StoreError::OutOfMemory)?;
        let entry = try_box(IdEntry {
            id,
            type_id,
            salt: self.places.salt(index),
            live: Life::live(index),
            plain: shape.plain(),
            index,
            drops: shape.drop.is_some(),
            shape: Shared(kind),
            drop_with: AtomicPtr::new(shape.drop.map_or(ptr::null_mut(), |drop| drop as *mut ())),
            weigh_with: AtomicPtr::new(ptr::null_mut()),
            counts: Common::default(),
        });
        let entry = NonNull::from(Box::leak(entry.ok_or(StoreError::OutOfMemory)?));
        if !self.heap.add(index, entry) {
            // SAFETY: leaked above, and never shared.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
            return Err(StoreError::OutOfMemory);
        }
        // Relaxed: the Release stores below publish it.
        self.known.store(u64::from(index) + 1, Ordering::Relaxed);
        current.add(entry);
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

impl Inner {
    /// Returns what ids of this type have in common: one of the newest few kinds, or a new one. Returns `None` if allocation
    /// fails.
    fn kind(&mut self, type_id: TypeId, name: &str, shape: Shape) -> Option<NonNull<Kind>> {
        /// Kinds that are compared: ids of one type are mostly created one after the other.
        const LOOKED_AT: usize = 8;
        let mut next = self.kinds;
        for _ in 0..LOOKED_AT {
            let Some(kind) = next else { break };
            // SAFETY: freed on drop only.
            let this = unsafe { kind.as_ref() };
            if this.is_for(type_id, name) {
                return Some(kind);
            }
            next = this.older;
        }
        let kind = try_box(Kind {
            type_id,
            shape,
            name: try_string(name)?,
            older: self.kinds,
        })?;
        self.kinds = Some(NonNull::from(Box::leak(kind)));
        self.kinds
    }
}

impl Kind {
    /// Returns whether this is the kind of a type. Types of libraries that were built separately may have equal type ids, but
    /// different names.
    fn is_for(&self, type_id: TypeId, name: &str) -> bool {
        self.type_id == type_id && self.name == name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for entry in self.entries() {
            // SAFETY: leaked by `insert`, once each; references to entries borrow the registry.
            drop(unsafe { Box::from_raw(ptr::from_ref(entry).cast_mut()) });
        }
        let mut next = lock_stat(&self.inner).kinds;
        while let Some(kind) = next {
            // SAFETY: leaked by `kind`, once each; the entries that led to it have been freed.
            next = unsafe { Box::from_raw(kind.as_ptr()) }.older;
        }
        // SAFETY: made by `Index::grown`, or the empty one; no look-up runs any more.
        unsafe { Index::free(*self.index.get_mut()) };
    }
}

/// Returns the layout of a raw variable's bytes, if it is supported.
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
