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

mod change_lock;
mod enable;
mod inner;
mod module;
mod points;
mod states;
mod status;
#[cfg(all(test, not(shadow_loom)))]
mod tests;
#[cfg(feature = "tracing")]
mod trace;
mod transition;
mod watchdog;
mod worker;

#[cfg(feature = "serde")]
pub(crate) use status::millis;
pub use status::{EnteredBy, FunctionStatus, ModuleStatus, ObjectStatus, PatchStatus, StateStatus, Status};
pub use status::{TaskInside, TaskState, TaskStatus, TransitionStatus};
pub use watchdog::Watchdog;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::callout;
use crate::error::WaitError;
use crate::error::{
    CallbackOwner, ChangeError, EnableError, ModuleError, NoTransition, Reentrant, Refusal, RefusedHow,
};
use crate::events::Event;
use crate::fork::{self, Hook, Part};
use crate::patch::{CallbackKind, Context, Ended, Mapped, ModuleState, Patch, PrevState};
use crate::point::RawPoint;
use crate::sync::{Lock, Locked};
use crate::task::{self, waiter};
use change_lock::{ChangeLock, LockError};
use inner::Inner;
use points::Points;

type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// The patches of this process. There is one registry: [`registry`].
pub struct Registry {
    change_lock: ChangeLock,
    inner: Lock<Inner>,
    /// Only taken by the holder of the change lock, and to announce points.
    points: Lock<Points>,
    observers: Lock<Vec<(u64, Observer)>>,
    /// The process was forked: there may be no thread to end a running transition.
    worker_lost: AtomicBool,
}

static REGISTRY: Registry = Registry {
    change_lock: ChangeLock::new(),
    inner: Lock::new(Inner::new()),
    points: Lock::new(Points::new()),
    observers: Lock::new(Vec::new()),
    worker_lost: AtomicBool::new(false),
};

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

/// The longest that a thread that waits for a transition sleeps before it checks by itself.
const MAX_PARK: Duration = Duration::from_secs(1);

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

    /// Waits until no patch is in transition. Must not be called inside a unit or from a callback: the transition waits
    /// for those.
    ///
    /// # Errors
    ///
    /// If a patch still is in transition when the time is up.
    pub fn wait(&self, timeout: Duration) -> Result<(), WaitError> {
        let until = Instant::now().checked_add(timeout);
        let this = thread::current();
        loop {
            task::fence();
            let patch = {
                let mut inner = self.inner.lock();
                inner.waiting.retain(|one| one.id() != this.id());
                let Some(transition) = &inner.transition else {
                    return Ok(());
                };
                let patch = transition.patch.name.clone();
                inner.waiting.push(this.clone());
                patch
            };
            let remaining = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if remaining.is_zero() || self.change_lock.is_poisoned() {
                self.inner.lock().waiting.retain(|one| one.id() != this.id());
                let tasks = self.status().holding_up().count();
                return Err(WaitError {
                    patch,
                    tasks,
                    unsettled: asymmetric_barrier::unsettled(),
                });
            }
            if waiter::exists() && !self.worker_lost.load(Ordering::Relaxed) {
                // Not indefinitely: the system may start to refuse the barrier meanwhile.
                thread::park_timeout(remaining.min(MAX_PARK));
            } else {
                // There is no worker yet, or there can be none: this thread completes the transition.
                let _ = self.poll();
                thread::park_timeout(remaining.min(worker::POLL_INTERVAL));
            }
        }
    }

    /// Ends the running transition if no unit of work holds it up. A thread of the registry does so by itself. Does
    /// nothing if nothing can change any more: see [`Forked`](crate::Forked).
    ///
    /// # Errors
    ///
    /// If it is called from a callback.
    pub fn poll(&self) -> Result<(), Reentrant> {
        match self.begin_change() {
            Ok(change) => {
                change.try_complete();
                change.check_watchdog();
                change.update_retained(&[]); // Variables for which libraries were retained may have been freed.
            }
            Err(LockError::Reentrant) => return Err(Reentrant),
            Err(LockError::Forked) => {}
        }
        Ok(())
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

    /// Returns whether this thread is in the middle of a change: it runs a callback or an observer.
    #[cfg(all(feature = "control", target_os = "linux"))]
    pub(crate) fn is_changing_here(&self) -> bool {
        self.change_lock.is_mine()
    }

    fn begin_change(&self) -> Result<Change<'_>, LockError> {
        self.change_lock.take()?;
        let change = Change {
            _held: HeldLock(self),
            registry: self,
            garbage: RefCell::default(),
        };
        // Relaxed: stored while there was one thread.
        if self.worker_lost.swap(false, Ordering::Relaxed) {
            change.try_complete();
        }
        Ok(change)
    }

    pub(crate) fn emit(&self, event: &Event) {
        #[cfg(feature = "tracing")]
        callout::quietly(|| trace::trace(event));
        let observers: Vec<Observer> = self.observers.lock().iter().map(|(_, one)| Arc::clone(one)).collect();
        for observer in observers {
            callout::quietly(|| observer(event));
            callout::discard(observer); // Possibly the last reference.
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
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

/// The exclusive right to change patches and modules: the guard of the change lock.
struct Change<'r> {
    _held: HeldLock<'r>,
    registry: &'r Registry,
    /// Dropped after the lock is released, as patches hold user data.
    garbage: RefCell<Garbage>,
}

/// Releases the change lock.
struct HeldLock<'r>(&'r Registry);

