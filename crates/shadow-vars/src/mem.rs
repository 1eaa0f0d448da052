//! Allocations that may fail, and asking for memory ahead of time.

use std::alloc::{Layout, alloc};
use std::ptr::NonNull;

/// Boxes a value; nothing (and the value dropped) if there is no memory.
pub(crate) fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the size is not 0.
    let fresh = NonNull::new(unsafe { alloc(Layout::new::<T>()) })?.cast::<T>();
    // SAFETY: fresh memory of `T`'s layout from the global allocator, which is what a box frees.
    unsafe {
        fresh.write(value);
        Some(Box::from_raw(fresh.as_ptr()))
    }
}

/// A slice of `len` values; nothing if there is no memory.
pub(crate) fn try_slice<T>(len: usize, make: impl FnMut() -> T) -> Option<Box<[T]>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).ok()?;
    values.resize_with(len, make);
    Some(values.into_boxed_slice())
}

/// Starts to load the cache line at this address, if the platform has a way to say so. Never faults.
#[inline]
pub(crate) fn prefetch<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// Tells the system that it may back this memory with huge pages, if it is large: a table is read at random, and without
/// them most reads miss the address translation, too. Memory that is not touched stays untouched.
pub(crate) fn advise_huge_pages(first: NonNull<u8>, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        /// Two huge pages of the usual size fit in whole.
        const LARGE: usize = 6 << 20;
        /// No system has larger ordinary pages.
        const PAGE: usize = 1 << 16;
        if bytes >= LARGE {
            let pad = first.align_offset(PAGE);
            // SAFETY: whole pages within the caller's memory; only advises, and what it says holds for any content.
            unsafe {
                let pages = first.add(pad);
                libc::madvise(pages.as_ptr().cast(), (bytes - pad) & !(PAGE - 1), libc::MADV_HUGEPAGE);
            }
        }
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (first, bytes);
}
