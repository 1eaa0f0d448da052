//! Untyped variables, by layout: for other languages, and for types that are only known at run time.

use std::alloc::Layout;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::entry::IdEntry;
use crate::error::{CtorError, LayoutMismatch, StoreError};
use crate::guard::GuardKind;
use crate::pinned::Pinned;
use crate::reclaim::Reclaim;
use crate::registry::raw_layout;
use crate::table::NodeRef;
use crate::table::insert::IfExists;
use crate::table::node::Node;
use crate::table::node_alloc::Payload;
use crate::{IntoObjAddr, ObjAddr, events};

/// A constructor: is given the parent's address, the zeroed variable and the caller's data; a non-zero result means
/// failure.
pub type RawCtor = unsafe extern "C" fn(obj: *mut c_void, shadow: *mut c_void, data: *mut c_void) -> c_int;

/// A destructor: is given the parent's address, the variable and the caller's data.
pub type RawDtor = unsafe extern "C" fn(obj: *mut c_void, shadow: *mut c_void, data: *mut c_void);

/// An untyped variable, protected by a guard.
#[derive(Clone, Copy)]
pub struct RawVar<'g> {
    payload: NonNull<u8>,
    layout: Layout,
    _guard: PhantomData<&'g ()>,
}

impl RawVar<'_> {
    /// Returns a pointer to the variable's bytes, which do not move while the variable is live. The callers must
    /// synchronise reads and writes of the bytes, as for any memory that threads share.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.payload
    }

    /// Returns the size and alignment that the variable was created with.
    pub fn layout(&self) -> Layout {
        self.layout
    }
}

impl fmt::Debug for RawVar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawVar")
            .field("payload", &self.payload)
            .field("layout", &self.layout)
            .finish()
    }
}

