//! Memory for small nodes: packed, in chunks of their size class, and kept by the thread that gave it back last.
//!
//! A general allocator puts a header before each node and lets every fourth one lie in two cache lines; look-ups that miss
//! the caches pay for both. Here a node of 32 bytes takes 32 bytes, two to a line, and large chunks are offered to the system
//! for huge pages. The scheme is that of Bonwick and Adams, "Magazines and Vmem" (USENIX 2001): each shard of threads has a
//! magazine for each class, and a depot behind all of them owns the chunks.
//!
//! - **M1** Memory is in one place: with its user, in one magazine, in its chunk's list, or never given out (beyond the
//!   chunk's `fresh`, or in a magazine's `fresh`).
//! - **M2** A magazine is used by the thread that owns its shard, or under the pool's lock if the shard is shared ([`Shard`]).
//! - **M3** Chunks are only touched under their depot's lock. A chunk whose memory is all back in its list goes back to the
//!   system, but for one, which is kept for the next that asks.
//!
//! Progress: as any allocator's. Mostly a few instructions of the thread's own; once in a magazine's length a lock.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::UnsafeCell;
use std::mem::size_of;
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::mem::{self, try_slice};
use crate::shard::Shard;
use crate::sync::lock_stat;
use crate::sync::stat::{AtomicUsize, Mutex, Ordering};

/// Sizes are rounded up to this, and no stricter alignment is packed.
const STEP: usize = 16;
/// Larger nodes have allocations of their own.
const LARGEST: usize = 128;
const CLASSES: usize = LARGEST / STEP;

/// A chunk is one page, or as many as a huge page has. (These are the pool's own pages.)
const PAGE: usize = 1 << 16;
const HUGE: usize = 1 << 21;
/// Bytes of one class in small chunks before it takes huge ones.
const SMALL: usize = 1 << 20;
/// What the head of a page takes: of a chunk's first, and of the others.
const FIRST_HEAD: usize = 128;
const HEAD: usize = 64;
/// Bytes of a full magazine. A shard keeps two at most.
const MAGAZINE: usize = 1 << 13;

/// What is asked for: a layout, and its class, or one that is none.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    layout: Layout,
    class: usize,
}

impl Size {
    /// Of a layout whose size is not 0.
    pub(crate) const fn of(layout: Layout) -> Self {
        let small = layout.size() <= LARGEST && layout.align() <= STEP;
        Self {
            layout,
            class: if small {
                layout.size().div_ceil(STEP) - 1
            } else {
                usize::MAX
            },
        }
    }

    pub(crate) const fn bytes(self) -> usize {
        self.layout.size()
    }
}

/// The pool of one store.
pub(crate) struct Pool {
    magazines: Box<[CachePadded<[Magazine; CLASSES]>]>,
    /// Held by whoever uses the last shard's (M2).
    shared: Mutex<()>,
    depots: [Mutex<Depot>; CLASSES],
    /// Of all chunks.
    bytes: AtomicUsize,
    /// How many classes are packed: all, or none: then each node is an allocation of its own, which memory checkers can
    /// follow.
    classes: usize,
}

// SAFETY: magazines and chunks are memory that the pool owns, used as M2 and M3 say.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// Free memory, linked.
struct Free {
    next: *mut Free,
}

/// The free memory of one class that one shard has at hand.
struct Magazine(UnsafeCell<Stock>);

struct Stock {
    first: *mut Free,
    count: usize,
    /// A full list, or none.
    spare: *mut Free,
    /// Memory that was never used, and its end.
    fresh: *mut u8,
    end: *mut u8,
}

impl Default for Magazine {
    fn default() -> Self {
        Self(UnsafeCell::new(Stock {
            first: ptr::null_mut(),
            count: 0,
            spare: ptr::null_mut(),
            fresh: ptr::null_mut(),
            end: ptr::null_mut(),
        }))
    }
}

/// Every chunk of one class.
struct Depot {
    size: usize,
    /// Those with free memory.
    partial: *mut Chunk,
    /// The one whose `fresh` is given out.
    current: *mut Chunk,
    /// One that is all free, kept for the next that asks.
    kept: *mut Chunk,
    /// All of them.
    all: *mut Chunk,
    bytes: usize,
    /// Of what was given out, and how much of that is back.
    given: usize,
    free: usize,
}

/// At the head of its first page.
#[repr(C)]
struct Chunk {
    page: Page,
    bytes: usize,
    free: *mut Free,
    /// How many are in `free`, and how many were ever given out.
    free_count: usize,
    given: usize,
    /// Memory that was never given out begins here.
    fresh: *mut u8,
    partial: Links,
    all: Links,
}

/// At the head of each page: the way from memory to its chunk.
#[repr(C)]
struct Page {
    chunk: *mut Chunk,
}

