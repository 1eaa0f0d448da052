//! The variables of one id in one store, for operations that take their own guards.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::LazyLock;

use crate::as_variable::AsVariable;
use crate::as_variable::private::{Entry, Resolve, Within};
use crate::error::{AllocError, CtorError, StoreError};
use crate::parent::StoreHandle;
use crate::pinned::Pinned;
use crate::reclaim::Reclaim;
use crate::registry::IdEntry;
use crate::store::ShadowStore;
use crate::typed::Typed;
use crate::{IntoObjAddr, ObjAddr, ShadowId};

/// The variables of one id in one store: for example, a field that a patch adds to a foreign type.
///
/// Has the operations of the [store](ShadowStore), without the id, which was looked up and checked when this was made. So
/// each operation takes fewer steps; a look-up that takes its own guard needs four fifths of them. For each operation,
/// see the method of the same name on [`Pinned`].
///
/// ```
/// use std::sync::Arc;
/// use shadow_vars::{ShadowId, ShadowStore, Variable};
///
/// const HITS: ShadowId<u32> = ShadowId::new(1);
/// let store = Arc::new(ShadowStore::new());
/// let hits = Variable::new(store.clone(), HITS)?; // or of `&store`, or of `global()`
/// let session = Box::new(0_u8);
/// assert_eq!(hits.get_or_alloc(&*session, 3, |hits| *hits).ok(), Some(3));
/// assert_eq!(hits.get_cloned(&*session), store.get_cloned(&*session, HITS));
/// assert!(hits.free(&*session));
/// # Ok::<(), shadow_vars::StoreError>(())
/// ```
///
/// It borrows the store, or shares it:
///
/// ```compile_fail,E0505
/// # use shadow_vars::{ShadowId, ShadowStore, Variable};
/// let store = ShadowStore::new();
/// let hits = Variable::new(&store, ShadowId::<u32>::new(1))?;
/// drop(store);
/// assert!(hits.is_empty());
/// # Ok::<(), shadow_vars::StoreError>(())
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore, Variable};
/// let store = ShadowStore::new();
/// let hits = Variable::new(&store, ShadowId::<u32>::new(1))?;
/// assert!(hits.is_empty());
/// drop(store);
/// # Ok::<(), shadow_vars::StoreError>(())
/// ```
pub struct Variable<T, S: StoreHandle = &'static ShadowStore> {
    store: S,
    /// The id's entry, which holds `T`. Belongs to the store, which lives as long as the handle.
    entry: NonNull<IdEntry>,
    /// Values are stored and returned, so this is invariant in `T`.
    _value: PhantomData<fn(T) -> T>,
}

// SAFETY: the entry is shared, and is `Sync`: every thread that uses its store has references to it.
unsafe impl<T, S: StoreHandle + Send> Send for Variable<T, S> {}
// SAFETY: as for `Send`.
unsafe impl<T, S: StoreHandle + Sync> Sync for Variable<T, S> {}