impl<'s, R: Reclaim, G: GuardKind<R>> Pinned<'s, R, G> {
    /// Returns the untyped variable, if it exists. Progress is as for [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](StoreError::TypeMismatch) if the id is bound to a type,
    /// [`LayoutMismatch`](StoreError::LayoutMismatch) if the variable is smaller or less aligned than `layout`.
    pub fn raw_get<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: u64,
        layout: Layout,
    ) -> Result<Option<RawVar<'_>>, StoreError> {
        let Some(entry) = self.core().registry.get(id) else {
            return Ok(None);
        };
        if !entry.is_raw() {
            return Err(StoreError::TypeMismatch(entry.mismatch("raw")));
        }
        let core = self.core();
        core.find(self.shield(), obj.into_obj_addr().get(), entry)
            .map(|node| checked(node, entry, layout))
            .transpose()
    }

    /// Creates an untyped variable: zeroed, then constructed if a constructor is given.
    ///
    /// The constructor runs as in [`alloc_with`](Self::alloc_with). The store keeps no destructor: resources that the
    /// variable owns must be released by the destructor given to [`raw_free`](Self::raw_free); otherwise only the
    /// variable's own memory is freed. Progress is as for [`alloc_with`](Self::alloc_with).
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's result if it is not 0, in which case no variable is created. Otherwise
    /// [`CtorError::Store`], as for [`alloc`](Self::alloc), or with [`InvalidLayout`](StoreError::InvalidLayout) if the
    /// alignment exceeds 4096 or the size is impossible.
    ///
    /// # Safety
    ///
    /// - `ctor` may be called with `data` on this thread, and does not unwind.
    /// - `ctor` accesses no more than `layout.size()` bytes of the variable.
    pub unsafe fn raw_alloc<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: u64,
        layout: Layout,
        ctor: Option<RawCtor>,
        data: *mut c_void,
    ) -> Result<RawVar<'_>, CtorError<c_int>> {
        // SAFETY: the caller guarantees what `raw_create` requires of `ctor` and `data`.
        unsafe { self.raw_create(obj.into_obj_addr(), id, layout, ctor, data, IfExists::Refuse) }
    }

    /// Returns the untyped variable, which is created as by [`raw_alloc`](Self::raw_alloc) if it does not exist. Progress
    /// is as for [`get_or_alloc_with`](Self::get_or_alloc_with).
    ///
    /// # Errors
    ///
    /// The same as for [`raw_alloc`](Self::raw_alloc), but instead of `Exists`,
    /// [`LayoutMismatch`](StoreError::LayoutMismatch) if the existing variable is smaller or less aligned than `layout`.
    ///
    /// # Safety
    ///
    /// Same as [`raw_alloc`](Self::raw_alloc).
    pub unsafe fn raw_get_or_alloc<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: u64,
        layout: Layout,
        ctor: Option<RawCtor>,
        data: *mut c_void,
    ) -> Result<RawVar<'_>, CtorError<c_int>> {
        // SAFETY: the caller guarantees what `raw_create` requires of `ctor` and `data`.
        unsafe { self.raw_create(obj.into_obj_addr(), id, layout, ctor, data, IfExists::Get) }
    }

    /// Creates an untyped variable, or returns the existing one as `if_exists` says.
    ///
    /// # Safety
    ///
    /// Same as [`raw_alloc`](Self::raw_alloc).
    unsafe fn raw_create(
        &self,
        obj: ObjAddr,
        id: u64,
        layout: Layout,
        ctor: Option<RawCtor>,
        data: *mut c_void,
        if_exists: IfExists,
    ) -> Result<RawVar<'_>, CtorError<c_int>> {
        let layout = raw_layout(layout)?;
        let core = self.core();
        let entry = core.registry.bind_raw(id)?;
        let key = core.key(obj.get(), entry);
        if if_exists == IfExists::Get
            && let Some(node) = core.find(self.shield(), obj.get(), entry)
        {
            return Ok(checked(node, entry, layout)?);
        }
        self.note_change();
        let construct = |node: NonNull<Node>| match ctor {
            // SAFETY: the node is new, and its payload has the requested size; the caller guarantees the rest.
            Some(ctor) => match unsafe { ctor(pointer(obj), Node::payload(node, entry).as_ptr().cast(), data) } {
                0 => Ok(()),
                code => Err(code),
            },
            None => Ok(()),
        };
        // SAFETY: raw payloads are bytes, and zeroed.
        let node = unsafe { core.alloc_constructed(self.shield(), &key, if_exists, Payload::raw(layout), construct) };
        let node = node.inspect_err(|failed| {
            if let CtorError::Store(error) = failed {
                events::refused(error);
            }
        })?;
        Ok(checked(node, entry, layout)?)
    }

    /// Frees an untyped variable, with a destructor as in [`free_with`](Self::free_with), and returns whether it existed.
    ///
    /// # Safety
    ///
    /// `dtor` may be called with `data` on this thread, does not unwind, and accesses no more than the variable's bytes.
    pub unsafe fn raw_free<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: u64,
        dtor: Option<RawDtor>,
        data: *mut c_void,
    ) -> bool {
        let (core, obj) = (self.core(), obj.into_obj_addr());
        self.note_change();
        let Some(entry) = self.raw_entry(id) else { return false };
        let key = core.key(obj.get(), entry);
        // SAFETY: the caller guarantees what `destroy` requires of `dtor` and `data`; the node was just removed.
        core.remove(self.shield(), &key, |node| unsafe { destroy(node, entry, dtor, data) })
            .is_some()
    }

    /// Frees all untyped variables of an id, with a destructor as in [`free_all_with`](Self::free_all_with), and returns
    /// how many this call has freed.
    ///
    /// # Safety
    ///
    /// Same as [`raw_free`](Self::raw_free).
    pub unsafe fn raw_free_all(&self, id: u64, dtor: Option<RawDtor>, data: *mut c_void) -> usize {
        self.note_change();
        let Some(entry) = self.raw_entry(id) else { return 0 };
        // SAFETY: the caller guarantees what `destroy` requires of `dtor` and `data`; only removed nodes are passed.
        let destroy = |node: NodeRef<'_>| unsafe { destroy(node, entry, dtor, data) };
        self.core().free_all(self.shield(), entry, destroy)
    }

    fn raw_entry(&self, id: u64) -> Option<&'s IdEntry> {
        let entry = self.core().registry.get(id)?;
        if entry.is_raw() {
            return Some(entry);
        }
        events::mismatch(&entry.mismatch("raw"));
        None
    }
}

/// Returns the variable, if it is at least as large and as aligned as the requested layout.
fn checked<'g>(node: NodeRef<'g>, entry: &IdEntry, requested: Layout) -> Result<RawVar<'g>, StoreError> {
    // SAFETY: the guard protects the node, and the entry is the node's.
    let (payload, has) = unsafe {
        (
            Node::payload(node.as_ptr(), entry),
            Node::payload_layout(node.as_ptr(), entry),
        )
    };
    if has.size() >= requested.size() && has.align() >= requested.align() {
        return Ok(RawVar {
            payload,
            layout: has,
            _guard: PhantomData,
        });
    }
    Err(StoreError::LayoutMismatch(LayoutMismatch {
        obj: ObjAddr::new(node.obj),
        id: entry.id,
        has: (has.size(), has.align()),
        asked: (requested.size(), requested.align()),
    }))
}

/// Calls the destructor, if there is one.
///
/// # Safety
///
/// Same as [`Pinned::raw_free`]. The caller has removed the node, and the entry is the node's.
unsafe fn destroy(node: NodeRef<'_>, entry: &IdEntry, dtor: Option<RawDtor>, data: *mut c_void) {
    if let Some(dtor) = dtor {
        // SAFETY: the guard protects the node; the caller guarantees that `dtor` may be called with `data`.
        unsafe {
            dtor(
                pointer(ObjAddr::new(node.obj)),
                Node::payload(node.as_ptr(), entry).as_ptr().cast(),
                data,
            )
        };
    }
}

/// Returns the address as C functions take it.
fn pointer(obj: ObjAddr) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(obj.get())
}
