//! The status of libraries that are loaded; also for builds that cannot load any.

use std::fmt;

use crate::wire::{Deserialize, Serialize};

/// The kind of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LibraryKind {
    /// A patch: see `export_patch!`.
    Patch,
    /// A module: see `export_module!`.
    Module,
}

impl fmt::Display for LibraryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patch => "patch",
            Self::Module => "module",
        })
    }
}

/// A library that is loaded, and why it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LibraryStatus {
    /// Whether it contains a patch or a module.
    pub kind: LibraryKind,
    /// The patch's or module's name.
    pub name: String,
    /// The file that it was loaded from.
    pub path: String,
    /// Why it stays loaded for good, if it does.
    pub stays: Option<Stays>,
    /// What keeps it loaded for now: it is unloaded when none of these is left, unless it stays for good.
    pub needed: Vec<Needed>,
}

/// A library in the list of loaded libraries.
pub(crate) struct Listed {
    /// Its number in the list.
    pub(crate) number: u64,
    pub(crate) status: LibraryStatus,
}

/// Why a library stays loaded for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stays {
    /// It is declared `unload: never`.
    Asked,
    /// It has thread-local variables, whose destructors run when threads end.
    ThreadLocals,
    /// It imports a function through which its code could be called, or its memory used, after it is unloaded.
    Imports {
        /// The function.
        function: String,
    },
    /// A transition away from its patch was forced: units may be in its functions.
    Forced,
    /// Its module was dropped without being unloaded.
    ModuleDropped,
    /// The `exit` of its module panicked.
    ExitPanicked,
    /// A store did not report whether destructors are pending.
    Unsynchronized,
    /// A destructor of an object that belongs to it panicked.
    DestructorPanicked,
    /// The dynamic linker keeps it loaded.
    Linker,
    /// There is no thread to unload it.
    NoThread,
    /// The process was forked while the parent was unloading it.
    Forked,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "it is declared `unload: never`",
            Self::ThreadLocals => "it has thread-local variables",
            Self::Imports { function } => {
                return write!(
                    f,
                    "it imports `{function}`, through which it may be called after it is unloaded"
                );
            }
            Self::Forced => "a transition away from it was forced",
            Self::ModuleDropped => "its module was dropped without being unloaded",
            Self::ExitPanicked => "its exit panicked",
            Self::Unsynchronized => "a store did not report whether destructors are pending",
            Self::DestructorPanicked => "a destructor panicked",
            Self::Linker => "the dynamic linker keeps it loaded",
            Self::NoThread => "there is no thread to unload it",
            Self::Forked => "the process was forked while it was being unloaded",
        })
    }
}

/// What keeps a library loaded for now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Needed {
    /// Its patch is enabled or in transition.
    Enabled,
    /// Its module is loaded.
    Module,
    /// Variables are live that were attached while its patch was present: their destructors may be in the library.
    Variables {
        /// The state that they belong to.
        state: u64,
        /// Their id.
        shadow: u64,
    },
    /// Other patches hold a state, but only this one's patch knows how to free some of its variables.
    Freeing {
        /// The state.
        state: u64,
    },
    /// Data of its patch's states still exist; a later patch may have them.
    Data {
        /// That patch.
        patch: String,
    },
    /// The program or another patch has a reference to its patch, or to an error of it.
    Held,
    /// It is being unloaded: it only waits for destructors that are pending in stores.
    Unloading,
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enabled => f.write_str("its patch is enabled"),
            Self::Module => f.write_str("its module is loaded"),
            Self::Variables { state, shadow } => {
                write!(f, "variables {shadow:#x} of state {state} may have destructors in it")
            }
            Self::Freeing { state } => write!(f, "only its patch can free variables of state {state}"),
            Self::Data { patch } => write!(f, "data of its states still exist, possibly in patch '{patch}'"),
            Self::Held => f.write_str("its patch is still referenced"),
            Self::Unloading => f.write_str("it is being unloaded"),
        }
    }
}

impl LibraryStatus {
    /// Describes why it is loaded.
    #[must_use]
    pub fn why(&self) -> String {
        let stays = self.stays.iter().map(|stays| format!("for good, as {stays}"));
        let whys: Vec<_> = stays.chain(self.needed.iter().map(ToString::to_string)).collect();
        whys.join("; ")
    }
}

impl fmt::Display for LibraryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "library of {} '{}': {}", self.kind, self.name, self.why())
    }
}
