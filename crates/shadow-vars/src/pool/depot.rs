//! A depot: the chunks of one class, and the free memory in them.

use std::alloc::Layout;
use std::mem::size_of;
use std::ptr::{self, NonNull};

use super::magazine::{FreeNode, Magazine, STEP};
use crate::mapping::{self, HUGE_PAGE};

/// A chunk is one page, or many, or smaller than a page. (These are the pool's own pages, not the system's.)
const PAGE: usize = 1 << 16;
/// The smallest chunk, and the number of chunk sizes below a page, each twice the one before.
const LEAST: usize = 1 << 8;
const SMALLER: usize = (PAGE / LEAST).ilog2() as usize;
const LARGE: usize = HUGE_PAGE;
/// Bytes of one class in small chunks before it takes large ones.
const SMALL: usize = 1 << 20;
/// Bytes of the head of a page: of a chunk's first, and of the others; and of the head of a chunk that is smaller than a page.
const FIRST_HEAD: usize = 128;
const HEAD: usize = 64;
const SMALL_HEAD: usize = 96;

/// All chunks of one class.
pub(super) struct Depot {
    size: usize,
    /// Chunks with free memory.
    partial: *mut Chunk,
    /// The chunk whose `fresh` memory is given out.
    current: *mut Chunk,
    /// A chunk that is entirely free, cached for the next request.
    cached: *mut Chunk,
    /// Chunks that are smaller than a page, at most one of each size: their memory is not preceded by a page's head.
    small: [*mut Chunk; SMALLER],
    /// All chunks.
    all: *mut Chunk,
    bytes: usize,
    /// Nodes given out so far, and how many of them are back.
    given: usize,
    free: usize,
}

/// A chunk, described at the head of its first page.
#[repr(C)]
struct Chunk {
    page: Page,
    bytes: usize,
    free: *mut FreeNode,
    /// Memory that was given to a magazine and came back untouched.
    runs: *mut Run,
    /// How many nodes are in `free` and `runs`, and how many were ever given out.
    free_count: usize,
    given: usize,
    /// Memory that was never given out begins here.
    fresh: *mut u8,
    partial: Links,
    all: Links,
}

/// Adjacent free nodes, untouched but for the beginning of the first.
#[repr(C)]
struct Run {
    next: *mut Run,
    end: *mut u8,
}

/// The head of each page: leads from memory to its chunk.
#[repr(C)]
struct Page {
    chunk: *mut Chunk,
}

#[derive(Clone, Copy)]
struct Links {
    next: *mut Chunk,
    prev: *mut Chunk,
}

const _: () = assert!(size_of::<Chunk>() <= SMALL_HEAD && SMALL_HEAD <= FIRST_HEAD && size_of::<Page>() <= HEAD);
const _: () = assert!(size_of::<Run>() <= STEP && SMALL_HEAD.is_multiple_of(STEP));

