//! The status of tasks: which unit each is in, and which of them hold up the transition. Relies on T4, T6.

use std::fmt;
use std::time::Duration;

use super::change::Registry;
use super::inner::{Leaving, Transition};
use crate::events::Direction;
use crate::task::{TaskKind, TaskSnapshot, WORLD};
use crate::wire::{Deserialize, Serialize};

/// One task.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// No transition runs: the kernel's -1.
    None,
    /// It does not run the patch in transition: 0.
    Unpatched,
    /// It runs the patch in transition: 1.
    Patched,
}

/// The unit that a task is in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskInside {
    /// For how long at least: since a transition or a status first saw it there.
    #[serde(rename = "since_ms", with = "crate::wire::millis")]
    pub since: Duration,
    /// Where it entered the unit: `file:line:column`, of the guard or of the patchable function.
    pub entered_at: String,
    /// How it entered the unit.
    #[serde(default)]
    pub entered_by: EnteredBy,
    /// Whether it has switched, so that it does not hold up the transition.
    pub switched: bool,
}

/// How a unit was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    #[serde(other)]
    Unknown,
}

/// From this time on, a unit that holds up a transition is unusual.
const UNUSUAL: Duration = Duration::from_secs(1);

impl TaskStatus {
    /// Returns whether the task holds up the transition: it is in a unit on the side that is left.
    pub(super) fn holds_up(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| !inside.switched)
    }

    /// Describes what is unusual about a task that has held up a transition for a second or more: what may keep its unit
    /// from ending, and the remedy.
    pub fn unusual(&self) -> Option<&'static str> {
        let inside = self.inside.as_ref()?;
        if !self.holds_up() || inside.since < UNUSUAL {
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

/// Returns the status of all tasks. `transition` is the running one.
pub(super) fn all(transition: Option<Leaving>) -> Vec<TaskStatus> {
    WORLD.tasks().iter().map(|seen| task(seen, transition)).collect()
}

impl Registry {
    /// Returns the tasks that hold up the running transition.
    pub(super) fn holding_up(&self) -> Vec<TaskStatus> {
        let transition = self.inner.lock().transition.as_ref().and_then(Transition::leaving);
        let mut tasks = all(transition);
        tasks.retain(TaskStatus::holds_up);
        tasks
    }
}

/// Returns the status of one task.
fn task(seen: &TaskSnapshot, transition: Option<Leaving>) -> TaskStatus {
    let info = seen.record.info();
    let is_on = |old_side| matches!(seen.inside, Some((side, _)) if side == old_side);
    let state = match transition {
        None => TaskState::None,
        Some(leaving) if (leaving.direction == Direction::Patching) != is_on(leaving.old_side) => TaskState::Patched,
        Some(_) => TaskState::Unpatched,
    };
    // Same condition as in `World::is_empty` (T6).
    let switched = transition.is_none_or(|leaving| !is_on(leaving.old_side) && (leaving.forced || !seen.forced));
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
