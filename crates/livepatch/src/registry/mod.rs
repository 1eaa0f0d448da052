//! The registry: the patches of the process, and how they are enabled and disabled.
//!
//! The *change lock* serialises the slow path: enabling, disabling, modules, and the end of a transition take it, and
//! hold it while callbacks run. The data that a change modifies is behind a second lock, held only briefly and never
//! while user code runs: so callbacks may request a status or a previous state, and a status never waits for a change.
//! Work proportional to a patch's functions is done under a third lock, which only the holder of the change lock takes.
//! Calls of patchable functions take none.
//!
//! User code runs in the middle of changes: callbacks, observers, subscribers of `tracing`, texts of errors, destructors.
//! It is only called through `callout`, so that a change is always carried to its end.

mod change;
mod change_lock;
mod enable;
mod inner;
mod module;
mod points;
#[cfg(all(feature = "control", target_os = "linux"))]
mod remote;
mod states;
mod status;
mod tasks;
#[cfg(all(test, not(shadow_loom)))]
mod tests;
#[cfg(feature = "tracing")]
mod trace;
mod transition;
mod wait;
mod watchdog;
mod worker;

pub use change::Registry;
pub use status::{FunctionStatus, ModuleStatus, ObjectStatus, PatchStatus, StateStatus, Status, TransitionStatus};
pub use tasks::{EnteredBy, TaskInside, TaskState, TaskStatus};
pub use watchdog::Watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{ChangeError, EnableError, ModuleError, NoTransition};
use crate::events::Event;
use crate::fork::{self, Hook, Part};
use crate::patch::{Patch, PrevState};
use crate::point::RawPoint;
use worker::Work;

static REGISTRY: Registry = Registry::new(Work {
    is_due: || REGISTRY.inner.lock().transition.is_some(),
    // The worker takes the change lock itself, so this is not reentrant.
    poll: || {
        let _ = REGISTRY.poll();
    },
});

static FORK: Hook = Hook {
    prepare: || REGISTRY.change_lock.before_fork(),
    parent: || REGISTRY.change_lock.in_parent(),
    child: || {
        REGISTRY.change_lock.in_child();
        REGISTRY.inner.lock().waiting.clear();
        // Relaxed: there is one thread.
        REGISTRY.worker_lost.store(true, Ordering::Relaxed);
    },
};

/// Returns the registry of this process.
pub fn registry() -> &'static Registry {
    fork::watch(Part::Registry, &FORK);
    &REGISTRY
}

impl Registry {
    /// Enables a patch: checks it, runs its `pre_patch` callbacks, and starts the transition, which ends when no unit of
    /// work runs old functions any more. It may have ended on return; [`wait`](Self::wait) waits for it. The `post_patch`
    /// callbacks run at its end, on a thread of the registry if it has not ended on return.
    ///
    /// Waits for other changes of patches and modules, and their callbacks, but not for units of work. If the patch
    /// [replaces](crate::PatchBuilder::replace) others, the `pre_unpatch` callbacks of states that only those have run
    /// before the transition starts.
    ///
    /// # Errors
    ///
    /// Each kind of obstacle has its own [`EnableError`]. Nothing is left of the patch then: its effects are undone, with
    /// `post_unpatch` for each object whose `pre_patch` had succeeded.
    pub fn enable(&self, patch: &Arc<Patch>) -> Result<(), EnableError> {
        self.begin_change()?.enable(patch)
    }

    /// Disables a patch: runs its `pre_unpatch` callbacks, and starts the transition away from it. Patches may be
    /// disabled in any order. If its enabling is still in transition, that is [reversed](Self::reverse).
    ///
    /// # Errors
    ///
    /// If there is no such patch, if it is already being disabled, if another is in transition, or if it is the last
    /// holder of a state that cannot be undone.
    pub fn disable(&self, patch: &str) -> Result<(), ChangeError> {
        self.begin_change()?.disable(patch)
    }

    /// Reverses the running transition of a patch.
    ///
    /// # Errors
    ///
    /// If the patch is not in transition.
    pub fn reverse(&self, patch: &str) -> Result<(), ChangeError> {
        self.begin_change()?.reverse(patch)
    }

    /// Ends the running transition of a patch now: units that still run old functions are moved over in the middle of
    /// their work, and so may see both versions. Code that they may still be running is never unloaded. (Not while the
    /// system refuses its barrier: see [`TransitionStatus::unsettled`].)
    ///
    /// # Errors
    ///
    /// If the patch is not in transition.
    pub fn force(&self, patch: &str) -> Result<(), ChangeError> {
        self.begin_change()?.force(patch)
    }

    /// Registers patch points of the program, for patches that refer to them by name. Patches that are built against them
    /// do not need this. See [`points!`](crate::points).
    pub fn announce_points(&self, points: impl IntoIterator<Item = &'static RawPoint>) {
        let points = points.into_iter().collect();
        self.points.lock().announce(points);
    }

    /// Announces a module that is being loaded: applies all enabled patches that name it. To be called before the
    /// module's own initialisation and before any of its functions is called, and followed by
    /// [`module_live`](Self::module_live).
    ///
    /// # Errors
    ///
    /// If a patch cannot be applied, or its `pre_patch` refuses: the module must not be loaded. The patches stay enabled.
    pub fn module_coming(
        &self,
        module: &str,
        points: impl IntoIterator<Item = &'static RawPoint>,
    ) -> Result<(), ModuleError> {
        let points = points.into_iter().collect();
        self.begin_change()?.module_coming(module, points)
    }

    /// Announces that the module's own initialisation is done.
    ///
    /// # Errors
    ///
    /// If there is no such module.
    pub fn module_live(&self, module: &str) -> Result<(), ModuleError> {
        self.begin_change()?.module_live(module)
    }

    /// Announces that a module is about to be unloaded: reverts all patches to it. To be called after the module's own
    /// clean-up, when none of its functions is called any more.
    ///
    /// # Errors
    ///
    /// If there is no such module.
    pub fn module_going(&self, module: &str) -> Result<(), ModuleError> {
        self.begin_change()?.module_going(module)
    }

    /// Returns the newest state of this id among the patches that were enabled before the one in transition: the kernel's
    /// `klp_get_prev_state`.
    ///
    /// # Errors
    ///
    /// If no patch is in transition.
    pub fn prev_state(&self, id: u64) -> Result<Option<PrevState>, NoTransition> {
        self.inner.lock().prev_state(id)
    }

    /// Returns the enabled patch of this name.
    pub fn patch(&self, name: &str) -> Option<Arc<Patch>> {
        let inner = self.inner.lock();
        inner.index_of(name).map(|index| Arc::clone(&inner.list[index].patch))
    }

    /// Calls `observer` for each event from now on, in order, until the guard is dropped. It runs in the middle of a
    /// change: it can request a status, but change nothing; if it panics, the panic is ignored.
    pub fn observe(&'static self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Observation {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: the numbers only have to be unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.observers.lock().push((number, Arc::new(observer)));
        Observation { registry: self, number }
    }
}

/// Keeps an observer registered while it lives. See [`Registry::observe`].
#[derive(Debug)]
#[must_use = "the observer is called until this is dropped"]
pub struct Observation {
    registry: &'static Registry,
    number: u64,
}

impl Drop for Observation {
    fn drop(&mut self) {
        let mut observers = self.registry.observers.lock();
        let place = observers.iter().position(|(number, _)| *number == self.number);
        let observer = place.map(|place| observers.remove(place));
        drop(observers);
        drop(observer); // Runs user code.
    }
}
