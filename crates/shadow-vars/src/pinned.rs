//! Operations under a guard: references live as long as it does.

use std::fmt;

use bytemuck::Zeroable;

use crate::error::{AllocError, CtorError, StoreError, TypeMismatch};
use crate::iter::Iter;
use crate::reclaim::{Asymmetric, GuardKind, LocalGuard, OwnedGuard, Reclaim};
use crate::store::ShadowStore;
use crate::table::{Core, Shield};
use crate::{IntoObjAddr, ObjAddr, ShadowId};

/// A store and a guard: what a reader holds.
///
/// Made by [`ShadowStore::pin`]. A reference that an operation returns is good for as long as the guard is, even when the
/// variable is freed meanwhile. Nothing that is freed while the guard exists is dropped before it goes, in any store of the
/// same backend (but see [`Eras`](crate::Eras)): hold it for a while, not for ever, and [`repin`](Self::repin) in long loops.
///
/// It stays on its thread; [`OwnedPinned`] does not:
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let store = shadow_vars::ShadowStore::new();
/// send(store.pin());
/// ```
/// ```
/// fn send<T: Send>(_: T) {}
/// let store = shadow_vars::ShadowStore::new();
/// send(store.pin_owned());
/// ```
///
/// References do not outlive it:
///
/// ```compile_fail,E0505
/// # use shadow_vars::{ShadowId, ShadowStore};
/// # let store = ShadowStore::new();
/// let pin = store.pin();
/// let value = pin.get(0, ShadowId::<u32>::new(1));
/// drop(pin);
/// assert!(value.is_none());
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// # let store = ShadowStore::new();
/// let pin = store.pin();
/// let value = pin.get(0, ShadowId::<u32>::new(1));
/// assert!(value.is_none());
/// drop(pin);
/// ```
///
/// Values are shared between threads, so they must be made for that, and aligned to 4096 at most:
///
/// ```compile_fail,E0277
/// # use shadow_vars::{ShadowId, ShadowStore};
/// let _ = ShadowStore::new().alloc(0, ShadowId::new(1), std::rc::Rc::new(7));
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// let _ = ShadowStore::new().alloc(0, ShadowId::new(1), std::sync::Arc::new(7));
/// ```
/// ```compile_fail,E0080
/// # use shadow_vars::{ShadowId, ShadowStore};
/// #[repr(align(8192))]
/// struct Page(u8);
/// let _ = ShadowStore::new().alloc(0, ShadowId::new(1), Page(7));
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// #[repr(align(4096))]
/// struct Page(u8);
/// let _ = ShadowStore::new().alloc(0, ShadowId::new(1), Page(7));
/// ```
pub struct Pinned<'s, R: Reclaim = Asymmetric, G: GuardKind<R> = LocalGuard<R>> {
    store: &'s ShadowStore<R>,
    guard: G,
}

/// A [`Pinned`] that may move between threads, be shared by them, and be held across await points.
pub type OwnedPinned<'s, R = Asymmetric> = Pinned<'s, R, OwnedGuard<R>>;

impl<'s, R: Reclaim> Pinned<'s, R> {
    #[inline]
    pub(crate) fn new(store: &'s ShadowStore<R>) -> Self {
        Self {
            store,
            guard: LocalGuard::hold(),
        }
    }
}

impl<'s, R: Reclaim> OwnedPinned<'s, R> {
    #[track_caller]
    pub(crate) fn owned(store: &'s ShadowStore<R>) -> Self {
        Self {
            store,
            guard: OwnedGuard::hold(),
        }
    }
}

