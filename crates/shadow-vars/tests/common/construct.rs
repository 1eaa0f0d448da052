//! Creation, in every form, with constructors that do everything a constructor may do.
//!
//! Proves: the constructor runs once if the variable is absent and not at all if it exists, no look-up finds the variable
//! while it runs, it may use the store for other variables, a failure or a panic leaves no variable, and a constructor that
//! requests the variable it is constructing gets an error.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Arc;

use shadow_vars::{AllocError, CtorError, ObjAddr, Reclaim, ShadowId, ShadowStore, StoreError};

use super::door::{Door, Seen};
use super::interpret::{Interpreter, compare, typed};
use super::model::{Model, Value};
use super::op::{Ctor, Key, Op, Slot, Via};
use super::payload::{Counters, Flag, Node, Payload, Plain, Provoked, Wide, Zero};
use super::table::fill;

/// How a creation ended.
enum Outcome {
    /// Created or found.
    There(Seen),
    /// The constructor failed.
    Refused,
    Panicked,
    Store(StoreError),
}

/// Why a constructor fails.
struct Refusal;

impl From<Result<Seen, StoreError>> for Outcome {
    fn from(result: Result<Seen, StoreError>) -> Self {
        result.map_or_else(Outcome::Store, Outcome::There)
    }
}

impl From<Result<Seen, CtorError<Refusal>>> for Outcome {
    fn from(result: Result<Seen, CtorError<Refusal>>) -> Self {
        match result {
            Ok(seen) => Outcome::There(seen),
            Err(CtorError::Ctor(Refusal)) => Outcome::Refused,
            Err(CtorError::Store(error)) => Outcome::Store(error),
        }
    }
}

/// A creation, and its outcome.
struct Creation {
    key: Key,
    via: Via,
    /// Whether an existing variable is an error.
    exclusive: bool,
    /// The number that the value shows.
    serial: u64,
    how: Ctor,
}

