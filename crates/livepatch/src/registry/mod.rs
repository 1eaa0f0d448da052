//! The registry: which patches there are, and how they come and go.
//!
//! One *turn* orders the slow path: enabling, disabling, modules, and the end of a transition take it, and hold it while
//! callbacks run. What a turn changes is behind a second lock, held for moments and never over user code: so callbacks may
//! ask for a status or for a previous state, and a status waits for no change. What is proportional to a patch's functions
//! is done under a third, which only turns take. Calls of patchable functions take none.
//!
//! User code runs in the middle of changes: callbacks, observers, subscribers of `tracing`, texts of errors, destructors. It
//! is called through `callout` only, so that a change is always carried to its end.

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
mod turn;
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
use inner::Inner;
use points::Points;
use turn::{NoTurn, TurnLock};

type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// The patches of this process. There is one: [`registry`].
pub struct Registry {
    turn: TurnLock,
    inner: Lock<Inner>,
    /// Taken in turns only, and to announce points.
    points: Lock<Points>,
    observers: Lock<Vec<(u64, Observer)>>,
    /// The process was forked: a transition that runs may have nobody to end it.
    unattended: AtomicBool,
}

static REGISTRY: Registry = Registry {
    turn: TurnLock::new(),
    inner: Lock::new(Inner::new()),
    points: Lock::new(Points::new()),
    observers: Lock::new(Vec::new()),
    unattended: AtomicBool::new(false),
};

static FORK: Hook = Hook {
    prepare: || REGISTRY.turn.before_fork(),
    parent: || REGISTRY.turn.in_parent(),
    child: || {
        REGISTRY.turn.in_child();
        REGISTRY.inner.lock().waiting.clear();
        // Relaxed: there is one thread.
        REGISTRY.unattended.store(true, Ordering::Relaxed);
    },
};

/// The patches of this process.
pub fn registry() -> &'static Registry {
    fork::watch(Part::Registry, &FORK);
    &REGISTRY
}

/// The longest that somebody who waits for a transition goes without a look of its own.
const LONGEST: Duration = Duration::from_secs(1);

impl Registry {
    /// Puts a patch into effect: checks it, runs its `pre_patch` callbacks, and starts the transition, which ends when no
    /// unit of work runs old functions any more. It may have ended on return; [`wait`](Self::wait) waits for it. The
    /// `post_patch` callbacks run at its end, on a thread of the registry if it is not yet there on return.
    ///
    /// Waits for other changes of patches and modules, and their callbacks; not for units of work. If the patch
    /// [replaces](crate::PatchBuilder::replace) others, what only they have is told to go at the start already.
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
    /// and so may see both versions. What they may still be running is never unloaded. (Not while the system refuses its
    /// barrier: see [`TransitionStatus::unsettled`].)
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
        let points = points.into_iter().collect();
        self.points.lock().announce(points);
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
        let points = points.into_iter().collect();
        self.turn()?.module_coming(module, points)
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
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.turn.is_torn() {
                self.inner.lock().waiting.retain(|one| one.id() != this.id());
                let tasks = self.status().holding_up().count();
                return Err(WaitError {
                    patch,
                    tasks,
                    unsettled: asymmetric_barrier::unsettled(),
                });
            }
            if waiter::exists() && !self.unattended.load(Ordering::Relaxed) {
                // Not for good: the barrier may come to be refused meanwhile.
                thread::park_timeout(left.min(LONGEST));
            } else {
                // There is no thread yet, or never: then we are the one that looks.
                let _ = self.poll();
                thread::park_timeout(left.min(worker::LOOK));
            }
        }
    }

    /// Ends the running transition if no unit of work holds it up. A thread of the registry does so by itself. Does nothing
    /// where nothing can change any more: see [`Forked`](crate::Forked).
    ///
    /// # Errors
    ///
    /// If it is called from a callback.
    pub fn poll(&self) -> Result<(), Reentrant> {
        match self.turn() {
            Ok(turn) => {
                turn.try_complete();
                turn.watch_over();
                turn.let_go(&[]); // Variables may have gone for which libraries were kept.
            }
            Err(NoTurn::Reentrant) => return Err(Reentrant),
            Err(NoTurn::Forked) => {}
        }
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
        self.turn.is_mine()
    }

    fn turn(&self) -> Result<Turn<'_>, NoTurn> {
        self.turn.take()?;
        let turn = Turn {
            _held: HeldTurn(self),
            registry: self,
            garbage: RefCell::default(),
        };
        // Relaxed: stored while there was one thread.
        if self.unattended.swap(false, Ordering::Relaxed) {
            turn.try_complete();
        }
        Ok(turn)
    }

    pub(crate) fn emit(&self, event: &Event) {
        #[cfg(feature = "tracing")]
        callout::quietly(|| trace::trace(event));
        let observers: Vec<Observer> = self.observers.lock().iter().map(|(_, one)| Arc::clone(one)).collect();
        for observer in observers {
            callout::quietly(|| observer(event));
            callout::discard(observer); // Maybe the last of it.
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
    _held: HeldTurn<'r>,
    registry: &'r Registry,
    /// Dropped after the turn is over: what patches hold is the user's.
    garbage: RefCell<Garbage>,
}

/// Gives the turn back.
struct HeldTurn<'r>(&'r Registry);

impl Drop for HeldTurn<'_> {
    fn drop(&mut self) {
        self.0.turn.release();
    }
}

/// What is not needed any more.
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

/// Whose callback, by its place in the patch.
#[derive(Clone, Copy)]
enum Owner {
    Object(usize, Option<ModuleState>),
    State(usize),
}

impl<'r> Turn<'r> {
    fn inner(&self) -> Locked<'r, Inner> {
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
                message: callout::text(&how),
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
