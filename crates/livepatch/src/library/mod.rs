//! Patches and modules that arrive as shared libraries. On Linux, with the feature `library`.
//!
//! # How a service is built for it
//!
//! Three kinds of crates, in one workspace:
//!
//! ```text
//!   the interface   a Rust dylib: the types, the patchable functions; depends on livepatch and shadow-vars
//!     ▲       ▲
//!     │       └──── patches and modules: cdylibs, built later, loaded while the service runs
//!     └──────────── the service: a program
//! ```
//!
//! The interface's manifest says `crate-type = ["dylib"]`, that of a patch `crate-type = ["cdylib"]`, and all of it is built
//! with `-C prefer-dynamic`, for which the workspace has a file `.cargo/config.toml`:
//!
//! ```toml
//! [build]
//! rustflags = ["-Cprefer-dynamic", "-Clink-arg=-Wl,-rpath,$ORIGIN"]
//! ```
//!
//! So there is one copy of the standard library, of livepatch, of the interface: of all statics, thread-local variables and
//! allocators. Types are the same types on both sides, panics cross the border, and a patch names patch points as types.
//! With static copies each side would have a registry, tasks and stores of its own, and a patch would change nothing; a
//! library that has such a copy is refused ([`LoadFault::OwnCopy`]).
//!
//! The program finds the interface and the standard library when it starts: by the run path above, in its own folder. Put
//! `libinterface.so` and `libstd-*.so`, from the folder that `rustc --print target-libdir` tells, there; without the run path
//! that does not help, and only `LD_LIBRARY_PATH` does. The README has a whole service, step by step.
//!
//! What is linked so cannot be optimised at link time (rustc refuses `lto` with `-C prefer-dynamic`), nor built with
//! `panic = "abort"` (the shared standard library unwinds, and rustc refuses to link the two).
//!
//! **Keep what a release was built from**: the compiler, the sources, the lock file, at the same path. Rust has no stable
//! ABI, so a patch is built by the same compiler against the same interface. Checked are the compiler's commit, and the
//! interface's name, version and a hash over its sources ([`interface!`](crate::interface)). What else differs, such as the
//! versions or features of crates that the interface uses, is part of the names of its symbols: the dynamic linker does not
//! find them, and the patch is refused.
//!
//! # A patch from beginning to end
//!
//! The interface crate, `station-api`:
//!
//! ```
//! use livepatch::{Interface, patchable};
//!
//! pub const INTERFACE: Interface = livepatch::interface!();
//!
//! #[patchable]
//! pub fn limit() -> usize { 4 }
//! ```
//!
//! The service calls `station_api::limit()` in its [units of work](crate::unit). One day its limit is too low. The patch, a
//! new crate of the workspace that depends on `livepatch` and `station-api`:
//!
//! ```
//! # mod station_api {
//! #     pub const INTERFACE: livepatch::Interface = livepatch::interface!();
//! #     #[livepatch::patchable]
//! #     pub fn limit() -> usize { 4 }
//! # }
//! use livepatch::{ObjectPatch, PatchBuilder, PatchError};
//!
//! fn limit() -> usize { 8 }
//!
//! fn patch(patch: PatchBuilder) -> Result<PatchBuilder, PatchError> {
//!     Ok(patch.object(ObjectPatch::program().function::<station_api::limit>(limit)))
//! }
//!
//! livepatch::export_patch! { interface: station_api::INTERFACE, name: "limit-8", patch: patch }
//! # fn main() {}
//! ```
//!
//! And in the service, when its operator says so:
//!
//! ```no_run
//! # mod station_api { pub const INTERFACE: livepatch::Interface = livepatch::interface!(); }
//! use livepatch::registry;
//! # fn load() -> Result<(), Box<dyn std::error::Error>> {
//! # let minute = std::time::Duration::from_secs(60);
//!
//! // SAFETY: our own patch, which keeps nothing of itself anywhere.
//! let patch = unsafe { registry().load_patch("liblimit_8.so", &station_api::INTERFACE) }?;
//! registry().enable(&patch)?;
//! drop(patch); // From now on the registry alone has it.
//!
//! registry().disable("limit-8")?;
//! registry().wait(minute)?; // No unit of work runs its functions.
//! registry().wait_unloaded("limit-8", minute)?; // Its code is gone.
//! # Ok(()) }
//! ```
//!
//! # What is loaded
//!
//! First the head of the file is looked at, then its size, then all of it: it must be a whole library for this machine, no
//! larger than [`LoadOptions`] allow and not on a file system mounted `noexec`, whose description says what it must, before
//! any code of it runs. What is loaded then is a sealed copy in memory, which needs `/proc`: the file may be replaced, written
//! over or removed meanwhile. No descriptor of it stays open. Debuggers see the copy as `/memfd:livepatch:NAME`. None of that
//! guards against malice: who may choose the file can run code in the service.
//!
//! # When a library is unloaded
//!
//! A patch's library stays loaded as long as the patch, which the registry drops when its transition is over: no unit of
//! work is in its functions then. Others may have it for longer: an `Arc<Patch>` of yours, a
//! [`PrevState`](crate::PrevState), an error of its callbacks. And if a later patch has a state of it, it stays for what is
//! owed to its code:
//!
//! - **variables** of a state whose type has a destructor, or holds what has one: as long as any of that id live, if any did
//!   when the patch left. That is looked at whenever a transition ends, and by [`poll`](crate::Registry::poll). In a
//!   fork's child, where they cannot be counted: until the state's last holder goes. Those of types without one, such as
//!   numbers and atomics, owe it nothing;
//! - **data** of a state that the later patch took over as they are: as long as it has them. It may hand them on: then all
//!   libraries of patches that had them stay, for each may have left something in them. Copies owe nothing: a series of
//!   patches that each make their own, from those before, keeps no library;
//! - **ways to free** variables that the later patch does not name: until the state's last holder goes.
//!
//! So of a series of patches that each replace the one before, the newest is loaded, and no more, where nothing is owed.
//! [`Status::libraries`](crate::Status::libraries) says what is loaded and [why](Needed).
//!
//! Once nobody has it, a thread of its own waits until the stores of its states have run all destructors
//! ([`synchronize`](shadow_vars::ShadowStore::synchronize): guards of other threads delay that, and so do the units that run
//! then, which may be freeing variables), and unloads it. That is an [`Event::Unloaded`](crate::Event::Unloaded).
//!
//! # What stays loaded
//!
//! For good, as an [`Event::StaysLoaded`](crate::Event::StaysLoaded) says, and [`Stays`]:
//!
//! - a patch of which a transition away was [forced](crate::Registry::force): units may be in its functions;
//! - a library with thread-local variables of its own, or of crates that only it uses: their destructors run when threads
//!   end, for which nobody can wait;
//! - one that imports a function by which it can be called, or memory of it used, when it is gone: `pthread_key_create` and
//!   `__cxa_thread_atexit`, `atexit` and its like, `signal` and `sigaction`, `pthread_atfork`, timers and notifications that
//!   call functions, `putenv`, `openlog`, hooks of C++, panic hooks, loggers, call sites of `tracing`. That it imports it is
//!   enough, for whether it is called cannot be told;
//! - one that says `unload: never`, as it must if it starts threads that stay, or registers itself anywhere for good in a way
//!   that imports do not tell (as what [weighs](shadow_vars::ShadowStore::weigh) the values of an id, and is not taken away): see the safety section of [`load_patch`](crate::Registry::load_patch);
//! - a module that was dropped without being [unloaded](Module::unload), or whose `exit` panicked;
//! - one for which a store cannot tell whether destructors are owed ([`Stays::Unsynchronized`]: a barrier that is denied is
//!   tried again for ten seconds), or a destructor of what belongs to it panicked; or that could not be unloaded, for there
//!   was no thread for it, or the process was forked meanwhile ([`Stays::DestructorPanicked`], [`Stays::NoThread`],
//!   [`Stays::Forked`]);
//! - what the dynamic linker keeps for reasons of its own: `musl` unloads nothing.
//!
//! # Modules
//!
//! A [module](crate::export_module) is a part of the service that comes and goes. The program reaches it by the patchable
//! functions that it exports, looked up by name and type ([`Module::function`]): each call is in a unit of work, so
//! unloading can refuse new calls and wait for those inside. Patches can replace the functions as those of the program, by
//! [name](crate::ObjectPatch::function_named).
//!
//! ```no_run
//! # mod station_api { pub const INTERFACE: livepatch::Interface = livepatch::interface!(); }
//! use livepatch::registry;
//! # fn load() -> Result<(), Box<dyn std::error::Error>> {
//!
//! // SAFETY: our own module, which keeps nothing of itself anywhere once `exit` has run.
//! let mut module = unsafe { registry().load_module("libcodec.so", &station_api::INTERFACE) }?;
//! // SAFETY: a function pointer type, and the pointer is called at once.
//! let decode = unsafe { module.function::<fn(&str) -> usize>("decode") }?;
//! assert_eq!(decode.enter()?("frame"), 5);
//! module.unload(std::time::Duration::from_secs(60))?;
//! assert!(decode.enter().is_err());
//! # Ok(()) }
//! ```

mod description;
mod error;
#[doc(hidden)]
pub mod export;
mod file;
mod imports;
mod interface;
mod loaded;
mod module;
mod patch;

pub use crate::patch::{LibraryKind, LibraryStatus, Needed, Stays};
pub use crate::{export_module, export_patch, interface};
pub use description::LibraryInfo;
pub use error::{LoadError, LoadFault, StillLoaded, UnloadError};
pub use file::LoadOptions;
pub use interface::Interface;
pub use module::{Module, ModuleCall, ModuleFunction, ModuleGone};

pub(crate) use loaded::{Library, listed};
