//! The parts of a patch.

mod builder;
mod callback;
mod code;
mod libraries;
mod object;
mod state;

pub use builder::PatchBuilder;
pub use callback::{CallbackError, CallbackKind, Context, ModuleState, PrevState};
pub use libraries::{LibraryKind, LibraryStatus, Needed, Stays};
pub use object::ObjectPatch;
pub use state::{State, StateData};

#[cfg(all(feature = "control", target_os = "linux"))]
pub(crate) use crate::callout::message as panic_message;
pub(crate) use callback::Ended;
pub(crate) use code::{Code, Listed, Mapped, loaded, number_of};
pub(crate) use object::{Function, Target};
pub(crate) use state::Owned;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of the object that is the program itself: the kernel's `vmlinux`.
pub const PROGRAM: &str = "program";

/// The maximum length of a patch's, object's or function's name, in bytes.
pub const MAX_NAME: usize = 255;

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
    fn new(name: String) -> Self {
        Self {
            name,
            replace: false,
            objects: Vec::new(),
            states: Vec::new(),
            forced: AtomicBool::new(false),
            code: Code::default(),
        }
    }

    /// Returns a builder for a patch of this name. Names are unique among the enabled patches.
    pub fn builder(name: impl Into<String>) -> PatchBuilder {
        PatchBuilder::new(name.into())
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
        self.states.iter().find(|state| state.id() == id)
    }

    /// Returns all states of the patch, in order.
    pub fn states(&self) -> &[State] {
        &self.states
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        self.code.release(&self.states, self.is_forced());
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
