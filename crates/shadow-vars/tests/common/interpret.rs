//! The meaning of each operation: run it on the store and on the model, compare the answers.
//!
//! Creation is in `construct`, removal in `remove`, raw memory in `raw`, operations that replace the table or produce garbage
//! in `table`; this file has the rest, and the final comparison of everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use shadow_vars::{ObjAddr, Reclaim, ShadowId, ShadowStore, StoreError, VarRef, Variable};

use super::door::{Door, Seen};
use super::model::{Binding, Model};
use super::op::{ADDRESSES, FILLER, Key, Op, RAW, Slot, Via, filler};
use super::payload::{Counters, Flag, Node, Payload, Plain, Wide};
use super::table::{Guard, Held};

/// Runs an expression with `$T` as the type of the slot's values.
macro_rules! typed {
    ($slot:expr, $T:ident => $e:expr) => {
        match $slot {
            Slot::Node | Slot::Twin => {
                type $T = Node;
                $e
            }
            Slot::Plain => {
                type $T = Plain;
                $e
            }
            Slot::Flag => {
                type $T = Flag;
                $e
            }
            Slot::Wide => {
                type $T = Wide;
                $e
            }
        }
    };
}
pub(super) use typed;

/// A type that no id of the kit has.
pub(super) struct Stranger;

/// One store and the model of it.
pub struct Interpreter<'s, R: Reclaim> {
    pub(super) store: &'s ShadowStore<R>,
    pub(super) counters: Arc<Counters>,
    pub(super) model: Model,
    pub(super) held: Vec<Held<'s, R>>,
}

impl<'s, R: Reclaim> Interpreter<'s, R> {
    pub fn new(store: &'s ShadowStore<R>, counters: &Arc<Counters>, model: Model) -> Self {
        Interpreter {
            store,
            counters: counters.clone(),
            model,
            held: Vec::new(),
        }
    }

    /// Runs one operation on both.
    pub fn apply(&mut self, op: &Op) {
        match *op {
            Op::Get { key, via } => typed!(key.slot, T => self.get::<T>(key, via)),
            Op::TryGet { key, via } => typed!(key.slot, T => self.get_by_variable::<T>(key, via)),
            Op::Contains { key, via } => typed!(key.slot, T => self.contains::<T>(key, via)),
            Op::GetCloned { key } => self.get_cloned(key),
            Op::GetMany { keys, places, via } => self.get_many(usize::from(keys) % 48, usize::from(places) % 48, via),
            Op::Touch { key } => self.touch(key),

            Op::Alloc { .. }
            | Op::AllocWith { .. }
            | Op::TryAllocWith { .. }
            | Op::AllocZeroed { .. }
            | Op::GetOrAlloc { .. }
            | Op::GetOrAllocWith { .. }
            | Op::GetOrTryAllocWith { .. }
            | Op::GetOrAllocZeroed { .. } => self.create(op),

            Op::Free { .. }
            | Op::FreeWith { .. }
            | Op::FreeAll { .. }
            | Op::FreeAllWith { .. }
            | Op::FreeObject { .. }
            | Op::FreeWhileIterating { .. }
            | Op::ParFreeAllWith { .. }
            | Op::Parent { .. } => self.remove(op),

            Op::IdsOf { key, via } => self.ids_of(key.address(), via),
            Op::Iterate { via } => {
                let seen = self.iterate(via, |_| ());
                assert_eq!(seen, self.model.serials(), "iteration");
            }
            Op::FillWhileIterating { count } => self.fill_while_iterating(usize::from(count) % 48),
            Op::ParIterate {} => self.par_iterate(),
            Op::Lengths {} => self.lengths(),
            Op::Stats {} => self.stats(),

            Op::CheckIds {} => self.check_ids(),
            Op::WrongType { key, via } => self.wrong_type(key, via),
            Op::RawOnTyped { .. }
            | Op::RawGet { .. }
            | Op::RawAlloc { .. }
            | Op::RawGetOrAlloc { .. }
            | Op::RawFree { .. }
            | Op::RawFreeAll { .. } => self.raw(op),

            Op::Fill { count } => self.fill(usize::from(count) % 48),
            Op::Drain { count } => self.drain(usize::from(count)),
            Op::Churn { count } => self.churn(usize::from(count) % 48),
            Op::ShrinkToFit {} => self.store.shrink_to_fit(),
            Op::Flush {} => self.store.flush(),
            Op::Synchronize {} => self.synchronize(),
            Op::Hold { owned } => self.hold(owned),
            Op::Repin {} => self.repin(),
            Op::Release {} => self.release(),
        }
        self.verify_held();
        self.counters.assert_no_faults();
    }

