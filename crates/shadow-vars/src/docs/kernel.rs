//! The kernel's shadow-variable functions and their counterparts here.
//!
//! | kernel | here | difference |
//! |---|---|---|
//! | `klp_shadow_get(obj, id)` | [`get`](crate::Pinned::get) | typed; the reference is protected by a guard, so it outlives a concurrent free |
//! | `klp_shadow_alloc(obj, id, size, gfp, ctor, data)` | [`try_alloc_with`](crate::Pinned::try_alloc_with) | the constructor is a closure (its data is what it captures) and runs under no lock; each reason for failing has its own error, where the kernel returns `NULL` |
//! | the older `klp_shadow_alloc(obj, id, data, size, gfp)` | [`alloc`](crate::Pinned::alloc) | moves a value in, and returns it if the variable exists already |
//! | `klp_shadow_get_or_alloc(…, ctor, data)` | [`get_or_try_alloc_with`](crate::Pinned::get_or_try_alloc_with) | as above |
//! | the older `klp_shadow_get_or_alloc(…, data, …)` | [`get_or_alloc`](crate::Pinned::get_or_alloc) | |
//! | `klp_shadow_free(obj, id, dtor)` | [`free_with`](crate::Pinned::free_with) | returns whether the variable existed, or the destructor's result |
//! | `klp_shadow_free_all(id, dtor)` | [`free_all_with`](crate::Pinned::free_all_with) | stops no other thread; returns how many were freed; parallel with the feature `rayon` |
//! | — | [`free_object`](crate::Pinned::free_object), [`Parent`](crate::Parent), [`Attached`](crate::Attached) | the kernel leaves it to the caller to free all variables of an object |
//! | — | [`ids_of`](crate::Pinned::ids_of), [`iter`](crate::Pinned::iter), [`stats`](crate::ShadowStore::stats) | the kernel cannot list its variables |
//! | `void *` and a size | [`ShadowId<T>`](crate::ShadowId), or [`raw_alloc`](crate::Pinned::raw_alloc) and [`raw_get`](crate::Pinned::raw_get) by layout | requesting another type, a larger size or a stricter alignment than the variable has is an error |
//! | `obj == NULL` | [`ObjAddr::PROCESS`](crate::ObjAddr::PROCESS) | the same: a variable of the whole process |
//! | one table for all modules | [`global`](crate::global), or separate stores | each store has its own namespace of ids |
//! | `WARN` on a duplicate | [`StoreError::Exists`](crate::StoreError::Exists), and a `tracing` warning | |
//! | `synchronize_rcu`, `rcu_barrier` | [`synchronize`](crate::ShadowStore::synchronize) | |
//!
//! Each has a form without a callback: `alloc_with` (a constructor that cannot fail), `free`, `free_all`.
//!
//! These rules stay the same: a constructor runs once per variable, and has finished before any look-up can see the
//! variable; a destructor runs once, after the variable can no longer be found, while readers that found it before may
//! still be reading; parents are never accessed; and the code that frees a parent frees its variables first.
//!
//! One guarantee of the kernel is not given: in the kernel, all constructors and destructors exclude each other (they run
//! under one spinlock, and therefore may neither sleep nor use the API). Here, only constructors of the same variable do.