#[derive(Clone, Copy)]
struct Links {
    next: *mut Chunk,
    prev: *mut Chunk,
}

const _: () = assert!(size_of::<Chunk>() <= FIRST_HEAD && size_of::<Page>() <= HEAD);

impl Pool {
    /// Nothing if there is no memory.
    pub(crate) fn new(shards: usize, packed: bool) -> Option<Self> {
        let depot = |class: usize| {
            Mutex::new(Depot {
                size: (class + 1) * STEP,
                partial: ptr::null_mut(),
                current: ptr::null_mut(),
                kept: ptr::null_mut(),
                all: ptr::null_mut(),
                bytes: 0,
                given: 0,
                free: 0,
            })
        };
        // Loom and Miri follow each allocation by itself.
        let packed = packed && !cfg!(any(shadow_loom, miri));
        Some(Self {
            magazines: try_slice(if packed { shards } else { 0 }, CachePadded::default)?,
            shared: Mutex::new(()),
            depots: std::array::from_fn(depot),
            bytes: AtomicUsize::new(0),
            classes: if packed { CLASSES } else { 0 },
        })
    }

    /// Memory of this size. Nothing if there is none.
    #[inline]
    pub(crate) fn alloc(&self, size: Size, shard: Shard) -> Option<NonNull<u8>> {
        let class = size.class;
        if class >= self.classes {
            // SAFETY: the size is not 0.
            return NonNull::new(unsafe { alloc(size.layout) });
        }
        let take = |stock: *mut Stock| {
            // SAFETY: this thread has the magazine (M2), and the borrow ends here.
            if let Some(memory) = unsafe { &mut *stock }.pop(class) {
                return Some(memory);
            }
            self.refill(class, stock)
        };
        self.with(class, shard, take)
    }

    /// Takes memory back.
    ///
    /// # Safety
    ///
    /// It came from [`alloc`](Self::alloc) of this pool with this size, and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn dealloc(&self, memory: NonNull<u8>, size: Size, shard: Shard) {
        let class = size.class;
        if class >= self.classes {
            // SAFETY: the caller's; of this size `alloc` makes an allocation of its own.
            return unsafe { dealloc(memory.as_ptr(), size.layout) };
        }
        self.with(class, shard, |stock| {
            // SAFETY: this thread has the magazine (M2), and the borrow ends here; the memory is the caller's to give.
            if let Some(full) = unsafe { (*stock).push(class, memory.cast()) } {
                // SAFETY: a full list of this class, which is nobody's now.
                unsafe { self.put(class, full) };
            }
        });
    }

    /// Gives all chunks back.
    ///
    /// # Safety
    ///
    /// Nobody uses memory of this pool, nor asks for any from now on.
    pub(crate) unsafe fn release(&self) {
        for depot in &self.depots {
            let mut depot = lock_stat(depot);
            while let Some(chunk) = NonNull::new(depot.all) {
                // SAFETY: a chunk of this depot; the caller's.
                unsafe { depot.release(chunk.as_ptr()) };
            }
        }
    }

    #[inline]
    fn with<T>(&self, class: usize, shard: Shard, with: impl FnOnce(*mut Stock) -> T) -> T {
        let stock = self.magazines[shard.index][class].0.get();
        if shard.is_own() {
            return with(stock);
        }
        let _lock = lock_stat(&self.shared);
        with(stock)
    }

    /// Memory for a magazine that has none, and for the caller.
    #[cold]
    fn refill(&self, class: usize, stock: *mut Stock) -> Option<NonNull<u8>> {
        let mut depot = lock_stat(&self.depots[class]);
        // SAFETY: this thread has the magazine (M2), and nothing below uses it otherwise.
        let stock = unsafe { &mut *stock };
        let before = depot.bytes;
        depot.take(stock)?;
        self.count(before, depot.bytes);
        stock.pop(class)
    }

    /// Gives a full list back to its depot.
    ///
    /// # Safety
    ///
    /// It is of this class, and nobody's.
    #[cold]
    unsafe fn put(&self, class: usize, full: NonNull<Free>) {
        let mut depot = lock_stat(&self.depots[class]);
        let before = depot.bytes;
        // SAFETY: the caller's.
        unsafe { depot.put(full) };
        self.count(before, depot.bytes);
    }

    /// Gives back to the depots what this thread has at hand: all of it, or of those classes of which little is in use. What
    /// a magazine keeps may keep many chunks, each by a node.
    pub(crate) fn settle(&self, shard: Shard, all: bool) {
        for class in 0..self.classes {
            self.with(class, shard, |stock| {
                // SAFETY: this thread has the magazine (M2), and nothing below uses it otherwise.
                let stock = unsafe { &mut *stock };
                if stock.is_empty() {
                    return;
                }
                let mut depot = lock_stat(&self.depots[class]);
                if all || depot.is_mostly_free() {
                    let before = depot.bytes;
                    while let Some(memory) = stock.pop(class) {
                        // SAFETY: free memory of this class, by itself.
                        unsafe {
                            let free = memory.cast::<Free>();
                            free.write(Free { next: ptr::null_mut() });
                            depot.put(free);
                        }
                    }
                    self.count(before, depot.bytes);
                }
            });
        }
    }

    fn count(&self, before: usize, now: usize) {
        if now != before {
            // Relaxed: statistics.
            self.bytes.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Bytes of the chunks: what is in use, and what is free.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: nobody has the pool.
        unsafe { self.release() };
    }
}

