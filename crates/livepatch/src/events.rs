//! What happens to patches, in order: for logs, tests and operators.

use std::fmt;

use crate::error::CallbackOwner;
use crate::patch::{CallbackKind, ModuleState};

/// Where a transition goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum Direction {
    /// Units of work go over to the patch's functions.
    Patching,
    /// Units of work leave the patch's functions.
    Unpatching,
}

impl Direction {
    /// The opposite.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Patching => Self::Unpatching,
            Self::Unpatching => Self::Patching,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patching => "patching",
            Self::Unpatching => "unpatching",
        })
    }
}

/// One step in the life of a patch. Its text, by `Display`, is a log line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "event", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Event {
    /// A patch was found valid and compatible.
    Enabling {
        /// Which.
        patch: String,
    },
    /// A transition is prepared: callbacks before it follow.
    Initializing {
        /// Of which patch.
        patch: String,
        /// Where to.
        direction: Direction,
    },
    /// Units of work begin on the other side.
    Starting {
        /// Of which patch.
        patch: String,
        /// Where to.
        direction: Direction,
    },
    /// No unit of work is on the old side: callbacks after the transition follow.
    Completing {
        /// Of which patch.
        patch: String,
        /// Where to.
        direction: Direction,
    },
    /// The transition is over.
    Complete {
        /// Of which patch.
        patch: String,
        /// Where to.
        direction: Direction,
    },
    /// A running transition goes back.
    Reversing {
        /// Of which patch.
        patch: String,
        /// Where it goes now.
        to: Direction,
    },
    /// An enabling failed before its transition started: what was done is undone.
    Canceling {
        /// Which patch.
        patch: String,
    },
    /// The units that hold the transition up are taken over in the middle of their work.
    Forcing {
        /// Of which patch.
        patch: String,
        /// How many units.
        units: usize,
    },
    /// A patch is applied to a module that comes.
    Applying {
        /// Which patch.
        patch: String,
        /// To which module.
        module: String,
    },
    /// A patch is taken from a module that goes.
    Reverting {
        /// Which patch.
        patch: String,
        /// From which module.
        module: String,
    },
    /// A callback is called.
    Callback {
        /// Of which patch.
        patch: String,
        /// Whose it is.
        of: CallbackOwner,
        /// Which.
        callback: CallbackKind,
        /// Where the module is in its life, if it is a module's.
        module: Option<ModuleState>,
    },
    /// A callback refused, or panicked.
    CallbackFailed {
        /// Of which patch.
        patch: String,
        /// Whose it is.
        of: CallbackOwner,
        /// Which.
        callback: CallbackKind,
        /// What it said.
        message: String,
    },
    /// A patch was not enabled.
    Refused {
        /// Which.
        patch: String,
        /// Why.
        message: String,
    },
    /// A module may not come, as a patch cannot be applied to it.
    ModuleRefused {
        /// Which module.
        module: String,
        /// Why.
        message: String,
    },
    /// The variables of a state whose last holder is gone were freed.
    Freed {
        /// The state.
        state: u64,
        /// The variables' id.
        shadow: u64,
        /// How many there were.
        variables: usize,
    },
    /// Freeing the variables of a state panicked: a destructor did. All of them are gone nevertheless.
    FreeFailed {
        /// The state.
        state: u64,
        /// The variables' id.
        shadow: u64,
        /// What the panic said.
        message: String,
    },
    /// A module's own clean-up panicked.
    ModuleFailed {
        /// Which module.
        module: String,
        /// What the panic said.
        message: String,
    },
    /// The library of a patch or module was unloaded.
    Unloaded {
        /// The patch's or module's name.
        library: String,
    },
    /// The library of a patch or module that is gone stays loaded.
    StaysLoaded {
        /// The patch's or module's name.
        library: String,
        /// Why.
        why: String,
    },
}

impl Event {
    /// The patch that it is about.
    pub fn patch(&self) -> Option<&str> {
        match self {
            Self::Enabling { patch }
            | Self::Initializing { patch, .. }
            | Self::Starting { patch, .. }
            | Self::Completing { patch, .. }
            | Self::Complete { patch, .. }
            | Self::Reversing { patch, .. }
            | Self::Canceling { patch }
            | Self::Forcing { patch, .. }
            | Self::Applying { patch, .. }
            | Self::Reverting { patch, .. }
            | Self::Callback { patch, .. }
            | Self::CallbackFailed { patch, .. }
            | Self::Refused { patch, .. } => Some(patch),
            Self::ModuleRefused { .. }
            | Self::ModuleFailed { .. }
            | Self::Freed { .. }
            | Self::FreeFailed { .. }
            | Self::Unloaded { .. }
            | Self::StaysLoaded { .. } => None,
        }
    }

    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::CallbackFailed { .. }
                | Self::Refused { .. }
                | Self::ModuleRefused { .. }
                | Self::ModuleFailed { .. }
                | Self::FreeFailed { .. }
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enabling { patch } => write!(f, "enabling patch '{patch}'"),
            Self::Initializing { patch, direction } => write!(f, "'{patch}': initializing {direction} transition"),
            Self::Starting { patch, direction } => write!(f, "'{patch}': starting {direction} transition"),
            Self::Completing { patch, direction } => write!(f, "'{patch}': completing {direction} transition"),
            Self::Complete { patch, direction } => write!(f, "'{patch}': {direction} complete"),
            Self::Reversing { patch, to } => {
                write!(f, "'{patch}': reversing transition from {} to {to}", to.reversed())
            }
            Self::Canceling { patch } => write!(f, "'{patch}': canceling patching transition, going to unpatch"),
            Self::Forcing { patch, units } => write!(f, "'{patch}': forcing transition, {units} units in their work"),
            Self::Applying { patch, module } => write!(f, "applying patch '{patch}' to loading module '{module}'"),
            Self::Reverting { patch, module } => write!(f, "reverting patch '{patch}' on unloading module '{module}'"),
            Self::Callback {
                patch,
                of,
                callback,
                module,
            } => {
                write!(f, "'{patch}': {callback} of {of}")?;
                module.map_or(Ok(()), |module| write!(f, " ({module})"))
            }
            Self::CallbackFailed {
                patch,
                of,
                callback,
                message,
            } => {
                write!(f, "'{patch}': {callback} of {of} failed: {message}")
            }
            Self::Refused { patch, message } => write!(f, "failed to enable patch '{patch}': {message}"),
            Self::ModuleRefused { module, message } => write!(f, "module '{module}' refused: {message}"),
            Self::ModuleFailed { module, message } => write!(f, "module '{module}': exit panicked: {message}"),
            Self::Unloaded { library } => write!(f, "unloaded library of '{library}'"),
            Self::StaysLoaded { library, why } => write!(f, "library of '{library}' stays loaded: {why}"),
            Self::Freed {
                state,
                shadow,
                variables,
            } => {
                write!(f, "state {state}: freed {variables} shadow variables of id {shadow:#x}")
            }
            Self::FreeFailed { state, shadow, message } => {
                write!(
                    f,
                    "state {state}: freeing shadow variables of id {shadow:#x} panicked: {message}"
                )
            }
        }
    }
}
