//! Shadow variables: typed data attached to objects that already exist, found by the object's address and an id.
//!
//! ```
//! use shadow_vars::{ShadowId, ShadowStore};
//! use std::sync::Mutex;
//!
//! struct Session; // in use all over the program: no field can be added
//! const NOTES: ShadowId<Mutex<Vec<String>>> = ShadowId::new(1);
//!
//! let store = ShadowStore::new();
//! let session = &*Box::new((Session, [0_u8; 100]));
//! let pin = store.pin();
//! let notes = pin.get_or_alloc_with(session, NOTES, |_| Mutex::default())?; // the constructor runs once
//! notes.lock().unwrap().push("slow client".to_owned());
//! assert_eq!(pin.get(session, NOTES).unwrap().lock().unwrap().len(), 1);
//! assert!(store.free(session, NOTES)); // before the session itself goes
//! # Ok::<(), shadow_vars::StoreError>(())
//! ```
//!
//! The Linux kernel has this for live patches; this crate has it for running services, from any number of threads.
//!
//! - **Reads never wait.** [`get`](Pinned::get) takes no lock, allocates nothing, writes nothing that others read, and
//!   waits neither for a growing table nor for a running constructor.
//! - **One construction.** A constructor runs exactly once per variable that comes to exist, and has finished before
//!   anyone can see it. It may fail, panic, or use the store. Waiting for oneself, or in a ring, is an error.
//! - **One destruction.** A destructor runs exactly once; a value is dropped exactly once, when nobody can hold it.
//! - **Types.** An id holds one type per store; another one gets an error that names both. A [`Variable`] is an id of one
//!   store that has been checked: what a patch keeps for a field that it adds, and the fastest way to it.
//! - **Growth and shrinking** are spread over the operations that cause them, a block at a time.
//!
//! The [guide](docs) has every operation with its [progress guarantee](docs::operations), the three
//! [use cases](docs::use_cases), the way from the [kernel's functions](docs::kernel) to these, and the
//! [limits](docs::limits), and what forks, sandboxes, signals and a lack of memory do ([processes](docs::processes)).
//!
//! # Consistency
//!
//! Operations on one variable are linearizable: each takes effect at one instant between its call and its return.
//! [`free_all`](Pinned::free_all), [`free_object`](Pinned::free_object), [`ids_of`](Pinned::ids_of) and
//! [iteration](Pinned::iter) are not instants: they meet everything that is there for the whole of their run, and may or
//! may not meet what comes or goes meanwhile. Counts are of one moment during the call, but
//! for operations that run meanwhile.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `seize`: the `Seize` backend, for [`ShadowStore<Seize>`](ShadowStore), beside [`Asymmetric`], [`Epoch`] and [`Eras`].
//! - `rayon`: `par_free_all`, `par_free_all_with` and `par_iter`; and constructors that wait for each other through a pool get
//!   an error, [where that can be seen](docs::limits#constructors-and-thread-pools).
//! - `tracing`: a warning for each duplicate `alloc` and each guard that is [held for long](report_old_guards), one if
//!   [`membarrier` is denied](docs::processes#sandboxes) to the process and readers hold up what is freed; an error for each id
//!   used with two types.
//! - `serde`: `Serialize` and `Deserialize` for [`Stats`].
//!
//! # Minimum Rust
//!
//! 1.88, for let chains. A raise is a minor release.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate self as shadow_vars;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a slot packs an address of 48 bits with a tag into 64: shadow-vars needs a 64-bit platform");

mod attached;
mod child;
mod config;
mod ctor;
pub mod docs;
mod error;
mod events;
mod fork;
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
mod typed;
mod variable;
#[cfg(doctest)]
mod variance;
mod wait;

pub use bytemuck::Zeroable;

pub use attached::{Attached, Keeper};
pub use config::Builder;
#[doc(hidden)]
pub use config::Provoke;
pub use error::{AllocError, BuildError, CtorError, LayoutMismatch, StoreError, SyncError, TypeMismatch};
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
pub use reclaim::{Asymmetric, Epoch, Eras, GuardKind, LocalGuard, OwnedGuard, Reclaim};
pub use service::report_old_guards;
#[cfg(not(shadow_loom))]
pub use service::start_reclaimer;
pub use stats::{IdStats, Stats};
pub use store::{ShadowStore, global};
pub use typed::Typed;
pub use variable::Variable;

/// Follows forks from now on: so that handlers which are registered later run before those of stores, as they may need them.
/// Not part of the promised interface. Returns whether there was memory for it.
#[doc(hidden)]
pub fn follow_forks() -> bool {
    child::watch()
}

/// The largest alignment of a value.
pub const MAX_ALIGN: usize = 4096;

/// The README's examples are tests, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