impl Depot {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            partial: ptr::null_mut(),
            current: ptr::null_mut(),
            cached: ptr::null_mut(),
            small: [ptr::null_mut(); SMALLER],
            all: ptr::null_mut(),
            bytes: 0,
            given: 0,
            free: 0,
        }
    }

    /// Fills an empty magazine with up to a full list. Returns `None` if allocation fails.
    pub(super) fn fill(&mut self, magazine: &mut Magazine) -> Option<()> {
        let most = magazine.full;
        if let Some(chunk) = NonNull::new(self.partial) {
            // SAFETY: a chunk of this depot (M3) that has free memory, in its list or runs.
            unsafe {
                let chunk = chunk.as_ptr();
                let count = if (*chunk).free.is_null() {
                    (*chunk).take_run(self.size, most, magazine)
                } else {
                    (*chunk).take_list(most, magazine)
                };
                (*chunk).free_count -= count;
                self.free -= count;
                if (*chunk).has_no_free() {
                    unlink(&mut self.partial, chunk, partial);
                }
            }
            return Some(());
        }
        // SAFETY: null, or a chunk of this depot (M3).
        if !unsafe { self.current.as_ref() }.is_some_and(|current| current.has_fresh()) {
            self.current = match std::mem::replace(&mut self.cached, ptr::null_mut()) {
                cached if cached.is_null() => self.new_chunk()?,
                cached => cached,
            };
        }
        // SAFETY: a chunk of this depot that has memory which was never given out.
        self.given += unsafe { (*self.current).carve(self.size, most, magazine) };
        Some(())
    }

    /// Returns whether the class has a considerable amount of memory of which at most a quarter is in use.
    pub(super) fn is_mostly_free(&self) -> bool {
        self.given * self.size >= SMALL && self.free >= self.given / 4 * 3
    }

    /// Allocates a chunk.
    #[cold]
    fn new_chunk(&mut self) -> Option<*mut Chunk> {
        // At most one chunk of each small size, as `bytes` is their sum.
        let small = (0..SMALLER).find(|&small| LEAST << small > self.bytes);
        let bytes = match small {
            Some(small) => LEAST << small,
            None if self.bytes < SMALL => PAGE,
            None => LARGE,
        };
        // SAFETY: the size is a power of two, and not 0.
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
        // SAFETY: fresh memory, with room for this at the beginning of the first page.
        unsafe {
            chunk.write(Chunk {
                page: Page { chunk },
                bytes,
                free: ptr::null_mut(),
                runs: ptr::null_mut(),
                free_count: 0,
                given: 0,
                fresh: memory.as_ptr().add(Chunk::head(bytes)),
                partial: links,
                all: links,
            });
            link(&mut self.all, chunk, all);
        }
        if let Some(small) = small {
            self.small[small] = chunk;
        }
        self.bytes += bytes;
        Some(chunk)
    }

    /// Returns the chunk that contains this memory.
    ///
    /// # Safety
    ///
    /// The memory is in a chunk of this depot.
    unsafe fn chunk_of(&self, memory: NonNull<u8>) -> *mut Chunk {
        let addr = memory.addr().get();
        for (small, &chunk) in self.small.iter().enumerate() {
            if !chunk.is_null() && addr.wrapping_sub(chunk.addr()) < LEAST << small {
                return chunk;
            }
        }
        let page = ptr::with_exposed_provenance::<Page>(addr & !(PAGE - 1));
        // SAFETY: the caller guarantees that it is in a chunk of this depot; not being small, that has whole pages, each with
        // a pointer to the chunk at its head (M3).
        unsafe { (*page).chunk }
    }

    /// Takes a list back, each node to its chunk.
    ///
    /// # Safety
    ///
    /// The list is of this depot's class, and owned by the caller.
    pub(super) unsafe fn put_list(&mut self, list: NonNull<FreeNode>) {
        let mut next = list.as_ptr();
        while let Some(free) = NonNull::new(next) {
            // SAFETY: free memory of this depot.
            unsafe {
                next = free.as_ref().next;
                let chunk = self.chunk_of(free.cast());
                self.give_back(chunk, 1, |chunk| {
                    free.write(FreeNode { next: (*chunk).free });
                    (*chunk).free = free.as_ptr();
                });
            }
        }
    }

    /// Takes back all memory of a magazine. Memory that was never used stays untouched.
    ///
    /// # Safety
    ///
    /// The magazine is of this depot's class, and owned by the caller.
    pub(super) unsafe fn take_back(&mut self, magazine: &mut Magazine) {
        for list in [&mut magazine.first, &mut magazine.spare] {
            if let Some(list) = NonNull::new(std::mem::replace(list, ptr::null_mut())) {
                // SAFETY: a list that has been taken out of the magazine.
                unsafe { self.put_list(list) };
            }
        }
        magazine.count = 0;
        let end = magazine.end;
        if let Some(run) = NonNull::new(std::mem::replace(&mut magazine.fresh, end)).filter(|run| run.as_ptr() != end) {
            // SAFETY: memory of this depot, of one page (`carve`), which has been taken out of the magazine; at least one node
            // of the class, which has room for a run.
            unsafe {
                let chunk = self.chunk_of(run);
                self.give_back(chunk, (end.addr() - run.addr().get()) / self.size, |chunk| {
                    let run = run.cast::<Run>();
                    run.write(Run {
                        next: (*chunk).runs,
                        end,
                    });
                    (*chunk).runs = run.as_ptr();
                });
            }
        }
    }

    /// Returns `count` nodes to a chunk; `put` links them into it.
    ///
    /// # Safety
    ///
    /// They were given out of this chunk, of this depot.
    unsafe fn give_back(&mut self, chunk: *mut Chunk, count: usize, put: impl FnOnce(*mut Chunk)) {
        // SAFETY: the caller guarantees that the chunk is of this depot; it is in `partial` if it has free memory.
        unsafe {
            if (*chunk).has_no_free() {
                link(&mut self.partial, chunk, partial);
            }
            put(chunk);
            (*chunk).free_count += count;
            self.free += count;
            if (*chunk).free_count == (*chunk).given && chunk != self.current {
                unlink(&mut self.partial, chunk, partial);
                self.cache_or_release(chunk);
            }
        }
    }

    /// Caches an entirely free chunk, or returns it or the one that is cached now to the system.
    ///
    /// # Safety
    ///
    /// The chunk is of this depot, entirely free, and not in `partial`.
    unsafe fn cache_or_release(&mut self, chunk: *mut Chunk) {
        // SAFETY: the caller guarantees that the chunk is free and in no list but `all`.
        unsafe {
            self.given -= (*chunk).given;
            self.free -= (*chunk).given;
            if let Some(cached) = self.cached.as_mut() {
                // A page is preferred to anything smaller: small chunks are only for stores that never had more.
                if cached.bytes >= PAGE || (*chunk).bytes != PAGE {
                    return self.release(chunk);
                }
                self.release(cached);
            }
            (*chunk).free = ptr::null_mut();
            (*chunk).runs = ptr::null_mut();
            (*chunk).free_count = 0;
            (*chunk).given = 0;
            (*chunk).fresh = chunk.cast::<u8>().add(Chunk::head((*chunk).bytes));
        }
        self.cached = chunk;
    }

    /// Returns the bytes of the chunks, and of the memory that was given out of them and is not back.
    pub(super) fn bytes(&self) -> (usize, usize) {
        (self.bytes, (self.given - self.free) * self.size)
    }

    /// Returns all chunks to the system.
    ///
    /// # Safety
    ///
    /// No memory of this depot is in use, nor allocated from now on.
    pub(super) unsafe fn release_all(&mut self) {
        while let Some(chunk) = NonNull::new(self.all) {
            // SAFETY: a chunk of this depot; the caller guarantees that it is not in use.
            unsafe { self.release(chunk.as_ptr()) };
        }
    }

    /// Returns a chunk to the system.
    ///
    /// # Safety
    ///
    /// No memory of the chunk, which is of this depot, is in use, and it is not in `partial`, unless the whole depot is
    /// released.
    unsafe fn release(&mut self, chunk: *mut Chunk) {
        // SAFETY: the caller guarantees that the chunk is not in use; allocated by `new_chunk` with this layout.
        unsafe {
            unlink(&mut self.all, chunk, all);
            let bytes = (*chunk).bytes;
            self.bytes -= bytes;
            if let Some(small) = self.small.iter_mut().find(|small| **small == chunk) {
                *small = ptr::null_mut();
            }
            mapping::dealloc(NonNull::new_unchecked(chunk).cast(), Chunk::layout(bytes));
        }
    }
}

