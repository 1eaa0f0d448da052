//! Memory for small nodes: packed in chunks of their size class, and cached by the thread that freed it last.
//!
//! A general allocator puts a header before each node and lets every fourth node span two cache lines; look-ups that miss the
//! caches pay for both. Here a node of 32 bytes takes 32 bytes, two to a line. The scheme is that of Bonwick and Adams,
//! "Magazines and Vmem" (USENIX 2001): each shard of threads has a magazine for each class, and a depot behind all of them
//! owns the chunks.
//!
//! - **M1** Memory is in one place: with its user, in one magazine, in its chunk's list or one of its runs, or never given out
//!   (beyond the chunk's `fresh`).
//! - **M2** A magazine is used by the thread that owns its shard, or under the pool's lock if the shard is shared ([`Shard`]).
//! - **M3** Chunks are only accessed under their depot's lock. A chunk whose memory is all back in its list is returned to the
//!   system, except for one, which is cached for the next request. The first chunks of a class are small, each twice the one
//!   before, so that a small store takes little memory.
//! - **M4** An owner's changes to its magazine leave it consistent after every prefix of its stores, except for lost memory
//!   and a wrong count of the list: so the place of an owner that does not exist after a fork can be given to another thread
//!   (F4 of [`fork`]). Locks are taken inside a [section](fork::section), for which a fork waits (F2).
//!
//! Shards get their magazines when a store is used more than a few times; until then, and if there is no memory for them, each
//! node is allocated from and freed to the depot.
//!
//! Progress: like any allocator. Mostly a few instructions of the thread's own; once per magazine a lock.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use self::depot::Depot;
use self::magazine::{FreeNode, Magazine, STEP};
use crate::fork;
use crate::mem::try_box;
use crate::shard::{PerShard, Shard};
use crate::sync::stat::{AtomicPtr, AtomicU64, Mutex};
use crate::sync::{Ordering, lock_stat};

mod depot;
mod magazine;

/// Larger nodes are allocations of their own.
const LARGEST: usize = 128;
const CLASSES: usize = LARGEST / STEP;

/// Bytes of a full list of a magazine. A magazine has at most two: more than a batch of retired nodes frees at once, as
/// otherwise threads would exchange nodes by the depot, and wait for each other's cache lines.
pub(crate) const MAGAZINE: usize = 1 << 16;

/// A layout, and its class if it has one. Two whole words, as a struct with padding is copied byte by byte.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    bytes: usize,
    /// The class in the low byte; above, the logarithm of the alignment plus one.
    kind: NonZeroUsize,
}

impl Size {
    /// Creates the size of a layout whose size is not 0.
    pub(crate) const fn of(layout: Layout) -> Self {
        let small = layout.size() <= LARGEST && layout.align() <= STEP;
        let class = if small {
            layout.size().div_ceil(STEP) - 1
        } else {
            u8::MAX as usize
        };
        let align = layout.align().trailing_zeros() as usize;
        Self {
            bytes: layout.size(),
            kind: NonZeroUsize::MIN.saturating_add(((align + 1) << 8 | class) - 1),
        }
    }

    pub(crate) const fn bytes(self) -> usize {
        self.bytes
    }

    #[inline]
    const fn class(self) -> usize {
        self.kind.get() & u8::MAX as usize
    }

    const fn layout(self) -> Layout {
        // SAFETY: the size and alignment of the layout that this was made from.
        unsafe { Layout::from_size_align_unchecked(self.bytes, 1 << ((self.kind.get() >> 8) - 1)) }
    }

    /// Returns whether a pool that packs allocates this from its chunks.
    pub(crate) const fn is_packed(self) -> bool {
        self.class() < CLASSES
    }
}

/// The pool of one store.
pub(crate) struct Pool {
    magazines: PerShard<CachePadded<[MagazineCell; CLASSES]>>,
    /// Held by a thread that uses the magazines of the last shard (M2).
    shared: Mutex<()>,
    /// Created when a class is first used.
    depots: [AtomicPtr<Mutex<Depot>>; CLASSES],
    /// Allocations and frees that bypassed magazines, because the shard had none.
    direct: AtomicU64,
    /// How many classes are packed: all, or none. If none, each node is an allocation of its own, which memory checkers can
    /// follow.
    classes: usize,
}

