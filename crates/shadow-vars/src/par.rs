//! Sweeps and iteration by many threads (feature `rayon`).

use std::ops::Range;

use rayon::iter::plumbing::{Folder, UnindexedConsumer, UnindexedProducer, bridge_unindexed};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::iter::{Iter, VarRef};
use crate::panics::FirstPanic;
use crate::pinned::OwnedPinned;
use crate::reclaim::Reclaim;
use crate::store::ShadowStore;
use crate::table::hash::Walk;
use crate::table::{Core, Shield};
use crate::{ObjAddr, ShadowId};

/// Buckets that one task sweeps: enough to make the task worth its while.
const BUCKETS: usize = 1024;
/// Steps of a walk that one task of an iteration takes at least.
const STEPS: usize = 256;

impl<R: Reclaim> ShadowStore<R> {
    /// As [`free_all`](Self::free_all), by the threads of the current rayon pool.
    pub fn par_free_all<T: Send + Sync + 'static>(&self, id: ShadowId<T>) -> usize {
        self.par_free_all_with(id, |_, _| ())
    }

    /// As [`free_all_with`](Self::free_all_with), by the threads of the current rayon pool, destructors included.
    ///
    /// # Panics
    ///
    /// If a destructor does: after all others have been freed too, with one of the panics.
    pub fn par_free_all_with<T: Send + Sync + 'static>(
        &self,
        id: ShadowId<T>,
        dtor: impl Fn(ObjAddr, &T) + Sync,
    ) -> usize {
        let outer = self.pin();
        let Some(entry) = outer.entry_of(id) else { return 0 };
        let (core, shield) = (self.core(), outer.shield());
        let mut count = 0;
        let mut panic = FirstPanic::default();
        core.for_each_table(shield, |table| {
            let (freed, panicked) = (0..table.buckets().div_ceil(BUCKETS))
                .into_par_iter()
                .map(|part| {
                    // The outer guard keeps the tables; this one protects what the words lead to.
                    let inner = self.pin();
                    let start = part * BUCKETS;
                    let steps = start..table.buckets().min(start + BUCKETS);
                    let (mut count, mut panic) = (0, FirstPanic::default());
                    core.sweep_id(inner.shield(), table, steps, entry, |removed| {
                        count += 1;
                        // SAFETY: the entry holds `T`; the node was live when it was removed.
                        panic.catch(|| dtor(ObjAddr::new(removed.obj), unsafe { removed.value() }));
                    });
                    (count, panic)
                })
                .reduce(<(usize, FirstPanic)>::default, |one, other| {
                    (one.0 + other.0, one.1.or(other.1))
                });
            count += freed;
            panic = std::mem::take(&mut panic).or(panicked);
        });
        core.after_sweep(shield, count);
        panic.resume();
        count
    }
}

impl<R: Reclaim> OwnedPinned<'_, R> {
    /// All variables, in parallel. As [`iter`](Self::iter) otherwise.
    ///
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use shadow_vars::{ShadowId, ShadowStore};
    /// const N: ShadowId<usize> = ShadowId::new(1);
    /// let store = ShadowStore::new();
    /// (0..1000).for_each(|n| store.alloc(n * 16, N, n).unwrap());
    /// let pin = store.pin_owned();
    /// assert_eq!(pin.par_iter().filter_map(|var| var.get::<usize>()).sum::<usize>(), 499_500);
    /// ```
    pub fn par_iter(&self) -> ParIter<'_, R> {
        ParIter {
            core: self.core(),
            shield: self.shield(),
        }
    }
}

/// All variables of a store, in parallel: [`OwnedPinned::par_iter`].
pub struct ParIter<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
}

impl<R: Reclaim> std::fmt::Debug for ParIter<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParIter").finish_non_exhaustive()
    }
}

impl<'g, R: Reclaim> ParallelIterator for ParIter<'g, R> {
    type Item = VarRef<'g>;

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        let walk = self.core.root(self.shield).walk;
        let producer = Part {
            core: self.core,
            shield: self.shield,
            walk,
            steps: 0..1 << walk.log2,
        };
        bridge_unindexed(producer, consumer)
    }
}

/// Some steps of a walk.
struct Part<'g, R: Reclaim> {
    core: &'g Core<R>,
    shield: Shield<'g, R>,
    walk: Walk,
    steps: Range<usize>,
}

impl<'g, R: Reclaim> UnindexedProducer for Part<'g, R> {
    type Item = VarRef<'g>;

    fn split(mut self) -> (Self, Option<Self>) {
        let Range { start, end } = self.steps;
        if end - start < 2 * STEPS {
            return (self, None);
        }
        let middle = start + (end - start) / 2;
        let right = Self {
            steps: middle..end,
            ..self
        };
        self.steps = start..middle;
        (self, Some(right))
    }

    fn fold_with<F: Folder<Self::Item>>(self, folder: F) -> F {
        folder.consume_iter(Iter::part(self.core, self.shield, self.walk, self.steps))
    }
}
