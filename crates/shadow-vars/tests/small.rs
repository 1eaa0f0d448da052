//! The memory of small things: a store without variables or with one, one more id, a flush of a store that holds little.
//!
//! A separate program, as its allocator counts, and one test only, so that no other test allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::thread;

use shadow_vars::{ShadowId, ShadowStore};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that are allocated, and allocations so far.
static HELD: AtomicIsize = AtomicIsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        MADE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.dealloc(memory, layout) };
    }
}

/// Returns what `make` allocates: bytes that are allocated while its result exists, and allocations.
fn taken_by<T>(make: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = (HELD.load(Ordering::Relaxed), MADE.load(Ordering::Relaxed));
    let made = make();
    let after = (HELD.load(Ordering::Relaxed), MADE.load(Ordering::Relaxed));
    (made, (after.0 - before.0).try_into().unwrap_or(0), after.1 - before.1)
}

const ID: ShadowId<u64> = ShadowId::new(1);

fn with_one() -> ShadowStore {
    let store = ShadowStore::new();
    store.pin().alloc(8_usize, ID, 7).unwrap();
    store
}

/// The largest number of bytes of a store, and of allocations: of an empty one, and of one with a variable.
const EMPTY: (usize, usize) = (1024, 10);
const ONE: (usize, usize) = (2048, 20);

fn stores() {
    let (store, bytes, allocations) = taken_by(ShadowStore::new);
    println!("empty: {bytes} bytes in {allocations} allocations");
    assert!(
        bytes <= EMPTY.0 && allocations <= EMPTY.1,
        "{bytes} bytes, {allocations} allocations"
    );
    drop(store);
    let (store, bytes, allocations) = taken_by(with_one);
    println!("one variable: {bytes} bytes in {allocations} allocations");
    assert!(
        bytes <= ONE.0 && allocations <= ONE.1,
        "{bytes} bytes, {allocations} allocations"
    );
    // Reading allocates nothing, nor does another variable of the same id, nor counting.
    let ((), bytes, _) = taken_by(|| {
        assert_eq!(store.pin().get(8_usize, ID).cloned(), Some(7));
        store.pin().alloc(16_usize, ID, 8).unwrap();
        assert_eq!((store.len(), store.len_of(ID), store.capacity()), (2, 2, 32));
    });
    assert_eq!(bytes, 0);

    const MANY: usize = 10_000;
    let (many, bytes, _) = taken_by(|| (0..MANY).map(|_| with_one()).collect::<Vec<_>>());
    let each = bytes / MANY - size_of::<ShadowStore>();
    println!("{MANY} stores with one variable each: {each} bytes each");
    assert!(each <= ONE.0, "{each} bytes each");
    drop(many);

    // The threads' own places allocate nothing for a store.
    let ((), bytes, _) = taken_by(|| {
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| (0..1000).for_each(|_| drop(with_one())));
            }
        });
    });
    println!("12 threads that made 1000 stores each left {bytes} bytes");
    assert!(bytes < 1 << 16, "{bytes} bytes left");
}

fn ids() {
    const MANY: u64 = 100_000;
    let store = with_one();
    let (before, after_first) = (store.len(), 1000);
    let make = |ids: std::ops::Range<u64>| {
        for id in ids {
            let id = ShadowId::<u64>::new(id + 100);
            store.pin().alloc(8_usize + 64 * id.get() as usize, id, 7).unwrap();
            assert!(store.pin().free(8_usize + 64 * id.get() as usize, id));
        }
    };
    make(0..after_first);
    store.synchronize().unwrap();
    for many in [2000, 5000, 13_000, 30_000, MANY] {
        let first = store.stats().ids.len() as u64 - before as u64;
        let ((), bytes, _) = taken_by(|| {
            make(first..many);
            store.synchronize().unwrap();
        });
        let each = bytes / (many - first) as usize;
        println!("ids {first} to {many}: {each} bytes each");
        assert!(each <= 200, "{each} bytes for one id more");
    }
    // Ids that one thread counts separately.
    let ((), bytes, _) = taken_by(|| {
        for n in 0..40 {
            let id = ShadowId::<u64>::new(100 + n % 2 * 50_000);
            store.pin().alloc(8_usize, id, n).unwrap();
            assert!(store.pin().free(8_usize, id));
        }
        store.synchronize().unwrap();
    });
    println!("two ids counted apart: {bytes} bytes");
    assert!(bytes <= 3 << 17, "{bytes} bytes to count two ids apart");
    assert_eq!(store.len(), 1);
}

fn flush() {
    let store = with_one();
    // Enough for magazines, in one size class each.
    for n in 1..=40_usize {
        store.pin().alloc(n * 64, ShadowId::<[u64; 2]>::new(2), [0; 2]).unwrap();
        store.pin().alloc(n * 64, ShadowId::<[u64; 6]>::new(3), [0; 6]).unwrap();
        store
            .pin()
            .alloc(n * 64, ShadowId::<[u64; 12]>::new(4), [0; 12])
            .unwrap();
    }
    for n in 2..=40_usize {
        assert_eq!(store.pin().free_object(n * 64), 3);
    }
    let before = store.stats();
    let ((), bytes, _) = taken_by(|| store.synchronize().unwrap());
    let after = store.stats();
    assert_eq!(bytes, 0, "a flush takes memory");
    assert!(after.packed_bytes <= before.packed_bytes);
    // So that no table is replaced meanwhile.
    store.shrink_to_fit();
    store.synchronize().unwrap();
    let after = store.stats();
    // Memory that was never used, and was given back unused, is used by the next allocations.
    for round in 0..20 {
        let ((), bytes, _) = taken_by(|| {
            store
                .pin()
                .alloc(8000_usize, ShadowId::<[u64; 6]>::new(3), [round; 6])
                .map(drop)
                .unwrap();
            assert!(store.pin().free(8000_usize, ShadowId::<[u64; 6]>::new(3)));
            store.flush();
        });
        assert_eq!(bytes, 0, "round {round}");
    }
    assert_eq!(store.stats().packed_bytes, after.packed_bytes);
}

#[test]
fn small_things_take_little() {
    // Allocations that a process and a thread make once.
    drop(with_one());
    let store = with_one();
    store.pin().free(8_usize, ID);
    store.synchronize().unwrap();
    drop(store);
    stores();
    ids();
    flush();
}
