//! The operations on one id, which has been looked up and checked, under a guard; and looking up keys in batches.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use bytemuck::Zeroable;

use crate::ctor::{IfExists, Unplaced};
use crate::error::{AllocError, CtorError, StoreError};
use crate::pinned::Pinned;
use crate::reclaim::{Asymmetric, GuardKind, Reclaim};
use crate::registry::IdEntry;
use crate::table::batch::BATCH;
use crate::table::node::Node;
use crate::table::probe::Key;
use crate::table::{Core, NodeRef, Shield};
use crate::{IntoObjAddr, ObjAddr, ShadowId, events};

/// The variables of one id, under a guard: what a [`get`](Pinned::get) does for the id alone is done.
///
/// Made by [`Pinned::typed`], [`Pinned::bind`] and
/// [`Variable::pinned`](crate::Variable::pinned). References that it returns are good for as long as the guard is; it sees
/// what comes and goes meanwhile. What an operation promises is said at the one of [`Pinned`] with its name.
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
    /// Of the guard that it was made under.
    shield: Shield<'g, R>,
    /// Holds `T`.
    entry: &'g IdEntry,
    /// Values go in and come out, so no other `T` will do: invariant. By its pointer neither `Send` nor `Sync`.
    _value: PhantomData<*mut T>,
}

