//! System states: what a patch changed beside functions, so that later patches can take it over, or refuse.

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

/// The data of a state: what later patches find there.
pub type StateData = Arc<dyn Any + Send + Sync>;

/// What a patch changed in the system: an id, a version, data, and the shadow variables that belong to it.
///
/// A state without callbacks and shadow variables is a note: callbacks of objects do the work, as in the kernel. One that
/// has them is kept by the library: its `pre_patch` and `post_patch` run only when the first holder comes, `pre_unpatch`
/// and `post_unpatch` only when the last one goes, by whatever way, and then its variables are freed.
pub struct State {
    id: u64,
    version: u32,
    data: Lock<Data>,
    pub(crate) callbacks: Callbacks,
    pub(crate) owned: Vec<Owned>,
    pub(crate) block_disable: bool,
}

/// The data of a state, and those that it had and that may still be somewhere.
#[derive(Default)]
struct Data {
    now: Option<StateData>,
    gone: Vec<WeakData>,
    /// Its patch has left the list: what becomes of the data is for who takes them to know.
    left: bool,
}

impl Data {
    fn put(&mut self, data: Option<StateData>) -> Option<StateData> {
        let before = mem::replace(&mut self.now, data)?;
        if !self.left {
            self.forget_dead();
            self.gone.push(WeakData(Arc::downgrade(&before)));
        }
        Some(before)
    }

    fn forget_dead(&mut self) {
        self.gone.retain(|data| data.0.strong_count() > 0);
    }
}

/// Data that may be there.
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

    /// Whether somebody has them, these states not counted.
    pub(crate) fn is_elsewhere(&self, states: &[State]) -> bool {
        let is_it = |state: &&State| {
            let data = state.data.lock();
            data.now
                .as_ref()
                .is_some_and(|now| Weak::ptr_eq(&Arc::downgrade(now), &self.0))
        };
        self.0.strong_count() > states.iter().filter(is_it).count()
    }
}

/// Shadow variables of one id in one store.
#[derive(Clone)]
pub(crate) struct Owned {
    /// The store's address, and the id: the same variables, whichever state names them.
    pub(crate) key: (usize, u64),
    pub(crate) free_all: Arc<dyn Fn() -> usize + Send + Sync>,
    #[cfg_attr(
        not(all(feature = "library", target_os = "linux")),
        allow(dead_code, reason = "only libraries are unloaded")
    )]
    pub(crate) synchronize: Arc<dyn Fn() -> Result<(), SyncError> + Send + Sync>,
    /// How many there are.
    live: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Whether their type has a destructor, or what it holds.
    pub(crate) has_glue: bool,
}

impl Owned {
    /// Whether there may be any. In a fork's child always: what another thread was in the middle of is not counted there, and
    /// a library must not go while values may be left that are dropped by its code.
    pub(crate) fn may_live(&self) -> bool {
        fork::is_child() || callout::guarded(|| (self.live)()) != Ok(0)
    }
}

impl State {
    /// A state of this id, which must not be 0, and this version of what is done to it.
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

    /// Which state.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Which version of the change.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The data, if they are of this type.
    pub fn data<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.any_data()?.downcast().ok()
    }

    /// The data, whatever type they have.
    pub fn any_data(&self) -> Option<StateData> {
        self.data.lock().now.clone()
    }

    /// Puts data there. Returns those that were.
    ///
    /// Data of an earlier patch that are put here as they are keep the library that it came in loaded; copies do not.
    pub fn set_data(&self, data: StateData) -> Option<StateData> {
        self.data.lock().put(Some(data))
    }

    /// Takes the data away.
    pub fn take_data(&self) -> Option<StateData> {
        self.data.lock().put(None)
    }

    /// The patch whose data these may be is about to go, and its library, without which the dead cannot be let go of.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(crate) fn forget_dead_data(&self) {
        self.data.lock().forget_dead();
    }

    /// Its patch comes to the list.
    pub(crate) fn joins(&self) {
        self.data.lock().left = false;
    }

    /// Its patch has left the list.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(crate) fn forget_earlier_data(&self) {
        let mut data = self.data.lock();
        data.left = true;
        data.gone.clear();
    }

    /// The data, and all that it had: some may not be there any more.
    #[cfg(all(feature = "library", target_os = "linux"))]
    pub(crate) fn data_ever(&self) -> Vec<WeakData> {
        let data = self.data.lock();
        let now = data.now.as_ref().map(|now| WeakData(Arc::downgrade(now)));
        data.gone.iter().cloned().chain(now).collect()
    }

    /// With data from the start.
    #[must_use]
    pub fn with_data(self, data: StateData) -> Self {
        drop(self.set_data(data));
        self
    }

    /// The variables of `id` in `store` belong to this state: they are freed when its last holder goes.
    #[must_use]
    pub fn owns<T, R, S>(self, store: S, id: ShadowId<T>) -> Self
    where
        T: Send + Sync + 'static,
        R: Reclaim,
        S: Borrow<ShadowStore<R>> + Clone + Send + Sync + 'static,
    {
        let of = store.clone();
        self.owns_through(store, id, move || of.borrow().free_all(id))
    }

    /// As [`owns`](Self::owns), with a destructor, which is called for each variable as it is freed.
    ///
    /// If several patches hold the state, each with a destructor, that of the last holder is called.
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
        self.owns_through(store, id, move || of.borrow().free_all_with(id, &dtor))
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

    /// The change cannot be undone: the last patch that holds the state cannot be disabled, or replaced by one without it.
    /// An enabling that is still running can be reversed.
    ///
    /// So it stays once a patch that says this is in effect, whatever those say that share the state later. Only a patch
    /// that [replaces](super::PatchBuilder::replace) all others says anew whether the state that it takes over can be
    /// undone.
    #[must_use]
    pub fn block_disable(mut self) -> Self {
        self.block_disable = true;
        self
    }

    callback_setters! {
        /// When the first holder comes, before functions change. An error refuses the patch.
        pre_patch;
        /// When the first holder has come: all units of work run its functions.
        post_patch;
        /// When the last holder goes, before functions change.
        pre_unpatch;
        /// When the last holder has gone: no unit of work runs its functions. The variables are freed after it.
        post_unpatch;
    }

    /// Whether the library knows how the change is undone: see the type.
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
        drop(crate::task::unit()); // From here on forks are known of.
        let state = State::new(1, 1).owns(&*STORE, ShadowId::<String>::new(1));
        let may_live = || state.owned[0].may_live();
        assert!(!may_live());
        // SAFETY: the child only asks, which takes no lock there, and ends.
        let status = match unsafe { libc::fork() } {
            // SAFETY: ends the process.
            0 => unsafe { libc::_exit(i32::from(may_live())) },
            child => {
                assert!(child > 0);
                let mut status = 0;
                // SAFETY: our child, and an integer of ours.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                status
            }
        };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1);
        assert!(!may_live());
    }
}
