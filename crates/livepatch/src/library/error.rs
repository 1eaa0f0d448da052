//! What can be wrong with a library.

use std::io;
use std::path::{Path, PathBuf};

use super::{LibraryKind, Stays};
use crate::error::{ModuleError, PatchError};

/// A library was not loaded. Nothing of it is left, unless it must [stay](super#what-stays-loaded).
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", .path.display())]
pub struct LoadError {
    path: PathBuf,
    #[source]
    fault: Box<LoadFault>,
}

impl LoadError {
    pub(super) fn new(path: &Path, fault: LoadFault) -> Self {
        Self {
            path: path.to_owned(),
            fault: Box::new(fault),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &LoadFault {
        &self.fault
    }

    /// What is wrong, by itself.
    #[must_use]
    pub fn into_fault(self) -> LoadFault {
        *self.fault
    }
}

/// Why a library was not loaded: what was found, and what was expected.
///
/// All but the last six are found before any of its code runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadFault {
    /// There is no such file, or it may not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is a folder, a pipe, a device.
    #[error("it is a {found}, expected a regular file")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// It is on a file system that is mounted `noexec`. See [`LoadOptions::allow_noexec`](super::LoadOptions::allow_noexec).
    #[error("it is on a file system mounted noexec, expected one from which code may be run")]
    NoExec,
    /// It is larger than allowed. See [`LoadOptions::max_size`](super::LoadOptions::max_size).
    #[error("it has {found} bytes, expected {limit} at most")]
    TooLarge {
        /// Its size.
        found: u64,
        /// What is allowed.
        limit: u64,
    },
    /// It is no shared library.
    #[error("not a shared library: {found}, expected {expected}")]
    NotALibrary {
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// Part of it is missing, or it is damaged.
    #[error("truncated or damaged: expected {what}, which is not whole within its {found} bytes")]
    Truncated {
        /// What is not there.
        what: &'static str,
        /// How long it is.
        found: u64,
    },
    /// It is for another kind of processor.
    #[error("built for another machine: {found}, this process is {expected}")]
    Machine {
        /// In the library.
        found: String,
        /// Here.
        expected: String,
    },
    /// It has no description: it exports neither a patch nor a module.
    #[error("a shared library, but neither a patch nor a module: it has no section `.livepatch`")]
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
    /// This process is the child of a fork in the middle of which the parent was loading or unloading a library: the dynamic
    /// linker may wait for a thread that is not there.
    #[error("the process was forked while its parent was loading or unloading a library")]
    Forked,
    /// The dynamic linker refuses it: libraries that it needs are not there, or other things.
    #[error("the dynamic linker refuses it: {message}")]
    Link {
        /// What it says.
        message: String,
    },
    /// Symbols that it needs are not there.
    #[error(
        "it needs what this process does not have: {message}; \
         was it built with another profile, other features, or other versions of crates than this process?"
    )]
    Symbols {
        /// What the dynamic linker says.
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
    pub stays: Option<Stays>,
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