impl Chunk {
    /// Returns the layout of a chunk.
    ///
    /// # Safety
    ///
    /// The size is that of a chunk: a power of two.
    unsafe fn layout(bytes: usize) -> Layout {
        // Pages are found by address; small chunks consist of whole cache lines.
        let align = if bytes < PAGE { 64 } else { bytes };
        // SAFETY: the caller guarantees a power of two; chunks are far smaller than the address space.
        unsafe { Layout::from_size_align_unchecked(bytes, align) }
    }

    fn head(bytes: usize) -> usize {
        if bytes < PAGE { SMALL_HEAD } else { FIRST_HEAD }
    }

    /// Returns whether no memory that was given out is back.
    fn has_no_free(&self) -> bool {
        self.free.is_null() && self.runs.is_null()
    }

    /// Moves up to `most` nodes of the list to a magazine. Returns how many.
    ///
    /// # Safety
    ///
    /// The list is free memory, and not empty.
    unsafe fn take_list(&mut self, most: usize, magazine: &mut Magazine) -> usize {
        // SAFETY: the caller guarantees that the list is not empty.
        unsafe {
            let (first, mut last, mut count) = (self.free, self.free, 1);
            while count < most && !(*last).next.is_null() {
                last = (*last).next;
                count += 1;
            }
            self.free = (*last).next;
            (*last).next = ptr::null_mut();
            (magazine.first, magazine.count) = (first, count);
            count
        }
    }

    /// Moves up to `most` nodes of a run to a magazine. Returns how many.
    ///
    /// # Safety
    ///
    /// There is a run, of nodes of this size.
    unsafe fn take_run(&mut self, size: usize, most: usize, magazine: &mut Magazine) -> usize {
        // SAFETY: the caller guarantees that there is a run; the rest of it has room for a node.
        unsafe {
            let Run { next, end } = self.runs.read();
            let first = self.runs.cast::<u8>();
            let count = ((end.addr() - first.addr()) / size).min(most);
            (magazine.fresh, magazine.end) = (first, first.add(count * size));
            self.runs = next;
            if magazine.end != end {
                let rest = magazine.end.cast::<Run>();
                rest.write(Run { next, end });
                self.runs = rest;
            }
            count
        }
    }

