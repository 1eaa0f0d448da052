//! An id of one store that has been looked up, and its type checked.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::LazyLock;

use crate::ShadowId;
use crate::as_variable::AsVariable;
use crate::as_variable::private::{Entry, Resolve, Within};
use crate::entry::IdEntry;
use crate::error::StoreError;
use crate::parent::StoreHandle;
use crate::reclaim::Reclaim;
use crate::store::{ShadowStore, global};

/// An id of one store that has been looked up, and its type checked: for example, a field that a patch adds to a foreign
/// type.
///
/// It has one value for each object, as a thread-local has one for each thread. The operations of [`Pinned`](crate::Pinned)
/// take `&variable` in place of the id, and then need not look the id up: a look-up takes six to nine instructions less.
///
/// ```
/// use std::sync::Arc;
/// use shadow_vars::{ShadowId, ShadowStore, Variable};
///
/// const HITS: ShadowId<u32> = ShadowId::new(1);
/// let store = Arc::new(ShadowStore::new());
/// let hits = Variable::new_in(HITS, store.clone())?; // or `&store`
/// let session = Box::new(0_u8);
/// let vars = store.pin();
/// assert_eq!(vars.get_or_alloc(&*session, &hits, 3).ok(), Some(&3));
/// assert_eq!(vars.get(&*session, &hits), vars.get(&*session, HITS));
/// assert!(vars.free(&*session, &hits));
/// # Ok::<(), shadow_vars::StoreError>(())
/// ```
///
/// A variable of the [global] store can be a `static`:
///
/// ```
/// use std::sync::LazyLock;
/// use shadow_vars::{ShadowId, Variable, global};
///
/// static HITS: LazyLock<Variable<u32>> =
///     LazyLock::new(|| Variable::new(ShadowId::new(0x4e05)).expect("no other code uses this id"));
/// assert!(!global().pin().contains(0, &HITS));
/// ```
///
/// Use it under a guard of its own store: `variable.store().pin()`. Under a guard of another store with the same backend,
/// the operation is on the variable's store nevertheless, and panics if debug assertions are enabled.
///
/// It borrows the store, or shares it:
///
/// ```compile_fail,E0505
/// # use shadow_vars::{ShadowId, ShadowStore, Variable};
/// let store = ShadowStore::new();
/// let hits = Variable::new_in(ShadowId::<u32>::new(1), &store)?;
/// drop(store);
/// assert_eq!(hits.id(), ShadowId::new(1));
/// # Ok::<(), shadow_vars::StoreError>(())
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore, Variable};
/// let store = ShadowStore::new();
/// let hits = Variable::new_in(ShadowId::<u32>::new(1), &store)?;
/// assert_eq!(hits.id(), ShadowId::new(1));
/// drop(store);
/// # Ok::<(), shadow_vars::StoreError>(())
/// ```
///
/// References to its values need the guard and the handle:
///
/// ```compile_fail,E0505
/// # use shadow_vars::{ShadowId, ShadowStore, Variable};
/// let store = ShadowStore::new();
/// let pin = store.pin();
/// let hits = Variable::new_in(ShadowId::<u32>::new(1), &store)?;
/// let found = pin.get(0, &hits);
/// drop(pin);
/// assert_eq!(found, None);
/// # Ok::<(), shadow_vars::StoreError>(())
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore, Variable};
/// let store = ShadowStore::new();
/// let pin = store.pin();
/// let hits = Variable::new_in(ShadowId::<u32>::new(1), &store)?;
/// let found = pin.get(0, &hits);
/// assert_eq!(found, None);
/// drop(pin);
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

impl<T: Send + Sync + 'static> Variable<T> {
    /// Returns the variables of an id in the [global] store. Otherwise like [`new_in`](Self::new_in).
    ///
    /// # Errors
    ///
    /// See [`new_in`](Self::new_in).
    pub fn new(id: ShadowId<T>) -> Result<Self, StoreError> {
        Self::new_in(id, global())
    }
}

impl<T: Send + Sync + 'static, S: StoreHandle> Variable<T, S> {
    /// Returns the variables of an id in a store, which is given by reference or by `Arc`. Binds the id to its type, as
    /// its first `alloc` would. Wait-free, except that the first use of an id takes a short lock.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](StoreError::TypeMismatch), [`OutOfMemory`](StoreError::OutOfMemory),
    /// [`TooManyIds`](StoreError::TooManyIds).
    pub fn new_in(id: ShadowId<T>, store: S) -> Result<Self, StoreError> {
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
}

impl<'g, T: Send + Sync + 'static, R: Reclaim, S: StoreHandle<Backend = R>> Resolve<'g, R> for &'g Variable<T, S> {
    fn known(self, within: Within<'g, R>) -> Option<Entry<'g, R>> {
        Some(self.within(within))
    }

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
    fn known(self, within: Within<'g, R>) -> Option<Entry<'g, R>> {
        Resolve::known(&**self, within)
    }

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

/// Equal if they are of one store and one id.
impl<T, S: StoreHandle> PartialEq for Variable<T, S> {
    fn eq(&self, other: &Self) -> bool {
        // A store's entries stay where they are, and each is for one id.
        self.entry == other.entry
    }
}

impl<T, S: StoreHandle> Eq for Variable<T, S> {}

impl<T, S: StoreHandle> Hash for Variable<T, S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.hash(state);
    }
}

impl<T: Send + Sync + 'static, S: StoreHandle> fmt::Debug for Variable<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable")
            .field("id", &self.id())
            .field("len", &self.store().len_of(self))
            .finish_non_exhaustive()
    }
}
