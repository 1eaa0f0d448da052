//! States: which go together, who holds them, and what happens when the first holder comes and the last goes.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use super::inner::{Held, Inner};
use super::{Owner, Turn};
use crate::error::{EnableError, Incompatibility, Refusal};
use crate::events::Event;
use crate::patch::{CallbackKind, Owned, Patch, panic_message};

impl Inner {
    /// Whether a new patch goes with the states of those in the list.
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
                    None if new.replace && old.block_disable => Incompatibility::Blocked { state },
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

    fn hold(&mut self, id: u64, patch: &Arc<Patch>) {
        let by = &mut self.held.entry(id).or_default().by;
        by.retain(|holder| !Arc::ptr_eq(holder, patch));
        by.iter().for_each(|holder| patch.code.keep(&holder.code));
        by.push(Arc::clone(patch));
    }

    /// The patch is not in the list any more. Where others hold a state that has no variables, nothing of it is needed.
    pub(super) fn let_go(&mut self, patch: &Arc<Patch>) {
        for state in &patch.states {
            if let Some(held) = self.held.get_mut(&state.id())
                && held.owned(state.id()).is_empty()
            {
                held.by.retain(|holder| !Arc::ptr_eq(holder, patch));
            }
        }
    }

    /// The state goes with its last holder, if that ever came to it: which variables go, and the patches that were kept for
    /// them.
    fn unhold(&mut self, id: u64, last: &Arc<Patch>) -> (Vec<Owned>, Vec<Arc<Patch>>) {
        let is_last = |holder: &Arc<Patch>| Arc::ptr_eq(holder, last);
        if !self.held.get(&id).is_some_and(|held| held.by.iter().any(is_last)) {
            return (Vec::new(), Vec::new());
        }
        self.hold(id, last); // Its own way to free a variable goes before that of others.
        let held = self.held.remove(&id).expect("it is held");
        let mut going = held.owned(id);
        let patches: Vec<_> = held.by.into_iter().chain(held.kept).collect();
        for (&other, held) in &mut self.held {
            let theirs = held.owned(other);
            let before = going.len();
            going.retain(|key, _| !theirs.contains_key(key));
            if going.len() < before {
                held.kept.extend(patches.iter().cloned());
            }
        }
        (going.into_values().collect(), patches)
    }

    /// A state that only the patch at `index` holds, and that cannot be undone.
    pub(super) fn blocked(&self, index: usize) -> Option<u64> {
        let states = self.list[index].patch.states.iter().filter(|state| state.block_disable);
        states
            .map(|state| state.id())
            .find(|&id| !self.is_held_beside(id, |other| other == index))
    }

    /// Whether a patch of the list holds the state, those left out not counted.
    fn is_held_beside(&self, id: u64, left_out: impl Fn(usize) -> bool) -> bool {
        let mut entries = self.list.iter().enumerate();
        entries.any(|(index, entry)| !left_out(index) && entry.holds(id).is_some())
    }
}

impl Held {
    /// The variables of this state, by store and id, each with the newest way to free it.
    fn owned(&self, id: u64) -> BTreeMap<(usize, u64), Owned> {
        let states = self.by.iter().filter_map(|patch| patch.state(id));
        let owned = states.flat_map(|state| &state.owned);
        owned.map(|owned| (owned.key, owned.clone())).collect()
    }
}

impl Turn<'_> {
    /// The new patch, last in the list, takes states over or introduces them; if it replaces, those that it does not have
    /// are told to go.
    pub(super) fn prepare_states(&self, patch: &Arc<Patch>) -> Result<(), Refusal> {
        let new = self.inner().list.len() - 1;
        for (index, state) in patch.states.iter().enumerate() {
            let introduced = {
                let mut inner = self.inner();
                inner.hold(state.id(), patch);
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
                self.tell(&holder, Owner::State(index), CallbackKind::PreUnpatch);
                self.owe_post_patch(&holder, index);
            }
        }
        Ok(())
    }

    /// The states that go with the patch in transition are told so.
    pub(super) fn prepare_states_to_go(&self, patch: &Arc<Patch>) {
        for index in self.states_that_go(patch) {
            self.tell(patch, Owner::State(index), CallbackKind::PreUnpatch);
            self.owe_post_patch(patch, index);
        }
    }

    fn owe_post_patch(&self, patch: &Arc<Patch>, index: usize) {
        let mut inner = self.inner();
        if let Some(entry) = inner.list.iter_mut().find(|entry| Arc::ptr_eq(&entry.patch, patch)) {
            entry.states[index].owes_post_patch = true;
        }
    }

    /// All units run the patch: its states that wait for that are told.
    pub(super) fn finish_states_patched(&self, patch: &Arc<Patch>) {
        for index in self.take_owed(patch) {
            self.tell(patch, Owner::State(index), CallbackKind::PostPatch);
        }
    }

    /// The states that only replaced patches held go, each once.
    pub(super) fn finish_states_replaced(&self) {
        for (holder, index) in self.states_replaced() {
            self.tell(&holder, Owner::State(index), CallbackKind::PostUnpatch);
            self.free(holder.states[index].id(), &holder);
        }
    }

    /// The patch in transition is not in effect: the states of others that had been told to go stay after all.
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

    /// The patch in transition is not in effect: the states that only it held go.
    pub(super) fn finish_states_unpatched(&self, patch: &Arc<Patch>) {
        let going = self.states_that_go(patch);
        for &index in &going {
            self.tell(patch, Owner::State(index), CallbackKind::PostUnpatch);
            self.free(patch.states[index].id(), patch);
        }
        // A state whose own `pre_patch` failed was never held; what it may have attached goes too.
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

    /// The states of the patch in transition that nobody else holds.
    fn states_that_go(&self, patch: &Arc<Patch>) -> Vec<usize> {
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

    /// The states that only replaced patches hold, each once, with its newest holder.
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

    /// The states of a patch that wait for the end of the transition, which then do not any more.
    fn take_owed(&self, patch: &Arc<Patch>) -> Vec<usize> {
        let mut inner = self.inner();
        let Some(entry) = inner.list.iter_mut().find(|entry| Arc::ptr_eq(&entry.patch, patch)) else {
            return Vec::new();
        };
        let lives = entry.states.iter_mut().enumerate();
        lives
            .filter_map(|(index, life)| std::mem::take(&mut life.owes_post_patch).then_some(index))
            .collect()
    }

    /// Frees the variables of a state whose last holder goes.
    fn free(&self, id: u64, last: &Arc<Patch>) {
        let (freed, patches) = self.inner().unhold(id, last);
        for owned in &freed {
            let shadow = owned.key.1;
            match panic::catch_unwind(AssertUnwindSafe(|| (owned.free_all)())) {
                Ok(0) => {}
                Ok(variables) => self.emit(&Event::Freed {
                    patch: last.name.clone(),
                    state: id,
                    shadow,
                    variables,
                }),
                Err(payload) => {
                    self.emit(&Event::FreeFailed {
                        patch: last.name.clone(),
                        state: id,
                        shadow,
                        message: panic_message(payload),
                    });
                }
            }
        }
        self.garbage.borrow_mut().extend(patches);
    }
}
