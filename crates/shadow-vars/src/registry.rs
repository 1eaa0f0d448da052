//! The ids of one store: what type each holds, its small index, and its counts.
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

/// What a store knows of one id. What every look-up and every life cycle reads comes first, in one cache line.
#[repr(C, align(64))]
pub(crate) struct IdEntry {
    pub(crate) id: u64,
    /// The type; [`Raw`] for raw variables.
    type_id: TypeId,
    /// What the id does to the hash of an address: see [`Places::salt`].
    pub(crate) salt: u64,
    /// The life word of a variable of this id that exists. See [`Life::live`].
    pub(crate) live: Life,
    /// The size of a typed variable whose key fits.
    plain: Option<Size>,
    /// Position in order of first use; the low 16 bits go into the tags.
    pub(crate) index: u32,
    /// Whether values have a destructor.
    pub(crate) drops: bool,
    /// What the type needs.
    pub(crate) shape: Shared,
    /// How values are dropped: a [`DropValue`], or null. By the code of whoever allocated last: that which first did may be
    /// in a library that was unloaded since.
    drop_with: AtomicPtr<()>,
    /// What values weigh: a [`WeighValue`], or null.
    weigh_with: AtomicPtr<()>,
    counts: Common,
}

const _: () = assert!(size_of::<IdEntry>() == 128);

/// What ids of one type have in common, copied: the library that the type lives in may be unloaded.
struct Kind {
    type_id: TypeId,
    shape: Shape,
    name: String,
    /// Made before this.
    older: Option<NonNull<Self>>,
}

/// A kind that lives as long as the registry, and so as every entry.
pub(crate) struct Shared(NonNull<Kind>);

// SAFETY: leads to what is only read, and freed by the registry, after the entries.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn kind(&self) -> &Kind {
        // SAFETY: whoever has the entry has the registry borrowed, which has the kind.
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

    /// The type's name.
    pub(crate) fn type_name(&self) -> &str {
        &self.shape.kind().name
    }

    /// The size of a typed variable whose key fits.
    #[inline]
    pub(crate) fn plain(&self) -> Option<Size> {
        self.plain
    }

    /// Where the id is counted.
    #[inline]
    pub(crate) fn counts(&self) -> Id<'_> {
        Id {
            index: self.index,
            common: &self.counts,
        }
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

    /// What values of this id are weighed by.
    #[inline]
    pub(crate) fn weigh_value(&self) -> Option<WeighValue> {
        // Relaxed: the function is code, and was there before.
        let weigh = self.weigh_with.load(Ordering::Relaxed);
        // SAFETY: null, or stored as a `WeighValue`.
        unsafe { std::mem::transmute::<*mut (), Option<WeighValue>>(weigh) }
    }

    /// Values are weighed by this function from now on, or not at all. The id holds `T`.
    pub(crate) fn weigh_by<T: Send + Sync + 'static>(&self, bytes: Option<fn(&T) -> usize>) {
        debug_assert!(self.holds::<T>());
        let weigh = bytes.map_or(ptr::null_mut(), |bytes| bytes as *mut ());
        // Relaxed: as above.
        self.weigh_with.store(weigh, Ordering::Relaxed);
    }

    /// Whether `index` can be read back from a tag.
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
    /// The first entry of each home in a small index, or a vacancy: no pointer, no mask and no null to look at first.
    front: [AtomicPtr<IdEntry>; FRONT],
    index: AtomicPtr<Index>,
    inner: Mutex<Inner>,
    /// How many ids there are.
    known: AtomicU64,
    pub(crate) places: Places,
    /// Whether nodes have intervals.
    intervals: bool,
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

#[derive(Default)]
struct Inner {
    /// The newest.
    kinds: Option<NonNull<Kind>>,
}

// SAFETY: the pointers lead to kinds that are only shared for reading and only freed by `Registry::drop`; they are `Send` and
// `Sync` themselves.
unsafe impl Send for Inner {}

impl Registry {
    /// Takes no memory.
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

    /// The entry of `id`, bound to raw variables now if it was not bound before.
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

    /// Takes the lock only if the id is new.
    fn get_or_insert(&self, id: u64, type_id: TypeId, name: &str, shape: Shape) -> Result<&IdEntry, StoreError> {
        match self.get(id) {
            Some(entry) => Ok(entry),
            None => self.insert(id, type_id, name, shape),
        }
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &IdEntry> {
        // Acquire: as in `get`.
        // SAFETY: indexes live until the registry is dropped.
        unsafe { &*self.index.load(Ordering::Acquire) }.entries()
    }

    /// How many ids there are, those of all variables among them that the caller has to know of.
    #[inline]
    pub(crate) fn known(&self) -> u64 {
        // Relaxed: counted before the id's entry is published, so before any variable of it was made (O7).
        self.known.load(Ordering::Relaxed)
    }

    /// All ids in order of first use, with what was created and freed of each, as it was when the phase moved.
    pub(crate) fn counted(&self, tally: &Tally) -> Vec<(&IdEntry, Counted)> {
        let [before, after] = tally.look(|side| {
            let entries = self.entries();
            let mut counts: Vec<_> = entries
                .map(|entry| (entry, tally.of_id(entry.counts(), side)))
                .collect();
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
        // Relaxed: written under the lock.
        let index = u32::try_from(self.known.load(Ordering::Relaxed)).map_err(|_| StoreError::TooManyIds)?;
        // SAFETY: as in `get`.
        let mut current = unsafe { &*self.index.load(Ordering::Relaxed) };
        if current.is_full(index as usize) {
            let grown = Index::grown(current).ok_or(StoreError::OutOfMemory)?;
            // SAFETY: made just now, and freed by `drop` only.
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
            // SAFETY: leaked just now, and known to nobody.
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
        // SAFETY: freed by `Registry::drop` only.
        Ok(unsafe { entry.as_ref() })
    }
}

impl Inner {
    /// What ids of this type have in common: of the newest few, or made now. Nothing if there is no memory.
    fn kind(&mut self, type_id: TypeId, name: &str, shape: Shape) -> Option<NonNull<Kind>> {
        /// Types that are looked at: ids of one type mostly come one after the other.
        const LOOKED_AT: usize = 8;
        let mut next = self.kinds;
        for _ in 0..LOOKED_AT {
            let Some(kind) = next else { break };
            // SAFETY: freed by `Registry::drop` only.
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
    /// Types of libraries that were built apart may have equal ids, and names that differ.
    fn is_for(&self, type_id: TypeId, name: &str) -> bool {
        self.type_id == type_id && self.name == name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for entry in self.entries() {
            // SAFETY: leaked by `insert`, once each; whoever borrowed it borrowed the registry.
            drop(unsafe { Box::from_raw(ptr::from_ref(entry).cast_mut()) });
        }
        let mut next = lock_stat(&self.inner).kinds;
        while let Some(kind) = next {
            // SAFETY: leaked by `kind`, once each; the entries that led to it are gone.
            next = unsafe { Box::from_raw(kind.as_ptr()) }.older;
        }
        // SAFETY: made by `Index::grown`, or the empty one; nobody looks anything up any more.
        unsafe { Index::free(*self.index.get_mut()) };
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
