//! What to mind.
//!
//! # Address reuse
//!
//! A parent is an address and nothing more. If its variables are not freed before its memory is, the next object at that
//! address inherits them: `get` finds the old value, `alloc` finds it taken. Call
//! [`free_object`](crate::Pinned::free_object) before the parent goes, or let [`Parent`](crate::Parent) do it, or
//! [`Attached`](crate::Attached) if the object is somebody else's:
//!
//! ```
//! use shadow_vars::{ShadowId, ShadowStore};
//! const MARK: ShadowId<&str> = ShadowId::new(1);
//! let store = ShadowStore::new();
//! let mut slot = 1_u32; // memory that is used for one object after another
//! store.alloc(&slot, MARK, "the first")?;
//! slot = 2; // the first object is gone, its variable is not
//! assert_eq!(store.get_cloned(&slot, MARK), Some("the first"));
//! store.free_object(&slot);
//! assert_eq!(store.get_cloned(&slot, MARK), None);
//! # Ok::<(), shadow_vars::AllocError<&str>>(())
//! ```
//!
//! Both free the variables before the object is dropped, and again after, as its own `Drop` may have attached some. What the
//! `Drop` of a *variable's value* attaches to the parent comes later, when nobody can hold the value any more, and is left
//! to whoever is at the address then: do not do that.
//!
//! Reuse itself is cheap: an address that comes back gets its old slot, so a program that makes and frees objects all day
//! makes no table grow.
//!
//! # The address of what?
//!
//! A reference to a [handle](crate::Handle), such as `&boxed` or `&arc`, is the address of a variable on the stack, and does
//! not compile where a parent is asked for. Write `&*boxed`, [`ObjAddr::of_box`](crate::ObjAddr::of_box),
//! [`of_arc`](crate::ObjAddr::of_arc) or [`of_pin`](crate::ObjAddr::of_pin). Generic code is taken at its word: its `&T` is
//! the address of a `T`, also if that is a `Box`. Objects of size 0 have no address of their own. A struct and its first
//! field have the same address; give them different ids.
//!
//! # Stalled guards
//!
//! While a guard exists, nothing that is freed after it was made is dropped, in any store of the same backend. A thread that
//! sleeps with a guard makes memory wait:
//! [`Stats::retired_bytes`](crate::Stats::retired_bytes) shows how much. With the default backend and [`Eras`](crate::Eras), a guard that is older than ten
//! seconds, or whatever [`report_old_guards`](crate::report_old_guards) sets, is reported once by a `tracing` warning that names
//! the thread, or the place in the program where an owned guard was made; and
//! [`Stats::old_guards`](crate::Stats::old_guards), [`oldest_guard`](crate::Stats::oldest_guard) and
//! [`held_back_bytes`](crate::Stats::held_back_bytes) say how many there are, how old, and what waits for them. In long loops,
//! [`repin`](crate::Pinned::repin). Holding a lock that lives in a variable means holding the guard as long; that is fine
//! for a critical section. A thread that waits for another's constructor holds its guard meanwhile.
//!
//! With [`Eras`](crate::Eras) in place of the default backend a stalled guard holds back only what already existed when it
//! stalled, however long that lasts:
//!
//! ```
//! use shadow_vars::{Eras, ShadowId, ShadowStore};
//! const N: ShadowId<u64> = ShadowId::new(1);
//! let store = ShadowStore::<Eras>::default();
//! store.alloc(8_usize, N, 0)?;
//! let stalled = store.pin_owned(); // held across an await point, say
//! let found = stalled.get(8_usize, N);
//! for n in 1..100_000 {
//!     store.free(8_usize, N);
//!     store.alloc(8_usize, N, n)?;
//! }
//! assert_eq!(found, Some(&0));
//! assert!(store.stats().retired_objects < 5_000); // all of them, with any other backend
//! # Ok::<(), shadow_vars::AllocError<u64>>(())
//! ```
//!
//! It stalls with its last look-up. A guard that is held for long and goes on looking things up holds back what is freed
//! meanwhile, as with the other backends. Beside what existed, up to four batches of each thread wait, and what is created until
//! the next era begins: when a batch is closed, or after 1,024 creations of one thread. What a guard has held is dropped in the
//! course of half as many frees after it has gone, or by the next [`flush`](crate::ShadowStore::flush). It costs 16 bytes a
//! variable, a few instructions a look-up, and look-ups that are lock-free in place of wait-free: one that meets the
//! beginning of an era tries again. A look-up under an [owned guard](crate::ShadowStore::pin_owned) fences twice, which takes
//! some 20 ns more.
//!
//! # When values are dropped
//!
//! Freed values are dropped by later operations, one or two by each free, never by readers and never under a guard that was
//! there when they were freed (but with [`Eras`](crate::Eras) under one that cannot have found them). How soon, with the default
//! backend or `Eras`, and while no guard holds them back:
//!
//! - Values that own nothing wait until a thread has freed a batch or two of them ([`Builder::batch`](crate::Builder::batch)):
//!   only their memory does.
//! - Values with destructors are dropped by one of the next frees: at once if frees are rare; else as many wait as are freed in
//!   the pause that follows each of the system's barriers (64 times what the barrier took: some tens of microseconds, two
//!   milliseconds at most). An operation drops sixteen of these at most, where none is swept or flushed.
//! - What a thread leaves that falls silent goes with the next few dozen frees of others. What is older than ten milliseconds
//!   goes with the next operation that creates or frees, or `flush`, **of any store of the process**, by
//!   [`ShadowStore`](crate::ShadowStore) or [`Variable`](crate::Variable) (not under a guard of the caller's): so the `Drop` of a
//!   value may run in a thread that knows nothing of its store. It must not wait for locks that such a thread may hold.
//! - Values that own much which the store cannot see, as a `Vec` does, count by their own bytes, unless the store is told how to
//!   [weigh](crate::ShadowStore::weigh) those of their id: then 64 KiB that they own are as good as a batch, with every backend.
//! - When nothing happens at all, it waits, unless the service has called [`start_reclaimer`](crate::start_reclaimer): then it
//!   goes within 100 ms.
//!
//! With [`Epoch`](crate::Epoch) and `Seize`, whose grace periods take memory, all values wait for a batch, for
//! [`flush`](crate::ShadowStore::flush) or [`synchronize`](crate::ShadowStore::synchronize) of their store, or for the reclaimer.
//! [`Stats::oldest_retired`](crate::Stats::oldest_retired) says how old the oldest is. The [`global`](crate::global) store is
//! never dropped.
//!
//! # Many ids on one parent
//!
//! The variables of a parent are put into buckets of eight, one cache line each: by the order in which a store first sees
//! ids, four of them to a bucket, in sixteen buckets in turn, and on in the next when one is full. So up to 64 ids on
//! every parent cost a look-up little more than its one line. Beyond, runs of buckets grow: thousands of ids on one parent
//! make sixteen long ones, which each look-up of that parent has to walk, and of every other that comes later and belongs
//! there.
//!
//! [`free_object`](crate::Pinned::free_object) and [`ids_of`](crate::Pinned::ids_of) look into all of a parent's buckets:
//! one for every four ids that the store has ever seen, sixteen at most, whether the parent has variables there or not.
//!
//! # Many ids
//!
//! The store remembers each id that was ever used: less than 200 bytes, and for those that are used often, counters in each thread that does. The first 65,535 have the short way
//! into the table; variables of later ones, and of addresses that are not a multiple of 8 or beyond 48 bits, need 24 to
//! 40 bytes more, and are found a little more slowly. There can be 2^32.
//!
//! # Memory
//!
//! A variable takes its value and 16 bytes, rounded up to 16, and about 16 bytes of the table. What takes 128 or less is
//! packed into chunks, of 256 bytes at first and of 64 KiB later, and of 2 MiB from the first mebibyte of its size class on; the rest comes from the
//! allocator one by one. A thread keeps up to 128 KiB of each size for what it creates next; chunks go back when nothing in
//! them is in use. [`flush`](crate::ShadowStore::flush), [`synchronize`](crate::ShadowStore::synchronize) and
//! [`shrink_to_fit`](crate::ShadowStore::shrink_to_fit) give back what the calling thread keeps.
//! Variables do not move, so a chunk may stay for one variable: [`Stats`](crate::Stats) says
//! what a store holds, and how much of that is free.
//!
//! On Linux, tables and chunks of 2 MiB and more do not come from the global allocator: they are mappings of their own, for
//! which huge pages are asked where the system gives them on request ([`mapped_bytes`](crate::mapped_bytes) says how much).
//! Look-ups beyond the caches gain a tenth and more. The first insert into such a page pays for clearing it: 0.3 ms where we
//! measured it, and milliseconds in a virtual machine whose host has to find the memory. Who would rather have more and
//! shorter pauses turns huge pages off for the process (`prctl` with `PR_SET_THP_DISABLE`).
//!
//! # What must not wait for what
//!
//! A constructor may use the store, wait for locks, and create other variables. It must not wait for another thread that
//! wants *its* variable: if that happens through the store, it is an error
//! ([`Cycle`](crate::StoreError::Cycle), [`Recursion`](crate::StoreError::Recursion)); if it happens through other means
//! (a `join`, a channel), the store cannot see it, and it is a deadlock like any other.
//! [`synchronize`](crate::ShadowStore::synchronize) must not be called by a thread that holds an
//! [owned guard](crate::ShadowStore::pin_owned).
//!
//! # Constructors and thread pools
//!
//! A worker of a pool that waits inside a constructor for a part of it (rayon's `join`, `scope` and parallel iterators)
//! takes up other work meanwhile. If that asks for the same variable, it is told `Recursion`. If a worker that has taken up a
//! *part* of a constructor asks for the variable on top of it, the constructor and the worker wait for each other. With the
//! feature `rayon`, on Linux, a waiter on a worker of the pool finds that within a tenth of a second or a few, when all the
//! pool has come to a stop, and is told `Cycle`; without, it is a deadlock, and so it is if the constructor itself runs
//! outside the pool, or in another one. It goes by signs: a constructor that waits, on a worker, for another pool, or for a
//! thread that is in none, looks the same, and who waits for it may be told `Cycle`, too. The way out is to have nothing parallel in a constructor: look first, work
//! outside, and hand the value in.
//!
//! ```
//! # use shadow_vars::{AllocError, ShadowId, ShadowStore};
//! # fn in_parallel() -> u64 { 7 }
//! # const SUM: ShadowId<u64> = ShadowId::new(1);
//! # let (store, object) = (ShadowStore::new(), 0_u32);
//! let sum = match store.get_cloned(&object, SUM) {
//!     Some(sum) => sum,
//!     // Several may work, one is taken.
//!     None => store.get_or_alloc(&object, SUM, in_parallel(), |sum| *sum)?,
//! };
//! # assert_eq!(sum, 7);
//! # Ok::<(), AllocError<u64>>(())
//! ```
//!
//! Nor should a guard be held across parallel work if other work of the pool calls
//! [`synchronize`](crate::ShadowStore::synchronize): on top of the guard it is told `Pinned`, and on top of a part that the
//! guard's holder waits for it waits for ever.
//!
//! # Out of memory
//!
//! Creating a variable gives an error, and the value back, also after waiting for another thread's constructor. A table that
//! cannot be replaced goes on until it is full. Building a store gives an error, and the names in a
//! [`TypeMismatch`](crate::TypeMismatch) may be empty. Freeing, reading, waiting and dropping a store need no memory.
//! [`processes`](super::processes) says what does and has no error to give.
//!
//! # Platforms
//!
//! 64-bit only. Memory beyond 48 bits of address (five-level page tables, asked for by hint) is not used for variables; as
//! parents, such addresses work.
