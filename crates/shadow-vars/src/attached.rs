//! Objects of somebody else's whose variables go with a handle.

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

/// A handle to an object of somebody else's, such as a library's `Arc`, that frees the object's variables when it goes.
///
/// Where a [`Parent`](crate::Parent) cannot be, as others made the object and hold it by handles of their own. It keeps the
/// object where it is, so the address cannot be another's meanwhile. When it is dropped it frees all variables of the
/// object, whoever attached them, and lets go of the object: one for each object is enough. If that drops the object, of a
/// `Box`, an `Arc` or an `Rc`, it frees once more what the object's own `Drop` attached, before the memory is given back.
///
/// What others attach to the object later, while they still hold it, is theirs to free.
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
/// global().alloc(&*connection, NOTES, "slow client".to_owned())?;
/// assert!(global().contains(&*theirs, NOTES));
/// drop(connection);
/// assert!(!global().contains(&*theirs, NOTES));
/// # Ok::<(), shadow_vars::AllocError<String>>(())
/// ```
///
/// As any handle, it is not the object:
///
/// ```compile_fail,E0283
/// # use shadow_vars::{Attached, ShadowId, global};
/// let connection = Attached::new(std::sync::Arc::new(7_u32));
/// assert!(!global().contains(&connection, ShadowId::<u8>::new(0x4e03)));
/// ```
/// ```
/// # use shadow_vars::{Attached, ShadowId, global};
/// let connection = Attached::new(std::sync::Arc::new(7_u32));
/// assert!(!global().contains(&*connection, ShadowId::<u8>::new(0x4e03)));
/// ```
pub struct Attached<K: Keeper, S: StoreHandle = &'static ShadowStore> {
    /// Taken by the drop.
    keeper: ManuallyDrop<K>,
    addr: ObjAddr,
    store: S,
}

/// A handle that keeps an object where it is for as long as the handle exists, wherever that moves.
///
/// Implement it for pointer types of your own that do.
pub trait Keeper: Deref + Sized {
    /// Lets go of the object. If it is dropped now, calls `dropped` after its `Drop`, also if that panicked, and before its
    /// memory can be used again. Who cannot tell does not call it.
    fn let_go(self, dropped: impl FnOnce()) {
        let _ = dropped;
        drop(self);
    }
}

impl<T: ?Sized> Keeper for &T {}

impl<T: ?Sized> Keeper for Box<T> {
    fn let_go(self, dropped: impl FnOnce()) {
        let object = Box::into_raw(self);
        // SAFETY: from `into_raw`, of a type that is laid out alike. Frees the memory, and drops nothing.
        let mut memory = unsafe { Box::from_raw(object as *mut ManuallyDrop<T>) };
        let _dropped = OnDrop::new(dropped);
        // SAFETY: dropped once, and not used again.
        unsafe { ManuallyDrop::drop(&mut memory) };
    }
}

macro_rules! counted {
    ($($counted:ident)*) => {$(
        impl<T: ?Sized> Keeper for $counted<T> {
            fn let_go(self, dropped: impl FnOnce()) {
                // Keeps the memory, not the value.
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
                // SAFETY: the object is let go of where it is, as by the drop of a pin: see above.
                unsafe { Pin::into_inner_unchecked(self) }.let_go(dropped);
            }
        }
    )*};
}

pinned! { Box Arc Rc }

impl<K: Keeper> Attached<K> {
    /// An object whose variables in the [global] store go with this handle.
    pub fn new<How>(keeper: K) -> Self
    where
        K::Target: Object<How>,
    {
        Self::new_in(keeper, global())
    }
}

impl<K: Keeper, S: StoreHandle> Attached<K, S> {
    /// An object whose variables in this store, a reference to one or an `Arc`, go with this handle.
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

    /// The object's address, the same as `ObjAddr::of(&**self)`.
    pub fn addr(&self) -> ObjAddr {
        self.addr
    }

    /// The handle that keeps the object.
    pub fn keeper(this: &Self) -> &K {
        &this.keeper
    }

    /// The handle again, the object's variables freed.
    pub fn into_inner(self) -> K {
        let mut this = ManuallyDrop::new(self);
        this.store.store().free_object(this.addr);
        // SAFETY: `this` is not dropped, so each field is taken once.
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
        store.free_object(addr);
        // SAFETY: taken here only.
        let keeper = unsafe { ManuallyDrop::take(&mut self.keeper) };
        keeper.let_go(|| {
            store.free_object(addr);
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

impl<K: Keeper, S: StoreHandle> fmt::Debug for Attached<K, S>
where
    K::Target: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attached").field(&&**self).finish()
    }
}
