//! Allocations that may fail.

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
