//! Which types may stand for which, held by examples that must compile, and twins of theirs that must not.
//!
//! A type through which values of `T` go in and come out is invariant in `T`: else a `for<'a> fn(&'a str)` goes in as a
//! `fn(&'static str)`, is read back as what it was, and is called with what does not live. Lifetimes of guards and stores
//! may always be shortened. The auto traits are asserted in `tests/types.rs`.

/// ```compile_fail,E0308
/// use shadow_vars::Typed;
/// fn narrow<'g>(any: Typed<'g, for<'a> fn(&'a str)>) -> Typed<'g, fn(&'static str)> { any }
/// ```
/// ```compile_fail,E0308
/// use shadow_vars::Typed;
/// fn widen<'g>(only: Typed<'g, fn(&'static str)>) -> Typed<'g, for<'a> fn(&'a str)> { only }
/// ```
/// ```
/// use shadow_vars::Typed;
/// fn same<'g>(any: Typed<'g, for<'a> fn(&'a str)>) -> Typed<'g, for<'a> fn(&'a str)> { any }
/// fn shorter<'a: 'b, 'b>(typed: Typed<'a, u32>) -> Typed<'b, u32> { typed }
/// ```
/// ```compile_fail
/// use shadow_vars::Typed;
/// fn longer<'a: 'b, 'b>(typed: Typed<'b, u32>) -> Typed<'a, u32> { typed }
/// ```
struct OfTyped;

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
struct OfParent;

/// What a guard protects may be taken for less, never for more.
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
