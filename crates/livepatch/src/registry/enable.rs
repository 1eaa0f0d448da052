//! Enabling a patch, up to the start of its transition, and undoing that if it fails.
//!
//! ```text
//! check    names, states, points: found invalid?   refused, nothing has been done
//! push     last in the list, in transition
//! prepare  pre_patch of each new state and object, then its functions
//!          one refuses?                            cancel: post_unpatch of those that succeeded, out of the list
//! start    the transition (`transition`)           enabled; it may have ended on return
//! ```
//!
//! Relies on T1: until the transition starts, no unit sees any of it.

use std::sync::Arc;

use super::change::{Change, Owner};
use super::points::Applied;
use crate::callout;
use crate::error::{EnableError, Refusal};
use crate::events::{Direction, Event};
use crate::patch::{CallbackKind, Patch};

/// For each object of a patch: its points and functions, if the object is loaded.
type Resolved = Vec<Option<Applied>>;

impl Change<'_> {
    /// See [`Registry::enable`](super::Registry::enable).
    pub(super) fn enable(&self, patch: &Arc<Patch>) -> Result<(), EnableError> {
        let name = || patch.name.clone();
        let resolved = self.check(patch).inspect_err(|error| {
            self.emit(&Event::Refused {
                patch: name(),
                message: callout::text(error),
            });
        })?;
        self.emit(&Event::Enabling { patch: name() });
        self.emit(&Event::Initializing {
            patch: name(),
            direction: Direction::Patching,
        });
        self.inner().push(patch);
        match self.prepare(patch, resolved) {
            Ok(()) => {
                self.start();
                Ok(())
            }
            Err(refusal) => {
                self.emit(&Event::Refused {
                    patch: name(),
                    message: callout::text(&refusal),
                });
                self.cancel(patch);
                Err(refusal.into())
            }
        }
    }

    /// Checks whether the patch can be enabled, as far as that can be decided without running its code.
    fn check(&self, patch: &Arc<Patch>) -> Result<Resolved, EnableError> {
        let there: Vec<bool> = {
            let inner = self.inner();
            if inner.list.iter().any(|entry| Arc::ptr_eq(&entry.patch, patch)) {
                return Err(EnableError::AlreadyEnabled {
                    patch: patch.name.clone(),
                });
            }
            inner.compatible(patch)?;
            if inner.index_of(&patch.name).is_some() {
                return Err(EnableError::NameTaken {
                    patch: patch.name.clone(),
                });
            }
            let is_there = |object: &crate::patch::ObjectPatch| inner.object(&object.name).is_some();
            patch.objects.iter().map(is_there).collect()
        };
        let resolved = {
            let points = self.registry.points.lock();
            let resolve = |(object, there): (&crate::patch::ObjectPatch, bool)| {
                there
                    .then(|| points.resolve(&object.name, &object.functions))
                    .transpose()
            };
            patch.objects.iter().zip(there).map(resolve).collect::<Result<_, _>>()?
        };
        match &self.inner().transition {
            Some(transition) => Err(EnableError::Busy {
                patch: transition.patch.name.clone(),
            }),
            None => Ok(resolved),
        }
    }

    /// Runs the `pre_patch` callbacks, and registers the functions of each object after its own.
    fn prepare(&self, patch: &Arc<Patch>, resolved: Resolved) -> Result<(), Refusal> {
        self.prepare_states(patch)?;
        for (index, points) in resolved.into_iter().enumerate() {
            let Some(points) = points else { continue };
            let module = self.inner().object(&patch.objects[index].name).flatten();
            self.call(patch, Owner::Object(index, module), CallbackKind::PrePatch)?;
            let number = {
                let mut inner = self.inner();
                let entry = inner.list.last_mut().expect("the patch was put there");
                let life = &mut entry.objects[index];
                life.owes_post_unpatch = true;
                life.applied = Some(Applied::clone(&points));
                entry.number
            };
            self.registry.points.lock().add_functions(number, &points);
        }
        Ok(())
    }

    /// Undoes [`prepare`](Self::prepare) as far as it got. No unit has seen any of it.
    fn cancel(&self, patch: &Arc<Patch>) {
        let name = || patch.name.clone();
        self.emit(&Event::Canceling { patch: name() });
        self.emit(&Event::Completing {
            patch: name(),
            direction: Direction::Unpatching,
        });
        if let Some(transition) = &mut self.inner().transition {
            transition.direction = Direction::Unpatching;
        }
        self.finish_unpatching(patch, false);
    }
}
