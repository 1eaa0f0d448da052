//! System states: what a patch changed besides functions, so that later patches can take it over, or be refused.

use std::any::Any;
use std::borrow::Borrow;
use std::fmt;
use std::mem;
use std::sync::{Arc, Weak};

use shadow_vars::{ObjAddr, Reclaim, ShadowId, ShadowStore, SyncError};

use super::callback::{CallbackError, Callbacks, Context, callback_setters};
use crate::callout;
use crate::fork;
use crate::sync::Lock;

/// The data of a state, for later patches to find.
pub type StateData = Arc<dyn Any + Send + Sync>;

/// A change that a patch made to the system: an id, a version, data, and the shadow variables that belong to it.
///
/// A state without callbacks and shadow variables is only a note: callbacks of objects do the work, as in the kernel. A
/// state that has any is managed by the library: `pre_patch` and `post_patch` run only when the first patch takes it,
/// `pre_unpatch` and `post_unpatch` only when the last holder releases it, in whichever way, and then its variables are
/// freed.
pub struct State {
    id: u64,
    version: u32,
    data: Lock<Data>,
    pub(crate) callbacks: Callbacks,
    pub(crate) owned: Vec<Owned>,
    pub(crate) block_disable: bool,
}

/// The data of a state, and earlier data that may still be referenced elsewhere.
#[derive(Default)]
struct Data {
    current: Option<StateData>,
    earlier: Vec<WeakData>,
    /// Its patch has left the list: from now on the libraries of new data are not tracked here.
    detached: bool,
}

impl Data {
    fn replace(&mut self, data: Option<StateData>) -> Option<StateData> {
        let before = mem::replace(&mut self.current, data)?;
        if !self.detached {
            self.forget_dead();
            self.earlier.push(WeakData(Arc::downgrade(&before)));
        }
        Some(before)
    }

    fn forget_dead(&mut self) {
        self.earlier.retain(|data| data.0.strong_count() > 0);
    }
}

/// A weak reference to data.
#[derive(Clone)]
pub(crate) struct WeakData(Weak<dyn Any + Send + Sync>);

#[cfg_attr(
    not(all(feature = "library", target_os = "linux")),
    allow(dead_code, reason = "only libraries are unloaded")
)]
impl WeakData {
    pub(crate) fn is(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether there are references to the data other than those of these states.
    pub(crate) fn is_used_elsewhere(&self, states: &[State]) -> bool {
        let is_it = |state: &&State| {
            let data = state.data.lock();
            data.current
                .as_ref()
                .is_some_and(|now| Weak::ptr_eq(&Arc::downgrade(now), &self.0))
        };
        self.0.strong_count() > states.iter().filter(is_it).count()
    }
}

/// Shadow variables of one id in one store.
#[derive(Clone)]
pub(crate) struct Owned {
    /// The store's address, and the id. Equal for the same variables, whichever state names them.
    pub(crate) key: (usize, u64),
    pub(crate) free_all: Arc<dyn Fn() -> usize + Send + Sync>,
    #[cfg_attr(
        not(all(feature = "library", target_os = "linux")),
        allow(dead_code, reason = "only libraries are unloaded")
    )]
    pub(crate) synchronize: Arc<dyn Fn() -> Result<(), SyncError> + Send + Sync>,
    /// Counts the live variables.
    live: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Whether their type needs to be dropped.
    pub(crate) has_glue: bool,
}

impl Owned {
    /// Returns whether any may be live. Always `true` in a fork's child: variables that another thread was working on are
    /// not counted there, and a library must not be unloaded while values may be left whose destructors it contains.
    pub(crate) fn may_live(&self) -> bool {
        fork::is_child() || callout::guarded(|| (self.live)()) != Ok(0)
    }
}

impl State {
    /// Returns a state of this id, which must not be 0, and this version of the change.
    #[must_use]
    pub fn new(id: u64, version: u32) -> Self {
        Self {
            id,
            version,
            data: Lock::default(),
            callbacks: Callbacks::default(),
            owned: Vec::new(),
            block_disable: false,
        }
    }