    /// Compares everything with everything, drops the guards, and compares the living values with those that the model
    /// expects.
    pub fn finish(mut self) {
        self.sweep();
        while !self.held.is_empty() {
            self.release();
        }
        self.synchronize();
        self.stats();
        self.sweep();
    }

    /// Returns the door for an operation, together with the store and the model.
    pub(super) fn parts(&mut self, via: Via) -> (Door<'_, 's, R>, &'s ShadowStore<R>, &mut Model, &Arc<Counters>) {
        let door = match (via, self.held.last()) {
            (Via::Variable, _) => Door::Variable(self.store),
            (Via::Pin, _) | (Via::Held, None) => Door::Pin(self.store),
            (Via::Held, Some(held)) => match &held.guard {
                Guard::Local(guard) => Door::Held(guard),
                Guard::Owned(guard) => Door::Owned(guard),
            },
        };
        (door, self.store, &mut self.model, &self.counters)
    }

    /// Checks that the store's answer for one variable is the model's.
    pub(super) fn compare(&mut self, obj: usize, id: u64, seen: Option<Seen>) {
        compare(&mut self.model, obj, id, seen);
    }

    fn get<T: Payload>(&mut self, key: Key, via: Via) {
        let seen = self.parts(via).0.get::<T>(key.address(), ShadowId::new(key.slot.id()));
        self.compare(key.address(), key.slot.id(), seen);
        if let (Via::Held, Some(seen), Some(held)) = (via, seen, self.held.last_mut()) {
            held.watched.push((key.slot, seen));
        }
    }

    fn get_by_variable<T: Payload>(&mut self, key: Key, via: Via) {
        let id = ShadowId::<T>::new(key.slot.id());
        let seen = self.parts(via).0.get_by_variable(key.address(), id);
        self.compare(key.address(), key.slot.id(), seen);
    }

    fn contains<T: Payload>(&mut self, key: Key, via: Via) {
        let id = ShadowId::<T>::new(key.slot.id());
        let found = self.parts(via).0.contains(key.address(), id);
        assert_eq!(found, self.model.get(key.address(), id.get()).is_some(), "contains");
    }

    fn get_cloned(&mut self, key: Key) {
        let id = ShadowId::<Plain>::new(Slot::Plain.id());
        let clone = self
            .store
            .pin()
            .get(key.address(), id)
            .cloned()
            .map(|clone| (clone.check(), clone.hit()));
        let value = self
            .model
            .get(key.address(), id.get())
            .map(|value| (value.serial, value.hits + 1));
        assert_eq!(clone, value, "get_cloned");
    }

    fn get_many(&mut self, keys: usize, places: usize, via: Via) {
        // Both ids of one type, over the parents repeatedly; then fillers, some of them freed or never created.
        let parents: Vec<_> = (0..keys)
            .map(|n| ObjAddr::new(ADDRESSES[n % ADDRESSES.len()]))
            .collect();
        let first = self.model.fillers.0.saturating_sub(2);
        let fillers: Vec<_> = (0..keys).map(|n| ObjAddr::new(filler(first + n))).collect();
        for slot in [Slot::Node, Slot::Twin] {
            let id = ShadowId::<Node>::new(slot.id());
            let seen = self.parts(via).0.get_many(&parents, id, places);
            for (obj, seen) in parents.iter().zip(seen) {
                self.compare(obj.get(), id.get(), seen);
            }
        }
        let id = ShadowId::<Plain>::new(FILLER);
        let seen = self.parts(via).0.get_many(&fillers, id, places);
        for (obj, seen) in fillers.iter().zip(seen) {
            self.compare(obj.get(), id.get(), seen);
        }
    }

