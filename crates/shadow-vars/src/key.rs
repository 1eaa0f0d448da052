//! The key of a variable: the parent's address and a typed id.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;

/// The address of a parent object: a number, never dereferenced.
///
/// Every conversion takes the address of the object itself. The address of a [handle](crate::Handle), such as the
/// *variable* that holds a `Box`, is not accepted: write `&*boxed` or [`ObjAddr::of_box`] (and [`of_arc`](Self::of_arc),
/// [`of_pin`](Self::of_pin)).
///
/// ```
/// use shadow_vars::ObjAddr;
/// let boxed = Box::new(7_u32);
/// assert_eq!(ObjAddr::of(&*boxed), ObjAddr::of_box(&boxed));
/// assert_eq!(ObjAddr::from(&raw const *boxed), ObjAddr::of_box(&boxed));
/// ```
/// ```compile_fail,E0283
/// # use shadow_vars::ObjAddr;
/// # let boxed = Box::new(7_u32);
/// let addr = ObjAddr::of(&boxed);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjAddr(usize);

impl ObjAddr {
    /// Address 0, for variables that belong to the whole process (the kernel's `NULL` parent).
    pub const PROCESS: Self = Self(0);

    /// Returns the address that is given as a number.
    pub const fn new(addr: usize) -> Self {
        Self(addr)
    }

    /// Returns the address of the object that the reference points to, of any type.
    #[inline]
    pub(crate) fn at<T: ?Sized>(obj: &T) -> Self {
        Self(std::ptr::from_ref(obj).addr())
    }

    /// Returns the address of the object that the box holds.
    #[expect(
        clippy::borrowed_box,
        reason = "callers have the box itself, whose own address they must not use"
    )]
    pub fn of_box<T: ?Sized>(obj: &Box<T>) -> Self {
        Self::at::<T>(obj)
    }

    /// Returns the address of the object that the `Arc` shares, the same for all its clones.
    pub fn of_arc<T: ?Sized>(obj: &Arc<T>) -> Self {
        Self::at::<T>(obj)
    }

    /// Returns the address of the object that the pinned pointer (`Pin<Box<T>>`, `Pin<&mut T>`, `Pin<Arc<T>>`, …) points
    /// to.
    pub fn of_pin<P: Deref>(obj: &Pin<P>) -> Self {
        Self::at::<P::Target>(obj)
    }

    /// Returns the address as a number.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl fmt::Debug for ObjAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for ObjAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl From<usize> for ObjAddr {
    fn from(addr: usize) -> Self {
        Self(addr)
    }
}

impl<T: ?Sized> From<*const T> for ObjAddr {
    fn from(obj: *const T) -> Self {
        Self(obj.addr())
    }
}

impl<T: ?Sized> From<*mut T> for ObjAddr {
    fn from(obj: *mut T) -> Self {
        Self(obj.addr())
    }
}

impl<T: ?Sized> From<NonNull<T>> for ObjAddr {
    fn from(obj: NonNull<T>) -> Self {
        Self(obj.addr().get())
    }
}

impl<T: ?Sized> From<Pin<&T>> for ObjAddr {
    fn from(obj: Pin<&T>) -> Self {
        Self::at::<T>(&obj)
    }
}

/// The id of a kind of shadow variable, typed by its value.
///
/// Each store has its own namespace of ids: if two patches share a store and use the same number, they mean the same
/// variables. The first variable of an id binds the id to its type in that store; using it with another type is an error
/// from then on ([`TypeMismatch`](crate::TypeMismatch)), never a wrong reference.
///
/// ```
/// use shadow_vars::ShadowId;
/// const PS_LOCK: ShadowId<std::sync::Mutex<()>> = ShadowId::new(1);
/// assert_eq!(PS_LOCK.get(), 1);
/// ```
pub struct ShadowId<T> {
    raw: u64,
    /// Values are stored and returned, so this is invariant in `T`. `Send` and `Sync` for any `T`.
    _value: PhantomData<fn(T) -> T>,
}

impl<T> ShadowId<T> {
    /// Returns the id with this number. Any number is valid, including 0.
    pub const fn new(raw: u64) -> Self {
        Self {
            raw,
            _value: PhantomData,
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.raw
    }
}

impl<T> Clone for ShadowId<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ShadowId<T> {}

impl<T> PartialEq for ShadowId<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl<T> Eq for ShadowId<T> {}

impl<T> Hash for ShadowId<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}

impl<T> fmt::Debug for ShadowId<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShadowId<{}>({:#x})", std::any::type_name::<T>(), self.raw)
    }
}
