//! Choosing a reclamation backend.
//!
//! A backend decides when a freed value may be dropped. It is the type parameter of a store, with
//! [`Asymmetric`](crate::Asymmetric) as its default, and all code that does not name it stays the same:
//!
//! ```
//! use shadow_vars::{Eras, Reclaim, ShadowId, ShadowStore};
//!
//! const HITS: ShadowId<u32> = ShadowId::new(1);
//!
//! fn hits<R: Reclaim>(store: &ShadowStore<R>, object: &u64) -> u32 {
//!     store.pin().get(object, HITS).copied().unwrap_or(0)
//! }
//!
//! assert_eq!(hits(&ShadowStore::new(), &7), 0);
//! assert_eq!(hits(&ShadowStore::<Eras>::default(), &7), 0);
//! ```
//!
//! **Start with the default.** Change it for one of these reasons:
//!
//! | situation | backend |
//! |---|---|
//! | Guards may be held for long and memory must stay bounded: tasks hold owned guards across awaits that no timeout ends, or threads are stopped by a debugger or a scheduler | [`Eras`](crate::Eras) |
//! | Owned guards are taken so often that the short lock they take is contended | [`Epoch`](crate::Epoch), whose owned guards are lock-free |
//! | An implementation by others, as a reference in tests or because it is trusted already | [`Epoch`](crate::Epoch) (crossbeam-epoch) or `Seize` (Hyaline) |
//!
//! # What each one does
//!
//! | | `Asymmetric` | `Eras` | `Epoch` | `Seize` |
//! |---|---|---|---|---|
//! | a look-up is | wait-free | lock-free | wait-free | wait-free |
//! | a stalled guard holds back | all that is freed meanwhile | what existed when it stalled | all that is freed meanwhile | all that is freed meanwhile |
//! | memory for each variable, in addition | none | 16 bytes | none | none |
//! | values with destructors are dropped | by one of the next frees | by one of the next frees | when a batch is full, or by `flush` | when a batch is full, or by `flush` |
//! | reports of [old guards](crate::report_old_guards) | yes | yes | no | no |
//! | [signal handlers](super::processes#signal-handlers) may read | yes | yes | no | no |
//! | the child of a [fork](super::processes#fork) reclaims | yes | yes | no | no |
//! | a grace period allocates | no | no | yes | yes |
//!
//! [Stalled guards](super::limits#stalled-guards) describes in full what `Eras` costs and holds back. The repository's
//! `BENCHMARKS.md` has the times of all four.
//!
//! # Several stores
//!
//! All stores of one backend wait for the guards of all of them; stores of different backends do not wait for each other. So
//! a program in which only one part holds guards for long can give that part a store of its own:
//!
//! ```
//! use std::sync::OnceLock;
//! use shadow_vars::{Eras, ShadowId, ShadowStore, global};
//!
//! /// For tasks that hold guards across awaits.
//! fn sessions() -> &'static ShadowStore<Eras> {
//!     static SESSIONS: OnceLock<ShadowStore<Eras>> = OnceLock::new();
//!     SESSIONS.get_or_init(ShadowStore::default)
//! }
//!
//! const NAME: ShadowId<String> = ShadowId::new(1);
//! sessions().pin().alloc(8_usize, NAME, "alice".to_owned())?;
//! let held_for_long = sessions().pin_owned();
//! assert!(held_for_long.get(8_usize, NAME).is_some());
//!
//! // In the global store, which has the default backend, nothing waits for that guard.
//! global().pin().alloc(8_usize, NAME, "bob".to_owned())?;
//! global().pin().free(8_usize, NAME);
//! global().synchronize().expect("this thread holds no guard of that backend");
//! # Ok::<(), shadow_vars::AllocError<String>>(())
//! ```
//!
//! Patches that share variables with each other must use one store. That is usually [`global`](crate::global), whose
//! backend is the default one.
