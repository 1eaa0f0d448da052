//! Large memory, from the system itself: tables, and chunks of nodes.
//!
//! An allocator hands out again what it was given back: in ordinary pages, and cleared by writing where zeros are asked
//! for, which is milliseconds in the insert that needs a larger table. A fresh mapping is zero, takes memory only where it
//! is touched, and may lie in huge pages from the first touch on: tables and nodes are read at random, and without those
//! most reads miss the address translation, too.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

use crate::sync::stat::{AtomicUsize, Ordering};

/// Bytes of a huge page of the usual size. Mappings are aligned to it.
pub(crate) const HUGE_PAGE: usize = 1 << 21;

/// Bytes that are mapped.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the stores of this process have from the system itself, and not from the global allocator: large tables, and
/// large chunks of variables. What of it was never touched takes no memory.
pub fn mapped_bytes() -> usize {
    // Relaxed: statistics.
    MAPPED.load(Ordering::Relaxed)
}

/// Whether memory of this layout is a mapping of its own: whole huge pages are. All else comes from the global allocator;
/// so does everything where nothing can be mapped.
pub(crate) const fn is_mapped(layout: Layout) -> bool {
    layout.size() != 0
        && layout.size().is_multiple_of(HUGE_PAGE)
        && layout.align() <= HUGE_PAGE
        && cfg!(all(target_os = "linux", not(miri), not(shadow_loom)))
}

/// Memory of this layout, zeroed if it is [mapped](is_mapped) or asked for so. Nothing if there is none.
///
/// # Safety
///
/// The size is not 0.
pub(crate) unsafe fn alloc(layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
    if is_mapped(layout) {
        return map(layout.size());
    }
    // SAFETY: the caller's.
    NonNull::new(unsafe {
        if zeroed {
            alloc::alloc_zeroed(layout)
        } else {
            alloc::alloc(layout)
        }
    })
}

/// Gives memory back.
///
/// # Safety
///
/// It came from [`alloc()`] with this layout, and nobody uses it any more.
pub(crate) unsafe fn dealloc(memory: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's.
    unsafe {
        if is_mapped(layout) {
            unmap(memory, layout.size());
        } else {
            alloc::dealloc(memory.as_ptr(), layout);
        }
    }
}

/// So many huge pages, zeroed.
#[cfg(all(target_os = "linux", not(miri)))]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    // Where the last mapping was aligned, the one beside it mostly is; else as much more as aligning takes.
    let memory = match anonymous(bytes)? {
        memory if memory.align_offset(HUGE_PAGE) == 0 => memory,
        memory => {
            // SAFETY: mapped just now.
            unsafe { give_back(memory, bytes) };
            let memory = anonymous(bytes.checked_add(HUGE_PAGE)?)?;
            let before = memory.align_offset(HUGE_PAGE);
            // SAFETY: what lies before and behind the aligned part is of this mapping, and nobody's.
            unsafe {
                let aligned = memory.add(before);
                give_back(memory, before);
                give_back(aligned.add(bytes), HUGE_PAGE - before);
                aligned
            }
        }
    };
    // SAFETY: mapped just now; only advises, and what it says holds for any content.
    unsafe { libc::madvise(memory.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
    // Relaxed, here and below: statistics.
    MAPPED.fetch_add(bytes, Ordering::Relaxed);
    Some(memory)
}

/// # Safety
///
/// It came from [`map`] with this size, and nobody uses it any more.
#[cfg(all(target_os = "linux", not(miri)))]
unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
    MAPPED.fetch_sub(bytes, Ordering::Relaxed);
    // SAFETY: the caller's.
    unsafe { give_back(memory, bytes) };
}

#[cfg(all(target_os = "linux", not(miri)))]
fn anonymous(bytes: usize) -> Option<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, wherever the system likes.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    if memory == libc::MAP_FAILED {
        return None;
    }
    NonNull::new(memory.cast())
}

/// # Safety
///
/// Whole pages of a mapping, that nobody uses; or nothing.
#[cfg(all(target_os = "linux", not(miri)))]
unsafe fn give_back(memory: NonNull<u8>, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's. It fails only where the system cannot split a mapping: then the memory stays mapped.
        unsafe { libc::munmap(memory.as_ptr().cast(), bytes) };
    }
}

/// Never called: nothing [is mapped](is_mapped) here.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn map(_bytes: usize) -> Option<NonNull<u8>> {
    None
}

/// Never called: nothing [is mapped](is_mapped) here.
#[cfg(not(all(target_os = "linux", not(miri))))]
unsafe fn unmap(_memory: NonNull<u8>, _bytes: usize) {}