/// Operations that go to the depots before shards get magazines, which would be the largest part of a store of a few
/// variables.
const FEW: u64 = 16;

// SAFETY: magazines and chunks are memory that the pool owns, used as M2 and M3 require.
unsafe impl Send for Pool {}
// SAFETY: as for `Send`.
unsafe impl Sync for Pool {}

/// A magazine that belongs to the calling thread for as long as its shard does (M2).
#[derive(Clone, Copy)]
pub(crate) struct OwnedMagazine {
    pool: NonNull<Pool>,
    class: usize,
    magazine: *mut Magazine,
}

// SAFETY: used by the thread that has the shard, which may change (M2).
unsafe impl Send for OwnedMagazine {}

/// Whether the caller is in a [section](fork::section) already.
#[derive(Clone, Copy)]
struct InSection(bool);

/// The magazine of one class and one shard.
struct MagazineCell(UnsafeCell<Magazine>);

impl MagazineCell {
    fn new(class: usize) -> Self {
        Self(UnsafeCell::new(Magazine::new(MAGAZINE / ((class + 1) * STEP))))
    }
}

impl Pool {
    pub(crate) fn new(shards: usize, packed: bool) -> Self {
        // Loom and Miri track each allocation by itself.
        let packed = packed && !cfg!(any(shadow_loom, miri));
        Self {
            magazines: PerShard::new(shards),
            shared: Mutex::new(()),
            depots: [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES],
            direct: AtomicU64::new(0),
            classes: if packed { CLASSES } else { 0 },
        }
    }

    /// Returns whether small nodes are in chunks.
    pub(crate) fn packs(&self) -> bool {
        self.classes > 0
    }

    /// Allocates memory of this size. Returns `None` if allocation fails.
    #[inline]
    pub(crate) fn alloc(&self, size: Size, shard: Shard) -> Option<NonNull<u8>> {
        let class = size.class();
        if class >= self.classes {
            // SAFETY: the size is not 0.
            return NonNull::new(unsafe { alloc(size.layout()) });
        }
        let Some(magazine) = self.own_magazine(class, shard) else {
            return self.alloc_slow(class, shard);
        };
        // SAFETY: this thread has the magazine of this class (M2), and the borrow ends here.
        if let Some(memory) = unsafe { (*magazine).pop_any(class) } {
            return Some(memory);
        }
        self.alloc_slow(class, shard)
    }

    /// Allocates on the slow path: the thread's own magazine is empty, or there is none.
    #[inline(never)]
    fn alloc_slow(&self, class: usize, shard: Shard) -> Option<NonNull<u8>> {
        match self.magazine(class, shard).or_else(|| self.make_magazine(class, shard)) {
            // SAFETY: this thread has the magazine of this class in there (M2).
            Some(magazine) => self.with_magazine(magazine, shard, |magazine, inside| unsafe {
                self.pop_or_refill(class, magazine, inside)
            }),
            None => {
                let mut one = Magazine::new(1);
                self.at_depot(class, InSection(false), |depot| depot.fill(&mut one))?;
                // SAFETY: filled by the depot of this class.
                unsafe { one.pop_any(class) }
            }
        }
    }

    /// Frees memory.
    ///
    /// # Safety
    ///
    /// The memory came from [`alloc`](Self::alloc) of this pool with this size, and is not used any more.
    #[inline]
    pub(crate) unsafe fn dealloc(&self, memory: NonNull<u8>, size: Size, shard: Shard) {
        let class = size.class();
        if class >= self.classes {
            // SAFETY: the caller guarantees that `alloc` returned it for this size: then it is an allocation of its own.
            return unsafe { dealloc(memory.as_ptr(), size.layout()) };
        }
        match self.own_magazine(class, shard) {
            // SAFETY: this thread has the magazine; the caller guarantees that the memory is free.
            Some(magazine) => unsafe { self.push(class, magazine, memory, InSection(false)) },
            // SAFETY: the caller guarantees that the memory is free.
            None => unsafe { self.dealloc_slow(memory, class, shard) },
        }
    }

