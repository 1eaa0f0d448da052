//! Callbacks: what a patch does besides replacing functions, and when.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::{Patch, State};
use crate::callout;

/// Why a `pre_patch` callback refuses.
pub type CallbackError = Box<dyn Error + Send + Sync>;

type Refusing = Box<dyn Fn(&Context<'_>) -> Result<(), CallbackError> + Send + Sync>;
type Plain = Box<dyn Fn(&Context<'_>) + Send + Sync>;

/// The four callbacks of an object, or of a state. All are optional.
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) pre_patch: Option<Refusing>,
    pub(crate) post_patch: Option<Plain>,
    pub(crate) pre_unpatch: Option<Plain>,
    pub(crate) post_unpatch: Option<Plain>,
}

/// Defines setters of the callbacks in a builder's field `callbacks`, each with its documentation.
macro_rules! callback_setters {
    ($(#[$about:meta])* pre_patch; $($(#[$abouts:meta])* $name:ident;)*) => {
        $(#[$about])*
        #[must_use]
        pub fn pre_patch(
            mut self,
            callback: impl Fn(&Context<'_>) -> Result<(), CallbackError> + Send + Sync + 'static,
        ) -> Self {
            self.callbacks.pre_patch = Some(Box::new(callback));
            self
        }
        $(
            $(#[$abouts])*
            #[must_use]
            pub fn $name(mut self, callback: impl Fn(&Context<'_>) + Send + Sync + 'static) -> Self {
                self.callbacks.$name = Some(Box::new(callback));
                self
            }
        )*
    };
}
pub(super) use callback_setters;

/// The kind of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
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

/// The arguments of a callback.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    pub(crate) prev_state: &'c dyn Fn(u64) -> Option<PrevState>,
    pub(crate) patch: &'c Arc<Patch>,
    pub(crate) object: Option<&'c str>,
    pub(crate) module: Option<ModuleState>,
    pub(crate) state: Option<&'c State>,
}

impl<'c> Context<'c> {
    /// Returns the patch whose callback runs.
    pub fn patch(&self) -> &'c Arc<Patch> {
        self.patch
    }

    /// Returns the object whose callback runs, [`PROGRAM`](crate::PROGRAM) or a module's name; `None` in a state's callback.
    pub fn object(&self) -> Option<&'c str> {
        self.object
    }

    /// Returns the state of that module; `None` for the program.
    pub fn module(&self) -> Option<ModuleState> {
        self.module
    }

    /// Returns the state whose callback runs; `None` in an object's callback.
    pub fn state(&self) -> Option<&'c State> {
        self.state
    }

    /// Returns the newest state of this id among the patches that were enabled before the one in transition, with its
    /// patch: the kernel's `klp_get_prev_state`. `None` outside transitions, as when a module is loaded.
    pub fn prev_state(&self, id: u64) -> Option<PrevState> {
        (self.prev_state)(id)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("patch", &self.patch.name())
            .field("object", &self.object)
            .field("module", &self.module)
            .field("state", &self.state)
            .finish()
    }
}

/// A state of an earlier patch. Keeps the patch alive.
#[derive(Clone, Debug)]
pub struct PrevState {
    pub(crate) patch: Arc<Patch>,
    pub(crate) index: usize,
}

impl PrevState {
    /// Returns the patch that has the state.
    pub fn patch(&self) -> &Arc<Patch> {
        &self.patch
    }
}

impl std::ops::Deref for PrevState {
    type Target = State;

    fn deref(&self) -> &State {
        &self.patch.states[self.index]
    }
}

/// How a callback failed.
pub(crate) enum Ended {
    Refused(CallbackError),
    Panicked(String),
}

impl Callbacks {
    pub(crate) fn is_empty(&self) -> bool {
        ![
            CallbackKind::PrePatch,
            CallbackKind::PostPatch,
            CallbackKind::PreUnpatch,
            CallbackKind::PostUnpatch,
        ]
        .iter()
        .any(|&kind| self.has(kind))
    }

    pub(crate) fn has(&self, kind: CallbackKind) -> bool {
        match kind {
            CallbackKind::PrePatch => self.pre_patch.is_some(),
            CallbackKind::PostPatch => self.post_patch.is_some(),
            CallbackKind::PreUnpatch => self.pre_unpatch.is_some(),
            CallbackKind::PostUnpatch => self.post_unpatch.is_some(),
        }
    }

    /// Runs a callback, if it is set. Catches panics.
    pub(crate) fn run(&self, kind: CallbackKind, context: &Context<'_>) -> Result<(), Ended> {
        let plain = match kind {
            CallbackKind::PrePatch => {
                let Some(callback) = &self.pre_patch else { return Ok(()) };
                return match callout::guarded(|| callback(context)) {
                    Ok(answer) => answer.map_err(|error| Ended::Refused(outlive(error, context.patch))),
                    Err(message) => Err(Ended::Panicked(message)),
                };
            }
            CallbackKind::PostPatch => &self.post_patch,
            CallbackKind::PreUnpatch => &self.pre_unpatch,
            CallbackKind::PostUnpatch => &self.post_unpatch,
        };
        let Some(callback) = plain else { return Ok(()) };
        callout::guarded(|| callback(context)).map_err(Ended::Panicked)
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            CallbackKind::PrePatch,
            CallbackKind::PostPatch,
            CallbackKind::PreUnpatch,
            CallbackKind::PostUnpatch,
        ];
        f.debug_set()
            .entries(kinds.into_iter().filter(|&kind| self.has(kind)))
            .finish()
    }
}

/// Makes an error valid for longer than the patch.
fn outlive(error: CallbackError, patch: &Arc<Patch>) -> CallbackError {
    match patch.code.is_in_library() {
        true => Box::new(OfLibrary {
            error,
            _patch: Arc::clone(patch),
        }),
        false => error,
    }
}

/// An error of a patch from a library. Keeps the library loaded.
#[derive(Debug)]
struct OfLibrary {
    error: CallbackError,
    /// Dropped after the error.
    _patch: Arc<Patch>,
}

impl fmt::Display for OfLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for OfLibrary {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
