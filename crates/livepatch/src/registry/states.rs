//! States: whether they are compatible, which patches hold them, and what happens when the first holder takes one and the
//! last releases it.
//!
//! A patch that is prepared holds its states: it introduces those that no other holds (`pre_patch`, which may refuse), and
//! takes over the others. `post_patch` follows when all units run it. A state whose last holder is disabled or replaced is
//! removed: `pre_unpatch` before that transition, `post_unpatch` after it, then its variables are freed. A transition that
//! is reversed makes up for the `pre_unpatch` of states that stay by another `post_patch`.
//!
//! The libraries of removed patches are retained for as long as variables of their states may need their destructors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::{Change, Owner};
use super::inner::{Entry, Held, Inner, Retained};
use crate::callout;
use crate::error::{EnableError, Incompatibility, Refusal};
use crate::events::Event;
use crate::patch::{CallbackKind, Mapped, Owned, Patch};

/// Variables whose destructors may be in the library of a removed patch.
struct LibraryUse {
    state: u64,
    variables: Owned,
    library: Mapped,
}

impl Inner {
    /// Checks whether a new patch is compatible with the states of the patches in the list.
    pub(super) fn compatible(&self, new: &Patch) -> Result<(), EnableError> {
        for entry in &self.list {
            for old in &entry.patch.states {
                let state = old.id();
                let why = match new.state(state) {
                    Some(new) if new.version() < old.version() => Incompatibility::Older {
                        state,
                        old: old.version(),
                        new: new.version(),
                    },
                    None if new.replace && self.is_blocked(entry, state) => Incompatibility::Blocked { state },
                    None if new.replace && !old.is_kept() => Incompatibility::Missing { state },
                    _ => continue,
                };
                return Err(EnableError::Incompatible {
                    with: entry.patch.name.clone(),
                    why,
                });
            }
        }
        Ok(())
    }

    fn add_holder(&mut self, id: u64, patch: &Arc<Patch>) {
        let by = &mut self.held.entry(id).or_default().by;
        by.retain(|holder| !Arc::ptr_eq(holder, patch));
        by.push(Arc::clone(patch));
    }

    /// Releases the states of a patch that has left the list: each is held by the patches that remain, if they know how
    /// to free all of its variables. Returns the variables, if any are live, that may need the patch's library.
    fn release_states(&mut self, patch: &Arc<Patch>) -> Vec<LibraryUse> {
        let mut uses = Vec::new();
        for state in &patch.states {
            let id = state.id();
            let known: BTreeSet<(usize, u64)> = self
                .list
                .iter()
                .filter(|entry| entry.holds(id).is_some())
                .filter_map(|entry| entry.patch.state(id))
                .flat_map(|state| &state.owned)
                .map(|owned| owned.key)
                .collect();
            let Some(held) = self.held.get_mut(&id) else { continue };
            if !state.owned.iter().all(|owned| known.contains(&owned.key)) {
                continue; // Only this patch can free some of them: it stays a holder, which keeps its library.
            }
            held.by.retain(|holder| !Arc::ptr_eq(holder, patch));
            let Some(library) = patch.code.own() else { continue };
            uses.extend(
                state
                    .owned
                    .iter()
                    .filter(|owned| owned.has_glue)
                    .map(|owned| LibraryUse {
                        state: id,
                        variables: owned.clone(),
                        library: library.clone(),
                    }),
            );
        }
        uses
    }

    /// Returns each state and kind of its variables for which libraries are retained, as a holder describes them, so that
    /// live ones can be counted.
    fn retained_variables(&self) -> Vec<(u64, Owned)> {
        let retained = self.held.iter().flat_map(|(id, held)| {
            let owned = held.owned(*id);
            let keys: BTreeSet<_> = held.retained.iter().map(|retained| retained.key).collect();
            keys.into_iter()
                .filter_map(move |key| Some((*id, owned.get(&key)?.clone())))
        });
        retained.collect()
    }

    /// Removes the state with its last holder, if that ever got to hold it. Returns the variables to free, and the
    /// patches and libraries that were retained for them.
    fn remove_state(&mut self, id: u64, last: &Arc<Patch>) -> (Vec<Owned>, Vec<Arc<Patch>>, Vec<Mapped>) {
        let is_last = |holder: &Arc<Patch>| Arc::ptr_eq(holder, last);
        if !self.held.get(&id).is_some_and(|held| held.by.iter().any(is_last)) {
            return Default::default();
        }
        self.add_holder(id, last); // Its own way to free a variable takes precedence.
        let gone = self.held.remove(&id).expect("it is held");
        let mut going = gone.owned(id);
        let mut libraries: Vec<Mapped> = gone.retained.iter().map(|retained| retained.library.clone()).collect();
        libraries.extend(gone.by.iter().filter_map(|patch| patch.code.own()));
        for (&other, held) in &mut self.held {
            let theirs = held.owned(other);
            // Another state owns these variables too: they are not freed, and it retains the libraries that they may need.
            going.retain(|&key, owned| {
                let stays = theirs.contains_key(&key);
                if stays && owned.has_glue {
                    let retained = libraries.iter().cloned().map(|library| Retained { key, library });
                    held.retained.extend(retained);
                }
                !stays
            });
        }
        (going.into_values().collect(), gone.by, libraries)
    }