impl<'s, R: Reclaim, G: GuardKind<R>> Pinned<'s, R, G> {
    /// The store.
    pub fn store(&self) -> &'s ShadowStore<R> {
        self.store
    }

    /// Lets go of the guard and takes a new one, so that reclamation can go on. References taken before are gone.
    pub fn repin(&mut self) {
        self.guard.renew();
    }

    #[inline]
    pub(crate) fn core(&self) -> &'s Core<R> {
        self.store.core()
    }

    #[inline]
    pub(crate) fn shield(&self) -> Shield<'_, R> {
        // SAFETY: the guard lives as long as this borrow; `repin` needs the whole of `self`.
        unsafe { Shield::new(self.guard.place()) }
    }

    /// The variable, if it exists. Nothing (and a `tracing` error) if the id holds another type.
    ///
    /// Wait-free but for the length of the probe. Never waits for a growing table, a running constructor or a stopped
    /// thread; allocates nothing; writes nothing that others read, but for one miss in a thousand of a large store,
    /// which says where others should look first.
    #[inline(always)]
    pub fn get<T: Send + Sync + 'static, How>(&self, obj: impl IntoObjAddr<How>, id: ShadowId<T>) -> Option<&T> {
        self.typed(id)?.get(obj)
    }

    /// As [`get`](Self::get), but says so if the id holds another type.
    ///
    /// # Errors
    ///
    /// If the id is bound to another type; the error names both.
    pub fn try_get<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
    ) -> Result<Option<&T>, TypeMismatch> {
        self.store.check_id(id)?;
        Ok(self.get(obj, id))
    }

    /// Whether the variable exists. As [`get`](Self::get).
    #[inline]
    pub fn contains<T: Send + Sync + 'static, How>(&self, obj: impl IntoObjAddr<How>, id: ShadowId<T>) -> bool {
        self.get(obj, id).is_some()
    }

    /// Creates the variable from a value.
    ///
    /// Lock-free, but waits while a constructor of the same variable runs. The first use of an id in a store takes a
    /// short lock.
    ///
    /// # Errors
    ///
    /// [`Exists`](StoreError::Exists) if there is one already (and a `tracing` warning),
    /// [`TypeMismatch`](StoreError::TypeMismatch), [`OutOfMemory`](StoreError::OutOfMemory),
    /// [`TooManyIds`](StoreError::TooManyIds), [`Recursion`](StoreError::Recursion) and [`Cycle`](StoreError::Cycle) if
    /// waiting would never end. The value comes back.
    pub fn alloc<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        value: T,
    ) -> Result<&T, AllocError<T>> {
        match self.bind(id) {
            Ok(typed) => typed.alloc(obj, value),
            Err(error) => Err(AllocError { value, error }),
        }
    }

    /// Creates the variable by a constructor, which gets the parent's address.
    ///
    /// The constructor runs exactly once if the variable comes to exist, and not at all if it exists; it has finished
    /// before anyone can see the variable. No lock is held: it may use the store for other keys, wait, or panic (then
    /// there is no variable, and the panic goes on to the caller).
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn alloc_with<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<&T, StoreError> {
        self.bind(id)?.alloc_with(obj, ctor)
    }

    /// As [`alloc_with`](Self::alloc_with), with a constructor that may refuse.
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error: there is no variable then. Else as [`alloc`](Self::alloc).
    pub fn try_alloc_with<T: Send + Sync + 'static, E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<&T, CtorError<E>> {
        self.bind(id)?.try_alloc_with(obj, ctor)
    }

    /// Creates the variable with all bytes zero.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn alloc_zeroed<T: Zeroable + Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
    ) -> Result<&T, StoreError> {
        self.bind(id)?.alloc_zeroed(obj)
    }

    /// The variable, created from `value` if it does not exist. If it does, `value` is dropped.
    ///
    /// Progress as [`alloc`](Self::alloc).
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc), but never `Exists`. The value comes back.
    #[inline]
    pub fn get_or_alloc<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        value: T,
    ) -> Result<&T, AllocError<T>> {
        match self.bind(id) {
            Ok(typed) => typed.get_or_alloc(obj, value),
            Err(error) => Err(AllocError { value, error }),
        }
    }

    /// The variable, created by a constructor if it does not exist. The constructor is as in
    /// [`alloc_with`](Self::alloc_with).
    ///
    /// Lock-free if the variable exists or no constructor of it runs; else waits, parked, for that constructor. If it
    /// fails, one of those who wait runs its own.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc), but never `Exists`.
    #[inline]
    pub fn get_or_alloc_with<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<&T, StoreError> {
        self.bind(id)?.get_or_alloc_with(obj, ctor)
    }

    /// As [`get_or_alloc_with`](Self::get_or_alloc_with), with a constructor that may refuse.
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error: there is no variable then. Else as
    /// [`get_or_alloc`](Self::get_or_alloc).
    #[inline]
    pub fn get_or_try_alloc_with<T: Send + Sync + 'static, E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<&T, CtorError<E>> {
        self.bind(id)?.get_or_try_alloc_with(obj, ctor)
    }

    /// The variable, created with all bytes zero if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`get_or_alloc`](Self::get_or_alloc).
    #[inline]
    pub fn get_or_alloc_zeroed<T: Zeroable + Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
    ) -> Result<&T, StoreError> {
        self.bind(id)?.get_or_alloc_zeroed(obj)
    }

    /// Frees the variable: from now on nobody finds it. Whether there was one. Its value is dropped when nobody can hold
    /// it any more. Leaves a variable of another type alone.
    ///
    /// Lock-free. Waits for nobody, not even for a constructor of the same variable: until that is done there is
    /// nothing to free. May drop values that were freed earlier.
    pub fn free<T: Send + Sync + 'static, How>(&self, obj: impl IntoObjAddr<How>, id: ShadowId<T>) -> bool {
        self.free_with(obj, id, |_, _| ()).is_some()
    }

    /// Frees the variable as [`free`](Self::free), and calls the destructor with the parent's address and the value,
    /// exactly once, before it returns; what it returned. Others may still be reading the value meanwhile, and may
    /// already create the variable anew.
    ///
    /// # Panics
    ///
    /// If the destructor does; the variable is freed all the same.
    pub fn free_with<T: Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        dtor: impl FnOnce(ObjAddr, &T) -> O,
    ) -> Option<O> {
        self.typed(id)?.take(obj, dtor)
    }

    /// Frees all variables of an id. How many this call freed.
    ///
    /// Not an instant: frees every one that is there for the whole of the call; one that is created or freed meanwhile may
    /// be met or not. Lock-free; takes time proportional to the table.
    pub fn free_all<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> usize {
        self.free_all_with(id, |_, _| ())
    }

    /// As [`free_all`](Self::free_all), with a destructor for each, as in [`free_with`](Self::free_with). In no order.
    ///
    /// # Panics
    ///
    /// If a destructor does: after all others have been freed too, with the first panic.
    pub fn free_all_with<T: Send + Sync + 'static>(&self, id: ShadowId<T>, dtor: impl FnMut(ObjAddr, &T)) -> usize {
        self.typed(id).map_or(0, |typed| typed.free_all_with(dtor))
    }

    /// Frees all variables of a parent, of whatever type. How many this call freed.
    ///
    /// For when the parent goes: call it before its memory is given back. Not an instant, as
    /// [`free_all`](Self::free_all). Lock-free; takes time proportional to the parent's variables, not to the table.
    pub fn free_object<How>(&self, obj: impl IntoObjAddr<How>) -> usize {
        let (core, shield) = (self.core(), self.shield());
        let from = core.root(shield);
        let mut count = 0;
        core.for_each_of_parent(shield, obj.into_obj_addr().get(), |node, at| {
            count += usize::from(core.remove_at(shield, node, from, at));
        });
        count
    }

    /// The ids of a parent's variables, each once, in no order. Not an instant: has every one that is there for the whole
    /// of the call. Takes time proportional to the parent's variables.
    pub fn ids_of<How>(&self, obj: impl IntoObjAddr<How>) -> Vec<u64> {
        let mut ids = Vec::new();
        self.core()
            .for_each_of_parent(self.shield(), obj.into_obj_addr().get(), |node, _| {
                ids.push(node.entry(&self.core().heap).id)
            });
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// All variables. Not an instant: yields each variable that is there for the whole of the iteration exactly once; one
    /// that is created or freed meanwhile once or not at all. Wait-free per step but for the tables' length; holds the
    /// guard throughout. In no order, and what is left of it at any time is spread evenly over the table; passes by those
    /// parts of a large table in which there never was a variable.
    pub fn iter(&self) -> Iter<'_, R> {
        Iter::new(self.core(), self.shield())
    }
}

impl<R: Reclaim, G: GuardKind<R>> fmt::Debug for Pinned<'_, R, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
