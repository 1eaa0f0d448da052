//! The ways to access a store: by a `Variable` or by id, under a guard taken for one operation, or one held over many.
//!
//! The interpreter gets the same answer through each [`Door`]; the comparison with the model proves that the answers really
//! agree.

use std::ptr::from_ref;

use shadow_vars::{
    AllocError, CtorError, ObjAddr, OwnedPinned, Pinned, Reclaim, ShadowId, ShadowStore, StoreError, VarRef, Variable,
};

use super::payload::{Payload, Zero};

/// A way to access the store.
pub enum Door<'a, 's, R: Reclaim> {
    Variable(&'s ShadowStore<R>),
    Pin(&'s ShadowStore<R>),
    Held(&'a Pinned<'s, R>),
    Owned(&'a OwnedPinned<'s, R>),
}

/// A value that was read: its serial number and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub serial: u64,
    pub at: *const (),
}

impl Seen {
    pub fn of<T: Payload>(value: &T) -> Self {
        Seen {
            serial: value.check(),
            at: from_ref(value).cast(),
        }
    }
}

/// Runs one expression under the guard of the door, with what stands for the id.
macro_rules! through {
    ($door:expr, $id:expr, |$pin:ident, $of:ident| $operation:expr) => {
        match $door {
            Door::Variable(store) => {
                let variable = Variable::new_in($id, *store).expect("the id's own type");
                let ($pin, $of) = (store.pin(), &variable);
                $operation
            }
            Door::Pin(store) => {
                let ($pin, $of) = (store.pin(), $id);
                $operation
            }
            Door::Held($pin) => {
                let $of = $id;
                $operation
            }
            Door::Owned($pin) => {
                let $of = $id;
                $operation
            }
        }
    };
}

/// The same for operations that have no id.
macro_rules! under {
    ($door:expr, |$pin:ident| $operation:expr) => {
        match $door {
            Door::Variable(store) | Door::Pin(store) => {
                let $pin = store.pin();
                $operation
            }
            Door::Held($pin) => $operation,
            Door::Owned($pin) => $operation,
        }
    };
}

impl<R: Reclaim> Door<'_, '_, R> {
    pub fn get<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> Option<Seen> {
        through!(self, id, |pin, of| pin.get(obj, of).map(Seen::of))
    }

    /// By a `Variable`, under the guard of this door.
    pub fn get_by_variable<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> Option<Seen> {
        under!(self, |pin| {
            let variable = Variable::new_in(id, pin.store()).expect("the id's own type");
            pin.get(obj, &variable).map(Seen::of)
        })
    }

    pub fn contains<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> bool {
        through!(self, id, |pin, of| pin.contains(obj, of))
    }

    /// Returns one answer per pair of parent and place.
    pub fn get_many<T: Payload>(&self, objs: &[ObjAddr], id: ShadowId<T>, places: usize) -> Vec<Option<Seen>> {
        through!(self, id, |pin, of| {
            let mut out = vec![None; places];
            pin.get_many(objs, of, &mut out);
            out.into_iter().map(|found| found.map(Seen::of)).collect()
        })
    }

    pub fn alloc<T: Payload>(&self, obj: usize, id: ShadowId<T>, value: T) -> Result<Seen, AllocError<T>> {
        through!(self, id, |pin, of| pin.alloc(obj, of, value).map(Seen::of))
    }

    pub fn alloc_with<T: Payload>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce() -> T,
    ) -> Result<Seen, StoreError> {
        through!(self, id, |pin, of| pin.alloc_with(obj, of, ctor).map(Seen::of))
    }

    pub fn try_alloc_with<T: Payload, E>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce() -> Result<T, E>,
    ) -> Result<Seen, CtorError<E>> {
        through!(self, id, |pin, of| pin.try_alloc_with(obj, of, ctor).map(Seen::of))
    }

    pub fn alloc_zeroed<T: Zero>(&self, obj: usize, id: ShadowId<T>) -> Result<Seen, StoreError> {
        self.alloc_with(obj, id, || T::ZERO)
    }

    pub fn get_or_alloc<T: Payload>(&self, obj: usize, id: ShadowId<T>, value: T) -> Result<Seen, AllocError<T>> {
        through!(self, id, |pin, of| pin.get_or_alloc(obj, of, value).map(Seen::of))
    }

    pub fn get_or_alloc_with<T: Payload>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce() -> T,
    ) -> Result<Seen, StoreError> {
        through!(self, id, |pin, of| pin.get_or_alloc_with(obj, of, ctor).map(Seen::of))
    }

    pub fn get_or_try_alloc_with<T: Payload, E>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce() -> Result<T, E>,
    ) -> Result<Seen, CtorError<E>> {
        through!(self, id, |pin, of| pin
            .get_or_try_alloc_with(obj, of, ctor)
            .map(Seen::of))
    }

    pub fn get_or_alloc_zeroed<T: Zero>(&self, obj: usize, id: ShadowId<T>) -> Result<Seen, StoreError> {
        self.get_or_alloc_with(obj, id, || T::ZERO)
    }

    pub fn free<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> bool {
        through!(self, id, |pin, of| pin.free(obj, of))
    }

    pub fn free_with<T: Payload, O>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        dtor: impl FnOnce(ObjAddr, &T) -> O,
    ) -> Option<O> {
        through!(self, id, |pin, of| pin.free_with(obj, of, dtor))
    }

    pub fn free_all<T: Payload>(&self, id: ShadowId<T>) -> usize {
        through!(self, id, |pin, of| pin.free_all(of))
    }

    pub fn free_all_with<T: Payload>(&self, id: ShadowId<T>, dtor: impl FnMut(ObjAddr, &T)) -> usize {
        through!(self, id, |pin, of| pin.free_all_with(of, dtor))
    }

    pub fn free_object(&self, obj: usize) -> usize {
        under!(self, |pin| pin.free_object(obj))
    }

    pub fn ids_of(&self, obj: usize) -> Vec<u64> {
        under!(self, |pin| pin.ids_of(obj))
    }

    pub fn for_each(&self, each: impl FnMut(VarRef<'_>)) {
        under!(self, |pin| pin.iter().for_each(each))
    }
}
