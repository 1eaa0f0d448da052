//! Operations on one id, whose type has been checked, under a guard; and looking up keys in batches.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use bytemuck::Zeroable;

use crate::error::{AllocError, CtorError, StoreError};
use crate::pinned::Pinned;
use crate::reclaim::{Asymmetric, GuardKind, Reclaim};
use crate::registry::IdEntry;
use crate::table::batch::BATCH;
use crate::table::insert::{IfExists, Unplaced};
use crate::table::key::Key;
use crate::table::node::Node;
use crate::table::node_alloc::Payload;
use crate::table::{Core, NodeRef, Shield};
use crate::{IntoObjAddr, ObjAddr, ShadowId, events};

/// The variables of one id, under a guard. The id has been looked up and its type checked, so each operation saves these
/// steps.
///
/// Made by [`Pinned::typed`], [`Pinned::bind`] and [`Variable::pinned`](crate::Variable::pinned). References that it
/// returns are valid as long as the guard exists. Variables that are created or freed meanwhile are seen. For each
/// operation, see the method of the same name on [`Pinned`].
///
/// ```
/// use shadow_vars::{ShadowId, ShadowStore};
/// const N: ShadowId<usize> = ShadowId::new(1);
/// let store = ShadowStore::new();
/// (1..=100_usize).step_by(2).for_each(|obj| store.alloc(obj, N, obj * obj).unwrap());
/// let pin = store.pin();
/// let squares = pin.typed(N).expect("there are some");
/// assert_eq!((1..=100_usize).filter_map(|obj| squares.get(obj)).sum::<usize>(), 166_650);
/// ```
///
/// It stays on its thread, as most guards do, and does not outlive the guard:
///
/// ```compile_fail,E0505
/// # use shadow_vars::{ShadowId, ShadowStore};
/// # let store = ShadowStore::new();
/// let pin = store.pin();
/// let typed = pin.typed(ShadowId::<u32>::new(1));
/// drop(pin);
/// assert!(typed.is_none());
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// # let store = ShadowStore::new();
/// let pin = store.pin();
/// let typed = pin.typed(ShadowId::<u32>::new(1));
/// assert!(typed.is_none());
/// drop(pin);
/// ```
pub struct Typed<'g, T, R: Reclaim = Asymmetric> {
    core: &'g Core<R>,
    /// Of the guard under which this was made.
    shield: Shield<'g, R>,
    /// The entry of the id, which holds `T`.
    entry: &'g IdEntry,
    /// Values are stored and returned, so this is invariant in `T`. The pointer makes it neither `Send` nor `Sync`.
    _value: PhantomData<*mut T>,
}

