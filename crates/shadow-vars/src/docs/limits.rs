//! Pitfalls and limits.
//!
//! # Address reuse
//!
//! A parent is known by its address only. If its variables are not freed before its memory is, the next object at that
//! address inherits them: `get` finds the old value, and `alloc` fails because the variable exists. Call
//! [`free_object`](crate::Pinned::free_object) before the parent is dropped, or use [`Parent`](crate::Parent), which does
//! it, or [`Attached`](crate::Attached) if other code owns the object:
//!
//! ```
//! use shadow_vars::{ShadowId, ShadowStore};
//! const MARK: ShadowId<&str> = ShadowId::new(1);
//! let store = ShadowStore::new();
//! let mut slot = 1_u32; // memory that holds one object after another
//! store.pin().alloc(&slot, MARK, "the first")?;
//! slot = 2; // the first object no longer exists, but its variable does
//! assert_eq!(store.pin().get(&slot, MARK).cloned(), Some("the first"));
//! store.pin().free_object(&slot);
//! assert_eq!(store.pin().get(&slot, MARK).cloned(), None);
//! # Ok::<(), shadow_vars::AllocError<&str>>(())
//! ```
//!
//! Both free the variables before the object is dropped, and again afterwards, as the object's own `Drop` may have
//! attached some. Avoid attaching variables to the parent in the `Drop` of a *variable's value*: such values are dropped
//! later, when no guard protects them any more, and the new variable then belongs to whichever object is at the address.
//!
//! Reusing addresses is cheap: an address that is used again gets its old slot, so a program that allocates and frees
//! objects all day does not make the table grow.
//!
//! # The address of what?
//!
//! A reference to a [handle](crate::Handle), such as `&boxed` or `&arc`, is the address of a variable on the stack, and
//! does not compile where a parent is expected. Write `&*boxed`, [`ObjAddr::of_box`](crate::ObjAddr::of_box),
//! [`of_arc`](crate::ObjAddr::of_arc) or [`of_pin`](crate::ObjAddr::of_pin). Generic code is not checked: its `&T` is the
//! address of a `T`, even if that is a `Box`. Objects of size 0 have no address of their own. A struct and its first
//! field have the same address; use different ids for them.
//!
//! # Stalled guards
//!
//! While a guard exists, no value that is freed after it was taken is dropped, in any store of the same backend. A thread
//! that sleeps with a guard therefore makes freed memory accumulate:
//! [`Stats::retired_bytes`](crate::Stats::retired_bytes) shows how much.
//!
//! With the default backend and [`Eras`](crate::Eras), a guard that is older than ten seconds (or the age set by
//! [`report_old_guards`](crate::report_old_guards)) is reported once, by a `tracing` warning that names the thread, or
//! the place in the source where an owned guard was taken. [`Stats::old_guards`](crate::Stats::old_guards),
//! [`oldest_guard`](crate::Stats::oldest_guard) and [`held_back_bytes`](crate::Stats::held_back_bytes) give the number of
//! such guards, the age of the oldest, and how much waits for them. In long loops, call [`repin`](crate::Pinned::repin).
//! Holding a lock that is stored in a variable means holding the guard as long; that is fine for a critical section. A
//! thread that waits for another thread's constructor holds its guard meanwhile.
//!
//! With [`Eras`](crate::Eras) instead of the default backend, a stalled guard holds back only values that already existed
//! when it stalled, however long that lasts:
//!
//! ```
//! use shadow_vars::{Eras, ShadowId, ShadowStore};
//! const N: ShadowId<u64> = ShadowId::new(1);
//! let store = ShadowStore::<Eras>::default();
//! store.pin().alloc(8_usize, N, 0)?;
//! let stalled = store.pin_owned(); // held across an await point, say
//! let found = stalled.get(8_usize, N);
//! for n in 1..100_000 {
//!     store.pin().free(8_usize, N);
//!     store.pin().alloc(8_usize, N, n)?;
//! }
//! assert_eq!(found, Some(&0));
//! assert!(store.stats().retired_objects < 5_000); // all of them, with any other backend
//! # Ok::<(), shadow_vars::AllocError<u64>>(())
//! ```
//!
//! The time of the last look-up counts: a guard that is held for long and continues to look things up holds back what is
//! freed meanwhile, as with the other backends. In addition to what existed, up to four batches of each thread wait, and
//! what is created until the next era begins: when a batch is closed, or after 1,024 creations of one thread. When the
//! guard is dropped, the values that it held back are dropped in the course of half as many frees, or by the next
//! [`flush`](crate::ShadowStore::flush). The backend costs 16 bytes per variable and a few instructions per look-up, and
//! its look-ups are lock-free instead of wait-free: a look-up that coincides with the beginning of an era retries. A
//! look-up under an [owned guard](crate::ShadowStore::pin_owned) executes two fences, which takes about 20 ns more.
//!
//! # When values are dropped
//!
//! Freed values are dropped by later operations, one or two by each free, never by readers, and never under a guard that
//! existed when they were freed (with [`Eras`](crate::Eras), never under one that can have found them). With the default
//! backend or `Eras`, and while no guard holds them back, they wait for this long:
//!
//! - Values that own nothing wait until a thread has freed one or two batches of them
//!   ([`Builder::batch`](crate::Builder::batch)); only their memory waits.
//! - Values with destructors are dropped by one of the next frees: at once if frees are rare, and by one of the next few
//!   dozen in a burst after a quiet time. In the long run, as many wait as are freed in the pause that follows each of
//!   the system's barriers (64 times as long as the barrier took: some tens of microseconds, two milliseconds at most).
//!   One operation drops some thirty of these at most, except for sweeps and flushes.
//! - Values that were left behind by a thread that has become idle are dropped by the next few dozen frees of other
//!   threads. Values older than ten milliseconds are dropped by the next `flush`, or as the next guard ends under which
//!   something was created or freed, **of any store of the process** (unless the thread holds another guard). So a
//!   value's `Drop` may run on a thread that does not use its store otherwise, and must not wait for locks that such a
//!   thread may hold.
//! - Values that own memory which the store cannot see, as a `Vec` does, are counted by their own size only, unless a
//!   function is set that [weighs](crate::ShadowStore::weigh) the values of their id. Then 64 KiB of owned memory close a
//!   batch, with every backend.
//! - If no operation runs at all, values wait, unless the service has called [`start_reclaimer`](crate::start_reclaimer):
//!   then they are dropped within 100 ms.
//!
//! With [`Epoch`](crate::Epoch) and `Seize`, whose grace periods allocate memory, all values wait until a batch is full,
//! for [`flush`](crate::ShadowStore::flush) or [`synchronize`](crate::ShadowStore::synchronize) of their store, or for
//! the reclaimer. [`Stats::oldest_retired`](crate::Stats::oldest_retired) tells how long the oldest has waited. The
//! [`global`](crate::global) store is never dropped.
//!
//! # Guards in a statement
//!
//! A guard that is taken within a statement, as in `store.pin().get(object, ID)`, is held to the end of the statement: in a
//! `match` or `if let` through its arms, in an `assert!` over the whole condition. Write a `let` first where that is too
//! long; clippy's `significant_drop_in_scrutinee` finds such places. [`synchronize`](crate::ShadowStore::synchronize)
//! in the same statement returns [`SyncError::Pinned`](crate::SyncError::Pinned). A guard of a thread that is held across
//! an `.await` does not compile where the future is sent; for executors that send none, clippy's
//! `await-holding-invalid-types` can be told of `shadow_vars::Pinned`.
//!
//! # Many ids on one parent
//!
//! The variables of a parent are placed in buckets of eight slots, one cache line each. Ids are assigned to buckets in
//! the order in which a store first sees them: four ids to a bucket, in sixteen buckets in turn, continuing in the next
//! bucket when one is full. So with up to 64 ids on every parent, a look-up costs little more than its one cache line.
//! Beyond that, runs of buckets grow: thousands of ids on one parent make sixteen long runs, which must be walked by each
//! look-up of that parent, and of every other parent whose variables are placed there later.
//!
//! [`free_object`](crate::Pinned::free_object) and [`ids_of`](crate::Pinned::ids_of) visit all buckets of a parent: one
//! for every four ids that the store has ever seen, sixteen at most, whether the parent has variables there or not.
//!
//! # Many ids
//!
//! The store remembers each id that was ever used, in less than 200 bytes, plus counters in each thread that uses the id
//! often. The first 65,535 ids have a compact form in the table. Variables of later ids, and of addresses that are not a
//! multiple of 8 or exceed 48 bits, need 24 to 40 bytes more, and are found a little more slowly. There can be 2^32 ids.
//!
//! # Memory
//!
//! A variable takes the size of its value plus 16 bytes, rounded up to a multiple of 16, and about 16 bytes of the table.
//! Variables that take 128 bytes or less are packed into chunks: of 256 bytes at first, of 64 KiB later, and of 2 MiB
//! after the first mebibyte of a size class. Larger ones are allocated one by one. A thread keeps up to 128 KiB of each
//! size class for its next creations; a chunk is given back when nothing in it is in use.
//! [`flush`](crate::ShadowStore::flush), [`synchronize`](crate::ShadowStore::synchronize) and
//! [`shrink_to_fit`](crate::ShadowStore::shrink_to_fit) give back what the calling thread keeps. Variables do not move,
//! so a single variable can keep a chunk: [`Stats`](crate::Stats) shows how much memory a store holds, and how much of
//! that is free.
//!
//! On Linux, tables and chunks of 2 MiB and more do not come from the global allocator: they are separate mappings, for
//! which huge pages are requested where the system provides them on request ([`mapped_bytes`](crate::mapped_bytes)
//! returns their total size). This makes look-ups beyond the caches faster by a tenth and more. The first insert into
//! such a page pays for clearing it: 0.3 ms where we measured it, and milliseconds in a virtual machine whose host has to
//! find the memory. To have more but shorter pauses instead, disable huge pages for the process (`prctl` with
//! `PR_SET_THP_DISABLE`).
//!
//! # What must not wait for what
//!
//! A constructor may use the store, wait for locks, and create other variables. It must not wait for another thread that
//! needs the variable being constructed: if they wait through the store, that is an error
//! ([`Cycle`](crate::StoreError::Cycle), [`Recursion`](crate::StoreError::Recursion)); if they wait by other means (a
//! `join`, a channel), the store cannot see it, and it is a deadlock like any other.
//! [`synchronize`](crate::ShadowStore::synchronize) must not be called by a thread that holds an
//! [owned guard](crate::ShadowStore::pin_owned).
//!
//! # Constructors and thread pools
//!
//! When a constructor runs on a worker of a pool and waits for a part of its work (rayon's `join`, `scope` and parallel
//! iterators), the worker runs other tasks meanwhile. If such a task requests the same variable, it gets `Recursion`. If
//! a worker that runs a *part* of a constructor also runs a task that requests the variable, the constructor and the
//! worker wait for each other. With the feature `rayon`, on Linux, a waiter on a worker of the pool detects this within
//! one or a few tenths of a second, when the whole pool has come to a stop, and gets `Cycle`. Without the feature it is a
//! deadlock, as it is if the constructor itself runs outside the pool, or in another one. The detection is heuristic: a
//! constructor that waits, on a worker, for another pool, or for a thread outside of any pool, looks the same, and a
//! thread that waits for it may get `Cycle`, too. The remedy is to run nothing parallel inside a constructor: look the
//! variable up first, compute outside, and pass the value in.
//!
//! ```
//! # use shadow_vars::{AllocError, ShadowId, ShadowStore};
//! # fn in_parallel() -> u64 { 7 }
//! # const SUM: ShadowId<u64> = ShadowId::new(1);
//! # let (store, object) = (ShadowStore::new(), 0_u32);
//! let known = store.pin().get(&object, SUM).copied(); // so that the guard ends here
//! let sum = match known {
//!     Some(sum) => sum,
//!     // Several threads may compute a value; one is stored.
//!     None => store.pin().get_or_alloc(&object, SUM, in_parallel()).copied()?,
//! };
//! # assert_eq!(sum, 7);
//! # Ok::<(), AllocError<u64>>(())
//! ```
//!
//! Nor should a guard be held across parallel work if other tasks of the pool call
//! [`synchronize`](crate::ShadowStore::synchronize). If such a task runs on the thread that holds the guard, it gets
//! `Pinned`; if it runs on top of a part that the guard's holder waits for, it never ends.
//!
//! # Out of memory
//!
//! If memory runs out, creating a variable returns an error and gives the value back, also after waiting for another
//! thread's constructor. A table that cannot be replaced remains in use until it is full. Building a store returns an
//! error, and the names in a [`TypeMismatch`](crate::TypeMismatch) may be empty. Freeing, reading, waiting and dropping a
//! store need no memory. [`processes`](super::processes#no-memory) lists the functions that need memory and have no error
//! to return.
//!
//! # Platforms
//!
//! 64-bit only. Memory at addresses beyond 48 bits (five-level page tables, which must be requested by a hint) is not
//! used for variables; as parents, such addresses work.
