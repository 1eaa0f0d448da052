//! The pool: memory that it gives out has no other owner, wherever it was freed, and empty chunks are released.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::thread;

use crate::ShadowId;
use crate::pool::{MAGAZINE, Pool, Size};
use crate::shard::Shard;
use crate::store::ShadowStore;

const SHARDS: usize = 4;

/// Memory from the pool, filled with a pattern of its own.
struct Held {
    memory: NonNull<u8>,
    layout: Layout,
    fill: u8,
}

// SAFETY: the memory is the holder's alone.
unsafe impl Send for Held {}

impl Held {
    fn new(pool: &Pool, layout: Layout, fill: u8) -> Self {
        let memory = pool.alloc(Size::of(layout), Shard::of(SHARDS)).unwrap();
        assert!(memory.addr().get().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: the pool returned memory of the layout's size, which belongs to this thread alone.
        unsafe { memory.write_bytes(fill, layout.size()) };
        Self { memory, layout, fill }
    }

    /// Frees the memory, after a check that no other thread has written to it.
    fn free(self, pool: &Pool) {
        // SAFETY: written by `new`.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.layout.size()) };
        assert!(bytes.iter().all(|&byte| byte == self.fill), "given out twice");
        // SAFETY: `new` allocated it there with this layout.
        unsafe { pool.dealloc(self.memory, Size::of(self.layout), Shard::of(SHARDS)) };
    }
}

/// Sizes around every class, some too large or too strictly aligned to be packed.
fn layout(random: u64) -> Layout {
    let align = 1 << (random >> 8 & 7);
    Layout::from_size_align(1 + (random % 160) as usize, align).unwrap()
}

/// Marsaglia's xorshift.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn memory_is_given_out_once_at_a_time() {
    for packed in [true, false] {
        let pool = Pool::new(SHARDS, packed);
        let mut random = 0x5eed;
        let mut held = Vec::new();
        for round in 0..200_000_u32 {
            // Grows to some thousands, and shrinks again.
            let grow = round / 20_000 % 2 == 0;
            if held.is_empty() || next(&mut random) % 4 < if grow { 3 } else { 1 } {
                held.push(Held::new(&pool, layout(next(&mut random)), random as u8));
            } else {
                let at = next(&mut random) as usize % held.len();
                held.swap_remove(at).free(&pool);
            }
        }
        assert_eq!(pool.bytes().0 > 0, packed);
        held.drain(..).for_each(|held| held.free(&pool));
    }
}

/// Threads that only allocate, threads that only free, and more of them than there are shards to own.
#[test]
fn memory_may_be_given_back_by_any_thread() {
    let pool = Pool::new(SHARDS, true);
    thread::scope(|scope| {
        for seed in 1..=4_u64 {
            let (send, receive) = mpsc::sync_channel::<Held>(1000);
            let pool = &pool;
            scope.spawn(move || {
                let mut random = seed * 0x9e37_79b9;
                for _ in 0..30_000 {
                    let held = Held::new(pool, layout(next(&mut random)), random as u8);
                    send.send(held).unwrap();
                }
            });
            scope.spawn(move || receive.into_iter().for_each(|held| held.free(pool)));
        }
    });
}

/// A shard's magazines pass from thread to thread with it: nothing is lost when threads begin and end.
#[test]
fn threads_leave_what_they_had_to_the_next() {
    let pool = Pool::new(SHARDS, true);
    let layout = Layout::new::<[u64; 4]>();
    for _ in 0..100 {
        thread::scope(|scope| {
            scope.spawn(|| {
                let held: Vec<_> = (0..3000).map(|n| Held::new(&pool, layout, n as u8)).collect();
                held.into_iter().for_each(|held| held.free(&pool));
            });
        });
    }
    // What one of the threads had, and what each shard retains: a thread may begin before the last has released its
    // shard. And chunks are whole.
    let most = 3000 * layout.size() + SHARDS * 2 * MAGAZINE + 2 * (64 << 10);
    assert!(pool.bytes().0 <= most, "{} bytes, {most} at most", pool.bytes().0);
}

#[test]
fn empty_chunks_go_back() {
    let pool = Pool::new(SHARDS, true);
    let layout = Layout::new::<[u64; 4]>();
    let mut held: Vec<_> = (0..400_000).map(|n| Held::new(&pool, layout, n as u8)).collect();
    let full = pool.bytes().0;
    // At most an eighth is lost to heads, to what a magazine has, and to the last chunk.
    assert!((12_800_000..12_800_000 * 9 / 8 + (2 << 20)).contains(&full), "{full}");
    let mut random = 7;
    while held.len() > 1000 {
        let at = next(&mut random) as usize % held.len();
        held.swap_remove(at).free(&pool);
    }
    held.into_iter().for_each(|held| held.free(&pool));
    // The nodes of the magazine may lie in any chunk.
    pool.flush(Shard::of(SHARDS), false);
    // A chunk that is retained, and the one from which memory is given out.
    assert!(pool.bytes().0 <= 2 << 21, "{} bytes of {full}", pool.bytes().0);
}

#[test]
fn a_store_says_what_it_holds_and_gives_it_back() {
    const ID: ShadowId<u64> = ShadowId::new(1);
    let store = ShadowStore::new();
    assert_eq!(store.stats().packed_bytes, 0);
    (1..=200_000_usize).for_each(|obj| store.pin().alloc(obj * 8, ID, 0).map(drop).unwrap());
    let full = store.stats().packed_bytes;
    assert!(full >= 200_000 * 32, "{full}");
    assert_eq!(store.pin().free_all(ID), 200_000);
    store.synchronize().unwrap();
    let stats = store.stats();
    assert!(stats.packed_bytes < full / 2, "{} of {full}", stats.packed_bytes);
    assert_eq!(stats.packed_free_bytes, stats.packed_bytes);
}
