//! Memory, and when values are dropped: what to do about it.
//!
//! The rules are in the limits: [what a variable takes](super::limits#memory), and [when values are
//! dropped](super::limits#when-values-are-dropped). This page has the remedies.
//!
//! # Avoid growth at a bad time
//!
//! A table grows step by step, so no operation waits for it. But each creation has to move some slots while it does, and
//! both tables exist meanwhile. A service that knows its number of variables reserves them:
//!
//! ```
//! use shadow_vars::{ShadowId, ShadowStore};
//!
//! let store = ShadowStore::with_capacity(10_000);
//! let vars = store.pin();
//! for object in 0..10_000_usize {
//!     vars.alloc(object * 8, ShadowId::new(1), object)?;
//! }
//! assert_eq!(store.stats().growths, 0);
//! # Ok::<(), shadow_vars::AllocError<usize>>(())
//! ```
//!
//! # Release what a value owns at once
//!
//! A value is dropped some time after it was freed. If it owns something that must be released when it is freed (a lock
//! file, a socket, a place in a pool), release that in the callback of [`free_with`](crate::Pinned::free_with), which runs
//! before the call returns. Readers may still see the value, so it is put behind a lock or into a cell:
//!
//! ```
//! use std::sync::Mutex;
//! use shadow_vars::{ShadowId, ShadowStore};
//!
//! const BODY: ShadowId<Mutex<Vec<u8>>> = ShadowId::new(1);
//! let store = ShadowStore::new();
//! let vars = store.pin();
//! vars.alloc(8_usize, BODY, Mutex::new(vec![0; 1 << 20]))?;
//!
//! let body = vars.free_with(8_usize, BODY, |_, body| std::mem::take(&mut *body.lock().unwrap()));
//! assert_eq!(body.map(|body| body.len()), Some(1 << 20)); // what is dropped later is an empty `Vec`
//! # Ok::<(), shadow_vars::AllocError<Mutex<Vec<u8>>>>(())
//! ```
//!
//! # Let the store know what is heavy
//!
//! The store sees the size of a value, not what it owns. If values own much, and many of them are replaced, set a function
//! that [weighs](crate::ShadowStore::weigh) them: then batches are closed by weight, and
//! [`Stats::retired_bytes`](crate::Stats::retired_bytes) is true.
//!
//! # Wait until values are dropped
//!
//! - [`synchronize`](crate::ShadowStore::synchronize) waits: everything that was freed before is dropped afterwards. Call it
//!   before something that the values' destructors need ends, such as a library that contains their code, or a runtime.
//! - [`flush`](crate::ShadowStore::flush) does not wait: it drops what can be dropped now, and begins a grace period for the
//!   rest. Call it when a burst of work is over, on a thread that has time.
//! - [`start_reclaimer`](crate::start_reclaimer), once in a process, does it 25 times a second. Call it in a service
//!   whose threads are often all idle.
//!
//! ```
//! use std::sync::Arc;
//! use shadow_vars::{ShadowId, ShadowStore};
//!
//! const SHARED: ShadowId<Arc<str>> = ShadowId::new(1);
//! let (store, text) = (ShadowStore::new(), Arc::<str>::from("text"));
//! store.pin().alloc(8_usize, SHARED, Arc::clone(&text))?;
//! store.pin().free(8_usize, SHARED);
//! store.synchronize().expect("this thread holds no guard");
//! assert_eq!(Arc::strong_count(&text), 1);
//! # Ok::<(), shadow_vars::AllocError<Arc<str>>>(())
//! ```
//!
//! # Write destructors that may run anywhere
//!
//! A value's `Drop` runs inside an operation of some thread, of this store or another one, but not under a guard of that
//! thread. It may use stores. It must not
//!
//! - wait for a lock that some thread holds while it creates or frees variables,
//! - call [`synchronize`](crate::ShadowStore::synchronize), which returns an error there,
//! - attach variables to the value's parent, which may no longer exist,
//! - depend on thread-local data of the thread that created the value.
//!
//! A panic in it is caught and counted ([`Stats::drop_panics`](crate::Stats::drop_panics)).
//!
//! # Find what is not freed
//!
//! [`Stats::ids`](crate::Stats::ids) has the number of live variables of each id, and [`iter`](crate::Pinned::iter) their
//! objects. In tests, require both to be empty at the end:
//!
//! ```
//! use shadow_vars::{ShadowId, ShadowStore};
//!
//! let store = ShadowStore::new();
//! store.pin().alloc(8_usize, ShadowId::new(1), 7)?;
//! let left: Vec<String> = store.pin().iter().map(|left| format!("{:#x} of {}", left.id(), left.obj())).collect();
//! assert_eq!(left, ["0x1 of 0x8"]);
//! # Ok::<(), shadow_vars::AllocError<i32>>(())
//! ```
//!
//! # Give memory back
//!
//! A table shrinks by itself as variables are freed, and chunks of packed variables are given back when they are empty.
//! After a peak, [`shrink_to_fit`](crate::ShadowStore::shrink_to_fit) does at once what is left to do, and each thread that was
//! busy gives back what it has kept for itself by [`flush`](crate::ShadowStore::flush).
