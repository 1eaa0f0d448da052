//! What the control socket needs of the registry, beside what every program can do.

use std::time::Instant;

use super::change::Registry;
use crate::error::ChangeError;
use crate::events::Direction;

impl Registry {
    /// Returns whether this thread is in the middle of a change: it runs a callback or an observer.
    pub(crate) fn is_changing_here(&self) -> bool {
        self.change_lock.is_mine()
    }

    /// Returns the patch in transition, and when the transition began, which identifies it.
    pub(crate) fn transition(&self) -> Option<(String, Instant)> {
        let inner = self.inner.lock();
        let transition = inner.transition.as_ref()?;
        Some((transition.patch.name.clone(), transition.since))
    }

    /// Reverses the transition if it still has this direction, so nothing else has reversed it.
    pub(crate) fn reverse_from(&self, patch: &str, from: Direction) -> Result<(), ChangeError> {
        let change = self.begin_change()?;
        let direction = change.inner().transition_of(patch)?.1.direction;
        if direction != from {
            return Err(ChangeError::NotInTransition {
                patch: patch.to_owned(),
            });
        }
        change.reverse(patch)
    }
}
