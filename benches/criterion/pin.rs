//! The cost of a guard, and whether a collector per store would cost more than one for all stores.
//!
//! - `pin/shadow_vars`: the store, with one store and with four used in turn;
//! - `pin/one_collector`: crossbeam-epoch alone, one collector and one thread-local handle: the lower bound;
//! - `pin/per_store`: a collector for each store, whose handle is looked up in a thread-local list with the last-used handle in
//!   front. Four stores used in turn miss that front each time, which is the worst case;
//! - `get_hit`: the guard's share of a look-up: 1024 objects, a guard for each look-up compared with one for all.
//!
//! One thread, and nothing is retired, so the cost of collection is not included. Run: `cargo bench -p shadow-benches --bench
//! pin`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shadow_vars::{ShadowId, ShadowStore};

/// Pins per iteration, from the stores in turn.
const PINS: usize = 64;
const OBJECTS: u64 = 1024;
const VALUE: ShadowId<u64> = ShadowId::new(1);

/// One collector for all stores, one handle per thread.
mod one_collector {
    use std::sync::LazyLock;

    use crossbeam_epoch::{Collector, Guard, LocalHandle};

    static COLLECTOR: LazyLock<Collector> = LazyLock::new(Collector::new);
    thread_local!(static HANDLE: LocalHandle = COLLECTOR.register());

    #[inline]
    pub(crate) fn pin() -> Guard {
        HANDLE.with(LocalHandle::pin)
    }

    pub(crate) fn is_pinned() -> bool {
        HANDLE.with(LocalHandle::is_pinned)
    }
}

/// A collector per store. Safe code is used only where it costs nothing: this is the design at its best.
mod per_store {
    use std::cell::{Cell, RefCell};
    use std::ptr;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crossbeam_epoch::{Collector, Guard, LocalHandle};

    pub(crate) struct Store {
        id: u64,
        collector: Collector,
    }

    thread_local! {
        /// The store used last, and its handle, which `HANDLES` owns.
        static LAST: Cell<(u64, *const LocalHandle)> = const { Cell::new((0, ptr::null())) };
        /// This thread's handle for each store. Boxed, so that they do not move when the list grows.
        #[allow(clippy::vec_box, reason = "LAST points into the boxes")]
        static HANDLES: RefCell<Vec<(u64, Box<LocalHandle>)>> = const { RefCell::new(Vec::new()) };
    }

    impl Store {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(1);
            // Relaxed: only uniqueness matters.
            Store {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                collector: Collector::new(),
            }
        }

        #[inline]
        pub(crate) fn pin(&self) -> Guard {
            let (id, handle) = LAST.get();
            if id == self.id {
                // SAFETY: `LAST` only ever points to a box in `HANDLES` of this thread, which drops none of them before the
                // thread ends; no benchmark pins while its thread ends.
                unsafe { &*handle }.pin()
            } else {
                self.pin_other()
            }
        }

        /// Pins a store other than the one that this thread used last.
        #[inline(never)]
        fn pin_other(&self) -> Guard {
            HANDLES.with_borrow_mut(|handles| {
                let at = handles.iter().position(|(id, _)| *id == self.id).unwrap_or_else(|| {
                    handles.push((self.id, Box::new(self.collector.register())));
                    handles.len() - 1
                });
                let handle = &*handles[at].1;
                LAST.set((self.id, handle));
                handle.pin()
            })
        }

        pub(crate) fn owns(&self, guard: &Guard) -> bool {
            guard.collector() == Some(&self.collector)
        }
    }
}

fn pin(c: &mut Criterion) {
    let mut group = c.benchmark_group("pin");
    group.throughput(Throughput::Elements(PINS as u64));

    for stores in [1, 4] {
        let shadow: Vec<ShadowStore> = (0..stores).map(|_| ShadowStore::new()).collect();
        for store in &shadow {
            assert!(std::ptr::eq(store.pin().store(), store));
        }
        group.bench_function(format!("shadow_vars/stores_{stores}"), |b| {
            b.iter(|| {
                for i in 0..PINS {
                    drop(black_box(shadow[i % stores].pin()));
                }
            });
        });
    }

    let guard = one_collector::pin();
    assert!(one_collector::is_pinned());
    drop(guard);
    assert!(!one_collector::is_pinned());
    group.bench_function("one_collector", |b| {
        b.iter(|| {
            for _ in 0..PINS {
                drop(black_box(one_collector::pin()));
            }
        });
    });

    for stores in [1, 4] {
        let rivals: Vec<per_store::Store> = (0..stores).map(|_| per_store::Store::new()).collect();
        for _ in 0..2 {
            for (i, rival) in rivals.iter().enumerate() {
                let guard = rival.pin();
                assert!(
                    rivals
                        .iter()
                        .enumerate()
                        .all(|(j, other)| other.owns(&guard) == (i == j))
                );
            }
        }
        group.bench_function(format!("per_store/stores_{stores}"), |b| {
            b.iter(|| {
                for i in 0..PINS {
                    drop(black_box(rivals[i % stores].pin()));
                }
            });
        });
    }
    group.finish();
}

fn get_hit(c: &mut Criterion) {
    let store = ShadowStore::new();
    // Real addresses, because the hash must cope with their regular distances.
    let objects: Vec<Box<[u64; 8]>> = (0..OBJECTS).map(|i| Box::new([i; 8])).collect();
    let vars = store.pin();
    for (object, i) in objects.iter().zip(0u64..) {
        assert!(matches!(vars.alloc(&**object, VALUE, i), Ok(value) if *value == i));
    }
    drop(vars);
    let expected: u64 = (0..OBJECTS).sum();

    let mut group = c.benchmark_group("get_hit");
    group.throughput(Throughput::Elements(OBJECTS));
    group.bench_function("guard_per_get", |b| {
        b.iter(|| {
            let sum: u64 = objects
                .iter()
                .map(|object| *store.pin().get(&**object, VALUE).expect("allocated above"))
                .sum();
            assert_eq!(sum, expected);
        });
    });
    group.bench_function("guard_reused", |b| {
        b.iter(|| {
            let vars = store.pin();
            let sum: u64 = objects
                .iter()
                .map(|object| *vars.get(&**object, VALUE).expect("allocated above"))
                .sum();
            assert_eq!(sum, expected);
        });
    });
    group.finish();
}

criterion_group!(benches, pin, get_hit);
criterion_main!(benches);
