//! Modules: patches are applied to modules that are loaded, and reverted from those that are unloaded.
//!
//! A module that is coming gets the functions of every patch that names it, after the patch's `pre_patch`; if one cannot be
//! applied, or refuses, those before it are reverted, and the module is refused. A module that is going loses them all,
//! which cannot fail. No unit calls its points at either time, so both sides are set at once, as the patch in transition
//! sees them (T1, T2).

use std::collections::HashSet;
use std::sync::Arc;

use super::change::{Change, Owner};
use super::inner::Module;
use super::points::Applied;
use crate::callout;
use crate::error::ModuleError;
use crate::events::Event;
use crate::patch::{CallbackKind, MAX_NAME, ModuleState, PROGRAM, Patch};
use crate::point::RawPoint;
use crate::task::WORLD;

impl Change<'_> {
    /// See [`Registry::module_coming`](super::Registry::module_coming).
    pub(super) fn module_coming(&self, module: &str, points: Vec<&'static RawPoint>) -> Result<(), ModuleError> {
        self.check_module(module, &points)?;
        self.inner().modules.push(Module {
            name: module.to_owned(),
            state: ModuleState::Coming,
        });
        self.registry.points.lock().add_module(module, points);
        for (position, (patch, object)) in self.patches_of(module).into_iter().enumerate() {
            if let Err(error) = self.apply(&patch, object, module) {
                self.emit(&Event::ModuleRefused {
                    module: module.to_owned(),
                    message: callout::text(&error),
                });
                for (before, object) in self.patches_of(module).into_iter().take(position) {
                    self.revert(&before, object, module, ModuleState::Coming);
                }
                self.remove(module);
                return Err(error);
            }
        }
        Ok(())
    }

    /// See [`Registry::module_live`](super::Registry::module_live).
    pub(super) fn module_live(&self, module: &str) -> Result<(), ModuleError> {
        self.set_state(module, ModuleState::Live)
    }

    /// See [`Registry::module_going`](super::Registry::module_going).
    pub(super) fn module_going(&self, module: &str) -> Result<(), ModuleError> {
        self.set_state(module, ModuleState::Going)?;
        for (patch, object) in self.patches_of(module) {
            self.revert(&patch, object, module, ModuleState::Going);
        }
        self.remove(module);
        Ok(())
    }

    fn check_module(&self, module: &str, points: &[&'static RawPoint]) -> Result<(), ModuleError> {
        let name = || module.to_owned();
        if module.is_empty() || module == PROGRAM || module.len() > MAX_NAME || module.chars().any(char::is_control) {
            return Err(ModuleError::BadName { module: name() });
        }
        if self.inner().object(module).is_some() {
            return Err(ModuleError::AlreadyThere { module: name() });
        }
        let mut names = HashSet::new();
        match points.iter().find(|point| !names.insert(point.name())) {
            Some(twice) => Err(ModuleError::DuplicatePoint {
                module: name(),
                function: twice.name().to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn set_state(&self, module: &str, state: ModuleState) -> Result<(), ModuleError> {
        let mut inner = self.inner();
        let found = inner.modules.iter_mut().find(|one| one.name == module);
        found
            .ok_or_else(|| ModuleError::Unknown {
                module: module.to_owned(),
            })?
            .state = state;
        Ok(())
    }

    /// Removes a module from the registry, and its points.
    fn remove(&self, module: &str) {
        self.inner().modules.retain(|one| one.name != module);
        self.registry.points.lock().remove_module(module);
    }

    /// Returns the patches of the list that have this object, with its index in each, in list order.
    fn patches_of(&self, module: &str) -> Vec<(Arc<Patch>, usize)> {
        let place = |patch: &Patch| patch.objects.iter().position(|object| object.name == module);
        let inner = self.inner();
        inner
            .list
            .iter()
            .filter_map(|entry| Some((Arc::clone(&entry.patch), place(&entry.patch)?)))
            .collect()
    }

    /// Applies a patch to a module that is being loaded.
    fn apply(&self, patch: &Arc<Patch>, object: usize, module: &str) -> Result<(), ModuleError> {
        let name = || patch.name.clone();
        let functions = &patch.objects[object].functions;
        let points = self.registry.points.lock().resolve(module, functions);
        let points = points.map_err(|why| ModuleError::Resolve { patch: name(), why })?;
        self.emit(&Event::Applying {
            patch: name(),
            module: module.to_owned(),
        });
        let owner = Owner::Object(object, Some(ModuleState::Coming));
        self.call(patch, owner, CallbackKind::PrePatch)
            .map_err(|why| ModuleError::Refused { patch: name(), why })?;
        self.set_life(patch, object, Some(points));
        if !self.is_in_transition(patch) {
            self.notify(patch, owner, CallbackKind::PostPatch);
        }
        Ok(())
    }

    /// Reverts a patch to a module that is being unloaded, or that was refused.
    fn revert(&self, patch: &Arc<Patch>, object: usize, module: &str, state: ModuleState) {
        let owner = Owner::Object(object, Some(state));
        if !self.is_in_transition(patch) {
            self.notify(patch, owner, CallbackKind::PreUnpatch);
        }
        self.emit(&Event::Reverting {
            patch: patch.name.clone(),
            module: module.to_owned(),
        });
        if self.set_life(patch, object, None) {
            self.notify(patch, owner, CallbackKind::PostUnpatch);
        }
    }

    /// Records what a patch does to a module's points, and sets their functions (no unit calls them now). Returns whether
    /// `post_unpatch` was owed.
    fn set_life(&self, patch: &Arc<Patch>, object: usize, applied: Option<Applied>) -> bool {
        let (number, views, before, owed) = {
            let mut inner = self.inner();
            let views = inner.views();
            let entry = inner.list.iter_mut().find(|entry| Arc::ptr_eq(&entry.patch, patch));
            let entry = entry.expect("patches leave the list in turns of their own");
            let life = &mut entry.objects[object];
            let owed = std::mem::replace(&mut life.owes_post_unpatch, applied.is_some());
            let before = std::mem::replace(&mut life.applied, applied.clone());
            (entry.number, views, before, owed)
        };
        let mut points = self.registry.points.lock();
        if let Some(before) = &before {
            points.remove_functions(number, before);
        }
        if let Some(applied) = &applied {
            points.add_functions(number, applied);
        }
        for changed in before.iter().chain(&applied) {
            // SAFETY: the points are a module's that is being loaded or unloaded: nothing calls them (`module_coming`,
            // `module_going`).
            unsafe { points.publish(changed, views, WORLD.side()) };
        }
        owed
    }

    fn is_in_transition(&self, patch: &Arc<Patch>) -> bool {
        let inner = self.inner();
        inner
            .transition
            .as_ref()
            .is_some_and(|transition| Arc::ptr_eq(&transition.patch, patch))
    }
}
