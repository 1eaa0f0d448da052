//! Patches and modules that arrive as shared libraries.

mod description;
mod error;
#[doc(hidden)]
pub mod export;
mod file;
mod interface;
mod loaded;
mod module;
mod patch;

pub use crate::{export_module, export_patch, interface};
pub use description::{LibraryInfo, LibraryKind};
pub use error::{LoadError, StillLoaded, UnloadError};
pub use interface::Interface;
pub use loaded::LibraryStatus;
pub use module::{Module, ModuleCall, ModuleFunction, ModuleGone};

pub(crate) use loaded::Library;
