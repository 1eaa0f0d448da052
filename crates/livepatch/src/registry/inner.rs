//! What the registry knows: patches in order, modules, and the function that each point should have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{ChangeError, NoTransition, ResolveError};
use crate::events::Direction;
use crate::patch::{Function, ModuleState, PROGRAM, Patch, PrevState, Target};
use crate::point::{Address, RawPoint};
use crate::task::Side;

/// All of it.
#[derive(Default)]
pub(super) struct Inner {
    /// The patches that are enabled or in transition, oldest first.
    pub(super) list: Vec<Entry>,
    pub(super) transition: Option<Transition>,
    pub(super) modules: Vec<Module>,
    program: Vec<&'static RawPoint>,
    /// The states that have a holder.
    pub(super) held: BTreeMap<u64, Held>,
}

/// A patch that is enabled or in transition.
pub(super) struct Entry {
    pub(super) patch: Arc<Patch>,
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
    pub(super) applied: Option<Vec<(&'static RawPoint, Address)>>,
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
    pub(super) points: Vec<&'static RawPoint>,
}

/// A state that has a holder.
#[derive(Default)]
pub(super) struct Held {
    /// The patches that hold it; and, if it has variables, those that did since it was introduced, or tried to: their code
    /// may be what drops them. Oldest first.
    pub(super) by: Vec<Arc<Patch>>,
    /// Patches of states that are gone, kept as variables which those had too may be theirs.
    pub(super) kept: Vec<Arc<Patch>>,
}

/// Which patches count.
#[derive(Clone, Copy)]
enum View {
    /// As if the transition had not begun, or had been undone: all but the patch in transition.
    Without,
    /// As if the patch in transition were in effect: all but those that it replaces.
    With,
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

    pub(super) fn announce(&mut self, points: impl IntoIterator<Item = &'static RawPoint>) {
        for point in points {
            if !self.program.iter().any(|known| std::ptr::eq(*known, point)) {
                self.program.push(point);
            }
        }
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

    /// The points of an object's functions, and what they should call.
    pub(super) fn resolve(
        &self,
        object: &str,
        functions: &[Function],
    ) -> Result<Vec<(&'static RawPoint, Address)>, ResolveError> {
        functions
            .iter()
            .map(|function| Ok((self.find(object, function)?, function.new)))
            .collect()
    }

    fn find(&self, object: &str, function: &Function) -> Result<&'static RawPoint, ResolveError> {
        let unknown = || ResolveError::UnknownPoint {
            object: object.to_owned(),
            function: function.name().to_owned(),
        };
        let module = self.modules.iter().find(|module| module.name == object);
        let points = module.map_or(&self.program, |module| &module.points);
        match &function.target {
            Target::Point(point) => {
                let is_here = |points: &[&'static RawPoint]| points.iter().any(|one| std::ptr::eq(*one, *point));
                // The program's points need not be announced; but what a module announced is not the program's.
                let known = match module {
                    Some(module) => is_here(&module.points),
                    None => !self.modules.iter().any(|module| is_here(&module.points)),
                };
                if known { Ok(point) } else { Err(unknown()) }
            }
            Target::Named { name, signature } => {
                let point = points.iter().find(|point| point.name() == name).ok_or_else(unknown)?;
                if point.signature() != *signature {
                    return Err(ResolveError::Signature {
                        object: object.to_owned(),
                        function: name.clone(),
                        found: point.signature().name.to_owned(),
                        replacement: signature.name.to_owned(),
                    });
                }
                Ok(point)
            }
        }
    }

    /// Gives points the functions that the patches of the list say: `target` those after the transition, the other side
    /// those before it (T2: nobody reads the one, and the other has them already); both the same if none runs (T1).
    pub(super) fn publish(&self, points: &[&'static RawPoint], target: Side) {
        let (after, before) = match self.transition.as_ref().map(|transition| transition.direction) {
            None => (View::With, View::With),
            Some(Direction::Patching) => (View::With, View::Without),
            Some(Direction::Unpatching) => (View::Without, View::With),
        };
        for point in points {
            point.set(target, self.function_of(point, after));
            point.set(target.other(), self.function_of(point, before));
        }
    }

    /// All points that a patch of the list has given a function.
    pub(super) fn touched(&self) -> Vec<&'static RawPoint> {
        let lives = self.list.iter().flat_map(|entry| &entry.objects);
        lives
            .filter_map(|life| life.applied.as_ref())
            .flatten()
            .map(|(point, _)| *point)
            .collect()
    }

    /// The function of the newest patch that counts and replaces this one; else the original.
    fn function_of(&self, point: &'static RawPoint, view: View) -> Address {
        let tp = self.in_transition();
        let counts = |index: usize, entry: &Entry| match view {
            View::Without => tp != Some(index),
            View::With => !entry.replaced,
        };
        let newest_first = self
            .list
            .iter()
            .enumerate()
            .rev()
            .filter(|(index, entry)| counts(*index, entry));
        newest_first
            .flat_map(|(_, entry)| &entry.objects)
            .filter_map(|life| life.applied.as_ref())
            .flatten()
            .find(|(one, _)| std::ptr::eq(*one, point))
            .map_or(point.original(), |(_, function)| *function)
    }
}

impl Entry {
    pub(super) fn new(patch: &Arc<Patch>) -> Self {
        Self {
            patch: Arc::clone(patch),
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
