//! Parallel sweeps and iteration (feature `rayon`).

use std::ops::Range;

use rayon::iter::plumbing::{Folder, UnindexedConsumer, UnindexedProducer, bridge_unindexed};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::ObjAddr;
use crate::as_variable::AsVariable;
use crate::guard::{self, GuardKind, LocalGuard};
use crate::iter::{Iter, VarRef};
use crate::panics::FirstPanic;
use crate::pinned::{OwnedPinned, Pinned};
use crate::reclaim::Reclaim;
use crate::table::hash::Walk;
use crate::table::{Core, Shield};

/// The number of buckets that one task sweeps: enough to outweigh the cost of a task.
const BUCKETS: usize = 1024;
/// The smallest number of steps of a walk that one task of an iteration takes.
const STEPS: usize = 256;

impl<R: Reclaim, G: GuardKind<R>> Pinned<'_, R, G> {
    /// Like [`free_all`](Self::free_all), but runs on the threads of the current rayon pool.
    pub fn par_free_all<'g, V: AsVariable<'g, R>>(&'g self, variable: V) -> usize {
        self.par_free_all_with(variable, |_, _| ())
    }

    /// Like [`free_all_with`](Self::free_all_with), but the sweep and the destructors run on the threads of the current
    /// rayon pool.
    ///
    /// # Panics
    ///
    /// If a destructor panics. All other variables are freed first; then one of the panics is resumed.
    pub fn par_free_all_with<'g, V: AsVariable<'g, R>>(
        &'g self,
        variable: V,
        dtor: impl Fn(ObjAddr, &V::Value) + Sync,
    ) -> usize {
        self.note_change();
        let Some(bound) = self.find(variable) else { return 0 };
        let (core, shield, entry) = (bound.core(), self.shield(), bound.entry());
        let mut count = 0;
        let mut panic = FirstPanic::default();
        core.for_each_table(shield, |table| {
            let (freed, panicked) = (0..table.buckets().div_ceil(BUCKETS))
                .into_par_iter()
                .map(|part| {
                    // The caller's guard protects the tables; this one protects the nodes that are found.
                    let guard = LocalGuard::hold();
                    let start = part * BUCKETS;
                    let steps = start..table.buckets().min(start + BUCKETS);
                    let (mut count, mut panic) = (0, FirstPanic::default());
                    core.sweep_id(guard::shield(&guard), table, steps, entry, |removed| {
                        count += 1;
                        // SAFETY: the entry holds `T`, and the node was live until it was removed.
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
    /// Returns a parallel iterator over all variables. Otherwise like [`iter`](Self::iter).
    ///
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use shadow_vars::{ShadowId, ShadowStore};
    /// const N: ShadowId<usize> = ShadowId::new(1);
    /// let store = ShadowStore::new();
    /// (0..1000).for_each(|n| store.pin().alloc(n * 16, N, n).map(drop).unwrap());
    /// let pin = store.pin_owned();
    /// assert_eq!(pin.par_iter().filter_map(|var| var.downcast_ref::<usize>()).sum::<usize>(), 499_500);
    /// ```
    pub fn par_iter(&self) -> ParIter<'_, R> {
        ParIter {
            core: self.core(),
            shield: self.shield(),
        }
    }
}

/// A parallel iterator over all variables of a store, returned by [`OwnedPinned::par_iter`].
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
