//! The status that an operator sees: the kernel's attributes of patches, and the tasks that hold up a transition.
//!
//! It is taken from three places, one after another: the list of libraries, the data of the registry, the tasks. Each part
//! is consistent; a change may come in between.

use std::collections::BTreeMap;
use std::time::Duration;

use super::change::Registry;
use super::inner::{Inner, Transition};
use super::tasks::{self, TaskStatus};
use crate::events::Direction;
use crate::patch::{LibraryKind, LibraryStatus, Listed, ModuleState, Needed};
use crate::wire::{Deserialize, Serialize};

/// A snapshot of all patches, modules and tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The patches that are enabled or in transition, oldest first.
    pub patches: Vec<PatchStatus>,
    /// The modules that are loaded.
    pub modules: Vec<ModuleStatus>,
    /// The running transition.
    pub transition: Option<TransitionStatus>,
    /// The threads and futures that have been in a unit, in no particular order.
    pub tasks: Vec<TaskStatus>,
    /// The libraries that are loaded, oldest first, and why they are.
    #[serde(default)]
    pub libraries: Vec<LibraryStatus>,
}

/// One patch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PatchStatus {
    /// Its name.
    pub name: String,
    /// Whether it is enabled. Changes when a transition starts, not when it ends.
    pub enabled: bool,
    /// Whether it is in transition.
    pub transition: bool,
    /// Whether the patch in transition replaces it.
    pub replaced: bool,
    /// Whether a transition away from it was forced.
    pub forced: bool,
    /// Whether it replaces all earlier patches.
    pub replace: bool,
    /// Its position in the list; the oldest is 1.
    pub stack_order: usize,
    /// The objects that it changes, in order.
    pub objects: Vec<ObjectStatus>,
    /// Its states, in order.
    pub states: Vec<StateStatus>,
}

/// One object of a patch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectStatus {
    /// Its name.
    pub name: String,
    /// Whether it is patched: it is loaded, and the patch's functions are in place.
    pub patched: bool,
    /// The functions that the patch replaces.
    pub functions: Vec<FunctionStatus>,
}

/// One function of a patch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionStatus {
    /// The patch point's name.
    pub name: String,
}

/// One state of a patch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateStatus {
    /// Its id.
    pub id: u64,
    /// Its version.
    pub version: u32,
    /// Whether the patch holds it: its `pre_patch` succeeded, or it was taken over.
    pub held: bool,
    /// The ids of the shadow variables that belong to it.
    pub shadows: Vec<u64>,
}

/// One module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModuleStatus {
    /// Its name.
    pub name: String,
    /// Whether it is being loaded, in use, or being unloaded.
    pub state: ModuleState,
}

/// The running transition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransitionStatus {
    /// The patch.
    pub patch: String,
    /// Its direction.
    pub direction: Direction,
    /// How long it has been running.
    #[serde(rename = "running_ms", with = "crate::wire::millis")]
    pub running: Duration,
    /// How many tasks hold it up: see [`Status::holding_up`].
    pub tasks_left: usize,
    /// How many threads and tasks keep every transition from ending, in a process that is denied `membarrier` after
    /// having used it: each of them until it begins another unit (or, with stores, pins once more) or ends. Forcing does
    /// not help.
    #[serde(default)]
    pub unsettled: usize,
}

