//! The variance of the public types, checked by examples that must compile and counterparts that must not.
//!
//! A type that stores and returns values of type `T` must be invariant in `T`: otherwise a `for<'a> fn(&'a str)` could be
//! stored as a `fn(&'static str)`, be read back with its original type, and be called with a reference that is no longer
//! valid. Lifetimes of guards and stores may always be shortened. The auto traits are asserted in `tests/types.rs`;
//! `tests/sources.rs` checks that no public type is missing here or there. A backend has no lifetimes, so types whose
//! only parameter is a backend (`ShadowStore`, `Builder`, guards) have no variance to check.

/// ```compile_fail,E0308
/// use shadow_vars::Variable;
/// fn narrow(any: Variable<for<'a> fn(&'a str)>) -> Variable<fn(&'static str)> { any }
/// ```
/// ```compile_fail,E0308
/// use shadow_vars::Variable;
/// fn widen(only: Variable<fn(&'static str)>) -> Variable<for<'a> fn(&'a str)> { only }
/// ```
/// ```
/// use shadow_vars::{ShadowStore, Variable};
/// fn same(any: Variable<for<'a> fn(&'a str)>) -> Variable<for<'a> fn(&'a str)> { any }
/// fn shorter<'a: 'b, 'b>(of: Variable<u32, &'a ShadowStore>) -> Variable<u32, &'b ShadowStore> { of }
/// ```
/// ```compile_fail
/// use shadow_vars::{ShadowStore, Variable};
/// fn longer<'a: 'b, 'b>(of: Variable<u32, &'b ShadowStore>) -> Variable<u32, &'a ShadowStore> { of }
/// ```
struct OfVariable;

/// ```compile_fail,E0308
/// use shadow_vars::ShadowId;
/// fn narrow(any: ShadowId<for<'a> fn(&'a str)>) -> ShadowId<fn(&'static str)> { any }
/// ```
/// ```compile_fail,E0308
/// use shadow_vars::ShadowId;
/// fn widen(only: ShadowId<fn(&'static str)>) -> ShadowId<for<'a> fn(&'a str)> { only }
/// ```
/// ```
/// use shadow_vars::ShadowId;
/// fn same(any: ShadowId<for<'a> fn(&'a str)>) -> ShadowId<for<'a> fn(&'a str)> { any }
/// ```
struct OfShadowId;

/// A parent owns its object, as a `Box` does.
///
/// ```
/// use shadow_vars::{Parent, ShadowStore};
/// fn shorter<'a: 'b, 'b>(parent: Parent<&'a str>) -> Parent<&'b str> { parent }
/// fn store<'a: 'b, 'b>(parent: Parent<u32, &'a ShadowStore>) -> Parent<u32, &'b ShadowStore> { parent }
/// ```
/// ```compile_fail
/// use shadow_vars::Parent;
/// fn longer<'a: 'b, 'b>(parent: Parent<&'b str>) -> Parent<&'a str> { parent }
/// ```
/// ```compile_fail
/// use shadow_vars::{Parent, ShadowStore};
/// fn store<'a: 'b, 'b>(parent: Parent<u32, &'b ShadowStore>) -> Parent<u32, &'a ShadowStore> { parent }
/// ```
struct OfParent;

/// An `Attached` holds the handle that it was given, and gives access to no more than the handle does.
///
/// ```
/// use shadow_vars::{Attached, ShadowStore};
/// fn shorter<'a: 'b, 'b>(attached: Attached<&'a str>) -> Attached<&'b str> { attached }
/// fn object<'a: 'b, 'b>(attached: Attached<Box<&'a str>>) -> Attached<Box<&'b str>> { attached }
/// fn store<'a: 'b, 'b>(attached: Attached<Box<u32>, &'a ShadowStore>) -> Attached<Box<u32>, &'b ShadowStore> { attached }
/// ```
/// ```compile_fail
/// use shadow_vars::Attached;
/// fn longer<'a: 'b, 'b>(attached: Attached<&'b str>) -> Attached<&'a str> { attached }
/// ```
/// ```compile_fail
/// use shadow_vars::Attached;
/// fn object<'a: 'b, 'b>(attached: Attached<Box<&'b str>>) -> Attached<Box<&'a str>> { attached }
/// ```
/// ```compile_fail
/// use shadow_vars::{Attached, ShadowStore};
/// fn store<'a: 'b, 'b>(attached: Attached<Box<u32>, &'b ShadowStore>) -> Attached<Box<u32>, &'a ShadowStore> { attached }
/// ```
struct OfAttached;