impl<'g, T: Send + Sync + 'static, R: Reclaim> Typed<'g, T, R> {
    /// The entry must hold `T`.
    #[inline]
    pub(crate) fn new(core: &'g Core<R>, shield: Shield<'g, R>, entry: &'g IdEntry) -> Self {
        debug_assert!(entry.holds::<T>());
        Self {
            core,
            shield,
            entry,
            _value: PhantomData,
        }
    }

    /// Returns the variable, if it exists. See [`Pinned::get`].
    #[inline]
    pub fn get<How>(&self, obj: impl IntoObjAddr<How>) -> Option<&'g T> {
        self.find(obj.into_obj_addr())
    }

    #[inline]
    fn find(self, obj: ObjAddr) -> Option<&'g T> {
        // SAFETY: the entry holds `T`, and a node that is found is live.
        let value = |node: NodeRef<'g>| unsafe { node.value() };
        self.core.find_as(self.shield, obj.get(), self.entry, value)
    }

    /// Returns whether the variable exists. See [`Pinned::contains`].
    #[inline]
    pub fn contains<How>(&self, obj: impl IntoObjAddr<How>) -> bool {
        self.get(obj).is_some()
    }

    /// Looks up a batch of parents: `out[i]` becomes the variable of `objs[i]`, for each `i` below the shorter length.
    ///
    /// Each look-up takes effect at an instant of its own. Like [`Pinned::get_many`], but in fewer steps.
    pub fn get_many(&self, objs: &[ObjAddr], out: &mut [Option<&'g T>]) {
        for (objs, out) in objs.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let count = objs.len().min(out.len());
            let key = |at: usize| (objs[at].get(), Some(self.entry));
            self.core.find_batch(self.shield, count, key, |at, node| {
                // SAFETY: the entry holds `T`, and a node that is found is live.
                out[at] = node.map(|node| unsafe { node.value() });
            });
        }
    }

    /// Creates the variable from a value. See [`Pinned::alloc`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::alloc`], except for the errors of the id; each error gives the value back.
    #[inline]
    pub fn alloc<How>(&self, obj: impl IntoObjAddr<How>, value: T) -> Result<&'g T, AllocError<T>> {
        self.by_value(obj.into_obj_addr(), value, IfExists::Refuse)
    }

    /// Creates the variable with a constructor. See [`Pinned::alloc_with`].
    ///
    /// # Errors
    ///
    /// The same as for [`alloc`](Self::alloc).
    pub fn alloc_with<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<&'g T, StoreError> {
        self.by_ctor(obj.into_obj_addr(), infallible(ctor), IfExists::Refuse)
            .map_err(store_error)
    }

    /// Creates the variable with a constructor that may fail. See [`Pinned::try_alloc_with`].
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error, or [`CtorError::Store`] as for [`alloc`](Self::alloc).
    pub fn try_alloc_with<E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<&'g T, CtorError<E>> {
        self.by_ctor(obj.into_obj_addr(), ctor, IfExists::Refuse)
    }

    /// Creates the variable with all bytes zero. See [`Pinned::alloc_zeroed`].
    ///
    /// # Errors
    ///
    /// The same as for [`alloc`](Self::alloc).
    pub fn alloc_zeroed<How>(&self, obj: impl IntoObjAddr<How>) -> Result<&'g T, StoreError>
    where
        T: Zeroable,
    {
        self.zeroed(obj.into_obj_addr(), IfExists::Refuse)
    }

    /// Returns the variable, which is created from `value` if it does not exist. See [`Pinned::get_or_alloc`].
    ///
    /// # Errors
    ///
    /// The same as for [`alloc`](Self::alloc), except that `Exists` is never returned. Each error gives the value back.
    #[inline]
    pub fn get_or_alloc<How>(&self, obj: impl IntoObjAddr<How>, value: T) -> Result<&'g T, AllocError<T>> {
        let obj = obj.into_obj_addr();
        match self.find(obj) {
            Some(value) => Ok(value),
            None => self.by_value(obj, value, IfExists::Get),
        }
    }

    /// Returns the variable, which is created with a constructor if it does not exist. See [`Pinned::get_or_alloc_with`].
    ///
    /// # Errors
    ///
    /// The same as for [`get_or_alloc`](Self::get_or_alloc).
    #[inline]
    pub fn get_or_alloc_with<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<&'g T, StoreError> {
        let obj = obj.into_obj_addr();
        match self.find(obj) {
            Some(value) => Ok(value),
            None => self.by_ctor(obj, infallible(ctor), IfExists::Get).map_err(store_error),
        }
    }

    /// Like [`get_or_alloc_with`](Self::get_or_alloc_with), but the constructor may fail. See
    /// [`Pinned::get_or_try_alloc_with`].
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error, or [`CtorError::Store`] as for
    /// [`get_or_alloc`](Self::get_or_alloc).
    #[inline]
    pub fn get_or_try_alloc_with<E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<&'g T, CtorError<E>> {
        let obj = obj.into_obj_addr();
        match self.find(obj) {
            Some(value) => Ok(value),
            None => self.by_ctor(obj, ctor, IfExists::Get),
        }
    }

    /// Returns the variable, which is created with all bytes zero if it does not exist. See
    /// [`Pinned::get_or_alloc_zeroed`].
    ///
    /// # Errors
    ///
    /// The same as for [`get_or_alloc`](Self::get_or_alloc).
    #[inline]
    pub fn get_or_alloc_zeroed<How>(&self, obj: impl IntoObjAddr<How>) -> Result<&'g T, StoreError>
    where
        T: Zeroable,
    {
        let obj = obj.into_obj_addr();
        match self.find(obj) {
            Some(value) => Ok(value),
            None => self.zeroed(obj, IfExists::Get),
        }
    }

    /// Frees the variable, and returns whether it existed. See [`Pinned::free`].
    pub fn free<How>(&self, obj: impl IntoObjAddr<How>) -> bool {
        self.free_inlined(obj, |_, _| ()).is_some()
    }

    /// Frees the variable with a destructor, and returns the destructor's result. See [`Pinned::free_with`].
    ///
    /// # Panics
    ///
    /// If the destructor panics; the variable is freed nevertheless.
    pub fn free_with<O, How>(&self, obj: impl IntoObjAddr<How>, dtor: impl FnOnce(ObjAddr, &T) -> O) -> Option<O> {
        self.free_inlined(obj, dtor)
    }

    /// Like [`free_with`](Self::free_with), but always inlined into the caller.
    #[inline(always)]
    pub(crate) fn free_inlined<O, How>(
        self,
        obj: impl IntoObjAddr<How>,
        dtor: impl FnOnce(ObjAddr, &T) -> O,
    ) -> Option<O> {
        let obj = obj.into_obj_addr();
        let key = self.core.key(obj.get(), self.entry);
        // SAFETY: the entry holds `T`, and the node was live until it was removed.
        (self.core).remove(self.shield, &key, |node| dtor(obj, unsafe { node.value() }))
    }

    /// Frees all variables of the id, and returns how many this call has freed. See [`Pinned::free_all`].
    pub fn free_all(&self) -> usize {
        self.free_all_with(|_, _| ())
    }

    /// Like [`free_all`](Self::free_all), but calls the destructor for each variable, in no particular order. See
    /// [`Pinned::free_all_with`].
    ///
    /// # Panics
    ///
    /// If a destructor panics. All other variables are freed first; then the first panic is resumed.
    pub fn free_all_with(&self, mut dtor: impl FnMut(ObjAddr, &T)) -> usize {
        // SAFETY: the entry holds `T`, and the node was live until it was removed.
        let dtor = |node: NodeRef<'_>| dtor(ObjAddr::new(node.obj), unsafe { node.value() });
        self.core.free_all(self.shield, self.entry, dtor)
    }

    #[inline(never)]
    fn by_value(self, obj: ObjAddr, value: T, if_exists: IfExists) -> Result<&'g T, AllocError<T>> {
        let key = self.key_to_alloc(obj);
        // SAFETY: the entry holds `T`.
        match unsafe { self.core.try_alloc_fast(self.shield, &key, value) } {
            // SAFETY: the entry holds `T`, and the node is live.
            Ok(node) => Ok(unsafe { node.value() }),
            Err(left) => self.by_value_slow(&key, if_exists, left),
        }
    }

    /// The slow path of [`by_value`](Self::by_value).
    #[cold]
    #[inline(never)]
    fn by_value_slow(self, key: &Key<'_>, if_exists: IfExists, left: Unplaced<T>) -> Result<&'g T, AllocError<T>> {
        // SAFETY: the entry, which is the key's, holds `T`; what is left comes from `by_value` for this key.
        let result = unsafe { self.core.alloc_slow(self.shield, key, if_exists, left) };
        // SAFETY: the key's entry holds `T`, and the node is live, or was when it was found.
        result
            .map(|node| unsafe { node.value() })
            .inspect_err(|failed| events::refused(&failed.error))
    }

    #[inline(never)]
    fn by_ctor<E>(
        self,
        obj: ObjAddr,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
        if_exists: IfExists,
    ) -> Result<&'g T, CtorError<E>> {
        let key = self.key_to_alloc(obj);
        // SAFETY: the closure writes a `T`, which the entry holds, before it returns Ok.
        let result = unsafe {
            self.core
                .alloc_constructed(self.shield, &key, if_exists, Payload::TYPED, |node| {
                    Node::value_ptr::<T>(node).write(ctor(obj)?);
                    Ok(())
                })
        };
        value_of(result)
    }

    fn zeroed(self, obj: ObjAddr, if_exists: IfExists) -> Result<&'g T, StoreError>
    where
        T: Zeroable,
    {
        let key = self.key_to_alloc(obj);
        let construct = |_| Ok::<_, Infallible>(());
        // SAFETY: the node's payload is zeroed, which is a valid `T`.
        let result = unsafe {
            self.core
                .alloc_constructed(self.shield, &key, if_exists, Payload::ZEROED, construct)
        };
        value_of(result).map_err(store_error)
    }

    /// Returns the key of a variable that is about to be created, and makes the caller's code drop its value.
    #[inline]
    fn key_to_alloc(self, obj: ObjAddr) -> Key<'g> {
        const {
            assert!(
                align_of::<T>() <= crate::MAX_ALIGN,
                "shadow variables are aligned to 4096 at most"
            )
        };
        self.entry.drop_as::<T>();
        self.core.key(obj.get(), self.entry)
    }
}

