//! Live patches for a running process: functions replaced while they are called, in whole sets, for whole units of work.
//!
//! ```
//! use livepatch::{ObjectPatch, Patch, patchable, registry, unit};
//!
//! #[patchable]
//! fn length(word: &str) -> usize { word.len() }
//! #[patchable]
//! fn limit() -> usize { 4 }
//!
//! // The fix: count characters, and double the limit. A unit of work sees both changes or neither.
//! fn length_in_chars(word: &str) -> usize { word.chars().count() }
//! fn doubled() -> usize { 8 }
//!
//! let fits = |word: &str| { let _unit = unit(); length(word) <= limit() };
//! assert!(!fits("größe"));
//! let patch = Patch::builder("utf8")
//!     .object(ObjectPatch::program().function::<length>(length_in_chars).function::<limit>(doubled))
//!     .build()?;
//! registry().enable(&patch)?;
//! assert!(fits("größe"));
//! registry().disable("utf8")?;
//! assert!(!fits("größe"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The [guide](docs) shows an [asynchronous service](docs::service) that is patched while it serves.
//!
//! The rules are those of the Linux kernel's live patching, as far as they apply to a process:
//!
//! - **Functions** marked [`patchable`] can be replaced by others of the same type. A call inside a unit costs little
//!   more than an indirect call; a call outside one costs a unit as well. Patched and unpatched functions cost the same.
//! - **Units of work** ([`unit()`], [`UnitExt::in_unit`]) run one version of everything. A patch takes effect by a
//!   *transition*: units that begin run the new functions, and units in progress finish with the old ones. Transitions
//!   can be reversed or forced.
//! - **Objects**: the program, and modules that are loaded and unloaded ([`Registry::module_coming`]).
//! - **Callbacks** run before and after a change, for each object. **States** have versions: a later patch can take over
//!   what an earlier one changed, or is refused. States own [shadow variables](shadow_vars), which are freed with their
//!   last holder.
//! - **Patches** stack, are disabled in any order, or [replace](PatchBuilder::replace) all earlier ones at once.
//!
//! # Fork
//!
//! On Linux, the child of a C library `fork` keeps the patches that were in effect, and can change them:
//!
//! - The work of other threads ends. Their units, and those of futures that they polled last, count as left; if such a
//!   future is polled in the child after all, it begins a new unit, of the version in effect then.
//! - A running transition continues, and waits only for units of the child's thread. The thread that completes
//!   transitions is restarted when it is needed: by the next change, or by [`Registry::wait`].
//! - A fork waits for up to 100 ms for a change that another thread is making, including its callbacks. If it has not
//!   finished by then, the child can change nothing: every attempt fails with [`Forked`]. If another thread is loading or
//!   unloading a library, every load in the child fails with `LoadFault::Forked`.
//! - A library that another thread was unloading stays loaded ([`Stays::Forked`]). A library that may contain
//!   destructors of a state's variables stays until the state's last holder is removed: the child cannot tell how many
//!   variables are left. The parent's control socket is not served.
//!
//! What happens to shadow variables is up to the store: see [`shadow_vars`]. None of this holds for a child made by the
//! bare system call (`clone`) or by `vfork`.
//!
//! # Features
//!
//! - `tracing`: every [`Event`] is also emitted through `tracing`, target `livepatch`.
//! - `library`: patches and modules loaded from shared libraries (Linux).
//! - `serde`: `Serialize` and `Deserialize` for [`Status`] and [`Event`].
//! - `control` (Linux): a socket through which operators inspect and change the patches of the service, and its client.
//!   See `livepatch::control`, and the tool in the crate `livepatch-cli`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate self as livepatch;

mod callout;
#[cfg(all(feature = "control", target_os = "linux"))]
pub mod control;
pub mod docs;
mod error;
mod events;
mod fork;
#[cfg(all(feature = "library", target_os = "linux"))]
pub mod library;
mod patch;
mod point;
mod registry;
mod sync;
mod task;
#[cfg(test)]
mod tests;
#[cfg(doctest)]
mod variance;
mod wire;

/// Makes a function patchable: calls go through a patch point, which patches name by a type of the function's name.
///
/// The signature stays, and so does the way the function is called. Methods and generic, `async`, `const` or variadic
/// functions are not supported, nor are functions that return `impl Trait`: mark a function that they call.
///
/// Because of that type, links in documentation are ambiguous: write ``[`handle()`]`` for the function.
///
/// - `#[patchable(name = "…")]`: the name by which functions of modules are found; by default, the function's path.
///
/// A call outside every [`unit()`] is a unit of its own, and costs as much as [`unit()`] does; a call inside one costs
/// about as much as a call through a pointer. A thread's first call allocates.
///
/// **A call that does not return holds up every transition**, like a unit that does not end: a patch only affects calls
/// that begin after it. So mark the functions that a main loop calls in each iteration, never the loop itself, nor a
/// function that blocks for long; otherwise no patch of the whole program ever takes effect without
/// [force](Registry::force). [`Status`] reports such a task ([`TaskStatus::unusual`]), and a [`Watchdog`] reports it
/// unprompted.
pub use livepatch_macros::patchable;

pub use error::{CallbackOwner, ChangeError, EnableError, Incompatibility, ModuleError, NoTransition, PatchError};
pub use error::{Forked, Reentrant, Refusal, RefusedHow, ResolveError, WaitError};
pub use events::{Direction, Event};
#[cfg(all(feature = "library", target_os = "linux"))]
pub use library::Interface;
pub use patch::{CallbackError, CallbackKind, Context, MAX_NAME, ModuleState, ObjectPatch, PROGRAM, Patch};
pub use patch::{LibraryKind, LibraryStatus, Needed, Stays};
pub use patch::{PatchBuilder, PrevState, State, StateData};
pub use point::{Call, PatchPoint, Patchable, RawPoint};
pub use registry::{
    EnteredBy, FunctionStatus, ModuleStatus, ObjectStatus, Observation, PatchStatus, Registry, StateStatus, Status,
};
pub use registry::{TaskInside, TaskState, TaskStatus, TransitionStatus, Watchdog, registry};
pub use task::{InUnit, TaskKind, Unit, UnitExt, unit};

/// For the macros.
#[doc(hidden)]
pub use task::Outside;

/// For the macros.
#[cfg(all(feature = "library", target_os = "linux"))]
#[doc(hidden)]
pub use library::export as __library;

/// Builds an array of patch points: `points![handle, answer]`, for [`Registry::announce_points`] and
/// [`Registry::module_coming`].
#[macro_export]
macro_rules! points {
    ($($function:path),* $(,)?) => {
        [$(<$function as $crate::Patchable>::point().raw()),*]
    };
}

/// The README's examples are tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