impl<T: Send + Sync + 'static, S: StoreHandle> Variable<T, S> {
    /// Returns the variables of an id in a store, which is given by reference or by `Arc`. Binds the id to its type, as
    /// its first `alloc` would. See [`Pinned::bind`].
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](StoreError::TypeMismatch), [`OutOfMemory`](StoreError::OutOfMemory),
    /// [`TooManyIds`](StoreError::TooManyIds).
    pub fn new(store: S, id: ShadowId<T>) -> Result<Self, StoreError> {
        let entry = NonNull::from(store.store().core().registry.bind::<T>(id.get())?);
        Ok(Self {
            store,
            entry,
            _value: PhantomData,
        })
    }

    /// Returns the store.
    pub fn store(&self) -> &ShadowStore<S::Backend> {
        self.store.store()
    }

    /// Returns the id.
    pub fn id(&self) -> ShadowId<T> {
        ShadowId::new(self.entry().id)
    }

    #[inline]
    fn entry(&self) -> &IdEntry {
        // SAFETY: the store lives as long as its handle, and its entries live as long as the store.
        unsafe { self.entry.as_ref() }
    }

    /// The operation is on this variable's store, whatever the guard's: a guard protects all stores of its backend.
    #[inline(always)]
    fn within<'g>(&'g self, Within(of_guard): Within<'g, S::Backend>) -> Entry<'g, S::Backend> {
        let core = self.store().core();
        debug_assert!(
            std::ptr::eq(core, of_guard),
            "this guard is of another store than this `Variable`: take one of `variable.store()`"
        );
        Entry {
            core,
            entry: self.entry(),
        }
    }

    /// Calls `run` with the variables under one guard, for several operations. Wait-free, apart from what `run` does.
    #[inline]
    pub fn pinned<O>(&self, run: impl FnOnce(Typed<'_, T, S::Backend>) -> O) -> O {
        run(self.under(&self.store().pin()))
    }

    /// Runs an operation that creates or frees variables, like [`pinned`](Self::pinned), and then the maintenance that is
    /// due outside of the guard.
    #[inline(always)]
    fn change<O>(&self, run: impl FnOnce(Typed<'_, T, S::Backend>) -> O) -> O {
        self.store().change(|pin| {
            pin.note_change();
            run(self.under(pin))
        })
    }

    #[inline(always)]
    fn under<'p>(&'p self, pin: &'p Pinned<'_, S::Backend>) -> Typed<'p, T, S::Backend> {
        Typed::new(pin.core(), pin.shield(), self.entry())
    }

    /// Calls `read` with the variable, if it exists, and returns its result. `read` runs under a guard. See
    /// [`Pinned::get`].
    #[inline]
    pub fn get_with<O, How>(&self, obj: impl IntoObjAddr<How>, read: impl FnOnce(&T) -> O) -> Option<O> {
        self.pinned(|variables| variables.get(obj).map(read))
    }

    /// Returns a clone of the variable, if it exists. See [`Pinned::get`].
    #[inline]
    pub fn get_cloned<How>(&self, obj: impl IntoObjAddr<How>) -> Option<T>
    where
        T: Clone,
    {
        self.get_with(obj, T::clone)
    }

    /// Returns whether the variable exists. See [`Pinned::contains`].
    #[inline]
    pub fn contains<How>(&self, obj: impl IntoObjAddr<How>) -> bool {
        self.pinned(|variables| variables.contains(obj))
    }

    /// Creates the variable from a value. See [`Pinned::alloc`].
    ///
    /// # Errors
    ///
    /// See [`Typed::alloc`]; each error gives the value back.
    #[inline]
    pub fn alloc<How>(&self, obj: impl IntoObjAddr<How>, value: T) -> Result<(), AllocError<T>> {
        self.change(|variables| variables.alloc(obj, value).map(drop))
    }

    /// Creates the variable with a constructor. See [`Pinned::alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Typed::alloc_with`].
    pub fn alloc_with<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<(), StoreError> {
        self.change(|variables| variables.alloc_with(obj, ctor).map(drop))
    }

    /// Creates the variable with a constructor that may fail. See [`Pinned::try_alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Typed::try_alloc_with`].
    pub fn try_alloc_with<E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<(), CtorError<E>> {
        self.change(|variables| variables.try_alloc_with(obj, ctor).map(drop))
    }

    /// Calls `read` with the variable, which is created from `value` if it does not exist, and returns its result. See
    /// [`Pinned::get_or_alloc`].
    ///
    /// # Errors
    ///
    /// See [`Typed::get_or_alloc`]; each error gives the value back.
    #[inline]
    pub fn get_or_alloc<O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        value: T,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, AllocError<T>> {
        self.change(|variables| variables.get_or_alloc(obj, value).map(read))
    }

    /// Calls `read` with the variable, which is created with `ctor` if it does not exist, and returns its result. See
    /// [`Pinned::get_or_alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Typed::get_or_alloc_with`].
    #[inline]
    pub fn get_or_alloc_with<O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> T,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, StoreError> {
        self.change(|variables| variables.get_or_alloc_with(obj, ctor).map(read))
    }

    /// Like [`get_or_alloc_with`](Self::get_or_alloc_with), but the constructor may fail. See
    /// [`Pinned::get_or_try_alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Typed::get_or_try_alloc_with`].
    #[inline]
    pub fn get_or_try_alloc_with<E, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, CtorError<E>> {
        self.change(|variables| variables.get_or_try_alloc_with(obj, ctor).map(read))
    }

    /// Frees the variable, and returns whether it existed. See [`Pinned::free`].
    pub fn free<How>(&self, obj: impl IntoObjAddr<How>) -> bool {
        self.free_with(obj, |_, _| ()).is_some()
    }

    /// Frees the variable with a destructor, and returns the destructor's result. See [`Pinned::free_with`].
    ///
    /// # Panics
    ///
    /// If the destructor panics; the variable is freed nevertheless.
    pub fn free_with<O, How>(&self, obj: impl IntoObjAddr<How>, dtor: impl FnOnce(ObjAddr, &T) -> O) -> Option<O> {
        self.change(|variables| variables.remove(obj.into_obj_addr(), dtor))
    }

    /// Frees all variables of the id, and returns how many this call has freed. See [`Pinned::free_all`].
    pub fn free_all(&self) -> usize {
        self.change(|variables| variables.free_all())
    }

    /// Frees all variables of the id with a destructor, and returns how many this call has freed. See
    /// [`Pinned::free_all_with`].
    ///
    /// # Panics
    ///
    /// If a destructor panics. All other variables are freed first; then the first panic is resumed.
    pub fn free_all_with(&self, dtor: impl FnMut(ObjAddr, &T)) -> usize {
        self.change(|variables| variables.free_all_with(dtor))
    }

    /// Returns the number of live variables. See [`ShadowStore::len_of`].
    pub fn len(&self) -> usize {
        self.store().core().nodes.live_of(self.entry().counts()) as usize
    }

    /// Returns whether there is no live variable. Otherwise like [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'g, T: Send + Sync + 'static, R: Reclaim, S: StoreHandle<Backend = R>> Resolve<'g, R> for &'g Variable<T, S> {
    #[inline(always)]
    fn find(self, within: Within<'g, R>) -> Option<Entry<'g, R>> {
        Some(self.within(within))
    }

    #[inline(always)]
    fn bind(self, within: Within<'g, R>) -> Result<Entry<'g, R>, StoreError> {
        Ok(self.within(within))
    }
}

impl<'g, T: Send + Sync + 'static, R: Reclaim, S: StoreHandle<Backend = R>> AsVariable<'g, R> for &'g Variable<T, S> {
    type Value = T;
}

impl<'g, T, R, S> Resolve<'g, R> for &'g LazyLock<Variable<T, S>>
where
    T: Send + Sync + 'static,
    R: Reclaim,
    S: StoreHandle<Backend = R>,
{
    #[inline(always)]
    fn find(self, within: Within<'g, R>) -> Option<Entry<'g, R>> {
        Resolve::find(&**self, within)
    }

    #[inline(always)]
    fn bind(self, within: Within<'g, R>) -> Result<Entry<'g, R>, StoreError> {
        Resolve::bind(&**self, within)
    }
}

impl<'g, T, R, S> AsVariable<'g, R> for &'g LazyLock<Variable<T, S>>
where
    T: Send + Sync + 'static,
    R: Reclaim,
    S: StoreHandle<Backend = R>,
{
    type Value = T;
}

impl<T, S: StoreHandle + Clone> Clone for Variable<T, S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            ..*self
        }
    }
}

impl<T, S: StoreHandle + Copy> Copy for Variable<T, S> {}

impl<T: Send + Sync + 'static, S: StoreHandle> fmt::Debug for Variable<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable")
            .field("id", &self.id())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
