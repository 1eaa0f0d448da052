//! Every operation, its progress guarantee, and what it may wait for.
//!
//! *Wait-free*: finishes in a bounded number of its own steps (here: the length of the probe). *Lock-free*: a thread that
//! is stopped anywhere keeps nobody else from finishing. *Instant*: takes effect at one moment between call and return
//! (linearizable). Memory aside: what creates or drops variables takes it from and gives it to allocators, the system's
//! and the store's own ([limits](super::limits#memory)), which may lock for a moment.
//!
//! With [`Eras`](crate::Eras) look-ups are lock-free where the table says wait-free: they try again when an era begins meanwhile,
//! for which somebody has freed a batch or created a thousand variables.
//!
//! | operation | progress | may wait for | instant |
//! |---|---|---|---|
//! | [`pin`], [`repin`] | wait-free; now and then helps the collector on, a bounded amount | nothing | |
//! | a thread's first guard, by whatever operation | lock-free; takes memory; with `Seize` a short lock | other threads' first guards | |
//! | [`pin_owned`] | lock-free; may take memory; with `Seize` a short lock | other threads' first and owned guards, there | |
//! | [`get`], [`try_get`], [`contains`], [`get_with`], [`get_cloned`], [`raw_get`] | wait-free but for the probe | nothing | yes |
//! | [`get_many`] | as `get`, per key | nothing | each key |
//! | [`typed`], [`Variable::pinned`](crate::Variable::pinned) | wait-free | nothing | |
//! | [`bind`], [`Variable::new`](crate::Variable::new) | wait-free, but for an id's first use in a store: takes a short lock | others who use an id for the first time | |
//! | operations of [`Typed`](crate::Typed) and [`Variable`](crate::Variable) | as those of these names | | |
//! | [`alloc`], [`get_or_alloc`] | lock-free | a running constructor of the same variable | yes |
//! | [`alloc_with`], [`try_alloc_with`], [`alloc_zeroed`], [`get_or_alloc_with`], [`get_or_try_alloc_with`], [`get_or_alloc_zeroed`], [`raw_alloc`], [`raw_get_or_alloc`] | lock-free, and whatever the constructor does | a running constructor of the same variable | yes: when the constructor's work is published |
//! | the first `alloc` of an id in a store | takes a short lock | others who use an id for the first time | |
//! | [`free`] | lock-free; may drop values freed earlier | nothing | yes |
//! | [`free_with`], [`raw_free`] | lock-free, and whatever the destructor does | nothing | yes: before the destructor runs |
//! | [`free_object`] | lock-free; as many steps as the parent has variables, and a bucket or few for every four ids of the store, up to sixteen | nothing | no |
//! | [`free_all`], [`free_all_with`], [`raw_free_all`], [`par_free_all`] | lock-free; as many steps as the table has slots | nothing | no |
//! | [`ids_of`] | wait-free but for the probes; looks where `free_object` looks; allocates | nothing | no |
//! | [`iter`], [`for_each`], [`par_iter`] | wait-free per region of the table; allocates | nothing | no |
//! | [`weigh`] | as `bind` | as `bind` | for values that are freed later |
//! | [`check_id`], [`capacity`] | wait-free | nothing | yes |
//! | [`len_of`] | starts over if another thread counts the same store meanwhile; waits for nobody who is stopped | nothing | yes, but for operations that run meanwhile |
//! | [`len`], [`is_empty`], [`stats`] | as `len_of`; as many steps as there are ids | nothing; `stats`: locks of the memory, as an allocator's, and that of owned guards | as `len_of` |
//! | [`shrink_to_fit`] | lock-free; as many steps as the table has slots | nothing | |
//! | [`flush`] | lock-free; drops values | nothing | |
//! | [`synchronize`] | waits | every guard that exists when it is called, and running `Drop`s | |
//! | dropping a [`Parent`] or an [`Attached`] | as `free_object`, twice, and whatever the object's `Drop` does | nothing | |
//! | dropping a store | drops every value | nothing (the borrow checker has seen to it that nobody uses it) | |
//!
//! Growing and shrinking wait for nobody and stop nobody: `alloc`s and `free`s move a block of 64 slots at a time.
//!
//! # Where a value's `Drop` runs
//!
//! Never in a reader. On a thread that is inside one of the freeing operations, a creation whose constructor failed,
//! `flush`, `synchronize`, or the drop of the store; there, panics are caught and counted ([`Stats::drop_panics`](crate::Stats::drop_panics)), and the rest is still
//! dropped. It may use the store, but cannot [`synchronize`].
//!
//! What [weighs](crate::ShadowStore::weigh) a value runs on the thread that frees it, in the operation that does.
//!
//! # Memory ordering
//!
//! What a thread did before it created or freed a variable is seen by whoever finds, or no longer finds, the variable for
//! that reason. A constructor's work is seen by everyone who gets the variable. Operations that change nothing order
//! nothing.
//!
//! [`pin`]: crate::ShadowStore::pin
//! [`repin`]: crate::Pinned::repin
//! [`pin_owned`]: crate::ShadowStore::pin_owned
//! [`get`]: crate::Pinned::get
//! [`try_get`]: crate::Pinned::try_get
//! [`contains`]: crate::Pinned::contains
//! [`get_with`]: crate::ShadowStore::get_with
//! [`get_cloned`]: crate::ShadowStore::get_cloned
//! [`raw_get`]: crate::Pinned::raw_get
//! [`get_many`]: crate::Pinned::get_many
//! [`typed`]: crate::Pinned::typed
//! [`bind`]: crate::Pinned::bind
//! [`alloc`]: crate::Pinned::alloc
//! [`get_or_alloc`]: crate::Pinned::get_or_alloc
//! [`alloc_with`]: crate::Pinned::alloc_with
//! [`try_alloc_with`]: crate::Pinned::try_alloc_with
//! [`alloc_zeroed`]: crate::Pinned::alloc_zeroed
//! [`get_or_alloc_with`]: crate::Pinned::get_or_alloc_with
//! [`get_or_try_alloc_with`]: crate::Pinned::get_or_try_alloc_with
//! [`get_or_alloc_zeroed`]: crate::Pinned::get_or_alloc_zeroed
//! [`raw_alloc`]: crate::Pinned::raw_alloc
//! [`raw_get_or_alloc`]: crate::Pinned::raw_get_or_alloc
//! [`free`]: crate::Pinned::free
//! [`free_with`]: crate::Pinned::free_with
//! [`raw_free`]: crate::Pinned::raw_free
//! [`free_object`]: crate::Pinned::free_object
//! [`free_all`]: crate::Pinned::free_all
//! [`free_all_with`]: crate::Pinned::free_all_with
//! [`raw_free_all`]: crate::Pinned::raw_free_all
#![cfg_attr(feature = "rayon", doc = "[`par_free_all`]: crate::ShadowStore::par_free_all")]
#![cfg_attr(feature = "rayon", doc = "[`par_iter`]: crate::Pinned::par_iter")]
#![cfg_attr(not(feature = "rayon"), doc = "[`par_free_all`]: crate#features")]
#![cfg_attr(not(feature = "rayon"), doc = "[`par_iter`]: crate#features")]
//! [`ids_of`]: crate::Pinned::ids_of
//! [`iter`]: crate::Pinned::iter
//! [`for_each`]: crate::ShadowStore::for_each
//! [`len_of`]: crate::ShadowStore::len_of
//! [`weigh`]: crate::ShadowStore::weigh
//! [`check_id`]: crate::ShadowStore::check_id
//! [`capacity`]: crate::ShadowStore::capacity
//! [`len`]: crate::ShadowStore::len
//! [`is_empty`]: crate::ShadowStore::is_empty
//! [`stats`]: crate::ShadowStore::stats
//! [`shrink_to_fit`]: crate::ShadowStore::shrink_to_fit
//! [`flush`]: crate::ShadowStore::flush
//! [`synchronize`]: crate::ShadowStore::synchronize
//! [`Parent`]: crate::Parent
//! [`Attached`]: crate::Attached
