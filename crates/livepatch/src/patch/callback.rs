//! Callbacks: what a patch does besides replacing functions, and when.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::kind::{CallbackError, CallbackKind};
use super::parts::{Callbacks, Context, Patch};
use crate::callout;

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