    /// Returns the id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the version of the change.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the data, if they are of this type.
    pub fn data<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.any_data()?.downcast().ok()
    }

    /// Returns the data, of whatever type.
    pub fn any_data(&self) -> Option<StateData> {
        self.data.lock().current.clone()
    }

    /// Replaces the data, and returns the previous ones.
    ///
    /// Data of an earlier patch that are stored here unchanged keep that patch's library loaded; copies do not.
    pub fn set_data(&self, data: StateData) -> Option<StateData> {
        self.data.lock().replace(Some(data))
    }

    /// Removes the data, and returns them.
    pub fn take_data(&self) -> Option<StateData> {
        self.data.lock().replace(None)
    }

    /// Drops weak references to dead data. Called before the library of their patch may be unloaded, which is needed for
    /// that.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(crate) fn forget_dead_data(&self) {
        self.data.lock().forget_dead();
    }

    /// Notes that the patch enters the list.
    pub(crate) fn enter_list(&self) {
        self.data.lock().detached = false;
    }

    /// Notes that the patch has left the list.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(crate) fn leave_list(&self) {
        let mut data = self.data.lock();
        data.detached = true;
        data.earlier.clear();
    }

    /// Returns the current data and all earlier ones, some of which may have been dropped.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(crate) fn all_data(&self) -> Vec<WeakData> {
        let data = self.data.lock();
        let now = data.current.as_ref().map(|now| WeakData(Arc::downgrade(now)));
        data.earlier.iter().cloned().chain(now).collect()
    }

    /// Sets the initial data.
    #[must_use]
    pub fn with_data(self, data: StateData) -> Self {
        drop(self.set_data(data));
        self
    }

    /// Makes the variables of `id` in `store` belong to this state: they are freed when its last holder releases it.
    #[must_use]
    pub fn owns<T, R, S>(self, store: S, id: ShadowId<T>) -> Self
    where
        T: Send + Sync + 'static,
        R: Reclaim,
        S: Borrow<ShadowStore<R>> + Clone + Send + Sync + 'static,
    {
        let of = store.clone();
        self.owns_through(store, id, move || of.borrow().pin().free_all(id))
    }

    /// Like [`owns`](Self::owns), with a destructor, which is called for each variable as it is freed.
    ///
    /// If several patches hold the state, each with a destructor, the last holder's is called.
    #[must_use]
    pub fn owns_with<T, R, S>(
        self,
        store: S,
        id: ShadowId<T>,
        dtor: impl Fn(ObjAddr, &T) + Send + Sync + 'static,
    ) -> Self
    where
        T: Send + Sync + 'static,
        R: Reclaim,
        S: Borrow<ShadowStore<R>> + Clone + Send + Sync + 'static,
    {
        let of = store.clone();
        self.owns_through(store, id, move || of.borrow().pin().free_all_with(id, &dtor))
    }

    fn owns_through<T, R, S>(
        mut self,
        store: S,
        id: ShadowId<T>,
        free_all: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Self
    where
        T: Send + Sync + 'static,
        R: Reclaim,
        S: Borrow<ShadowStore<R>> + Clone + Send + Sync + 'static,
    {
        let address = std::ptr::from_ref::<ShadowStore<R>>(store.borrow()).addr();
        let of = store.clone();
        self.owned.push(Owned {
            key: (address, id.get()),
            free_all: Arc::new(free_all),
            synchronize: Arc::new(move || store.borrow().synchronize()),
            live: Arc::new(move || of.borrow().len_of(id)),
            has_glue: mem::needs_drop::<T>(),
        });
        self
    }

    /// Declares that the change cannot be undone: the last patch that holds the state can neither be disabled nor be
    /// replaced by one without it. While its enabling is in transition, that can be reversed.
    ///
    /// This remains so once the patch is in effect, whatever later holders of the state declare. Only a patch that
    /// [replaces](super::PatchBuilder::replace) all others decides anew whether the state that it takes over can be
    /// undone.
    #[must_use]
    pub fn block_disable(mut self) -> Self {
        self.block_disable = true;
        self
    }

    callback_setters! {
        /// Sets the callback that runs when the first patch takes the state, before functions change. An error refuses
        /// the patch.
        pre_patch;
        /// Sets the callback that runs once all units of work run the functions of the first holder.
        post_patch;
        /// Sets the callback that runs when the last holder is about to release the state, before functions change.
        pre_unpatch;
        /// Sets the callback that runs once no unit of work runs the last holder's functions. The variables are freed
        /// after it.
        post_unpatch;
    }

    /// Returns whether the library can undo the change: see the type.
    pub(crate) fn is_kept(&self) -> bool {
        !self.callbacks.is_empty() || !self.owned.is_empty()
    }
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

#[cfg(all(test, target_os = "linux", not(miri), not(shadow_loom)))]
mod tests {
    use super::*;

    #[test]
    fn variables_may_live_in_the_child_of_a_fork() {
        static STORE: std::sync::LazyLock<ShadowStore> = std::sync::LazyLock::new(ShadowStore::new);
        drop(crate::task::unit()); // Registers the handlers of forks.
        let state = State::new(1, 1).owns(&*STORE, ShadowId::<String>::new(1));
        let may_live = || state.owned[0].may_live();
        assert!(!may_live());
        // SAFETY: the child only queries, which takes no lock there, and exits.
        let status = match unsafe { libc::fork() } {
            // SAFETY: exits the process.
            0 => unsafe { libc::_exit(i32::from(may_live())) },
            child => {
                assert!(child > 0);
                let mut status = 0;
                // SAFETY: a child of this process, and a local integer.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                status
            }
        };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1);
        assert!(!may_live());
    }
}
