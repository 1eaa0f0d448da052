//! What is said of libraries that are loaded, whether or not this build can load any.

use std::fmt;

/// What a library holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
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

/// A library that is loaded, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LibraryStatus {
    /// What it holds.
    pub kind: LibraryKind,
    /// The patch's or module's name.
    pub name: String,
    /// The file that it was read from.
    pub path: String,
    /// Why it stays loaded for good, if it does.
    pub stays: Option<Stays>,
    /// What keeps it loaded for now: it is unloaded when none of these is left, unless it stays for good.
    pub needed: Vec<Needed>,
}

/// Why a library stays loaded for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "reason", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Stays {
    /// It says `unload: never`.
    Asked,
    /// It has thread-local variables, whose destructors run at the ends of threads.
    ThreadLocals,
    /// It imports a function by which code of it can be called, or memory of it used, when it is gone.
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
    /// A store did not tell whether destructors are owed.
    Unsynchronized,
    /// A destructor of what belongs to it panicked.
    DestructorPanicked,
    /// The dynamic linker keeps it.
    Linker,
    /// There is no thread to unload it.
    NoThread,
    /// The process was forked while the parent was unloading it.
    Forked,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "it asks for that",
            Self::ThreadLocals => "it has thread-local variables",
            Self::Imports { function } => {
                return write!(f, "it imports `{function}`, by which it may be called when it is gone");
            }
            Self::Forced => "a transition away from it was forced",
            Self::ModuleDropped => "its module was dropped without being unloaded",
            Self::ExitPanicked => "its exit panicked",
            Self::Unsynchronized => "a store did not tell whether destructors are owed",
            Self::DestructorPanicked => "a destructor panicked",
            Self::Linker => "the dynamic linker keeps it",
            Self::NoThread => "there is no thread to unload it",
            Self::Forked => "the process was forked while it was being unloaded",
        })
    }
}

/// What keeps a library loaded for now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "reason", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Needed {
    /// Its patch is enabled or in transition.
    Enabled,
    /// Its module is there.
    Module,
    /// Variables live that were attached while its patch was there: their destructors may be its own.
    Variables {
        /// The state that they belong to.
        state: u64,
        /// Their id.
        shadow: u64,
    },
    /// Only its patch knows how variables of a state are freed that others hold.
    Freeing {
        /// The state.
        state: u64,
    },
    /// Data of its patch's states are still there; a later patch may have them.
    Data {
        /// That patch.
        patch: String,
    },
    /// Somebody has its patch, or an error of it: the program, or another patch.
    Held,
    /// Nothing any more: it is waiting for destructors that stores owe, and goes.
    Unloading,
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enabled => f.write_str("its patch is enabled"),
            Self::Module => f.write_str("its module is there"),
            Self::Variables { state, shadow } => {
                write!(f, "variables {shadow:#x} of state {state} may have destructors of it")
            }
            Self::Freeing { state } => write!(f, "only it can free variables of state {state}"),
            Self::Data { patch } => write!(f, "data of its states are still there, maybe in patch '{patch}'"),
            Self::Held => f.write_str("somebody holds its patch"),
            Self::Unloading => f.write_str("it is being unloaded"),
        }
    }
}

impl LibraryStatus {
    /// Why it is loaded, in words.
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