    fn has_fresh(&self) -> bool {
        !self.fresh.is_null()
    }

    /// Gives a magazine memory that was never given out: up to `most` nodes, of one page. Returns how many.
    ///
    /// # Safety
    ///
    /// There [is](Self::has_fresh) such memory, in a chunk of nodes of this size.
    unsafe fn carve(&mut self, size: usize, most: usize, magazine: &mut Magazine) -> usize {
        let offset = self.fresh.addr() - ptr::from_ref(self).addr();
        let page_end = (offset / PAGE * PAGE + PAGE).min(self.bytes);
        let count = ((page_end - offset) / size).min(most);
        magazine.fresh = self.fresh;
        // SAFETY: the caller guarantees that `fresh` is in the chunk; `count` nodes of this size lie within the page.
        self.fresh = unsafe { self.fresh.add(count * size) };
        magazine.end = self.fresh;
        self.given += count;
        if page_end - (offset + count * size) < size {
            self.fresh = if page_end < self.bytes {
                let next = page_end + HEAD - (offset + count * size);
                // SAFETY: after the head of the chunk's next page.
                unsafe { self.fresh.add(next) }
            } else {
                ptr::null_mut()
            };
        }
        count
    }
}

/// Selects one of a chunk's links.
type LinkField = fn(&mut Chunk) -> &mut Links;

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
unsafe fn link(head: &mut *mut Chunk, chunk: *mut Chunk, of: LinkField) {
    // SAFETY: the caller guarantees that the chunks are valid; one borrow at a time.
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
unsafe fn unlink(head: &mut *mut Chunk, chunk: *mut Chunk, of: LinkField) {
    // SAFETY: the caller guarantees that the chunks are valid; one borrow at a time.
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

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 32;
    const PATTERN: u8 = 0xa5;

    fn filled(depot: &mut Depot, full: usize) -> Magazine {
        let mut magazine = Magazine::new(full);
        depot.fill(&mut magazine).unwrap();
        magazine
    }

    fn fresh(magazine: &mut Magazine) -> &mut [u8] {
        // SAFETY: memory that the magazine has.
        unsafe { std::slice::from_raw_parts_mut(magazine.fresh, magazine.end.addr() - magazine.fresh.addr()) }
    }

    /// Memory that a magazine never used is returned untouched but for its beginning, and is given out again.
    #[test]
    fn what_was_never_used_stays_untouched() {
        let mut depot = Depot::new(SIZE);
        // The small chunks, and most of a page.
        let mut magazines: Vec<_> = (0..=SMALLER).map(|_| filled(&mut depot, PAGE)).collect();
        let mut last = magazines.pop().unwrap();
        assert!(last.end.addr() - last.fresh.addr() > PAGE / 2);
        fresh(&mut last).fill(PATTERN);
        // SAFETY: filled by the depot of this class.
        let used = unsafe { last.pop_any(SIZE / STEP - 1) }.unwrap();
        let (first, bytes) = (last.fresh, fresh(&mut last).len());
        // SAFETY: a magazine of this class, this test's.
        unsafe { depot.take_back(&mut last) };
        assert!(last.is_empty());
        // SAFETY: the depot has the memory, and does not use it meanwhile.
        let run = unsafe { std::slice::from_raw_parts(first, bytes) };
        assert!(run[size_of::<Run>()..].iter().all(|&byte| byte == PATTERN), "touched");
        // In parts, and all of it: a page has no more.
        for count in [1, 3, PAGE] {
            let mut magazine = filled(&mut depot, count);
            assert!(magazine.fresh >= first && magazine.end <= first.wrapping_add(bytes));
            assert_eq!(fresh(&mut magazine).len(), SIZE * count.min(bytes / SIZE - 4));
            magazines.push(magazine);
        }
        assert_eq!(depot.bytes().0, depot.bytes().1 + stray(&depot));
        // SAFETY: of this depot, once each.
        unsafe {
            used.cast::<FreeNode>().write(FreeNode { next: ptr::null_mut() });
            depot.put_list(used.cast());
            magazines.iter_mut().for_each(|magazine| depot.take_back(magazine));
        }
        // All but the last chunk, from which memory was given out, and the cached one.
        assert!(
            depot.bytes().0 <= 2 * PAGE && depot.bytes().1 == 0,
            "{:?}",
            depot.bytes()
        );
        // SAFETY: none of its memory is used.
        unsafe { depot.release_all() };
        assert_eq!(depot.bytes().0, 0);
    }

    /// Returns the bytes of heads, and those after the last node of each chunk.
    fn stray(depot: &Depot) -> usize {
        depot.bytes - depot.given * SIZE
    }
}
