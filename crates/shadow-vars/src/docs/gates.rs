//! Regression gates for one's own hot path.
//!
//! A look-up costs a few nanoseconds, which is less than the noise of most benchmarks in continuous integration. Counts are
//! exact, and the same on a busy machine: instructions, allocations, and the store's own statistics. Gate those, and measure times
//! on a quiet machine, from time to time. `cargo run --release --example gate` is a gate in a hundred lines.
//!
//! # What the path must not do
//!
//! The statistics tell whether a path that should only look up does more. This is a test like any other:
//!
//! ```rust
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use shadow_vars::{ShadowId, ShadowStore};
//!
//! const HITS: ShadowId<AtomicU64> = ShadowId::new(1);
//!
//! fn hit(store: &ShadowStore, object: &u64) {
//!     let vars = store.pin();
//!     if let Ok(hits) = vars.get_or_alloc(object, HITS, AtomicU64::new(0)) {
//!         hits.fetch_add(1, Ordering::Relaxed);
//!     }
//! }
//!
//! let (store, object) = (ShadowStore::new(), 7);
//! hit(&store, &object); // the first time creates the variable
//! let before = store.stats();
//! for _ in 0..1_000 {
//!     hit(&store, &object);
//! }
//! let after = store.stats();
//! assert_eq!((before.created, before.freed, before.growths), (after.created, after.freed, after.growths));
//! ```
//!
//! For allocations, a test replaces the global allocator by one that counts, as in any program. A look-up allocates nothing, except
//! that a thread's first guard may.
//!
//! # Instructions
//!
//! Valgrind counts the instructions of a whole program. To get those of one operation, run the program twice, with `n` and with
//! `m` operations, and divide the difference of the totals by `m - n`: start and end cancel out. The crates `iai-callgrind` and
//! `gungraun` do it for single functions.
//!
//! - Build as for release, with debug assertions off, and with the same flags, profile and compiler each time.
//! - Set a [seed](crate::Builder::hash_seed), and place objects at the same addresses, or take the mean of many objects: how far a
//!   look-up has to probe depends on both.
//! - Warm up: a thread's first guard, an id's first use in a store and a variable's creation are paid once.
//! - Valgrind runs one thread at a time, and counts no waiting: it shows what a path costs alone. Contention is a matter of
//!   times.
//! - Compare with a recorded count, and allow one or two per cent; a compiler may change more than that, so record anew when it
//!   is updated, in a commit of its own.
//!
//! # Memory
//!
//! [`Stats::retired_bytes`](crate::Stats::retired_bytes) after a fixed number of replacements, and
//! [`Stats::packed_bytes`](crate::Stats::packed_bytes) after a fixed number of creations, are reproducible to within a batch. Gate
//! them where memory matters; see [memory](super::memory).