    fn touch(&mut self, key: Key) {
        let id = ShadowId::<Plain>::new(Slot::Plain.id());
        let hits = self.store.pin().get(key.address(), id).map(Plain::hit);
        let value = self.model.get_mut(key.address(), id.get()).map(|value| {
            value.hits += 1;
            value.hits
        });
        assert_eq!(hits, value, "a value changed in place");
    }

    fn ids_of(&mut self, obj: usize, via: Via) {
        let mut ids = self.parts(via).0.ids_of(obj);
        ids.sort_unstable();
        assert_eq!(ids, self.model.ids_of(obj), "ids_of {obj:#x}");
    }

    /// Returns what an iteration reports, with `each` run for every variable. None is reported twice.
    pub(super) fn iterate(&mut self, via: Via, mut each: impl FnMut(&VarRef<'_>)) -> BTreeMap<(usize, u64), u64> {
        let mut seen = BTreeMap::new();
        let serials = self.model.serials();
        self.parts(via).0.for_each(|var| {
            let key = (var.obj().get(), var.id());
            let before = seen.insert(
                key,
                identify(&var).unwrap_or_else(|| serials.get(&key).copied().unwrap_or(u64::MAX)),
            );
            assert_eq!(before, None, "{key:x?} iterated twice");
            assert!(var.downcast_ref::<Stranger>().is_none(), "a stranger's type");
            each(&var);
        });
        seen
    }

    #[cfg(not(feature = "rayon"))]
    fn par_iterate(&mut self) {
        let seen = self.iterate(Via::Pin, |_| ());
        assert_eq!(seen, self.model.serials(), "iteration");
    }

    #[cfg(feature = "rayon")]
    fn par_iterate(&mut self) {
        use rayon::iter::ParallelIterator as _;

        let pin = self.store.pin_owned();
        let mut seen: Vec<_> = pin.par_iter().map(|var| (var.obj().get(), var.id())).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(self.model.keys()), "parallel iteration");
    }

    fn lengths(&mut self) {
        let len = self.model.len();
        assert_eq!(self.store.len(), len, "len");
        assert_eq!(self.store.is_empty(), self.model.is_empty(), "is_empty");
        assert!(self.store.capacity() > 0, "capacity");
        for &slot in Slot::ALL {
            let got = typed!(slot, T => self.store.len_of(ShadowId::<T>::new(slot.id())));
            assert_eq!(got, self.model.len_of(slot.id()), "len_of {slot:?}");
        }
    }

    fn stats(&mut self) {
        let stats = self.store.stats();
        let model = &self.model;
        assert_eq!(stats.live, model.len() as u64, "stats().live");
        assert_eq!(stats.created, model.created, "stats().created");
        assert_eq!(stats.freed, model.freed, "stats().freed");
        assert_eq!(stats.ctor_failed, model.failed, "stats().ctor_failed");
        assert!(stats.drop_panics <= self.counters.spites(), "stats().drop_panics");
        assert!(
            stats.claimed <= stats.capacity,
            "{} slots of {} claimed",
            stats.claimed,
            stats.capacity
        );
        assert!(
            stats.tombs <= stats.claimed,
            "{} tombs of {}",
            stats.tombs,
            stats.claimed
        );
        assert!((0.0..=1.0).contains(&stats.load), "load {}", stats.load);
        for ids in &stats.ids {
            assert_eq!(ids.live, model.len_of(ids.id) as u64, "live variables of {:#x}", ids.id);
            assert_eq!(ids.created - ids.freed, ids.live, "created and freed of {:#x}", ids.id);
        }
        let listed: u64 = stats.ids.iter().map(|ids| ids.live).sum();
        assert_eq!(listed, stats.live, "live variables by id");
    }