impl Registry {
    /// Returns all patches, modules and tasks. Does not wait for changes, callbacks or units; at most for a scan of the
    /// tasks.
    pub fn status(&self) -> Status {
        let listed = listed();
        let (mut status, transition) = {
            let inner = self.inner.lock();
            let patches = inner.list.iter().enumerate().map(|(index, entry)| PatchStatus {
                name: entry.patch.name().to_owned(),
                enabled: entry.enabled,
                transition: inner.is_in_transition(index),
                replaced: entry.replaced,
                forced: entry.patch.is_forced(),
                replace: entry.patch.replaces(),
                stack_order: index + 1,
                objects: entry
                    .patch
                    .objects
                    .iter()
                    .zip(&entry.objects)
                    .map(|(object, life)| ObjectStatus {
                        name: object.name.clone(),
                        patched: life.applied.is_some(),
                        functions: object
                            .functions
                            .iter()
                            .map(|one| FunctionStatus {
                                name: one.name().to_owned(),
                            })
                            .collect(),
                    })
                    .collect(),
                states: entry
                    .patch
                    .states()
                    .iter()
                    .zip(&entry.states)
                    .map(|(state, life)| StateStatus {
                        id: state.id(),
                        version: state.version(),
                        held: life.held,
                        shadows: state.owned.iter().map(|owned| owned.key.1).collect(),
                    })
                    .collect(),
            });
            let status = Status {
                patches: patches.collect(),
                modules: inner
                    .modules
                    .iter()
                    .map(|one| ModuleStatus {
                        name: one.name.clone(),
                        state: one.state,
                    })
                    .collect(),
                transition: inner.transition.as_ref().map(|transition| TransitionStatus {
                    patch: transition.patch.name().to_owned(),
                    direction: transition.direction,
                    running: transition.since.elapsed(),
                    tasks_left: 0,
                    unsettled: asymmetric_barrier::unsettled(),
                }),
                tasks: Vec::new(),
                libraries: libraries(listed, &inner),
            };
            (status, inner.transition.as_ref().and_then(Transition::leaving))
        };
        status.tasks = tasks::all(transition);
        let tasks_left = status.holding_up().count();
        if let Some(transition) = &mut status.transition {
            transition.tasks_left = tasks_left;
        }
        status
    }

    /// Returns the libraries that are loaded, oldest first, with the reasons: those of patches and modules, and those of
    /// removed ones that have not been unloaded yet, or stay loaded for good.
    pub fn libraries(&self) -> Vec<LibraryStatus> {
        let listed = listed();
        libraries(listed, &self.inner.lock())
    }
}

/// Returns the libraries that are loaded, in order, with the reasons that are known to the loader.
fn listed() -> Vec<Listed> {
    #[cfg(all(feature = "library", target_os = "linux"))]
    return crate::library::listed();
    #[cfg(not(all(feature = "library", target_os = "linux")))]
    Vec::new()
}

/// Returns the status of each library, with what keeps it loaded.
fn libraries(listed: Vec<Listed>, inner: &Inner) -> Vec<LibraryStatus> {
    let mut needed: BTreeMap<u64, Vec<Needed>> = BTreeMap::new();
    let mut need = |number: u64, why: Needed| {
        let whys = needed.entry(number).or_default();
        if !whys.contains(&why) {
            whys.push(why);
        }
    };
    for entry in &inner.list {
        if let Some(own) = entry.patch.code.own() {
            need(own.number(), Needed::Enabled);
        }
        for number in entry.patch.code.kept() {
            let patch = entry.patch.name.clone();
            need(number, Needed::Data { patch });
        }
    }
    for (&state, held) in &inner.held {
        let listed = |patch| {
            inner
                .list
                .iter()
                .any(|entry| std::sync::Arc::ptr_eq(&entry.patch, patch))
        };
        for patch in held.by.iter().filter(|patch| !listed(patch)) {
            if let Some(own) = patch.code.own() {
                need(own.number(), Needed::Freeing { state });
            }
        }
        for retained in &held.retained {
            let shadow = retained.key.1;
            need(retained.library.number(), Needed::Variables { state, shadow });
        }
    }
    let status = |one: Listed| {
        let mut status = one.status;
        status.needed.extend(needed.remove(&one.number).unwrap_or_default());
        if status.needed.is_empty() && status.stays.is_none() {
            status.needed.push(match status.kind {
                LibraryKind::Patch => Needed::Held,
                LibraryKind::Module => Needed::Module,
            });
        }
        status
    };
    listed.into_iter().map(status).collect()
}

impl Status {
    /// Returns the tasks that hold up the transition: those in a unit on the side that it leaves.
    pub fn holding_up(&self) -> impl Iterator<Item = &TaskStatus> {
        self.tasks.iter().filter(|task| task.holds_up())
    }
}