    /// Frees on the slow path: the thread has no magazine of its own.
    ///
    /// # Safety
    ///
    /// Same as [`dealloc`](Self::dealloc).
    #[inline(never)]
    unsafe fn dealloc_slow(&self, memory: NonNull<u8>, class: usize, shard: Shard) {
        match self.magazine(class, shard).or_else(|| self.make_magazine(class, shard)) {
            // SAFETY: this thread has the magazine in there; the caller guarantees that the memory is free.
            Some(magazine) => self.with_magazine(magazine, shard, |magazine, inside| unsafe {
                self.push(class, magazine, memory, inside);
            }),
            // SAFETY: the caller guarantees that the memory is free; it is large enough and aligned for a link.
            None => unsafe {
                let memory = memory.cast::<FreeNode>();
                memory.write(FreeNode { next: ptr::null_mut() });
                self.put_list(class, memory, InSection(false));
            },
        }
    }

    /// Returns the magazine to which memory of this size is freed, if it is the thread's own: for freeing many nodes.
    #[inline]
    pub(crate) fn own_magazine_for(&self, size: Size, shard: Shard) -> Option<OwnedMagazine> {
        let class = size.class();
        if class >= self.classes {
            return None;
        }
        Some(OwnedMagazine {
            pool: NonNull::from(self),
            class,
            magazine: self.own_magazine(class, shard)?,
        })
    }

    /// Returns the thread's own magazine of a class that is packed, if there is one.
    #[inline(always)]
    fn own_magazine(&self, class: usize, shard: Shard) -> Option<*mut Magazine> {
        if shard.is_own() {
            self.magazine(class, shard)
        } else {
            None
        }
    }

    /// Returns the shard's magazine of a class that is packed, if there is one.
    #[inline(always)]
    fn magazine(&self, class: usize, shard: Shard) -> Option<*mut Magazine> {
        self.magazines.get(shard).map(|magazines| magazines[class].0.get())
    }

    /// Creates the shard's magazines, if enough operations went to the depots and there is memory for them; returns the one of
    /// this class.
    fn make_magazine(&self, class: usize, shard: Shard) -> Option<*mut Magazine> {
        // Relaxed: a heuristic.
        if self.direct.fetch_add(1, Ordering::Relaxed) < FEW {
            return None;
        }
        let magazines = (self.magazines).make(shard, || CachePadded::new(std::array::from_fn(MagazineCell::new)))?;
        Some(magazines[class].0.get())
    }

    /// Puts memory into a magazine, and a full list of it into the depot.
    ///
    /// # Safety
    ///
    /// This thread has the magazine (M2), which is of this class. Otherwise same as [`dealloc`](Self::dealloc).
    #[inline(always)]
    unsafe fn push(&self, class: usize, magazine: *mut Magazine, memory: NonNull<u8>, inside: InSection) {
        // SAFETY: this thread has the magazine, and the borrow ends here; the caller guarantees that the memory is free.
        if let Some(full) = unsafe { (*magazine).push(memory.cast()) } {
            // SAFETY: a full list of this class, owned by this function now.
            unsafe { self.put_list(class, full, inside) };
        }
    }

    /// Returns all chunks to the system.
    ///
    /// # Safety
    ///
    /// No memory of this pool is in use, nor allocated from now on.
    pub(crate) unsafe fn release(&self) {
        for depot in self.existing_depots() {
            // SAFETY: the caller guarantees that no memory is in use.
            unsafe { lock_stat(depot).release_all() };
        }
    }

    /// Calls `f` with a shard's magazine, under the lock if the shard is shared.
    #[inline(always)]
    fn with_magazine<T>(
        &self,
        magazine: *mut Magazine,
        shard: Shard,
        f: impl FnOnce(*mut Magazine, InSection) -> T,
    ) -> T {
        if shard.is_own() {
            return f(magazine, InSection(false));
        }
        let _section = fork::section();
        let _lock = lock_stat(&self.shared);
        f(magazine, InSection(true))
    }

    /// Pops memory from a magazine, which is refilled if it is empty.
    ///
    /// # Safety
    ///
    /// This thread has the magazine (M2), which is of this class.
    unsafe fn pop_or_refill(&self, class: usize, magazine: *mut Magazine, inside: InSection) -> Option<NonNull<u8>> {
        // SAFETY: the caller guarantees that this thread has the magazine; nothing below uses it otherwise.
        let magazine = unsafe { &mut *magazine };
        // SAFETY: the caller guarantees that the magazine is of this class, as is the depot that fills it.
        unsafe {
            magazine.pop_any(class).or_else(|| {
                self.at_depot(class, inside, |depot| depot.fill(magazine))?;
                magazine.pop_any(class)
            })
        }
    }

