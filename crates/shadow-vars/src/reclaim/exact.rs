//! Exact backends, for tests and models: each retired object has a grace period of its own, and is poisoned instead of
//! freed until the store is dropped. No backend of an ordinary build is exact.

#[cfg(any(test, shadow_loom))]
mod imp {
    use std::ptr::{self, NonNull};
    use std::sync::Arc;

    use crate::reclaim::chain::Chain;
    use crate::reclaim::checked::after_exact_period;
    use crate::reclaim::object::{Link, Objects};
    use crate::reclaim::retired::{ReclaimScope, RetireLists, Retired};
    use crate::reclaim::{Named, Reclaim};
    use crate::sync::Ordering;

    fn is_exact<R: Reclaim>() -> bool {
        matches!(R::NAMED, Named::Checked { exact: true })
    }

    impl<O: Objects> RetireLists<O> {
        /// Retires an object with a grace period of its own, if the backend is exact.
        ///
        /// # Safety
        ///
        /// Same as [`retire`](Self::retire).
        pub(in crate::reclaim) unsafe fn retire_exactly<R: Reclaim>(
            self: &Arc<Self>,
            object: NonNull<Link>,
            bytes: u64,
        ) -> Option<Retired> {
            if !is_exact::<R>() {
                return None;
            }
            self.shared.retired_bytes.fetch_add(bytes, Ordering::Relaxed);
            let count = self.shared.retired.fetch_add(1, Ordering::Relaxed) + 1;
            let object = object.as_ptr().expose_provenance();
            self.limbo.add(object);
            let lists = self.clone();
            // SAFETY: the period waits for every guard that could reach the object, and ends once.
            after_exact_period(Box::new(move || unsafe { lists.poison(object) }));
            Some(Retired::one(count, false))
        }

        /// Like [`retire_exactly`](Self::retire_exactly), for the objects of a chain, which is not empty.
        ///
        /// # Safety
        ///
        /// Same as [`retire`](Self::retire), for each object.
        pub(in crate::reclaim) unsafe fn retire_chain_exactly<R: Reclaim>(
            self: &Arc<Self>,
            chain: &Chain,
        ) -> Option<Retired> {
            let (mut next, mut retired) = (chain.first, None);
            while let Some(object) = NonNull::new(next).filter(|_| is_exact::<R>()) {
                // SAFETY: the caller guarantees it for each object; no other thread has the chain.
                unsafe {
                    next = object.as_ref().next();
                    retired = self.retire_exactly::<R>(object, self.objects.bytes(object));
                }
            }
            let added = chain.count;
            retired.map(|last| Retired { added, ..last })
        }

        /// Drops an object that is retired, and frees it when the store is dropped.
        ///
        /// # Safety
        ///
        /// Every guard that could reach the object has been dropped. Called once for each object.
        unsafe fn poison(&self, addr: usize) {
            let Some(object) = NonNull::new(ptr::with_exposed_provenance_mut::<Link>(addr)) else {
                return;
            };
            if !self.limbo.begin_drop(addr) {
                return;
            }
            let _scope = ReclaimScope::enter();
            // SAFETY: the caller guarantees that it cannot be reached; taken out of limbo once.
            let freed = unsafe { self.objects.poison(object) };
            self.count_panic(freed);
            self.shared.reclaimed_bytes.fetch_add(freed.bytes, Ordering::Relaxed);
            self.shared.reclaimed.fetch_add(1, Ordering::Relaxed);
            self.limbo.end_drop(addr);
        }

        /// Frees all objects of an exact backend.
        ///
        /// # Safety
        ///
        /// Same as [`drain_all`](Self::drain_all).
        pub(in crate::reclaim) unsafe fn drain_exact(&self) {
            let [retired, poisoned] = self.limbo.take_all().map(|list| {
                list.into_iter()
                    .filter_map(|addr| NonNull::new(ptr::with_exposed_provenance_mut(addr)))
            });
            let shard = self.shard();
            // SAFETY: the caller guarantees that no guard protects them; each address is in one of the lists, once. Only
            // values of those that are not poisoned are still to be dropped.
            unsafe {
                retired.for_each(|object| {
                    self.reclaim_one(object);
                });
                poisoned.for_each(|object| self.objects.free_poisoned(object, shard));
            }
        }
    }
}

#[cfg(not(any(test, shadow_loom)))]
#[expect(
    clippy::extra_unused_type_parameters,
    reason = "called like their counterparts above"
)]
mod imp {
    use std::ptr::NonNull;
    use std::sync::Arc;

    use crate::reclaim::Reclaim;
    use crate::reclaim::chain::Chain;
    use crate::reclaim::object::{Link, Objects};
    use crate::reclaim::retired::{RetireLists, Retired};

    impl<O: Objects> RetireLists<O> {
        /// Returns `None`: no backend is exact.
        ///
        /// # Safety
        ///
        /// Always safe.
        #[inline(always)]
        pub(in crate::reclaim) unsafe fn retire_exactly<R: Reclaim>(
            self: &Arc<Self>,
            _: NonNull<Link>,
            _bytes: u64,
        ) -> Option<Retired> {
            None
        }

        /// Returns `None`: no backend is exact.
        ///
        /// # Safety
        ///
        /// Always safe.
        #[inline(always)]
        pub(in crate::reclaim) unsafe fn retire_chain_exactly<R: Reclaim>(
            self: &Arc<Self>,
            _: &Chain,
        ) -> Option<Retired> {
            None
        }

        /// Does nothing: no backend is exact.
        ///
        /// # Safety
        ///
        /// Always safe.
        pub(in crate::reclaim) unsafe fn drain_exact(&self) {}
    }
}
