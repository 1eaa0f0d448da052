//! Exact backends, for tests and models: each retired object has a grace period of its own, and is poisoned instead of
//! freed until the store is dropped.

use std::ptr::NonNull;
use std::sync::Arc;

use super::Reclaim;
use super::object::{Link, Objects};
use super::retired::{ReclaimScope, RetireLists, Retired};
use crate::sync::Ordering;

#[derive(Default)]
pub(super) struct Exact {
    pub(super) limbo: Vec<usize>,
    /// Objects of `limbo` that are being dropped.
    pub(super) dropping: Vec<usize>,
    poisoned: Vec<usize>,
}

/// With an exact backend: a callback for the end of an object's own grace period.
pub struct ExactPeriod {
    lists: Arc<dyn EndExactly>,
    object: usize,
}

impl ExactPeriod {
    /// Called when every guard that existed when the period began has been dropped.
    pub(crate) fn elapsed(self) {
        self.lists.reclaim_exactly(self.object);
    }
}

trait EndExactly: Send + Sync {
    fn reclaim_exactly(&self, object: usize);
}

/// Poisons at once an object that may be freed, and frees it when the store is dropped.
impl<O: Objects> EndExactly for RetireLists<O> {
    fn reclaim_exactly(&self, addr: usize) {
        let list = &*self.shared;
        let mut exact = crate::sync::lock_stat(&self.exact);
        // Not there: the store was dropped in the meantime and has freed it.
        let Some(found) = exact.limbo.iter().position(|&object| object == addr) else {
            return;
        };
        exact.limbo.swap_remove(found);
        exact.dropping.push(addr);
        drop(exact);
        let Some(object) = NonNull::new(std::ptr::with_exposed_provenance_mut::<Link>(addr)) else {
            return;
        };
        let _scope = ReclaimScope::enter();
        // SAFETY: every guard that could reach it has been dropped; taken out of limbo once.
        let freed = unsafe { self.objects.poison(object) };
        self.count_panic(freed);
        list.reclaimed_bytes.fetch_add(freed.bytes, Ordering::Relaxed);
        list.reclaimed.fetch_add(1, Ordering::Relaxed);
        let mut exact = crate::sync::lock_stat(&self.exact);
        exact.dropping.retain(|&object| object != addr);
        exact.poisoned.push(addr);
    }
}

impl<O: Objects> RetireLists<O> {
    /// Like [`retire`](Self::retire), with a grace period for the object alone.
    ///
    /// # Safety
    ///
    /// Same as [`retire`](Self::retire).
    pub(super) unsafe fn retire_exactly<R: Reclaim>(self: &Arc<Self>, object: NonNull<Link>, bytes: u64) -> Retired {
        self.shared.retired_bytes.fetch_add(bytes, Ordering::Relaxed);
        let count = self.shared.retired.fetch_add(1, Ordering::Relaxed) + 1;
        {
            let object = object.as_ptr().expose_provenance();
            crate::sync::lock_stat(&self.exact).limbo.push(object);
            R::after_exact_period(ExactPeriod {
                lists: self.clone(),
                object,
            });
        }
        Retired {
            count,
            added: 1,
            more: false,
        }
    }

    /// Frees all objects of an exact backend.
    ///
    /// # Safety
    ///
    /// Same as [`drain_all`](Self::drain_all).
    pub(super) unsafe fn drain_exact(&self) {
        let (limbo, poisoned) = {
            let mut exact = crate::sync::lock_stat(&self.exact);
            (std::mem::take(&mut exact.limbo), std::mem::take(&mut exact.poisoned))
        };
        let objects = |list: Vec<usize>| {
            list.into_iter()
                .filter_map(|addr| NonNull::new(std::ptr::with_exposed_provenance_mut(addr)))
        };
        let shard = self.shard();
        // SAFETY: the caller guarantees that no guard protects them; each address is in one of the lists, once. Only
        // values in limbo are still to be dropped.
        unsafe {
            for object in objects(limbo) {
                self.reclaim_one(object);
            }
            for object in objects(poisoned) {
                self.objects.free_poisoned(object, shard);
            }
        }
    }
}
