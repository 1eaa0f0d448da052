//! Handles to objects of other code, which free the objects' variables.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::panics::OnDrop;
use crate::parent::StoreHandle;
use crate::store::{ShadowStore, global};
use crate::{Handle, ObjAddr, Object};

/// A handle to an object of other code, such as a library's `Arc`, that frees the object's variables when it is dropped.
///
/// For objects that cannot be in a [`Parent`](crate::Parent), because other code created them and has its own handles to
/// them. An `Attached` keeps the object in place, so no other object can have its address meanwhile. When it is dropped,
/// it frees all variables of the object, regardless of which code attached them, and then drops its handle to the object;
/// so one `Attached` per object is enough. If that drops the object, and the handle is a `Box`, `Arc` or `Rc`, it also frees the
/// variables that the object's own `Drop` attached, before the memory is deallocated.
///
/// Variables that other code attaches to the object later, while it still holds the object, must be freed by that code.
///
/// ```
/// use std::sync::Arc;
/// use shadow_vars::{Attached, ShadowId, global};
/// # struct Connection;
/// # impl Connection { fn accept() -> Arc<Self> { Arc::new(Self) } }
/// const NOTES: ShadowId<String> = ShadowId::new(0x4e02);
///
/// let theirs = Connection::accept(); // the library has its own clones
/// let connection = Attached::new(theirs.clone());
/// global().pin().alloc(&*connection, NOTES, "slow client".to_owned())?;
/// assert!(global().pin().contains(&*theirs, NOTES));
/// drop(connection);
/// assert!(!global().pin().contains(&*theirs, NOTES));
/// # Ok::<(), shadow_vars::AllocError<String>>(())
/// ```
///
/// Like any handle, it is not the object:
///
/// ```compile_fail,E0283
/// # use shadow_vars::{Attached, ShadowId, global};
/// let connection = Attached::new(std::sync::Arc::new(7_u32));
/// assert!(!global().pin().contains(&connection, ShadowId::<u8>::new(0x4e03)));
/// ```
/// ```
/// # use shadow_vars::{Attached, ShadowId, global};
/// let connection = Attached::new(std::sync::Arc::new(7_u32));
/// assert!(!global().pin().contains(&*connection, ShadowId::<u8>::new(0x4e03)));
/// ```
pub struct Attached<K: Keeper, S: StoreHandle = &'static ShadowStore> {
    /// Moved out by the `Drop` implementation.
    keeper: ManuallyDrop<K>,
    addr: ObjAddr,
    store: S,
}

/// A handle that keeps an object in place for as long as the handle exists, even if the handle moves.
///
/// Implement it for your own pointer types that do so.
pub trait Keeper: Deref + Sized {
    /// Drops the handle. If that drops the object, calls `dropped` after the object's `Drop`, even if that panicked, and
    /// before its memory can be reused. An implementation that cannot tell must not call `dropped`.
    fn let_go(self, dropped: impl FnOnce()) {
        let _ = dropped;
        drop(self);
    }
}

impl<T: ?Sized> Keeper for &T {}

impl<T: ?Sized> Keeper for Box<T> {
    fn let_go(self, dropped: impl FnOnce()) {
        let object = Box::into_raw(self);
        // SAFETY: comes from `into_raw`; `ManuallyDrop<T>` has the layout of `T`. Frees the memory, drops no object.
        let mut memory = unsafe { Box::from_raw(object as *mut ManuallyDrop<T>) };
        let _dropped = OnDrop::new(dropped);
        // SAFETY: dropped once, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut memory) };
    }
}

macro_rules! counted {
    ($($counted:ident)*) => {$(
        impl<T: ?Sized> Keeper for $counted<T> {
            fn let_go(self, dropped: impl FnOnce()) {
                // Keeps the memory allocated, but not the value alive.
                let memory = $counted::downgrade(&self);
                let _dropped = OnDrop::new(|| {
                    if memory.strong_count() == 0 {
                        dropped();
                    }
                });
                drop(self);
            }
        }
    )*};
}

counted! { Arc Rc }

impl<T: ?Sized> Keeper for Pin<&T> {}

macro_rules! pinned {
    ($($keeper:ident)*) => {$(
        impl<T: ?Sized> Keeper for Pin<$keeper<T>> {
            fn let_go(self, dropped: impl FnOnce()) {
                // SAFETY: the object is dropped in place, as by the drop of the `Pin`: see the implementations above.
                unsafe { Pin::into_inner_unchecked(self) }.let_go(dropped);
            }
        }
    )*};
}

pinned! { Box Arc Rc }

impl<K: Keeper> Attached<K> {
    /// Attaches to an object whose variables are in the [global] store.
    pub fn new<How>(keeper: K) -> Self
    where
        K::Target: Object<How>,
    {
        Self::new_in(keeper, global())
    }
}

impl<K: Keeper, S: StoreHandle> Attached<K, S> {
    /// Attaches to an object whose variables are in the given store, a reference or an `Arc`.
    pub fn new_in<How>(keeper: K, store: S) -> Self
    where
        K::Target: Object<How>,
    {
        Self {
            addr: ObjAddr::at(&*keeper),
            keeper: ManuallyDrop::new(keeper),
            store,
        }
    }

    /// Returns the object's address, the same as `ObjAddr::of(&*this)`. An associated function, like the others, so that it
    /// hides no method of the object.
    pub fn addr(this: &Self) -> ObjAddr {
        this.addr
    }

    /// Returns the handle that keeps the object.
    pub fn keeper(this: &Self) -> &K {
        &this.keeper
    }

    /// Frees the object's variables and returns the handle.
    pub fn into_inner(this: Self) -> K {
        let mut this = ManuallyDrop::new(this);
        this.store.store().pin().free_object(this.addr);
        // SAFETY: `this` is not dropped, so each field is moved out or dropped once.
        unsafe {
            let keeper = ManuallyDrop::take(&mut this.keeper);
            std::ptr::drop_in_place(&raw mut this.store);
            keeper
        }
    }
}

impl<K: Keeper, S: StoreHandle> Drop for Attached<K, S> {
    fn drop(&mut self) {
        let (store, addr) = (self.store.store(), self.addr);
        store.pin().free_object(addr);
        // SAFETY: moved out here only.
        let keeper = unsafe { ManuallyDrop::take(&mut self.keeper) };
        keeper.let_go(|| {
            store.pin().free_object(addr);
        });
    }
}

impl<K: Keeper, S: StoreHandle> Handle for Attached<K, S> {}

impl<K: Keeper, S: StoreHandle> Deref for Attached<K, S> {
    type Target = K::Target;

    fn deref(&self) -> &K::Target {
        &self.keeper
    }
}

impl<K: Keeper, S: StoreHandle> AsRef<K::Target> for Attached<K, S> {
    fn as_ref(&self) -> &K::Target {
        self
    }
}

impl<K: Keeper, S: StoreHandle> fmt::Debug for Attached<K, S>
where
    K::Target: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attached").field(&&**self).finish()
    }
}
