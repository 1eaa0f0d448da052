//! The data of the registry: patches in order, modules, and states with their holders.
//!
//! It is behind a lock that is only held briefly. Every change of it belongs to a [`Change`](super::change::Change), so
//! what was read under one lock still holds under the next, as long as no other operation of the same change altered it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Instant;

use super::points::{Applied, Visible};
use crate::error::{ChangeError, NoTransition};
use crate::events::Direction;
use crate::patch::{Mapped, ModuleState, PROGRAM, Patch, PrevState};
use crate::task::Side;

/// The data of the registry.
pub(super) struct Inner {
    /// The patches that are enabled or in transition, oldest first.
    pub(super) list: Vec<Entry>,
    pub(super) transition: Option<Transition>,
    pub(super) modules: Vec<Module>,
    /// The states that have a holder.
    pub(super) held: BTreeMap<u64, Held>,
    /// The threads that wait for the end of a transition.
    pub(super) waiting: Vec<Thread>,
    /// How many patches have been enabled so far.
    numbers: u64,
}

/// A patch that is enabled or in transition.
pub(super) struct Entry {
    pub(super) patch: Arc<Patch>,
    /// Greater than that of every earlier patch.
    pub(super) number: u64,
    pub(super) enabled: bool,
    /// The patch in transition replaces, or has replaced, this one.
    pub(super) replaced: bool,
    pub(super) objects: Vec<ObjectLife>,
    pub(super) states: Vec<StateLife>,
}

/// What the patch has done to an object.
#[derive(Default)]
pub(super) struct ObjectLife {
    /// The points that were given functions, or `None` if the object is not patched.
    pub(super) applied: Option<Applied>,
    /// Whether `post_unpatch` is owed: `pre_patch` succeeded, or the object has none.
    pub(super) owes_post_unpatch: bool,
}

/// What the patch has done to a state.
#[derive(Clone, Copy, Default)]
pub(super) struct StateLife {
    /// Its `pre_patch` succeeded, or that of another patch did and this one has taken the state over.
    pub(super) held: bool,
    /// Whether `post_patch` is due when all units run the patch: its `pre_patch` or its `pre_unpatch` ran.
    pub(super) owes_post_patch: bool,
}

/// The running transition. There is at most one.
pub(super) struct Transition {
    pub(super) patch: Arc<Patch>,
    pub(super) direction: Direction,
    /// The side that units leave. `None` before the first flip.
    pub(super) old_side: Option<Side>,
    /// Whether the heavy barrier of the last flip was executed.
    pub(super) fenced: bool,
    /// Whether it was forced since the last flip: forced units are then ignored (T6).
    pub(super) forced: bool,
    pub(super) since: Instant,
}

/// The side that a running transition leaves.
#[derive(Clone, Copy)]
pub(super) struct Leaving {
    pub(super) direction: Direction,
    pub(super) old_side: Side,
    pub(super) forced: bool,
}

/// A module that is loaded.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) state: ModuleState,
}

/// A state that has a holder.
#[derive(Default)]
pub(super) struct Held {
    /// The patches that hold it or try to, and former holders that alone know how to free one of its variables. Oldest first.
    pub(super) by: Vec<Arc<Patch>>,
    /// The libraries of removed patches that its variables may still need.
    pub(super) retained: Vec<Retained>,
    /// It cannot be undone, whichever patches hold it.
    pub(super) blocked: bool,
}

/// A library that may contain the destructors of live variables, because they were attached while its patch was present.
pub(super) struct Retained {
    /// The variables: store and id.
    pub(super) key: (usize, u64),
    pub(super) library: Mapped,
}

impl Transition {
    /// Returns a prepared transition, which no unit has seen.
    pub(super) fn new(patch: &Arc<Patch>, direction: Direction) -> Self {
        Self {
            patch: Arc::clone(patch),
            direction,
            old_side: None,
            fenced: true,
            forced: false,
            since: Instant::now(),
        }
    }

    /// Returns the side that it leaves, once it has started.
    pub(super) fn leaving(&self) -> Option<Leaving> {
        Some(Leaving {
            direction: self.direction,
            old_side: self.old_side?,
            forced: self.forced,
        })
    }
}

