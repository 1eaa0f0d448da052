//! The data of the registry, and the right to change it: what every operation starts from.
//!
//! A [`Change`] holds the change lock. Its methods are the operations, each in a file of its own above this one. It calls
//! the callbacks of patches and emits the events, under no other lock than that one, and drops what is left over once the
//! lock is released.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::change_lock::{ChangeLock, LockError};
use super::inner::Inner;
use super::points::Points;
use super::worker::Work;
use crate::callout;
use crate::error::{CallbackOwner, Refusal, RefusedHow};
use crate::events::Event;
use crate::patch::{CallbackKind, Context, Ended, Mapped, ModuleState, Patch};
use crate::sync::{Lock, Locked};

pub(super) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// The patches of this process. There is one registry: [`registry`].
pub struct Registry {
    pub(super) change_lock: ChangeLock,
    pub(super) inner: Lock<Inner>,
    /// Only taken by the holder of the change lock, and to announce points.
    pub(super) points: Lock<Points>,
    pub(super) observers: Lock<Vec<(u64, Observer)>>,
    /// The process was forked: there may be no thread to end a running transition.
    pub(super) worker_lost: AtomicBool,
    /// What the worker does.
    pub(super) work: Work,
}

impl Registry {
    /// Returns an empty registry, whose worker does this.
    pub(super) const fn new(work: Work) -> Self {
        Self {
            change_lock: ChangeLock::new(),
            inner: Lock::new(Inner::new()),
            points: Lock::new(Points::new()),
            observers: Lock::new(Vec::new()),
            worker_lost: AtomicBool::new(false),
            work,
        }
    }

    pub(crate) fn emit(&self, event: &Event) {
        #[cfg(feature = "tracing")]
        callout::quietly(|| super::trace::trace(event));
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

/// The exclusive right to change patches and modules: the guard of the change lock.
pub(super) struct Change<'r> {
    _held: HeldLock<'r>,
    pub(super) registry: &'r Registry,
    /// Dropped after the lock is released, as patches hold user data.
    pub(super) garbage: RefCell<Garbage>,
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
pub(super) struct Garbage {
    pub(super) patches: Vec<Arc<Patch>>,
    pub(super) libraries: Vec<Mapped>,
}

impl Drop for Garbage {
    fn drop(&mut self) {
        self.patches.drain(..).for_each(callout::discard);
        self.libraries.clear();
    }
}

/// The owner of a callback, by its index in the patch.
#[derive(Clone, Copy)]
pub(super) enum Owner {
    Object(usize, Option<ModuleState>),
    State(usize),
}

impl<'r> Change<'r> {
    /// Takes the change lock, waiting for it.
    pub(super) fn begin(registry: &'r Registry) -> Result<Self, LockError> {
        registry.change_lock.take()?;
        Ok(Self {
            _held: HeldLock(registry),
            registry,
            garbage: RefCell::default(),
        })
    }

    pub(super) fn inner(&self) -> Locked<'r, Inner> {
        self.registry.inner.lock()
    }

    pub(super) fn emit(&self, event: &Event) {
        self.registry.emit(event);
    }

    /// Runs a callback, if the patch has it.
    pub(super) fn call(&self, patch: &Arc<Patch>, owner: Owner, kind: CallbackKind) -> Result<(), Refusal> {
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
            prev_state: &|id| self.inner().prev_state(id).ok().flatten(),
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
    pub(super) fn notify(&self, patch: &Arc<Patch>, owner: Owner, kind: CallbackKind) {
        let _ = self.call(patch, owner, kind);
    }
}
