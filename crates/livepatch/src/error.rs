//! Errors.

use crate::patch::{CallbackError, CallbackKind};
use crate::wire::{Deserialize, Serialize};

/// Why [`PatchBuilder::build`](crate::PatchBuilder::build) refused a patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// A name is empty.
    #[error("a patch, an object or a function has an empty name")]
    NoName,
    /// A name is longer than [`MAX_NAME`](crate::MAX_NAME), or has control characters.
    #[error(
        "the name {name:?} is longer than {} bytes, or has control characters",
        crate::MAX_NAME
    )]
    BadName {
        /// The beginning of the name.
        name: String,
    },
    /// The patch names no object.
    #[error("the patch names no object")]
    NoObjects,
    /// An object has neither functions nor callbacks.
    #[error("object `{object}` has neither functions nor callbacks")]
    EmptyObject {
        /// The object.
        object: String,
    },
    /// An object is named twice.
    #[error("object `{object}` is named twice")]
    DuplicateObject {
        /// The object.
        object: String,
    },
    /// A function of an object is replaced twice.
    #[error("function `{function}` of object `{object}` is replaced twice")]
    DuplicateFunction {
        /// The object.
        object: String,
        /// The function.
        function: String,
    },
    /// A state has the id 0, which is not allowed.
    #[error("a state has the id 0")]
    StateIdZero,
    /// Two states have the same id.
    #[error("state {state} is named twice")]
    DuplicateState {
        /// Its id.
        state: u64,
    },
}

/// Why a patch was not enabled. All of its effects were undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnableError {
    /// The patch is already enabled, or in transition.
    #[error("patch `{patch}` is already enabled")]
    AlreadyEnabled {
        /// Its name.
        patch: String,
    },
    /// Another patch of that name is enabled, or in transition.
    #[error("another patch named `{patch}` is enabled")]
    NameTaken {
        /// The name.
        patch: String,
    },
    /// Another patch is in transition.
    #[error("patch `{patch}` is in transition")]
    Busy {
        /// The other patch.
        patch: String,
    },
    /// The patch is not compatible with the states of an enabled one.
    #[error("not compatible with patch `{with}`: {why}")]
    Incompatible {
        /// The enabled patch.
        with: String,
        /// The conflict.
        why: Incompatibility,
    },
    /// A function cannot be replaced.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A `pre_patch` callback refused, or panicked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Called from a callback.
    #[error(transparent)]
    Reentrant(#[from] Reentrant),
    /// The process was forked in the middle of a change.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// Why states are not compatible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatibility {
    /// A version is older than the one in effect.
    #[error("state {state} has version {new}, but version {old} is in effect")]
    Older {
        /// Its id.
        state: u64,
        /// The version in effect.
        old: u32,
        /// The version in the new patch.
        new: u32,
    },
    /// A replacing patch lacks a state that could not be undone: one that has neither callbacks nor variables.
    #[error("it replaces a patch with state {state}, which it lacks and which does not define how it is undone")]
    Missing {
        /// Its id.
        state: u64,
    },
    /// A replacing patch lacks a state that cannot be undone.
    #[error("it replaces a patch with state {state}, which it lacks and which cannot be undone")]
    Blocked {
        /// Its id.
        state: u64,
    },
}

/// Why a function cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The object has no such patch point.
    #[error("object `{object}` has no patch point named `{function}`")]
    UnknownPoint {
        /// The object.
        object: String,
        /// The function.
        function: String,
    },
    /// The patch point is a function of another type.
    #[error("patch point `{function}` of object `{object}` is a {found}, its replacement a {replacement}")]
    Signature {
        /// The object.
        object: String,
        /// The function.
        function: String,
        /// The type of the function.
        found: String,
        /// The type of the replacement.
        replacement: String,
    },
}

/// A callback that refused, or panicked.
#[derive(Debug, thiserror::Error)]
#[error("{callback} of {of} {how}")]
pub struct Refusal {
    /// The callback.
    pub callback: CallbackKind,
    /// Its owner.
    pub of: CallbackOwner,
    /// How it ended.
    pub how: RefusedHow,
}

