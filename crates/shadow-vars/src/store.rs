//! The store itself: every operation in the form that needs no guard at hand.

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

/// A store of shadow variables: values attached to objects from outside, found by `<address, id>`.
///
/// All operations take `&self`, from any number of threads. Those here make a guard for the one operation and hand
/// values to a closure; to use references over several operations, [`pin`](Self::pin) once and use [`Pinned`], which
/// has the same operations. What each promises is in the [table of operations](crate::docs::operations).
///
/// Dropping a store drops every value in it, whether it lives or waits for reclamation.
///
/// ```
/// use shadow_vars::{ShadowId, ShadowStore};
///
/// const HITS: ShadowId<u32> = ShadowId::new(1);
/// struct Session; // somebody else's type: no field to add
///
/// let store = ShadowStore::new();
/// let session = Box::new((Session, 0_u8));
/// store.alloc(&*session, HITS, 3)?;
/// assert_eq!(store.get_cloned(&*session, HITS), Some(3));
/// assert!(store.free(&*session, HITS));
/// # Ok::<(), shadow_vars::AllocError<u32>>(())
/// ```
pub struct ShadowStore<R: Reclaim = Asymmetric> {
    /// Dropped by the store's drop, or later.
    core: ManuallyDrop<Core<R>>,
}

/// What is due after an operation, outside its guard.
struct Look<'s, R: Reclaim>(&'s Core<R>);

impl<R: Reclaim> Drop for Look<'_, R> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.lists.look::<R>();
    }
}

impl ShadowStore {
    /// An empty store with the default backend.
    ///
    /// # Panics
    ///
    /// If there is no memory for the smallest table. [`builder`](Self::builder) gives an error instead.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with room for this many variables before it grows.
    ///
    /// # Panics
    ///
    /// If no table can have that many, or there is no memory for it. [`builder`](Self::builder) gives an error instead.
    pub fn with_capacity(variables: usize) -> Self {
        match Self::builder().capacity(variables).build() {
            Ok(store) => store,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The store of this process, for patches that must see each other's variables. Made on first use, never dropped.
///
/// # Panics
///
/// On first use, if there is no memory for the smallest table.
pub fn global() -> &'static ShadowStore {
    static GLOBAL: OnceLock<ShadowStore> = OnceLock::new();
    GLOBAL.get_or_init(ShadowStore::new)
}

impl<R: Reclaim> ShadowStore<R> {
    /// Settings for a store, with any backend: `ShadowStore::<Epoch>::builder()`.
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

    /// An operation that creates or frees: under a guard, and then what is due outside of it.
    #[inline(always)]
    pub(crate) fn change<O>(&self, operation: impl FnOnce(&Pinned<'_, R>) -> O) -> O {
        // As a drop, so that what the operation returns is not moved once more.
        let _look = Look(&*self.core);
        let pin = self.pin();
        operation(&pin)
    }

    /// A guard of this thread, for many operations. While it is held, nothing that is freed is dropped.
    ///
    /// Wait-free, but for the first guard in a thread's life, by whatever operation: it makes the thread known to the backend,
    /// which takes memory, and with `Seize` a short lock.
    #[inline]
    pub fn pin(&self) -> Pinned<'_, R> {
        Pinned::new(self)
    }

    /// A guard that may move between threads and be held across await points. Dearer to make than [`pin`](Self::pin).
    /// Where it is made is named, if it is [held for long](crate::report_old_guards).
    #[track_caller]
    pub fn pin_owned(&self) -> OwnedPinned<'_, R> {
        Pinned::owned(self)
    }

    /// What `read` makes of the variable, if it exists. `read` runs under a guard.
    #[inline]
    pub fn get_with<T: Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        read: impl FnOnce(&T) -> O,
    ) -> Option<O> {
        self.pin().get(obj, id).map(read)
    }