impl Inner {
    pub(super) const fn new() -> Self {
        Self {
            list: Vec::new(),
            transition: None,
            modules: Vec::new(),
            held: BTreeMap::new(),
            waiting: Vec::new(),
            numbers: 0,
        }
    }

    /// Appends a patch to the list, in transition.
    pub(super) fn push(&mut self, patch: &Arc<Patch>) {
        self.numbers += 1;
        patch.states.iter().for_each(|state| state.data.enter_list());
        self.list.push(Entry::new(patch, self.numbers));
        self.transition = Some(Transition::new(patch, Direction::Patching));
    }

    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|entry| entry.patch.name == name)
    }

    /// Like [`index_of`](Self::index_of), but returns an error for a caller that wants to change that patch.
    pub(super) fn try_index_of(&self, name: &str) -> Result<usize, ChangeError> {
        self.index_of(name)
            .ok_or_else(|| ChangeError::Unknown { patch: name.to_owned() })
    }

    /// Returns the transition of the patch of this name, and the patch's index.
    pub(super) fn transition_of(&mut self, name: &str) -> Result<(usize, &mut Transition), ChangeError> {
        let index = self.try_index_of(name)?;
        let is_its = self.is_in_transition(index);
        let transition = self.transition.as_mut().filter(|_| is_its);
        transition
            .map(|transition| (index, transition))
            .ok_or_else(|| ChangeError::NotInTransition { patch: name.to_owned() })
    }

    /// Returns the index of the patch in transition.
    pub(super) fn in_transition(&self) -> Option<usize> {
        let patch = &self.transition.as_ref()?.patch;
        self.list.iter().position(|entry| Arc::ptr_eq(&entry.patch, patch))
    }

    pub(super) fn is_in_transition(&self, index: usize) -> bool {
        self.in_transition() == Some(index)
    }

    pub(super) fn prev_state(&self, id: u64) -> Result<Option<PrevState>, NoTransition> {
        let before = self.in_transition().ok_or(NoTransition)?;
        let newest = self.list[..before].iter().rev().find_map(|entry| {
            let index = entry.patch.states.iter().position(|state| state.id() == id)?;
            Some(PrevState {
                patch: Arc::clone(&entry.patch),
                index,
            })
        });
        Ok(newest)
    }

    /// Returns which patches are visible to units that begin, and to older units.
    pub(super) fn views(&self) -> (Visible, Visible) {
        let Some((transition, index)) = self.transition.as_ref().zip(self.in_transition()) else {
            return (Visible::All, Visible::All);
        };
        let number = self.list[index].number;
        let with = if transition.patch.replace {
            Visible::From(number)
        } else {
            Visible::All
        };
        match transition.direction {
            Direction::Patching => (with, Visible::Without(number)),
            Direction::Unpatching => (Visible::Without(number), with),
        }
    }

    /// Returns the functions of the patch in transition and of those that it replaces, with the patches' numbers: those
    /// that can differ between the sides.
    pub(super) fn affected_functions(&self) -> Vec<(u64, Applied)> {
        let tp = self.in_transition();
        let moved = self.list.iter().enumerate();
        moved
            .filter(|(index, entry)| entry.replaced || tp == Some(*index))
            .flat_map(|(_, entry)| {
                let applied = entry.objects.iter().filter_map(|life| life.applied.clone());
                applied.map(|applied| (entry.number, applied))
            })
            .collect()
    }

    /// Returns the state of the object's module, or `None` if it is not loaded. The program always is, and has no such state.
    pub(super) fn object(&self, name: &str) -> Option<Option<ModuleState>> {
        if name == PROGRAM {
            return Some(None);
        }
        self.modules
            .iter()
            .find(|module| module.name == name)
            .map(|module| Some(module.state))
    }
}

impl Entry {
    fn new(patch: &Arc<Patch>, number: u64) -> Self {
        Self {
            patch: Arc::clone(patch),
            number,
            enabled: false,
            replaced: false,
            objects: patch.objects.iter().map(|_| ObjectLife::default()).collect(),
            states: vec![StateLife::default(); patch.states.len()],
        }
    }

    /// Returns the index of the state of this id, if the patch holds it.
    pub(super) fn holds(&self, id: u64) -> Option<usize> {
        let index = self.patch.states.iter().position(|state| state.id() == id)?;
        self.states[index].held.then_some(index)
    }
}