    fn check_ids(&mut self) {
        for &slot in Slot::ALL {
            typed!(slot, T => assert!(Variable::new_in(ShadowId::<T>::new(slot.id()), self.store).is_ok(), "its own type"));
            let strange = Variable::new_in(ShadowId::<Stranger>::new(slot.id()), self.store);
            assert!(strange.is_err(), "{slot:?} has another type");
        }
    }

    fn wrong_type(&mut self, key: Key, via: Via) {
        let (obj, id) = (key.address(), ShadowId::<Stranger>::new(key.slot.id()));
        let store = self.store;
        assert!(!store.pin().contains(obj, id), "contains, of another type");
        assert!(store.pin().get(obj, id).map(|_| ()).is_none(), "get, of another type");
        assert!(!store.pin().free(obj, id), "free, of another type");
        assert!(
            store.pin().free_with(obj, id, |_, _| ()).is_none(),
            "free_with, of another type"
        );
        assert_eq!(store.pin().free_all(id), 0, "free_all, of another type");
        if self.model.binding(id.get()) == Binding::Bound {
            let pin = store.pin();
            assert!(Variable::new_in(id, store).is_err(), "a variable of another type");
            let refused = store
                .pin()
                .alloc(obj, id, Stranger)
                .map(drop)
                .expect_err("alloc, of another type");
            assert!(
                matches!(refused.error, StoreError::TypeMismatch(_)),
                "{:?}",
                refused.error
            );
            let refused = pin.get_or_alloc_with(obj, id, || unreachable!("constructor of another type"));
            assert!(
                matches!(refused, Err(StoreError::TypeMismatch(_))),
                "get_or_alloc_with, of another type"
            );
        }
        typed!(key.slot, T => self.get::<T>(key, via));
    }

    /// Compares every key, and every way to count or list them.
    fn sweep(&mut self) {
        for key in Key::all() {
            for &via in Via::ALL {
                typed!(key.slot, T => self.get::<T>(key, via));
            }
            typed!(key.slot, T => self.contains::<T>(key, Via::Variable));
        }
        let id = ShadowId::<Plain>::new(FILLER);
        for n in 0..self.model.fillers.1 {
            let seen = self.store.pin().get(filler(n), id).map(Seen::of);
            self.compare(filler(n), FILLER, seen);
        }
        for obj in ADDRESSES {
            self.ids_of(obj, Via::Pin);
        }
        for &via in Via::ALL {
            let seen = self.iterate(via, |_| ());
            assert_eq!(seen, self.model.serials(), "iteration");
        }
        self.lengths();
    }
}

/// Like [`Interpreter::compare`], if only the model is available.
pub(super) fn compare(model: &mut Model, obj: usize, id: u64, seen: Option<Seen>) {
    let expected = model.get(obj, id).map(|value| value.serial);
    assert_eq!(
        seen.map(|seen| seen.serial),
        expected,
        "the variable <{obj:#x}, {id:#x}>"
    );
    if let (Some(value), Some(seen)) = (model.get_mut(obj, id), seen) {
        let at = *value.at.get_or_insert(seen.at);
        assert_eq!(at, seen.at, "<{obj:#x}, {id:#x}> has moved");
    }
}

/// Returns the serial number of a variable that an iteration found, unless it is raw memory.
fn identify(var: &VarRef<'_>) -> Option<u64> {
    let id = var.id();
    if id == RAW {
        return None;
    }
    let serial = match Slot::ALL.iter().find(|slot| slot.id() == id) {
        Some(&slot) => typed!(slot, T => var.downcast_ref::<T>().map(T::check)),
        None => var.downcast_ref::<Plain>().map(Plain::check),
    };
    assert!(
        serial.is_some(),
        "an iterated variable of id {id:#x} has another type: {}",
        var.type_name()
    );
    serial
}
