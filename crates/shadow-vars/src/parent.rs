//! Objects that own their variables.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::panics::OnDrop;
use crate::reclaim::Reclaim;
use crate::store::{ShadowStore, global};
use crate::{Handle, ObjAddr, Object};

/// An object that frees its shadow variables when it is dropped, which the kernel leaves to the caller.
///
/// The object is boxed, so its address stays the same when the `Parent` moves. Its variables are freed before it is
/// dropped, and once more afterwards, so that the next object at the address does not inherit variables that the object's
/// own `Drop` attached.
///
/// ```
/// use shadow_vars::{Parent, ShadowId, global};
/// const NOTES: ShadowId<String> = ShadowId::new(0x4e01);
/// let session = Parent::new(42_u32);
/// global().pin().alloc(&*session, NOTES, "slow client".to_owned())?;
/// let addr = Parent::addr(&session);
/// drop(session);
/// assert!(!global().pin().contains(addr, NOTES));
/// # Ok::<(), shadow_vars::AllocError<String>>(())
/// ```
///
/// A `Parent` is a [handle](Handle), not the object, and the object cannot itself be a handle: for an `Arc`, which is
/// shared, use [`Attached`](crate::Attached).
///
/// ```compile_fail,E0283
/// # use shadow_vars::{Parent, ShadowId, global};
/// let session = Parent::new(42_u32);
/// assert!(!global().pin().contains(&session, ShadowId::<u8>::new(0x4e04)));
/// ```
/// ```compile_fail,E0283
/// let session = shadow_vars::Parent::new(std::sync::Arc::new(42_u32));
/// ```
/// ```
/// # use shadow_vars::{Attached, Parent, ShadowId, global};
/// let (session, shared) = (Parent::new(42_u32), Attached::new(std::sync::Arc::new(42_u32)));
/// assert!(!global().pin().contains(&*session, ShadowId::<u8>::new(0x4e04)));
/// ```
pub struct Parent<T, S: StoreHandle = &'static ShadowStore> {
    object: Box<NonZeroSized<T>>,
    store: S,
}

/// An object followed by a byte: otherwise all objects of size 0 would have the same address.
#[repr(C)]
struct NonZeroSized<T> {
    /// Dropped in place by the `Parent`.
    object: ManuallyDrop<T>,
    _byte: u8,
}

/// How a [`Parent`], an [`Attached`](crate::Attached) or a [`Variable`](crate::Variable) refers to its store: by
/// reference, or by `Arc`.
pub trait StoreHandle: sealed::Sealed {
    #[doc(hidden)]
    type Backend: Reclaim;

    /// Returns the store, the same one at each call.
    #[doc(hidden)]
    fn store(&self) -> &ShadowStore<Self::Backend>;
}

mod sealed {
    pub trait Sealed {}
}

impl<R: Reclaim> sealed::Sealed for &ShadowStore<R> {}
impl<R: Reclaim> sealed::Sealed for Arc<ShadowStore<R>> {}

impl<R: Reclaim> StoreHandle for &ShadowStore<R> {
    type Backend = R;

    #[inline]
    fn store(&self) -> &ShadowStore<R> {
        self
    }
}

impl<R: Reclaim> StoreHandle for Arc<ShadowStore<R>> {
    type Backend = R;

    #[inline]
    fn store(&self) -> &ShadowStore<R> {
        self
    }
}

impl<T> Parent<T> {
    /// Boxes an object whose variables are in the [global] store.
    pub fn new<How>(object: T) -> Self
    where
        T: Object<How>,
    {
        Self::new_in(object, global())
    }
}

impl<T, S: StoreHandle> Parent<T, S> {
    /// Boxes an object whose variables are in the given store, a reference or an `Arc`.
    pub fn new_in<How>(object: T, store: S) -> Self
    where
        T: Object<How>,
    {
        let object = ManuallyDrop::new(object);
        Self {
            object: Box::new(NonZeroSized { object, _byte: 0 }),
            store,
        }
    }

    /// Returns the object's address, the same as `ObjAddr::of(&*this)`. An associated function, so that it hides no method
    /// of the object.
    pub fn addr(this: &Self) -> ObjAddr {
        ObjAddr::at::<T>(&this.object.object)
    }

    /// Frees the object's variables and returns the object. It is moved out of its box, so its address is no longer
    /// valid. An associated function, so that it hides no method of the object.
    pub fn into_inner(this: Self) -> T {
        let mut this = ManuallyDrop::new(this);
        this.store.store().pin().free_object(Self::addr(&this));
        // SAFETY: `this` is not dropped, so each field is moved out or dropped once.
        unsafe {
            let object = ManuallyDrop::take(&mut this.object.object);
            std::ptr::drop_in_place(&raw mut this.object);
            std::ptr::drop_in_place(&raw mut this.store);
            object
        }
    }
}

impl<T, S: StoreHandle> Drop for Parent<T, S> {
    fn drop(&mut self) {
        let (store, addr) = (self.store.store(), Self::addr(self));
        store.pin().free_object(addr);
        // Runs before the memory is deallocated, which a field's drop does.
        let _again = OnDrop::new(|| {
            store.pin().free_object(addr);
        });
        // SAFETY: dropped here only.
        unsafe { ManuallyDrop::drop(&mut self.object.object) };
    }
}

impl<T, S: StoreHandle> Handle for Parent<T, S> {}

impl<T, S: StoreHandle> Deref for Parent<T, S> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object.object
    }
}

impl<T, S: StoreHandle> AsRef<T> for Parent<T, S> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T, S: StoreHandle> DerefMut for Parent<T, S> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object.object
    }
}

impl<T: fmt::Debug, S: StoreHandle> fmt::Debug for Parent<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parent").field(&**self).finish()
    }
}
