//! The store: every operation in a form that takes its own guard.

use std::fmt;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::sync::OnceLock;
use std::time::Duration;

use bytemuck::Zeroable;

use crate::config::Builder;
use crate::error::{AllocError, CtorError, StoreError, SyncError, TypeMismatch};
use crate::iter::VarRef;
use crate::mem::try_box;
use crate::pinned::{OwnedPinned, Pinned};
use crate::reclaim::{Asymmetric, Reclaim, Stuck, retired, stores};
use crate::registry::IdEntry;
use crate::stats::{IdStats, Stats};
use crate::table::Core;
use crate::tally::Counted;
use crate::{IntoObjAddr, ObjAddr, ShadowId};

/// A store of shadow variables: values attached to objects from outside, and found by `<address, id>`.
///
/// All operations take `&self` and may be called from any number of threads. The methods here take a guard for one
/// operation and pass values to a closure. To use references over several operations, call [`pin`](Self::pin) once and
/// use [`Pinned`], which has the same operations. The [table of operations](crate::docs::operations) lists what each one
/// guarantees; [`Pinned`] documents each in full.
///
/// Dropping a store drops every value in it: the live ones, and those that were freed and not dropped yet.
///
/// ```
/// use shadow_vars::{ShadowId, ShadowStore};
///
/// const HITS: ShadowId<u32> = ShadowId::new(1);
/// struct Session; // a foreign type: no field can be added
///
/// let store = ShadowStore::new();
/// let session = Box::new((Session, 0_u8));
/// store.alloc(&*session, HITS, 3)?;
/// assert_eq!(store.get_cloned(&*session, HITS), Some(3));
/// assert!(store.free(&*session, HITS));
/// # Ok::<(), shadow_vars::AllocError<u32>>(())
/// ```
pub struct ShadowStore<R: Reclaim = Asymmetric> {
    /// Dropped when the store is dropped, or later: see the `Drop` implementation.
    core: ManuallyDrop<Core<R>>,
}

impl ShadowStore {
    /// Returns an empty store with the default backend.
    ///
    /// # Panics
    ///
    /// If there is no memory for the smallest table. [`builder`](Self::builder) returns an error instead.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty store that can hold this many variables before it grows.
    ///
    /// # Panics
    ///
    /// If no table can hold that many, or there is no memory for it. [`builder`](Self::builder) returns an error instead.
    pub fn with_capacity(variables: usize) -> Self {
        match Self::builder().capacity(variables).build() {
            Ok(store) => store,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Returns the store of this process, for patches that must see each other's variables. It is created on first use and
/// never dropped.
///
/// # Panics
///
/// On first use, if there is no memory for the smallest table.
pub fn global() -> &'static ShadowStore {
    static GLOBAL: OnceLock<ShadowStore> = OnceLock::new();
    GLOBAL.get_or_init(ShadowStore::new)
}

impl<R: Reclaim> ShadowStore<R> {
    /// Returns the settings of a new store, with any backend: `ShadowStore::<Epoch>::builder()`.
    pub fn builder() -> Builder<R> {
        Builder::new()
    }

    pub(crate) fn from_core(core: Core<R>) -> Self {
        Self {
            core: ManuallyDrop::new(core),
        }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core<R> {
        &self.core
    }

    /// Runs an operation that creates or frees variables under a guard of its own.
    #[inline(always)]
    pub(crate) fn change<O>(&self, operation: impl FnOnce(&Pinned<'_, R>) -> O) -> O {
        let pin = self.pin();
        operation(&pin)
    }

    /// Takes a guard of the calling thread, for any number of operations. While it is held, no value that is freed
    /// meanwhile is dropped.
    ///
    /// Wait-free, except for the first guard in a thread's life, in whichever operation that is: it registers the thread
    /// with the backend, which needs memory, and with `Seize` takes a short lock.
    #[inline]
    pub fn pin(&self) -> Pinned<'_, R> {
        Pinned::new(self)
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
        Pinned::owned(self)
    }

    /// Calls `read` with the variable, if it exists, and returns its result. `read` runs under a guard. See
    /// [`Pinned::get`].
    #[inline]
    pub fn get_with<T: Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        read: impl FnOnce(&T) -> O,
    ) -> Option<O> {
        self.pin().get(obj, id).map(read)
    }

    /// Returns a clone of the variable, if it exists. See [`Pinned::get`].
    #[inline]
    pub fn get_cloned<T: Clone + Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
    ) -> Option<T> {
        self.pin().get(obj, id).cloned()
    }

    /// Returns whether the variable exists. See [`Pinned::contains`].
    #[inline]
    pub fn contains<T: Send + Sync + 'static, How>(&self, obj: impl IntoObjAddr<How>, id: ShadowId<T>) -> bool {
        self.pin().contains(obj, id)
    }

