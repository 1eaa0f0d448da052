//! Memory for small nodes: packed, in chunks of their size class, and kept by the thread that gave it back last.
//!
//! A general allocator puts a header before each node and lets every fourth one lie in two cache lines; look-ups that miss
//! the caches pay for both. Here a node of 32 bytes takes 32 bytes, two to a line. The scheme is that of Bonwick and Adams,
//! "Magazines and Vmem" (USENIX 2001): each shard of threads has a magazine for each class, and a depot behind all of them
//! owns the chunks.
//!
//! - **M1** Memory is in one place: with its user, in one magazine, in its chunk's list or one of its runs, or never given
//!   out (beyond the chunk's `fresh`).
//! - **M2** A magazine is used by the thread that owns its shard, or under the pool's lock if the shard is shared ([`Shard`]).
//! - **M3** Chunks are only touched under their depot's lock. A chunk whose memory is all back in its list goes back to the
//!   system, but for one, which is kept for the next that asks.
//!   A class begins with small chunks, each twice the one before, so that what holds little takes little.
//! - **M4** What an owner changes in its magazine is whole after every prefix of its stores, but for lost memory and a wrong
//!   count of the list: so a place whose owner a fork left behind can be given to another thread (F4 of
//!   [`fork`]). Locks are taken inside a [section](fork::section), which a fork waits for (F2).
//!
//! Shards get their magazines when a store is used more than a few times; until then, and where there is no memory for them,
//! each piece of memory goes by its depot.
//!
//! Progress: as any allocator's. Mostly a few instructions of the thread's own; once in a magazine's length a lock.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use self::depot::Depot;
use crate::fork;
use crate::mem::try_box;
use crate::shard::{PerShard, Shard};
use crate::sync::stat::{AtomicPtr, AtomicU64, Mutex};
use crate::sync::{Ordering, compiler_fence, lock_stat};

mod depot;

/// Sizes are rounded up to this, and no stricter alignment is packed.
const STEP: usize = 16;
/// Larger nodes have allocations of their own.
const LARGEST: usize = 128;
const CLASSES: usize = LARGEST / STEP;

/// Bytes of a full magazine. A shard keeps two at most: more than a batch of retired nodes gives back at once, or threads
/// would exchange nodes by the depot, and wait for each other's cache lines.
pub(crate) const MAGAZINE: usize = 1 << 16;

/// What is asked for: a layout, and its class, or one that is none. In two whole words, as one with padding is copied byte by
/// byte.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    bytes: usize,
    /// The class in the low byte; above, the logarithm of the alignment, and one more.
    kind: NonZeroUsize,
}

impl Size {
    /// Of a layout whose size is not 0.
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
        // SAFETY: that of the layout that this was made of.
        unsafe { Layout::from_size_align_unchecked(self.bytes, 1 << ((self.kind.get() >> 8) - 1)) }
    }

    /// Whether a pool that packs has this in its chunks.
    pub(crate) const fn is_packed(self) -> bool {
        self.class() < CLASSES
    }
}

/// The pool of one store.
pub(crate) struct Pool {
    magazines: PerShard<CachePadded<[Magazine; CLASSES]>>,
    /// Held by whoever uses the last shard's (M2).
    shared: Mutex<()>,
    /// Made when there is something to keep.
    depots: [AtomicPtr<Mutex<Depot>>; CLASSES],
    /// What went by the depots because the shard had no magazines.
    direct: AtomicU64,
    /// How many classes are packed: all, or none: then each node is an allocation of its own, which memory checkers can
    /// follow.
    classes: usize,
}

/// What goes by the depots before shards get magazines, which would be the most that a store of a few variables has.
const FEW: u64 = 16;

// SAFETY: magazines and chunks are memory that the pool owns, used as M2 and M3 say.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// A magazine that is the calling thread's own for as long as its shard is (M2).
#[derive(Clone, Copy)]
pub(crate) struct Own {
    pool: NonNull<Pool>,
    class: usize,
    stock: *mut Stock,
}

// SAFETY: used by the thread that has the shard, which may change (M2).
unsafe impl Send for Own {}

/// Whether the caller is in a [section](fork::section) already.
#[derive(Clone, Copy)]
struct Inside(bool);

/// Free memory, linked.
struct Free {
    next: *mut Free,
}

/// The free memory of one class that one shard has at hand.
struct Magazine(UnsafeCell<Stock>);