impl<R: Reclaim> Interpreter<'_, R> {
    pub(super) fn create(&mut self, op: &Op) {
        match *op {
            Op::Alloc { key, via } => typed!(key.slot, T => self.by_value::<T>(key, via, true)),
            Op::GetOrAlloc { key, via } => typed!(key.slot, T => self.by_value::<T>(key, via, false)),
            Op::AllocWith { key, how, via } => typed!(key.slot, T => self.by_ctor::<T>(key, how, via, true)),
            Op::GetOrAllocWith { key, how, via } => typed!(key.slot, T => self.by_ctor::<T>(key, how, via, false)),
            Op::TryAllocWith { key, how, via } => typed!(key.slot, T => self.by_trying::<T>(key, how, via, true)),
            Op::GetOrTryAllocWith { key, how, via } => typed!(key.slot, T => self.by_trying::<T>(key, how, via, false)),
            Op::AllocZeroed { key, via } => self.zeroed(key, via, true),
            Op::GetOrAllocZeroed { key, via } => self.zeroed(key, via, false),
            _ => unreachable!("{op:?} does not create"),
        }
    }

    fn by_value<T: Payload>(&mut self, key: Key, via: Via, exclusive: bool) {
        let id = ShadowId::<T>::new(key.slot.id());
        let serial = self.counters.serial();
        let value = T::new(&self.counters, serial);
        let (door, ..) = self.parts(via);
        let result = match exclusive {
            true => door.alloc(key.address(), id, value),
            false => door.get_or_alloc(key.address(), id, value),
        };
        // A refused creation gives the value back, whole.
        let outcome = result.map_or_else(
            |AllocError { value, error, .. }| {
                assert_eq!(value.check(), T::shows(serial), "the value handed back");
                Outcome::Store(error)
            },
            Outcome::There,
        );
        let existed = self.model.get(key.address(), id.get()).is_some();
        let creation = Creation {
            key,
            via,
            exclusive,
            serial,
            how: Ctor::Succeeds,
        };
        self.settle::<T>(&creation, existed, outcome);
    }

    fn by_ctor<T: Payload>(&mut self, key: Key, how: Ctor, via: Via, exclusive: bool) {
        // A constructor that returns no `Result` cannot fail.
        let how = match how {
            Ctor::Fails => Ctor::Succeeds,
            Ctor::NestsAndFails => Ctor::Nests,
            how => how,
        };
        self.run_ctor::<T>(key, how, via, exclusive, |door, id, scene| {
            let ctor = || scene.run::<T>().unwrap_or_else(|Refusal| unreachable!());
            match exclusive {
                true => door.alloc_with(key.address(), id, ctor).into(),
                false => door.get_or_alloc_with(key.address(), id, ctor).into(),
            }
        });
    }

    fn by_trying<T: Payload>(&mut self, key: Key, how: Ctor, via: Via, exclusive: bool) {
        self.run_ctor::<T>(key, how, via, exclusive, |door, id, scene| {
            let ctor = || scene.run::<T>();
            match exclusive {
                true => door.try_alloc_with(key.address(), id, ctor).into(),
                false => door.get_or_try_alloc_with(key.address(), id, ctor).into(),
            }
        });
    }

    fn zeroed(&mut self, key: Key, via: Via, exclusive: bool) {
        let slot = if key.slot == Slot::Flag {
            Slot::Flag
        } else {
            Slot::Plain
        };
        let key = Key { slot, ..key };
        match slot {
            Slot::Flag => self.zeroed_as::<Flag>(key, via, exclusive),
            _ => self.zeroed_as::<Plain>(key, via, exclusive),
        }
    }

    fn zeroed_as<T: Zero>(&mut self, key: Key, via: Via, exclusive: bool) {
        let id = ShadowId::<T>::new(key.slot.id());
        let (door, ..) = self.parts(via);
        let outcome = match exclusive {
            true => door.alloc_zeroed(key.address(), id).into(),
            false => door.get_or_alloc_zeroed(key.address(), id).into(),
        };
        let existed = self.model.get(key.address(), id.get()).is_some();
        let creation = Creation {
            key,
            via,
            exclusive,
            serial: 0,
            how: Ctor::Succeeds,
        };
        self.settle::<T>(&creation, existed, outcome);
    }

    /// Runs one creation with a constructor, and counts how often the constructor ran.
    fn run_ctor<T: Payload>(
        &mut self,
        key: Key,
        how: Ctor,
        via: Via,
        exclusive: bool,
        attempt: impl FnOnce(&Door<'_, '_, R>, ShadowId<T>, Scene<'_, R>) -> Outcome,
    ) {
        let id = ShadowId::<T>::new(key.slot.id());
        let existed = self.model.get(key.address(), id.get()).is_some();
        let serial = self.counters.serial();
        let runs = Cell::new(0);
        let (door, store, model, counters) = self.parts(via);
        let scene = Scene {
            store,
            model,
            counters,
            key,
            how,
            serial,
            runs: &runs,
        };
        let outcome = match catch_unwind(AssertUnwindSafe(|| attempt(&door, id, scene))) {
            Ok(outcome) => outcome,
            Err(panic) if panic.is::<Provoked>() => Outcome::Panicked,
            Err(panic) => resume_unwind(panic),
        };
        assert_eq!(runs.get(), u32::from(!existed), "runs of a constructor");
        let creation = Creation {
            key,
            via,
            exclusive,
            serial,
            how,
        };
        self.settle::<T>(&creation, existed, outcome);
    }

    /// Compares the outcome with the model's, and updates the model.
    fn settle<T: Payload>(&mut self, creation: &Creation, existed: bool, outcome: Outcome) {
        let (obj, id) = (creation.key.address(), creation.key.slot.id());
        let fails = matches!(creation.how, Ctor::Fails | Ctor::NestsAndFails);
        let seen = match outcome {
            Outcome::There(seen) => {
                assert!(!(existed && creation.exclusive), "created what existed");
                assert!(
                    existed || !fails && creation.how != Ctor::Panics,
                    "created by a constructor that failed"
                );
                if !existed {
                    self.model
                        .insert(obj, id, Value::new(T::shows(creation.serial), T::COUNTED));
                }
                Some(seen)
            }
            Outcome::Store(error) => {
                assert!(existed && creation.exclusive, "refused without cause: {error:?}");
                assert_eq!(
                    error,
                    StoreError::Exists {
                        obj: ObjAddr::new(obj),
                        id
                    }
                );
                None
            }
            Outcome::Refused | Outcome::Panicked => {
                let panicked = matches!(outcome, Outcome::Panicked);
                assert!(
                    !existed && if panicked { creation.how == Ctor::Panics } else { fails },
                    "failed without cause"
                );
                self.model.failed += 1;
                self.model.tried(id);
                None
            }
        };
        if seen.is_some() {
            self.compare(obj, id, seen);
        }
        let seen = self.parts(creation.via).0.get::<T>(obj, ShadowId::new(id));
        self.compare(obj, id, seen);
    }
}

