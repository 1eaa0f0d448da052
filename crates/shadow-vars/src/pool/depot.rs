//! Behind the magazines: the chunks of one class, and which memory of theirs is free.

use std::alloc::Layout;
use std::mem::size_of;
use std::ptr::{self, NonNull};

use super::{Free, Stock};
use crate::mapping::{self, HUGE_PAGE};

/// A chunk is one page, or many, or smaller than a page. (These are the pool's own pages.)
const PAGE: usize = 1 << 16;
/// The smallest chunk, and how many sizes there are that are smaller than a page, each twice the one before.
const LEAST: usize = 1 << 8;
const SMALLER: usize = (PAGE / LEAST).ilog2() as usize;
const LARGE: usize = HUGE_PAGE;
/// Bytes of one class in small chunks before it takes large ones.
const SMALL: usize = 1 << 20;
/// What the head of a page takes: of a chunk's first, and of the others; and the head of a chunk that is smaller.
const FIRST_HEAD: usize = 128;
const HEAD: usize = 64;
const SMALL_HEAD: usize = 96;

/// Every chunk of one class.
pub(super) struct Depot {
    size: usize,
    /// Those with free memory.
    partial: *mut Chunk,
    /// The one whose `fresh` is given out.
    current: *mut Chunk,
    /// One that is all free, kept for the next that asks.
    kept: *mut Chunk,
    /// Those that are smaller than a page, one of a size at most: memory in them leads to no page's head.
    small: [*mut Chunk; SMALLER],
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
    /// Memory that was given to a magazine and came back untouched.
    runs: *mut Run,
    /// How many are in `free` and `runs`, and how many were ever given out.
    free_count: usize,
    given: usize,
    /// Memory that was never given out begins here.
    fresh: *mut u8,
    partial: Links,
    all: Links,
}