struct Stock {
    first: *mut Free,
    /// Of `first`, or about (M4).
    count: usize,
    /// How many a full list has.
    full: usize,
    /// A full list, or none.
    spare: *mut Free,
    /// Memory that was never used, and its end.
    fresh: *mut u8,
    end: *mut u8,
}

impl Magazine {
    fn new(class: usize) -> Self {
        Self(UnsafeCell::new(Stock::new(MAGAZINE / ((class + 1) * STEP))))
    }
}

impl Pool {
    pub(crate) fn new(shards: usize, packed: bool) -> Self {
        // Loom and Miri follow each allocation by itself.
        let packed = packed && !cfg!(any(shadow_loom, miri));
        Self {
            magazines: PerShard::new(shards),
            shared: Mutex::new(()),
            depots: [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES],
            direct: AtomicU64::new(0),
            classes: if packed { CLASSES } else { 0 },
        }
    }

    /// Whether small nodes lie in chunks.
    pub(crate) fn packs(&self) -> bool {
        self.classes > 0
    }

    /// Memory of this size. Nothing if there is none.
    #[inline]
    pub(crate) fn alloc(&self, size: Size, shard: Shard) -> Option<NonNull<u8>> {
        let class = size.class();
        if class >= self.classes {
            // SAFETY: the size is not 0.
            return NonNull::new(unsafe { alloc(size.layout()) });
        }
        let Some(stock) = self.own_stock(class, shard) else {
            return self.alloc_on(class, shard);
        };
        // SAFETY: this thread has the magazine (M2), and the borrow ends here.
        if let Some(memory) = unsafe { &mut *stock }.pop_any(class) {
            return Some(memory);
        }
        self.alloc_on(class, shard)
    }

    /// Where there is nothing in the thread's own magazine.
    #[inline(never)]
    fn alloc_on(&self, class: usize, shard: Shard) -> Option<NonNull<u8>> {
        match self.stock(class, shard).or_else(|| self.make_stock(class, shard)) {
            Some(stock) => self.with(stock, shard, |stock, inside| self.pop_or_refill(class, stock, inside)),
            None => {
                let mut one = Stock::new(1);
                self.at_depot(class, Inside(false), |depot| depot.take(&mut one))?;
                one.pop_any(class)
            }
        }
    }

