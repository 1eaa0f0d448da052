//! The status that an operator sees: the kernel's attributes of patches, and the tasks that hold up a transition.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Registry;
use super::inner::Inner;
use crate::events::Direction;
use crate::patch::{self, LibraryKind, LibraryStatus, Listed, ModuleState, Needed};
use crate::task::{Side, TaskKind, TaskSnapshot, WORLD};

/// A snapshot of all patches, modules and tasks.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    #[cfg_attr(feature = "serde", serde(default))]
    pub libraries: Vec<LibraryStatus>,
}

/// One patch.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ObjectStatus {
    /// Its name.
    pub name: String,
    /// Whether it is patched: it is loaded, and the patch's functions are in place.
    pub patched: bool,
    /// The functions that the patch replaces.
    pub functions: Vec<FunctionStatus>,
}

/// One function of a patch.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FunctionStatus {
    /// The patch point's name.
    pub name: String,
}

/// One state of a patch.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ModuleStatus {
    /// Its name.
    pub name: String,
    /// Whether it is being loaded, in use, or being unloaded.
    pub state: ModuleState,
}

/// The running transition.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TransitionStatus {
    /// The patch.
    pub patch: String,
    /// Its direction.
    pub direction: Direction,
    /// How long it has been running.
    #[cfg_attr(feature = "serde", serde(rename = "running_ms", with = "millis"))]
    pub running: Duration,
    /// How many tasks hold it up: see [`Status::holding_up`].
    pub tasks_left: usize,
    /// How many threads and tasks keep every transition from ending, in a process that is denied `membarrier` after
    /// having used it: each of them until it begins another unit (or, with stores, pins once more) or ends. Forcing does
    /// not help.
    #[cfg_attr(feature = "serde", serde(default))]
    pub unsettled: usize,
}

/// One task.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TaskStatus {
    /// The thread's name, or the future's type.
    pub name: String,
    /// Whether it is a thread or a future.
    pub kind: TaskKind,
    /// The kernel's `patch_state`.
    pub state: TaskState,
    /// The unit that it is in.
    pub inside: Option<TaskInside>,
}

/// Whether a task has switched: the kernel's `patch_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum TaskState {
    /// No transition runs: the kernel's -1.
    None,
    /// It does not run the patch in transition: 0.
    Unpatched,
    /// It runs the patch in transition: 1.
    Patched,
}

/// The unit that a task is in.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TaskInside {
    /// For how long at least: since a transition or a status first saw it there.
    #[cfg_attr(feature = "serde", serde(rename = "since_ms", with = "millis"))]
    pub since: Duration,
    /// Where it entered the unit: `file:line:column`, of the guard or of the patchable function.
    pub entered_at: String,
    /// How it entered the unit.
    #[cfg_attr(feature = "serde", serde(default))]
    pub entered_by: EnteredBy,
    /// Whether it has switched, so that it does not hold up the transition.
    pub switched: bool,
}

/// How a unit was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum EnteredBy {
    /// A guard: [`unit`](crate::unit).
    Guard,
    /// The call of a patchable function outside every unit.
    Call,
    /// A future: [`in_unit`](crate::UnitExt::in_unit).
    Future,
    /// A way that is unknown to this version, or was not reported.
    #[default]
    #[cfg_attr(feature = "serde", serde(other))]
    Unknown,
}

/// From this time on, a unit that holds up a transition is unusual.
const UNUSUAL: Duration = Duration::from_secs(1);

impl TaskStatus {
    /// Describes what is unusual about a task that has held up a transition for a second or more: what may keep its unit
    /// from ending, and the remedy.
    pub fn unusual(&self) -> Option<&'static str> {
        let inside = self.inside.as_ref()?;
        if inside.switched || inside.since < UNUSUAL {
            return None;
        }
        Some(match inside.entered_by {
            EnteredBy::Call => {
                "a patchable function that does not return: if it is a loop, mark what it calls in each iteration instead"
            }
            EnteredBy::Guard => {
                "a guard that is held for long: if across a wait or an await, drop it first, or make the wait quiescent"
            }
            EnteredBy::Future => "a future that is not ready: if it waits for others, make it wait outside its unit",
            EnteredBy::Unknown => "a unit that does not end",
        })
    }
}

