//! An allocator that fails on demand.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Fails a chosen allocation of the calling thread.
pub struct Failing;

thread_local! {
    /// The number of allocations until one fails; 0 for none. Negative: failing already, and for as long as it is armed.
    static COUNTDOWN: Cell<isize> = const { Cell::new(0) };
    /// Whether all after the first fail too.
    static FOR_GOOD: Cell<bool> = const { Cell::new(false) };
    /// Whether a few words never fail: `Arc::new` does not handle failure.
    pub static SPARES_SMALL: Cell<bool> = const { Cell::new(false) };
    pub static FIRED: Cell<bool> = const { Cell::new(false) };
}

/// Allocations that have not been deallocated.
pub static HELD: AtomicIsize = AtomicIsize::new(0);

fn fails(layout: Layout) -> bool {
    if SPARES_SMALL.get() && layout.size() < 64 {
        return false;
    }
    match COUNTDOWN.get() {
        0 => false,
        1.. => {
            COUNTDOWN.set(COUNTDOWN.get() - 1);
            let fires = COUNTDOWN.get() == 0;
            if fires {
                FIRED.set(true);
                COUNTDOWN.set(if FOR_GOOD.get() { -1 } else { 0 });
            }
            fires
        }
        _ => true,
    }
}

// SAFETY: forwards everything to the system's allocator, or returns null.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout) {
            return std::ptr::null_mut();
        }
        HELD.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails(layout) {
            return std::ptr::null_mut();
        }
        HELD.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails(layout) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        HELD.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Runs `body` with its `nth` allocation failing; returns whether there were that many.
pub fn with_failure<T>(nth: usize, for_good: bool, body: impl FnOnce() -> T) -> (T, bool) {
    FIRED.set(false);
    FOR_GOOD.set(for_good);
    COUNTDOWN.set(nth as isize);
    let result = body();
    COUNTDOWN.set(0);
    (result, FIRED.get())
}

/// Runs `body` without failures, inside code whose allocations are to fail, which continues afterwards, also if `body`
/// panics.
pub fn spared<T>(body: impl FnOnce() -> T) -> T {
    struct Restore(isize);
    impl Drop for Restore {
        fn drop(&mut self) {
            COUNTDOWN.set(self.0);
        }
    }
    let _restore = Restore(COUNTDOWN.replace(0));
    body()
}
