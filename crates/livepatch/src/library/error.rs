//! Errors of libraries.

use std::io;
use std::path::{Path, PathBuf};

use super::{LibraryKind, Stays};
use crate::error::{ModuleError, PatchError};

/// A library was not loaded. All of its effects were undone, unless it must [stay](super#what-stays-loaded).
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

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the cause.
    #[must_use]
    pub fn fault(&self) -> &LoadFault {
        &self.fault
    }

    /// Consumes the error and returns the cause.
    #[must_use]
    pub fn into_fault(self) -> LoadFault {
        *self.fault
    }
}

/// Why a library was not loaded: the value found, and the value expected.
///
/// All but the last six are detected before any of its code runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadFault {
    /// There is no such file, or it cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is a directory, a pipe, or a device.
    #[error("it is a {found}, expected a regular file")]
    NotAFile {
        /// The kind of file.
        found: &'static str,
    },
    /// It is on a file system that is mounted `noexec`. See [`LoadOptions::allow_noexec`](super::LoadOptions::allow_noexec).
    #[error("it is on a file system mounted noexec, expected one from which code may be run")]
    NoExec,
    /// It is larger than allowed. See [`LoadOptions::max_size`](super::LoadOptions::max_size).
    #[error("it has {found} bytes, expected at most {limit}")]
    TooLarge {
        /// Its size.
        found: u64,
        /// The maximum size.
        limit: u64,
    },
    /// It is not a shared library.
    #[error("not a shared library: {found}, expected {expected}")]
    NotALibrary {
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Part of it is missing, or it is damaged.
    #[error("truncated or damaged: expected {what}, which is not whole within its {found} bytes")]
    Truncated {
        /// The missing part.
        what: &'static str,
        /// The length of the file.
        found: u64,
    },
    /// It is for another machine architecture.
    #[error("built for another machine: {found}, this process is {expected}")]
    Machine {
        /// The library's.
        found: String,
        /// The process's.
        expected: String,
    },
    /// It has no description, so it exports neither a patch nor a module.
    #[error("a shared library, but neither a patch nor a module: it has no section `.livepatch`")]
    NoDescription,
    /// Its description is damaged, or there is more than one.
    #[error("its description is damaged: {what}")]
    Description {
        /// The defect.
        what: &'static str,
    },
    /// Its description has another format: it was built with another version of this crate.
    #[error("its description has format {found}, expected {expected}")]
    Format {
        /// The library's.
        found: u32,
        /// The process's.
        expected: u32,
    },
    /// A patch was to be loaded but it is a module, or vice versa.
    #[error("it is a {found}, expected a {expected}")]
    Kind {
        /// The library's.
        found: LibraryKind,
        /// The requested kind.
        expected: LibraryKind,
    },
    /// It was built by another compiler.
    #[error("built by `{found}`, this process by `{expected}`")]
    Compiler {
        /// The library's.
        found: String,
        /// The process's.
        expected: String,
    },
    /// It was built for another target.
    #[error("built for target {found}, this process for {expected}")]
    Target {
        /// The library's.
        found: String,
        /// The process's.
        expected: String,
    },
    /// It was built against another interface crate.
    #[error("built against interface `{found}`, this process has `{expected}`")]
    Interface {
        /// The library's.
        found: String,
        /// The process's.
        expected: String,
    },
    /// It was built against another version of the interface crate.
    #[error("built against version {found} of interface `{interface}`, this process has {expected}")]
    InterfaceVersion {
        /// The interface crate.
        interface: String,
        /// The library's.
        found: String,
        /// The process's.
        expected: String,
    },
    /// It was built against other sources of the interface crate.
    #[error("built against other sources of interface `{interface}`: hash {found}, this process has {expected}")]
    InterfaceHash {
        /// The interface crate.
        interface: String,
        /// The library's.
        found: String,
        /// The process's.
        expected: String,
    },
    /// There is no memory for a copy of it, or the system does not allow executable memory files.
    #[error("cannot be copied to a sealed memory file: {0}")]
    Copy(#[source] io::Error),
    /// This process is the child of a fork that happened while its parent was loading or unloading a library: the dynamic
    /// linker may wait for a thread that does not exist here.
    #[error("the process was forked while its parent was loading or unloading a library")]
    Forked,
    /// The dynamic linker refuses it, for instance because libraries that it needs are missing.
    #[error("the dynamic linker refuses it: {message}")]
    Link {
        /// The linker's message.
        message: String,
    },
    /// Symbols that it needs are missing.
    #[error(
        "it needs symbols that this process does not have: {message}; \
         was it built with another profile, other features, or other versions of crates than this process?"
    )]
    Symbols {
        /// The linker's message.
        message: String,
    },
    /// It has its own copy of this crate, and so of the registry: it was not built with `-C prefer-dynamic`, or not
    /// against the service's interface.
    #[error("it has its own copy of livepatch: build it with `-C prefer-dynamic`, against the service's interface")]
    OwnCopy,
    /// The function that builds its patch, or initialises its module, returned an error.
    #[error("it refused: {message}")]
    Refused {
        /// The message of the error.
        message: String,
    },
    /// That function panicked.
    #[error("it panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// Its patch is not valid.
    #[error("its patch is not valid: {0}")]
    Patch(#[source] PatchError),
    /// Its module was refused.
    #[error(transparent)]
    Module(ModuleError),
}

/// The library is still loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is still loaded{}", .stays.as_ref().map(|why| format!(", for good: {why}")).unwrap_or_default())]
pub struct StillLoaded {
    /// The name of the patch or module.
    pub name: String,
    /// Why it stays loaded for good, if it does.
    pub stays: Option<Stays>,
}

/// Why a module was not unloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnloadError {
    /// The caller is in a unit of work, which unloading would wait for.
    #[error("called inside a unit of work, which unloading would wait for")]
    Inside,
    /// Units of work that may be inside the module have not ended in time.
    #[error("{units} units of work may still be inside the module")]
    Busy {
        /// How many.
        units: usize,
    },
    /// The registry refused to remove the module.
    #[error(transparent)]
    Module(#[from] ModuleError),
}
