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
//! The Linux kernel has this for itself; the rules here are its rules, as far as a process has what they speak of:
//!
//! - **Functions** marked [`patchable`] can be replaced by others of the same type. Inside a unit a call costs little more
//!   than an indirect call, outside it costs a unit as well; patched or not.
//! - **Units of work** ([`unit()`], [`UnitExt::in_unit`]) run one version of everything. A patch comes into effect by a
//!   *transition*: units that begin run the new functions, those inside finish with the old ones. Transitions can be
//!   reversed, or forced.
//! - **Objects**: the program, and modules that come and go ([`Registry::module_coming`]).
//! - **Callbacks** before and after, for each object; **states** with versions, so that a later patch can take over what an
//!   earlier one changed, or is refused. States own [shadow variables](shadow_vars), freed when their last holder goes.
//! - **Patches** stack, are disabled in any order, or [replace](PatchBuilder::replace) all before them at once.
//!
//! # Fork
//!
//! On Linux, the child of a `fork` of the C library goes on with the patches that were in effect, and can change them:
//!
//! - What other threads were doing is over. Their units of work, and those of futures that they polled last, are left; if
//!   such a future is polled in the child after all, it begins a unit anew, of the version in effect then.
//! - A transition that was running goes on, and waits for units of the child's thread only. The thread that ends transitions
//!   is started again when it is needed: by the next change, or by [`Registry::wait`].
//! - A fork waits for up to 100 ms for a change that another thread is in the middle of, its callbacks included. If that is
//!   not over then, the child can change nothing: every attempt is the error [`Forked`]. If another thread is
//!   loading or unloading a library, every load in the child is the error `LoadFault::Forked`.
//! - A library that another thread was unloading stays ([`Stays::Forked`]). One that variables of a state may owe
//!   their destructors to stays until the state's last holder goes: the child cannot tell how many there are. The parent's control socket is not served.
//!
//! It is the store's own matter what becomes of shadow variables: see [`shadow_vars`]. A child that is made by the bare system
//! call (`clone`), or by `vfork`, has no such care.
//!
//! # Features
//!
//! - `tracing`: every [`Event`] goes to `tracing` too, target `livepatch`.
//! - `library`: patches and modules that arrive as shared libraries (Linux).
//! - `serde`: `Serialize` and `Deserialize` for [`Status`] and [`Event`].
//! - `control` (Linux): a socket by which operators see and change the patches of the service, and its client. See
//!   `livepatch::control`, and the tool of the crate `livepatch-cli`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate self as livepatch;

mod callout;
#[cfg(all(feature = "control", target_os = "linux"))]
pub mod control;
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

/// Makes a function patchable: its calls go through a patch point, which patches name as a type of the function's name.
///
/// The signature and the way it is called stay. Not for methods, generic, `async`, `const` or variadic functions, nor those
/// that return `impl Trait`: mark a function that they call.
///
/// The type of the same name makes links in documentation ambiguous: write ``[`handle()`]`` for the function.
///
/// - `#[patchable(name = "…")]`: the name by which modules' functions are found; else the function's path.
///
/// A call outside every [`unit()`] is a unit of its own, and costs what [`unit()`] does; inside one it costs about what a call
/// through a pointer does. A thread's first allocates.
///
/// **A call that does not return holds every transition up**, as a unit that does not end does: a patch is in effect for
/// those that begin after it. So mark what a main loop calls for each turn, never the loop itself, nor what waits for long
/// in between; else no patch of the whole program ever comes into effect without [force](Registry::force). A
/// [`Status`] says so of a task ([`TaskStatus::unusual`]), and a [`Watchdog`] tells without being asked.
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

/// A list of patch points: `points![handle, answer]`, for [`Registry::announce_points`] and
/// [`Registry::module_coming`].
#[macro_export]
macro_rules! points {
    ($($function:path),* $(,)?) => {
        [$(<$function as $crate::Patchable>::point().raw()),*]
    };
}

/// The README's examples are tests, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
