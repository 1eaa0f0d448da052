//! Events in the life of patches, in order: for logs, tests and operators.

use std::fmt;
use std::time::Duration;

use crate::error::CallbackOwner;
use crate::patch::{CallbackKind, ModuleState};
use crate::wire::{Deserialize, Serialize};

/// The direction of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Units of work switch to the patch's functions.
    Patching,
    /// Units of work switch away from the patch's functions.
    Unpatching,
}

impl Direction {
    /// Returns the opposite direction.
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

/// One step in the life of a patch. Its `Display` output is a log line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A patch was found valid and compatible.
    Enabling {
        /// The patch.
        patch: String,
    },
    /// A transition is prepared: the callbacks before it follow.
    Initializing {
        /// The patch.
        patch: String,
        /// The direction of the transition.
        direction: Direction,
    },
    /// Units of work begin on the other side.
    Starting {
        /// The patch.
        patch: String,
        /// The direction of the transition.
        direction: Direction,
    },
    /// No unit of work is on the old side: the callbacks after the transition follow.
    Completing {
        /// The patch.
        patch: String,
        /// The direction of the transition.
        direction: Direction,
    },
    /// The transition has ended.
    Complete {
        /// The patch.
        patch: String,
        /// The direction of the transition.
        direction: Direction,
        /// Whether it was forced: units may have seen both versions, and code that they may still run is never unloaded.
        forced: bool,
    },
    /// The transition has been running for too long: see [`Watchdog`](crate::Watchdog).
    Overdue {
        /// The patch.
        patch: String,
        /// The direction of the transition.
        direction: Direction,
        /// How long it has been running.
        #[serde(rename = "running_ms", with = "crate::wire::millis")]
        running: Duration,
        /// Descriptions of the tasks that hold it up.
        held_up_by: Vec<String>,
        /// Whether it is being reversed now.
        reversing: bool,
    },
    /// A running transition is reversed.
    Reversing {
        /// The patch.
        patch: String,
        /// The new direction.
        to: Direction,
    },
    /// Enabling a patch failed before its transition started: its effects are undone.
    Canceling {
        /// The patch.
        patch: String,
    },
    /// The units that hold up the transition are moved over in the middle of their work.
    Forcing {
        /// The patch.
        patch: String,
        /// How many units. 0 while the system refuses its barrier: they are moved once it succeeds.
        units: usize,
    },
    /// A patch is applied to a module that is being loaded.
    Applying {
        /// The patch.
        patch: String,
        /// The module.
        module: String,
    },
    /// A patch is reverted from a module that is being unloaded.
    Reverting {
        /// The patch.
        patch: String,
        /// The module.
        module: String,
    },
    /// A callback is called.
    Callback {
        /// The patch.
        patch: String,
        /// The owner of the callback.
        of: CallbackOwner,
        /// The callback.
        callback: CallbackKind,
        /// The module's state, if the callback is a module's.
        module: Option<ModuleState>,
    },
    /// A callback refused, or panicked.
    CallbackFailed {
        /// The patch.
        patch: String,
        /// The owner of the callback.
        of: CallbackOwner,
        /// The callback.
        callback: CallbackKind,
        /// The message of the error or panic.
        message: String,
    },
    /// A patch was not enabled.
    Refused {
        /// The patch.
        patch: String,
        /// The reason.
        message: String,
    },
    /// A module was refused, as a patch cannot be applied to it.
    ModuleRefused {
        /// The module.
        module: String,
        /// The reason.
        message: String,
    },
    /// The variables of a state without holders were freed.
    Freed {
        /// The patch that was its last holder.
        patch: String,
        /// The state.
        state: u64,
        /// The variables' id.
        shadow: u64,
        /// How many variables were freed.
        variables: usize,
    },
    /// Freeing the variables of a state panicked in a destructor. All of them were freed nevertheless.
    FreeFailed {
        /// The patch that was its last holder.
        patch: String,
        /// The state.
        state: u64,
        /// The variables' id.
        shadow: u64,
        /// The message of the panic.
        message: String,
    },
    /// A module's own clean-up panicked.
    ModuleFailed {
        /// The module.
        module: String,
        /// The message of the panic.
        message: String,
    },
    /// The library of a patch or module was unloaded.
    Unloaded {
        /// The patch's or module's name.
        library: String,
    },
    /// The library of a removed patch or module stays loaded.
    StaysLoaded {
        /// The patch's or module's name.
        library: String,
        /// The reason.
        why: String,
    },
}

impl Event {
    /// Returns the patch that the event concerns, if any.
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

    /// Returns whether the event concerns the patch or module of this name, or its library.
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

    /// Returns whether the event reports a failure.
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
            Self::Forcing { patch, units } => write!(f, "'{patch}': forcing transition, {units} units moved over"),
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