/// How many of a class a full list has.
const fn magazine(class: usize) -> usize {
    MAGAZINE / ((class + 1) * STEP)
}

impl Stock {
    fn is_empty(&self) -> bool {
        self.first.is_null() && self.spare.is_null() && self.fresh == self.end
    }

    #[inline]
    fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        if let Some(first) = NonNull::new(self.first) {
            // SAFETY: in a magazine's list, so it is free and linked (M1).
            self.first = unsafe { first.as_ref() }.next;
            self.count -= 1;
            return Some(first.cast());
        }
        self.pop_on(class)
    }

    fn pop_on(&mut self, class: usize) -> Option<NonNull<u8>> {
        if let Some(spare) = NonNull::new(std::mem::replace(&mut self.spare, ptr::null_mut())) {
            // SAFETY: as in `pop`.
            self.first = unsafe { spare.as_ref() }.next;
            self.count = magazine(class) - 1;
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
    fn push(&mut self, class: usize, free: NonNull<Free>) -> Option<NonNull<Free>> {
        let full = if self.count == magazine(class) {
            self.count = 0;
            let first = std::mem::replace(&mut self.first, ptr::null_mut());
            NonNull::new(std::mem::replace(&mut self.spare, first))
        } else {
            None
        };
        // SAFETY: the caller's memory, which is large enough and aligned for a link.
        unsafe { free.write(Free { next: self.first }) };
        self.first = free.as_ptr();
        self.count += 1;
        full
    }
}

impl Depot {
    /// Gives a magazine that has nothing up to a full list. Nothing if there is no memory.
    fn take(&mut self, stock: &mut Stock) -> Option<()> {
        let most = MAGAZINE / self.size;
        if let Some(chunk) = NonNull::new(self.partial) {
            // SAFETY: a chunk of this depot (M3); its list is free memory.
            unsafe {
                let chunk = chunk.as_ptr();
                let (first, mut last, mut count) = ((*chunk).free, (*chunk).free, 1);
                while count < most && !(*last).next.is_null() {
                    last = (*last).next;
                    count += 1;
                }
                (*chunk).free = (*last).next;
                (*last).next = ptr::null_mut();
                (*chunk).free_count -= count;
                self.free -= count;
                if (*chunk).free.is_null() {
                    unlink(&mut self.partial, chunk, partial);
                }
                (stock.first, stock.count) = (first, count);
            }
            return Some(());
        }
        // SAFETY: null, or a chunk of this depot (M3).
        if !unsafe { self.current.as_ref() }.is_some_and(|current| current.has_fresh()) {
            self.current = match std::mem::replace(&mut self.kept, ptr::null_mut()) {
                kept if kept.is_null() => self.chunk()?,
                kept => kept,
            };
        }
        // SAFETY: a chunk of this depot that has memory which was never given out.
        self.given += unsafe { (*self.current).carve(self.size, most, stock) };
        Some(())
    }

    /// Whether a quarter of a good deal of memory is in use, or less.
    fn is_mostly_free(&self) -> bool {
        self.given * self.size >= SMALL && self.free >= self.given / 4 * 3
    }

    /// A new chunk.
    #[cold]
    fn chunk(&mut self) -> Option<*mut Chunk> {
        let bytes = if self.bytes < SMALL { PAGE } else { HUGE };
        // SAFETY: the size is not 0.
        let memory = NonNull::new(unsafe { alloc(Chunk::layout(bytes)) })?;
        if bytes == HUGE {
            mem::advise_huge_pages(memory, bytes);
        }
        memory.as_ptr().expose_provenance();
        let chunk = memory.as_ptr().cast::<Chunk>();
        for page in (0..bytes).step_by(PAGE) {
            // SAFETY: in the chunk, and aligned to a page.
            unsafe { memory.add(page).cast().write(Page { chunk }) };
        }
        let links = Links {
            next: ptr::null_mut(),
            prev: ptr::null_mut(),
        };
        // SAFETY: fresh memory, whose first page begins with room for this.
        unsafe {
            chunk.write(Chunk {
                page: Page { chunk },
                bytes,
                free: ptr::null_mut(),
                free_count: 0,
                given: 0,
                fresh: memory.as_ptr().add(FIRST_HEAD),
                partial: links,
                all: links,
            });
            link(&mut self.all, chunk, all);
        }
        self.bytes += bytes;
        Some(chunk)
    }

    /// Takes a list back, each to its chunk.
    ///
    /// # Safety
    ///
    /// It is of this depot's class, and nobody's.
    unsafe fn put(&mut self, list: NonNull<Free>) {
        let mut next = list.as_ptr();
        while let Some(free) = NonNull::new(next) {
            // SAFETY: free memory of this depot: at the head of its page is the way to the chunk (M3).
            unsafe {
                next = free.as_ref().next;
                let page = ptr::with_exposed_provenance::<Page>(free.addr().get() & !(PAGE - 1));
                let chunk = (*page).chunk;
                if (*chunk).free.is_null() {
                    link(&mut self.partial, chunk, partial);
                }
                free.write(Free { next: (*chunk).free });
                (*chunk).free = free.as_ptr();
                (*chunk).free_count += 1;
                self.free += 1;
                if (*chunk).free_count == (*chunk).given && chunk != self.current {
                    unlink(&mut self.partial, chunk, partial);
                    self.keep_or_release(chunk);
                }
            }
        }
    }

    /// # Safety
    ///
    /// A chunk of this depot, all free, and not in `partial`.
    unsafe fn keep_or_release(&mut self, chunk: *mut Chunk) {
        // SAFETY: the caller's.
        unsafe {
            self.given -= (*chunk).given;
            self.free -= (*chunk).given;
            if !self.kept.is_null() {
                return self.release(chunk);
            }
            (*chunk).free = ptr::null_mut();
            (*chunk).free_count = 0;
            (*chunk).given = 0;
            (*chunk).fresh = chunk.cast::<u8>().add(FIRST_HEAD);
        }
        self.kept = chunk;
    }

    /// # Safety
    ///
    /// A chunk of this depot that nobody uses, and not in `partial`, unless the depot goes.
    unsafe fn release(&mut self, chunk: *mut Chunk) {
        // SAFETY: the caller's; allocated by `chunk` with this layout.
        unsafe {
            unlink(&mut self.all, chunk, all);
            let bytes = (*chunk).bytes;
            self.bytes -= bytes;
            dealloc(chunk.cast(), Chunk::layout(bytes));
        }
    }
}

impl Chunk {
    fn layout(bytes: usize) -> Layout {
        // SAFETY: a power of two; and far from overflowing.
        unsafe { Layout::from_size_align_unchecked(bytes, bytes) }
    }

    fn has_fresh(&self) -> bool {
        !self.fresh.is_null()
    }

    /// Gives a magazine memory that was never given out: up to so many, of one page. How many.
    fn carve(&mut self, size: usize, most: usize, stock: &mut Stock) -> usize {
        let offset = self.fresh.addr() - ptr::from_ref(self).addr();
        let page = offset / PAGE * PAGE;
        let count = ((page + PAGE - offset) / size).min(most);
        stock.fresh = self.fresh;
        // SAFETY: `count` of this size lie within the page.
        self.fresh = unsafe { self.fresh.add(count * size) };
        stock.end = self.fresh;
        self.given += count;
        if page + PAGE - (offset + count * size) < size {
            self.fresh = if page + PAGE < self.bytes {
                let next = page + PAGE + HEAD - (offset + count * size);
                // SAFETY: behind the head of the chunk's next page.
                unsafe { self.fresh.add(next) }
            } else {
                ptr::null_mut()
            };
        }
        count
    }
}

/// Which of a chunk's links.
type Of = fn(&mut Chunk) -> &mut Links;

fn partial(chunk: &mut Chunk) -> &mut Links {
    &mut chunk.partial
}

fn all(chunk: &mut Chunk) -> &mut Links {
    &mut chunk.all
}

/// Puts a chunk at the head of a list.
///
/// # Safety
///
/// Under the depot's lock; the chunk is not in the list.
unsafe fn link(head: &mut *mut Chunk, chunk: *mut Chunk, of: Of) {
    // SAFETY: the caller's; one borrow at a time.
    unsafe {
        *of(&mut *chunk) = Links {
            next: *head,
            prev: ptr::null_mut(),
        };
        if let Some(next) = head.as_mut() {
            of(next).prev = chunk;
        }
    }
    *head = chunk;
}

/// Takes a chunk out of a list.
///
/// # Safety
///
/// Under the depot's lock; the chunk is in the list.
unsafe fn unlink(head: &mut *mut Chunk, chunk: *mut Chunk, of: Of) {
    // SAFETY: the caller's; one borrow at a time.
    unsafe {
        let Links { next, prev } = *of(&mut *chunk);
        if let Some(next) = next.as_mut() {
            of(next).prev = prev;
        }
        match prev.as_mut() {
            Some(prev) => of(prev).next = next,
            None => *head = next,
        }
    }
}
