//! Memory is reused: variables are created and freed at the same few addresses, or at ever new ones, and the table must not
//! degrade.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use shadow_vars::{Asymmetric, Reclaim, ShadowId, ShadowStore, Stats};
use support::configs::Config;
use support::on_every_store;

on_every_store!(few_addresses_on_a_small_table, new_addresses_on_a_small_table);

const N: ShadowId<usize> = ShadowId::new(0x61);
const LIVE: usize = 1 << 16;

/// The number of tables that were made since the store was built.
fn tables(stats: &Stats) -> u64 {
    stats.growths + stats.shrinks + stats.rebuilds
}

/// Returns a store with 64 k variables that stay.
fn settled() -> ShadowStore<Asymmetric> {
    let store = ShadowStore::builder().capacity(LIVE).hash_seed(1).build().unwrap();
    (0..LIVE).for_each(|n| store.pin().alloc(0x10_0000_0000 + n * 64, N, n).map(drop).unwrap());
    store
}

fn check_settled(store: &ShadowStore<Asymmetric>) {
    assert_eq!(store.len(), LIVE);
    assert!((0..LIVE).all(|n| store.pin().get(0x10_0000_0000 + n * 64, N).cloned() == Some(n)));
}

/// Ten million times attach and free: each address claims one slot, once, so no table is ever replaced because of it.
#[test]
fn ten_million_cycles_on_a_few_addresses() {
    const CYCLES: usize = 10_000_000;
    const THREADS: usize = 2;
    let store = settled();
    let before = tables(&store.stats());
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let mut pin = store.pin();
                for cycle in 0..CYCLES / THREADS {
                    // Eight addresses for each thread; half of them odd, whose tombs are records.
                    let obj = 0x20_0000_0000 + thread * 4096 + cycle % 8 * 65;
                    assert!(pin.alloc(obj, N, cycle).is_ok_and(|&value| value == cycle));
                    assert!(pin.free(obj, N));
                    if cycle % 64 == 0 {
                        pin.repin();
                    }
                }
            });
        }
    });
    let stats = store.stats();
    println!(
        "{CYCLES} cycles in {:?}, {} new tables",
        start.elapsed(),
        tables(&stats) - before
    );
    assert_eq!((stats.created, stats.freed), ((CYCLES + LIVE) as u64, CYCLES as u64));
    assert_eq!(tables(&stats), before, "{stats:?}");
    check_settled(&store);
}

/// Addresses that are never reused leave a tomb each: the table is rebuilt whenever they have claimed a third of its size,
/// not more often, and does not grow with their number.
#[test]
fn a_million_addresses_that_never_come_back() {
    const CYCLES: usize = 1_000_000;
    let store = settled();
    let (before, capacity) = (tables(&store.stats()), store.capacity());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(1000, Ordering::Relaxed);
                    if first >= CYCLES {
                        return;
                    }
                    for cycle in first..first + 1000 {
                        let obj = 0x20_0000_0000 + cycle * 16 + cycle % 2;
                        store.pin().alloc(obj, N, cycle).unwrap();
                        assert_eq!(store.pin().free_with(obj, N, |_, &value| value), Some(cycle));
                    }
                }
            });
        }
    });
    let stats = store.stats();
    let made = tables(&stats) - before;
    println!("{CYCLES} new addresses, {made} new tables of {capacity} slots: {stats:?}");
    assert!(made <= (CYCLES / (capacity / 3)) as u64 + 1, "{stats:?}");
    // One more than the requested number may be one doubling more.
    assert!(stats.capacity <= 2 * capacity, "{stats:?}");
    check_settled(&store);
}

fn few_addresses_on_a_small_table<R: Reclaim>(config: &Config) {
    let store = config.build::<R>();
    for cycle in 0..20_000 {
        let obj = cycle % 3 * 9;
        store.pin().alloc(obj, N, cycle).unwrap();
        assert_eq!(store.pin().get(obj, N).cloned(), Some(cycle));
        assert!(store.pin().free(obj, N));
    }
    let stats = store.stats();
    assert!(tables(&stats) <= 1 && stats.claimed <= 3, "{stats:?}");
}

fn new_addresses_on_a_small_table<R: Reclaim>(config: &Config) {
    const CYCLES: usize = 20_000;
    let store = config.build::<R>();
    let capacity = store.capacity();
    for cycle in 0..CYCLES {
        store.pin().alloc(cycle * 9, N, cycle).unwrap();
        assert!(store.pin().free(cycle * 9, N));
    }
    let stats = store.stats();
    assert!(tables(&stats) <= (CYCLES / (capacity / 3)) as u64 + 1, "{stats:?}");
    assert!(stats.capacity <= capacity, "{stats:?}");
    store.synchronize().unwrap();
    assert_eq!(store.stats().retired_objects, 0);
}

/// Raw variables are zeroed, also in memory that is used again.
#[test]
fn raw_memory_is_zero() {
    const SIZE: usize = 408;
    let store = ShadowStore::new();
    let (id, raw) = (ShadowId::<[u8; SIZE]>::new(1), 2);
    let layout = std::alloc::Layout::new::<[u8; SIZE]>();
    // Reused memory is not zeroed by the allocator.
    for _ in 0..100 {
        store.pin().alloc(0x5000, id, [u8::MAX; SIZE]).unwrap();
        assert!(store.pin().free(0x5000, id));
        store.flush();
        let pin = store.pin();
        // SAFETY: no constructor is given.
        let made = unsafe { pin.raw_get_or_alloc(0x5000, raw, layout, None, std::ptr::null_mut()) }.unwrap();
        // SAFETY: the variable has this size, and no other thread writes it.
        let bytes = unsafe { made.as_ptr().cast::<[u8; SIZE]>().read() };
        assert_eq!(bytes, [0; SIZE]);
        // SAFETY: no destructor is given.
        assert!(unsafe { pin.raw_free(0x5000, raw, None, std::ptr::null_mut()) });
    }
}
