//! The builder of patches, which checks them.

use std::collections::HashSet;
use std::sync::Arc;

use super::kind::MAX_NAME;
use super::parts::{ObjectPatch, Patch, State};
use crate::error::PatchError;

/// Builds a [`Patch`].
///
/// ```
/// use livepatch::{ObjectPatch, Patch, patchable};
///
/// #[patchable]
/// fn greeting() -> &'static str { "hello" }
/// fn polite() -> &'static str { "good day" }
///
/// let patch = Patch::builder("polite")
///     .object(ObjectPatch::program().function::<greeting>(polite))
///     .build()?;
/// livepatch::registry().enable(&patch).unwrap();
/// assert_eq!(greeting(), "good day");
/// livepatch::registry().disable("polite").unwrap();
/// assert_eq!(greeting(), "hello");
/// # Ok::<(), livepatch::PatchError>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct PatchBuilder {
    patch: Patch,
}

impl Patch {
    /// Returns a builder for a patch of this name. Names are unique among the enabled patches.
    pub fn builder(name: impl Into<String>) -> PatchBuilder {
        PatchBuilder {
            patch: Self::new(name.into()),
        }
    }
}

impl PatchBuilder {
    /// Sets whether the patch replaces all patches that are enabled at that time: the kernel's atomic replace. Functions
    /// that they replaced and this one does not revert to the original.
    ///
    /// States that only they have get `pre_unpatch` before the transition starts: its effects are in place while units
    /// may still run the old functions, for as long as the transition takes. If units hold it up, either
    /// [reverse](crate::Registry::reverse) it, which runs the states' `post_patch` again, or let the new patch have the
    /// state, and undo it in a later one. Anything that the old functions need to the end is to be undone in
    /// `post_unpatch`, which runs when no unit runs them any more.
    pub fn replace(mut self, replace: bool) -> Self {
        self.patch.replace = replace;
        self
    }

    /// Adds the changes to one more object.
    pub fn object(mut self, object: ObjectPatch) -> Self {
        self.patch.objects.push(object);
        self
    }

    /// Adds one more state that the patch changes.
    pub fn state(mut self, state: State) -> Self {
        self.patch.states.push(state);
        self
    }

    /// Builds the patch.
    ///
    /// # Errors
    ///
    /// If the patch is not valid. Each kind of defect has its own [`PatchError`].
    pub fn build(self) -> Result<Arc<Patch>, PatchError> {
        let patch = self.patch;
        check_name(&patch.name)?;
        if patch.objects.is_empty() {
            return Err(PatchError::NoObjects);
        }
        let mut objects = HashSet::new();
        for object in &patch.objects {
            check_name(&object.name)?;
            if !objects.insert(object.name.as_str()) {
                return Err(PatchError::DuplicateObject {
                    object: object.name.clone(),
                });
            }
            if object.functions.is_empty() && object.callbacks.is_empty() {
                return Err(PatchError::EmptyObject {
                    object: object.name.clone(),
                });
            }
            let mut functions = HashSet::new();
            for function in &object.functions {
                check_name(function.name())?;
                if !functions.insert(function.name()) {
                    return Err(PatchError::DuplicateFunction {
                        object: object.name.clone(),
                        function: function.name().to_owned(),
                    });
                }
            }
        }
        let mut states = HashSet::new();
        for state in &patch.states {
            if state.id == 0 {
                return Err(PatchError::StateIdZero);
            }
            if !states.insert(state.id) {
                return Err(PatchError::DuplicateState { state: state.id });
            }
        }
        Ok(Arc::new(patch))
    }
}

fn check_name(name: &str) -> Result<(), PatchError> {
    match name {
        "" => Err(PatchError::NoName),
        name if name.len() > MAX_NAME || name.chars().any(char::is_control) => Err(PatchError::BadName {
            name: name.chars().take(MAX_NAME).collect(),
        }),
        _ => Ok(()),
    }
}
