//! Patches and modules in shared libraries. On Linux, with the feature `library`.
//!
//! # How to build a service
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
//! The interface's manifest has `crate-type = ["dylib"]`, a patch's `crate-type = ["cdylib"]`, and everything is built
//! with `-C prefer-dynamic`, which the workspace sets in `.cargo/config.toml`:
//!
//! ```toml
//! [build]
//! rustflags = ["-Cprefer-dynamic", "-Clink-arg=-Wl,-rpath,$ORIGIN"]
//! ```
//!
//! So there is one copy of the standard library, of livepatch, and of the interface, with all their statics, thread-local
//! variables and allocators. Types are the same on both sides, panics cross the boundary, and a patch names patch points
//! as types. With static copies each side would have its own registry, tasks and stores, and a patch would have no
//! effect; a library with such a copy is refused ([`LoadFault::OwnCopy`]).
//!
//! The program finds the interface and the standard library when it starts: through the run path above, in its own
//! directory. Put `libinterface.so` and `libstd-*.so` there (the latter from the directory that `rustc --print
//! target-libdir` prints); without the run path they are only found through `LD_LIBRARY_PATH`. The README has a complete
//! service, step by step.
//!
//! Programs linked in this way cannot use link-time optimisation (rustc refuses `lto` with `-C prefer-dynamic`) or `panic
//! = "abort"` (the shared standard library unwinds, and rustc refuses to link the two).
//!
//! **Keep everything that a release was built from**: the compiler, the sources, the lock file, at the same path. Rust
//! has no stable ABI, so a patch must be built by the same compiler against the same interface. The compiler's commit is
//! checked, and the interface's name, version and a hash of its sources ([`interface!`](crate::interface)). Other
//! differences, such as the versions or features of crates that the interface uses, are part of the names of its symbols:
//! the dynamic linker does not find them, and the patch is refused.
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
//! The service calls `station_api::limit()` in its [units of work](crate::unit). One day its limit is too low. The patch
//! is a new crate of the workspace that depends on `livepatch` and `station-api`:
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
//! And in the service, on its operator's request:
//!
//! ```no_run
//! # mod station_api { pub const INTERFACE: livepatch::Interface = livepatch::interface!(); }
//! use livepatch::registry;
//! # fn load() -> Result<(), Box<dyn std::error::Error>> {
//! # let minute = std::time::Duration::from_secs(60);
//!
//! // SAFETY: our own patch, which leaves no references to its code anywhere.
//! let patch = unsafe { registry().load_patch("liblimit_8.so", &station_api::INTERFACE) }?;
//! registry().enable(&patch)?;
//! drop(patch); // From now on only the registry refers to it.
//!
//! registry().disable("limit-8")?;
//! registry().wait(minute)?; // No unit of work runs its functions.
//! registry().wait_unloaded("limit-8", minute)?; // Its code is unloaded.
//! # Ok(()) }
//! ```
//!
//! # What is loaded
//!
//! First the header of the file is checked, then its size, then all of it. Before any code of it runs, it must be a
//! complete library for this machine, no larger than [`LoadOptions`] allows, not on a file system mounted `noexec`, and
//! its description must match. Then a sealed copy in memory is loaded, which needs `/proc`: the file may be replaced,
//! overwritten or removed meanwhile. No descriptor of it stays open. Debuggers see the copy as `/memfd:livepatch:NAME`.
//! None of this protects against malice: whoever can choose the file can run code in the service.
//!
//! # When a library is unloaded
//!
//! A patch's library stays loaded as long as the patch, which the registry drops when its transition has ended: no unit
//! of work is in its functions then. Other references may keep it longer: an `Arc<Patch>` of yours, a
//! [`PrevState`](crate::PrevState), an error of its callbacks. And if a later patch has one of its states, the library
//! stays for what may still need its code:
//!
//! - **variables** of a state whose type has a destructor, or contains a type that has one: as long as any of that id are
//!   live, if any were when the patch was removed. This is checked whenever a transition ends, and by
//!   [`poll`](crate::Registry::poll). In a fork's child, where they cannot be counted, the library stays until the
//!   state's last holder is removed. Variables of types without destructors, such as numbers and atomics, do not need it;
//! - **data** of a state that the later patch took over unchanged: as long as it has them. It may pass them on: then the
//!   libraries of all patches that had them stay, for each may have left something in them. Copies need no library: a
//!   series of patches each of which makes its own copy of the previous data keeps none loaded;
//! - **ways to free** variables that the later patch does not name: until the state's last holder is removed.
//!
//! So of a series of patches that each replace the previous one, only the newest stays loaded if no older library is
//! needed. [`Status::libraries`](crate::Status::libraries) reports the loaded libraries and [why](Needed) they are.
//!
//! Once nothing refers to the library, a separate thread waits until the stores of its states have run all destructors
//! ([`synchronize`](shadow_vars::ShadowStore::synchronize): guards of other threads delay that, and so do the units that
//! run then, which may be freeing variables), and unloads it. That is reported as an
//! [`Event::Unloaded`](crate::Event::Unloaded).
//!
//! # What stays loaded
//!
//! For good, as reported by an [`Event::StaysLoaded`](crate::Event::StaysLoaded) and by [`Stays`]:
//!
//! - a patch from which a transition was [forced](crate::Registry::force): units may be in its functions;
//! - a library with thread-local variables of its own, or of crates that only it uses: their destructors run when threads
//!   end, which cannot be waited for;
//! - one that imports a function through which its code could be called, or its memory used, after it is unloaded:
//!   `pthread_key_create` and `__cxa_thread_atexit`, `atexit` and the like, `signal` and `sigaction`, `pthread_atfork`,
//!   timers and notifications that call functions, `putenv`, `openlog`, hooks of C++, panic hooks, loggers, call sites of
//!   `tracing`. The import suffices, as it cannot be determined whether the function is called;
//! - one that is declared `unload: never`, as is required if it starts threads that remain, or registers itself anywhere
//!   for good in a way that imports do not show (such as a function that [weighs](shadow_vars::ShadowStore::weigh) the
//!   values of an id, and is not removed): see the safety section of [`load_patch`](crate::Registry::load_patch);
//! - a module that was dropped without being [unloaded](Module::unload), or whose `exit` panicked;
//! - one for which a store cannot tell whether destructors are pending ([`Stays::Unsynchronized`]: a barrier that is
//!   denied is retried for ten seconds), or where a destructor of an object that belongs to it panicked; or one that
//!   could not be unloaded, because no thread could be created for it, or the process was forked meanwhile
//!   ([`Stays::DestructorPanicked`], [`Stays::NoThread`], [`Stays::Forked`]);
//! - one that the dynamic linker keeps for reasons of its own: `musl` never unloads a library.
//!
//! # Modules
//!
//! A [module](crate::export_module) is a part of the service that can be loaded and unloaded. The program calls it
//! through the patchable functions that it exports, looked up by name and type ([`Module::function`]): each call is in a
//! unit of work, so unloading can refuse new calls and wait for those inside. Patches can replace these functions like
//! those of the program, by [name](crate::ObjectPatch::function_named).
//!
//! ```no_run
//! # mod station_api { pub const INTERFACE: livepatch::Interface = livepatch::interface!(); }
//! use livepatch::registry;
//! # fn load() -> Result<(), Box<dyn std::error::Error>> {
//!
//! // SAFETY: our own module, which leaves no references to its code anywhere once `exit` has run.
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

pub(crate) use loaded::listed;