    /// Returns a list to its depot.
    ///
    /// # Safety
    ///
    /// The list is of this class, and owned by the caller.
    #[cold]
    unsafe fn put_list(&self, class: usize, full: NonNull<FreeNode>, inside: InSection) {
        // SAFETY: the caller guarantees that the list is of this class and its own.
        let done = self.at_depot(class, inside, |depot| unsafe {
            depot.put_list(full);
            Some(())
        });
        debug_assert!(done.is_some(), "of a depot that gave it out");
    }

    /// Returns the memory cached by this thread to the depots: all of it, or that of classes that are mostly free. A magazine
    /// can keep many chunks from being freed, by one node each.
    pub(crate) fn flush(&self, shard: Shard, all: bool) {
        let Some(magazines) = self.magazines.get(shard) else {
            return;
        };
        for (class, magazine) in magazines[..self.classes].iter().enumerate() {
            self.with_magazine(magazine.0.get(), shard, |magazine, inside| {
                // SAFETY: this thread has the magazine (M2), and nothing below uses it otherwise.
                let magazine = unsafe { &mut *magazine };
                if magazine.is_empty() {
                    return;
                }
                self.at_depot(class, inside, |depot| {
                    if all || depot.is_mostly_free() {
                        // SAFETY: a magazine of this class, and so of this depot.
                        unsafe { depot.take_back(magazine) };
                    }
                    Some(())
                });
            });
        }
    }

    /// Calls `f` with a class's depot, created now if there is none, under its lock. Returns `None` if allocation fails.
    fn at_depot<T>(&self, class: usize, inside: InSection, f: impl FnOnce(&mut Depot) -> Option<T>) -> Option<T> {
        let _section = (!inside.0).then(fork::section);
        let slot = &self.depots[class];
        // Acquire: pairs with the exchange below.
        if slot.load(Ordering::Acquire).is_null() {
            let fresh = Box::into_raw(try_box(Mutex::new(Depot::new((class + 1) * STEP)))?);
            // AcqRel: Release publishes it; Acquire on failure, for the winner's.
            let made = slot.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
            if made.is_err() {
                // SAFETY: allocated above, and never shared.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        // SAFETY: not null by now; freed when the pool is dropped.
        f(&mut lock_stat(unsafe { &*slot.load(Ordering::Acquire) }))
    }

    /// Returns the depots that have been created.
    fn existing_depots(&self) -> impl Iterator<Item = &Mutex<Depot>> {
        // SAFETY: null, or a depot that is freed when the pool is dropped.
        let made = |slot: &AtomicPtr<Mutex<Depot>>| unsafe { slot.load(Ordering::Acquire).as_ref() };
        self.depots.iter().filter_map(made)
    }

    /// Returns the bytes of the chunks, and of the free memory in them, not counting what magazines hold.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        // All are locked at once, as memory moves from one to another through the system: read one after the other, they could
        // count it twice. They are locked in order, and no other thread holds two.
        let _section = fork::section();
        let mut depots = [const { None }; CLASSES];
        for (locked, depot) in depots.iter_mut().zip(self.existing_depots()) {
            *locked = Some(lock_stat(depot));
        }
        let sums = depots.iter().flatten().map(|depot| depot.bytes());
        let (bytes, used) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (bytes, bytes - used)
    }
}

impl OwnedMagazine {
    /// Like [`Pool::dealloc`], into this magazine.
    ///
    /// # Safety
    ///
    /// Same as [`Pool::dealloc`], with the size for which this was obtained; this thread has the shard, and the pool exists.
    #[inline(always)]
    pub(crate) unsafe fn dealloc(self, memory: NonNull<u8>) {
        // SAFETY: the caller guarantees that this thread has the magazine, and that the memory is free.
        unsafe {
            self.pool
                .as_ref()
                .push(self.class, self.magazine, memory, InSection(false))
        };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool is owned, so none of its memory is in use.
        unsafe { self.release() };
        for depot in &mut self.depots {
            if let Some(depot) = NonNull::new(*depot.get_mut()) {
                // SAFETY: created by `at_depot`, and published once.
                drop(unsafe { Box::from_raw(depot.as_ptr()) });
            }
        }
    }
}
