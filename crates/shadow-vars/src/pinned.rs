//! Operations under a guard, which return references that live as long as the guard.
//!
//! The only type that has the operations: each takes the id as a [`ShadowId`](crate::ShadowId) or as a reference to a
//! [`Variable`](crate::Variable).

use std::fmt;
use std::mem::ManuallyDrop;

use crate::as_variable::AsVariable;
use crate::as_variable::private::Within;
use crate::bound::{Bound, infallible, store_error};
use crate::error::{AllocError, CtorError, StoreError};
use crate::guard::{self, GuardKind, LocalGuard, OwnedGuard};
use crate::iter::{Iter, VarRef};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::store::ShadowStore;
use crate::table::insert::IfExists;
use crate::table::{Core, Shield};
use crate::{IntoObjAddr, ObjAddr};

/// A store together with a guard.
///
/// Made by [`ShadowStore::pin`]. A reference that an operation returns is valid as long as the guard exists, even if the
/// variable is freed meanwhile. No value that is freed while the guard exists is dropped before the guard is, in any
/// store of the same backend (but see [`Eras`](crate::Eras)). So hold a guard for a short time only, and call
/// [`repin`](Self::repin) in long loops.
///
/// A `Pinned` stays on its thread; an [`OwnedPinned`] does not:
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
/// Values are shared between threads, so their type must be `Send` and `Sync`; the largest alignment is 4096:
///
/// ```compile_fail,E0277
/// # use shadow_vars::{ShadowId, ShadowStore};
/// let _ = ShadowStore::new().pin().alloc(0, ShadowId::new(1), std::rc::Rc::new(7)).map(drop);
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// let _ = ShadowStore::new().pin().alloc(0, ShadowId::new(1), std::sync::Arc::new(7)).map(drop);
/// ```
/// ```compile_fail,E0080
/// # use shadow_vars::{ShadowId, ShadowStore};
/// #[repr(align(8192))]
/// struct Page(u8);
/// let _ = ShadowStore::new().pin().alloc(0, ShadowId::new(1), Page(7)).map(drop);
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// #[repr(align(4096))]
/// struct Page(u8);
/// let _ = ShadowStore::new().pin().alloc(0, ShadowId::new(1), Page(7)).map(drop);
/// ```
#[must_use = "a guard protects only as long as it is held"]
pub struct Pinned<'s, R: Reclaim = Asymmetric, G: GuardKind<R> = LocalGuard<R>> {
    store: &'s ShadowStore<R>,
    /// Dropped by the `Drop` implementation, before the maintenance that is due outside of it.
    guard: ManuallyDrop<G>,
}

impl<R: Reclaim, G: GuardKind<R>> Drop for Pinned<'_, R, G> {
    #[inline(always)]
    fn drop(&mut self) {
        let changed = self.guard.has_changed();
        // Moved out, so that a guard whose drop is a call does not keep the flag in memory.
        // SAFETY: taken here only, and not used afterwards.
        drop(unsafe { ManuallyDrop::take(&mut self.guard) });
        if changed {
            after_changes(self.store.core());
        }
    }
}

/// A [`Pinned`] that may move between threads, be shared by them, and be held across await points.
pub type OwnedPinned<'s, R = Asymmetric> = Pinned<'s, R, OwnedGuard<R>>;

impl<R: Reclaim> ShadowStore<R> {
    /// Takes a guard of the calling thread, for any number of operations. While it is held, no value that is freed
    /// meanwhile is dropped.
    ///
    /// Wait-free, except for the first guard in a thread's life, in whichever operation that is: it registers the thread
    /// with the backend, which needs memory, and with `Seize` takes a short lock.
    #[inline]
    pub fn pin(&self) -> Pinned<'_, R> {
        Pinned {
            store: self,
            guard: ManuallyDrop::new(LocalGuard::hold()),
        }
    }

    /// Takes a guard that may move between threads and be held across await points. Costs more than [`pin`](Self::pin).
    ///
    /// If the guard is [held for long](crate::report_old_guards), the report names the place in the source where it was
    /// taken.
    ///
    /// Takes a short lock, for which it may wait (for other threads that take or drop an owned guard, and with `Seize`
    /// for other threads' first guards); with [`Epoch`](crate::Epoch) it is lock-free. May need memory.
    #[track_caller]
    pub fn pin_owned(&self) -> OwnedPinned<'_, R> {
        Pinned {
            store: self,
            guard: ManuallyDrop::new(OwnedGuard::hold()),
        }
    }
}