    /// Creates the variable from a value. See [`Pinned::alloc`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::alloc`]; each error gives the value back.
    pub fn alloc<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        value: T,
    ) -> Result<(), AllocError<T>> {
        self.change(|pin| pin.alloc(obj, id, value).map(drop))
    }

    /// Creates the variable with a constructor. See [`Pinned::alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::alloc_with`].
    pub fn alloc_with<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<(), StoreError> {
        self.change(|pin| pin.alloc_with(obj, id, ctor).map(drop))
    }

    /// Creates the variable with a constructor that may fail. See [`Pinned::try_alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::try_alloc_with`].
    pub fn try_alloc_with<T: Send + Sync + 'static, E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<(), CtorError<E>> {
        self.change(|pin| pin.try_alloc_with(obj, id, ctor).map(drop))
    }

    /// Creates the variable with all bytes zero. See [`Pinned::alloc_zeroed`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::alloc_zeroed`].
    pub fn alloc_zeroed<T: Zeroable + Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
    ) -> Result<(), StoreError> {
        self.change(|pin| pin.alloc_zeroed(obj, id).map(drop))
    }

    /// Calls `read` with the variable, which is created from `value` if it does not exist, and returns its result. See
    /// [`Pinned::get_or_alloc`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::get_or_alloc`]; each error gives the value back.
    #[inline]
    pub fn get_or_alloc<T: Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        value: T,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, AllocError<T>> {
        self.change(|pin| pin.get_or_alloc(obj, id, value).map(read))
    }

    /// Calls `read` with the variable, which is created with `ctor` if it does not exist, and returns its result. See
    /// [`Pinned::get_or_alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::get_or_alloc_with`].
    #[inline]
    pub fn get_or_alloc_with<T: Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> T,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, StoreError> {
        self.change(|pin| pin.get_or_alloc_with(obj, id, ctor).map(read))
    }

    /// Like [`get_or_alloc_with`](Self::get_or_alloc_with), but the constructor may fail. See
    /// [`Pinned::get_or_try_alloc_with`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::get_or_try_alloc_with`].
    #[inline]
    pub fn get_or_try_alloc_with<T: Send + Sync + 'static, E, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, CtorError<E>> {
        self.change(|pin| pin.get_or_try_alloc_with(obj, id, ctor).map(read))
    }

    /// Calls `read` with the variable, which is created with all bytes zero if it does not exist, and returns its result.
    /// See [`Pinned::get_or_alloc_zeroed`].
    ///
    /// # Errors
    ///
    /// See [`Pinned::get_or_alloc_zeroed`].
    #[inline]
    pub fn get_or_alloc_zeroed<T: Zeroable + Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, StoreError> {
        self.change(|pin| pin.get_or_alloc_zeroed(obj, id).map(read))
    }

    /// Frees the variable, and returns whether it existed. See [`Pinned::free`].
    pub fn free<T: Send + Sync + 'static, How>(&self, obj: impl IntoObjAddr<How>, id: ShadowId<T>) -> bool {
        self.change(|pin| pin.free(obj, id))
    }

    /// Frees the variable with a destructor, and returns the destructor's result. See [`Pinned::free_with`].
    pub fn free_with<T: Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        dtor: impl FnOnce(ObjAddr, &T) -> O,
    ) -> Option<O> {
        self.change(|pin| pin.free_with(obj, id, dtor))
    }

    /// Frees all variables of an id, and returns how many this call has freed. See [`Pinned::free_all`].
    pub fn free_all<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> usize {
        self.change(|pin| pin.free_all(id))
    }

    /// Frees all variables of an id with a destructor, and returns how many this call has freed. See
    /// [`Pinned::free_all_with`].
    pub fn free_all_with<T: Send + Sync + 'static>(&self, id: ShadowId<T>, dtor: impl FnMut(ObjAddr, &T)) -> usize {
        self.change(|pin| pin.free_all_with(id, dtor))
    }

    /// Frees all variables of a parent, and returns how many this call has freed. See [`Pinned::free_object`].
    pub fn free_object<How>(&self, obj: impl IntoObjAddr<How>) -> usize {
        self.change(|pin| pin.free_object(obj))
    }

    /// Returns the ids of a parent's variables, in no particular order. See [`Pinned::ids_of`].
    pub fn ids_of<How>(&self, obj: impl IntoObjAddr<How>) -> Vec<u64> {
        self.pin().ids_of(obj)
    }

    /// Calls `visit` for every variable. See [`Pinned::iter`].
    pub fn for_each(&self, visit: impl FnMut(VarRef<'_>)) {
        self.pin().iter().for_each(visit);
    }

    /// Returns the number of live variables.
    ///
    /// It is exact for one instant during the call, except that concurrent operations may or may not be counted, at most
    /// two of each thread (a sweep counts the variables it frees in batches). Takes constant time, whatever the number of
    /// variables and ids. Does not wait for other operations; starts over if another thread counts the same store at the
    /// same time, but a thread that is stopped while it counts delays no other thread.
    pub fn len(&self) -> usize {
        self.core.nodes.live() as usize
    }

    /// Returns whether there is no live variable. Otherwise like [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of live variables of an id; 0 if the id is bound to another type. Otherwise like
    /// [`len`](Self::len).
    pub fn len_of<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> usize {
        match self.core.registry.get(id.get()) {
            Some(entry) if entry.holds::<T>() => self.core.nodes.live_of(entry.counts()) as usize,
            _ => 0,
        }
    }

    /// Returns the number of slots of the current table, which is replaced when three quarters of them have been claimed.
    /// Wait-free.
    pub fn capacity(&self) -> usize {
        let pin = self.pin();
        self.core.root(pin.shield()).capacity()
    }

    /// Checks that this id may be used with this type in this store, as any id that was never used may. Wait-free.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`] if the id is bound to another type; the error names both types.
    pub fn check_id<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Result<(), TypeMismatch> {
        match self.core.registry.get(id.get()) {
            Some(entry) if !entry.holds::<T>() => Err(entry.mismatch(std::any::type_name::<T>())),
            _ => Ok(()),
        }
    }

    /// Sets the function that weighs the values of an id: `bytes` returns how much memory a value owns in addition to its
    /// own size, which the store cannot see.
    ///
    /// The weight counts in [`Stats::retired_bytes`] while a freed value waits to be dropped, and 64 KiB of weight close
    /// a batch, so heavy values do not have to wait until many others have been freed. Binds the id to its type, as its
    /// first `alloc` would. Replaces the function that was set before; `None` removes it. Progress is as for
    /// [`Pinned::bind`].
    ///
    /// ```
    /// use shadow_vars::{ShadowId, ShadowStore};
    ///
    /// const BODY: ShadowId<Vec<u8>> = ShadowId::new(1);
    /// let store = ShadowStore::new();
    /// store.weigh(BODY, Some(Vec::capacity))?;
    ///
    /// let request = 7_u32;
    /// store.alloc(&request, BODY, vec![0; 1 << 20]).unwrap();
    /// let reader = store.pin();
    /// store.free(&request, BODY);
    /// assert!(store.stats().retired_bytes > 1 << 20);
    /// # drop(reader);
    /// # Ok::<(), shadow_vars::StoreError>(())
    /// ```
    ///
    /// Each value is weighed once, by the thread that frees it, when no look-up can find it any more; readers that found
    /// it before may still use it. That thread holds a guard, and no lock of the store, so the function may use the
    /// store. Only values with a destructor are weighed (others own nothing that is freed with them), and values that are
    /// still live when the store is dropped are not. A weight counts as 4 GiB at most.
    ///
    /// If the function panics, the panic is caught: the value is freed like any other, with weight zero, and
    /// [`Stats::weigh_panics`] counts the panic.
    ///
    /// The store keeps the function pointer. If it points into a library that is to be unloaded, remove it first.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](StoreError::TypeMismatch), [`OutOfMemory`](StoreError::OutOfMemory),
    /// [`TooManyIds`](StoreError::TooManyIds).
    pub fn weigh<T: Send + Sync + 'static>(
        &self,
        id: ShadowId<T>,
        bytes: Option<fn(&T) -> usize>,
    ) -> Result<(), StoreError> {
        self.core.registry.bind::<T>(id.get())?.weigh_by(bytes);
        Ok(())
    }

    /// Moves the variables into the smallest table that holds them, but not below the capacity the store was built with,
    /// and finishes a running migration. Gives back the free memory that the calling thread keeps.
    ///
    /// Lock-free; takes time proportional to the size of the table, and other operations continue meanwhile. The table
    /// also shrinks by itself as variables are freed. If there is no memory for the new table, the old one stays.
    pub fn shrink_to_fit(&self) {
        let pin = self.pin();
        let _ = self.core.shrink(pin.shield());
        self.core.flush_pool();
    }

    /// Returns the store's counters. The numbers of created and freed variables, of all ids, are exact for one instant,
    /// as for [`len`](Self::len); each of the others is read at an instant of its own.
    ///
    /// Takes time proportional to the number of ids. Allocates, and takes the short locks of the store's memory and of
    /// owned guards. Also checks for old guards, and [reports](crate::report_old_guards) them.
    pub fn stats(&self) -> Stats {
        let old = R::old_guards();
        let pin = self.pin();
        let core = &self.core;
        let relaxed = crate::sync::stat::Ordering::Relaxed;
        let ids: Vec<_> = core
            .registry
            .counted(&core.nodes)
            .into_iter()
            .map(IdStats::of)
            .collect();
        let (created, freed) = ids
            .iter()
            .fold((0, 0), |sum, id| (sum.0 + id.created, sum.1 + id.freed));
        let live = created - freed;
        let root = core.root(pin.shield());
        let (capacity, claimed) = (root.capacity(), root.claimed.sum());
        let (retired_objects, retired_bytes) = core.lists.pending();
        let (packed_bytes, packed_free_bytes) = core.heap.pool.bytes();
        Stats {
            live,
            created,
            freed,
            ctor_failed: core.ctor_failed.load(relaxed),
            drop_panics: core.lists.drop_panics(),
            weigh_panics: core.lists.weigh_panics(),
            growths: core.growths.load(relaxed),
            shrinks: core.shrinks.load(relaxed),
            rebuilds: core.rebuilds.load(relaxed),
            capacity,
            claimed,
            tombs: claimed.saturating_sub(live as usize),
            load: claimed as f64 / capacity as f64,
            retired_objects,
            retired_bytes,
            oldest_retired: core.lists.oldest(),
            unsettled_readers: R::unsettled(),
            old_guards: old.count,
            oldest_guard: old.oldest.map(|(_, age)| age),
            held_back_bytes: old.oldest.map_or(0, |(period, _)| core.lists.held_back::<R>(period)),
            packed_bytes,
            packed_free_bytes,
            ids,
        }
    }

    /// Advances reclamation as far as possible without waiting: begins a grace period for everything that was freed, and
    /// drops, on this thread, the values that no guard protects any more. Gives back the free memory that the thread
    /// keeps. Lock-free.
    pub fn flush(&self) {
        self.core.lists.flush_all::<R>();
        self.core.lists.upkeep::<R>();
        self.core.flush_pool();
    }

    /// Waits until every value that was freed before the call has been dropped. Waits for every guard of the same backend
    /// that exists when it is called, in this or any other store, including [owned](Self::pin_owned) ones, and for a
    /// `Drop` that another thread is running for this store.
    ///
    /// # Errors
    ///
    /// - [`SyncError::Pinned`] if this thread holds a guard. (The thread that holds an owned guard is not known, so the
    ///   caller must not hold one.)
    /// - [`SyncError::Reclaiming`] if called from a `Drop` that a store runs.
    /// - [`SyncError::NoBarrier`] if, after some attempts, the wait might never end because the system denies the
    ///   barrier; [`SyncError::Forked`] if so in the child of a fork. The values that could be dropped have been.
    pub fn synchronize(&self) -> Result<(), SyncError> {
        if retired::is_reclaiming() {
            return Err(SyncError::Reclaiming);
        }
        if R::is_pinned() {
            return Err(SyncError::Pinned);
        }
        let lists = &self.core.lists;
        let mark = lists.mark();
        let mut tries = 0_u32;
        while !lists.is_done(&mark) {
            lists.flush::<R>();
            match tries {
                0..16 => {}
                16..64 => std::thread::yield_now(),
                _ => {
                    match R::stuck() {
                        Some(Stuck::NoBarrier) => return Err(SyncError::NoBarrier),
                        Some(Stuck::Forked) => return Err(SyncError::Forked),
                        None => {}
                    }
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
            tries = tries.saturating_add(1);
        }
        self.core.flush_pool();
        Ok(())
    }
}

impl IdStats {
    fn of((entry, counted): (&IdEntry, Counted)) -> Self {
        Self {
            id: entry.id,
            type_name: entry.type_name().to_owned(),
            live: counted.live(),
            created: counted.created,
            freed: counted.freed,
        }
    }
}

/// Drops all values: the live ones, and those that were freed and not dropped yet. If another thread is dropping some of the
/// latter (because it reclaims what idle threads left behind), waits for it. If this thread is doing so, and the store is
/// dropped by one of those destructors, the rest is dropped when that reclamation is done.
impl<R: Reclaim> Drop for ShadowStore<R> {
    fn drop(&mut self) {
        let may_drop = self.core.lists.delist();
        // SAFETY: taken only here, and the store is not used afterwards.
        let core = unsafe { ManuallyDrop::take(&mut self.core) };
        if may_drop {
            return drop(core);
        }
        match try_box(MaybeUninit::<Self>::uninit()) {
            // Dropped again later, as a store, by the reclamation that is running on this thread.
            Some(place) => {
                let store: Box<Self> = Box::write(place, Self::from_core(core));
                stores::defer_drop(store);
            }
            // No memory to keep it in, so it is leaked: dropping it now would free what is being dropped.
            None => mem::forget(core),
        }
    }
}

impl<R: Reclaim> Default for ShadowStore<R> {
    fn default() -> Self {
        match Self::builder().build() {
            Ok(store) => store,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<R: Reclaim> fmt::Debug for ShadowStore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowStore")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