/// The state that a constructor uses.
struct Scene<'a, R: Reclaim> {
    store: &'a ShadowStore<R>,
    model: &'a mut Model,
    counters: &'a Arc<Counters>,
    key: Key,
    how: Ctor,
    serial: u64,
    runs: &'a Cell<u32>,
}

impl<R: Reclaim> Scene<'_, R> {
    /// The constructor.
    fn run<T: Payload>(mut self) -> Result<T, Refusal> {
        self.runs.set(self.runs.get() + 1);
        match self.how {
            Ctor::Succeeds => {}
            Ctor::Fails => return Err(Refusal),
            Ctor::Panics => panic_any(Provoked),
            Ctor::Nests => self.nest::<T>(),
            Ctor::NestsAndFails => {
                self.nest::<T>();
                return Err(Refusal);
            }
            Ctor::Recurses => self.recurse::<T>(),
            Ctor::Looks => self.look::<T>(),
            Ctor::Frees => self.free::<T>(),
            Ctor::Fills => fill(self.store, self.counters, self.model, 9),
            Ctor::Spites => return Ok(T::spiteful(self.counters, self.serial)),
        }
        Ok(T::new(self.counters, self.serial))
    }

    /// Finds or creates the next parent's variable.
    fn nest<T: Payload>(&mut self) {
        let (obj, id) = (self.key.next().address(), ShadowId::<T>::new(self.key.slot.id()));
        let serial = self.counters.serial();
        let seen = self
            .store
            .pin()
            .get_or_alloc_with(obj, id, || T::new(self.counters, serial))
            .map(Seen::of);
        if self.model.get(obj, id.get()).is_none() {
            self.model
                .insert(obj, id.get(), Value::new(T::shows(serial), T::COUNTED));
        }
        compare(self.model, obj, id.get(), Some(seen.expect("a nested constructor")));
    }

    /// Requests its own variable.
    fn recurse<T: Payload>(&mut self) {
        let (obj, id) = (self.key.address(), ShadowId::<T>::new(self.key.slot.id()));
        let told = StoreError::Recursion {
            obj: ObjAddr::new(obj),
            id: id.get(),
        };
        let asked = self
            .store
            .pin()
            .get_or_alloc_with(obj, id, || unreachable!("a constructor within itself"))
            .map(Seen::of);
        assert_eq!(asked.err(), Some(told), "get_or_alloc_with on its own variable");
        let serial = self.counters.serial();
        let asked = self.store.pin().alloc(obj, id, T::new(self.counters, serial)).map(drop);
        let refused = asked.expect_err("alloc of its own variable");
        assert!(
            matches!(refused.error, StoreError::Recursion { .. }),
            "{:?}",
            refused.error
        );
        assert_eq!(refused.value.check(), T::shows(serial), "the value handed back");
    }

    /// No look-up finds the variable yet, and none waits for it.
    fn look<T: Payload>(&mut self) {
        let (obj, id) = (self.key.address(), ShadowId::<T>::new(self.key.slot.id()));
        let pin = self.store.pin();
        assert!(pin.get(obj, id).is_none(), "get finds what is being constructed");
        assert!(!pin.contains(obj, id), "contains finds what is being constructed");
        assert!(!pin.free(obj, id), "free finds what is being constructed");
        assert!(
            pin.free_with(obj, id, |_, _| ()).is_none(),
            "free_with finds what is being constructed"
        );
        let mut ids = pin.ids_of(obj);
        ids.sort_unstable();
        assert_eq!(ids, self.model.ids_of(obj), "ids_of during construction");
        assert_eq!(self.store.len(), self.model.len(), "len during construction");
        assert_eq!(
            self.store.len_of(id),
            self.model.len_of(id.get()),
            "len_of during construction"
        );
        let iterated = pin.iter().map(|var| (var.obj().get(), var.id())).collect();
        assert_eq!(self.model.keys(), iterated, "iteration during construction");
    }

    /// Frees one of its siblings, then all of them, then its cousins.
    fn free<T: Payload>(&mut self) {
        let (obj, id) = (self.key.next().address(), ShadowId::<T>::new(self.key.slot.id()));
        let expected = self.model.remove(obj, id.get()).is_some();
        assert_eq!(self.store.pin().free(obj, id), expected, "free within a constructor");
        let expected = self.model.remove_all(|_, other| other == id.get()).len();
        assert_eq!(self.store.pin().free_all(id), expected, "free_all within a constructor");
        let obj = self.key.address();
        let expected = self.model.remove_all(|other, _| other == obj).len();
        assert_eq!(
            self.store.pin().free_object(obj),
            expected,
            "free_object within a constructor"
        );
    }
}