    /// Takes memory back.
    ///
    /// # Safety
    ///
    /// It came from [`alloc`](Self::alloc) of this pool with this size, and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn dealloc(&self, memory: NonNull<u8>, size: Size, shard: Shard) {
        let class = size.class();
        if class >= self.classes {
            // SAFETY: the caller's; of this size `alloc` makes an allocation of its own.
            return unsafe { dealloc(memory.as_ptr(), size.layout()) };
        }
        match self.own_stock(class, shard) {
            // SAFETY: this thread has the magazine; the caller's.
            Some(stock) => unsafe { self.give(class, stock, memory, Inside(false)) },
            // SAFETY: the caller's.
            None => unsafe { self.dealloc_on(memory, class, shard) },
        }
    }

    /// Where the thread has no magazine of its own.
    ///
    /// # Safety
    ///
    /// As [`dealloc`](Self::dealloc).
    #[inline(never)]
    unsafe fn dealloc_on(&self, memory: NonNull<u8>, class: usize, shard: Shard) {
        match self.stock(class, shard).or_else(|| self.make_stock(class, shard)) {
            // SAFETY: this thread has the magazine in there; the caller's.
            Some(stock) => self.with(stock, shard, |stock, inside| unsafe {
                self.give(class, stock, memory, inside);
            }),
            // SAFETY: the caller's memory, by itself, which is large enough and aligned for a link.
            None => unsafe {
                let memory = memory.cast::<Free>();
                memory.write(Free { next: ptr::null_mut() });
                self.put(class, memory, Inside(false));
            },
        }
    }

    /// Where memory of this size goes to, if that is the thread's own magazine: for many at once.
    #[inline]
    pub(crate) fn own(&self, size: Size, shard: Shard) -> Option<Own> {
        let class = size.class();
        if class >= self.classes {
            return None;
        }
        Some(Own {
            pool: NonNull::from(self),
            class,
            stock: self.own_stock(class, shard)?,
        })
    }

    /// The magazine that is the thread's own, if there is one, of a class that is packed.
    #[inline(always)]
    fn own_stock(&self, class: usize, shard: Shard) -> Option<*mut Stock> {
        if shard.is_own() { self.stock(class, shard) } else { None }
    }

    /// The shard's magazine, if it has any, of a class that is packed.
    #[inline(always)]
    fn stock(&self, class: usize, shard: Shard) -> Option<*mut Stock> {
        self.magazines.get(shard).map(|magazines| magazines[class].0.get())
    }

    /// The shard's magazine, made now, if enough went by the depots and there is memory for it.
    fn make_stock(&self, class: usize, shard: Shard) -> Option<*mut Stock> {
        // Relaxed: a guess.
        if self.direct.fetch_add(1, Ordering::Relaxed) < FEW {
            return None;
        }
        let magazines = (self.magazines).make(shard, || CachePadded::new(std::array::from_fn(Magazine::new)))?;
        Some(magazines[class].0.get())
    }

    /// # Safety
    ///
    /// This thread has the magazine (M2), which is of this class; as [`dealloc`](Self::dealloc).
    #[inline(always)]
    unsafe fn give(&self, class: usize, stock: *mut Stock, memory: NonNull<u8>, inside: Inside) {
        // SAFETY: this thread has the magazine, and the borrow ends here; the memory is the caller's to give.
        if let Some(full) = unsafe { (*stock).push(memory.cast()) } {
            // SAFETY: a full list of this class, which is nobody's now.
            unsafe { self.put(class, full, inside) };
        }
    }

    /// Gives all chunks back.
    ///
    /// # Safety
    ///
    /// Nobody uses memory of this pool, nor asks for any from now on.
    pub(crate) unsafe fn release(&self) {
        for depot in self.made() {
            // SAFETY: the caller's.
            unsafe { lock_stat(depot).release_all() };
        }
    }

    /// Works with a shard's magazine.
    #[inline(always)]
    fn with<T>(&self, stock: *mut Stock, shard: Shard, with: impl FnOnce(*mut Stock, Inside) -> T) -> T {
        if shard.is_own() {
            return with(stock, Inside(false));
        }
        let _section = fork::section();
        let _lock = lock_stat(&self.shared);
        with(stock, Inside(true))
    }

    /// Memory of a magazine's, which gets more if it has none.
    fn pop_or_refill(&self, class: usize, stock: *mut Stock, inside: Inside) -> Option<NonNull<u8>> {
        // SAFETY: this thread has the magazine (M2), and nothing below uses it otherwise.
        let stock = unsafe { &mut *stock };
        stock.pop_any(class).or_else(|| {
            self.at_depot(class, inside, |depot| depot.take(stock))?;
            stock.pop_any(class)
        })
    }

    /// Gives a full list back to its depot.
    ///
    /// # Safety
    ///
    /// It is of this class, and nobody's.
    #[cold]
    unsafe fn put(&self, class: usize, full: NonNull<Free>, inside: Inside) {
        // SAFETY: the caller's.
        let put = self.at_depot(class, inside, |depot| unsafe {
            depot.put(full);
            Some(())
        });
        debug_assert!(put.is_some(), "of a depot that gave it out");
    }

    /// Gives back to the depots what this thread has at hand: all of it, or of those classes of which little is in use. What
    /// a magazine keeps may keep many chunks, each by a node.
    pub(crate) fn settle(&self, shard: Shard, all: bool) {
        let Some(magazines) = self.magazines.get(shard) else {
            return;
        };
        for (class, magazine) in magazines[..self.classes].iter().enumerate() {
            self.with(magazine.0.get(), shard, |stock, inside| {
                // SAFETY: this thread has the magazine (M2), and nothing below uses it otherwise.
                let stock = unsafe { &mut *stock };
                if stock.is_empty() {
                    return;
                }
                self.at_depot(class, inside, |depot| {
                    if all || depot.is_mostly_free() {
                        // SAFETY: a magazine of this class, and so of this depot.
                        unsafe { depot.take_back(stock) };
                    }
                    Some(())
                });
            });
        }
    }

    /// Works on a class's depot, made now if there is none, under its lock. Nothing if there is no memory.
    fn at_depot<T>(&self, class: usize, inside: Inside, work: impl FnOnce(&mut Depot) -> Option<T>) -> Option<T> {
        let _section = (!inside.0).then(fork::section);
        let slot = &self.depots[class];
        // Acquire: pairs with the exchange below.
        if slot.load(Ordering::Acquire).is_null() {
            let fresh = Box::into_raw(try_box(Mutex::new(Depot::new((class + 1) * STEP)))?);
            // AcqRel: Release publishes it; Acquire on failure, for that of whoever was first.
            let made = slot.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
            if made.is_err() {
                // SAFETY: made above, and never shared.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        // SAFETY: not null by now; freed by the pool's drop only.
        work(&mut lock_stat(unsafe { &*slot.load(Ordering::Acquire) }))
    }

    /// The depots that there are.
    fn made(&self) -> impl Iterator<Item = &Mutex<Depot>> {
        // Acquire: pairs with the exchange in `at_depot`.
        // SAFETY: null, or as there.
        let made = |slot: &AtomicPtr<Mutex<Depot>>| unsafe { slot.load(Ordering::Acquire).as_ref() };
        self.depots.iter().filter_map(made)
    }

    /// Bytes of the chunks, and of what is free in them; what magazines have is not.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        // All at once, as memory goes from one to another by the system: read apart, they could have it twice. In order, as
        // nobody else holds two.
        let _section = fork::section();
        let mut depots = [const { None }; CLASSES];
        for (locked, depot) in depots.iter_mut().zip(self.made()) {
            *locked = Some(lock_stat(depot));
        }
        let sums = depots.iter().flatten().map(|depot| depot.bytes());
        let (bytes, used) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (bytes, bytes - used)
    }
}

