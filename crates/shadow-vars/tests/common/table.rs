//! Operations that change the table and the garbage: filling and draining, guards held over many operations, reclamation.
//!
//! Proves: growth and shrinking lose nothing and move no value, iteration finds every variable that exists for its whole run,
//! values read under a guard stay valid until the guard is dropped, and after `synchronize` no freed value is alive.

use std::any::type_name;
use std::sync::Arc;

use shadow_vars::{OwnedPinned, Pinned, Reclaim, ShadowId, ShadowStore, SyncError};

use super::door::Seen;
use super::interpret::{Interpreter, typed};
use super::model::{Model, Value};
use super::op::{FILLER, Slot, Via, filler};
use super::payload::{Counters, Flag, Node, Payload, Plain, Wide};

/// At most this many fillers exist at a time.
const MOST_FILLERS: usize = 600;

/// The number of guards held at once.
const MOST_HELD: usize = 3;

/// A guard, and the values that were read under it.
pub(super) struct Held<'s, R: Reclaim> {
    pub(super) guard: Guard<'s, R>,
    pub(super) watched: Vec<(Slot, Seen)>,
}

pub(super) enum Guard<'s, R: Reclaim> {
    Local(Pinned<'s, R>),
    Owned(OwnedPinned<'s, R>),
}

impl<R: Reclaim> Interpreter<'_, R> {
    pub(super) fn fill(&mut self, count: usize) {
        fill(self.store, &self.counters, &mut self.model, count);
    }

    pub(super) fn drain(&mut self, count: usize) {
        let end = self.model.fillers.1.min(self.model.fillers.0 + count);
        for n in self.model.fillers.0..end {
            let freed = self.store.pin().free(filler(n), ShadowId::<Plain>::new(FILLER));
            assert_eq!(
                freed,
                self.model.remove(filler(n), FILLER).is_some(),
                "free of a filler"
            );
        }
        self.model.fillers.0 = end;
    }

    /// Creates and frees this many fillers, one after the other.
    pub(super) fn churn(&mut self, count: usize) {
        self.drain(MOST_FILLERS);
        for _ in 0..count {
            self.fill(1);
            self.drain(1);
        }
    }

    pub(super) fn fill_while_iterating(&mut self, count: usize) {
        let before = self.model.serials();
        let (store, counters, first) = (self.store, self.counters.clone(), self.model.fillers.1);
        let count = count.min(MOST_FILLERS - (first - self.model.fillers.0));
        let mut made = Vec::new();
        let seen = self.iterate(Via::Variable, |_| {
            if made.is_empty() {
                made.extend((first..first + count).map(|n| make_filler(store, &counters, n)));
            }
        });
        for (n, serial) in (first..).zip(made) {
            self.model.insert(filler(n), FILLER, Value::new(serial, false));
            self.model.fillers.1 = n + 1;
        }
        let all = self.model.serials();
        assert!(
            before.iter().all(|var| seen.get(var.0) == Some(var.1)),
            "iteration during growth misses some"
        );
        assert!(
            seen.iter().all(|var| all.get(var.0) == Some(var.1)),
            "iteration during growth invents some"
        );
    }

    pub(super) fn synchronize(&mut self) {
        let local = self.held.iter().any(|held| matches!(held.guard, Guard::Local(_)));
        let owned = self.held.iter().any(|held| matches!(held.guard, Guard::Owned(_)));
        // The backend that the store's own tests use for this does not know which thread holds a guard.
        let blind = type_name::<R>().contains("Checked");
        match (local, owned) {
            (true, _) if blind => {}
            (true, _) => assert_eq!(
                self.store.synchronize(),
                Err(SyncError::Pinned),
                "synchronize under a guard"
            ),
            // An owned guard belongs to no thread: waiting for it here would never end.
            (false, true) => {}
            (false, false) => {
                assert_eq!(self.store.synchronize(), Ok(()), "synchronize");
                assert_eq!(
                    self.counters.alive(),
                    self.model.counted(),
                    "values alive after synchronize"
                );
                let stats = self.store.stats();
                assert_eq!(stats.retired_objects, 0, "garbage after synchronize");
                assert_eq!(stats.drop_panics, self.counters.spites(), "drops that panicked");
            }
        }
    }

    pub(super) fn hold(&mut self, owned: bool) {
        if self.held.len() < MOST_HELD {
            let guard = if owned {
                Guard::Owned(self.store.pin_owned())
            } else {
                Guard::Local(self.store.pin())
            };
            let watched = Vec::new();
            self.held.push(Held { guard, watched });
        }
    }

    pub(super) fn repin(&mut self) {
        if let Some(held) = self.held.last_mut() {
            held.watched.clear();
            match &mut held.guard {
                Guard::Local(guard) => guard.repin(),
                Guard::Owned(guard) => guard.repin(),
            }
        }
    }

    /// Drops the oldest guard.
    pub(super) fn release(&mut self) {
        self.verify_held();
        if !self.held.is_empty() {
            self.held.remove(0);
        }
    }

    /// Values read under a guard are still valid, freed or not.
    pub(super) fn verify_held(&self) {
        for (slot, seen) in self.held.iter().flat_map(|held| &held.watched) {
            let serial = typed!(*slot, T => {
                // SAFETY: the reference was obtained under the guard that it is kept with, so it is valid until the guard is
                // dropped or repinned, and `at` came from a value of the slot's type.
                let value = unsafe { &*seen.at.cast::<T>() };
                value.check()
            });
            assert_eq!(serial, seen.serial, "a value changed under a guard");
        }
    }
}

/// Creates this many more fillers.
pub(super) fn fill<R: Reclaim>(store: &ShadowStore<R>, counters: &Arc<Counters>, model: &mut Model, count: usize) {
    let (first, next) = model.fillers;
    let count = count.min(MOST_FILLERS - (next - first));
    for n in next..next + count {
        let serial = make_filler(store, counters, n);
        model.insert(filler(n), FILLER, Value::new(serial, false));
    }
    model.fillers.1 += count;
}

/// Creates the `n`th filler, and returns its serial number.
fn make_filler<R: Reclaim>(store: &ShadowStore<R>, counters: &Arc<Counters>, n: usize) -> u64 {
    let serial = counters.serial();
    let made = store
        .pin()
        .alloc(filler(n), ShadowId::<Plain>::new(FILLER), Plain::new(counters, serial))
        .map(drop);
    assert!(
        made.is_ok(),
        "filler {n} refused: {:?}",
        made.err().map(|refused| refused.error)
    );
    serial
}
