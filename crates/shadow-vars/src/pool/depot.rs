//! Behind the magazines: the chunks of one class, and which memory of theirs is free.

use std::alloc::Layout;
use std::mem::size_of;
use std::ptr::{self, NonNull};

use super::{Free, Stock};
use crate::mapping::{self, HUGE_PAGE};

/// A chunk is one page, or many. (These are the pool's own pages.)
const PAGE: usize = 1 << 16;
const LARGE: usize = HUGE_PAGE;
/// Bytes of one class in small chunks before it takes large ones.
const SMALL: usize = 1 << 20;
/// What the head of a page takes: of a chunk's first, and of the others.
const FIRST_HEAD: usize = 128;
const HEAD: usize = 64;

/// Every chunk of one class.
pub(super) struct Depot {
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

impl Depot {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            partial: ptr::null_mut(),
            current: ptr::null_mut(),
            kept: ptr::null_mut(),
            all: ptr::null_mut(),
            bytes: 0,
            given: 0,
            free: 0,
        }
    }

    /// Gives a magazine that has nothing up to a full list. Nothing if there is no memory.
    pub(super) fn take(&mut self, stock: &mut Stock) -> Option<()> {
        let most = stock.full;
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
    pub(super) fn is_mostly_free(&self) -> bool {
        self.given * self.size >= SMALL && self.free >= self.given / 4 * 3
    }

    /// A new chunk.
    #[cold]
    fn chunk(&mut self) -> Option<*mut Chunk> {
        let bytes = if self.bytes < SMALL { PAGE } else { LARGE };
        // SAFETY: the size is not 0.
        let memory = unsafe { mapping::alloc(Chunk::layout(bytes), false) }?;
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
    pub(super) unsafe fn put(&mut self, list: NonNull<Free>) {
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

    /// Bytes of the chunks, and of what was given out of them and is not back.
    pub(super) fn bytes(&self) -> (usize, usize) {
        (self.bytes, (self.given - self.free) * self.size)
    }

    /// Gives all chunks back.
    ///
    /// # Safety
    ///
    /// Nobody uses memory of this depot, nor asks for any from now on.
    pub(super) unsafe fn release_all(&mut self) {
        while let Some(chunk) = NonNull::new(self.all) {
            // SAFETY: a chunk of this depot; the caller's.
            unsafe { self.release(chunk.as_ptr()) };
        }
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
            mapping::dealloc(NonNull::new_unchecked(chunk).cast(), Chunk::layout(bytes));
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