impl Drop for HeldLock<'_> {
    fn drop(&mut self) {
        self.0.change_lock.release();
    }
}

/// Objects to drop once the change is over.
#[derive(Default)]
struct Garbage {
    patches: Vec<Arc<Patch>>,
    libraries: Vec<Mapped>,
}

impl Drop for Garbage {
    fn drop(&mut self) {
        self.patches.drain(..).for_each(callout::discard);
        self.libraries.clear();
    }
}

/// The owner of a callback, by its index in the patch.
#[derive(Clone, Copy)]
enum Owner {
    Object(usize, Option<ModuleState>),
    State(usize),
}

impl<'r> Change<'r> {
    fn inner(&self) -> Locked<'r, Inner> {
        self.registry.inner.lock()
    }

    fn emit(&self, event: &Event) {
        self.registry.emit(event);
    }

    /// Runs a callback, if the patch has it.
    fn call(&self, patch: &Arc<Patch>, owner: Owner, kind: CallbackKind) -> Result<(), Refusal> {
        let (callbacks, of, module) = match owner {
            Owner::Object(index, module) => {
                let object = &patch.objects[index];
                (&object.callbacks, CallbackOwner::Object(object.name.clone()), module)
            }
            Owner::State(index) => {
                let state = &patch.states[index];
                (&state.callbacks, CallbackOwner::State(state.id()), None)
            }
        };
        if !callbacks.has(kind) {
            return Ok(());
        }
        let name = patch.name.clone();
        self.emit(&Event::Callback {
            patch: name.clone(),
            of: of.clone(),
            callback: kind,
            module,
        });
        let context = Context {
            prev_state: &|id| self.registry.prev_state(id).ok().flatten(),
            patch,
            object: match owner {
                Owner::Object(index, _) => Some(&patch.objects[index].name),
                Owner::State(_) => None,
            },
            module,
            state: match owner {
                Owner::Object(..) => None,
                Owner::State(index) => Some(&patch.states[index]),
            },
        };
        callbacks.run(kind, &context).map_err(|ended| {
            let how = match ended {
                Ended::Refused(error) => RefusedHow::Error(error),
                Ended::Panicked(message) => RefusedHow::Panic(message),
            };
            self.emit(&Event::CallbackFailed {
                patch: name,
                of: of.clone(),
                callback: kind,
                message: callout::text(&how),
            });
            Refusal {
                callback: kind,
                of,
                how,
            }
        })
    }

    /// Runs a callback that cannot refuse: if it panics, the panic is reported as an event and has no other effect.
    fn notify(&self, patch: &Arc<Patch>, owner: Owner, kind: CallbackKind) {
        let _ = self.call(patch, owner, kind);
    }
}
