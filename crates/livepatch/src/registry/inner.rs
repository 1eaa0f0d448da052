//! What the registry knows: patches in order, modules, states and who holds them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Instant;

use super::points::{Applied, Sees};
use crate::error::{ChangeError, NoTransition};
use crate::events::Direction;
use crate::patch::{Mapped, ModuleState, PROGRAM, Patch, PrevState, State};
use crate::task::Side;

/// All of it.
pub(super) struct Inner {
    /// The patches that are enabled or in transition, oldest first.
    pub(super) list: Vec<Entry>,
    pub(super) transition: Option<Transition>,
    pub(super) modules: Vec<Module>,
    /// The states that have a holder.
    pub(super) held: BTreeMap<u64, Held>,
    /// The threads that wait for the end of a transition.
    pub(super) waiting: Vec<Thread>,
    /// How many patches there have been.
    numbers: u64,
}

/// A patch that is enabled or in transition.
pub(super) struct Entry {
    pub(super) patch: Arc<Patch>,
    /// Greater than those of all before it.
    pub(super) number: u64,
    pub(super) enabled: bool,
    /// The patch in transition takes, or took, the place of this one.
    pub(super) replaced: bool,
    pub(super) objects: Vec<ObjectLife>,
    pub(super) states: Vec<StateLife>,
}

/// What was done to an object for a patch.
#[derive(Default)]
pub(super) struct ObjectLife {
    /// The points that were given functions. None: the object is not patched.
    pub(super) applied: Option<Applied>,
    /// Whether `post_unpatch` is owed: `pre_patch` succeeded, or is not there.
    pub(super) owes_post_unpatch: bool,
}

/// What was done to a state for a patch.
#[derive(Clone, Copy, Default)]
pub(super) struct StateLife {
    /// Its `pre_patch` succeeded, or another patch's did and this one has taken the state over.
    pub(super) held: bool,
    /// Whether `post_patch` is due when all units run the patch: its `pre_patch` or its `pre_unpatch` ran.
    pub(super) owes_post_patch: bool,
}

/// The one transition that runs.
pub(super) struct Transition {
    pub(super) patch: Arc<Patch>,
    pub(super) direction: Direction,
    /// The side that units leave. None before the first flip.
    pub(super) left: Option<Side>,
    /// Whether the barrier of the last flip was there.
    pub(super) fenced: bool,
    /// Whether it was forced since the last flip: units that were are left alone (T6).
    pub(super) forced: bool,
    pub(super) since: Instant,
}

/// A module that is there.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) state: ModuleState,
}

/// A state that has a holder.
#[derive(Default)]
pub(super) struct Held {
    /// The patches that hold it, or try to; and those that did, if they alone know how a variable of it is freed. Oldest
    /// first.
    pub(super) by: Vec<Arc<Patch>>,
    /// What of patches that are gone is owed to variables.
    pub(super) lent: Vec<Lent>,
    /// It cannot be undone, whoever holds it.
    pub(super) blocked: bool,
}

/// A library whose code may be what destroys variables that live: those were attached while its patch was there.
pub(super) struct Lent {
    /// Which variables: store and id.
    pub(super) key: (usize, u64),
    pub(super) library: Mapped,
}

impl Transition {
    /// One that is prepared: no unit knows of it.
    pub(super) fn new(patch: &Arc<Patch>, direction: Direction) -> Self {
        Self {
            patch: Arc::clone(patch),
            direction,
            left: None,
            fenced: true,
            forced: false,
            since: Instant::now(),
        }
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

    /// Puts a patch last in the list, in transition.
    pub(super) fn push(&mut self, patch: &Arc<Patch>) {
        self.numbers += 1;
        patch.states.iter().for_each(State::joins);
        self.list.push(Entry::new(patch, self.numbers));
        self.transition = Some(Transition::new(patch, Direction::Patching));
    }

    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|entry| entry.patch.name == name)
    }

    /// As [`index_of`](Self::index_of), for who wants to change that patch.
    pub(super) fn place_of(&self, name: &str) -> Result<usize, ChangeError> {
        self.index_of(name)
            .ok_or_else(|| ChangeError::Unknown { patch: name.to_owned() })
    }

    /// The transition of the patch of this name, and the patch's place.
    pub(super) fn transition_of(&mut self, name: &str) -> Result<(usize, &mut Transition), ChangeError> {
        let index = self.place_of(name)?;
        let is_its = self.is_in_transition(index);
        let transition = self.transition.as_mut().filter(|_| is_its);
        transition
            .map(|transition| (index, transition))
            .ok_or_else(|| ChangeError::NotInTransition { patch: name.to_owned() })
    }

    /// The place of the patch in transition.
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

    /// Which patches count for units that begin, and for those of before.
    pub(super) fn views(&self) -> (Sees, Sees) {
        let Some((transition, index)) = self.transition.as_ref().zip(self.in_transition()) else {
            return (Sees::All, Sees::All);
        };
        let number = self.list[index].number;
        let with = if transition.patch.replace {
            Sees::From(number)
        } else {
            Sees::All
        };
        match transition.direction {
            Direction::Patching => (with, Sees::Without(number)),
            Direction::Unpatching => (Sees::Without(number), with),
        }
    }

    /// The functions of the patch in transition and of those that it replaces: what can differ from side to side. With the
    /// numbers of the patches.
    pub(super) fn in_motion(&self) -> Vec<(u64, Applied)> {
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

    /// Where the object is in its life, if it is there. The program always is.
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

    /// The place of the state of this id, if the patch holds it.
    pub(super) fn holds(&self, id: u64) -> Option<usize> {
        let index = self.patch.states.iter().position(|state| state.id() == id)?;
        self.states[index].held.then_some(index)
    }
}
