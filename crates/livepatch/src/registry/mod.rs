//! The registry: which patches there are, and how they come and go.
//!
//! One *turn* orders the slow path: enabling, disabling, modules, and the end of a transition take it, and hold it while
//! callbacks run. What a turn changes is behind a second lock, held for moments and never over user code: so callbacks may
//! ask for a status or for a previous state. Calls of patchable functions take neither.

mod enable;
mod inner;
mod module;
mod states;
mod status;
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

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard, ReentrantMutex, ReentrantMutexGuard};

use crate::error::WaitError;
use crate::error::{
    CallbackOwner, ChangeError, EnableError, ModuleError, NoTransition, Reentrant, Refusal, RefusedHow,
};
use crate::events::Event;
use crate::patch::{CallbackKind, Context, Ended, ModuleState, Patch, PrevState};
use crate::point::RawPoint;
use inner::Inner;

type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// The patches of this process. There is one: [`registry`].
pub struct Registry {
    turn: ReentrantMutex<Cell<bool>>,
    inner: Mutex<Inner>,
    /// A transition ended.
    ended: Condvar,
    observers: Mutex<Vec<(u64, Observer)>>,
}

/// The patches of this process.
pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry {
        turn: ReentrantMutex::new(Cell::new(false)),
        inner: Mutex::new(Inner::default()),
        ended: Condvar::new(),
        observers: Mutex::new(Vec::new()),
    });
    &REGISTRY
}

impl Registry {
    /// Puts a patch into effect: checks it, runs its `pre_patch` callbacks, and starts the transition, which ends when no
    /// unit of work runs old functions any more. It may have ended on return; [`wait`](Self::wait) waits for it. The
    /// `post_patch` callbacks run at its end, on a thread of the registry if it is not yet there on return.
    ///
    /// Waits for other changes of patches and modules, and their callbacks; not for units of work.
    ///
    /// # Errors
    ///
    /// Each kind of obstacle has its own [`EnableError`]. Then nothing is left of the patch: what it did is undone, with
    /// `post_unpatch` for each object whose `pre_patch` had succeeded.
    pub fn enable(&self, patch: &Arc<Patch>) -> Result<(), EnableError> {
        self.turn()?.enable(patch)
    }

    /// Takes a patch out of effect: runs its `pre_unpatch` callbacks, and starts the transition away from it. Patches may be
    /// disabled in any order. One whose enabling still runs is [reversed](Self::reverse).
    ///
    /// # Errors
    ///
    /// If there is no such patch, if it is being disabled already, if another is in transition, or if it is the last that
    /// holds a state which cannot be undone.
    pub fn disable(&self, patch: &str) -> Result<(), ChangeError> {
        self.turn()?.disable(patch)
    }

    /// Lets the running transition of a patch go back.
    ///
    /// # Errors
    ///
    /// If the patch is not in transition.
    pub fn reverse(&self, patch: &str) -> Result<(), ChangeError> {
        self.turn()?.reverse(patch)
    }

    /// Ends the running transition of a patch now: units that still run old functions go over in the middle of their work,
    /// and so may see both versions. What they may still be running is never unloaded.
    ///
    /// # Errors
    ///
    /// If the patch is not in transition.
    pub fn force(&self, patch: &str) -> Result<(), ChangeError> {
        self.turn()?.force(patch)
    }

    /// Tells the patch points of the program by name, for patches that name them so. Patches that are built against them
    /// do not need it. See [`points!`](crate::points).
    pub fn announce_points(&self, points: impl IntoIterator<Item = &'static RawPoint>) {
        self.inner.lock().announce(points);
    }

    /// A module comes: applies all patches that are enabled and name it, before its own initialisation and before any of
    /// its functions is called. To be followed by [`module_live`](Self::module_live).
    ///
    /// # Errors
    ///
    /// If a patch cannot be applied, or its `pre_patch` refuses: the module must not come. The patches stay enabled.
    pub fn module_coming(
        &self,
        module: &str,
        points: impl IntoIterator<Item = &'static RawPoint>,
    ) -> Result<(), ModuleError> {
        self.turn()?.module_coming(module, points.into_iter().collect())
    }

    /// The module's own initialisation is done.
    ///
    /// # Errors
    ///
    /// If there is no such module.
    pub fn module_live(&self, module: &str) -> Result<(), ModuleError> {
        self.turn()?.module_live(module)
    }

    /// A module goes: after its own clean-up, when none of its functions is called any more. Takes all patches from it.
    ///
    /// # Errors
    ///
    /// If there is no such module.
    pub fn module_going(&self, module: &str) -> Result<(), ModuleError> {
        self.turn()?.module_going(module)
    }