impl Own {
    /// As [`Pool::dealloc`].
    ///
    /// # Safety
    ///
    /// As there, for the size that this was asked for; this thread has the shard, and the pool is still there.
    #[inline(always)]
    pub(crate) unsafe fn dealloc(self, memory: NonNull<u8>) {
        // SAFETY: the caller's.
        unsafe { self.pool.as_ref().give(self.class, self.stock, memory, Inside(false)) };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: nobody has the pool.
        unsafe { self.release() };
        for depot in &mut self.depots {
            if let Some(depot) = NonNull::new(*depot.get_mut()) {
                // SAFETY: made by `at_depot`, and published once.
                drop(unsafe { Box::from_raw(depot.as_ptr()) });
            }
        }
    }
}

/// What comes before is stored before what comes after (M4).
#[inline(always)]
fn in_this_order() {
    compiler_fence(Ordering::SeqCst);
}

impl Stock {
    fn new(full: usize) -> Self {
        Self {
            first: ptr::null_mut(),
            count: 0,
            full,
            spare: ptr::null_mut(),
            fresh: ptr::null_mut(),
            end: ptr::null_mut(),
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_null() && self.spare.is_null() && self.fresh == self.end
    }

    /// Of the list.
    #[inline]
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: in a magazine's list, so it is free and linked (M1).
        self.first = unsafe { first.as_ref() }.next;
        // The count may be wrong (M4).
        self.count = self.count.wrapping_sub(1);
        Some(first.cast())
    }

    /// Of whatever there is.
    #[inline]
    fn pop_any(&mut self, class: usize) -> Option<NonNull<u8>> {
        if let Some(memory) = self.pop() {
            return Some(memory);
        }
        if let Some(spare) = NonNull::new(std::mem::replace(&mut self.spare, ptr::null_mut())) {
            in_this_order();
            // SAFETY: as in `pop`.
            self.first = unsafe { spare.as_ref() }.next;
            self.count = self.full - 1;
            return Some(spare.cast());
        }
        if self.fresh == self.end {
            return None;
        }
        let fresh = NonNull::new(self.fresh);
        // SAFETY: a whole number of this class lies between the two.
        self.fresh = unsafe { self.fresh.add((class + 1) * STEP) };
        fresh
    }

    /// Adds to the list. A full one, if there are two then.
    #[inline]
    fn push(&mut self, free: NonNull<Free>) -> Option<NonNull<Free>> {
        let full = if self.count >= self.full {
            self.count = 0;
            let first = std::mem::replace(&mut self.first, ptr::null_mut());
            in_this_order();
            NonNull::new(std::mem::replace(&mut self.spare, first))
        } else {
            None
        };
        // SAFETY: the caller's memory, which is large enough and aligned for a link.
        unsafe { free.write(Free { next: self.first }) };
        in_this_order();
        self.first = free.as_ptr();
        self.count += 1;
        full
    }
}
