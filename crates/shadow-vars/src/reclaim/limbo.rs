//! The objects of an exact backend, of which each waits for a grace period of its own. Ordinary builds have no such backend,
//! and nothing here.

pub(super) use imp::{Limbo, Pending};

#[cfg(any(test, shadow_loom))]
mod imp {
    use crate::sync::lock_stat;
    use crate::sync::stat::Mutex;

    /// The objects of one store, by address.
    #[derive(Default)]
    pub(in crate::reclaim) struct Limbo(Mutex<Objects>);

    #[derive(Default)]
    struct Objects {
        /// Retired, and not yet dropped.
        retired: Vec<usize>,
        /// Being dropped.
        dropping: Vec<usize>,
        /// Dropped, and not freed before the store is dropped.
        poisoned: Vec<usize>,
    }

    /// Objects that had been retired and not dropped.
    pub(in crate::reclaim) struct Pending(Vec<usize>);

    impl Limbo {
        pub(in crate::reclaim) fn add(&self, object: usize) {
            lock_stat(&self.0).retired.push(object);
        }

        /// Returns whether the object is to be dropped by the caller. It is not there if the store was dropped meanwhile.
        pub(in crate::reclaim) fn begin_drop(&self, object: usize) -> bool {
            let mut objects = lock_stat(&self.0);
            let found = objects.retired.iter().position(|&retired| retired == object);
            if let Some(at) = found {
                objects.retired.swap_remove(at);
                objects.dropping.push(object);
            }
            found.is_some()
        }

        pub(in crate::reclaim) fn end_drop(&self, object: usize) {
            let mut objects = lock_stat(&self.0);
            objects.dropping.retain(|&dropping| dropping != object);
            objects.poisoned.push(object);
        }

        pub(in crate::reclaim) fn pending(&self) -> Pending {
            let objects = lock_stat(&self.0);
            Pending([&objects.retired[..], &objects.dropping].concat())
        }

        /// Returns whether all these objects have been dropped.
        pub(in crate::reclaim) fn is_done(&self, pending: &Pending) -> bool {
            let objects = lock_stat(&self.0);
            let is_there = |object: &usize| objects.retired.contains(object) || objects.dropping.contains(object);
            !pending.0.iter().any(is_there)
        }

        /// Takes the objects that are retired, and those that are poisoned.
        pub(in crate::reclaim) fn take_all(&self) -> [Vec<usize>; 2] {
            let mut objects = lock_stat(&self.0);
            let Objects { retired, poisoned, .. } = &mut *objects;
            [retired, poisoned].map(std::mem::take)
        }
    }
}

#[cfg(not(any(test, shadow_loom)))]
mod imp {
    #[derive(Default)]
    pub(in crate::reclaim) struct Limbo(());

    pub(in crate::reclaim) struct Pending;

    impl Limbo {
        pub(in crate::reclaim) fn pending(&self) -> Pending {
            Pending
        }

        pub(in crate::reclaim) fn is_done(&self, _: &Pending) -> bool {
            true
        }
    }
}