    /// Returns whether a state that this patch holds cannot be undone.
    fn is_blocked(&self, entry: &Entry, id: u64) -> bool {
        let of_held = self.held.get(&id).is_some_and(|held| held.blocked);
        of_held || entry.patch.state(id).is_some_and(|state| state.block_disable)
    }

    /// Records, once all units run the patch, which of its states cannot be undone. That holds for every later holder,
    /// until a patch that replaces all others says otherwise.
    pub(super) fn settle_blocked(&mut self, patch: &Arc<Patch>) {
        for state in &patch.states {
            if let Some(held) = self.held.get_mut(&state.id()) {
                held.blocked = state.block_disable || held.blocked && !patch.replace;
            }
        }
    }

    /// Returns a state that only the patch at `index` holds, and that cannot be undone.
    pub(super) fn blocked(&self, index: usize) -> Option<u64> {
        let entry = &self.list[index];
        let states = entry.patch.states.iter().map(|state| state.id());
        states
            .filter(|&id| self.is_blocked(entry, id))
            .find(|&id| !self.is_held_beside(id, |other| other == index))
    }

    /// Returns whether a patch of the list holds the state, other than those that `left_out` selects.
    fn is_held_beside(&self, id: u64, left_out: impl Fn(usize) -> bool) -> bool {
        let mut entries = self.list.iter().enumerate();
        entries.any(|(index, entry)| !left_out(index) && entry.holds(id).is_some())
    }
}

impl Held {
    /// Returns the variables of this state, by store and id, each with the newest way to free it.
    fn owned(&self, id: u64) -> BTreeMap<(usize, u64), Owned> {
        let states = self.by.iter().filter_map(|patch| patch.state(id));
        let owned = states.flat_map(|state| &state.owned);
        owned.map(|owned| (owned.key, owned.clone())).collect()
    }
}

