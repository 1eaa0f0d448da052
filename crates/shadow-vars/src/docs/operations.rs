//! Every operation, its progress guarantee, and what it may wait for.
//!
//! *Wait-free*: finishes in a bounded number of its own steps (here, the length of the probe sequence). *Lock-free*: a thread
//! that is stopped at any point does not keep other threads from finishing. *Instant*: takes effect at one instant between
//! call and return (linearizable). Memory allocation is not included: operations that create or drop variables use the
//! system's allocator and the store's own ([limits](super::limits#memory)), which may take short locks.
//!
//! With [`Eras`](crate::Eras), look-ups are lock-free where the table says wait-free: they retry if an era begins meanwhile,
//! which happens when a thread has freed a batch or created a thousand variables.
//!
//! Each operation on variables is a method of [`Pinned`](crate::Pinned), and takes the id as a
//! [`ShadowId`](crate::ShadowId) or as a reference to a [`Variable`](crate::Variable), with the same meaning.
//!
//! | operation | progress | may wait for | instant |
//! |---|---|---|---|
//! | [`pin`], [`repin`] | wait-free; sometimes does a bounded amount of work for the collector | nothing | |
//! | the end of a guard under which variables were created or freed (or its `repin`) | lock-free; may drop values freed earlier | nothing | |
//! | a thread's first guard, in any operation | lock-free; needs memory; with `Seize` takes a short lock | with `Seize`, other threads' first guards | |
//! | [`pin_owned`], and dropping its guard | takes a short lock, but lock-free with `Epoch`; may need memory | other threads that take or drop owned guards; with `Seize`, also other threads' first guards | |
//! | [`get`], [`contains`], [`raw_get`] | wait-free, bounded by the probe | nothing | yes |
//! | [`get_many`] | as `get`, per object | nothing | each object |
//! | [`Variable::new`](crate::Variable::new), [`new_in`](crate::Variable::new_in) | wait-free, except for the first use of an id in a store, which takes a short lock | other threads that use an id for the first time | |
//! | [`alloc`], [`get_or_alloc`] | lock-free | a running constructor of the same variable | yes |
//! | [`alloc_with`], [`try_alloc_with`], [`get_or_alloc_with`], [`get_or_try_alloc_with`], [`raw_alloc`], [`raw_get_or_alloc`] | lock-free, apart from what the constructor does | a running constructor of the same variable | yes: when the constructed value is published |
//! | the first `alloc` of an id in a store | takes a short lock | other threads that use an id for the first time | |
//! | [`free`] | lock-free; may drop values freed earlier | nothing | yes |
//! | [`free_with`], [`raw_free`] | lock-free, apart from what the destructor does | nothing | yes: before the destructor runs |
//! | [`free_object`] | lock-free; one step per variable of the parent, and a bucket or a few for every four ids of the store, up to sixteen times | nothing | no |
//! | [`free_all`], [`free_all_with`], [`raw_free_all`], [`par_free_all`] | lock-free; one step per slot of the table | nothing | no |
//! | [`ids_of`] | wait-free, bounded by the probes; visits the same buckets as `free_object`; allocates | nothing | no |
//! | [`iter`], [`par_iter`] | wait-free per region of the table; allocates | nothing | no |
//! | [`weigh`] | as `Variable::new` | as `Variable::new` | for values that are freed later |
//! | [`capacity`] | wait-free | nothing | yes |
//! | [`len_of`], [`len`], [`is_empty`] | starts over if another thread counts the same store meanwhile; never waits for a stopped thread | nothing | yes, except for concurrent operations |
//! | [`stats`] | as `len_of`; one step per id; allocates | the short locks of the store's memory, and of owned guards | as `len_of` |
//! | [`shrink_to_fit`] | lock-free; one step per slot of the table | nothing | |
//! | [`flush`] | lock-free; drops values | nothing | |
//! | [`synchronize`] | waits | every guard that exists when it is called, and running `Drop`s | |
//! | dropping a [`Parent`] or an [`Attached`] | as `free_object`, twice, apart from what the object's `Drop` does | nothing | |
//! | dropping a store | drops every value | another thread that is dropping freed values of this store | |
//!
//! Growing and shrinking neither wait for other threads nor stop them: `alloc`s and `free`s move a block of 64 slots at a time.
//!
//! # Where a value's `Drop` runs
//!
//! Never in a reader, but on a thread that is inside one of the freeing operations, at the end of a guard under which variables
//! were created or freed, a creation whose constructor failed, `flush`,
//! `synchronize`, or the drop of the store. Panics are caught there and counted
//! ([`Stats::drop_panics`](crate::Stats::drop_panics)), and the remaining values are still dropped. A destructor may use the
//! store, but cannot [`synchronize`].
//!
//! The function that [weighs](crate::ShadowStore::weigh) a value runs on the thread that frees it, inside the freeing operation.
//!
//! # Memory ordering
//!
//! Creating or freeing a variable happens before each look-up that finds, or no longer finds, the variable because of it; so the
//! looking thread sees everything that the other thread did before. A constructor's writes are visible to every thread that gets
//! the variable. Operations that change nothing establish no ordering.
//!
//! [`pin`]: crate::ShadowStore::pin
//! [`repin`]: crate::Pinned::repin
//! [`pin_owned`]: crate::ShadowStore::pin_owned
//! [`get`]: crate::Pinned::get
//! [`contains`]: crate::Pinned::contains
//! [`raw_get`]: crate::Pinned::raw_get
//! [`get_many`]: crate::Pinned::get_many
//! [`alloc`]: crate::Pinned::alloc
//! [`get_or_alloc`]: crate::Pinned::get_or_alloc
//! [`alloc_with`]: crate::Pinned::alloc_with
//! [`try_alloc_with`]: crate::Pinned::try_alloc_with
//! [`get_or_alloc_with`]: crate::Pinned::get_or_alloc_with
//! [`get_or_try_alloc_with`]: crate::Pinned::get_or_try_alloc_with
//! [`raw_alloc`]: crate::Pinned::raw_alloc
//! [`raw_get_or_alloc`]: crate::Pinned::raw_get_or_alloc
//! [`free`]: crate::Pinned::free
//! [`free_with`]: crate::Pinned::free_with
//! [`raw_free`]: crate::Pinned::raw_free
//! [`free_object`]: crate::Pinned::free_object
//! [`free_all`]: crate::Pinned::free_all
//! [`free_all_with`]: crate::Pinned::free_all_with
//! [`raw_free_all`]: crate::Pinned::raw_free_all
#![cfg_attr(feature = "rayon", doc = "[`par_free_all`]: crate::Pinned::par_free_all")]
#![cfg_attr(feature = "rayon", doc = "[`par_iter`]: crate::Pinned::par_iter")]
#![cfg_attr(not(feature = "rayon"), doc = "[`par_free_all`]: crate#features")]
#![cfg_attr(not(feature = "rayon"), doc = "[`par_iter`]: crate#features")]
//! [`ids_of`]: crate::Pinned::ids_of
//! [`iter`]: crate::Pinned::iter
//! [`len_of`]: crate::ShadowStore::len_of
//! [`weigh`]: crate::ShadowStore::weigh
//! [`capacity`]: crate::ShadowStore::capacity
//! [`len`]: crate::ShadowStore::len
//! [`is_empty`]: crate::ShadowStore::is_empty
//! [`stats`]: crate::ShadowStore::stats
//! [`shrink_to_fit`]: crate::ShadowStore::shrink_to_fit
//! [`flush`]: crate::ShadowStore::flush
//! [`synchronize`]: crate::ShadowStore::synchronize
//! [`Parent`]: crate::Parent
//! [`Attached`]: crate::Attached
