//! What operations take as the id: a [`ShadowId`], or a reference to a [`Variable`](crate::Variable).

use crate::ShadowId;
use crate::entry::IdEntry;
use crate::error::StoreError;
use crate::events;
use crate::reclaim::Reclaim;
use crate::table::Core;
use private::{Entry, Resolve, Within};

/// What operations take as the id: a [`ShadowId`], which is looked up in the guard's store, or a reference to a
/// [`Variable`](crate::Variable), whose id has been looked up already.
///
/// A reference to a `LazyLock<Variable<T>>` does too, so that a `static` can be passed as `&HITS`. The trait is sealed.
///
/// ```compile_fail,E0277
/// # use shadow_vars::ShadowStore;
/// let store = ShadowStore::new();
/// assert!(!store.pin().contains(0, 7)); // which type?
/// ```
/// ```
/// # use shadow_vars::{ShadowId, ShadowStore};
/// let store = ShadowStore::new();
/// assert!(!store.pin().contains(0, ShadowId::<u32>::new(7)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an id: pass a `ShadowId<T>`, or a reference to a `Variable<T>`",
    note = "a `Variable` can be used under a guard of its own store, which has the backend `{R}` here"
)]
pub trait AsVariable<'g, R: Reclaim>: Resolve<'g, R> {
    /// The type of the values.
    type Value: Send + Sync + 'static;
}

pub(crate) mod private {
    use super::{Core, IdEntry, Reclaim, StoreError};

    /// The store of a guard.
    pub struct Within<'g, R: Reclaim>(pub(crate) &'g Core<R>);

    /// The entry of an id, and its store.
    pub struct Entry<'g, R: Reclaim> {
        pub(crate) core: &'g Core<R>,
        pub(crate) entry: &'g IdEntry,
    }

    /// Implementations return entries that hold `AsVariable::Value`.
    pub trait Resolve<'g, R: Reclaim>: Sized {
        /// Returns the entry of the id, if it was ever used in the store with its type.
        fn known(self, within: Within<'g, R>) -> Option<Entry<'g, R>>;

        /// Like [`known`](Self::known), but logs a `tracing` error if the id is bound to another type.
        fn find(self, within: Within<'g, R>) -> Option<Entry<'g, R>>;

        /// Returns the entry of the id, bound to its type now if it was not bound before.
        fn bind(self, within: Within<'g, R>) -> Result<Entry<'g, R>, StoreError>;
    }
}

impl<'g, T: Send + Sync + 'static, R: Reclaim> AsVariable<'g, R> for ShadowId<T> {
    type Value = T;
}

impl<'g, T: Send + Sync + 'static, R: Reclaim> Resolve<'g, R> for ShadowId<T> {
    fn known(self, Within(core): Within<'g, R>) -> Option<Entry<'g, R>> {
        let entry = core.registry.get(self.get()).filter(|entry| entry.holds::<T>())?;
        Some(Entry { core, entry })
    }

    #[inline(always)]
    fn find(self, Within(core): Within<'g, R>) -> Option<Entry<'g, R>> {
        let entry = core.registry.get(self.get())?;
        if entry.holds::<T>() {
            Some(Entry { core, entry })
        } else {
            wrong_type::<T>(entry);
            None
        }
    }

    #[inline(always)]
    fn bind(self, Within(core): Within<'g, R>) -> Result<Entry<'g, R>, StoreError> {
        let entry = core.registry.bind::<T>(self.get())?;
        Ok(Entry { core, entry })
    }
}

/// Cannot unwind, as a C function: so a caller need not keep its guard in memory for a panic to drop it.
#[cold]
#[inline(never)]
extern "C" fn wrong_type<T>(entry: &IdEntry) {
    events::mismatch(&entry.mismatch(std::any::type_name::<T>()));
}