/// Returns the value of a node whose entry holds `T`, or logs the error.
fn value_of<'g, T, E>(result: Result<NodeRef<'g>, CtorError<E>>) -> Result<&'g T, CtorError<E>> {
    // SAFETY: the callers' entry holds `T`, and the node is live, or was when it was found.
    result.map(|node| unsafe { node.value() }).inspect_err(|failed| {
        if let CtorError::Store(error) = failed {
            events::refused(error);
        }
    })
}

fn infallible<T>(ctor: impl FnOnce(ObjAddr) -> T) -> impl FnOnce(ObjAddr) -> Result<T, Infallible> {
    |obj| Ok(ctor(obj))
}

fn store_error(error: CtorError<Infallible>) -> StoreError {
    match error {
        CtorError::Store(error) => error,
        CtorError::Ctor(never) => match never {},
    }
}

impl<R: Reclaim, G: GuardKind<R>> Pinned<'_, R, G> {
    /// Returns the variables of one id, for many look-ups: the id is looked up and its type checked once. Returns `None`
    /// if the id was never used in this store, or is bound to another type, in which case a `tracing` error is logged.
    /// Wait-free.
    #[inline]
    pub fn typed<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Option<Typed<'_, T, R>> {
        let entry = self.entry_of(id)?;
        Some(Typed::new(self.core(), self.shield(), entry))
    }

    /// Like [`typed`](Self::typed), but binds the id to its type if it was never used in this store, as the first
    /// [`alloc`](Self::alloc) does. Wait-free, except that the first use of an id takes a short lock.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](StoreError::TypeMismatch), [`OutOfMemory`](StoreError::OutOfMemory),
    /// [`TooManyIds`](StoreError::TooManyIds).
    #[inline]
    pub fn bind<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Result<Typed<'_, T, R>, StoreError> {
        let entry = self.core().registry.bind::<T>(id.get())?;
        Ok(Typed::new(self.core(), self.shield(), entry))
    }

    /// Returns the entry of an id, if it holds `T`.
    #[inline]
    pub(crate) fn entry_of<T: 'static>(&self, id: ShadowId<T>) -> Option<&IdEntry> {
        let entry = self.core().registry.get(id.get())?;
        if entry.holds::<T>() {
            Some(entry)
        } else {
            wrong_type::<T>(entry);
            None
        }
    }

    /// Looks up a batch of keys: `out[i]` becomes the variable of `keys[i]`, for each `i` below the shorter length.
    ///
    /// Each look-up takes effect at an instant of its own, as [`get`](Self::get). If the table exceeds the caches, this
    /// is several times as fast as single look-ups, as the cache misses of many keys overlap.
    ///
    /// ```
    /// use shadow_vars::{ObjAddr, ShadowId, ShadowStore};
    /// const N: ShadowId<usize> = ShadowId::new(1);
    /// let store = ShadowStore::new();
    /// let keys: Vec<_> = (1..=100).map(|n| (ObjAddr::new(n * 64), N)).collect();
    /// keys.iter().step_by(2).for_each(|&(obj, id)| store.alloc(obj, id, obj.get()).unwrap());
    /// let pin = store.pin();
    /// let mut found = vec![None; keys.len()];
    /// pin.get_many(&keys, &mut found);
    /// assert_eq!((found[0], found[1]), (Some(&64), None));
    /// ```
    pub fn get_many<'g, T: Send + Sync + 'static>(
        &'g self,
        keys: &[(ObjAddr, ShadowId<T>)],
        out: &mut [Option<&'g T>],
    ) {
        let core = self.core();
        // Most batches are of one id.
        let mut last: Option<(u64, Option<&IdEntry>)> = None;
        let mut batch = [(0, None); BATCH];
        for (keys, out) in keys.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            for (&(obj, id), key) in keys.iter().zip(&mut batch) {
                let entry = match last {
                    Some((number, entry)) if number == id.get() => entry,
                    _ => self.entry_of(id),
                };
                last = Some((id.get(), entry));
                *key = (obj.get(), entry);
            }
            let batch = &batch[..keys.len().min(out.len())];
            core.find_batch(
                self.shield(),
                batch.len(),
                |at| batch[at],
                |at, node| {
                    // SAFETY: the batch has entries that hold `T` only, and a node that is found is live.
                    out[at] = node.map(|node| unsafe { node.value() });
                },
            );
        }
    }
}

#[cold]
fn wrong_type<T>(entry: &IdEntry) {
    events::mismatch(&entry.mismatch(std::any::type_name::<T>()));
}

impl<T, R: Reclaim> Clone for Typed<'_, T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R: Reclaim> Copy for Typed<'_, T, R> {}

impl<T, R: Reclaim> fmt::Debug for Typed<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed")
            .field("id", &self.entry.id)
            .field("type_name", &self.entry.type_name())
            .finish_non_exhaustive()
    }
}
