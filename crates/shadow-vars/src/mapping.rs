//! Large memory, mapped directly from the system: tables, and chunks of nodes.
//!
//! An allocator reuses freed memory: in ordinary pages, and cleared by writing if zeros are requested, which takes
//! milliseconds in the insert that needs a larger table. A fresh mapping is zero, takes memory only where it is touched, and
//! may consist of huge pages from the first touch on: tables and nodes are read at random, and without huge pages most reads
//! miss the address translation, too.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

use crate::sync::LOOM;
use crate::sync::stat::{AtomicUsize, Ordering};

/// Bytes of a huge page of the usual size. Mappings are aligned to it.
pub(crate) const HUGE_PAGE: usize = 1 << 21;

/// Bytes that are mapped now.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Returns the bytes that the stores of this process have from the system itself, and not from the global allocator: large
/// tables, and large chunks of variables. Pages that were never touched take no memory.
pub fn mapped_bytes() -> usize {
    // Relaxed: statistics.
    MAPPED.load(Ordering::Relaxed)
}

/// Returns whether memory of this layout is a mapping of its own: whole huge pages are. All other memory comes from the global
/// allocator; on platforms without mappings, everything does.
pub(crate) const fn is_mapped(layout: Layout) -> bool {
    layout.size() != 0 && layout.size().is_multiple_of(HUGE_PAGE) && layout.align() <= HUGE_PAGE && imp::MAPS && !LOOM
}

/// Allocates memory of this layout, zeroed if it is [mapped](is_mapped) or zeros are requested. Returns `None` if allocation
/// fails.
///
/// # Safety
///
/// The size is not 0.
pub(crate) unsafe fn alloc(layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
    if is_mapped(layout) {
        return imp::map(layout.size());
    }
    // SAFETY: the caller guarantees that the size is not 0.
    NonNull::new(unsafe {
        if zeroed {
            alloc::alloc_zeroed(layout)
        } else {
            alloc::alloc(layout)
        }
    })
}

/// Frees memory.
///
/// # Safety
///
/// The memory came from [`alloc()`] with this layout, and is not used any more.
pub(crate) unsafe fn dealloc(memory: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller guarantees that it came from `alloc` and is not used any more.
    unsafe {
        if is_mapped(layout) {
            imp::unmap(memory, layout.size());
        } else {
            alloc::dealloc(memory.as_ptr(), layout);
        }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod imp {
    use std::ptr::NonNull;

    use super::{HUGE_PAGE, MAPPED};
    use crate::sync::stat::Ordering;

    pub(super) const MAPS: bool = true;

    /// Maps this many bytes of huge pages, zeroed.
    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        // If the last mapping was aligned, the adjacent one mostly is; otherwise more is mapped, so that an aligned part can be
        // cut out.
        let memory = match anonymous(bytes)? {
            memory if memory.align_offset(HUGE_PAGE) == 0 => memory,
            memory => {
                // SAFETY: mapped just now.
                unsafe { unmap_pages(memory, bytes) };
                let memory = anonymous(bytes.checked_add(HUGE_PAGE)?)?;
                let before = memory.align_offset(HUGE_PAGE);
                // SAFETY: the parts before and after the aligned one are of this mapping, and never used.
                unsafe {
                    let aligned = memory.add(before);
                    unmap_pages(memory, before);
                    unmap_pages(aligned.add(bytes), HUGE_PAGE - before);
                    aligned
                }
            }
        };
        // SAFETY: mapped just now; a hint only, which holds for any content.
        unsafe { libc::madvise(memory.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        // Relaxed, here and below: statistics.
        MAPPED.fetch_add(bytes, Ordering::Relaxed);
        Some(memory)
    }

    /// Unmaps memory.
    ///
    /// # Safety
    ///
    /// The memory came from [`map`] with this size, and is not used any more.
    pub(super) unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
        MAPPED.fetch_sub(bytes, Ordering::Relaxed);
        // SAFETY: the caller guarantees that the memory is not used any more.
        unsafe { unmap_pages(memory, bytes) };
    }

    fn anonymous(bytes: usize) -> Option<NonNull<u8>> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at an address that the system chooses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(memory.cast())
    }

    /// Unmaps pages.
    ///
    /// # Safety
    ///
    /// Whole pages of a mapping that are not used, or an empty range.
    unsafe fn unmap_pages(memory: NonNull<u8>, bytes: usize) {
        if bytes > 0 {
            // SAFETY: the caller guarantees that the pages are not used. It fails only if the system cannot split a mapping: then
            // the memory stays mapped.
            unsafe { libc::munmap(memory.as_ptr().cast(), bytes) };
        }
    }
}

/// Nothing [is mapped](is_mapped) on this platform, so none of this is called.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod imp {
    use std::ptr::NonNull;

    pub(super) const MAPS: bool = false;

    pub(super) fn map(_bytes: usize) -> Option<NonNull<u8>> {
        None
    }

    pub(super) unsafe fn unmap(_memory: NonNull<u8>, _bytes: usize) {}
}
