//! What a state refers to: its data, and the shadow variables that belong to it.

use std::any::Any;
use std::mem;
use std::sync::{Arc, Weak};

use shadow_vars::SyncError;

use crate::callout;
use crate::fork;
use crate::sync::Lock;

/// The data of a state, for later patches to find.
pub type StateData = Arc<dyn Any + Send + Sync>;

/// Waits until a store has run its pending destructors.
pub(crate) type Synchronize = Arc<dyn Fn() -> Result<(), SyncError> + Send + Sync>;

/// The data of a state, and earlier data that may still be referenced elsewhere.
#[derive(Default)]
pub(crate) struct DataCell(Lock<Data>);

#[derive(Default)]
struct Data {
    current: Option<StateData>,
    earlier: Vec<WeakData>,
    /// Its patch has left the list: from now on the libraries of new data are not tracked here.
    detached: bool,
}

impl DataCell {
    /// Returns the current data.
    pub(crate) fn get(&self) -> Option<StateData> {
        self.0.lock().current.clone()
    }

    /// Replaces the data, and returns the previous ones.
    pub(crate) fn replace(&self, data: Option<StateData>) -> Option<StateData> {
        let mut this = self.0.lock();
        let before = mem::replace(&mut this.current, data)?;
        if !this.detached {
            this.forget_dead();
            this.earlier.push(WeakData(Arc::downgrade(&before)));
        }
        Some(before)
    }

    /// Drops weak references to dead data. Called before the library of their patch may be unloaded, which is needed for
    /// that.
    pub(crate) fn forget_dead(&self) {
        self.0.lock().forget_dead();
    }

    /// Notes that the patch enters the list.
    pub(crate) fn enter_list(&self) {
        self.0.lock().detached = false;
    }

    /// Notes that the patch has left the list.
    pub(crate) fn leave_list(&self) {
        let mut this = self.0.lock();
        this.detached = true;
        this.earlier.clear();
    }

    /// Returns the current data and all earlier ones, some of which may have been dropped.
    pub(crate) fn all(&self) -> Vec<WeakData> {
        let this = self.0.lock();
        let now = this.current.as_ref().map(|now| WeakData(Arc::downgrade(now)));
        this.earlier.iter().cloned().chain(now).collect()
    }

    fn is_now(&self, data: &WeakData) -> bool {
        let this = self.0.lock();
        this.current
            .as_ref()
            .is_some_and(|now| Weak::ptr_eq(&Arc::downgrade(now), &data.0))
    }
}

impl Data {
    fn forget_dead(&mut self) {
        self.earlier.retain(|data| data.0.strong_count() > 0);
    }
}

/// A weak reference to data.
#[derive(Clone)]
pub(crate) struct WeakData(Weak<dyn Any + Send + Sync>);

impl WeakData {
    pub(crate) fn is(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether there are references to the data other than those in these cells.
    pub(crate) fn is_used_elsewhere(&self, cells: &[&DataCell]) -> bool {
        self.0.strong_count() > cells.iter().filter(|cell| cell.is_now(self)).count()
    }
}

/// Shadow variables of one id in one store.
#[derive(Clone)]
pub(crate) struct Owned {
    /// The store's address, and the id. Equal for the same variables, whichever state names them.
    pub(crate) key: (usize, u64),
    pub(crate) free_all: Arc<dyn Fn() -> usize + Send + Sync>,
    pub(crate) synchronize: Synchronize,
    /// Counts the live variables.
    pub(super) live: Arc<dyn Fn() -> usize + Send + Sync>,
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
