//! The store: every operation in a form that takes its own guard.

use std::fmt;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::sync::OnceLock;
use std::time::Duration;

use crate::as_variable::AsVariable;
use crate::as_variable::private::{Entry, Within};
use crate::config::Builder;
use crate::entry::IdEntry;
use crate::error::{BuildError, StoreError, SyncError};
use crate::guard::{self, LocalGuard};
use crate::mem::try_box;
use crate::reclaim::{Asymmetric, Reclaim, Stuck, retired, stores};
use crate::stats::{IdStats, Stats};
use crate::table::Core;
use crate::tally::Counted;

/// A store of shadow variables: values attached to objects from outside, and found by `<address, id>`.
///
/// Variables are read and changed under a guard, which [`pin`](Self::pin) returns: see [`Pinned`](crate::Pinned), which
/// documents each operation in full. For one operation, `store.pin().free(object, ID)`. Any number of threads may do so at
/// once. The [table of operations](crate::docs::operations) lists what each one guarantees.
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
/// store.pin().alloc(&*session, HITS, 3)?;
/// assert_eq!(store.pin().get(&*session, HITS).cloned(), Some(3));
/// assert!(store.pin().free(&*session, HITS));
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

impl<R: Reclaim> Builder<R> {
    /// Builds the store.
    ///
    /// # Errors
    ///
    /// [`BuildError::CapacityTooLarge`] if no table could address that many variables, [`BuildError::OutOfMemory`] if the
    /// first table cannot be allocated.
    pub fn build(self) -> Result<ShadowStore<R>, BuildError> {
        Ok(ShadowStore::from_core(self.core()?))
    }
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
    pub fn len_of<'g, V: AsVariable<'g, R>>(&'g self, variable: V) -> usize {
        match variable.known(Within(self.core())) {
            Some(Entry { core, entry }) => core.nodes.live_of(entry.counts()) as usize,
            None => 0,
        }
    }

    /// Returns the number of slots of the current table, which is replaced when three quarters of them have been claimed.
    /// Wait-free.
    pub fn capacity(&self) -> usize {
        let guard = LocalGuard::hold();
        self.core.root(guard::shield(&guard)).capacity()
    }

    /// Sets the function that weighs the values of an id: `bytes` returns how much memory a value owns in addition to its
    /// own size, which the store cannot see.
    ///
    /// The weight counts in [`Stats::retired_bytes`] while a freed value waits to be dropped, and 64 KiB of weight close
    /// a batch, so heavy values do not have to wait until many others have been freed. Binds the id to its type, as its
    /// first `alloc` would. Replaces the function that was set before; `None` removes it. Progress is as for
    /// [`Variable::new`](crate::Variable::new).
    ///
    /// ```
    /// use shadow_vars::{ShadowId, ShadowStore};
    ///
    /// const BODY: ShadowId<Vec<u8>> = ShadowId::new(1);
    /// let store = ShadowStore::new();
    /// store.weigh(BODY, Some(Vec::capacity))?;
    ///
    /// let request = 7_u32;
    /// store.pin().alloc(&request, BODY, vec![0; 1 << 20]).unwrap();
    /// let reader = store.pin();
    /// store.pin().free(&request, BODY);
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
    pub fn weigh<'g, V: AsVariable<'g, R>>(
        &'g self,
        variable: V,
        bytes: Option<fn(&V::Value) -> usize>,
    ) -> Result<(), StoreError> {
        let bound = variable.bind(Within(self.core()))?;
        // SAFETY: `AsVariable` is sealed: the entry holds the type of its values.
        unsafe { bound.entry.weigh_by(bytes) };
        Ok(())
    }

    /// Moves the variables into the smallest table that holds them, but not below the capacity the store was built with,
    /// and finishes a running migration. Gives back the free memory that the calling thread keeps.
    ///
    /// Lock-free; takes time proportional to the size of the table, and other operations continue meanwhile. The table
    /// also shrinks by itself as variables are freed. If there is no memory for the new table, the old one stays.
    pub fn shrink_to_fit(&self) {
        let guard = LocalGuard::hold();
        let _ = self.core.shrink(guard::shield(&guard));
        self.core.flush_pool();
    }

    /// Returns the store's counters. The numbers of created and freed variables, of all ids, are exact for one instant,
    /// as for [`len`](Self::len); each of the others is read at an instant of its own.
    ///
    /// Takes time proportional to the number of ids. Allocates, and takes the short locks of the store's memory and of
    /// owned guards. Also checks for old guards, and [reports](crate::report_old_guards) them.
    pub fn stats(&self) -> Stats {
        let old = R::old_guards();
        let guard = LocalGuard::hold();
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
        let root = core.root(guard::shield(&guard));
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