/// Describes the task: its name, how long it has been inside, where it entered, and what is unusual about that.
impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.name, self.kind)?;
        let Some(inside) = &self.inside else {
            return f.write_str("outside");
        };
        let since = inside.since.as_secs_f64();
        write!(f, "inside for {since:.1} s at least, entered at {}", inside.entered_at)?;
        self.unusual().map_or(Ok(()), |unusual| write!(f, " ({unusual})"))
    }
}

impl Registry {
    /// Returns all patches, modules and tasks. Does not wait for changes, callbacks or units; at most for a scan of the
    /// tasks.
    pub fn status(&self) -> Status {
        let listed = patch::loaded();
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
            (
                status,
                inner
                    .transition
                    .as_ref()
                    .and_then(|transition| Some((transition.direction, transition.old_side?, transition.forced))),
            )
        };
        status.tasks = WORLD.tasks().iter().map(|seen| task(seen, transition)).collect();
        let tasks_left = status.holding_up().count();
        if let Some(transition) = &mut status.transition {
            transition.tasks_left = tasks_left;
        }
        status
    }

    /// Returns the libraries that are loaded, oldest first, with the reasons: those of patches and modules, and those of
    /// removed ones that have not been unloaded yet, or stay loaded for good.
    pub fn libraries(&self) -> Vec<LibraryStatus> {
        let listed = patch::loaded();
        libraries(listed, &self.inner.lock())
    }

    /// Returns the patch in transition, and when the transition began, which identifies it.
    #[cfg(all(feature = "control", target_os = "linux"))]
    pub(crate) fn transition(&self) -> Option<(String, std::time::Instant)> {
        let inner = self.inner.lock();
        let transition = inner.transition.as_ref()?;
        Some((transition.patch.name.clone(), transition.since))
    }
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
            need(patch::number_of(&own), Needed::Enabled);
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
                need(patch::number_of(&own), Needed::Freeing { state });
            }
        }
        for retained in &held.retained {
            let shadow = retained.key.1;
            need(patch::number_of(&retained.library), Needed::Variables { state, shadow });
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
        let held_up = |task: &&TaskStatus| task.inside.as_ref().is_some_and(|inside| !inside.switched);
        self.tasks.iter().filter(held_up)
    }
}

/// Durations as whole milliseconds, as the names of the fields say.
#[cfg(feature = "serde")]
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Returns the status of one task. `transition` is the direction, the side that is left, and whether it was forced.
fn task(seen: &TaskSnapshot, transition: Option<(Direction, Side, bool)>) -> TaskStatus {
    let info = seen.record.info();
    let is_on = |old_side| matches!(seen.inside, Some((side, _)) if side == old_side);
    let state = match transition {
        None => TaskState::None,
        Some((direction, old_side, _)) if (direction == Direction::Patching) != is_on(old_side) => TaskState::Patched,
        Some(_) => TaskState::Unpatched,
    };
    // Same condition as in `World::is_empty` (T6).
    let switched = transition.is_none_or(|(_, old_side, forced)| !is_on(old_side) && (forced || !seen.forced));
    TaskStatus {
        name: info.name.into_owned(),
        kind: info.kind,
        state,
        inside: seen.inside.map(|(_, since)| TaskInside {
            since,
            entered_at: seen.entered_at.clone(),
            entered_by: match info.kind {
                TaskKind::Future => EnteredBy::Future,
                TaskKind::Thread if seen.by_call => EnteredBy::Call,
                TaskKind::Thread => EnteredBy::Guard,
            },
            switched,
        }),
    }
}
