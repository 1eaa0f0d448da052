//! Removal, in every form, with destructor callbacks that look up, panic, create again or make the table grow.
//!
//! Proves: a freed variable is not found from then on, the callback runs once for a variable that existed and not at all
//! otherwise, it is given the complete value, and a panic in it changes none of this.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::{Arc, Mutex};

use shadow_vars::{ObjAddr, Parent, Reclaim, ShadowId, ShadowStore};

use super::interpret::{Interpreter, typed};
use super::model::{Model, Value};
use super::op::{Dtor, Key, Op, Slot, Via};
use super::payload::{Counters, Flag, Node, Payload, Plain, Provoked, Wide};
use super::table::fill;

impl<R: Reclaim> Interpreter<'_, R> {
    pub(super) fn remove(&mut self, op: &Op) {
        match *op {
            Op::Free { key, via } => typed!(key.slot, T => self.free::<T>(key, via)),
            Op::FreeWith { key, how, via } => typed!(key.slot, T => self.free_with::<T>(key, how, via)),
            Op::FreeAll { slot, via } => typed!(slot, T => self.free_all::<T>(slot.id(), via)),
            Op::FreeAllWith { slot, panics, via } => typed!(slot, T => self.free_all_with::<T>(slot.id(), panics, via)),
            Op::ParFreeAllWith { slot } => typed!(slot, T => self.par_free_all_with::<T>(slot.id())),
            Op::FreeObject { key, via } => self.free_object(key.address(), via),
            Op::FreeWhileIterating { slot } => typed!(slot, T => self.free_while_iterating::<T>(slot.id())),
            Op::Parent { slot } => typed!(slot, T => self.parent::<T>(slot.id())),
            _ => unreachable!("{op:?} does not remove"),
        }
    }

    fn free<T: Payload>(&mut self, key: Key, via: Via) {
        let (obj, id) = (key.address(), ShadowId::<T>::new(key.slot.id()));
        let freed = self.parts(via).0.free(obj, id);
        assert_eq!(freed, self.model.remove(obj, id.get()).is_some(), "free");
        let seen = self.parts(via).0.get(obj, id);
        self.compare(obj, id.get(), seen);
    }

    fn free_with<T: Payload>(&mut self, key: Key, how: Dtor, via: Via) {
        let (obj, id) = (key.address(), ShadowId::<T>::new(key.slot.id()));
        let expected = self.model.remove(obj, id.get()).map(|value| value.serial);
        let given = Cell::new(None);
        let (door, store, model, counters) = self.parts(via);
        let scene = Scene {
            store,
            model,
            counters,
            key,
        };
        let freed = catch_unwind(AssertUnwindSafe(|| {
            door.free_with(obj, id, |parent, value: &T| {
                assert_eq!(parent.get(), obj, "a destructor gets the parent's address");
                assert_eq!(given.replace(Some(value.check())), None, "a destructor ran twice");
                scene.run::<T>(how);
                assert_eq!(given.get(), Some(value.check()), "a value changed under its destructor");
                value.check()
            })
        }));
        match freed {
            Ok(freed) => assert_eq!(freed, expected, "free_with"),
            Err(panic) if panic.is::<Provoked>() => assert_eq!(how, Dtor::Panics),
            Err(panic) => resume_unwind(panic),
        }
        assert_eq!(given.get(), expected, "what the destructor was given");
        let seen = self.parts(via).0.get(obj, id);
        self.compare(obj, id.get(), seen);
    }

    fn free_all<T: Payload>(&mut self, id: u64, via: Via) {
        let freed = self.parts(via).0.free_all(ShadowId::<T>::new(id));
        assert_eq!(freed, self.model.remove_all(|_, other| other == id).len(), "free_all");
        assert_eq!(
            self.store.len_of(ShadowId::<T>::new(id)),
            self.model.len_of(id),
            "len_of after free_all"
        );
    }

    fn free_all_with<T: Payload>(&mut self, id: u64, panics: bool, via: Via) {
        let mut given = BTreeMap::new();
        let door = self.parts(via).0;
        let freed = catch_unwind(AssertUnwindSafe(|| {
            door.free_all_with(ShadowId::<T>::new(id), |obj, value| {
                let before = given.insert((obj.get(), id), value.check());
                assert_eq!(before, None, "a destructor ran twice");
                if panics {
                    panic_any(Provoked);
                }
            })
        }));
        let expected = self.model.remove_all(|_, other| other == id);
        match freed {
            Ok(freed) => assert_eq!(freed, expected.len(), "free_all_with"),
            // All have been freed nevertheless.
            Err(panic) if panic.is::<Provoked>() => assert!(panics && !expected.is_empty()),
            Err(panic) => resume_unwind(panic),
        }
        let expected = expected.into_iter().map(|(key, value)| (key, value.serial)).collect();
        assert_eq!(given, expected, "what the destructor was given");
        assert_eq!(
            self.store.len_of(ShadowId::<T>::new(id)),
            self.model.len_of(id),
            "len_of after free_all_with"
        );
    }

    fn par_free_all_with<T: Payload>(&mut self, id: u64) {
        let given = Mutex::new(BTreeMap::new());
        let dtor = |obj: ObjAddr, value: &T| {
            let before = given.lock().unwrap().insert((obj.get(), id), value.check());
            assert_eq!(before, None, "a destructor ran twice");
        };
        #[cfg(feature = "rayon")]
        let freed = self.store.pin().par_free_all_with(ShadowId::<T>::new(id), dtor);
        #[cfg(not(feature = "rayon"))]
        let freed = self.store.pin().free_all_with(ShadowId::<T>::new(id), dtor);
        let expected = self.model.remove_all(|_, other| other == id);
        assert_eq!(freed, expected.len(), "par_free_all_with");
        let expected = expected.into_iter().map(|(key, value)| (key, value.serial)).collect();
        assert_eq!(given.into_inner().unwrap(), expected, "what the destructor was given");
    }

    fn free_object(&mut self, obj: usize, via: Via) {
        let freed = self.parts(via).0.free_object(obj);
        assert_eq!(
            freed,
            self.model.remove_all(|other, _| other == obj).len(),
            "free_object"
        );
        assert_eq!(
            self.store.pin().ids_of(obj).len(),
            self.model.ids_of(obj).len(),
            "ids_of after free_object"
        );
    }

    fn free_while_iterating<T: Payload>(&mut self, id: u64) {
        let (store, all) = (self.store, self.model.serials());
        let id = ShadowId::<T>::new(id);
        let seen = self.iterate(Via::Variable, |var| {
            if var.id() == id.get() {
                let value: &T = var.downcast_ref().expect("the id's own type");
                assert!(store.pin().free(var.obj(), id), "free of what was just iterated");
                value.check();
            }
        });
        assert_eq!(seen, all, "iteration with removals");
        self.model.remove_all(|_, other| other == id.get());
    }

    /// The allocator gives most parents the address of the previous one, so this also proves that nothing is inherited.
    fn parent<T: Payload>(&mut self, id: u64) {
        let parent = Parent::new_in(id, self.store);
        let (obj, id) = (Parent::addr(&parent), ShadowId::<T>::new(id));
        self.compare(obj.get(), id.get(), None);
        let serial = self.counters.serial();
        let made = self
            .store
            .pin()
            .alloc(obj, id, T::new(&self.counters, serial))
            .map(drop);
        assert!(
            made.is_ok(),
            "a parent's first variable: {:?}",
            made.err().map(|refused| refused.error)
        );
        self.model
            .insert(obj.get(), id.get(), Value::new(T::shows(serial), T::COUNTED));
        assert_eq!(self.store.pin().get(obj, id).map(T::check), Some(T::shows(serial)));
        assert_eq!(*parent, id.get(), "the parent itself");
        drop(parent);
        self.model.remove(obj.get(), id.get());
        assert!(!self.store.pin().contains(obj, id), "a variable outlives its parent");
    }
}

