//! The promised auto traits of every public type. Variance is checked by examples in `src/variance.rs`.

use std::cell::Cell;
use std::rc::Rc;

use std::sync::Arc;

#[cfg(feature = "rayon")]
use shadow_vars::ParIter;
#[cfg(feature = "seize")]
use shadow_vars::Seize;
use shadow_vars::{
    AllocError, Asymmetric, Attached, BuildError, Builder, CtorError, Epoch, Eras, IdStats, Iter, LayoutMismatch,
    LocalGuard, ObjAddr, OwnedGuard, OwnedPinned, Parent, Pinned, RawCtor, RawDtor, RawVar, ShadowId, ShadowStore,
    Stats, StoreError, SyncError, TypeMismatch, VarRef, Variable,
};

#[macro_use]
#[path = "support/auto_traits.rs"]
mod auto_traits;

/// Neither `Send` nor `Sync`.
type Local = Rc<Cell<u8>>;

#[test]
fn auto_traits_are_as_promised() {
    assert!(has!(Send, u8) && !has!(Send, Local), "the question itself");
    assert_auto! {
        ShadowStore: true true true;
        ShadowStore<Epoch>: true true true;
        ShadowStore<Eras>: true true true;
        Builder<Asymmetric>: true true true;
        // An id is a number, whatever its type.
        ShadowId<u8>: true true true;
        ShadowId<Local>: true true true;
        ObjAddr: true true true;
        Variable<u8>: true true true;
        Variable<u8, &'static ShadowStore<Epoch>>: true true true;
        // A thread's guards stay on it, and so do the values bound to them.
        Pinned<'static>: false false true;
        Pinned<'static, Epoch>: false false false;
        Pinned<'static, Eras>: false false true;
        OwnedPinned<'static>: true true true;
        OwnedPinned<'static, Epoch>: true true false;
        OwnedPinned<'static, Eras>: true true true;
        VarRef<'static>: true true true;
        RawVar<'static>: false false true;
        Iter<'static, Asymmetric>: false false true;
        LocalGuard<Asymmetric>: false false true;
        LocalGuard<Epoch>: false false false;
        LocalGuard<Eras>: false false true;
        OwnedGuard<Asymmetric>: true true true;
        OwnedGuard<Epoch>: true true false;
        OwnedGuard<Eras>: true true true;
        // An `Attached` has the traits of its handle.
        Attached<Arc<u8>>: true true true;
        Attached<Rc<u8>>: false false true;
        Attached<Box<Local>>: false false false;
        Attached<&'static u8, &'static ShadowStore<Epoch>>: true true true;
        // A parent has the traits of its object.
        Parent<u8>: true true true;
        Parent<Local>: false false false;
        AllocError<u8>: true true true;
        AllocError<Local>: false false false;
        CtorError<u8>: true true true;
        CtorError<Local>: false false false;
        StoreError: true true true;
        BuildError: true true true;
        SyncError: true true true;
        TypeMismatch: true true true;
        LayoutMismatch: true true true;
        Stats: true true true;
        IdStats: true true true;
        RawCtor: true true true;
        RawDtor: true true true;
        // There are no values of these types.
        Asymmetric: true true true;
        Epoch: true true true;
        Eras: true true true;
    }
    #[cfg(feature = "rayon")]
    assert_auto! {
        ParIter<'static, Asymmetric>: true true true;
        ParIter<'static, Epoch>: true true true;
    }
    #[cfg(feature = "seize")]
    assert_auto! {
        Seize: true true true;
        ShadowStore<Seize>: true true true;
        Pinned<'static, Seize>: false false true;
        OwnedPinned<'static, Seize>: true true false;
        LocalGuard<Seize>: false false true;
        OwnedGuard<Seize>: true true false;
    }
}