/// An error holds the value that it gives back.
///
/// ```
/// use shadow_vars::{AllocError, CtorError};
/// fn alloc<'a: 'b, 'b>(error: AllocError<&'a str>) -> AllocError<&'b str> { error }
/// fn ctor<'a: 'b, 'b>(error: CtorError<&'a str>) -> CtorError<&'b str> { error }
/// ```
/// ```compile_fail
/// use shadow_vars::AllocError;
/// fn longer<'a: 'b, 'b>(error: AllocError<&'b str>) -> AllocError<&'a str> { error }
/// ```
/// ```compile_fail
/// use shadow_vars::CtorError;
/// fn longer<'a: 'b, 'b>(error: CtorError<&'b str>) -> CtorError<&'a str> { error }
/// ```
/// ```compile_fail,E0308
/// use shadow_vars::AllocError;
/// fn widen(error: AllocError<fn(&'static str)>) -> AllocError<for<'a> fn(&'a str)> { error }
/// ```
struct OfErrors;

/// The lifetime of a guard, or of a reference under it, may be shortened, never extended.
///
/// ```
/// use shadow_vars::{Asymmetric, Iter, OwnedPinned, Pinned, RawVar, VarRef};
/// fn pinned<'a: 'b, 'b>(pin: Pinned<'a>) -> Pinned<'b> { pin }
/// fn owned<'a: 'b, 'b>(pin: OwnedPinned<'a>) -> OwnedPinned<'b> { pin }
/// fn var<'a: 'b, 'b>(var: VarRef<'a>) -> VarRef<'b> { var }
/// fn raw<'a: 'b, 'b>(var: RawVar<'a>) -> RawVar<'b> { var }
/// fn iter<'a: 'b, 'b>(iter: Iter<'a, Asymmetric>) -> Iter<'b, Asymmetric> { iter }
/// ```
/// ```compile_fail
/// use shadow_vars::Pinned;
/// fn longer<'a: 'b, 'b>(pin: Pinned<'b>) -> Pinned<'a> { pin }
/// ```
/// ```compile_fail
/// use shadow_vars::OwnedPinned;
/// fn longer<'a: 'b, 'b>(pin: OwnedPinned<'b>) -> OwnedPinned<'a> { pin }
/// ```
/// ```compile_fail
/// use shadow_vars::VarRef;
/// fn longer<'a: 'b, 'b>(var: VarRef<'b>) -> VarRef<'a> { var }
/// ```
/// ```compile_fail
/// use shadow_vars::RawVar;
/// fn longer<'a: 'b, 'b>(var: RawVar<'b>) -> RawVar<'a> { var }
/// ```
/// ```compile_fail
/// use shadow_vars::{Asymmetric, Iter};
/// fn longer<'a: 'b, 'b>(iter: Iter<'b, Asymmetric>) -> Iter<'a, Asymmetric> { iter }
/// ```
struct OfGuards;

/// ```
/// use shadow_vars::{Asymmetric, ParIter};
/// fn shorter<'a: 'b, 'b>(iter: ParIter<'a, Asymmetric>) -> ParIter<'b, Asymmetric> { iter }
/// ```
/// ```compile_fail
/// use shadow_vars::{Asymmetric, ParIter};
/// fn longer<'a: 'b, 'b>(iter: ParIter<'b, Asymmetric>) -> ParIter<'a, Asymmetric> { iter }
/// ```
#[cfg(feature = "rayon")]
struct OfParIter;
