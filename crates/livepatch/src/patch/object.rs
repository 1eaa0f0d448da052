//! The changes of a patch to one object.

use super::callback::callback_setters;
use super::kind::{CallbackError, PROGRAM};
use super::parts::{Callbacks, Context, Function, ObjectPatch, Target};
use crate::point::{Address, Patchable, Signature};

impl ObjectPatch {
    /// Returns an empty set of changes to the program itself.
    #[must_use]
    pub fn program() -> Self {
        Self::module(PROGRAM)
    }

    /// Returns an empty set of changes to a module, which need not be loaded yet.
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

    /// Replaces the patchable function of this name, for modules that the patch is not built against. Whether it exists
    /// and has the type `F` is checked when the patch is enabled, or the module is loaded.
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
            // SAFETY: the caller guarantees that `F` is a function pointer type.
            new: unsafe { Address::of(new) },
        });
        self
    }

    callback_setters! {
        /// Sets the callback that runs before the functions are put in place. An error refuses the patch, or the module
        /// that is being loaded.
        pre_patch;
        /// Sets the callback that runs once every unit of work runs the new functions.
        post_patch;
        /// Sets the callback that runs before the functions are removed. Does not run if an enabling is reversed, as
        /// `post_patch` never ran then.
        pre_unpatch;
        /// Sets the callback that runs once no unit of work runs the new functions. Runs whenever `pre_patch` succeeded,
        /// or was not set.
        post_unpatch;
    }
}
