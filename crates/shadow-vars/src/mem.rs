//! Fallible allocation, prefetching, and strides.

use std::alloc::{Layout, alloc};
use std::ptr::{self, NonNull};

use crate::sync::stat::{AtomicPtr, Ordering};

/// Boxes a value. Returns `None` (and drops the value) if allocation fails.
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

/// Creates a slice of `len` values. Returns `None` if allocation fails.
pub(crate) fn try_slice<T>(len: usize, make: impl FnMut() -> T) -> Option<Box<[T]>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).ok()?;
    values.resize_with(len, make);
    Some(values.into_boxed_slice())
}

/// Copies a string. Returns `None` if allocation fails.
pub(crate) fn try_string(of: &str) -> Option<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(of.len()).ok()?;
    copy.push_str(of);
    Some(copy)
}

/// A box that is made when it is first needed; null before, or while there is no memory for it.
pub(crate) struct OnceBox<T>(AtomicPtr<T>);

impl<T> OnceBox<T> {
    pub(crate) const fn empty() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with `get_or_make`.
        // SAFETY: null, or made there and freed on drop.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Returns the value, made now if there is none. Returns `None` if allocation fails.
    #[cold]
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> Option<&T> {
        if self.get().is_none() {
            let fresh = Box::into_raw(try_box(make())?);
            // Release: pairs with `get`. Relaxed on failure: loaded again below.
            let made = (self.0).compare_exchange(ptr::null_mut(), fresh, Ordering::Release, Ordering::Relaxed);
            if made.is_err() {
                // SAFETY: made just now, and not published.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        self.get()
    }
}

impl<T> Drop for OnceBox<T> {
    fn drop(&mut self) {
        if let Some(value) = NonNull::new(*self.0.get_mut()) {
            // SAFETY: made by `get_or_make`, once.
            drop(unsafe { Box::from_raw(value.as_ptr()) });
        }
    }
}

// SAFETY: owns its value, as a box does, and shares it, as a reference does.
unsafe impl<T: Send> Send for OnceBox<T> {}
// SAFETY: as above; the value may be made by one thread and dropped by another.
unsafe impl<T: Send + Sync> Sync for OnceBox<T> {}

/// A power of two, for doing something once in that many steps without a division.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stride {
    /// The power less one.
    mask: u32,
}

impl Stride {
    /// Creates the largest stride that is at most `most`, at least 1 and below 2^32.
    pub(crate) fn at_most(most: usize) -> Self {
        Self {
            mask: (1 << most.max(1).ilog2().min(u32::BITS - 1)) - 1,
        }
    }

    pub(crate) fn get(self) -> u64 {
        u64::from(self.mask) + 1
    }

    #[inline]
    pub(crate) fn divides(self, count: u64) -> bool {
        count as u32 & self.mask == 0
    }

    /// Returns whether it divides one of the last `by` numbers up to `count`.
    #[inline]
    pub(crate) fn is_passed(self, count: u64, by: u64) -> bool {
        u64::from(count as u32 & self.mask) < by
    }
}

/// Prefetches the cache line at this address, if the platform has an instruction for it. Never faults.
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

/// Prefetches what a value seems to own: its first words may be addresses, as in a box, a vector or a string. Wrong guesses do
/// no harm.
///
/// # Safety
///
/// This many bytes may be read there, initialised or not.
#[inline]
pub(crate) unsafe fn prefetch_owned(value: NonNull<u8>, bytes: usize) {
    /// A box has its pointer in the first word, a vector or string in one of three.
    const WORDS: usize = 3;
    /// No memory lies below.
    const LOWEST: usize = 1 << 16;
    for at in 0..(bytes / size_of::<usize>()).min(WORDS) {
        // SAFETY: the caller guarantees that these bytes may be read.
        if let Some(word) = unsafe { peek(value.cast::<usize>().add(at)) }
            && word >= LOWEST
        {
            prefetch(std::ptr::without_provenance::<u8>(word));
        }
    }
}

/// Reads a word, only to guess from it: parts of it may never have been initialised. Returns `None` on platforms where it
/// cannot be read.
///
/// # Safety
///
/// Its bytes may be read.
#[inline]
unsafe fn peek(word: NonNull<usize>) -> Option<usize> {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(miri)))]
    // SAFETY: the caller guarantees that these bytes may be read.
    unsafe {
        let read: usize;
        std::arch::asm!(
            "mov {read}, [{word}]",
            word = in(reg) word.as_ptr(),
            read = out(reg) read,
            options(nostack, preserves_flags, readonly)
        );
        Some(read)
    }
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(miri))))]
    {
        let _ = word;
        None
    }
}
