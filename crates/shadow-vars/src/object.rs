//! The types that operations accept as the parent, and the handles that they reject.

use std::borrow::Cow;
use std::cell::{Ref, RefMut};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::{self, Rc};
use std::sync::{self, Arc, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

use crate::ObjAddr;

/// A parent, as operations take it: a reference to the object, or its address (an [`ObjAddr`], a `usize`, a pointer, or
/// any type that converts into an `ObjAddr` by `Into`).
///
/// A reference stands for the object that it points to. A reference to a [`Handle`] (`&arc`, `&boxed`, `&&object`) does
/// not compile: the handle's own address differs for each clone, and changes when the handle moves. The parameter `How`
/// makes that possible, and is always inferred. The type of the value is named by the id: `ShadowId::<u32>::new(1)`.
///
/// ```
/// use std::sync::Arc;
/// use shadow_vars::{ShadowId, ShadowStore};
/// const ID: ShadowId<u32> = ShadowId::new(1);
/// let (store, session) = (ShadowStore::new(), Arc::new(7_u8));
/// store.pin().alloc(&*session, ID, 7)?;
/// assert_eq!(store.pin().get(&*session.clone(), ID).cloned(), Some(7));
/// # Ok::<(), shadow_vars::AllocError<u32>>(())
/// ```
/// ```compile_fail,E0283
/// # use std::sync::Arc;
/// # use shadow_vars::{ShadowId, ShadowStore};
/// # const ID: ShadowId<u32> = ShadowId::new(1);
/// # let (store, session) = (ShadowStore::new(), Arc::new(7_u8));
/// store.pin().alloc(&session, ID, 7)?;
/// # Ok::<(), shadow_vars::AllocError<u32>>(())
/// ```
///
/// Generic code is not checked: there, `&T` is the address of a `T`, whatever type that is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a parent: it is neither a reference to an object nor an address",
    note = "for a handle such as `Box` or `Arc`, pass a reference to the object it points to: `&*handle`"
)]
pub trait IntoObjAddr<How> {
    /// Returns the address.
    fn into_obj_addr(self) -> ObjAddr;
}

/// Types whose references stand for an object. Every type implements this in one way; [handles](Handle) implement it in
/// two, so that the compiler cannot choose one.
///
/// See [`IntoObjAddr`].
pub trait Object<How> {}

/// A value that points to an object: its own address is not the object's, so `&handle` is not accepted as a parent.
///
/// Implement it for your own pointer types. To use the address of the variable that holds a handle, rather than the
/// object the handle points to, pass a pointer: `&raw const handle`.
///
/// ```compile_fail,E0283
/// use shadow_vars::{Handle, ObjAddr};
/// struct Mine(std::rc::Rc<u32>);
/// impl Handle for Mine {}
/// let mine = Mine(std::rc::Rc::new(1));
/// let addr = ObjAddr::of(&mine);
/// ```
/// ```
/// use shadow_vars::{Handle, ObjAddr};
/// struct Mine(std::rc::Rc<u32>);
/// impl Handle for Mine {}
/// let mine = Mine(std::rc::Rc::new(1));
/// assert_ne!(ObjAddr::of(&*mine.0), ObjAddr::from(&raw const mine));
/// ```
pub trait Handle {}

mod how {
    /// An address, or a type that converts into one.
    #[derive(Debug)]
    pub enum Addr {}
    /// A reference to an object.
    #[derive(Debug)]
    pub struct ByRef<How>(std::marker::PhantomData<How>);
    /// The object is the value itself.
    #[derive(Debug)]
    pub enum Itself {}
    /// The object is what the handle points to: write `&*handle`.
    #[derive(Debug)]
    pub enum WhatTheHandleLeadsTo {}
}
use how::{Addr, ByRef, Itself, WhatTheHandleLeadsTo};

impl<T: Into<ObjAddr>> IntoObjAddr<Addr> for T {
    #[inline]
    fn into_obj_addr(self) -> ObjAddr {
        self.into()
    }
}

impl<T: Object<How> + ?Sized, How> IntoObjAddr<ByRef<How>> for &T {
    #[inline]
    fn into_obj_addr(self) -> ObjAddr {
        ObjAddr::at(self)
    }
}

impl<T: Object<How> + ?Sized, How> IntoObjAddr<ByRef<How>> for &mut T {
    #[inline]
    fn into_obj_addr(self) -> ObjAddr {
        ObjAddr::at(self)
    }
}

impl ObjAddr {
    /// Returns the address of the object that the reference points to, which must not be a [handle](crate::Handle).
    #[inline]
    pub fn of<T: Object<How> + ?Sized, How>(obj: &T) -> Self {
        Self::at(obj)
    }
}

impl<T: ?Sized> Object<Itself> for T {}
impl<T: Handle + ?Sized> Object<WhatTheHandleLeadsTo> for T {}

macro_rules! handles {
    ($([$($of:tt)*] $handle:ty;)*) => {$(
        impl<$($of)*> Handle for $handle {}
    )*};
}

handles! {
    [] usize;
    [] ObjAddr;
    [T: ?Sized] &T;
    [T: ?Sized] &mut T;
    [T: ?Sized] *const T;
    [T: ?Sized] *mut T;
    [T: ?Sized] NonNull<T>;
    [T: ?Sized] Box<T>;
    [T: ?Sized] Arc<T>;
    [T: ?Sized] sync::Weak<T>;
    [T: ?Sized] Rc<T>;
    [T: ?Sized] rc::Weak<T>;
    [P] Pin<P>;
    [T: ToOwned + ?Sized] Cow<'_, T>;
    [T: ?Sized] Ref<'_, T>;
    [T: ?Sized] RefMut<'_, T>;
    [T: ?Sized] MutexGuard<'_, T>;
    [T: ?Sized] RwLockReadGuard<'_, T>;
    [T: ?Sized] RwLockWriteGuard<'_, T>;
    [H: Handle] Option<H>;
}
