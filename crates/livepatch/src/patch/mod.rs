//! The parts of a patch.

mod builder;
mod callback;
pub(crate) mod code;
pub(crate) mod data;
mod kind;
mod libraries;
mod object;
mod parts;
mod state;

pub use builder::PatchBuilder;
pub use data::StateData;
pub use kind::{CallbackError, CallbackKind, MAX_NAME, ModuleState, PROGRAM};
pub use libraries::{LibraryKind, LibraryStatus, Needed, Stays};
pub use parts::{Context, ObjectPatch, Patch, PrevState, State};

pub(crate) use callback::Ended;
pub(crate) use code::Mapped;
pub(crate) use data::Owned;
pub(crate) use libraries::Listed;
pub(crate) use parts::{Function, Target};
