//! What can be wrong with a library.

use std::io;

use super::LibraryKind;
use crate::error::{ModuleError, PatchError};

/// Why a library was not loaded. Nothing of it is left, unless it must [stay](super#what-stays-loaded).
///
/// All but the last six are found before any of its code runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such file, or it may not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is a folder, a pipe, a device.
    #[error("not a regular file")]
    NotAFile,
    /// It is no shared library.
    #[error("not a shared library")]
    NotALibrary,
    /// Part of it is missing, or it is damaged.
    #[error("truncated or damaged: {what}")]
    Truncated {
        /// What is not there.
        what: &'static str,
    },
    /// It is for another kind of processor.
    #[error("built for another machine")]
    Machine,
    /// It has no description: it exports neither a patch nor a module.
    #[error("a shared library, but neither a patch nor a module")]
    NoDescription,
    /// Its description is damaged, or it has more than one.
    #[error("its description is damaged: {what}")]
    Description {
        /// In what way.
        what: &'static str,
    },
    /// Its description is of another format: it was built with another version of this library.
    #[error("its description has format {found}, expected {expected}")]
    Format {
        /// In the library.
        found: u32,
        /// Here.
        expected: u32,
    },
    /// A patch was asked for, and it is a module, or the other way round.
    #[error("it is a {found}, expected a {expected}")]
    Kind {
        /// In the library.
        found: LibraryKind,
        /// Asked for.
        expected: LibraryKind,
    },
    /// It was built by another compiler.
    #[error("built by `{found}`, this process by `{expected}`")]
    Compiler {
        /// In the library.
        found: String,
        /// Here.
        expected: String,
    },
    /// It was built for another target.
    #[error("built for target {found}, this process for {expected}")]
    Target {
        /// In the library.
        found: String,
        /// Here.
        expected: String,
    },
    /// It was built against another interface crate.
    #[error("built against interface `{found}`, this process has `{expected}`")]
    Interface {
        /// In the library.
        found: String,
        /// Here.
        expected: String,
    },
    /// It was built against another version of the interface crate.
    #[error("built against version {found} of interface `{interface}`, this process has {expected}")]
    InterfaceVersion {
        /// The crate.
        interface: String,
        /// In the library.
        found: String,
        /// Here.
        expected: String,
    },
    /// It was built against other sources of the interface crate.
    #[error("built against other sources of interface `{interface}`: hash {found}, this process has {expected}")]
    InterfaceHash {
        /// The crate.
        interface: String,
        /// In the library.
        found: String,
        /// Here.
        expected: String,
    },
    /// There is no memory for a copy of it, or the system allows no executable memory files.
    #[error("cannot be copied to a sealed memory file: {0}")]
    Copy(#[source] io::Error),
    /// The dynamic linker refuses it: symbols that it needs are not there, or libraries.
    #[error("the dynamic linker refuses it: {message}")]
    Link {
        /// What it says.
        message: String,
    },
    /// It has a copy of this crate of its own, and so of the registry: it was not built with `-C prefer-dynamic`, or not
    /// against the service's interface.
    #[error("it has its own copy of livepatch: build it with `-C prefer-dynamic`, against the service's interface")]
    OwnCopy,
    /// Its function returned an error: that which builds the patch, or initialises the module.
    #[error("it refuses: {message}")]
    Refused {
        /// What it says.
        message: String,
    },
    /// Its function panicked.
    #[error("it panicked: {message}")]
    Panicked {
        /// What it says.
        message: String,
    },
    /// Its patch is none.
    #[error("its patch is not valid: {0}")]
    Patch(#[source] PatchError),
    /// Its module may not come.
    #[error(transparent)]
    Module(ModuleError),
}

/// The library is still loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is still loaded{}", .stays.as_ref().map(|why| format!(", for good: {why}")).unwrap_or_default())]
pub struct StillLoaded {
    /// The patch or module.
    pub name: String,
    /// Why it stays loaded for good, if it does.
    pub stays: Option<&'static str>,
}

/// Why a module is not unloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnloadError {
    /// The caller is in a unit of work, which unloading would wait for.
    #[error("called inside a unit of work, for which it would wait")]
    Inside,
    /// Units of work that may be inside the module have not ended in time.
    #[error("{units} units of work may still be inside the module")]
    Busy {
        /// How many.
        units: usize,
    },
    /// The registry does not let it go.
    #[error(transparent)]
    Module(#[from] ModuleError),
}