impl<'g, T: Send + Sync + 'static, R: Reclaim> Typed<'g, T, R> {
    /// The entry holds `T`.
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

    /// The variable, if it exists. As [`Pinned::get`].
    #[inline]
    pub fn get<How>(&self, obj: impl IntoObjAddr<How>) -> Option<&'g T> {
        self.find(obj.into_obj_addr())
    }

    #[inline]
    fn find(self, obj: ObjAddr) -> Option<&'g T> {
        // SAFETY: the entry holds `T`; found means live.
        let value = |node: NodeRef<'g>| unsafe { node.value() };
        self.core.find_as(self.shield, obj.get(), self.entry, value)
    }

    /// Whether the variable exists. As [`get`](Self::get).
    #[inline]
    pub fn contains<How>(&self, obj: impl IntoObjAddr<How>) -> bool {
        self.get(obj).is_some()
    }

    /// Looks up a batch: `out[i]` becomes the variable of `objs[i]`, for as many as the shorter of the two has.
    ///
    /// Each look-up is an instant of its own, as [`get`](Self::get). As [`Pinned::get_many`], in fewer steps.
    pub fn get_many(&self, objs: &[ObjAddr], out: &mut [Option<&'g T>]) {
        for (objs, out) in objs.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let count = objs.len().min(out.len());
            let key = |at: usize| (objs[at].get(), Some(self.entry));
            self.core.find_batch(self.shield, count, key, |at, node| {
                // SAFETY: as in `find`.
                out[at] = node.map(|node| unsafe { node.value() });
            });
        }
    }

    /// Creates the variable from a value. As [`Pinned::alloc`].
    ///
    /// # Errors
    ///
    /// As there, but for those of the id; the value comes back.
    #[inline]
    pub fn alloc<How>(&self, obj: impl IntoObjAddr<How>, value: T) -> Result<&'g T, AllocError<T>> {
        self.by_value(obj.into_obj_addr(), value, IfExists::Refuse)
    }

    /// Creates the variable by a constructor. As [`Pinned::alloc_with`].
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn alloc_with<How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<&'g T, StoreError> {
        self.by_ctor(obj.into_obj_addr(), infallible(ctor), IfExists::Refuse)
            .map_err(store_error)
    }

    /// Creates the variable by a constructor that may refuse. As [`Pinned::try_alloc_with`].
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error: there is no variable then. Else as [`alloc`](Self::alloc).
    pub fn try_alloc_with<E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<&'g T, CtorError<E>> {
        self.by_ctor(obj.into_obj_addr(), ctor, IfExists::Refuse)
    }

    /// Creates the variable with all bytes zero.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn alloc_zeroed<How>(&self, obj: impl IntoObjAddr<How>) -> Result<&'g T, StoreError>
    where
        T: Zeroable,
    {
        self.zeroed(obj.into_obj_addr(), IfExists::Refuse)
    }

    /// The variable, created from `value` if it does not exist. As [`Pinned::get_or_alloc`].
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc), but never `Exists`. The value comes back.
    #[inline]
    pub fn get_or_alloc<How>(&self, obj: impl IntoObjAddr<How>, value: T) -> Result<&'g T, AllocError<T>> {
        let obj = obj.into_obj_addr();
        match self.find(obj) {
            Some(value) => Ok(value),
            None => self.by_value(obj, value, IfExists::Get),
        }
    }

    /// The variable, created by a constructor if it does not exist. As [`Pinned::get_or_alloc_with`].
    ///
    /// # Errors
    ///
    /// As [`get_or_alloc`](Self::get_or_alloc).
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

    /// As [`get_or_alloc_with`](Self::get_or_alloc_with), with a constructor that may refuse.
    ///
    /// # Errors
    ///
    /// [`CtorError::Ctor`] with the constructor's error: there is no variable then. Else as
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

    /// The variable, created with all bytes zero if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`get_or_alloc`](Self::get_or_alloc).
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

    /// Frees the variable. Whether there was one. As [`Pinned::free`].
    pub fn free<How>(&self, obj: impl IntoObjAddr<How>) -> bool {
        self.take(obj, |_, _| ()).is_some()
    }

    /// Frees the variable with a destructor. As [`Pinned::free_with`].
    ///
    /// # Panics
    ///
    /// If the destructor does; the variable is freed all the same.
    pub fn free_with<O, How>(&self, obj: impl IntoObjAddr<How>, dtor: impl FnOnce(ObjAddr, &T) -> O) -> Option<O> {
        self.take(obj, dtor)
    }

    /// The same, and one function with its caller.
    #[inline(always)]
    pub(crate) fn take<O, How>(self, obj: impl IntoObjAddr<How>, dtor: impl FnOnce(ObjAddr, &T) -> O) -> Option<O> {
        let obj = obj.into_obj_addr();
        let key = self.core.key(obj.get(), self.entry);
        // SAFETY: the entry holds `T`; the node was live when it was removed.
        (self.core).remove(self.shield, &key, |node| dtor(obj, unsafe { node.value() }))
    }

    /// Frees all variables of the id. How many this call freed. As [`Pinned::free_all`].
    pub fn free_all(&self) -> usize {
        self.free_all_with(|_, _| ())
    }

    /// As [`free_all`](Self::free_all), with a destructor for each, in no order.
    ///
    /// # Panics
    ///
    /// If a destructor does: after all others have been freed too, with the first panic.
    pub fn free_all_with(&self, mut dtor: impl FnMut(ObjAddr, &T)) -> usize {
        // SAFETY: the entry holds `T`; the node was live when it was removed.
        let dtor = |node: NodeRef<'_>| dtor(ObjAddr::new(node.obj), unsafe { node.value() });
        self.core.free_all(self.shield, self.entry, dtor)
    }

    #[inline(never)]
    fn by_value(self, obj: ObjAddr, value: T, if_exists: IfExists) -> Result<&'g T, AllocError<T>> {
        let key = self.key_to_alloc(obj);
        match self.core.try_alloc_fast(self.shield, &key, value) {
            // SAFETY: the entry holds `T`; the node is live.
            Ok(node) => Ok(unsafe { node.value() }),
            Err(left) => self.by_value_on(&key, if_exists, left),
        }
    }

    /// All other cases.
    #[cold]
    #[inline(never)]
    fn by_value_on(self, key: &Key<'_>, if_exists: IfExists, left: Unplaced<T>) -> Result<&'g T, AllocError<T>> {
        let result = self.core.alloc_slow(self.shield, key, if_exists, left);
        // SAFETY: the key's entry holds `T`; the node is live, or was when it was found.
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
                .alloc_constructed(self.shield, &key, if_exists, (None, false), |node| {
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
        // SAFETY: the node comes zeroed, which is a valid `T`.
        let result = unsafe {
            self.core
                .alloc_constructed(self.shield, &key, if_exists, (None, true), construct)
        };
        value_of(result).map_err(store_error)
    }

    /// The key of a variable that is about to be created, whose value the caller's code will drop.
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

/// The value behind a node whose entry holds `T`.
fn value_of<'g, T, E>(result: Result<NodeRef<'g>, CtorError<E>>) -> Result<&'g T, CtorError<E>> {
    // SAFETY: the callers' entry holds `T`; the node is live, or was when it was found.
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
    /// The variables of one id, for many look-ups: what each does for the id alone is done once. Nothing if the id was
    /// never used in this store, or (and a `tracing` error) if it holds another type. Wait-free.
    #[inline]
    pub fn typed<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Option<Typed<'_, T, R>> {
        let entry = self.entry_of(id)?;
        Some(Typed::new(self.core(), self.shield(), entry))
    }

    /// As [`typed`](Self::typed), and binds the id to its type if it was never used here, as the first
    /// [`alloc`](Self::alloc) does. Wait-free but for that.
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

    /// The entry of an id, if it holds `T`.
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

    /// Looks up a batch: `out[i]` becomes the variable of `keys[i]`, for as many as the shorter of the two has.
    ///
    /// Each look-up is an instant of its own, as [`get`](Self::get). Beyond the caches this is several times as fast as
    /// single gets, as the batch waits for the memory of many keys at once.
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
        // Batches mostly ask for one id.
        let mut last: Option<(u64, Option<&IdEntry>)> = None;
        let mut asked = [(0, None); BATCH];
        for (keys, out) in keys.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            for (&(obj, id), asked) in keys.iter().zip(&mut asked) {
                let entry = match last {
                    Some((number, entry)) if number == id.get() => entry,
                    _ => self.entry_of(id),
                };
                last = Some((id.get(), entry));
                *asked = (obj.get(), entry);
            }
            let asked = &asked[..keys.len().min(out.len())];
            core.find_batch(
                self.shield(),
                asked.len(),
                |at| asked[at],
                |at, node| {
                    // SAFETY: only entries that hold `T` were asked for; found means live.
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