/// Free memory side by side, all but its beginning untouched.
#[repr(C)]
struct Run {
    next: *mut Run,
    end: *mut u8,
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

const _: () = assert!(size_of::<Chunk>() <= SMALL_HEAD && SMALL_HEAD <= FIRST_HEAD && size_of::<Page>() <= HEAD);
const _: () = assert!(size_of::<Run>() <= super::STEP && SMALL_HEAD.is_multiple_of(super::STEP));

impl Depot {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            partial: ptr::null_mut(),
            current: ptr::null_mut(),
            kept: ptr::null_mut(),
            small: [ptr::null_mut(); SMALLER],
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
            // SAFETY: a chunk of this depot (M3) that has free memory, in its list or runs.
            unsafe {
                let chunk = chunk.as_ptr();
                let count = if (*chunk).free.is_null() {
                    (*chunk).take_run(self.size, most, stock)
                } else {
                    (*chunk).take_list(most, stock)
                };
                (*chunk).free_count -= count;
                self.free -= count;
                if (*chunk).has_none_back() {
                    unlink(&mut self.partial, chunk, partial);
                }
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
        // Those of a size are one at most, as `bytes` counts them.
        let small = (0..SMALLER).find(|&small| LEAST << small > self.bytes);
        let bytes = match small {
            Some(small) => LEAST << small,
            None if self.bytes < SMALL => PAGE,
            None => LARGE,
        };
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

    /// The chunk that memory of this depot lies in.
    ///
    /// # Safety
    ///
    /// It does, in one of this depot's.
    unsafe fn chunk_of(&self, memory: NonNull<u8>) -> *mut Chunk {
        let addr = memory.addr().get();
        for (small, &chunk) in self.small.iter().enumerate() {
            if !chunk.is_null() && addr.wrapping_sub(chunk.addr()) < LEAST << small {
                return chunk;
            }
        }
        let page = ptr::with_exposed_provenance::<Page>(addr & !(PAGE - 1));
        // SAFETY: the caller's: in a chunk of whole pages, each with the way to the chunk at its head (M3).
        unsafe { (*page).chunk }
    }

    /// Takes a list back, each to its chunk.
    ///
    /// # Safety
    ///
    /// It is of this depot's class, and nobody's.
    pub(super) unsafe fn put(&mut self, list: NonNull<Free>) {
        let mut next = list.as_ptr();
        while let Some(free) = NonNull::new(next) {
            // SAFETY: free memory of this depot.
            unsafe {
                next = free.as_ref().next;
                let chunk = self.chunk_of(free.cast());
                self.comes_back(chunk, 1, |chunk| {
                    free.write(Free { next: (*chunk).free });
                    (*chunk).free = free.as_ptr();
                });
            }
        }
    }

    /// Takes back all that a magazine has. What was never used stays untouched.
    ///
    /// # Safety
    ///
    /// The magazine is of this depot's class, and the caller's.
    pub(super) unsafe fn take_back(&mut self, stock: &mut Stock) {
        for list in [&mut stock.first, &mut stock.spare] {
            if let Some(list) = NonNull::new(std::mem::replace(list, ptr::null_mut())) {
                // SAFETY: a list of the magazine's, which it has no longer.
                unsafe { self.put(list) };
            }
        }
        stock.count = 0;
        let end = stock.end;
        if let Some(run) = NonNull::new(std::mem::replace(&mut stock.fresh, end)).filter(|run| run.as_ptr() != end) {
            // SAFETY: memory of this depot, of one page (`carve`), which the magazine has no longer; at least one of the class,
            // which has room for a run.
            unsafe {
                let chunk = self.chunk_of(run);
                self.comes_back(chunk, (end.addr() - run.addr().get()) / self.size, |chunk| {
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

    /// So many come back to a chunk, into which `put` puts them.
    ///
    /// # Safety
    ///
    /// They were given out of this chunk of this depot.
    unsafe fn comes_back(&mut self, chunk: *mut Chunk, count: usize, put: impl FnOnce(*mut Chunk)) {
        // SAFETY: the caller's; it is in `partial` if anything is back.
        unsafe {
            if (*chunk).has_none_back() {
                link(&mut self.partial, chunk, partial);
            }
            put(chunk);
            (*chunk).free_count += count;
            self.free += count;
            if (*chunk).free_count == (*chunk).given && chunk != self.current {
                unlink(&mut self.partial, chunk, partial);
                self.keep_or_release(chunk);
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
            if let Some(kept) = self.kept.as_mut() {
                // A page rather than less: small ones are only for stores that never had more.
                if kept.bytes >= PAGE || (*chunk).bytes != PAGE {
                    return self.release(chunk);
                }
                self.release(kept);
            }
            (*chunk).free = ptr::null_mut();
            (*chunk).runs = ptr::null_mut();
            (*chunk).free_count = 0;
            (*chunk).given = 0;
            (*chunk).fresh = chunk.cast::<u8>().add(Chunk::head((*chunk).bytes));
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
            if let Some(small) = self.small.iter_mut().find(|small| **small == chunk) {
                *small = ptr::null_mut();
            }
            mapping::dealloc(NonNull::new_unchecked(chunk).cast(), Chunk::layout(bytes));
        }
    }
}

impl Chunk {
    fn layout(bytes: usize) -> Layout {
        // Pages are found by address; small ones have whole cache lines.
        let align = if bytes < PAGE { 64 } else { bytes };
        // SAFETY: a power of two; and far from overflowing.
        unsafe { Layout::from_size_align_unchecked(bytes, align) }
    }

    fn head(bytes: usize) -> usize {
        if bytes < PAGE { SMALL_HEAD } else { FIRST_HEAD }
    }

    /// Whether nothing that was given out is back.
    fn has_none_back(&self) -> bool {
        self.free.is_null() && self.runs.is_null()
    }

    /// Gives a magazine up to so many of the list, which has some. How many.
    ///
    /// # Safety
    ///
    /// The list is free memory, and has some.
    unsafe fn take_list(&mut self, most: usize, stock: &mut Stock) -> usize {
        // SAFETY: the caller's.
        unsafe {
            let (first, mut last, mut count) = (self.free, self.free, 1);
            while count < most && !(*last).next.is_null() {
                last = (*last).next;
                count += 1;
            }
            self.free = (*last).next;
            (*last).next = ptr::null_mut();
            (stock.first, stock.count) = (first, count);
            count
        }
    }

    /// Gives a magazine up to so many of a run. How many.
    ///
    /// # Safety
    ///
    /// There is a run, of this size.
    unsafe fn take_run(&mut self, size: usize, most: usize, stock: &mut Stock) -> usize {
        // SAFETY: the caller's; what is left of the run has room for one.
        unsafe {
            let Run { next, end } = self.runs.read();
            let first = self.runs.cast::<u8>();
            let count = ((end.addr() - first.addr()) / size).min(most);
            (stock.fresh, stock.end) = (first, first.add(count * size));
            self.runs = next;
            if stock.end != end {
                let rest = stock.end.cast::<Run>();
                rest.write(Run { next, end });
                self.runs = rest;
            }
            count
        }
    }

    fn has_fresh(&self) -> bool {
        !self.fresh.is_null()
    }

    /// Gives a magazine memory that was never given out: up to so many, of one page. How many.
    fn carve(&mut self, size: usize, most: usize, stock: &mut Stock) -> usize {
        let offset = self.fresh.addr() - ptr::from_ref(self).addr();
        let page_end = (offset / PAGE * PAGE + PAGE).min(self.bytes);
        let count = ((page_end - offset) / size).min(most);
        stock.fresh = self.fresh;
        // SAFETY: `count` of this size lie within the page.
        self.fresh = unsafe { self.fresh.add(count * size) };
        stock.end = self.fresh;
        self.given += count;
        if page_end - (offset + count * size) < size {
            self.fresh = if page_end < self.bytes {
                let next = page_end + HEAD - (offset + count * size);
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

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 32;
    const PATTERN: u8 = 0xa5;

    fn filled(depot: &mut Depot, full: usize) -> Stock {
        let mut stock = Stock::new(full);
        depot.take(&mut stock).unwrap();
        stock
    }

    fn fresh(stock: &mut Stock) -> &mut [u8] {
        // SAFETY: memory that the magazine has.
        unsafe { std::slice::from_raw_parts_mut(stock.fresh, stock.end.addr() - stock.fresh.addr()) }
    }

    /// What a magazine never used goes back as it is but for its beginning, and is given out again.
    #[test]
    fn what_was_never_used_stays_untouched() {
        let mut depot = Depot::new(SIZE);
        // The small chunks, and most of a page.
        let mut stocks: Vec<_> = (0..=SMALLER).map(|_| filled(&mut depot, PAGE)).collect();
        let mut last = stocks.pop().unwrap();
        assert!(last.end.addr() - last.fresh.addr() > PAGE / 2);
        fresh(&mut last).fill(PATTERN);
        let used = last.pop_any(SIZE / super::super::STEP - 1).unwrap();
        let (first, bytes) = (last.fresh, fresh(&mut last).len());
        // SAFETY: a magazine of this class, this test's.
        unsafe { depot.take_back(&mut last) };
        assert!(last.is_empty());
        // SAFETY: nobody else has the memory.
        let run = unsafe { std::slice::from_raw_parts(first, bytes) };
        assert!(run[size_of::<Run>()..].iter().all(|&byte| byte == PATTERN), "touched");
        // In parts, and all of it: a page has no more than that.
        for count in [1, 3, PAGE] {
            let mut stock = filled(&mut depot, count);
            assert!(stock.fresh >= first && stock.end <= first.wrapping_add(bytes));
            assert_eq!(fresh(&mut stock).len(), SIZE * count.min(bytes / SIZE - 4));
            stocks.push(stock);
        }
        assert_eq!(depot.bytes().0, depot.bytes().1 + stray(&depot));
        // SAFETY: of this depot, once each.
        unsafe {
            used.cast::<Free>().write(Free { next: ptr::null_mut() });
            depot.put(used.cast());
            stocks.iter_mut().for_each(|stock| depot.take_back(stock));
        }
        // All but the last chunk, out of which memory was given, and one that is kept.
        assert!(
            depot.bytes().0 <= 2 * PAGE && depot.bytes().1 == 0,
            "{:?}",
            depot.bytes()
        );
        // SAFETY: nothing of it is used.
        unsafe { depot.release_all() };
        assert_eq!(depot.bytes().0, 0);
    }

    /// Bytes of heads, and behind the last of each chunk.
    fn stray(depot: &Depot) -> usize {
        depot.bytes - depot.given * SIZE
    }
}