    /// The newest state of this id among the patches that were enabled before the one in transition: the kernel's
    /// `klp_get_prev_state`.
    ///
    /// # Errors
    ///
    /// If no patch is in transition.
    pub fn prev_state(&self, id: u64) -> Result<Option<PrevState>, NoTransition> {
        self.inner.lock().prev_state(id)
    }

    /// The enabled patch of this name.
    pub fn patch(&self, name: &str) -> Option<Arc<Patch>> {
        let inner = self.inner.lock();
        inner.index_of(name).map(|index| Arc::clone(&inner.list[index].patch))
    }

    /// Waits until no patch is in transition. Must not be called inside a unit, or from a callback: the transition waits for
    /// those.
    ///
    /// # Errors
    ///
    /// If one still is when the time is over.
    pub fn wait(&self, timeout: Duration) -> Result<(), WaitError> {
        let until = Instant::now().checked_add(timeout);
        let mut inner = self.inner.lock();
        while let Some(transition) = &inner.transition {
            let patch = transition.patch.name.clone();
            let timed_out = match until {
                Some(until) => self.ended.wait_until(&mut inner, until).timed_out(),
                None => {
                    self.ended.wait(&mut inner);
                    false
                }
            };
            if timed_out && inner.transition.is_some() {
                drop(inner);
                let tasks = self.status().holding_up().count();
                return Err(WaitError { patch, tasks });
            }
        }
        Ok(())
    }

    /// Ends the running transition if no unit of work holds it up. A thread of the registry does so by itself.
    ///
    /// # Errors
    ///
    /// If it is called from a callback.
    pub fn poll(&self) -> Result<(), Reentrant> {
        let turn = self.turn()?;
        turn.try_complete();
        turn.watch_over();
        Ok(())
    }

    /// Calls `observer` for each event from now on, in order, until the guard is dropped. It runs in the middle of a
    /// change: it can ask for a status, but change nothing; a panic of it is ignored.
    pub fn observe(&'static self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Observation {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.observers.lock().push((number, Arc::new(observer)));
        Observation { registry: self, number }
    }

    /// Whether this thread is in the middle of a change: it runs a callback or an observer.
    #[cfg(all(feature = "control", target_os = "linux"))]
    pub(crate) fn is_changing_here(&self) -> bool {
        self.turn.is_owned_by_current_thread()
    }

    fn turn(&self) -> Result<Turn<'_>, Reentrant> {
        let guard = self.turn.lock();
        if guard.replace(true) {
            return Err(Reentrant);
        }
        Ok(Turn {
            registry: self,
            guard,
            garbage: RefCell::default(),
        })
    }

    pub(crate) fn emit(&self, event: &Event) {
        #[cfg(feature = "tracing")]
        trace::trace(event);
        let observers: Vec<Observer> = self.observers.lock().iter().map(|(_, one)| Arc::clone(one)).collect();
        for observer in observers {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| observer(event)));
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// While it lives, an observer is called. See [`Registry::observe`].
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
        drop(observer); // What it holds is the user's.
    }
}

/// The right to change patches and modules.
struct Turn<'r> {
    registry: &'r Registry,
    guard: ReentrantMutexGuard<'r, Cell<bool>>,
    /// To be dropped after the guard: what patches hold is the user's.
    garbage: RefCell<Garbage>,
}

/// Patches that are not in the list any more.
#[derive(Default)]
struct Garbage(Vec<Arc<Patch>>);

impl Extend<Arc<Patch>> for Garbage {
    fn extend<I: IntoIterator<Item = Arc<Patch>>>(&mut self, patches: I) {
        self.0.extend(patches);
    }
}

impl Drop for Garbage {
    fn drop(&mut self) {
        for patch in self.0.drain(..) {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(patch)));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard.set(false);
    }
}

/// Whose callback, by its place in the patch.
#[derive(Clone, Copy)]
enum Owner {
    Object(usize, Option<ModuleState>),
    State(usize),
}

impl<'r> Turn<'r> {
    fn inner(&self) -> MutexGuard<'r, Inner> {
        self.registry.inner.lock()
    }

    fn emit(&self, event: &Event) {
        self.registry.emit(event);
    }

    /// Runs a callback, if it is there.
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
                message: how.to_string(),
            });
            Refusal {
                callback: kind,
                of,
                how,
            }
        })
    }

    /// Runs a callback that has no say: a panic of it is told, and that is all.
    fn tell(&self, patch: &Arc<Patch>, owner: Owner, kind: CallbackKind) {
        let _ = self.call(patch, owner, kind);
    }
}
