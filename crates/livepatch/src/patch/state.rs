//! System states: what a patch changed besides functions, so that later patches can take it over, or be refused.

use std::any::Any;
use std::borrow::Borrow;
use std::mem;
use std::sync::Arc;

use shadow_vars::{ObjAddr, Reclaim, ShadowId, ShadowStore};

use super::callback::callback_setters;
use super::data::{DataCell, Owned, StateData};
use super::kind::CallbackError;
use super::parts::{Callbacks, Context, State};

impl State {
    /// Returns a state of this id, which must not be 0, and this version of the change.
    #[must_use]
    pub fn new(id: u64, version: u32) -> Self {
        Self {
            id,
            version,
            data: DataCell::default(),
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
        self.data.get()
    }

    /// Replaces the data, and returns the previous ones.
    ///
    /// Data of an earlier patch that are stored here unchanged keep that patch's library loaded; copies do not.
    pub fn set_data(&self, data: StateData) -> Option<StateData> {
        self.data.replace(Some(data))
    }

    /// Removes the data, and returns them.
    pub fn take_data(&self) -> Option<StateData> {
        self.data.replace(None)
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