/// How a callback refused.
#[derive(Debug, thiserror::Error)]
pub enum RefusedHow {
    /// It returned this error.
    #[error("refused: {0}")]
    Error(CallbackError),
    /// It panicked with this message.
    #[error("panicked: {0}")]
    Panic(String),
}

/// The owner of a callback.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallbackOwner {
    /// An object, by name.
    Object(String),
    /// A state, by id.
    State(u64),
}

impl std::fmt::Display for CallbackOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object(name) => write!(f, "object `{name}`"),
            Self::State(id) => write!(f, "state {id}"),
        }
    }
}

/// The call came from a callback of a patch. Patches change one at a time, so the call could never return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("called from a callback: patches and modules cannot be changed from within a change")]
pub struct Reentrant;

/// This process is the child of a fork, and the parent was in the middle of a change of its patches or modules: a
/// callback had not returned in time. The change cannot be completed here, so no further change is possible. Units of
/// work and calls continue as before. To avoid this, [`exec`](std::os::unix::process::CommandExt::exec), or fork while no
/// change runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process was forked during a change of patches or modules, which cannot be completed in this child")]
pub struct Forked;

/// Why a patch was not disabled, reversed or forced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// No patch of that name is enabled, or in transition.
    #[error("no patch named `{patch}` is enabled")]
    Unknown {
        /// The name.
        patch: String,
    },
    /// The patch is already being disabled.
    #[error("patch `{patch}` is already being disabled")]
    AlreadyDisabled {
        /// The name.
        patch: String,
    },
    /// Another patch is in transition.
    #[error("patch `{patch}` is in transition")]
    Busy {
        /// The other patch.
        patch: String,
    },
    /// The patch is not in transition.
    #[error("patch `{patch}` is not in transition")]
    NotInTransition {
        /// The name.
        patch: String,
    },
    /// The patch is the last holder of a state that cannot be undone.
    #[error("patch `{patch}` cannot be disabled: state {state} cannot be undone")]
    Blocked {
        /// The name.
        patch: String,
        /// The state's id.
        state: u64,
    },
    /// Called from a callback.
    #[error(transparent)]
    Reentrant(#[from] Reentrant),
    /// The process was forked in the middle of a change.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// Why a module was refused, or could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// The name is not valid for a module.
    #[error("`{module}` cannot be the name of a module")]
    BadName {
        /// The name.
        module: String,
    },
    /// A module of that name is already present.
    #[error("module `{module}` is already present")]
    AlreadyThere {
        /// The name.
        module: String,
    },
    /// No module of that name is present.
    #[error("there is no module `{module}`")]
    Unknown {
        /// The name.
        module: String,
    },
    /// Two of the module's patch points have the same name.
    #[error("module `{module}` has two patch points named `{function}`")]
    DuplicatePoint {
        /// The module.
        module: String,
        /// The name.
        function: String,
    },
    /// A patch cannot be applied to the module.
    #[error("patch `{patch}` cannot be applied: {why}")]
    Resolve {
        /// The patch.
        patch: String,
        /// Why it cannot be applied.
        why: ResolveError,
    },
    /// A patch's `pre_patch` refused the module.
    #[error("patch `{patch}` refused the module: {why}")]
    Refused {
        /// The patch.
        patch: String,
        /// How it refused.
        why: Refusal,
    },
    /// Called from a callback.
    #[error(transparent)]
    Reentrant(#[from] Reentrant),
    /// The process was forked in the middle of a change.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// No patch is in transition, so there is no previous state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no patch is in transition")]
pub struct NoTransition;

/// The transition did not end in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("patch `{patch}` is still in transition, held up by {tasks} tasks{}", self.of_unsettled())]
pub struct WaitError {
    /// The patch in transition.
    pub patch: String,
    /// How many tasks have not switched.
    pub tasks: usize,
    /// See [`TransitionStatus::unsettled`](crate::TransitionStatus::unsettled).
    pub unsettled: usize,
}

impl WaitError {
    fn of_unsettled(&self) -> String {
        match self.unsettled {
            0 => String::new(),
            some => format!(", and by {some} that have executed no barrier since membarrier was denied"),
        }
    }
}
