//! Shadow variables: typed data attached to existing objects, looked up by the object's address and an id.
//!
//! ```
//! use shadow_vars::{ShadowId, ShadowStore, Variable};
//! use std::sync::Mutex;
//!
//! struct Session; // used all over the program: no field can be added
//! const NOTES: ShadowId<Mutex<Vec<String>>> = ShadowId::new(1);
//!
//! let store = ShadowStore::new();
//! let notes = Variable::new_in(NOTES, &store)?; // looks the id up and checks its type, once
//! let session = &*Box::new((Session, [0_u8; 100]));
//! let vars = store.pin(); // a guard: what is found under it stays valid
//! let mine = vars.get_or_alloc_with(session, &notes, Mutex::default)?; // the constructor runs once
//! mine.lock().unwrap().push("slow client".to_owned());
//! assert_eq!(vars.get(session, &notes).unwrap().lock().unwrap().len(), 1);
//! assert!(vars.free(session, &notes)); // before the session itself is dropped
//! # Ok::<(), shadow_vars::StoreError>(())
//! ```
//! The Linux kernel uses shadow variables in live patches; this crate provides them for running services, for any number
//! of threads.
//!
//! - **Reads never wait.** [`get`](Pinned::get) takes no lock, allocates nothing, writes no shared memory (except, in
//!   large stores, a hint for one key in a thousand), and waits neither for a growing table nor for a running
//!   constructor.
//! - **One construction.** A constructor runs exactly once for each variable that comes into existence, and has finished
//!   before any thread can see the variable. It may fail, panic, or use the store. A constructor that would wait for
//!   itself, or constructors that would wait for each other in a cycle, get an error.
//! - **One destruction.** A destructor callback runs exactly once. A value is dropped exactly once, when no guard
//!   protects it any more.
//! - **Checked types.** Within a store, an id is bound to one type; using it with another one is an error that names
//!   both. A [`Variable`] is an id of one store whose type has been checked: a patch keeps one for each field that it
//!   adds. Operations take the id as a [`ShadowId`] or as a `&Variable`, which saves looking it up.
//! - **Incremental resizing.** Growing and shrinking are spread over the operations that cause them, one block at a time.
//!
//! The [guide](docs) shows how a service uses a store: the three [use cases](docs::use_cases), an [asynchronous
//! service](docs::service), [metrics and logs](docs::monitoring), the [choice of a backend](docs::backends),
//! [memory](docs::memory), [forks and signals](docs::forks), [fuzzing](docs::fuzzing) and [regression gates](docs::gates).
//! And it says what is guaranteed: it lists every operation with its [progress guarantee](docs::operations), the
//! [counterparts of the kernel's functions](docs::kernel), the [limits](docs::limits), and the behaviour under forks,
//! sandboxes, signals and lack of memory ([processes](docs::processes)).
//!
//! # Consistency
//!
//! Operations on one variable are linearizable: each takes effect at one instant between its call and its return.
//! [`free_all`](Pinned::free_all), [`free_object`](Pinned::free_object), [`ids_of`](Pinned::ids_of) and
//! [iteration](Pinned::iter) are weakly consistent: they visit every variable that exists during their whole run, and may
//! or may not visit one that is created or freed meanwhile. Counts are exact for one instant during the call, except that
//! concurrent operations may or may not be included.
//!
//! # Features
//!
//! None is enabled by default.
//!
//! - `seize`: the `Seize` backend, for [`ShadowStore<Seize>`](ShadowStore), in addition to [`Asymmetric`], [`Epoch`] and
//!   [`Eras`].
//! - `rayon`: `par_free_all`, `par_free_all_with` and `par_iter`. Also, constructors that wait for each other through a
//!   thread pool get an error, [where this can be detected](docs::limits#constructors-and-thread-pools).
//! - `tracing`: a warning for each duplicate `alloc` and each guard that is [held for long](report_old_guards), one
//!   warning if [`membarrier` is denied](docs::processes#sandboxes) to the process and readers delay reclamation, and an
//!   error for each id that is used with two types.
//! - `serde`: `Serialize` and `Deserialize` for [`Stats`].
//!
//! # Minimum supported Rust version
//!
//! 1.88, for let chains. Raising it is a minor release.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate self as shadow_vars;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a slot packs an address of 48 bits with a tag into 64: shadow-vars needs a 64-bit platform");

mod as_variable;
mod attached;
mod bound;
mod child;
mod config;
mod ctor;
mod defect;
pub mod docs;
mod entry;
mod error;
mod events;
mod fork;
mod guard;
mod heap;
mod iter;
mod key;
mod mapping;
mod mem;
mod object;
mod panics;
#[cfg(feature = "rayon")]
mod par;
mod parent;
mod pinned;
mod pool;
mod raw;
mod reclaim;
mod registry;
mod service;
mod shard;
mod stats;
#[cfg(feature = "rayon")]
mod stealing;
mod store;
mod sync;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod variable;
#[cfg(doctest)]
mod variance;
mod wait;
mod waiters;

pub use as_variable::AsVariable;
pub use attached::{Attached, Keeper};
pub use config::Builder;
#[doc(hidden)]
pub use config::Provoke;
pub use error::{AllocError, BuildError, CtorError, LayoutMismatch, StoreError, SyncError, TypeMismatch};
pub use guard::{GuardKind, LocalGuard, OwnedGuard};
pub use iter::{Iter, VarRef};
pub use key::{ObjAddr, ShadowId};
pub use mapping::mapped_bytes;
pub use object::{Handle, IntoObjAddr, Object};
#[cfg(feature = "rayon")]
pub use par::ParIter;
pub use parent::{Parent, StoreHandle};
pub use pinned::{OwnedPinned, Pinned};
pub use raw::{RawCtor, RawDtor, RawVar};
#[cfg(feature = "seize")]
pub use reclaim::Seize;
pub use reclaim::{Asymmetric, Epoch, Eras, Reclaim};
pub use service::{report_old_guards, start_reclaimer};
pub use stats::{IdStats, Stats};
pub use store::{ShadowStore, global};
pub use table::layout::MAX_ALIGN;
pub use variable::Variable;

/// Follows forks from now on, so that fork handlers that are registered later run before the handlers of stores, which
/// they may need. Not part of the stable interface. Returns whether there was enough memory.
#[doc(hidden)]
pub fn follow_forks() -> bool {
    child::watch()
}

/// The README's examples are tests, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
