//! The ways to access a store: its own methods, a guard taken for one operation, a guard held over many.
//!
//! The interpreter gets the same answer through each [`Door`]; the comparison with the model proves that the answers really
//! agree.

use std::ptr::from_ref;

use shadow_vars::{
    AllocError, CtorError, ObjAddr, OwnedPinned, Pinned, Reclaim, ShadowId, ShadowStore, StoreError, TypeMismatch,
    VarRef, Zeroable,
};

use super::payload::Payload;

/// A way to access the store.
pub enum Door<'a, 's, R: Reclaim> {
    Store(&'s ShadowStore<R>),
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

/// One expression for the store's form of an operation, one for the form that all guards share.
macro_rules! through {
    ($door:expr, |$store:ident| $by_store:expr, |$pin:ident| $by_pin:expr) => {
        match $door {
            Door::Store($store) => $by_store,
            Door::Pin(store) => {
                let $pin = store.pin();
                $by_pin
            }
            Door::Held($pin) => $by_pin,
            Door::Owned($pin) => $by_pin,
        }
    };
}

impl<R: Reclaim> Door<'_, '_, R> {
    pub fn get<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> Option<Seen> {
        through!(self, |s| s.get_with(obj, id, Seen::of), |p| p
            .get(obj, id)
            .map(Seen::of))
    }

    pub fn try_get<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> Result<Option<Seen>, TypeMismatch> {
        through!(
            self,
            |s| s.pin().try_get(obj, id).map(|found| found.map(Seen::of)),
            |p| p.try_get(obj, id).map(|found| found.map(Seen::of))
        )
    }

    pub fn contains<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> bool {
        through!(self, |s| s.contains(obj, id), |p| p
            .typed(id)
            .is_some_and(|typed| typed.contains(obj)))
    }

    /// Returns one answer per pair of key and place.
    pub fn get_many<T: Payload>(&self, keys: &[(ObjAddr, ShadowId<T>)], places: usize) -> Vec<Option<Seen>> {
        through!(
            self,
            |s| {
                let pin = s.pin();
                let mut out = vec![None; places];
                pin.get_many(keys, &mut out);
                out.into_iter().map(|found| found.map(Seen::of)).collect()
            },
            |p| {
                let mut out = vec![None; places];
                p.get_many(keys, &mut out);
                out.into_iter().map(|found| found.map(Seen::of)).collect()
            }
        )
    }

    /// The created value is seen only where the door returns a reference; likewise for all operations that create and do not
    /// find.
    pub fn alloc<T: Payload>(&self, obj: usize, id: ShadowId<T>, value: T) -> Result<Option<Seen>, AllocError<T>> {
        through!(self, |s| s.alloc(obj, id, value).map(|()| None), |p| p
            .alloc(obj, id, value)
            .map(|made| Some(Seen::of(made))))
    }

    pub fn alloc_with<T: Payload>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<Option<Seen>, StoreError> {
        through!(self, |s| s.alloc_with(obj, id, ctor).map(|()| None), |p| p
            .alloc_with(obj, id, ctor)
            .map(|made| Some(Seen::of(made))))
    }

    pub fn try_alloc_with<T: Payload, E>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<Option<Seen>, CtorError<E>> {
        through!(self, |s| s.try_alloc_with(obj, id, ctor).map(|()| None), |p| p
            .try_alloc_with(obj, id, ctor)
            .map(|made| Some(Seen::of(made))))
    }

    pub fn alloc_zeroed<T: Payload + Zeroable>(&self, obj: usize, id: ShadowId<T>) -> Result<Option<Seen>, StoreError> {
        through!(self, |s| s.alloc_zeroed(obj, id).map(|()| None), |p| p
            .alloc_zeroed(obj, id)
            .map(|made| Some(Seen::of(made))))
    }

    pub fn get_or_alloc<T: Payload>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        value: T,
    ) -> Result<Option<Seen>, AllocError<T>> {
        through!(self, |s| s.get_or_alloc(obj, id, value, Seen::of).map(Some), |p| p
            .get_or_alloc(obj, id, value)
            .map(|found| Some(Seen::of(found))))
    }

    pub fn get_or_alloc_with<T: Payload>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> T,
    ) -> Result<Option<Seen>, StoreError> {
        through!(self, |s| s.get_or_alloc_with(obj, id, ctor, Seen::of).map(Some), |p| p
            .get_or_alloc_with(obj, id, ctor)
            .map(|found| Some(Seen::of(found))))
    }

    pub fn get_or_try_alloc_with<T: Payload, E>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        ctor: impl FnOnce(ObjAddr) -> Result<T, E>,
    ) -> Result<Option<Seen>, CtorError<E>> {
        through!(
            self,
            |s| s.get_or_try_alloc_with(obj, id, ctor, Seen::of).map(Some),
            |p| p
                .get_or_try_alloc_with(obj, id, ctor)
                .map(|found| Some(Seen::of(found)))
        )
    }

    pub fn get_or_alloc_zeroed<T: Payload + Zeroable>(
        &self,
        obj: usize,
        id: ShadowId<T>,
    ) -> Result<Option<Seen>, StoreError> {
        through!(self, |s| s.get_or_alloc_zeroed(obj, id, Seen::of).map(Some), |p| p
            .get_or_alloc_zeroed(obj, id)
            .map(|found| Some(Seen::of(found))))
    }

    pub fn free<T: Payload>(&self, obj: usize, id: ShadowId<T>) -> bool {
        through!(self, |s| s.free(obj, id), |p| p.free(obj, id))
    }

    pub fn free_with<T: Payload, O>(
        &self,
        obj: usize,
        id: ShadowId<T>,
        dtor: impl FnOnce(ObjAddr, &T) -> O,
    ) -> Option<O> {
        through!(self, |s| s.free_with(obj, id, dtor), |p| p.free_with(obj, id, dtor))
    }

    pub fn free_all<T: Payload>(&self, id: ShadowId<T>) -> usize {
        through!(self, |s| s.free_all(id), |p| p.free_all(id))
    }

    pub fn free_all_with<T: Payload>(&self, id: ShadowId<T>, dtor: impl FnMut(ObjAddr, &T)) -> usize {
        through!(self, |s| s.free_all_with(id, dtor), |p| p.free_all_with(id, dtor))
    }

    pub fn free_object(&self, obj: usize) -> usize {
        through!(self, |s| s.free_object(obj), |p| p.free_object(obj))
    }

    pub fn ids_of(&self, obj: usize) -> Vec<u64> {
        through!(self, |s| s.ids_of(obj), |p| p.ids_of(obj))
    }

    pub fn for_each(&self, each: impl FnMut(VarRef<'_>)) {
        through!(self, |s| s.for_each(each), |p| p.iter().for_each(each))
    }
}