impl Change<'_> {
    /// Makes the new patch, last in the list, take over or introduce its states. If it replaces, runs `pre_unpatch` of
    /// the states that it lacks.
    pub(super) fn prepare_states(&self, patch: &Arc<Patch>) -> Result<(), Refusal> {
        let new = self.inner().list.len() - 1;
        for (index, state) in patch.states.iter().enumerate() {
            let introduced = {
                let mut inner = self.inner();
                inner.add_holder(state.id(), patch);
                !inner.is_held_beside(state.id(), |other| other == new)
            };
            if introduced {
                self.call(patch, Owner::State(index), CallbackKind::PrePatch)?;
            }
            let life = &mut self.inner().list[new].states[index];
            life.held = true;
            life.owes_post_patch = introduced;
        }
        if patch.replace {
            self.inner().list[..new]
                .iter_mut()
                .for_each(|entry| entry.replaced = true);
            for (holder, index) in self.states_replaced() {
                self.notify(&holder, Owner::State(index), CallbackKind::PreUnpatch);
                self.owe_post_patch(&holder, index);
            }
        }
        Ok(())
    }

    /// Runs `pre_unpatch` of the states that are removed with the patch in transition.
    pub(super) fn prepare_states_removed(&self, patch: &Arc<Patch>) {
        for index in self.states_to_remove(patch) {
            self.notify(patch, Owner::State(index), CallbackKind::PreUnpatch);
            self.owe_post_patch(patch, index);
        }
    }

    fn owe_post_patch(&self, patch: &Arc<Patch>, index: usize) {
        let mut inner = self.inner();
        if let Some(entry) = inner.list.iter_mut().find(|entry| Arc::ptr_eq(&entry.patch, patch)) {
            entry.states[index].owes_post_patch = true;
        }
    }

    /// Runs `post_patch` of the patch's states that are owed it, once all units run the patch.
    pub(super) fn finish_states_patched(&self, patch: &Arc<Patch>) {
        for index in self.take_owed_states(patch) {
            self.notify(patch, Owner::State(index), CallbackKind::PostPatch);
        }
    }

    /// Removes the states that only replaced patches held, each once.
    pub(super) fn finish_states_replaced(&self) {
        for (holder, index) in self.states_replaced() {
            self.notify(&holder, Owner::State(index), CallbackKind::PostUnpatch);
            self.free(holder.states[index].id(), &holder);
        }
    }

    /// Runs `post_patch` of other patches' states that were to be removed, because the patch in transition did not take
    /// effect.
    pub(super) fn restore_states_kept(&self) {
        let others: Vec<Arc<Patch>> = {
            let inner = self.inner();
            let in_transition = inner.in_transition();
            let entries = inner
                .list
                .iter()
                .enumerate()
                .filter(|(index, _)| in_transition != Some(*index));
            entries.map(|(_, entry)| Arc::clone(&entry.patch)).collect()
        };
        for patch in others {
            self.finish_states_patched(&patch);
        }
    }

    /// Removes the states that only the patch in transition held, because it is not in effect.
    pub(super) fn finish_states_unpatched(&self, patch: &Arc<Patch>) {
        let going = self.states_to_remove(patch);
        for &index in &going {
            self.notify(patch, Owner::State(index), CallbackKind::PostUnpatch);
            self.free(patch.states[index].id(), patch);
        }
        // A state whose own `pre_patch` failed was never held; variables that it may have attached are freed too.
        for (index, state) in patch.states.iter().enumerate() {
            let held = {
                let inner = self.inner();
                let in_transition = inner.in_transition();
                inner.is_held_beside(state.id(), |other| in_transition == Some(other))
            };
            if !held && !going.contains(&index) {
                self.free(state.id(), patch);
            }
        }
    }

    /// Returns the states of the patch in transition that no other patch holds.
    fn states_to_remove(&self, patch: &Arc<Patch>) -> Vec<usize> {
        let inner = self.inner();
        let Some(own) = inner.in_transition() else {
            return Vec::new();
        };
        let states = patch.states.iter().enumerate();
        states
            .filter(|(index, state)| {
                inner.list[own].states[*index].held && !inner.is_held_beside(state.id(), |other| other == own)
            })
            .map(|(index, _)| index)
            .collect()
    }

    /// Returns the states that only replaced patches hold, each once, with its newest holder.
    fn states_replaced(&self) -> Vec<(Arc<Patch>, usize)> {
        let inner = self.inner();
        let mut seen = BTreeSet::new();
        let mut going = Vec::new();
        for entry in inner.list.iter().rev().filter(|entry| entry.replaced) {
            for (index, state) in entry.patch.states.iter().enumerate() {
                let replaced = |other: usize| inner.list[other].replaced;
                if entry.states[index].held && !inner.is_held_beside(state.id(), replaced) && seen.insert(state.id()) {
                    going.push((Arc::clone(&entry.patch), index));
                }
            }
        }
        going
    }

    /// Returns the states of a patch that are owed a `post_patch`, and clears that debt.
    fn take_owed_states(&self, patch: &Arc<Patch>) -> Vec<usize> {
        let mut inner = self.inner();
        let Some(entry) = inner.list.iter_mut().find(|entry| Arc::ptr_eq(&entry.patch, patch)) else {
            return Vec::new();
        };
        let lives = entry.states.iter_mut().enumerate();
        lives
            .filter_map(|(index, life)| std::mem::take(&mut life.owes_post_patch).then_some(index))
            .collect()
    }

    /// Retains the libraries of removed patches that live variables may need, and drops retained ones that no variable
    /// needs any more.
    pub(super) fn update_retained(&self, gone: &[Arc<Patch>]) {
        let successors: Vec<Arc<Patch>> = self.inner().list.iter().map(|entry| Arc::clone(&entry.patch)).collect();
        gone.iter().for_each(|patch| patch.share_code(&successors));
        let uses: Vec<LibraryUse> = gone
            .iter()
            .flat_map(|patch| self.inner().release_states(patch))
            .collect();
        // Stores are queried outside the lock: finding one may run user code.
        let owed = uses.into_iter().filter(|library_use| library_use.variables.may_live());
        let owed: Vec<LibraryUse> = owed.collect();
        let retained = self.inner().retained_variables();
        let mut unused = retained;
        unused.retain(|(_, variables)| !variables.may_live());
        let mut inner = self.inner();
        for (state, variables) in &unused {
            if let Some(held) = inner.held.get_mut(state) {
                let unused = held.retained.extract_if(.., |retained| retained.key == variables.key);
                self.garbage
                    .borrow_mut()
                    .libraries
                    .extend(unused.map(|retained| retained.library));
            }
        }
        for library_use in owed {
            if let Some(held) = inner.held.get_mut(&library_use.state) {
                held.retained.push(Retained {
                    key: library_use.variables.key,
                    library: library_use.library,
                });
            }
        }
        drop(inner);
        successors.into_iter().for_each(callout::discard);
    }

    /// Frees the variables of a state whose last holder is removed.
    fn free(&self, id: u64, last: &Arc<Patch>) {
        let (freed, patches, libraries) = self.inner().remove_state(id, last);
        for owned in &freed {
            let shadow = owned.key.1;
            // After a panic, a second attempt frees the rest: a destructor that panicked is not called again.
            let variables = callout::guarded(|| (owned.free_all)()).or_else(|message| {
                self.emit(&Event::FreeFailed {
                    patch: last.name.clone(),
                    state: id,
                    shadow,
                    message,
                });
                callout::guarded(|| (owned.free_all)())
            });
            if let Ok(variables @ 1..) = variables {
                self.emit(&Event::Freed {
                    patch: last.name.clone(),
                    state: id,
                    shadow,
                    variables,
                });
            }
        }
        let mut garbage = self.garbage.borrow_mut();
        garbage.patches.extend(patches);
        garbage.libraries.extend(libraries);
    }
}
