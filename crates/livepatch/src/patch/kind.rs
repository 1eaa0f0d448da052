//! What errors and events say of a patch: the kinds of callbacks, the stages of modules; and what names may be.

use std::error::Error;
use std::fmt;

use crate::wire::{Deserialize, Serialize};

/// The name of the object that is the program itself: the kernel's `vmlinux`.
pub const PROGRAM: &str = "program";

/// The maximum length of a patch's, object's or function's name, in bytes.
pub const MAX_NAME: usize = 255;

/// Why a `pre_patch` callback refuses.
pub type CallbackError = Box<dyn Error + Send + Sync>;

/// The kind of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackKind {
    /// Runs before the functions are put in place. May refuse.
    PrePatch,
    /// Runs once every unit of work runs the new functions.
    PostPatch,
    /// Runs before the functions are removed.
    PreUnpatch,
    /// Runs once no unit of work runs the new functions.
    PostUnpatch,
}

impl fmt::Display for CallbackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrePatch => "pre_patch",
            Self::PostPatch => "post_patch",
            Self::PreUnpatch => "pre_unpatch",
            Self::PostUnpatch => "post_unpatch",
        })
    }
}

/// The stages of a module's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleState {
    /// Its own initialisation has not run yet.
    Coming,
    /// In use.
    Live,
    /// Its own clean-up has run.
    Going,
}

impl fmt::Display for ModuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coming => "coming",
            Self::Live => "live",
            Self::Going => "going",
        })
    }
}
