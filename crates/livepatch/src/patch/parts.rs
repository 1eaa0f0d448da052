//! The types of which a patch consists. They refer to each other, as the arguments of a callback name the patch and the
//! state that it belongs to; what is done with each is in a file of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::code::Code;
use super::data::{DataCell, Owned};
use super::kind::{CallbackError, ModuleState};
use crate::point::{Address, RawPoint, Signature};

/// A set of replacement functions for one or more objects, with callbacks and states.
///
/// Made by [`Patch::builder`], enabled by [`Registry::enable`](crate::Registry::enable).
pub struct Patch {
    pub(crate) name: String,
    pub(crate) replace: bool,
    pub(crate) objects: Vec<ObjectPatch>,
    pub(crate) states: Vec<State>,
    /// Units may still be in its functions, which cannot be determined any more.
    forced: AtomicBool,
    /// Dropped last, as the other fields may need the library's code.
    pub(crate) code: Code,
}

impl Patch {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            replace: false,
            objects: Vec::new(),
            states: Vec::new(),
            forced: AtomicBool::new(false),
            code: Code::new(None),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether it replaces all earlier patches. See [`PatchBuilder::replace`].
    pub fn replaces(&self) -> bool {
        self.replace
    }

    /// Returns whether a transition away from it was forced: units may still run its functions.
    pub fn is_forced(&self) -> bool {
        // Relaxed: set before the patch leaves the registry, whose locks order that.
        self.forced.load(Ordering::Relaxed)
    }

    pub(crate) fn set_forced(&self) {
        self.forced.store(true, Ordering::Relaxed);
    }

    /// Returns the state of this id, if the patch has it: the kernel's `klp_get_state`.
    pub fn state(&self, id: u64) -> Option<&State> {
        self.states.iter().find(|state| state.id == id)
    }

    /// Returns all states of the patch, in order.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Returns the data of all states.
    fn data(&self) -> Vec<&DataCell> {
        self.states.iter().map(|state| &state.data).collect()
    }

    /// Shares libraries with the patches that are in the list, which this one has left: see [`Code::share_with`]. The
    /// caller holds the change lock.
    pub(crate) fn share_code(&self, others: &[Arc<Self>]) {
        let others: Vec<_> = others.iter().map(|other| (&other.code, other.data())).collect();
        self.code.share_with(&self.data(), &others);
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        let owned = self.states.iter().flat_map(|state| &state.owned);
        let pending = owned.map(|owned| Arc::clone(&owned.synchronize));
        self.code.release(&self.data(), pending, self.is_forced());
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patch")
            .field("name", &self.name)
            .field("replace", &self.replace)
            .field("objects", &self.objects)
            .field("states", &self.states)
            .finish()
    }
}

/// The changes of a patch to one object, the program or a module: functions and callbacks. Part of a
/// [`PatchBuilder`](super::PatchBuilder).
#[derive(Debug)]
pub struct ObjectPatch {
    pub(crate) name: String,
    pub(crate) functions: Vec<Function>,
    pub(crate) callbacks: Callbacks,
}

/// One replaced function.
pub(crate) struct Function {
    pub(crate) target: Target,
    pub(crate) new: Address,
}

/// The patch point to replace.
pub(crate) enum Target {
    Point(&'static RawPoint),
    Named { name: String, signature: Signature },
}

impl Function {
    /// Returns the patch point's name.
    pub(crate) fn name(&self) -> &str {
        match &self.target {
            Target::Point(point) => point.name(),
            Target::Named { name, .. } => name,
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A change that a patch made to the system: an id, a version, data, and the shadow variables that belong to it.
///
/// A state without callbacks and shadow variables is only a note: callbacks of objects do the work, as in the kernel. A
/// state that has any is managed by the library: `pre_patch` and `post_patch` run only when the first patch takes it,
/// `pre_unpatch` and `post_unpatch` only when the last holder releases it, in whichever way, and then its variables are
/// freed.
pub struct State {
    pub(super) id: u64,
    pub(super) version: u32,
    pub(crate) data: DataCell,
    pub(crate) callbacks: Callbacks,
    pub(crate) owned: Vec<Owned>,
    pub(crate) block_disable: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("owned", &self.owned.iter().map(|owned| owned.key.1).collect::<Vec<_>>())
            .field("callbacks", &self.callbacks)
            .field("block_disable", &self.block_disable)
            .finish_non_exhaustive()
    }
}

type Refusing = Box<dyn Fn(&Context<'_>) -> Result<(), CallbackError> + Send + Sync>;
type Plain = Box<dyn Fn(&Context<'_>) + Send + Sync>;

/// The four callbacks of an object, or of a state. All are optional.
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) pre_patch: Option<Refusing>,
    pub(crate) post_patch: Option<Plain>,
    pub(crate) pre_unpatch: Option<Plain>,
    pub(crate) post_unpatch: Option<Plain>,
}

/// The arguments of a callback.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    pub(crate) prev_state: &'c dyn Fn(u64) -> Option<PrevState>,
    pub(crate) patch: &'c Arc<Patch>,
    pub(crate) object: Option<&'c str>,
    pub(crate) module: Option<ModuleState>,
    pub(crate) state: Option<&'c State>,
}

impl<'c> Context<'c> {
    /// Returns the patch whose callback runs.
    pub fn patch(&self) -> &'c Arc<Patch> {
        self.patch
    }

    /// Returns the object whose callback runs, [`PROGRAM`](crate::PROGRAM) or a module's name; `None` in a state's callback.
    pub fn object(&self) -> Option<&'c str> {
        self.object
    }

    /// Returns the state of that module; `None` for the program.
    pub fn module(&self) -> Option<ModuleState> {
        self.module
    }

    /// Returns the state whose callback runs; `None` in an object's callback.
    pub fn state(&self) -> Option<&'c State> {
        self.state
    }

    /// Returns the newest state of this id among the patches that were enabled before the one in transition, with its
    /// patch: the kernel's `klp_get_prev_state`. `None` outside transitions, as when a module is loaded.
    pub fn prev_state(&self, id: u64) -> Option<PrevState> {
        (self.prev_state)(id)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("patch", &self.patch.name())
            .field("object", &self.object)
            .field("module", &self.module)
            .field("state", &self.state)
            .finish()
    }
}

/// A state of an earlier patch. Keeps the patch alive.
#[derive(Clone, Debug)]
pub struct PrevState {
    pub(crate) patch: Arc<Patch>,
    pub(crate) index: usize,
}

impl PrevState {
    /// Returns the patch that has the state.
    pub fn patch(&self) -> &Arc<Patch> {
        &self.patch
    }
}

impl std::ops::Deref for PrevState {
    type Target = State;

    fn deref(&self) -> &State {
        &self.patch.states[self.index]
    }
}
