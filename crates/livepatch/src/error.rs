//! What can be wrong, each kind by itself.

use crate::patch::{CallbackError, CallbackKind};

/// Why there is no patch: what [`PatchBuilder::build`](crate::PatchBuilder::build) refuses.
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
        /// Its beginning.
        name: String,
    },
    /// The patch names no object.
    #[error("the patch names no object")]
    NoObjects,
    /// An object has neither functions nor callbacks.
    #[error("object `{object}` has neither functions nor callbacks")]
    EmptyObject {
        /// Which.
        object: String,
    },
    /// An object is named twice.
    #[error("object `{object}` is named twice")]
    DuplicateObject {
        /// Which.
        object: String,
    },
    /// A function of an object is replaced twice.
    #[error("function `{function}` of object `{object}` is replaced twice")]
    DuplicateFunction {
        /// Of which object.
        object: String,
        /// Which.
        function: String,
    },
    /// State ids are not 0.
    #[error("a state has the id 0")]
    StateIdZero,
    /// A state is named twice.
    #[error("state {state} is named twice")]
    DuplicateState {
        /// Its id.
        state: u64,
    },
}

/// Why a patch was not enabled. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnableError {
    /// The patch is enabled, or in transition.
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
    /// The patch does not go with the states of one that is enabled.
    #[error("not compatible with patch `{with}`: {why}")]
    Incompatible {
        /// The patch that is enabled.
        with: String,
        /// In what.
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

/// Why states do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatibility {
    /// A version is older than the one in effect.
    #[error("state {state} has version {new}, in effect is version {old}")]
    Older {
        /// Its id.
        state: u64,
        /// In effect.
        old: u32,
        /// In the new patch.
        new: u32,
    },
    /// A replacing patch lacks a state that nobody could undo: one without callbacks and variables of its own.
    #[error("it replaces a patch with state {state}, which it does not have and which does not say how it is undone")]
    Missing {
        /// Its id.
        state: u64,
    },
    /// A replacing patch lacks a state that cannot be undone.
    #[error("it replaces a patch with state {state}, which it does not have and which cannot be undone")]
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
        /// The type of what should replace it.
        replacement: String,
    },
}

/// A callback that refused, or panicked.
#[derive(Debug, thiserror::Error)]
#[error("{callback} of {of} {how}")]
pub struct Refusal {
    /// Which callback.
    pub callback: CallbackKind,
    /// Whose.
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
    /// It panicked, saying this.
    #[error("panicked: {0}")]
    Panic(String),
}

/// Whose callback.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum CallbackOwner {
    /// An object's, by name.
    Object(String),
    /// A state's, by id.
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

/// Called from a callback of a patch: patches change one at a time, so the call could not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("called from a callback: patches and modules cannot change while one does")]
pub struct Reentrant;

/// This process is the child of a fork, and the parent was in the middle of a change of its patches or modules: a callback
/// that did not end in time. Nobody will end it here, so nothing can change any more. Units of work and calls go on as they
/// were; [`exec`](std::os::unix::process::CommandExt::exec), or fork when no change runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process was forked in the middle of a change of patches or modules, which nobody can end in this child")]
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
    /// The patch is being disabled already.
    #[error("patch `{patch}` is being disabled already")]
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
    /// The patch is the last that holds a state which cannot be undone.
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

/// Why a module may not come, or go.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// A module needs a name of its own.
    #[error("`{module}` cannot be the name of a module")]
    BadName {
        /// The name.
        module: String,
    },
    /// A module of that name is there.
    #[error("module `{module}` is there already")]
    AlreadyThere {
        /// The name.
        module: String,
    },
    /// No module of that name is there.
    #[error("there is no module `{module}`")]
    Unknown {
        /// The name.
        module: String,
    },
    /// Two of the module's patch points have one name.
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
        /// Which patch.
        patch: String,
        /// Why not.
        why: ResolveError,
    },
    /// A patch's `pre_patch` refused the module.
    #[error("patch `{patch}` refused the module: {why}")]
    Refused {
        /// Which patch.
        patch: String,
        /// How.
        why: Refusal,
    },
    /// Called from a callback.
    #[error(transparent)]
    Reentrant(#[from] Reentrant),
    /// The process was forked in the middle of a change.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// No patch is in transition: there is no previous state to speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no patch is in transition")]
pub struct NoTransition;

/// The transition was not over in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("patch `{patch}` is still in transition, which {tasks} tasks hold up{}", self.of_unsettled())]
pub struct WaitError {
    /// The patch in transition.
    pub patch: String,
    /// How many tasks have not switched.
    pub tasks: usize,
    /// As [`TransitionStatus::unsettled`](crate::TransitionStatus::unsettled).
    pub unsettled: usize,
}

impl WaitError {
    fn of_unsettled(&self) -> String {
        match self.unsettled {
            0 => String::new(),
            some => format!(", and {some} that have come to no barrier since membarrier was denied"),
        }
    }
}
