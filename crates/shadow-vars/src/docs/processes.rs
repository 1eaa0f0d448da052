//! Process-level conditions: forks, sandboxes, signals, lack of memory, and counters that only grow.
//!
//! # Fork
//!
//! The child of a `fork(3)` may use every store, with the default backend or [`Eras`](crate::Eras), on Linux: it has the
//! variables that existed at the fork. The state of the threads that do not exist in the child is given up:
//!
//! - Guards of other threads no longer exist. References obtained under them must not be used in the child (by a thread
//!   that had borrowed them, for instance): nothing protects them there.
//! - A variable that another thread was constructing does not exist; the next thread that needs it constructs it. Its
//!   value, as far as it was constructed, is not dropped.
//! - Counts ([`len`](crate::ShadowStore::len), [`stats`](crate::ShadowStore::stats)) are permanently off by what other
//!   threads had done but not yet counted: at most one operation of each thread, or of a sweep one batch.
//! - Values that other threads were freeing, moving between lists or dropping at that time are leaked: they are never
//!   dropped in the child, and their memory is lost, at most one batch for each such thread. The
//!   [reclaimer](crate::start_reclaimer) is such a thread; the child starts its own.
//!   [`synchronize`](crate::ShadowStore::synchronize) does not wait for such values.
//! - [Owned guards](crate::ShadowStore::pin_owned) belong to no thread, so those taken before the fork count as held
//!   until they are dropped in the child. If no thread of the child has them, freed values wait forever,
//!   [`synchronize`](crate::ShadowStore::synchronize) returns [`SyncError::Forked`](crate::SyncError::Forked), and
//!   [`Stats::old_guards`](crate::Stats::old_guards) counts them.
//!
//! `fork` itself waits briefly until no other thread is inside one of the store's short locks. It must not be called from
//! inside the global allocator. Children created by `vfork`, `clone` or direct system calls are not supported: they may
//! `exec`, but must not use a store.
//!
//! With [`Epoch`](crate::Epoch) and `Seize`, the child works except for reclamation: their libraries keep the places of
//! threads that no longer exist. Freed values may wait forever, and [`synchronize`](crate::ShadowStore::synchronize),
//! where it would wait, returns [`SyncError::Forked`](crate::SyncError::Forked).
//!
//! # Sandboxes
//!
//! The default backend and [`Eras`](crate::Eras) rely on Linux's `membarrier`. If a process may not call it from the
//! start, readers execute fences instead: a pin costs some 20 cycles more, and everything else is unchanged.
//!
//! If the call is denied to a process later (by a seccomp filter), each of its threads changes over to fences when it
//! next pins or, with `livepatch`, begins a unit. Until all threads that did either before have changed over, no freed
//! value is dropped: a thread that has used a store and then sleeps forever delays reclamation until it ends.
//! [`Stats::unsettled_readers`](crate::Stats::unsettled_readers) counts what delays it (a thread up to three times, once
//! for each way in which it used stores and units), a warning is logged once (feature `tracing`), and
//! [`synchronize`](crate::ShadowStore::synchronize) returns [`SyncError::NoBarrier`](crate::SyncError::NoBarrier) instead
//! of waiting. So install filters before the first thread uses a store, or allow the call.
//!
//! With the feature `tracing`, a thread reads its own name (`prctl`) when it first uses a store. If that is denied, it
//! has no name in reports.
//!
//! # Signal handlers
//!
//! With the default backend and [`Eras`](crate::Eras), a signal handler may pin, look up and read, wherever it interrupts
//! its thread, provided that the thread has pinned before. A handler must not take a thread's first guard, nor create,
//! free or wait.
//!
//! # No memory
//!
//! If memory runs out, operations that create variables return an error and give the value back; freeing, reading,
//! waiting and dropping a store need no memory. The process is aborted, as by Rust's own collections, if there is no
//! memory for:
//!
//! - a guard that needs a new place among the readers, by [`ShadowStore::pin`](crate::ShadowStore::pin) or any operation.
//!   The places of the first 64 simultaneous threads need no memory, but a thread's first operation also registers
//!   destructors of thread-locals, for which the standard library may allocate.
//!   ([Owned guards](crate::ShadowStore::pin_owned) need none, except with [`Eras`](crate::Eras), where each is a
//!   reader);
//! - with [`Epoch`](crate::Epoch) and `Seize`, every thread's first guard, owned guards, and grace periods, a few bytes
//!   per batch: their libraries allocate;
//! - operations that collect: [`Pinned::ids_of`](crate::Pinned::ids_of); iteration by
//!   [`Pinned::iter`](crate::Pinned::iter) and `OwnedPinned::par_iter`;
//!   [`ShadowStore::stats`](crate::ShadowStore::stats);
//! - the box of a parent, by [`Parent::new`](crate::Parent::new) and [`Parent::new_in`](crate::Parent::new_in);
//! - some of the allocations that make a store. For the others, [`Builder::build`](crate::Builder::build) returns an
//!   error, and [`ShadowStore::new`](crate::ShadowStore::new),
//!   [`ShadowStore::with_capacity`](crate::ShadowStore::with_capacity) and [`global`](crate::global) panic;
//! - some of the allocations for the thread of [`start_reclaimer`](crate::start_reclaimer), which returns an error for
//!   the others;
//! - panics, and work that is passed to `rayon`.
//!
//! # Counters
//!
//! All counters that safe code can drive up, and what happens when they overflow. A 64-bit counter that is incremented by
//! one does not overflow in practice ("out of reach"): at a thousand million increments a second, that takes 580 years.
//!
//! | counter | width | driven by | at the end |
//! |---|---|---|---|
//! | guards of a thread | 63 bits; with `Epoch` and `Seize` 64 | [`pin`](crate::ShadowStore::pin), including forgotten guards | out of reach: 2^63 pins |
//! | owned guards of one epoch and place | 32 bits, and 64 for those beyond | [`pin_owned`](crate::ShadowStore::pin_owned), including forgotten guards | those beyond are reported without their place; 2^64 are out of reach |
//! | places where owned guards are made | 32 bits | the program's own code | those beyond are reported without their place |
//! | guards of threads that end, with `Seize` | 64 bits | `pin` in destructors of thread-locals | out of reach |
//! | grace periods and eras | 62 bits; with `Epoch` and `Seize` 64 | one for each batch, or `flush`; with [`Eras`](crate::Eras) for some creations | out of reach |
//! | creations of a reader, by which eras begin | 64 bits | each creation | out of reach |
//! | barriers that were refused | 64 bits | operations that free, where `membarrier` is denied | out of reach |
//! | batches closed and drained | 64 bits | the same as grace periods | out of reach |
//! | threads' tokens | 44 bits | each thread that creates by a constructor or reclaims | threads share the last one: constructors that meet may be refused as recursions |
//! | readers' places, and shards | 64 that need no memory, others while there is memory; 256 | threads that exist at one time | see above; those beyond share one shard |
//! | generations of tables | 64 bits | tables that are replaced | out of reach |
//! | tickets of a table, while another is replaced by it | 64 bits | creations, including refused ones | out of reach |
//! | slots of a table that were claimed | 64 bits | first creations of a key | no more than there are slots |
//! | blocks of a table, taken and finished | 64 bits | moving a table | no more than there are blocks, and one for each thread |
//! | ids of a store | 32 bits | first uses of ids | [`StoreError::TooManyIds`](crate::StoreError::TooManyIds); from the 65,536th on variables take a few bytes more, from the 524,288th on all threads count them in one place |
//! | created, freed, constructors failed, panics, tables made, and other statistics | 64 bits | each operation | out of reach |
//! | counting passes over the numbers of variables | 57 bits | [`len`](crate::ShadowStore::len), [`stats`](crate::ShadowStore::stats) | wraps around: only its parity, and whether it changes, is used |
//! | retired and reclaimed values of a shard | 64 bits | each free | out of reach |
//! | their bytes, and those that are held back | 64 bits | sizes of freed values | wraps around: the difference of the two stays exact while less than 2^63 bytes wait |
//! | what freed values own, as they are [weighed](crate::ShadowStore::weigh) | 64 bits | functions that may return any number | a value counts as 4 GiB at most, so 2^32 of them have to wait at once, which take 160 GiB; sums of several shards saturate at 2^64 - 1 |
//! | the number of values a shard had retired when a thread of another shard last checked it | 32 bits | each free | wraps around: it is a heuristic. After 2^32 frees between two checks, other threads drain the shard although its own thread is active, which does no harm |
//! | values that a stalled reader holds back, with [`Eras`](crate::Eras) | 64 bits | frees | no more than there is memory for |
//! | bytes mapped for large tables | 64 bits | growth | no more than there is memory for |
//! | small variables that took memory before threads kept some | 64 bits | creations | out of reach |
//! | stores made, for their seeds | 64 bits | [`Builder::build`](crate::Builder::build) | wraps around: seeds repeat |
//! | forks | 64 bits | `fork` | out of reach |
