//! What a patch does to one object.

use std::fmt;

use super::PROGRAM;
use super::callback::{CallbackError, Callbacks, Context, callback_setters};
use crate::point::{Address, Patchable, RawPoint, Signature};

/// What a patch does to one object, the program or a module: functions and callbacks. Part of a
/// [`PatchBuilder`](super::PatchBuilder).
#[derive(Debug)]
pub struct ObjectPatch {
    pub(crate) name: String,
    pub(crate) functions: Vec<Function>,
    pub(crate) callbacks: Callbacks,
}

/// One replaced function.
pub(crate) struct Function {
    pub(crate) target: Target,
    pub(crate) new: Address,
}

/// The patch point that is meant.
pub(crate) enum Target {
    Point(&'static RawPoint),
    Named { name: String, signature: Signature },
}

impl Function {
    /// The patch point's name.
    pub(crate) fn name(&self) -> &str {
        match &self.target {
            Target::Point(point) => point.name(),
            Target::Named { name, .. } => name,
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ObjectPatch {
    /// Of the program itself.
    #[must_use]
    pub fn program() -> Self {
        Self::module(PROGRAM)
    }

    /// Of a module, which need not be there yet.
    #[must_use]
    pub fn module(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            functions: Vec::new(),
            callbacks: Callbacks::default(),
        }
    }

    /// Replaces a patchable function, named as a type: `.function::<handle>(handle_fixed)`.
    #[must_use]
    pub fn function<P: Patchable>(mut self, new: P::Fn) -> Self {
        self.functions.push(Function {
            target: Target::Point(P::point().raw()),
            // SAFETY: `PatchPoint::new`, which made `P`'s point, requires `Fn` to be a function pointer type.
            new: unsafe { Address::of(new) },
        });
        self
    }

    /// Replaces the patchable function of this name, for modules that the patch is not built against. Whether there is
    /// one, and whether it has the type `F`, is checked when the patch is enabled, or the module comes.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer type, such as `fn(&str) -> u32`.
    #[must_use]
    pub unsafe fn function_named<F: Copy + 'static>(mut self, name: impl Into<String>, new: F) -> Self {
        self.functions.push(Function {
            target: Target::Named {
                name: name.into(),
                signature: Signature::of::<F>(),
            },
            // SAFETY: by the caller's promise.
            new: unsafe { Address::of(new) },
        });
        self
    }

    callback_setters! {
        /// Before the functions are put in place. An error refuses the patch, or the module that comes.
        pre_patch;
        /// After every unit of work runs the new functions.
        post_patch;
        /// Before the functions are taken away. Not if an enabling is reversed: then `post_patch` never ran.
        pre_unpatch;
        /// After no unit of work runs the new functions. Whenever `pre_patch` succeeded, or was not there.
        post_unpatch;
    }
}
