//! What happens to patches, in order: for logs, tests and operators.

use std::fmt;
use std::time::Duration;

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
        /// Whether it was forced: units may have seen both versions, and what they may still run is never unloaded.
        forced: bool,
    },
    /// The transition runs for longer than it should: see [`Watchdog`](crate::Watchdog).
    Overdue {
        /// Of which patch.
        patch: String,
        /// Where to.
        direction: Direction,
        /// For how long it has been running.
        #[cfg_attr(feature = "serde", serde(rename = "running_ms", with = "crate::registry::millis"))]
        running: Duration,
        /// The tasks that hold it up, in words.
        held_up_by: Vec<String>,
        /// Whether it goes back now.
        reversing: bool,
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
        /// How many units. None yet where the system refuses its barrier: then they are when that is there again.
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
        /// The patch that was its last holder.
        patch: String,
        /// The state.
        state: u64,
        /// The variables' id.
        shadow: u64,
        /// How many there were.
        variables: usize,
    },
    /// Freeing the variables of a state panicked: a destructor did. All of them are gone nevertheless.
    FreeFailed {
        /// The patch that was its last holder.
        patch: String,
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
            | Self::Overdue { patch, .. }
            | Self::Freed { patch, .. }
            | Self::FreeFailed { patch, .. }
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
            | Self::Unloaded { .. }
            | Self::StaysLoaded { .. } => None,
        }
    }

    /// Whether it is about the patch or the module of this name, or its library.
    pub fn concerns(&self, name: &str) -> bool {
        let other = match self {
            Self::ModuleRefused { module, .. }
            | Self::ModuleFailed { module, .. }
            | Self::Applying { module, .. }
            | Self::Reverting { module, .. } => Some(module),
            Self::Unloaded { library } | Self::StaysLoaded { library, .. } => Some(library),
            _ => None,
        };
        self.patch() == Some(name) || other.is_some_and(|other| other == name)
    }

    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::CallbackFailed { .. }
                | Self::Overdue { .. }
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
            Self::Complete {
                patch,
                direction,
                forced,
            } => {
                write!(f, "'{patch}': {direction} complete")?;
                f.write_str(if *forced { ", forced" } else { "" })
            }
            Self::Overdue {
                patch,
                direction,
                running,
                held_up_by,
                reversing,
            } => {
                let seconds = running.as_secs_f64();
                write!(
                    f,
                    "'{patch}': {direction} transition overdue, running for {seconds:.1} s"
                )?;
                if !held_up_by.is_empty() {
                    write!(f, ", held up by {}", held_up_by.join("; "))?;
                }
                f.write_str(if *reversing { ": reversing it" } else { "" })
            }
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
                ..
            } => {
                write!(f, "state {state}: freed {variables} shadow variables of id {shadow:#x}")
            }
            Self::FreeFailed {
                state, shadow, message, ..
            } => {
                write!(
                    f,
                    "state {state}: freeing shadow variables of id {shadow:#x} panicked: {message}"
                )
            }
        }
    }
}