impl<'s, R: Reclaim, G: GuardKind<R>> Pinned<'s, R, G> {
    /// Returns the store.
    pub fn store(&self) -> &'s ShadowStore<R> {
        self.store
    }

    /// Drops the guard and takes a new one, so that values that were freed meanwhile can be reclaimed. References that
    /// were returned before are no longer valid. Wait-free, like [`ShadowStore::pin`], unless variables were created or
    /// freed under the guard: then it may also drop values, as the end of a guard does.
    pub fn repin(&mut self) {
        let core = self.store.core();
        self.guard.renew(|| core.lists.upkeep::<R>());
    }

    #[inline]
    pub(crate) fn core(&self) -> &'s Core<R> {
        self.store.core()
    }

    #[inline]
    pub(crate) fn shield(&self) -> Shield<'_, R> {
        guard::shield(&*self.guard)
    }

    /// Makes the end of this guard do the maintenance that is due: called by operations that create or free variables.
    #[inline(always)]
    pub(crate) fn note_change(&self) {
        self.guard.note_change();
    }

    /// Returns the variables of an id that was used in this store before.
    #[inline(always)]
    pub(crate) fn find<'g, V: AsVariable<'g, R>>(&'g self, variable: V) -> Option<Bound<'g, V::Value, R>> {
        let found = variable.find(Within(self.core()))?;
        // SAFETY: `AsVariable` is sealed: its entries are of their store, and hold the type of its values.
        Some(unsafe { Bound::new(found.core, self.shield(), found.entry) })
    }

    /// Returns the variables of an id, which is bound to its type now if it was not bound before.
    #[inline(always)]
    pub(crate) fn bind<'g, V: AsVariable<'g, R>>(&'g self, variable: V) -> Result<Bound<'g, V::Value, R>, StoreError> {
        let bound = variable.bind(Within(self.core()))?;
        // SAFETY: as in `find`.
        Ok(unsafe { Bound::new(bound.core, self.shield(), bound.entry) })
    }

    /// Returns the variable, or `None` if it does not exist. If the id is bound to another type, also returns `None` and
    /// logs a `tracing` error.
    ///
    /// Wait-free, in a number of steps bounded by the length of the probe sequence. Never waits for a growing table, a
    /// running constructor or a stopped thread. Allocates nothing, and writes no shared memory, except that in large
    /// stores look-ups of one key in a thousand may update a hint about where look-ups should begin.
    #[inline(always)]
    pub fn get<'g, V: AsVariable<'g, R>, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
    ) -> Option<&'g V::Value> {
        self.find(variable)?.find(obj.into_obj_addr())
    }

    /// Returns whether the variable exists. Otherwise like [`get`](Self::get).
    #[inline(always)]
    pub fn contains<'g, V: AsVariable<'g, R>, How>(&'g self, obj: impl IntoObjAddr<How>, variable: V) -> bool {
        self.get(obj, variable).is_some()
    }

    /// Looks up one variable of each of several parents: `out[i]` becomes that of `objs[i]`, for each `i` below the shorter
    /// length. If the id is bound to another type, all become `None`, and a `tracing` error is logged.
    ///
    /// Each look-up takes effect at an instant of its own, as [`get`](Self::get). If the table exceeds the caches, this
    /// is several times as fast as single look-ups, as the cache misses of many keys overlap.
    ///
    /// ```
    /// use shadow_vars::{ObjAddr, ShadowId, ShadowStore};
    /// const N: ShadowId<usize> = ShadowId::new(1);
    /// let store = ShadowStore::new();
    /// let vars = store.pin();
    /// let objs: Vec<_> = (1..=100).map(|n| ObjAddr::new(n * 64)).collect();
    /// objs.iter().step_by(2).for_each(|&obj| assert!(vars.alloc(obj, N, obj.get()).is_ok()));
    /// let mut found = vec![None; objs.len()];
    /// vars.get_many(&objs, N, &mut found);
    /// assert_eq!((found[0], found[1]), (Some(&64), None));
    /// ```
    pub fn get_many<'g, V: AsVariable<'g, R>>(
        &'g self,
        objs: &[ObjAddr],
        variable: V,
        out: &mut [Option<&'g V::Value>],
    ) {
        match self.find(variable) {
            Some(bound) => bound.find_many(objs, out),
            None => out.iter_mut().take(objs.len()).for_each(|out| *out = None),
        }
    }

    /// Creates the variable from a value.
    ///
    /// Lock-free, but waits while a constructor of the same variable runs. The first use of an id in a store takes a
    /// short lock.
    ///
    /// # Errors
    ///
    /// Each error gives the value back.
    ///
    /// - [`Exists`](StoreError::Exists) if the variable exists already; also logs a `tracing` warning.
    /// - [`TypeMismatch`](StoreError::TypeMismatch) if the id is bound to another type.
    /// - [`OutOfMemory`](StoreError::OutOfMemory) if allocation fails.
    /// - [`TooManyIds`](StoreError::TooManyIds) if the store already knows 2^32 ids.
    /// - [`Recursion`](StoreError::Recursion) or [`Cycle`](StoreError::Cycle) if waiting for the constructor would never
    ///   end.
    #[inline(always)]
    pub fn alloc<'g, V: AsVariable<'g, R>, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
        value: V::Value,
    ) -> Result<&'g V::Value, AllocError<V::Value>> {
        self.note_change();
        match self.bind(variable) {
            Ok(bound) => bound.by_value(obj.into_obj_addr(), value, IfExists::Refuse),
            Err(error) => Err(AllocError { value, error }),
        }
    }

    /// Creates the variable with a constructor.
    ///
    /// The constructor runs exactly once if the variable is created, and not at all if the variable exists already. It
    /// has finished before any thread can see the variable. No lock is held while it runs: it may use the store for other
    /// keys, wait, or panic. If it panics, no variable is created, and the panic continues in the caller.
    ///
    /// Progress is as for [`alloc`](Self::alloc), apart from what the constructor does.
    ///
    /// # Errors
    ///
    /// The same as for [`alloc`](Self::alloc).
    #[inline(always)]
    pub fn alloc_with<'g, V: AsVariable<'g, R>, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
        ctor: impl FnOnce() -> V::Value,
    ) -> Result<&'g V::Value, StoreError> {
        self.try_alloc_with(obj, variable, infallible(ctor))
            .map_err(store_error)
    }

    /// Like [`alloc_with`](Self::alloc_with), but the constructor may fail.
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error, in which case no variable is created. Otherwise
    /// [`CtorError::Store`], as for [`alloc`](Self::alloc).
    #[inline(always)]
    pub fn try_alloc_with<'g, V: AsVariable<'g, R>, E, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
        ctor: impl FnOnce() -> Result<V::Value, E>,
    ) -> Result<&'g V::Value, CtorError<E>> {
        self.note_change();
        self.bind(variable)?
            .by_ctor(obj.into_obj_addr(), ctor, IfExists::Refuse)
    }

    /// Returns the variable, which is created from `value` if it does not exist. If it exists, `value` is dropped.
    ///
    /// Progress is as for [`alloc`](Self::alloc).
    ///
    /// # Errors
    ///
    /// The same as for [`alloc`](Self::alloc), except that `Exists` is never returned. Each error gives the value back.
    #[inline(always)]
    pub fn get_or_alloc<'g, V: AsVariable<'g, R>, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
        value: V::Value,
    ) -> Result<&'g V::Value, AllocError<V::Value>> {
        let bound = match self.bind(variable) {
            Ok(bound) => bound,
            Err(error) => return Err(AllocError { value, error }),
        };
        let obj = obj.into_obj_addr();
        if let Some(value) = bound.find(obj) {
            return Ok(value);
        }
        self.note_change();
        bound.by_value(obj, value, IfExists::Get)
    }

    /// Returns the variable, which is created with a constructor if it does not exist. The constructor runs as in
    /// [`alloc_with`](Self::alloc_with).
    ///
    /// Lock-free if the variable exists or no constructor of it runs. Otherwise the thread is parked until that
    /// constructor has finished. If that constructor fails, one of the waiting threads runs its own.
    ///
    /// # Errors
    ///
    /// The same as for [`alloc`](Self::alloc), except that `Exists` is never returned.
    #[inline(always)]
    pub fn get_or_alloc_with<'g, V: AsVariable<'g, R>, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
        ctor: impl FnOnce() -> V::Value,
    ) -> Result<&'g V::Value, StoreError> {
        let bound = self.bind(variable)?;
        let obj = obj.into_obj_addr();
        if let Some(value) = bound.find(obj) {
            return Ok(value);
        }
        self.note_change();
        bound.by_ctor(obj, infallible(ctor), IfExists::Get).map_err(store_error)
    }

    /// Like [`get_or_alloc_with`](Self::get_or_alloc_with), but the constructor may fail.
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error, in which case no variable is created. Otherwise
    /// [`CtorError::Store`], as for [`get_or_alloc`](Self::get_or_alloc).
    #[inline(always)]
    pub fn get_or_try_alloc_with<'g, V: AsVariable<'g, R>, E, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
        ctor: impl FnOnce() -> Result<V::Value, E>,
    ) -> Result<&'g V::Value, CtorError<E>> {
        let bound = self.bind(variable)?;
        let obj = obj.into_obj_addr();
        if let Some(value) = bound.find(obj) {
            return Ok(value);
        }
        self.note_change();
        bound.by_ctor(obj, ctor, IfExists::Get)
    }

    /// Frees the variable, and returns whether it existed. From then on, no look-up finds it. Its value is dropped once
    /// no guard protects it any more. A variable of another type is left alone.
    ///
    /// Lock-free. Never waits, not even for a running constructor of the same variable: until that has finished, there is
    /// nothing to free. May drop values that were freed earlier.
    #[inline(always)]
    pub fn free<'g, V: AsVariable<'g, R>, How>(&'g self, obj: impl IntoObjAddr<How>, variable: V) -> bool {
        self.free_with(obj, variable, |_, _| ()).is_some()
    }

    /// Frees the variable like [`free`](Self::free), and calls the destructor with the parent's address and the value.
    /// Returns the destructor's result, or `None` if the variable does not exist.
    ///
    /// The destructor runs exactly once, before this function returns. Meanwhile other threads may still read the value,
    /// and may already create the variable anew. Lock-free, apart from what the destructor does.
    ///
    /// # Panics
    ///
    /// If the destructor panics; the variable is freed nevertheless.
    #[inline(always)]
    pub fn free_with<'g, V: AsVariable<'g, R>, O, How>(
        &'g self,
        obj: impl IntoObjAddr<How>,
        variable: V,
        dtor: impl FnOnce(ObjAddr, &V::Value) -> O,
    ) -> Option<O> {
        self.note_change();
        self.find(variable)?.remove(obj.into_obj_addr(), dtor)
    }

    /// Frees all variables of an id. Returns how many this call has freed.
    ///
    /// Weakly consistent: frees each variable that exists during the whole call; one that is created or freed meanwhile
    /// may or may not be included. Lock-free; takes time proportional to the size of the table.
    pub fn free_all<'g, V: AsVariable<'g, R>>(&'g self, variable: V) -> usize {
        self.free_all_with(variable, |_, _| ())
    }

    /// Like [`free_all`](Self::free_all), but calls the destructor for each variable, as [`free_with`](Self::free_with)
    /// does, in no particular order.
    ///
    /// # Panics
    ///
    /// If a destructor panics. All other variables are freed first; then the first panic is resumed.
    pub fn free_all_with<'g, V: AsVariable<'g, R>>(
        &'g self,
        variable: V,
        dtor: impl FnMut(ObjAddr, &V::Value),
    ) -> usize {
        self.note_change();
        self.find(variable).map_or(0, |bound| bound.remove_all(dtor))
    }

    /// Frees all variables of a parent, of any type. Returns how many this call has freed.
    ///
    /// Call it before the parent's memory is deallocated. Weakly consistent, like [`free_all`](Self::free_all).
    /// Lock-free; takes time proportional to the number of the parent's variables, not to the size of the table.
    #[inline(always)]
    pub fn free_object<How>(&self, obj: impl IntoObjAddr<How>) -> usize {
        self.note_change();
        free_object(self.core(), self.shield(), obj.into_obj_addr())
    }

    /// Returns the ids of a parent's variables, each once, in no particular order.
    ///
    /// Weakly consistent: contains the id of each variable that exists during the whole call. Wait-free, in a number of
    /// steps bounded by the length of the probe sequences; allocates. Takes time proportional to the number of the
    /// parent's variables.
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

    /// Returns an iterator over all variables, in no particular order.
    ///
    /// Weakly consistent: yields each variable that exists during the whole iteration exactly once, and one that is
    /// created or freed meanwhile once or not at all. Each step is wait-free, bounded by the length of the tables. The
    /// guard is held throughout. At any time, the remaining variables are spread evenly over the table. The iterator
    /// skips those parts of a large table that have never held a variable. Allocates.
    pub fn iter(&self) -> Iter<'_, R> {
        Iter::new(self.core(), self.shield())
    }
}

/// Does the upkeep that is due. Not inlined, so that the drop of a guard is small enough to be inlined where a panic may
/// unwind through it: otherwise each guard would be kept in memory.
#[inline(never)]
fn after_changes<R: Reclaim>(core: &Core<R>) {
    core.lists.upkeep::<R>();
}

/// Takes the guard's shield, not the guard, which can then be kept in registers.
fn free_object<R: Reclaim>(core: &Core<R>, shield: Shield<'_, R>, obj: ObjAddr) -> usize {
    let from = core.root(shield);
    let mut count = 0;
    core.for_each_of_parent(shield, obj.get(), |node, at| {
        count += usize::from(core.remove_at(shield, node, from, at));
    });
    count
}

impl<'g, R: Reclaim, G: GuardKind<R>> IntoIterator for &'g Pinned<'_, R, G> {
    type Item = VarRef<'g>;
    type IntoIter = Iter<'g, R>;

    fn into_iter(self) -> Iter<'g, R> {
        self.iter()
    }
}

impl<R: Reclaim, G: GuardKind<R>> fmt::Debug for Pinned<'_, R, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
