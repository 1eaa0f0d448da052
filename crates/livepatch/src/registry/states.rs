//! States: which go together, who holds them, and what happens when the first holder comes and the last goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inner::{Entry, Held, Inner, Lent};
use super::{Owner, Turn};
use crate::callout;
use crate::error::{EnableError, Incompatibility, Refusal};
use crate::events::Event;
use crate::patch::{CallbackKind, Mapped, Owned, Patch};

/// Variables that may be destroyed by the code of a patch that is gone.
struct Debt {
    state: u64,
    variables: Owned,
    library: Mapped,
}

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

    fn hold(&mut self, id: u64, patch: &Arc<Patch>) {
        let by = &mut self.held.entry(id).or_default().by;
        by.retain(|holder| !Arc::ptr_eq(holder, patch));
        by.push(Arc::clone(patch));
    }

    /// The patch is not in the list any more: its states are held by those that are, if they know how all of its variables
    /// are freed. What of its library may be owed to variables, if any live.
    fn let_go(&mut self, patch: &Arc<Patch>) -> Vec<Debt> {
        let mut debts = Vec::new();
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
                continue; // It alone can free some of them: it stays, and its library with it.
            }
            held.by.retain(|holder| !Arc::ptr_eq(holder, patch));
            let Some(library) = patch.code.own() else { continue };
            debts.extend(state.owned.iter().filter(|owned| owned.has_glue).map(|owned| Debt {
                state: id,
                variables: owned.clone(),
                library: library.clone(),
            }));
        }
        debts
    }

    /// Of each state and kind of its variables to which libraries are lent: how many live, as a patch that has it can tell.
    fn lent(&self) -> Vec<(u64, Owned)> {
        let lent = self.held.iter().flat_map(|(id, held)| {
            let owned = held.owned(*id);
            let keys: BTreeSet<_> = held.lent.iter().map(|lent| lent.key).collect();
            keys.into_iter()
                .filter_map(move |key| Some((*id, owned.get(&key)?.clone())))
        });
        lent.collect()
    }

    /// The state goes with its last holder, if that ever came to it: which variables go, and the patches and libraries that
    /// were kept for them.
    fn unhold(&mut self, id: u64, last: &Arc<Patch>) -> (Vec<Owned>, Vec<Arc<Patch>>, Vec<Mapped>) {
        let is_last = |holder: &Arc<Patch>| Arc::ptr_eq(holder, last);
        if !self.held.get(&id).is_some_and(|held| held.by.iter().any(is_last)) {
            return Default::default();
        }
        self.hold(id, last); // Its own way to free a variable goes before that of others.
        let gone = self.held.remove(&id).expect("it is held");
        let mut going = gone.owned(id);
        let mut libraries: Vec<Mapped> = gone.lent.iter().map(|lent| lent.library.clone()).collect();
        libraries.extend(gone.by.iter().filter_map(|patch| patch.code.own()));
        for (&other, held) in &mut self.held {
            let theirs = held.owned(other);
            // Which stay, with what may be owed to them.
            going.retain(|&key, owned| {
                let stays = theirs.contains_key(&key);
                if stays && owned.has_glue {
                    let lent = libraries.iter().cloned().map(|library| Lent { key, library });
                    held.lent.extend(lent);
                }
                !stays
            });
        }
        (going.into_values().collect(), gone.by, libraries)
    }

    /// Whether a state that this patch holds cannot be undone.
    fn is_blocked(&self, entry: &Entry, id: u64) -> bool {
        let of_held = self.held.get(&id).is_some_and(|held| held.blocked);
        of_held || entry.patch.state(id).is_some_and(|state| state.block_disable)
    }

    /// All units run the patch: from now on a state of it that cannot be undone is kept by whoever holds it, until a patch
    /// that replaces all others says otherwise.
    pub(super) fn settle_blocked(&mut self, patch: &Arc<Patch>) {
        for state in &patch.states {
            if let Some(held) = self.held.get_mut(&state.id()) {
                held.blocked = state.block_disable || held.blocked && !patch.replace;
            }
        }
    }

    /// A state that only the patch at `index` holds, and that cannot be undone.
    pub(super) fn blocked(&self, index: usize) -> Option<u64> {
        let entry = &self.list[index];
        let states = entry.patch.states.iter().map(|state| state.id());
        states
            .filter(|&id| self.is_blocked(entry, id))
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

    /// Patches are not in the list any more: what of their libraries is owed is kept, and what was and is not any more goes.
    pub(super) fn let_go(&self, gone: &[Arc<Patch>]) {
        let heirs: Vec<Arc<Patch>> = self.inner().list.iter().map(|entry| Arc::clone(&entry.patch)).collect();
        gone.iter().for_each(|patch| patch.code.lend(&patch.states, &heirs));
        let debts: Vec<Debt> = gone.iter().flat_map(|patch| self.inner().let_go(patch)).collect();
        // Stores are asked outside the lock: how one is found may be the user's code.
        let owed = debts.into_iter().filter(|debt| debt.variables.may_live());
        let owed: Vec<Debt> = owed.collect();
        let lent = self.inner().lent();
        let mut paid = lent;
        paid.retain(|(_, variables)| !variables.may_live());
        let mut inner = self.inner();
        for (state, variables) in &paid {
            if let Some(held) = inner.held.get_mut(state) {
                let paid = held.lent.extract_if(.., |lent| lent.key == variables.key);
                self.garbage
                    .borrow_mut()
                    .libraries
                    .extend(paid.map(|lent| lent.library));
            }
        }
        for debt in owed {
            if let Some(held) = inner.held.get_mut(&debt.state) {
                held.lent.push(Lent {
                    key: debt.variables.key,
                    library: debt.library,
                });
            }
        }
        drop(inner);
        heirs.into_iter().for_each(callout::discard);
    }

    /// Frees the variables of a state whose last holder goes.
    fn free(&self, id: u64, last: &Arc<Patch>) {
        let (freed, patches, libraries) = self.inner().unhold(id, last);
        for owned in &freed {
            let shadow = owned.key.1;
            // What a panic has left is freed by another attempt: a destructor that panicked is not called again.
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
