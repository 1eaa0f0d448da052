//! The builder of patches, and what it refuses.

use std::collections::HashSet;
use std::sync::Arc;

use super::{MAX_NAME, ObjectPatch, Patch, State};
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

impl PatchBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            patch: Patch::new(name),
        }
    }

    /// Whether the patch takes the place of all patches that are enabled when it is: the kernel's atomic replace.
    /// Functions that they replaced, and this one does not, go back to the original.
    ///
    /// States that only they have are told `pre_unpatch` before the transition starts: what that undoes is undone while units
    /// may still run the old functions, for as long as the transition takes. If units hold it up, the remedy is to
    /// [reverse](crate::Registry::reverse) it, by which the states' `post_patch` does it again, or to let the new patch have
    /// the state, and undo in a later one. What the old functions need to the end is undone in `post_unpatch`, which comes
    /// when no unit runs them.
    pub fn replace(mut self, replace: bool) -> Self {
        self.patch.replace = replace;
        self
    }

    /// What to do to one more object.
    pub fn object(mut self, object: ObjectPatch) -> Self {
        self.patch.objects.push(object);
        self
    }

    /// One more state that the patch changes.
    pub fn state(mut self, state: State) -> Self {
        self.patch.states.push(state);
        self
    }

    /// The patch.
    ///
    /// # Errors
    ///
    /// If it is no valid patch. Each kind has its own [`PatchError`].
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
            if state.id() == 0 {
                return Err(PatchError::StateIdZero);
            }
            if !states.insert(state.id()) {
                return Err(PatchError::DuplicateState { state: state.id() });
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
