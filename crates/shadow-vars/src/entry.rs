//! The entry of an id: the type that it holds, and what its variables have in common.

use std::any::TypeId;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use crate::error::TypeMismatch;
use crate::mem::{try_box, try_string};
use crate::pool::Size;
use crate::sync::stat::{AtomicPtr, Ordering};
use crate::table::layout::{DropValue, Shape, WeighValue};
use crate::table::node::{Life, WIDE, addr_fits};
use crate::tally::{Common, Id};

/// The store's record of one id. The fields that every look-up and every life cycle reads come first, in one cache line.
#[repr(C, align(64))]
pub(crate) struct IdEntry {
    pub(crate) id: u64,
    /// The type; [`Raw`] for raw variables.
    type_id: TypeId,
    /// The id's contribution to the hash of a key: see [`Places::salt`](crate::table::hash::Places::salt).
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

impl IdEntry {
    /// Creates the entry of an id that has not been used yet. `index` is its position, `salt` that of its index.
    pub(crate) fn new(id: u64, index: u32, salt: u64, kind: Shared) -> Self {
        let shape = *kind;
        Self {
            id,
            type_id: kind.kind().type_id,
            salt,
            live: Life::live(index),
            plain: shape.plain(),
            index,
            drops: shape.drop.is_some(),
            shape: kind,
            drop_with: AtomicPtr::new(shape.drop.map_or(ptr::null_mut(), |drop| drop as *mut ())),
            weigh_with: AtomicPtr::new(ptr::null_mut()),
            counts: Common::default(),
        }
    }

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

    /// Makes values be dropped by the caller's code for `T` from now on.
    ///
    /// # Safety
    ///
    /// The id [holds](Self::holds) `T`.
    #[inline]
    pub(crate) unsafe fn drop_as<T: Send + Sync + 'static>(&self) {
        if let Some(drop) = const { Shape::of::<T>() }.drop {
            // SAFETY: the caller guarantees that the id holds `T`, which the function drops.
            unsafe { self.drop_by(drop) };
        }
    }

    /// Makes values be dropped by this function from now on.
    ///
    /// # Safety
    ///
    /// It drops values of the type that the id holds.
    #[inline]
    pub(crate) unsafe fn drop_by(&self, drop: DropValue) {
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

    /// Makes values be weighed by this function from now on, or not at all.
    ///
    /// # Safety
    ///
    /// The id [holds](Self::holds) `T`.
    pub(crate) unsafe fn weigh_by<T: Send + Sync + 'static>(&self, bytes: Option<fn(&T) -> usize>) {
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

    /// Returns whether a TOMB word can hold this id's key with `obj`.
    #[inline]
    pub(crate) fn key_fits(&self, obj: usize) -> bool {
        addr_fits(obj) && self.index_fits()
    }

    pub(crate) fn mismatch(&self, asked: &str) -> TypeMismatch {
        TypeMismatch {
            id: self.id,
            bound: try_string(self.type_name()).unwrap_or_default(),
            asked: try_string(asked).unwrap_or_default(),
        }
    }
}

/// Stands for the type of raw variables.
pub(crate) enum Raw {}

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

/// What ids of one type have in common, copied: the library that defines the type may be unloaded.
struct Kind {
    type_id: TypeId,
    shape: Shape,
    name: String,
    /// The kind created before this one.
    older: Option<NonNull<Self>>,
}

impl Kind {
    /// Returns whether this is the kind of a type. Types of libraries that were built separately may have equal type ids, but
    /// different names.
    fn is_for(&self, type_id: TypeId, name: &str) -> bool {
        self.type_id == type_id && self.name == name
    }
}

/// The kinds of one registry, newest first.
#[derive(Default)]
pub(crate) struct Kinds {
    newest: Option<NonNull<Kind>>,
}

// SAFETY: the pointers lead to kinds that are only shared for reading and only freed by `free_all`; they are `Send` and `Sync`
// themselves.
unsafe impl Send for Kinds {}

impl Kinds {
    /// Returns what ids of this type have in common: one of the newest few kinds, or a new one. Returns `None` if allocation
    /// fails.
    pub(crate) fn get_or_add(&mut self, type_id: TypeId, name: &str, shape: Shape) -> Option<Shared> {
        /// Kinds that are compared: ids of one type are mostly created one after the other.
        const LOOKED_AT: usize = 8;
        let mut next = self.newest;
        for _ in 0..LOOKED_AT {
            let Some(kind) = next else { break };
            // SAFETY: freed on drop only.
            let this = unsafe { kind.as_ref() };
            if this.is_for(type_id, name) {
                return Some(Shared(kind));
            }
            next = this.older;
        }
        let kind = try_box(Kind {
            type_id,
            shape,
            name: try_string(name)?,
            older: self.newest,
        })?;
        let kind = NonNull::from(Box::leak(kind));
        self.newest = Some(kind);
        Some(Shared(kind))
    }

    /// Frees all kinds.
    ///
    /// # Safety
    ///
    /// No entry of the registry exists any more.
    pub(crate) unsafe fn free_all(&mut self) {
        let mut next = self.newest.take();
        while let Some(kind) = next {
            // SAFETY: leaked by `get_or_add`, once each; the caller guarantees that no entry leads to it.
            next = unsafe { Box::from_raw(kind.as_ptr()) }.older;
        }
    }
}
