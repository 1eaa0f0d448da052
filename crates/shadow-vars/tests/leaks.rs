//! A dropped store leaves nothing behind, whatever follows.
//!
//! A separate program, as its allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use shadow_vars::{Asymmetric, Epoch, Eras, Reclaim, ShadowId, ShadowStore};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: forwards everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.dealloc(memory, layout) };
    }
}

const VALUE: ShadowId<Box<u64>> = ShadowId::new(1);

/// Makes stores one after the other, frees `frees` variables in each, and leaves a few. Returns the bytes that each has left
/// behind, at most, on average. No other code uses the backend meanwhile.
fn left_behind<R: Reclaim>(frees: usize, flush: bool) -> isize {
    const STORES: isize = 100;
    let use_one = || {
        let store = ShadowStore::<R>::builder().build().unwrap();
        for obj in 1..=frees + 3 {
            store.pin().alloc(obj * 64, VALUE, Box::new(7)).unwrap();
            if obj > 3 {
                store.pin().free(obj * 64, VALUE);
            }
        }
        if flush {
            store.flush();
        }
    };
    // Allocations that a backend and a thread make once.
    (0..4).for_each(|_| use_one());
    let before = HELD.load(Ordering::Relaxed);
    (0..STORES).for_each(|_| use_one());
    (HELD.load(Ordering::Relaxed) - before) / STORES
}

#[test]
fn a_dropped_store_leaves_nothing() {
    for frees in [0, 1, 1024, 3000] {
        for flush in [false, true] {
            assert_eq!(left_behind::<Asymmetric>(frees, flush), 0, "{frees} freed");
            assert_eq!(left_behind::<Eras>(frees, flush), 0, "{frees} freed");
            // Its collector keeps a few words for each grace period until a thread drives it.
            let left = left_behind::<Epoch>(frees, flush);
            assert!(left < 512, "crossbeam: {left} bytes, {frees} freed");
            #[cfg(feature = "seize")]
            {
                let left = left_behind::<shadow_vars::Seize>(frees, flush);
                assert!(left < 512, "seize: {left} bytes, {frees} freed");
            }
        }
    }
}
