//! Real processes: forks, sandboxes, signals, no memory, and counters that only count up.
//!
//! # Fork
//!
//! The child of a `fork(3)` may use every store, with the default backend or [`Eras`](crate::Eras) and on Linux: it has the variables that there
//! were, and goes on from there. What belonged to the threads that it does not have is let go of:
//!
//! - Guards of other threads are gone. References that were got from them must not be used in the child (by a thread that
//!   had borrowed them, say): they hold nothing back there.
//! - A variable that another thread was constructing does not exist; who wants it constructs it. Its value, as far as it
//!   was made, is not dropped.
//! - Counts ([`len`](crate::ShadowStore::len), [`stats`](crate::ShadowStore::stats)) are off, for good, by what other threads
//!   had done and not yet counted: one operation of each at most, of a sweep a batch.
//! - Values that other threads were just freeing, moving between lists or dropping are lost: they are never dropped in the
//!   child, and take their memory with them, a batch for each such thread at most. The [reclaimer](crate::start_reclaimer) is
//!   such a thread: the child starts one of its own.
//!   [`synchronize`](crate::ShadowStore::synchronize) does not wait for them.
//! - [Owned guards](crate::ShadowStore::pin_owned) belong to no thread, so those of before the fork count as held until they
//!   are dropped in the child. Where nobody has them any more, what is freed waits for ever, and
//!   [`synchronize`](crate::ShadowStore::synchronize) returns [`SyncError::Forked`](crate::SyncError::Forked), and
//!   [`Stats::old_guards`](crate::Stats::old_guards) counts them.
//!
//! `fork` itself waits, for moments, until no other thread is inside one of the store's short locks. It must not be called
//! from inside the global allocator. Children made by `vfork`, `clone` or system calls of one's own are not followed: they
//! may `exec`, and not use a store.
//!
//! With [`Epoch`](crate::Epoch) and `Seize` the child works, but for reclamation: their libraries keep the places of
//! threads that are gone. What is freed may wait for ever, and [`synchronize`](crate::ShadowStore::synchronize), where it
//! would wait, returns [`SyncError::Forked`](crate::SyncError::Forked).
//!
//! # Sandboxes
//!
//! The default backend and [`Eras`](crate::Eras) stand on Linux's `membarrier`. Where a process may not call it from the start, readers fence: a pin
//! costs some 20 cycles more, and all else is as ever. If a process is denied the call later (by a seccomp filter), its
//! threads go over to fences as each of them pins the next time, or with `livepatch` begins a unit. Until all have that did
//! either before, nothing that is freed is dropped: a thread that sleeps for good after it has used a store holds it up until
//! it ends.
//! [`Stats::unsettled_readers`](crate::Stats::unsettled_readers) counts what holds it up (a thread up to three times, once for
//! each way in which it used stores and units), a warning says so once (feature `tracing`), and
//! [`synchronize`](crate::ShadowStore::synchronize) returns [`SyncError::NoBarrier`](crate::SyncError::NoBarrier) in place of
//! waiting for them. So install filters before the first thread uses a store, or allow the call.
//!
//! With the feature `tracing`, a thread asks for its name (`prctl`) when it first uses a store. If that is denied, it has none in
//! reports.
//!
//! # Signal handlers
//!
//! With the default backend and [`Eras`](crate::Eras) a handler may pin, look up and read, wherever it interrupts its thread, if that has pinned
//! before. A thread's first pin, and whatever creates, frees or waits, is not for handlers.
//!
//! # No memory
//!
//! What creates gives an error, and the value back; freeing, reading, waiting and dropping a store need no memory. The
//! process ends, as Rust's own collections end it, where there is none for:
//!
//! - a guard that needs a place among the readers, by [`ShadowStore::pin`](crate::ShadowStore::pin) or any operation: the first
//!   64 threads at a time have places that need no memory, but a
//!   thread's first operation also enters destructors of thread-locals, for which the standard library may take some
//!   ([owned guards](crate::ShadowStore::pin_owned) need none, but with [`Eras`](crate::Eras), where each is a reader);
//! - with [`Epoch`](crate::Epoch) and `Seize`, every thread's first guard, owned guards, and grace periods, a few bytes a
//!   batch: their libraries allocate;
//! - what collects: [`ShadowStore::ids_of`](crate::ShadowStore::ids_of) and [`Pinned::ids_of`](crate::Pinned::ids_of);
//!   iteration by [`ShadowStore::for_each`](crate::ShadowStore::for_each), [`Pinned::iter`](crate::Pinned::iter) and
//!   `OwnedPinned::par_iter`; [`ShadowStore::stats`](crate::ShadowStore::stats);
//! - the box of a parent, by [`Parent::new`](crate::Parent::new) and [`Parent::new_in`](crate::Parent::new_in);
//! - some of the allocations that make a store, by [`Builder::build`](crate::Builder::build), which gives an error for the
//!   others, or by [`ShadowStore::new`](crate::ShadowStore::new), [`ShadowStore::with_capacity`](crate::ShadowStore::with_capacity) and
//!   [`global`](crate::global), which panic for those;
//! - some of those for the thread of [`start_reclaimer`](crate::start_reclaimer), which gives an error for the others;
//! - panics, and work that is given to `rayon`.
//!
//! # Counters
//!
//! Everything that safe code can drive up, and what happens at the end. Of 64 bits, one that is counted up by one reaches none:
//! at a thousand million a second that takes 580 years.
//!
//! | counter | width | driven by | at the end |
//! |---|---|---|---|
//! | guards of a thread | 63 bits; with `Epoch` and `Seize` 64 | [`pin`](crate::ShadowStore::pin), forgotten guards too | out of reach: 2^63 pins |
//! | owned guards of one epoch and place | 32 bits, and 64 for those beyond | [`pin_owned`](crate::ShadowStore::pin_owned), forgotten guards too | those beyond are reported without their place; 2^64 are out of reach |
//! | places where owned guards are made | 32 bits | the program's own code | those beyond are reported without their place |
//! | guards of threads that end, with `Seize` | 64 bits | `pin` in destructors of thread-locals | out of reach |
//! | grace periods and eras | 62 bits; with `Epoch` and `Seize` 64 | one for each batch, or `flush`; with [`Eras`](crate::Eras) for some creations | out of reach |
//! | creations of a reader's, by which eras begin | 64 bits | each creation | out of reach |
//! | barriers that were refused | 64 bits | whatever frees, where `membarrier` is denied | out of reach |
//! | batches closed and drained | 64 bits | the same as grace periods | out of reach |
//! | threads' tokens | 44 bits | each thread that creates by a constructor or reclaims | threads share the last one: constructors that meet may be refused as recursions |
//! | readers' places, and shards | 64 that need no memory, others as there is memory; 256 | threads that are there at one time | see above; those beyond share one shard |
//! | generations of tables | 64 bits | tables that are replaced | out of reach |
//! | tickets of a table, while another is replaced by it | 64 bits | creations, refused ones too | out of reach |
//! | slots of a table that were claimed | 64 bits | first creations of a key | no more than there are slots |
//! | blocks of a table, taken and finished | 64 bits | moving a table | no more than there are blocks, and one for each thread |
//! | ids of a store | 32 bits | first uses of ids | [`StoreError::TooManyIds`](crate::StoreError::TooManyIds); from the 65,536th on variables take a few bytes more, from the 524,288th on all threads count them in one place |
//! | created, freed, constructors failed, panics, tables made, and other statistics | 64 bits | each operation | out of reach |
//! | looks at the counts of variables | 57 bits | [`len`](crate::ShadowStore::len), [`stats`](crate::ShadowStore::stats) | goes around: only whether it is odd, and whether it changes, is asked |
//! | retired and reclaimed values of a shard | 64 bits | each free | out of reach |
//! | their bytes, and those of what is held back | 64 bits | sizes of what is freed | goes around: what is between the two stays exact while less than 2^63 bytes wait |
//! | what freed values own, as they are [weighed](crate::ShadowStore::weigh) | 64 bits | functions that may say anything | a value counts as 4 GiB at most, so 2^32 of them have to wait at once, which take 160 GiB; sums of several shards stop at 2^64 - 1 |
//! | what a shard had retired when another's thread looked at it last | 32 bits | each free | goes around: a guess. After 2^32 frees between two looks a shard is looked after by others though its thread is at work, which does no harm |
//! | values that a stalled reader holds back, with [`Eras`](crate::Eras) | 64 bits | frees | no more than there is memory for |
//! | bytes mapped for large tables | 64 bits | growth | no more than there is memory for |
//! | small variables that took memory before threads kept some | 64 bits | creations | out of reach |
//! | stores made, for their seeds | 64 bits | [`Builder::build`](crate::Builder::build) | goes around: seeds come back |
//! | forks | 64 bits | `fork` | out of reach |