/// The state that a destructor uses.
struct Scene<'a, R: Reclaim> {
    store: &'a ShadowStore<R>,
    model: &'a mut Model,
    counters: &'a Arc<Counters>,
    key: Key,
}

impl<R: Reclaim> Scene<'_, R> {
    fn run<T: Payload>(self, how: Dtor) {
        let (obj, id) = (self.key.address(), ShadowId::<T>::new(self.key.slot.id()));
        match how {
            Dtor::Panics => panic_any(Provoked),
            Dtor::Looks => {
                assert!(
                    self.store.pin().get(obj, id).map(|_| ()).is_none(),
                    "get finds what is being destroyed"
                );
                assert!(!self.store.pin().free(obj, id), "free finds what is being destroyed");
                let mut ids = self.store.pin().ids_of(obj);
                ids.sort_unstable();
                assert_eq!(ids, self.model.ids_of(obj), "ids_of during destruction");
                assert_eq!(
                    self.store.len_of(id),
                    self.model.len_of(id.get()),
                    "len_of during destruction"
                );
            }
            Dtor::Revives => {
                let serial = self.counters.serial();
                let made = self.store.pin().alloc(obj, id, T::new(self.counters, serial)).map(drop);
                assert!(
                    made.is_ok(),
                    "alloc in a destructor: {:?}",
                    made.err().map(|refused| refused.error)
                );
                self.model
                    .insert(obj, id.get(), Value::new(T::shows(serial), T::COUNTED));
            }
            Dtor::Fills => fill(self.store, self.counters, self.model, 9),
        }
    }
}