    /// A copy of the variable, if it exists.
    #[inline]
    pub fn get_cloned<T: Clone + Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
    ) -> Option<T> {
        self.pin().get(obj, id).cloned()
    }

    /// Whether the variable exists.
    #[inline]
    pub fn contains<T: Send + Sync + 'static, How>(&self, obj: impl IntoObjAddr<How>, id: ShadowId<T>) -> bool {
        self.pin().contains(obj, id)
    }

    /// Creates the variable from a value. See [`Pinned::alloc`].
    ///
    /// # Errors
    ///
    /// As [`Pinned::alloc`]; the value comes back.
    pub fn alloc<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        value: T,
    ) -> Result<(), AllocError<T>> {
        self.change(|pin| pin.alloc(obj, id, value).map(drop))
    }

    /// Creates the variable by a constructor. See [`Pinned::alloc_with`].
    ///
    /// # Errors
    ///
    /// As [`Pinned::alloc_with`].
    pub fn alloc_with<T: Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<(), StoreError> {
        self.change(|pin| pin.alloc_with(obj, id, ctor).map(drop))
    }

    /// Creates the variable by a constructor that may refuse. See [`Pinned::try_alloc_with`].
    ///
    /// # Errors
    ///
    /// As [`Pinned::try_alloc_with`].
    pub fn try_alloc_with<T: Send + Sync + 'static, E, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<(), CtorError<E>> {
        self.change(|pin| pin.try_alloc_with(obj, id, ctor).map(drop))
    }

    /// Creates the variable with all bytes zero.
    ///
    /// # Errors
    ///
    /// As [`Pinned::alloc_zeroed`].
    pub fn alloc_zeroed<T: Zeroable + Send + Sync + 'static, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
    ) -> Result<(), StoreError> {
        self.change(|pin| pin.alloc_zeroed(obj, id).map(drop))
    }

    /// What `read` makes of the variable, which is created from `value` if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Pinned::get_or_alloc`]; the value comes back.
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

    /// What `read` makes of the variable, which is created by `ctor` if it does not exist. See
    /// [`Pinned::get_or_alloc_with`].
    ///
    /// # Errors
    ///
    /// As [`Pinned::get_or_alloc_with`].
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

    /// As [`get_or_alloc_with`](Self::get_or_alloc_with), with a constructor that may refuse.
    ///
    /// # Errors
    ///
    /// As [`Pinned::get_or_try_alloc_with`].
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

    /// What `read` makes of the variable, which is created with all bytes zero if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Pinned::get_or_alloc_zeroed`].
    #[inline]
    pub fn get_or_alloc_zeroed<T: Zeroable + Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        read: impl FnOnce(&T) -> O,
    ) -> Result<O, StoreError> {
        self.change(|pin| pin.get_or_alloc_zeroed(obj, id).map(read))
    }

    /// Frees the variable. Whether there was one. See [`Pinned::free`].
    pub fn free<T: Send + Sync + 'static, How>(&self, obj: impl IntoObjAddr<How>, id: ShadowId<T>) -> bool {
        self.change(|pin| pin.free(obj, id))
    }

    /// Frees the variable with a destructor. See [`Pinned::free_with`].
    pub fn free_with<T: Send + Sync + 'static, O, How>(
        &self,
        obj: impl IntoObjAddr<How>,
        id: ShadowId<T>,
        dtor: impl FnOnce(ObjAddr, &T) -> O,
    ) -> Option<O> {
        self.change(|pin| pin.free_with(obj, id, dtor))
    }

    /// Frees all variables of an id. How many there were. See [`Pinned::free_all`].
    pub fn free_all<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> usize {
        self.change(|pin| pin.free_all(id))
    }

    /// Frees all variables of an id, with a destructor. See [`Pinned::free_all_with`].
    pub fn free_all_with<T: Send + Sync + 'static>(&self, id: ShadowId<T>, dtor: impl FnMut(ObjAddr, &T)) -> usize {
        self.change(|pin| pin.free_all_with(id, dtor))
    }

    /// Frees all variables of a parent. How many there were. See [`Pinned::free_object`].
    pub fn free_object<How>(&self, obj: impl IntoObjAddr<How>) -> usize {
        self.change(|pin| pin.free_object(obj))
    }

    /// The ids of a parent's variables, in no order. See [`Pinned::ids_of`].
    pub fn ids_of<How>(&self, obj: impl IntoObjAddr<How>) -> Vec<u64> {
        self.pin().ids_of(obj)
    }

    /// Calls `visit` for every variable. See [`Pinned::iter`].
    pub fn for_each(&self, visit: impl FnMut(VarRef<'_>)) {
        self.pin().iter().for_each(visit);
    }

    /// How many variables live: as many as there were at one moment during the call, but that operations which run
    /// meanwhile may be counted or not, two of each thread at most. (A sweep counts what it frees by the batch.) Exact when
    /// nothing runs.
    ///
    /// Takes the same time however many variables and ids there are. Waits for no operation; starts over if another thread counts the same
    /// store at the same time, and a thread that is stopped in it delays nobody.
    pub fn len(&self) -> usize {
        self.core.nodes.live() as usize
    }

    /// Whether no variable lives. As [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many variables of an id live; 0 if the id holds another type. As [`len`](Self::len).
    pub fn len_of<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> usize {
        match self.core.registry.get(id.get()) {
            Some(entry) if entry.holds::<T>() => self.core.nodes.live_of(entry.counts()) as usize,
            _ => 0,
        }
    }

    /// Slots of the current table. It is replaced when three quarters of them have been claimed.
    pub fn capacity(&self) -> usize {
        let pin = self.pin();
        self.core.root(pin.shield()).capacity()
    }

    /// Whether this id may be used with this type here. Ids that were never used may. Wait-free.
    ///
    /// # Errors
    ///
    /// If the id is bound to another type; the error names both.
    pub fn check_id<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> Result<(), TypeMismatch> {
        match self.core.registry.get(id.get()) {
            Some(entry) if !entry.holds::<T>() => Err(entry.mismatch(std::any::type_name::<T>())),
            _ => Ok(()),
        }
    }

    /// Weighs the values of an id from now on: `bytes` says how much memory a value owns beside its own size, which the store
    /// cannot see. So much more counts in [`Stats::retired_bytes`] while a freed value waits to be dropped, and 64 KiB of it are
    /// as good as a batch: values that are heavy do not wait for others to be freed. Binds the id to its type, as its first
    /// `alloc` would; replaces the function that was given before, and with `None` takes it away.
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
    /// A value is asked once, by the thread that frees it, when nobody can find it any more, though readers that found it before
    /// may still use it. The thread holds a guard, and no lock of the store; the function may use the store. Only values with a
    /// destructor are asked (others own nothing that goes with them), and none of those that the store's drop finds alive.
    /// Whatever the function says, a value counts as 4 GiB at most.
    ///
    /// If the function panics, the panic ends there: the value is freed as any other, weighs nothing, and
    /// [`Stats::weigh_panics`] counts it.
    ///
    /// The function stays with the store. One that comes from a library which is unloaded is one of the things that the library
    /// must not leave behind: take it away before.
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

    /// Moves into the smallest table that does for what lives now, and finishes a running migration. Takes time
    /// proportional to the table; other operations go on meanwhile. The table also shrinks by itself as variables are
    /// freed. Never below the capacity the store was made with. Does nothing if there is no memory.
    pub fn shrink_to_fit(&self) {
        let pin = self.pin();
        let _ = self.core.shrink(pin.shield());
        self.core.flush_pool();
    }

    /// The store's counters. What was created and freed, of all ids, is of one moment, as [`len`](Self::len) is; the others
    /// are of moments of their own. Takes time proportional to the number of ids. Allocates, and takes the short locks of the store's
    /// memory and of owned guards. Looks who holds guards, and [reports](crate::report_old_guards) those that are old.
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

    /// Pushes reclamation on as far as that goes without waiting: asks for a grace period for all that was freed, and
    /// drops what nobody can hold any more, on this thread. Gives back the free memory that the thread keeps.
    pub fn flush(&self) {
        self.core.lists.flush_all::<R>();
        self.core.lists.look::<R>();
        self.core.flush_pool();
    }

    /// Waits until all that was freed before the call has been dropped. Waits for every guard of the same backend that
    /// exists when it is called, in this or any other store, [owned](Self::pin_owned) ones included, and for a `Drop`
    /// that another thread is running for this store.
    ///
    /// # Errors
    ///
    /// If the wait could not end: [`SyncError::Pinned`] when this thread holds a guard (an owned guard cannot be told
    /// whose it is: do not hold one), [`SyncError::Reclaiming`] when called from a `Drop` that a store runs. If it may never
    /// end, after some tries: [`SyncError::NoBarrier`] when reclamation stands still for want of a barrier,
    /// [`SyncError::Forked`] in the child of a fork. What could be dropped was.
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

/// Drops all values: those that live, and those that were freed and not dropped yet. If another thread is dropping some of
/// these (as it looks after what was left behind), waits for it; if this thread is, in whose midst the store goes, the rest is
/// dropped when it is done.
impl<R: Reclaim> Drop for ShadowStore<R> {
    fn drop(&mut self) {
        let may_go = self.core.lists.delist();
        // SAFETY: once, as the store goes.
        let core = unsafe { ManuallyDrop::take(&mut self.core) };
        if may_go {
            return drop(core);
        }
        match try_box(MaybeUninit::<Self>::uninit()) {
            // To be dropped once more, as a store.
            Some(place) => {
                let store: Box<Self> = Box::write(place, Self::from_core(core));
                stores::leave_over(store);
            }
            // Nowhere to put it: it stays for good, as dropping it now would take what is being dropped away.
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
